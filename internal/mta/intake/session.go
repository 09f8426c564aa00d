package intake

import (
	"context"
	"fmt"
	"io"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

// Session is one client's dialogue; it implements smtpserver.Session.
type Session struct {
	intake  *Intake
	conn    *smtpserver.Conn
	unknown int // recipients named in vain

	mail    mailflow.Mail // the transaction
	size    int64         // as the sender told it, 0: not
	outside bool          // some recipient is not (only) ours
}

// Hello takes any name.
func (s *Session) Hello(context.Context) error { return nil }

// Authenticated is never called: this door offers no AUTH.
func (s *Session) Authenticated(context.Context, any) error {
	return smtp.NewError(502, smtp.EnhancedCode{5, 5, 1}, "Authentication is at the submission port")
}

// Mail starts a transaction.
func (s *Session) Mail(_ context.Context, returnPath address.Address, p smtp.MailParams) error {
	s.mail = mailflow.Mail{
		ReturnPath: returnPath,
		EightBit:   p.Body == smtp.Body8BitMIME,
		SMTPUTF8:   p.SMTPUTF8,
		Return:     p.Return,
		EnvID:      p.EnvID,
		DeliverBy:  p.By,
		Origin: mailflow.Origin{
			Protocol: "smtp",
			Client:   s.conn.Client(),
			Helo:     s.conn.Helo(),
			TLS:      smtp.DescribeTLS(s.conn.TLS()),
		},
	}
	s.size, s.outside = p.Size, false
	return nil
}

// Rcpt takes a recipient that we deliver to, or relay for.
func (s *Session) Rcpt(ctx context.Context, to address.Address, p smtp.RcptParams) error {
	t, err := s.intake.options.Directory.Resolve(ctx, to)
	if err != nil {
		s.intake.options.Logger.Error("intake: look up a recipient", "recipient", to.String(), "error", err)
		return errLookup.With(err)
	}
	relayed := t.Kind == directory.NotLocal && s.intake.mayRelay(s.conn.Client().Addr())
	if refusal := t.Refusal(); refusal != nil && !relayed {
		return s.refuse(refusal)
	}
	if err := s.checkPost(ctx, &t); err != nil {
		return err
	}
	if err := s.checkQuota(ctx, &t); err != nil {
		return err
	}
	s.outside = s.outside || relayed || len(t.Outside) > 0
	s.mail.Recipients = append(s.mail.Recipients, mailflow.Recipient{Address: to, Notify: p.Notify, Original: p.Original})
	return nil
}

// refuse counts what was named in vain.
func (s *Session) refuse(e *smtp.Error) error {
	if s.unknown++; s.unknown >= unknownMax {
		return errGuessing
	}
	return e
}

// checkPost refuses what a public mailbox would not take, before there is mail to bounce.
func (s *Session) checkPost(ctx context.Context, t *directory.Target) error {
	may := s.intake.options.MayPost
	if may == nil || len(t.Accounts) != 1 || len(t.Outside) > 0 {
		return nil
	}
	ok, err := may(ctx, t.Accounts[0])
	if err != nil {
		return errLookup.With(err)
	}
	if !ok {
		return s.refuse(errPost)
	}
	return nil
}

// checkQuota answers for one mailbox at once. Where there are several the deliverer does.
func (s *Session) checkQuota(ctx context.Context, t *directory.Target) error {
	full := s.intake.options.Full
	if full == nil || t.Kind != directory.Mailbox || len(t.Accounts) != 1 {
		return nil
	}
	over, err := full(ctx, t.Accounts[0].Account, s.size)
	if err != nil {
		return errLookup.With(err)
	}
	if over && s.intake.options.RejectFull {
		return errFullEver
	}
	if over {
		return errFull
	}
	return nil
}

// Data stages the content and submits the mail.
func (s *Session) Data(ctx context.Context, content io.Reader) ([]smtp.Reply, error) {
	i := s.intake
	m := s.mail
	m.ID, m.Received = i.options.Clock.Next(), i.now()
	body, structure, err := mailflow.Arrive(ctx, i.options.Bodies, s.top(&m), content, i.options.Limits)
	if err != nil {
		return nil, err
	}
	m.Body, m.Message = body, structure
	m.EightBit = m.EightBit || structure.EightBit
	if _, err := i.options.Submitter.Submit(ctx, &m, mailflow.SubmitOptions{}); err != nil {
		i.options.Bodies.Discard(body)
		if isPeersFault(err) {
			return nil, err
		}
		return nil, fmt.Errorf("submit %s: %w", m.ID, err)
	}
	return []smtp.Reply{{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Lines: []string{"Queued as " + m.ID.String()}}}, nil
}

// top is what goes above the content: Return-Path when this is final delivery for all
// recipients (RFC 5321, 4.4), and Received.
func (s *Session) top(m *mailflow.Mail) []byte {
	var b []byte
	if !s.outside {
		b = mailflow.AppendReturnPath(b, m.ReturnPath, m.SMTPUTF8)
	}
	t := smtp.Trace{
		Helo: s.conn.Helo(), Name: s.conn.ClientName(), Client: s.conn.Client().Addr(),
		By: s.intake.options.Hostname, With: s.conn.With(), ID: m.ID.String(),
		UTF8: m.SMTPUTF8, TLS: s.conn.TLS(), At: m.Received,
	}
	if len(m.Recipients) == 1 {
		// RFC 5321, 7.2: with more than one it would tell of blind copies.
		t.For = m.Recipients[0].Address
	}
	return t.AppendTo(b)
}

// Reset forgets the transaction.
func (s *Session) Reset() { s.mail, s.size, s.outside = mailflow.Mail{}, 0, false }

// Close has nothing to free.
func (s *Session) Close() {}
