// Package submit is the one door for our own users: ports 587 and 465, and everything
// else by which a user sends mail. It knows who sends, asks whether they may use the
// addresses they write as, puts in what RFC 6409 lets a submission server put in, and
// takes out what must not go.
//
// The main type is [Submitter]; its method Submit works without SMTP, [Session] is SMTP
// on top of it. The package routes nothing and signs nothing.
//
// RFC 6409 (5.1, 6.1, 8), RFC 5322 (3.6), RFC 4865, RFC 8314.
package submit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/outbox"
	"postroad/message"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

// Extensions are what this door serves beyond smtpserver's own; FUTURERELEASE needs
// HoldMax too.
const Extensions = smtp.DSN | smtp.SMTPUTF8 | smtp.DeliverByExtension | smtp.FutureRelease | smtp.MTPriority

// HoldMax is the longest time that mail is held for its sender (RFC 4865, 4): a month.
const HoldMax = 31 * 24 * time.Hour

// RecipientsMax is the number of recipients of one mail.
const RecipientsMax = smtpserver.DefaultRcptMax

// Options are what a Submitter is made of.
type Options struct {
	Hostname  string // in Received fields and Message-IDs
	Directory directory.Directory
	Submitter mailflow.Submitter
	Bodies    mailflow.Stager
	Clock     Clock
	// Limits of a message; a Size of 0 is smtpserver's default.
	Limits mailflow.ContentLimits
	// Outbox keeps what waits to be sent; nil: mail that is held is seen nowhere, and nobody
	// can undo sending.
	Outbox Outbox
	Logger *slog.Logger // nil: nothing is logged
}

// Clock makes ids for mail in transit; *hlc.Clock is one.
type Clock interface{ Next() mailflow.ID }

// Submitter takes mail from users. Its methods may be called by many goroutines at once.
type Submitter struct {
	options Options
	now     func() time.Time
}

// New returns a Submitter.
func New(o Options) *Submitter {
	if o.Limits.Size == 0 {
		o.Limits.Size = smtpserver.DefaultSizeMax
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Submitter{options: o, now: time.Now}
}

// Envelope is what comes with the content.
type Envelope = mailflow.Envelope

// What a user is told.
var (
	errSender     = smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "You may not send as this address")
	errFrom       = smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "You may not send with this From address")
	errNoFrom     = smtp.NewError(554, smtp.EnhancedCode{5, 6, 0}, "The message needs exactly one From field with an address")
	errBehalf     = smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "Sender must be your own address when you send on behalf of somebody")
	errHold       = smtp.NewError(501, smtp.EnhancedCode{5, 5, 4}, "Release time out of range")
	errRecipients = smtp.NewError(452, smtp.EnhancedCode{4, 5, 3}, "Too many recipients")
	errNobody     = smtp.NewError(554, smtp.EnhancedCode{5, 5, 1}, "No recipients")
	errLookup     = smtp.NewError(451, smtp.EnhancedCode{4, 3, 0}, "Cannot look the address up now, try again later")
)

// CheckReturnPath tells whether the user may use the return path. The null one is for
// everybody: notices that mail programs send have it (RFC 8098, 3).
func (s *Submitter) CheckReturnPath(ctx context.Context, who directory.Principal, a address.Address) error {
	if a.IsNull() {
		return nil
	}
	right, err := s.right(ctx, who, a)
	if err == nil && right < directory.SendAs {
		return errSender // on behalf of somebody, failures are one's own
	}
	return err
}

// right asks the directory how the user may use an address as sender.
func (s *Submitter) right(ctx context.Context, who directory.Principal, a address.Address) (directory.SendRight, error) {
	right, err := s.options.Directory.MaySendAs(ctx, who, a)
	if err != nil {
		s.options.Logger.Error("submit: look a sender up", "account", who.ID.String(), "address", a.String(), "error", err)
		return directory.SendNot, errLookup.With(err)
	}
	return right, nil
}

// CheckRecipient tells whether mail for the address can be taken: anything that is not
// ours, and what there is of ours.
func (s *Submitter) CheckRecipient(ctx context.Context, a address.Address) error {
	t, err := s.options.Directory.Resolve(ctx, a)
	if err != nil {
		s.options.Logger.Error("submit: look a recipient up", "recipient", a.String(), "error", err)
		return errLookup.With(err)
	}
	if refusal := t.Refusal(); refusal != nil && t.Kind != directory.NotLocal {
		return refusal
	}
	return nil
}

// Submit takes a mail: it checks the envelope and the header, mends the header, stages
// the content and gives the mail on. A nil error means what it means for
// mailflow.Submitter. An error that is a *smtp.Error is for the user's eyes. With o.Also the
// mail is Tracked.
func (s *Submitter) Submit(ctx context.Context, who directory.Principal, e Envelope, content io.Reader, o mailflow.SubmitOptions) (mailflow.ID, []mailflow.Status, error) {
	if err := s.CheckReturnPath(ctx, who, e.ReturnPath); err != nil {
		return 0, nil, err
	}
	for i := range e.Recipients {
		if err := s.CheckRecipient(ctx, e.Recipients[i].Address); err != nil {
			return 0, nil, err
		}
	}
	m, err := s.mail(who, &e)
	if err != nil {
		return 0, nil, err
	}
	m.Tracked = o.Also != nil
	if o.Also != nil {
		m.EnvID = outbox.EnvelopeID(m.ID)
	}
	if _, err := s.stage(ctx, who, m, &e, content); err != nil {
		return 0, nil, err
	}
	statuses, err := s.pass(ctx, m, o)
	return m.ID, statuses, err
}

