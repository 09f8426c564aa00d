// Package bounce writes the notices that tell a sender what became of their mail: that it
// failed, that it is late, and, when they asked, that it arrived.
//
// The main type is [Composer]. It decides which recipients the sender hears of (RFC 3461,
// 4.1), writes a text for people and a report for programs, and stages the result as a
// mail with a null return path, ready for a Submitter. It sends nothing and keeps nothing.
//
// No notice is ever written about a mail with a null return path, so that no bounce
// bounces (RFC 5321, 6.1); a configured postmaster may be told of such a loss instead.
//
// RFC 3461, RFC 3464, RFC 3834, RFC 5321 (4.5.5, 6.1), RFC 6522, RFC 6533.
package bounce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/message"
	"postroad/report"
	"postroad/smtp"
)

// Limits of a notice, in octets of what is returned of the message.
const (
	// HeadersMax bounds a returned header; a longer one is cut at a field.
	HeadersMax = 64 << 10
	// FullMaxDefault is the largest message returned in full because the sender asked for
	// it (RET=FULL).
	FullMaxDefault = 10 << 20
	// UnaskedMax is the largest message returned in full when the sender said nothing.
	UnaskedMax = 64 << 10
	// noticeRoom is what the parts of our own may take, a thousand recipients included.
	noticeRoom = 8 << 20
)

// Options of a Composer. Host and Bodies are needed.
type Options struct {
	Host   string // our name in Reporting-MTA, From and Message-ID
	Bodies *blob.Bodies

	// Postmaster, when set, is told of mail with a null return path that failed.
	Postmaster address.Address
	// Ours tells whether an address ends in mailboxes of ours only; nil: none does.
	Ours func(ctx context.Context, a address.Address) (bool, error)
	// RetryFor is how long the queue tries, for Will-Retry-Until; 0: it is not told.
	RetryFor time.Duration
	FullMax  int64            // 0: FullMaxDefault
	Now      func() time.Time // nil: time.Now
}

// Composer writes notices. Its methods may be called at once.
type Composer struct{ o Options }

