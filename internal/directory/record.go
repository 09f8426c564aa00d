package directory

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postroad/address"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/sasl"
)

// Spaces and keys. The root space finds an organisation by domain or account; everything
// else lies in the organisation's own space.
//
//	directory   o/ORG              organisation
//	            d/DOMAIN           name of the organisation that has it
//	            i/ACCOUNT          the same for an account
//	            secret             32 random octets, for the salts of unknown users
//	o/ORG       d/DOMAIN           domain
//	            n/DOMAIN/LOCAL     what an address is: account, alias or group
//	            a/ACCOUNT          account
//	            c/ACCOUNT          credentials
//	            f/ACCOUNT          what changes with each use of a second factor (quiet)
//
// Both have S… beside: Sieve scripts, which are internal/scripts's.
//
//	g/ACCOUNT          who else may send with its addresses
const (
	rootSpace      kv.Space = "directory"
	orgSpacePrefix string   = "o/"
	accountPrefix  string   = "a/"
	secretKey      string   = "secret"
)

// RootSpace and OrgSpace name the spaces for packages that keep records beside.
func RootSpace() kv.Space { return rootSpace }

// OrgSpace is the space of an organisation.
func OrgSpace(org string) kv.Space { return orgSpace(org) }

func orgSpace(org string) kv.Space { return kv.Space(orgSpacePrefix + org) }

func orgKey(org string) string         { return "o/" + org }
func domainKey(domain string) string   { return "d/" + domain }
func ownerKey(id AccountID) string     { return "i/" + id.String() }
func accountKey(id AccountID) string   { return accountPrefix + id.String() }
func secretsKey(id AccountID) string   { return "c/" + id.String() }
func usesKey(id AccountID) string      { return "f/" + id.String() }
func namesPrefix(domain string) string { return "n/" + domain + "/" }

func nameKey(a address.Address) string {
	return namesPrefix(a.Domain) + address.FoldLocal(a.Local)
}

// recordFormat is the first octet of each value; what follows is JSON, whose unknown
// fields an older reader passes over.
const recordFormat = 1

// encode writes a record. A record of this package always has a JSON form; one that is
// too large is the caller's input.
func encode(v any) ([]byte, error) {
	j, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	if len(j) >= kv.ValueMax {
		return nil, fmt.Errorf("%w: the record would have %d octets, more than %d", ErrInvalid, len(j), kv.ValueMax-1)
	}
	return append([]byte{recordFormat}, j...), nil
}

// decode reads what encode wrote.
func decode[T any](raw []byte) (*T, error) {
	if len(raw) == 0 || raw[0] != recordFormat {
		return nil, fmt.Errorf("directory: a record of a format that this version does not know (% x)", raw[:min(len(raw), 1)])
	}
	v := new(T)
	if err := json.Unmarshal(raw[1:], v); err != nil {
		return nil, fmt.Errorf("directory: decode %T: %w", *v, err)
	}
	return v, nil
}

// orgRecord, domainRecord, … are what is stored: addresses and ids as text.
type orgRecord struct {
	Name       string    `json:"name"`
	Postmaster string    `json:"postmaster,omitempty"`
	Public     string    `json:"public,omitempty"` // the account that has its public mailboxes
	Created    time.Time `json:"created"`
}

type domainRecord struct {
	AliasOf   string    `json:"alias_of,omitempty"`
	CatchAll  string    `json:"catch_all,omitempty"`
	Separator string    `json:"separator"`
	Created   time.Time `json:"created"`
}

// placeRecord tells whose a domain or an account is.
type placeRecord struct {
	Org string `json:"org"`
}

