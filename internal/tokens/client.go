package tokens

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// Limits of clients.
const (
	ClientsMax   = 1000 // that administrators register
	RedirectsMax = 10   // of one client
	clientIDMax  = 64
)

// Client is a program that an administrator has registered. Programs that register
// themselves (RFC 7591) are not kept: their id carries what they said.
type Client struct {
	ID        string
	Name      string
	Redirects []string // where codes may go; none for one that only inspects
	Inspects  bool     // it has a secret and may ask about tokens (RFC 7662)
	Created   time.Time
}

type clientRecord struct {
	Name      string    `json:"name"`
	Redirects []string  `json:"redirects,omitempty"`
	Secret    []byte    `json:"secret,omitempty"`
	Created   time.Time `json:"created"`
}

const clientSpace kv.Space = "oauth"

const clientPrefix = "c/"

func (r *clientRecord) client(id string) Client {
	return Client{ID: id, Name: r.Name, Redirects: r.Redirects, Inspects: len(r.Secret) > 0, Created: r.Created}
}

// AddClient registers a client; the caller has checked its redirects. An empty ID is made
// up. One that Inspects gets a secret, which is never shown again.
func (s *Store) AddClient(ctx context.Context, c Client) (Client, Token, error) {
	if c.ID == "" {
		c.ID = s.Clock.Next().String()
	}
	if len(c.ID) > clientIDMax || strings.Trim(c.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return Client{}, Token{}, fmt.Errorf("%w: the id of a client has 1 to %d small letters, digits, hyphens", ErrInvalid, clientIDMax)
	}
	if c.Name == "" || len(c.Name) > nameMax || len(c.Redirects) > RedirectsMax {
		return Client{}, Token{}, fmt.Errorf("%w: a client has a name and at most %d redirects", ErrInvalid, RedirectsMax)
	}
	r := clientRecord{Name: c.Name, Redirects: c.Redirects, Created: now()}
	var secret Token
	if c.Inspects {
		text := newSecret()
		r.Secret, secret = hash(text), Token{&text}
	}
	err := s.editSpace(ctx, clientSpace, func(e *editor) error {
		have, err := read[clientRecord](e, clientPrefix+c.ID)
		if err != nil {
			return err
		}
		if have != nil {
			return fmt.Errorf("%w: there is a client %s already", ErrInvalid, c.ID)
		}
		n := 0
		err = scan(e.snap, clientPrefix, func(string, *clientRecord) error { n++; return nil })
		if err == nil && n >= ClientsMax {
			err = fmt.Errorf("%w: more than %d clients", ErrInvalid, ClientsMax)
		}
		if err != nil {
			return err
		}
		return e.put(clientPrefix+c.ID, r)
	})
	if err != nil {
		return Client{}, Token{}, err
	}
	return r.client(c.ID), secret, nil
}

// Client returns a registered client; ErrNotFound.
func (s *Store) Client(ctx context.Context, id string) (Client, error) {
	r, err := s.clientRecord(ctx, id)
	if err != nil {
		return Client{}, err
	}
	return r.client(id), nil
}

func (s *Store) clientRecord(ctx context.Context, id string) (*clientRecord, error) {
	if id == "" || len(id) > clientIDMax {
		return nil, ErrNotFound
	}
	var r *clientRecord
	err := s.view(ctx, clientSpace, func(snap kv.Snapshot) (err error) {
		r, err = get[clientRecord](snap, clientPrefix+id)
		if err == nil && r == nil {
			err = ErrNotFound
		}
		return err
	})
	return r, err
}

// Inspector tells whether a client may ask about tokens and this is its secret. ErrNotFound.
func (s *Store) Inspector(ctx context.Context, id, secret string) error {
	r, err := s.clientRecord(ctx, id)
	if err != nil {
		return err
	}
	if !matches(r.Secret, secret) {
		return ErrNotFound
	}
	return nil
}

// Clients lists the registered clients.
func (s *Store) Clients(ctx context.Context) ([]Client, error) {
	var list []Client
	err := s.view(ctx, clientSpace, func(snap kv.Snapshot) error {
		return scan(snap, clientPrefix, func(id string, r *clientRecord) error {
			list = append(list, r.client(id))
			return nil
		})
	})
	slices.SortFunc(list, func(a, b Client) int { return strings.Compare(a.ID, b.ID) })
	return list, err
}

// RemoveClient takes a client out of the register. The grants that it has live on until they
// are not renewed: a client that is not registered cannot. ErrNotFound.
func (s *Store) RemoveClient(ctx context.Context, id string) error {
	return s.editSpace(ctx, clientSpace, func(e *editor) error {
		r, err := read[clientRecord](e, clientPrefix+id)
		if err == nil && r == nil {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		e.remove(clientPrefix + id)
		return nil
	})
}

// parseSpace takes the account out of the name of its space.
func parseSpace(name kv.Space) (AccountID, error) {
	id, err := hlc.Parse(strings.TrimPrefix(string(name), string(spacePrefix)))
	if err != nil {
		return 0, fmt.Errorf("tokens: space %q: %w", name, err)
	}
	return id, nil
}