// take is Submit for the doors of SMTP, of an envelope that was checked already: the mail
// waits for as long as its sender wants to be able to undo it.
func (s *Submitter) take(ctx context.Context, who directory.Principal, e Envelope, content io.Reader) (mailflow.ID, error) {
	m, err := s.mail(who, &e)
	if err != nil {
		return 0, err
	}
	if err := s.holdToUndo(ctx, m); err != nil {
		return 0, err
	}
	if m.Tracked = s.waits(m); m.Tracked && m.EnvID == "" {
		m.EnvID = outbox.EnvelopeID(m.ID)
	}
	as, err := s.stage(ctx, who, m, &e, content)
	if err != nil {
		return 0, err
	}
	if !m.Tracked {
		_, err = s.pass(ctx, m, mailflow.SubmitOptions{})
		return m.ID, err
	}
	return m.ID, s.show(ctx, m, as)
}

// staged is what a mail's body does not tell: how many octets the door has put on top, and
// the blind copies that the header had named.
type staged struct {
	top   int
	blind message.AddressList
}

// stage checks and mends the content and stages it as the mail's body.
func (s *Submitter) stage(ctx context.Context, who directory.Principal, m *mailflow.Mail, e *Envelope, content io.Reader) (*staged, error) {
	as := new(staged)
	mended := message.EditHeader(content, s.headerMax(), func(block []byte) ([]byte, error) {
		as.blind = blindCopies(block)
		return s.mend(ctx, who, block)
	})
	top, err := s.top(ctx, m, e)
	if err != nil {
		return nil, err
	}
	as.top = len(top)
	body, structure, err := mailflow.Arrive(ctx, s.options.Bodies, top, mended, s.options.Limits)
	if err != nil {
		if errors.Is(err, message.ErrHeaderTooLarge) {
			err = mailflow.ErrHeader.With(err)
		}
		return nil, err
	}
	m.Body, m.Message = body, structure
	m.EightBit = m.EightBit || structure.EightBit
	return as, nil
}

// pass gives the mail on, or its body up.
func (s *Submitter) pass(ctx context.Context, m *mailflow.Mail, o mailflow.SubmitOptions) ([]mailflow.Status, error) {
	statuses, err := s.options.Submitter.Submit(ctx, m, o)
	if err != nil {
		s.options.Bodies.Discard(m.Body)
		return nil, fmt.Errorf("submit %s: %w", m.ID, err)
	}
	return statuses, nil
}

// headerMax is the largest header that is read to be mended, in octets.
func (s *Submitter) headerMax() int {
	if n := s.options.Limits.Header.HeaderOctets; n > 0 {
		return n
	}
	return message.HeaderOctetsMax
}

// mail makes the mail of an envelope.
func (s *Submitter) mail(who directory.Principal, e *Envelope) (*mailflow.Mail, error) {
	now := s.now()
	m := &mailflow.Mail{
		ID:         s.options.Clock.Next(),
		ReturnPath: e.ReturnPath,
		Recipients: e.Recipients,
		Received:   now,
		Origin:     e.Origin,
		EightBit:   e.Params.Body == smtp.Body8BitMIME,
		SMTPUTF8:   e.Params.SMTPUTF8,
		Return:     e.Params.Return,
		EnvID:      e.Params.EnvID,
		Priority:   e.Params.Priority,
		HoldUntil:  e.Params.HoldUntil,
		DeliverBy:  e.Params.By,
	}
	m.Origin.Account = who.ID
	if e.Params.HoldFor > 0 {
		m.HoldUntil = now.Add(e.Params.HoldFor)
	}
	switch {
	case m.HoldUntil.Sub(now) > HoldMax:
		return nil, errHold
	case len(m.Recipients) == 0:
		return nil, errNobody
	case len(m.Recipients) > RecipientsMax:
		return nil, errRecipients
	}
	return m, nil
}

// top is the Received field, under Return-Path when no recipient is outside. Where users
// sit is nobody's business but the log's, so it has neither their address nor the name of
// their machine, and no recipient.
func (s *Submitter) top(ctx context.Context, m *mailflow.Mail, e *Envelope) ([]byte, error) {
	var top []byte
	ours, err := s.allOurs(ctx, m.Recipients)
	if err != nil {
		return nil, err
	}
	if ours {
		top = mailflow.AppendReturnPath(nil, m.ReturnPath, m.SMTPUTF8)
	}
	t := smtp.Trace{By: s.options.Hostname, With: e.Trace.With, ID: m.ID.String(), UTF8: m.SMTPUTF8, TLS: e.Trace.TLS, At: m.Received}
	return t.AppendTo(top), nil
}

// allOurs tells whether the mail ends in mailboxes of ours only.
func (s *Submitter) allOurs(ctx context.Context, to []mailflow.Recipient) (bool, error) {
	for i := range to {
		t, err := s.options.Directory.Resolve(ctx, to[i].Address)
		if err != nil {
			return false, errLookup.With(err)
		}
		if t.Kind == directory.NotLocal || len(t.Outside) > 0 {
			return false, nil
		}
	}
	return true, nil
}
