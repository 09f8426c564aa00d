// Package access says whom a JMAP request is from and which accounts he may use: his own,
// and those that share something with him.
//
// The main type is [House], what the methods of all data types work with. Whether a user
// may use one mailbox is asked of [Account.Rights], by each method. The package logs nobody
// in and answers no method.
//
// RFC 8620, 1.6.2 (accounts); RFC 4314 (rights); RFC 9670.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/objects"
	"postroad/internal/scripts"
	"postroad/jmap"
)

// House is what methods work with.
type House struct {
	Mail      *mailstore.Store
	Directory *directory.Store
	Objects   *objects.Store
	Scripts   *scripts.Store
	Committer *mailflow.Committer
	Bodies    *blob.Bodies
	Clock     *hlc.Clock
	Host      string // of this server, for fields that it writes
	Log       *slog.Logger
}

// User is who makes a request: what a server's Authenticate returns.
type User struct {
	directory.Principal
	Client netip.Addr
	// Credential names what the user proved himself with ("session:ID", "token:ID",
	// "app:NAME", "password"), so that he can tell it from others.
	Credential string
	// Full tells that the user may change his credentials: he logged in as a person does,
	// not a program for him.
	Full bool
}

// Of returns the user behind a call.
func Of(c *jmap.Call) *User { return c.User.(*User) }

// Reader is the user as others' mailboxes have him.
func (h *House) Reader(u *User) mailstore.Reader {
	return mailstore.Reader{ID: u.ID, Member: func(ctx context.Context, group string) (bool, error) {
		return h.Directory.Member(ctx, group, u.ID)
	}}
}

// Account is an account as a user may use it.
type Account struct {
	*mailstore.Account
	Reader mailstore.Reader
	Owner  directory.Account
	Own    bool // the user's own: he may do everything in it
}

// ID is the account's id for clients.
func (a *Account) JMAP() jmap.ID { return FormatID('A', a.ID()) }

// Rights are what the user may do with one of the account's mailboxes.
func (a *Account) Rights(ctx context.Context, m *mailstore.Mailbox) (imap.Rights, error) {
	return a.Account.Rights(ctx, m, a.Reader)
}

// Account finds an account that a call names. One that shares nothing with the user is like
// one that is not there: accountNotFound.
func (h *House) Account(ctx context.Context, c *jmap.Call, id jmap.ID) (*Account, error) {
	return h.AccountFor(ctx, Of(c), id)
}

// AccountFor is Account where there is no call.
func (h *House) AccountFor(ctx context.Context, u *User, id jmap.ID) (*Account, error) {
	of, ok := ParseID('A', id)
	if !ok {
		return nil, jmap.ErrAccountNotFound
	}
	if of != u.ID {
		shared, err := h.Mail.Sharers(ctx, u.Org, h.Reader(u))
		if err != nil {
			return nil, err
		}
		ok = false
		for _, s := range shared {
			ok = ok || s == of
		}
		if !ok {
			return nil, jmap.ErrAccountNotFound
		}
	}
	return h.open(ctx, u, of)
}

// OwnAccount is Account for data that nobody shares: in another's account the methods of
// such types are not supported (RFC 8620, 3.6.2).
func (h *House) OwnAccount(ctx context.Context, c *jmap.Call, id jmap.ID) (*Account, error) {
	a, err := h.Account(ctx, c, id)
	if err == nil && !a.Own {
		return nil, jmap.ErrAccountNotSupportedByMethod
	}
	return a, err
}

// Accounts returns all accounts that a user may use, his own first.
func (h *House) Accounts(ctx context.Context, u *User) ([]*Account, error) {
	ids, err := h.Mail.Sharers(ctx, u.Org, h.Reader(u))
	if err != nil {
		return nil, err
	}
	var list []*Account
	for _, id := range append([]directory.AccountID{u.ID}, ids...) {
		a, err := h.open(ctx, u, id)
		if errors.Is(err, jmap.ErrAccountNotFound) && id != u.ID {
			continue // ends just now
		}
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// open opens an account that the user may use.
func (h *House) open(ctx context.Context, u *User, id directory.AccountID) (*Account, error) {
	a, err := h.Mail.Account(ctx, id)
	if errors.Is(err, mailstore.ErrNoAccount) {
		return nil, jmap.ErrAccountNotFound
	}
	if err != nil {
		return nil, err
	}
	owner, err := h.Directory.Account(ctx, id)
	if errors.Is(err, directory.ErrNotFound) {
		return nil, jmap.ErrAccountNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("owner of an account: %w", err)
	}
	return &Account{Account: a, Reader: h.Reader(u), Owner: owner, Own: id == u.ID}, nil
}

// FormatID writes an id for clients: a letter for its kind, and the id. Mailboxes ('F'),
// messages ('M') and threads ('T') have the same ids as in IMAP (RFC 8474, 7); accounts are
// 'A'. Other kinds use the letter of objects.Kind in upper case, but for those taken here.
func FormatID(kind byte, id hlc.ID) jmap.ID { return jmap.ID(string(kind) + id.String()) }

// ParseID reads an id of a kind.
func ParseID(kind byte, id jmap.ID) (hlc.ID, bool) {
	if len(id) < 2 || id[0] != kind {
		return 0, false
	}
	n, err := hlc.Parse(string(id[1:]))
	return n, err == nil && n > 0
}
