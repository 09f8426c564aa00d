package submit

import (
	"context"
	"io"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

// Session is one user's dialogue; it implements smtpserver.Session. The server's options
// ask for AUTH; the identity is the directory.Principal that directory.Store's SASL back
// end gives.
type Session struct {
	submitter *Submitter
	conn      *smtpserver.Conn
	who       directory.Principal
	known     bool
	envelope  Envelope
}

// NewSession is for smtpserver.Options.
func (s *Submitter) NewSession(_ context.Context, c *smtpserver.Conn) (smtpserver.Session, error) {
	return &Session{submitter: s, conn: c}, nil
}

// errAuth is said to somebody whom the server's options let through without AUTH.
var errAuth = smtp.NewError(530, smtp.EnhancedCode{5, 7, 0}, "Authentication required")

// Hello takes any name. After STARTTLS nobody is authenticated any more.
func (s *Session) Hello(context.Context) error {
	if s.conn.Identity() == nil {
		s.who, s.known = directory.Principal{}, false
	}
	return nil
}

// Authenticated takes the user.
func (s *Session) Authenticated(_ context.Context, identity any) error {
	s.who, s.known = identity.(directory.Principal)
	if !s.known {
		return errAuth
	}
	return nil
}

// Mail starts a transaction.
func (s *Session) Mail(ctx context.Context, returnPath address.Address, p smtp.MailParams) error {
	if !s.known {
		return errAuth
	}
	if err := s.submitter.CheckReturnPath(ctx, s.who, returnPath); err != nil {
		return err
	}
	s.envelope = Envelope{
		ReturnPath: returnPath,
		Params:     p,
		Origin: mailflow.Origin{
			Protocol: "submission",
			Client:   s.conn.Client(),
			Helo:     s.conn.Helo(),
			TLS:      smtp.DescribeTLS(s.conn.TLS()),
		},
	}
	return nil
}

// Rcpt takes a recipient.
func (s *Session) Rcpt(ctx context.Context, to address.Address, p smtp.RcptParams) error {
	if err := s.submitter.CheckRecipient(ctx, to); err != nil {
		return err
	}
	s.envelope.Recipients = append(s.envelope.Recipients, mailflow.Recipient{Address: to, Notify: p.Notify, Original: p.Original})
	return nil
}

// Data submits the mail.
func (s *Session) Data(ctx context.Context, content io.Reader) ([]smtp.Reply, error) {
	s.envelope.Trace = smtp.Trace{With: s.conn.With(), TLS: s.conn.TLS()}
	id, err := s.submitter.take(ctx, s.who, s.envelope, content)
	if err != nil {
		return nil, err
	}
	return []smtp.Reply{{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Lines: []string{"Queued as " + id.String()}}}, nil
}

// Reset forgets the transaction.
func (s *Session) Reset() { s.envelope = Envelope{} }

// Close has nothing to free.
func (s *Session) Close() {}