// nameRecord is what an address is: an account's, or one that stands for others.
type nameRecord struct {
	Kind    Kind      `json:"kind"`              // Mailbox, Alias or Group
	Account string    `json:"account,omitempty"` // of Mailbox
	As      string    `json:"as"`                // the address as it was entered
	Name    string    `json:"name,omitempty"`
	Members []string  `json:"members,omitempty"`
	Owner   string    `json:"owner,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

type accountRecord struct {
	Addresses []string  `json:"addresses"`
	Name      string    `json:"name,omitempty"`
	Disabled  bool      `json:"disabled,omitempty"`
	Public    bool      `json:"public,omitempty"`
	Limits    Limits    `json:"limits,omitzero"`
	TimeZone  string    `json:"time_zone,omitempty"`
	Created   time.Time `json:"created"`
}

// secretsRecord is what an account proves itself with. All its SCRAM keys share one salt
// and one count, so that one derivation, or one exchange, tries them all.
type secretsRecord struct {
	Hash   string      `json:"hash,omitempty"` // of the human password, as parseHash reads it
	Salt   []byte      `json:"salt,omitempty"` // of the keys below
	Rounds int         `json:"rounds,omitempty"`
	Human  *sasl.Key   `json:"human,omitempty"` // of the human password, where SCRAM is allowed for it
	Apps   []appRecord `json:"apps,omitempty"`

	TOTP     *totpRecord     `json:"totp,omitempty"`
	Passkeys []passkeyRecord `json:"passkeys,omitempty"`
	Recovery [][]byte        `json:"recovery,omitempty"` // SHA-256 of each code that is left
}

// totpRecord is the secret shared with an authenticator (RFC 6238). It must be known to
// check a code, so that it cannot be hashed.
type totpRecord struct {
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

// passkeyRecord is a WebAuthn credential: nothing in it is secret.
type passkeyRecord struct {
	ID         []byte    `json:"id"`
	Key        []byte    `json:"key"`
	Name       string    `json:"name"`
	Flags      byte      `json:"flags"`
	Transports []string  `json:"transports,omitempty"`
	AAGUID     []byte    `json:"aaguid,omitempty"`
	Created    time.Time `json:"created"`
}

// usesRecord is what each use of a second factor changes.
type usesRecord struct {
	Step     int64                 `json:"step,omitempty"`     // of TOTP: the last one used
	Passkeys map[string]passkeyUse `json:"passkeys,omitempty"` // by the id in hexadecimal
}

type passkeyUse struct {
	Count uint32    `json:"count,omitempty"` // signatures, as its authenticator counts
	Used  time.Time `json:"used"`
}

type appRecord struct {
	Name    string    `json:"name"`
	Key     sasl.Key  `json:"key"`
	Created time.Time `json:"created"`
}

func parseID(s string) (AccountID, error) {
	id, err := hlc.Parse(s)
	if err != nil {
		return 0, fmt.Errorf("directory: account id %q: %w", s, err)
	}
	return id, nil
}

// parseAddresses reads addresses of a record. They were checked when they were written.
func parseAddresses(list []string) ([]address.Address, error) {
	out := make([]address.Address, 0, len(list))
	for _, s := range list {
		a, err := address.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("directory: stored address %q: %w", s, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func parseOptional(s string) (address.Address, error) {
	if s == "" {
		return address.Address{}, nil
	}
	return address.Parse(s)
}

func printAddresses(list []address.Address) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

func (r *orgRecord) organisation() (Organisation, error) {
	o := Organisation{Name: r.Name, Created: r.Created}
	var err error
	if r.Postmaster != "" {
		o.Postmaster, err = parseID(r.Postmaster)
	}
	return o, err
}

func (r *domainRecord) domain(org, name string) (Domain, error) {
	catchAll, err := parseOptional(r.CatchAll)
	return Domain{Name: name, Org: org, AliasOf: r.AliasOf, CatchAll: catchAll, Separator: r.Separator, Created: r.Created}, err
}

func (r *accountRecord) account(org string, id AccountID) (Account, error) {
	list, err := parseAddresses(r.Addresses)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("directory: account %s has no address", id)
	}
	if err != nil {
		return Account{}, err
	}
	return Account{ID: id, Org: org, Login: list[0], Addresses: list, Name: r.Name,
		Disabled: r.Disabled, Public: r.Public, Limits: r.Limits, TimeZone: r.TimeZone, Created: r.Created}, nil
}

func (r *nameRecord) expander(org string) (Expander, error) {
	e := Expander{Kind: r.Kind, Org: org, Name: r.Name, Created: r.Created}
	var err error
	if e.Address, err = address.Parse(r.As); err != nil {
		return e, fmt.Errorf("directory: stored address %q: %w", r.As, err)
	}
	if e.Members, err = parseAddresses(r.Members); err != nil {
		return e, err
	}
	e.Owner, err = parseOptional(r.Owner)
	return e, err
}

// localOfNameKey takes "n/DOMAIN/LOCAL" apart; a domain has no slash.
func localOfNameKey(key []byte) string {
	_, rest, _ := strings.Cut(string(key), "/")
	_, local, _ := strings.Cut(rest, "/")
	return local
}
