// Package mailflow is mail in transit: what a message carries on its way, the unit of
// work in which every part of the house prepares its share of one commit, and the doors.
//
// Mail enters only through a [Submitter] and leaves only through a [Transport]; into
// mailboxes it goes through [Local], within the unit of the Submitter.
//
// The main type is [Mail]. The package moves nothing by itself.
package mailflow

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/kv/hlc"
	"postroad/message"
	"postroad/smtp"
)

// ID names a mail in transit: the queue id in logs, Received fields and `postroad queue`.
// It names the mail's timeline too.
type ID = hlc.ID

// AccountID names an account; its space is "a/" + String().
type AccountID = hlc.ID

// Mail is one message with its SMTP envelope (RFC 5321, 2.3.1). It is not changed after
// it was given to a Submitter, except by the Submitter.
type Mail struct {
	ID         ID
	ReturnPath address.Address // null for notifications
	Recipients []Recipient
	Body       blob.Body        // staged, or stored already
	Message    *message.Message // structure and header summary, parsed once while the body arrived
	Received   time.Time
	Origin     Origin

	EightBit  bool            // BODY=8BITMIME or content with octets above 127 (RFC 6152)
	SMTPUTF8  bool            // RFC 6531
	Return    smtp.DSNReturn  // RET= (RFC 3461, 4.3)
	EnvID     string          // ENVID=, decoded (RFC 3461, 4.4)
	Priority  int             // MT-PRIORITY −9 to 9 (RFC 6710)
	HoldUntil time.Time       // FUTURERELEASE (RFC 4865); zero: at once
	DeliverBy *smtp.DeliverBy // RFC 2852

	// Tracked says that the account of Origin keeps what becomes of the mail: a [Tracker] is
	// told.
	Tracked bool
}

// Envelope is what comes with content that one of our users sends, whatever the door.
type Envelope struct {
	ReturnPath address.Address
	Recipients []Recipient
	Params     smtp.MailParams // Size and Auth are of no account
	Origin     Origin          // Account is filled in
	Trace      smtp.Trace      // of the Received field: With, and TLS if there is any
}

// Recipient is one address the mail goes to.
type Recipient struct {
	Address  address.Address
	Notify   smtp.DSNNotify // NOTIFY= (RFC 3461, 4.1)
	Original string         // ORCPT= as given, "rfc822;addr" (RFC 3461, 4.2)
}

// Origin is where the mail came from, for the trace, the policy and Received fields.
type Origin struct {
	Protocol string         // "smtp", "submission", "lmtp", "queue", "bounce", "imap"
	Client   netip.AddrPort // of the peer
	Helo     string         // as given
	TLS      string         // version and cipher, empty without TLS
	Account  AccountID      // who authenticated, 0: nobody
}

// Action is what became of one recipient; the words are those of RFC 3464, 2.3.3.
type Action uint8

// The actions.
const (
	Delivered Action = iota + 1 // in a mailbox, in the unit or already durable
	Relayed                     // handed to a server that may not send DSNs on
	Expanded                    // went to other recipients
	Delayed                     // not yet; will be tried again
	Failed                      // for good
)

// Status is the outcome for one recipient.
type Status struct {
	Action    Action
	Reply     smtp.Reply // code and text, ours or the remote server's
	RemoteMTA string     // name of the server that answered, empty: we did
	LocalMTA  bool       // the reply is of our own making
	At        time.Time

	RemoteAddr netip.AddrPort // of that server, where one was reached
	TLS        string         // version and cipher of the connection, empty without TLS
	PassedOn   bool           // with Relayed: that server knows DSN and reports from here on (RFC 3461, 5.2.1)
}

// Errors of those who ask for a mail in the queue.
var (
	ErrNoMail   = errors.New("mailflow: no such mail in the queue")      // nothing is left of it
	ErrReleased = errors.New("mailflow: the mail is on its way already") // it cannot be taken back as a whole
)

// Submitter is the one door in.
type Submitter interface {
	// Submit takes responsibility. A nil error means that the mail is durable: each
	// recipient is in its mailbox, in the queue (its status is Delayed with a reply of
	// success), or has been answered by a bounce in the same commit, or has a status Failed
	// or Delayed with a reply of that kind where PerRecipient asked for that. There is one
	// status per recipient, in order. With an error nothing was kept; a *smtp.Error is fit
	// for the peer, anything else is ours (451).
	Submit(ctx context.Context, m *Mail, o SubmitOptions) ([]Status, error)
	// Status tells what is left in the queue of a mail; ErrNoMail when nothing is.
	Status(ctx context.Context, id ID) ([]Status, error)
	// Cancel takes back what was not sent yet and tells how many recipients that were.
	Cancel(ctx context.Context, id ID) (int, error)
}

// SubmitOptions say how answers are given.
type SubmitOptions struct {
	// PerRecipient: the door can answer each recipient after the data (LMTP, RFC 2033,
	// 4.2): failures come back as statuses and make no bounce.
	PerRecipient bool
	// Also, if set, adds the door's own share to the unit that takes the mail, when all
	// recipients are placed: what it adds is durable exactly when the mail is. It may be
	// called again for the same mail, with another unit; its error ends the submission.
	Also func(ctx context.Context, u *Unit, m *Mail, statuses []Status) error
}

// Tracker keeps, for who sent mail that is Tracked, what becomes of it. Its methods add
// their share to the unit that makes it so; they may be called again with another unit. An
// error puts the unit off, so what is wrong with one account only is not one.
type Tracker interface {
	// Told: these are the newest statuses of m's recipients, in order.
	Told(ctx context.Context, u *Unit, m *Mail, statuses []Status) error
	// Released: the mail was held until now, and from this unit on it cannot be taken back.
	Released(ctx context.Context, u *Unit, m *Mail) error
	// Withdrawn: m's recipients will not get it, as its sender or an administrator asked.
	Withdrawn(ctx context.Context, u *Unit, m *Mail) error
}

// Canceller takes held mail back.
type Canceller interface {
	// PrepareCancel takes a mail out of the queue within the unit, all of it or nothing:
	// ErrReleased when its time has come, ErrNoMail when it is not there. The Tracker is not
	// told: who cancels knows.
	PrepareCancel(ctx context.Context, u *Unit, id ID) error
}

// Local files mail into mailboxes: aliases, rules, quota. It prepares its share of u for
// the recipients named by index in rcpts and returns one status for each of these, in
// order: Delivered, Expanded (the mails to send on are in u.Onward), Delayed, Failed.
// Nothing happens until u commits.
type Local interface {
	Prepare(ctx context.Context, m *Mail, rcpts []int, u *Unit) []Status
}

// Transport carries mail out of the house: remote MX, LMTP, a program. Recipients all
// share one next hop. One status per recipient of m, in order; Deliver returns when each
// is known.
type Transport interface {
	Deliver(ctx context.Context, m *Mail, hop NextHop) []Status
}

// NextHop is where a mail goes next, as the router found it.
type NextHop struct {
	Transport string // "smtp", "lmtp"
	Domain    string // destination domain for MX look-up, or the host when NoMX
	Port      uint16 // 0: the transport's own
	NoMX      bool   // Domain is a host or [address], not to be looked up by MX
	Relay     string // name of what the configuration says of a relay host: log-in, TLS
}
