// Package intake is the door for other servers: port 25. It asks the directory for each
// recipient, so that nothing is taken that cannot be delivered and nothing relayed for
// strangers, puts the trace fields on top of the content, stages it, and gives the mail to
// the Submitter. The 250 follows the Submitter's commit.
//
// The main type is [Session]; an [Intake] makes one for each connection. The package does
// not judge the content and delivers nothing.
//
// The states are those of smtpserver. Responsibility passes to us within Session.Data, at
// the return of Submit.
//
// RFC 5321 (3.3, 3.6, 4.4, 6.3), RFC 3848, RFC 7504.
package intake

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

// Extensions are what this door serves beyond smtpserver's own; to be given to its
// Options.
const Extensions = smtp.DSN | smtp.SMTPUTF8 | smtp.DeliverByExtension

// unknownMax is how many recipients a client may name in vain before it is sent away: it
// is guessing.
const unknownMax = 20

// Options are what an Intake is made of.
type Options struct {
	Hostname  string // in Received fields
	Directory directory.Directory
	Submitter mailflow.Submitter
	Bodies    mailflow.Stager
	Clock     Clock
	Full      Full    // nil: nobody is over quota
	MayPost   MayPost // nil: everybody may post everywhere
	// RejectFull refuses mail for a full mailbox for good (552 5.2.2), else for now (452).
	RejectFull bool
	Relays     []netip.Prefix // networks that may send to anybody
	// Limits of a message; a Size of 0 is smtpserver's default.
	Limits mailflow.ContentLimits
	Logger *slog.Logger // nil: nothing is logged
}

// Clock makes ids for mail in transit; *hlc.Clock is one.
type Clock interface{ Next() mailflow.ID }

// Full tells whether a mailbox cannot take another message of the size, which is 0 when
// the sender did not tell.
type Full func(ctx context.Context, account mailflow.AccountID, sizeBytes int64) (bool, error)

// MayPost tells whether a mailbox takes mail from outside at all.
type MayPost func(ctx context.Context, to directory.Destination) (bool, error)

// Intake makes sessions.
type Intake struct {
	options Options
	now     func() time.Time
}

// New returns an Intake.
func New(o Options) *Intake {
	if o.Limits.Size == 0 {
		o.Limits.Size = smtpserver.DefaultSizeMax
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Intake{options: o, now: time.Now}
}

// NewSession is for smtpserver.Options.
func (i *Intake) NewSession(_ context.Context, c *smtpserver.Conn) (smtpserver.Session, error) {
	return &Session{intake: i, conn: c}, nil
}

// Replies of this door.
var (
	errFull     = smtp.NewError(452, smtp.EnhancedCode{4, 2, 2}, "Mailbox full")
	errPost     = smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "You may not post there")
	errFullEver = smtp.NewError(552, smtp.EnhancedCode{5, 2, 2}, "Mailbox full")
	errGuessing = smtp.NewError(421, smtp.EnhancedCode{4, 7, 0}, "Too many unknown recipients, closing")
	errLookup   = smtp.NewError(451, smtp.EnhancedCode{4, 3, 0}, "Cannot look the recipient up now, try again later")
)

// mayRelay tells whether the client may send to addresses that are not ours.
func (i *Intake) mayRelay(client netip.Addr) bool {
	for _, p := range i.options.Relays {
		if p.Contains(client.Unmap()) {
			return true
		}
	}
	return false
}

// isPeersFault tells an error whose reply is the peer's business from one of ours.
func isPeersFault(err error) bool {
	var e *smtp.Error
	return errors.As(err, &e)
}
