// Package pop3d joins the POP3 server to the mail store: a maildrop is the INBOX of an
// account as it was at the log-in.
//
// The main type is [Backend], which makes sessions and holds the lock of each maildrop. A
// message's unique id is the INBOX's UIDVALIDITY and its UID, so that it is the same in
// every session and for IMAP. What IMAP does meanwhile is not seen, but for a message
// that is gone. The package parses no commands (pop3 does) and stores nothing itself.
//
// RFC 1939 (3 to 6 the states, 7 UIDL), RFC 2449 (IN-USE), RFC 3206 (SYS).
package pop3d

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"

	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/pop3"
	"postroad/sasl"
)

// Options are what a Backend works with.
type Options struct {
	Store *mailstore.Store
	// SASL returns what checks log-ins from an address; identities are directory.Principal.
	SASL   func(client netip.Addr) sasl.Backend
	Secret []byte // for the salts of unknown users, see sasl.Options
}

// Backend makes sessions.
type Backend struct {
	o Options

	mu     sync.Mutex
	locked map[mailflow.AccountID]bool // maildrops in use; RFC 1939, 4: exclusive
}

// New returns a Backend.
func New(o Options) *Backend {
	return &Backend{o: o, locked: map[mailflow.AccountID]bool{}}
}

// NewSession serves one connection; it is pop3.Options.NewSession.
func (b *Backend) NewSession(_ context.Context, c *pop3.Conn) (pop3.Session, error) {
	return &session{backend: b, client: c.Client().Addr()}, nil
}

// lock takes an account's maildrop, or tells that somebody has it.
func (b *Backend) lock(id mailflow.AccountID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.locked[id] {
		return false
	}
	b.locked[id] = true
	return true
}

func (b *Backend) unlock(id mailflow.AccountID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.locked, id)
}

// session is the store's side of one connection.
type session struct {
	backend *Backend
	client  netip.Addr // not valid on a unix socket
}

// SASL implements pop3.Session.
func (s *session) SASL(b *sasl.Bindings) *sasl.Options {
	o := &s.backend.o
	return &sasl.Options{Backend: o.SASL(s.client), Bindings: b, Secret: o.Secret}
}

// Close implements pop3.Session.
func (s *session) Close() {}

// Authenticated locks and opens the INBOX of who logged in.
func (s *session) Authenticated(ctx context.Context, identity any) (pop3.Maildrop, error) {
	who, ok := identity.(directory.Principal)
	if !ok {
		return nil, errors.New("pop3d: the identity is no directory.Principal")
	}
	if !s.backend.lock(who.ID) {
		return nil, &pop3.Error{Code: pop3.CodeInUse, Text: "Another session has the maildrop"}
	}
	m, err := s.backend.open(ctx, who.ID)
	if err != nil {
		s.backend.unlock(who.ID)
		return nil, answer(err)
	}
	return m, nil
}

// open takes the picture of the INBOX that the session works with.
func (b *Backend) open(ctx context.Context, id mailflow.AccountID) (*maildrop, error) {
	account, err := b.o.Store.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	tree, err := account.Tree(ctx)
	if err != nil {
		return nil, err
	}
	view, err := account.View(ctx, tree.Inbox().ID)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	snapshot, err := view.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &maildrop{backend: b, account: account, inbox: snapshot}, nil
}

// maildrop is an INBOX at the moment of the log-in.
type maildrop struct {
	backend *Backend
	account *mailstore.Account
	inbox   *mailstore.Snapshot
}

// Len implements pop3.Maildrop.
func (m *maildrop) Len() int { return m.inbox.Len() }

// Size implements pop3.Maildrop.
func (m *maildrop) Size(i int) int64 { return int64(m.inbox.Row(i).Size) }

// AppendUID implements pop3.Maildrop: UIDVALIDITY and UID name a message for ever
// (RFC 9051, 2.3.1.1).
func (m *maildrop) AppendUID(dst []byte, i int) []byte {
	dst = strconv.AppendUint(dst, uint64(m.inbox.UIDValidity()), 10)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, uint64(m.inbox.UID(i)), 10)
}

// Open implements pop3.Maildrop.
func (m *maildrop) Open(ctx context.Context, i int) (pop3.Message, error) {
	r, err := m.inbox.Record(ctx, m.inbox.UID(i), mailstore.WantStructure)
	if err != nil {
		return nil, answer(err)
	}
	body, err := m.account.Open(ctx, r.Body)
	if err != nil {
		return nil, answer(err)
	}
	return body, nil
}

// Update implements pop3.Maildrop: one durable commit, in which what IMAP removed
// meanwhile is passed over. Very many messages, beyond what a commit holds, are removed in
// several; after a fault between these the client finds the rest again.
func (m *maildrop) Update(ctx context.Context, deleted []int) error {
	var uids imap.UIDSet
	for _, i := range deleted {
		uids.Add(m.inbox.UID(i))
	}
	if _, err := m.account.Expunge(ctx, m.inbox.Mailbox(), uids, true); err != nil {
		return answer(fmt.Errorf("remove the messages marked as deleted: %w", err))
	}
	return nil
}

// Close implements pop3.Maildrop.
func (m *maildrop) Close() { m.backend.unlock(m.account.ID()) }

// answer translates the store's closed set of errors for the client. What is ours stays
// as it is: the server logs it and answers SYS/TEMP.
func answer(err error) error {
	switch {
	case errors.Is(err, mailstore.ErrNoMessage):
		return &pop3.Error{Text: "The message is no longer there"}
	case errors.Is(err, mailstore.ErrNoAccount), errors.Is(err, mailstore.ErrNoMailbox):
		return &pop3.Error{Code: pop3.CodeSysPerm, Text: "The mailbox is no longer there"}
	case errors.Is(err, mailstore.ErrFull):
		return &pop3.Error{Code: pop3.CodeSysTemp, Text: "The server has no space left"}
	}
	return err
}
