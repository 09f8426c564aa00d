package sieve

import (
	"context"
	"io"
	"time"

	"postroad/address"
	"postroad/message"
)

// Input is what a script is run on. Nothing of it is changed; it must stay as it is until
// the run has returned, the message for as long as a [Edited] of the result is read.
type Input struct {
	Body     io.ReaderAt      // the octets of the message
	Message  *message.Message // its structure, as message.Parser gave it; never nil
	Envelope Envelope
	Owner    Owner

	// Name is what Includes calls the script, so that a script that includes itself is
	// found out at once (RFC 6609, 3.1); empty: not known.
	Name string

	// Now is the time of the run; its location is the local time zone of the date tests
	// (RFC 5260, 4). Zero: time.Now.
	Now time.Time

	// Environment has the items of RFC 5183, 4.1: "domain", "host", "location", "name",
	// "phase", "remote-host", "remote-ip", "version", and what the house adds. Those of
	// imapsieve come from Event.
	Environment map[string]string

	// Event is what happened to a stored message (RFC 6785); nil: it is delivered.
	Event *Event

	Mailboxes Mailboxes // nil: no mailbox but INBOX is there
	Includes  Includes  // nil: there is no script to include
	Memory    Memory    // nil: nothing was seen before

	Trace func(Step) // told of each step; nil: nothing is
}

// Envelope is the SMTP envelope as one recipient sees it.
type Envelope struct {
	ReturnPath address.Address
	Recipient  address.Address // final: the one that brought the mail to the owner
	Auth       string          // who authenticated, for the part "auth"; empty: nobody

	// Parameters of MAIL and RCPT, for envelope-dsn (RFC 6009, 4).
	Notify            []string // "NEVER", or of "SUCCESS", "FAILURE", "DELAY"; nil: not given
	OriginalRecipient string   // ORCPT decoded, "rfc822;addr"; empty: not given
	Return            string   // "FULL" or "HDRS"; empty: not given
	ID                string   // ENVID, decoded; empty: not given

	DeliverBy *DeliverBy // BY=; nil: not given
}

// DeliverBy is the BY parameter of MAIL (RFC 2852) as it stands now.
type DeliverBy struct {
	By     time.Time // when it must be delivered
	Return bool      // mode "R": return it if late; else notify
	Trace  bool
}

// Owner is whose script it is.
type Owner struct {
	// Addresses are known to be the owner's; the first is the one to write from.
	Addresses []address.Address
	Name      string // display name, may be empty

	// Separator divides user and detail in local parts (RFC 5233); empty: "+".
	Separator string
}

// Event is a change of a mailbox that runs a script (RFC 6785, 4).
type Event struct {
	Cause        string   // "APPEND", "COPY" or "FLAG"
	User         string   // log-in name of who caused it
	Email        string   // their address
	Mailbox      string   // where the message is, or is to be
	ChangedFlags []string // with the cause "FLAG"
	Flags        []string // the flags of the message now: the internal variable begins with them
}

// Mailboxes answers what tests ask about the owner's mailboxes. An error is temporary: it
// ends the run (RFC 5490, 5) and is returned by [Script.Run].
type Mailboxes interface {
	// MailboxExists tells whether the owner can deliver into the mailbox (RFC 5490, 3.1).
	MailboxExists(ctx context.Context, name string) (bool, error)
	// MailboxIDExists is the same for an object id (RFC 9042, 6).
	MailboxIDExists(ctx context.Context, id string) (bool, error)
	// SpecialUse tells whether the mailbox, with an empty name any of the owner's, has the
	// special use and can be delivered into (RFC 8579, 3).
	SpecialUse(ctx context.Context, name, use string) (bool, error)
	// Metadata returns an annotation of the mailbox, with an empty name of the server (RFC
	// 5490, 3.3 and 4.1); ok is false where there is none.
	Metadata(ctx context.Context, name, annotation string) (value string, ok bool, err error)
}

// Includes finds scripts for include (RFC 6609). The implementation caches what it
// compiled.
type Includes interface {
	// Script returns the named script of the owner, or of the site. Nil without an error
	// says that there is none. An error that is an [Errors] is the script's fault; any
	// other is temporary and ends the run.
	Script(ctx context.Context, name string, global bool) (*Script, error)
}

// Memory tells what was marked by earlier runs of the owner's scripts ([Result.Marks]) and
// has not expired. An error is temporary and ends the run.
type Memory interface {
	Seen(ctx context.Context, key string) (bool, error)
}

// Step is one line of the explanation of a run.
type Step struct {
	Script string // name of the included script, empty for the one that is run
	Line   int
	Depth  int // of includes and blocks
	Text   string
}

// separator is the one of sub-addresses.
func (o *Owner) separator() string {
	if o.Separator == "" {
		return "+"
	}
	return o.Separator
}

// address is the one to write from; the recipient's where none is known.
func (in *Input) address() address.Address {
	if len(in.Owner.Addresses) > 0 {
		return in.Owner.Addresses[0]
	}
	return in.Envelope.Recipient
}

// ownerIs tells whether an address belongs to the owner: one of theirs, or the recipient
// (RFC 5230, 4.5).
func (in *Input) ownerIs(a address.Address) bool {
	for _, own := range in.Owner.Addresses {
		if own.Equal(a) {
			return true
		}
	}
	return !in.Envelope.Recipient.IsNull() && in.Envelope.Recipient.Equal(a)
}
