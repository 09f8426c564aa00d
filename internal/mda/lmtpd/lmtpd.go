// Package lmtpd is the door for another MTA on the same machine that leaves delivery to
// us: LMTP, with one reply for each recipient after the content (RFC 2033). What cannot be
// delivered now is the other side's to keep; only recipients that are too many for one
// commit, or that have a next hop, go by our queue.
//
// The main type is [Session]; an [LMTP] makes one for each connection. Strangers are not
// served: see Options.Peers. The package delivers nothing itself, the Submitter does.
//
// RFC 2033, RFC 5321 (4.4).
package lmtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

// Extensions are what this door serves beyond smtpserver's own. DSN is not: with one reply
// for each recipient the client writes the notices.
const Extensions = smtp.SMTPUTF8

// Options are what an LMTP is made of.
type Options struct {
	Hostname  string // in Received fields
	Directory directory.Directory
	Submitter mailflow.Submitter
	Bodies    mailflow.Stager
	Clock     Clock
	Peers     []netip.Prefix // who may connect besides unix sockets and this machine
	// Limits of a message; a Size of 0 is smtpserver's default.
	Limits mailflow.ContentLimits
	Logger *slog.Logger // nil: nothing is logged
}

// Clock makes ids for mail in transit; *hlc.Clock is one.
type Clock interface{ Next() mailflow.ID }

// LMTP makes sessions.
type LMTP struct {
	options Options
	now     func() time.Time
}

// New returns an LMTP.
func New(o Options) *LMTP {
	if o.Limits.Size == 0 {
		o.Limits.Size = smtpserver.DefaultSizeMax
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &LMTP{options: o, now: time.Now}
}

// Replies of this door.
var (
	errStranger = smtp.NewError(554, smtp.EnhancedCode{5, 7, 1}, "LMTP is not served to you")
	errLookup   = smtp.NewError(451, smtp.EnhancedCode{4, 3, 0}, "Cannot look the recipient up now, try again later")
	errNoAuth   = smtp.NewError(502, smtp.EnhancedCode{5, 5, 1}, "No authentication here")
	errPending  = smtp.NewError(451, smtp.EnhancedCode{4, 3, 0}, "Cannot deliver now, try again later")
	errFailed   = smtp.NewError(550, smtp.EnhancedCode{5, 0, 0}, "Not delivered")
)

// NewSession is for smtpserver.Options. RFC 2033, 5: LMTP is not for the Internet.
func (l *LMTP) NewSession(_ context.Context, c *smtpserver.Conn) (smtpserver.Session, error) {
	if !l.serves(c.Client().Addr()) {
		return nil, errStranger
	}
	return &Session{lmtp: l, conn: c}, nil
}

// serves tells whether a peer may connect; no address is a unix socket.
func (l *LMTP) serves(a netip.Addr) bool {
	if !a.IsValid() || a.IsLoopback() {
		return true
	}
	for _, p := range l.options.Peers {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// Session is one client's dialogue; it implements smtpserver.Session.
type Session struct {
	lmtp *LMTP
	conn *smtpserver.Conn
	mail mailflow.Mail // the transaction
}

// Hello takes any name.
func (s *Session) Hello(context.Context) error { return nil }

// Authenticated is never called: this door offers no AUTH.
func (s *Session) Authenticated(context.Context, any) error { return errNoAuth }

// Mail starts a transaction.
func (s *Session) Mail(_ context.Context, returnPath address.Address, p smtp.MailParams) error {
	s.mail = mailflow.Mail{
		ReturnPath: returnPath,
		EightBit:   p.Body == smtp.Body8BitMIME,
		SMTPUTF8:   p.SMTPUTF8,
		Origin: mailflow.Origin{
			Protocol: "lmtp",
			Client:   s.conn.Client(),
			Helo:     s.conn.Helo(),
			TLS:      smtp.DescribeTLS(s.conn.TLS()),
		},
	}
	return nil
}

// Rcpt takes a recipient of ours.
func (s *Session) Rcpt(ctx context.Context, to address.Address, _ smtp.RcptParams) error {
	t, err := s.lmtp.options.Directory.Resolve(ctx, to)
	if err != nil {
		s.lmtp.options.Logger.Error("lmtpd: look up a recipient", "recipient", to.String(), "error", err)
		return errLookup.With(err)
	}
	if refusal := t.Refusal(); refusal != nil {
		return refusal
	}
	s.mail.Recipients = append(s.mail.Recipients, mailflow.Recipient{Address: to})
	return nil
}

// Data stages the content, submits the mail and answers each recipient.
func (s *Session) Data(ctx context.Context, content io.Reader) ([]smtp.Reply, error) {
	o := &s.lmtp.options
	m := s.mail
	m.ID, m.Received = o.Clock.Next(), s.lmtp.now()
	body, structure, err := mailflow.Arrive(ctx, o.Bodies, s.top(&m), content, o.Limits)
	if err != nil {
		return nil, err
	}
	m.Body, m.Message = body, structure
	m.EightBit = m.EightBit || structure.EightBit
	statuses, err := o.Submitter.Submit(ctx, &m, mailflow.SubmitOptions{PerRecipient: true})
	if err == nil && len(statuses) != len(m.Recipients) {
		return nil, fmt.Errorf("submit %s: %d statuses for %d recipients", m.ID, len(statuses), len(m.Recipients))
	}
	if err != nil {
		o.Bodies.Discard(body)
		var e *smtp.Error
		if errors.As(err, &e) {
			return nil, e
		}
		return nil, fmt.Errorf("submit %s: %w", m.ID, err)
	}
	replies := make([]smtp.Reply, len(statuses))
	taken := false
	for i := range statuses {
		replies[i] = replyTo(&statuses[i], m.ID)
		taken = taken || replies[i].Success()
	}
	if !taken {
		o.Bodies.Discard(body)
	}
	return replies, nil
}

// replyTo is what the client is told of one recipient. A recipient that is in the queue
// is Delayed with a reply of success: it is ours, and told to try again the client would
// have it delivered twice.
func replyTo(st *mailflow.Status, id mailflow.ID) smtp.Reply {
	switch st.Action {
	case mailflow.Delivered, mailflow.Relayed, mailflow.Expanded:
		return smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 1, 5}, Lines: []string{"Delivered as " + id.String()}}
	case mailflow.Failed:
		if st.Reply.Permanent() {
			return st.Reply
		}
		return errFailed.Reply
	}
	switch {
	case st.Action == mailflow.Delayed && st.Reply.Success():
		return smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Lines: []string{"Queued as " + id.String()}}
	case st.Reply.Temporary():
		return st.Reply
	}
	return errPending.Reply
}

// top is what goes above the content: this is final delivery, so Return-Path comes first
// (RFC 5321, 4.4).
func (s *Session) top(m *mailflow.Mail) []byte {
	b := mailflow.AppendReturnPath(nil, m.ReturnPath, m.SMTPUTF8)
	t := smtp.Trace{
		Helo: s.conn.Helo(), Client: s.conn.Client().Addr(), By: s.lmtp.options.Hostname,
		With: s.conn.With(), ID: m.ID.String(), UTF8: m.SMTPUTF8, TLS: s.conn.TLS(), At: m.Received,
	}
	if len(m.Recipients) == 1 {
		t.For = m.Recipients[0].Address
	}
	return t.AppendTo(b)
}

// Reset forgets the transaction.
func (s *Session) Reset() { s.mail = mailflow.Mail{} }

// Close has nothing to free.
func (s *Session) Close() {}
