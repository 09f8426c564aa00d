// Package imapd joins the IMAP server to the mail store: one [Session] for each
// connection, which holds the mailbox that its client has selected as the client knows it.
//
// The main type is [Session]; a [Backend] makes them. The package parses no commands and
// writes no responses (imap/imapserver does), stores nothing itself (internal/mailstore
// does), and adds no mail of its own.
//
// RFC 9051 and 3501 (sessions, 6 and 7), RFC 7162 (CONDSTORE, QRESYNC), RFC 3516 (BINARY),
// RFC 3502 (MULTIAPPEND), RFC 6154, 8438, 8474, 8514, RFC 4314
// (access control, see access.go), RFC 2342.
package imapd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/blob"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
	"postroad/message"
	"postroad/sasl"
)

// appendMessagesMax bounds the messages of one APPEND (RFC 3502 names no limit): what is
// staged but not committed is held for as long.
const appendMessagesMax = 10_000

// Options are what a Backend works with.
type Options struct {
	Store  *mailstore.Store
	Bodies *blob.Bodies
	// Directory tells about those who share mailboxes; nil: nobody does.
	Directory Directory
	// SASL returns what checks log-ins from an address; identities are directory.Principal.
	SASL   func(client netip.Addr) sasl.Backend
	Secret []byte // for the salts of unknown users, see sasl.Options
	// MessageBytesMax bounds appended messages, in octets.
	MessageBytesMax int64
	// MessageLimits bound what is parsed of them.
	MessageLimits message.Limits
	// UserConnectionsMax bounds the sessions of one account; 0: no limit.
	UserConnectionsMax int
	// Events runs the scripts of mailboxes (RFC 6785); nil: none run.
	Events *events.Events
	// AdminURI is how the administrator is reached, told as the server's annotation
	// /shared/admin (RFC 5464, 6.2.1.2); empty: not told.
	AdminURI string
	Log      *slog.Logger // nil: slog.Default
}

// Backend makes sessions and counts those of each account.
type Backend struct {
	o Options

	mu       sync.Mutex
	sessions map[mailflow.AccountID]int // mu
}

// New returns a Backend.
func New(o Options) *Backend {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Backend{o: o, sessions: map[mailflow.AccountID]int{}}
}

// NewSession serves one connection; it is imapserver.Options.NewSession.
func (b *Backend) NewSession(_ context.Context, c *imapserver.Conn) (imapserver.Session, error) {
	return &Session{backend: b, client: clientOf(c.RemoteAddr())}, nil
}

// clientOf is the address that failed log-ins are counted for, not valid when there is none.
func clientOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// enter counts a session of an account in, or refuses one too many.
func (b *Backend) enter(id mailflow.AccountID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.o.UserConnectionsMax > 0 && b.sessions[id] >= b.o.UserConnectionsMax {
		return false
	}
	b.sessions[id]++
	return true
}

func (b *Backend) leave(id mailflow.AccountID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions[id]--; b.sessions[id] == 0 {
		delete(b.sessions, id)
	}
}

// Session is the store's side of one connection. The server calls it from one goroutine.
//
//	new ──Authenticated──▶ account set ──Select──▶ selected set ──Unselect──▶ account set
type Session struct {
	backend  *Backend
	client   netip.Addr
	who      directory.Principal
	account  *mailstore.Account // of the user; nil before log-in
	selected *selected          // nil: none
}

// SASL implements imapserver.Session.
func (s *Session) SASL(b *sasl.Bindings) *sasl.Options {
	o := &s.backend.o
	return &sasl.Options{Backend: o.SASL(s.client), Bindings: b, Secret: o.Secret}
}

// Authenticated opens the account of who logged in.
func (s *Session) Authenticated(ctx context.Context, identity any) error {
	who, ok := identity.(directory.Principal)
	if !ok {
		return errors.New("imapd: the identity is no directory.Principal")
	}
	if !s.backend.enter(who.ID) {
		return imap.No(imap.CodeLimit, "Too many connections of this user")
	}
	account, err := s.backend.o.Store.Account(ctx, who.ID)
	if err != nil {
		s.backend.leave(who.ID)
		return answer(err)
	}
	s.who, s.account = who, account
	return nil
}

// Close ends the session: the connection is gone.
func (s *Session) Close() {
	s.leaveMailbox()
	if s.account != nil {
		s.backend.leave(s.account.ID())
		s.account = nil
	}
}

// answer translates the store's closed set of errors for the client (RFC 9051, 7.1).
// What is ours stays as it is: the server logs it and answers UNAVAILABLE.
func answer(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mailstore.ErrNoMailbox):
		return imap.No(imap.CodeNonExistent, "No such mailbox")
	case errors.Is(err, mailstore.ErrRights):
		return errNoPerm
	case errors.Is(err, mailstore.ErrNoMessage):
		return imap.No(imap.CodeExpungeIssued, "Some messages are no longer there")
	case errors.Is(err, mailstore.ErrExists):
		return imap.No(imap.CodeAlreadyExists, "That mailbox exists already")
	case errors.Is(err, mailstore.ErrName):
		return imap.No(imap.CodeCannot, "That cannot be the name of a mailbox")
	case errors.Is(err, mailstore.ErrUse):
		return imap.No(imap.CodeUseAttr, "That special use is not to be had")
	case errors.Is(err, mailstore.ErrHasChildren):
		return imap.No(imap.CodeHasChildren, "The mailbox has mailboxes below it")
	case errors.Is(err, mailstore.ErrInUse):
		return imap.No(imap.CodeCannot, "This mailbox cannot be deleted")
	case errors.Is(err, mailstore.ErrOverQuota):
		return imap.No(imap.CodeOverQuota, "The quota does not allow that")
	case errors.Is(err, mailstore.ErrFull), errors.Is(err, blob.ErrFull):
		return imap.No(imap.CodeOverQuota, "The server has no space left; deleting is still possible")
	case errors.Is(err, mailstore.ErrTooLarge), errors.Is(err, blob.ErrTooLarge):
		return imap.No(imap.CodeTooBig, "Too large")
	case errors.Is(err, mailstore.ErrLimit):
		return imap.No(imap.CodeLimit, "Over a limit of this server")
	case errors.Is(err, mailstore.ErrNoAccount):
		return &imap.Error{Status: imap.BYE, Code: imap.CodeUnavailable, Text: "The account is no longer there"}
	}
	return err
}
