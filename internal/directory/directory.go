// Package directory knows who is who: organisations, their domains, the addresses in
// these (accounts, aliases, groups), and what each account proves itself with.
//
// The main type is [Store], which keeps all of it as records in the engine; [Directory]
// is what the doors and the deliverer ask. Answers are read through a cache that lives as
// long as the space's version, so a change shows at once and without a restart. The
// package stores no mail and makes no mailboxes; a verb that needs both is in
// internal/admin.
//
// RFC 5321 (3.9 aliases and lists, 4.5.1 postmaster), RFC 5233 (sub-addresses), RFC 5802
// and 7677 (SCRAM verifiers), RFC 9106 (argon2), RFC 4226 and 6238 (TOTP).
package directory

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"postroad/address"
	"postroad/internal/kv/hlc"
)

// AccountID names an account; it is the same type as mailflow.AccountID.
type AccountID = hlc.ID

// Directory is what the rest of the house asks. All methods may be called at once.
type Directory interface {
	// Resolve tells where mail for an address goes. What it finds wrong with the address
	// is in the Target; an error is ours, and temporary.
	Resolve(ctx context.Context, a address.Address) (Target, error)
	// Authenticate checks a user's name and password. The error is ErrCredentials (wrong
	// name, wrong password, disabled account: the same for each, after FailureDelay),
	// ErrThrottled (too many failures; may be right later), or ours.
	Authenticate(ctx context.Context, c Credentials) (Principal, error)
	// Principal returns an account by its id, ErrNotFound when it is gone.
	Principal(ctx context.Context, id AccountID) (Principal, error)
	// MaySendAs tells how the account may use the address as sender. SendAs holds for its
	// own ones, sub-addresses of them, aliases that lead to it, a catch-all that does, groups
	// it owns; and for addresses of others, SendAs or SendOnBehalf, what these have granted.
	MaySendAs(ctx context.Context, p Principal, a address.Address) (SendRight, error)
	// Member tells whether an account is in a group, which is named by its address's Key.
	Member(ctx context.Context, group string, id AccountID) (bool, error)
}

// Errors of a directory; test with errors.Is.
var (
	ErrNotFound    = errors.New("directory: no such record")
	ErrExists      = errors.New("directory: exists already")
	ErrInUse       = errors.New("directory: still in use")
	ErrInvalid     = errors.New("directory: not valid")
	ErrCredentials = errors.New("directory: wrong user name or password")
	ErrThrottled   = errors.New("directory: too many failed log-ins, try again later")
)

// Kind says what an address is.
type Kind uint8

// The kinds of targets.
const (
	NotLocal Kind = iota // not a domain of ours: to be relayed, if at all
	Null                 // the null path: nobody
	Unknown              // our domain, but nobody there: 550 5.1.1
	Disabled             // the account is switched off: 550 5.2.1
	Mailbox              // one account
	Alias                // other addresses stand for it; the return path stays (RFC 5321, 3.9.1)
	Group                // a list of members; the return path becomes the owner's (RFC 5321, 3.9.2)
	Loop                 // leads only to itself, or to more than ExpandMax: 554 5.4.6
)

var kindNames = [...]string{"not local", "null", "unknown", "disabled", "mailbox", "alias", "group", "loop"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Target is where mail for an address goes, expanded to the end. Slices are the
// caller's.
type Target struct {
	Kind     Kind
	Org      string
	CatchAll bool // found only by the domain's catch-all

	// Accounts are the local mailboxes, each once; exactly one for Mailbox.
	Accounts []Destination
	// Outside are members at foreign domains, each once.
	Outside []address.Address
	// Missing are members in our domains where there is nobody (any more).
	Missing []address.Address
	// Owner is the group's owner, to whom failures go; null: the sender, as with an alias.
	Owner address.Address
}

// Destination is one local mailbox that mail comes to.
type Destination struct {
	Account AccountID
	Address address.Address // in the account's own form: without detail, domain aliases resolved
	Detail  string          // sub-address after the separator (RFC 5233), empty: none
	Public  bool            // the account has public mailboxes: who may post is theirs to say
}

// Credentials are what a client gave to log in.
type Credentials struct {
	Login    string // "alice@example.org"; in the case given
	Password string
	Client   netip.Addr // for the rate limits; not valid: none apply

	// Person says that the caller asks a person for the second factor, where
	// Principal.Second tells that there is one. Without it the human password of such an
	// account is a wrong one (Options.PasswordAlone); app passwords do not ask.
	Person bool
}

// Principal is who logged in.
type Principal struct {
	ID     AccountID
	Org    string
	Login  address.Address
	Name   string // to show, may be empty
	Limits Limits
	App    string // the app password's name, empty: the human one
	Second bool   // only with Credentials.Person: the second factor is still to be asked for
}

// Limits are what an account may use; zero is the default of the configuration.
type Limits struct {
	QuotaBytes    int64 `json:"quota_bytes,omitempty"`
	QuotaMessages int64 `json:"quota_messages,omitempty"`
}

// Organisation is a tenant: a space of its own, with its domains and people.
type Organisation struct {
	Name       string    `json:"name"`
	Postmaster AccountID `json:"postmaster,omitzero"` // gets postmaster@ of each domain that has none (RFC 5321, 4.5.1); the first account made
	Created    time.Time `json:"created"`
}

// Domain is a domain of ours.
type Domain struct {
	Name      string          // U-labels, lower case
	Org       string          // whose it is
	AliasOf   string          // the domain whose addresses hold here too
	CatchAll  address.Address // gets what nobody else does; null: such mail is refused
	Separator string          // between user and detail (RFC 5233); "" turns sub-addresses off
	Created   time.Time
}

// Account is a person (or thing) with a mailbox.
type Account struct {
	ID        AccountID
	Org       string
	Login     address.Address
	Addresses []address.Address // the login is the first
	Name      string
	Disabled  bool
	Public    bool // has its organisation's public mailboxes; nobody logs in to it
	Limits    Limits
	TimeZone  string // name in the IANA database; empty: the server's. See Location
	Created   time.Time
}

// Expander is an alias or a group: an address that stands for others.
type Expander struct {
	Kind    Kind // Alias or Group
	Address address.Address
	Org     string
	Name    string
	Members []address.Address
	Owner   address.Address // of a group: where failures go; null: to the sender
	Created time.Time
}

// AppPassword is one password for one program; what it is made of is shown only once.
type AppPassword struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// DefaultOrg is the organisation that is there from the first record.
const DefaultOrg = "default"

// Limits of the directory.
const (
	ExpandMax    = 10_000 // addresses that one address may expand to
	DepthMax     = 20     // aliases that may lead to one another
	MembersMax   = 1_000  // members of one alias or group: one record, at most kv.ValueMax
	AddressesMax = 100    // addresses of one account
	AppsMax      = 50     // app passwords of one account
	NameMax      = 200    // octets in a name to show
	OrgNameMax   = 32     // octets in the name of an organisation
	ListMax      = 10_000 // records in one answer of a list
	PasswordMax  = 1024   // octets in a password; more is a wrong one
	FailureDelay = 2 * time.Second
)