// New returns a Composer.
func New(o Options) (*Composer, error) {
	if o.Host == "" || o.Bodies == nil {
		return nil, errors.New("bounce: Host and Bodies are needed")
	}
	if o.FullMax == 0 {
		o.FullMax = FullMaxDefault
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Composer{o}, nil
}

// Compose returns the notice of a kind about m, whose statuses are in the order of its
// recipients: Failed, Delayed, or Relayed, which stands for success of every sort. It is
// about those recipients whose status is of that kind and whose NOTIFY wants it. The
// result is nil when there is none, and for a mail with a null return path without a
// postmaster to tell. Its body is staged and its ID is zero: the Submitter gives one.
func (c *Composer) Compose(ctx context.Context, m *mailflow.Mail, statuses []mailflow.Status, kind mailflow.Action) (*mailflow.Mail, error) {
	if len(statuses) != len(m.Recipients) {
		return nil, fmt.Errorf("bounce: %d statuses for %d recipients", len(statuses), len(m.Recipients))
	}
	to, ok := c.reader(m, kind)
	if !ok {
		return nil, nil
	}
	outcomes := choose(m, statuses, kind)
	if len(outcomes) == 0 {
		return nil, nil
	}
	body, err := c.o.Bodies.Open(ctx, m.Body)
	if err != nil {
		return nil, fmt.Errorf("open the message that a notice is about: %w", err)
	}
	defer body.Close()
	original, err := parsed(m, body)
	if err != nil {
		return nil, err
	}
	n := c.notice(m, original, outcomes, kind)
	n.To = to
	if err := c.attach(n, m, original, body, kind); err != nil {
		return nil, err
	}
	return c.stage(ctx, n)
}

// reader is who gets the notice: the return path, or for mail without one the postmaster,
// whom only a failure is told and never one of their own mail.
func (c *Composer) reader(m *mailflow.Mail, kind mailflow.Action) (address.Address, bool) {
	if !m.ReturnPath.IsNull() {
		return m.ReturnPath, true
	}
	if c.o.Postmaster.IsNull() || kind != mailflow.Failed {
		return address.Address{}, false
	}
	for _, r := range m.Recipients {
		if r.Address.Equal(c.o.Postmaster) {
			return address.Address{}, false
		}
	}
	return c.o.Postmaster, true
}

// outcome is a recipient with what became of it.
type outcome struct {
	recipient *mailflow.Recipient
	status    *mailflow.Status
}

// choose returns the recipients that a notice of the kind is about (RFC 3461, 4.1 and 5.2).
func choose(m *mailflow.Mail, statuses []mailflow.Status, kind mailflow.Action) []outcome {
	var chosen []outcome
	for i := range statuses {
		r, s := &m.Recipients[i], &statuses[i]
		var wanted bool
		switch kind {
		case mailflow.Failed:
			wanted = s.Action == mailflow.Failed && (r.Notify == 0 || r.Notify.Has(smtp.NotifyFailure))
		case mailflow.Delayed:
			wanted = s.Action == mailflow.Delayed && (r.Notify == 0 || r.Notify.Has(smtp.NotifyDelay))
		default:
			wanted = s.Action <= mailflow.Expanded && s.Action > 0 && r.Notify.Has(smtp.NotifySuccess) && !s.PassedOn
		}
		if wanted {
			chosen = append(chosen, outcome{r, s})
		}
	}
	return chosen
}

// parsed returns the structure of the message; a mail that comes from the queue's records
// may have left it there.
func parsed(m *mailflow.Mail, body blob.Reader) (*message.Message, error) {
	if m.Message != nil {
		return m.Message, nil
	}
	original, err := message.Parse(io.NewSectionReader(body, 0, body.Size()), message.Limits{})
	if errors.Is(err, message.ErrHeaderTooLarge) { // no door lets it in; the notice must go out all the same
		return &message.Message{Size: body.Size(), Root: &message.Part{Header: message.Span{End: body.Size()}}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the message that a notice is about: %w", err)
	}
	return original, nil
}

// notice fills in everything but what is returned of the message.
func (c *Composer) notice(m *mailflow.Mail, original *message.Message, outcomes []outcome, kind mailflow.Action) *report.Notice {
	now := c.o.Now()
	t := texts{host: c.o.Host, original: original, kind: kind, lost: m.ReturnPath.IsNull()}
	if kind == mailflow.Delayed && c.o.RetryFor > 0 && !m.Received.IsZero() {
		t.retryUntil = m.Received.Add(c.o.RetryFor)
	}
	n := &report.Notice{
		From:      message.Mailbox{Name: "Mail System", Local: "MAILER-DAEMON", Host: c.o.Host},
		Subject:   t.subject(),
		Date:      now,
		MessageID: message.NewMessageID(c.o.Host),
		InReplyTo: original.MessageID,
		Text:      t.text(outcomes),
	}
	n.EnvelopeID = m.EnvID
	n.ReportingMTA = c.o.Host
	n.ReceivedFrom = m.Origin.Helo
	n.Arrival = m.Received
	for _, o := range outcomes {
		n.Recipients = append(n.Recipients, recipient(m, o, t.retryUntil))
	}
	return n
}

// recipient makes the report's group of fields for one recipient.
func recipient(m *mailflow.Mail, o outcome, retryUntil time.Time) report.Recipient {
	r := report.Recipient{
		Final:       report.NewTypedAddress(o.recipient.Address),
		Action:      actions[o.status.Action],
		Status:      enhanced(o.status),
		RemoteMTA:   o.status.RemoteMTA,
		LastAttempt: o.status.At,
		RetryUntil:  retryUntil,
	}
	if m.ID != 0 {
		r.LogID = m.ID.String()
	}
	if o.recipient.Original != "" {
		r.Original = report.ParseTypedAddress(o.recipient.Original)
	}
	if o.status.Reply.Code != 0 {
		r.Diagnostic = quote(o.status.Reply.String())
	}
	return r
}

var actions = map[mailflow.Action]report.Action{
	mailflow.Delivered: report.Delivered,
	mailflow.Relayed:   report.Relayed,
	mailflow.Expanded:  report.Expanded,
	mailflow.Delayed:   report.Delayed,
	mailflow.Failed:    report.Failed,
}

// enhanced is the status code of a recipient: that of the reply where it fits what became
// of the recipient, else the least that is certain (RFC 3464, 2.3.4).
func enhanced(s *mailflow.Status) smtp.EnhancedCode {
	class := 2
	switch s.Action {
	case mailflow.Failed:
		class = 5
	case mailflow.Delayed:
		class = 4
	}
	code := s.Reply.Enhanced
	if code.IsZero() {
		return smtp.EnhancedCode{class, 0, 0}
	}
	code[0] = class // a 4yz reply too often repeated is a failure
	return code
}

// attach sets what the notice returns of the message: all of it for a failure when the
// sender asked for that or it is small, else the header (RFC 3461, 4.3).
func (c *Composer) attach(n *report.Notice, m *mailflow.Mail, original *message.Message, body blob.Reader, kind mailflow.Action) error {
	full := false
	switch m.Return {
	case smtp.ReturnFull:
		full = body.Size() <= c.o.FullMax
	case smtp.ReturnUnset:
		full = body.Size() <= UnaskedMax
	}
	head, err := readHeader(original, body)
	if err != nil {
		return fmt.Errorf("read the header that a notice returns: %w", err)
	}
	eight := eightBit(head)
	n.OriginalUTF8 = eight && original.Defects&message.DefectHeaderEightBit == 0
	if full && kind == mailflow.Failed {
		n.Original = io.NewSectionReader(body, 0, body.Size())
		n.OriginalEight = eight || m.EightBit || original.EightBit
		return nil
	}
	n.Original = newBlock(head)
	n.OriginalHeaders, n.OriginalEight = true, eight
	return nil
}

// stage writes the notice once, through the parser into the store.
func (c *Composer) stage(ctx context.Context, n *report.Notice) (*mailflow.Mail, error) {
	r, err := n.Reader()
	if err != nil {
		return nil, fmt.Errorf("compose a notice: %w", err)
	}
	if c.o.Ours != nil {
		ours, err := c.o.Ours(ctx, n.To)
		if err != nil {
			return nil, fmt.Errorf("look up who gets a notice: %w", err)
		}
		if ours {
			top := mailflow.AppendReturnPath(nil, address.Address{}, false)
			r = io.MultiReader(bytes.NewReader(top), r)
		}
	}
	p := message.NewParser(message.Limits{})
	body, err := c.o.Bodies.Stage(ctx, io.TeeReader(r, p), c.o.FullMax+noticeRoom)
	parsed, parseErr := p.Close()
	if err != nil {
		return nil, fmt.Errorf("stage a notice: %w", err)
	}
	if parseErr != nil {
		return nil, fmt.Errorf("parse a notice of our own: %w", parseErr)
	}
	return &mailflow.Mail{
		Recipients: []mailflow.Recipient{{Address: n.To, Notify: smtp.NotifyNever}}, // RFC 3464, 2: no notice of a notice
		Body:       body,
		Message:    parsed,
		Received:   n.Date,
		Origin:     mailflow.Origin{Protocol: "bounce", Helo: c.o.Host},
		EightBit:   parsed.EightBit,
		SMTPUTF8:   n.To.NeedsUTF8(),
	}, nil
}
