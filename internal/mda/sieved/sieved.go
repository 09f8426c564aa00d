// Package sieved joins the ManageSieve server to the store of Sieve scripts: a user sees the
// scripts of the own account.
//
// The main type is [Backend], which makes sessions. The package parses no commands
// (managesieve does), and stores and compiles nothing itself (internal/scripts does).
//
// RFC 5804.
package sieved

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"postroad/internal/directory"
	"postroad/internal/mailstore"
	"postroad/internal/scripts"
	"postroad/managesieve"
	"postroad/sasl"
)

// Options are what a Backend works with.
type Options struct {
	Scripts *scripts.Store
	// SASL returns what checks log-ins from an address; identities are directory.Principal.
	SASL   func(client netip.Addr) sasl.Backend
	Secret []byte // for the salts of unknown users, see sasl.Options
}

// Backend makes sessions.
type Backend struct{ o Options }

// New returns a Backend.
func New(o Options) *Backend { return &Backend{o} }

// NewSession serves one connection; it is managesieve.Options.NewSession.
func (b *Backend) NewSession(_ context.Context, c *managesieve.Conn) (managesieve.Session, error) {
	return &session{backend: b, client: c.Client().Addr()}, nil
}

// session is the store's side of one connection.
type session struct {
	backend *Backend
	client  netip.Addr // not valid on a unix socket
}

// SASL implements managesieve.Session.
func (s *session) SASL(b *sasl.Bindings) *sasl.Options {
	o := &s.backend.o
	return &sasl.Options{Backend: o.SASL(s.client), Bindings: b, Secret: o.Secret}
}

// Close implements managesieve.Session.
func (s *session) Close() {}

// Authenticated implements managesieve.Session.
func (s *session) Authenticated(_ context.Context, identity any) (managesieve.Scripts, error) {
	who, ok := identity.(directory.Principal)
	if !ok {
		return nil, errors.New("sieved: the identity is no directory.Principal")
	}
	return &shelf{store: s.backend.o.Scripts, who: who, owner: scripts.OfAccount(who.ID)}, nil
}

// shelf is the scripts of who logged in.
type shelf struct {
	store *scripts.Store
	who   directory.Principal
	owner scripts.Owner
}

// Owner implements managesieve.Scripts.
func (s *shelf) Owner() string { return s.who.Login.String() }

// HaveSpace implements managesieve.Scripts.
func (s *shelf) HaveSpace(ctx context.Context, name string, sizeBytes int64) error {
	return answer(s.store.Room(ctx, s.owner, name, sizeBytes))
}

// PutScript implements managesieve.Scripts.
func (s *shelf) PutScript(ctx context.Context, name string, content []byte) (string, error) {
	warnings, err := s.store.Put(ctx, s.owner, name, content)
	return lines(warnings), answer(err)
}

// CheckScript implements managesieve.Scripts.
func (s *shelf) CheckScript(_ context.Context, content []byte) (string, error) {
	warnings, err := s.store.Check(content)
	return lines(warnings), answer(err)
}

// ListScripts implements managesieve.Scripts.
func (s *shelf) ListScripts(ctx context.Context) ([]managesieve.Script, error) {
	all, err := s.store.List(ctx, s.owner)
	if err != nil {
		return nil, answer(err)
	}
	list := make([]managesieve.Script, len(all))
	for i, one := range all {
		list[i] = managesieve.Script{Name: one.Name, Active: one.Active}
	}
	return list, nil
}

// SetActive implements managesieve.Scripts.
func (s *shelf) SetActive(ctx context.Context, name string) error {
	return answer(s.store.Activate(ctx, s.who.ID, name))
}

// GetScript implements managesieve.Scripts.
func (s *shelf) GetScript(ctx context.Context, name string) ([]byte, error) {
	source, err := s.store.Get(ctx, s.owner, name)
	if err != nil {
		return nil, answer(err)
	}
	return source.Text, nil
}

// DeleteScript implements managesieve.Scripts.
func (s *shelf) DeleteScript(ctx context.Context, name string) error {
	return answer(s.store.Delete(ctx, s.owner, name))
}

// RenameScript implements managesieve.Scripts.
func (s *shelf) RenameScript(ctx context.Context, from, to string) error {
	return answer(s.store.Rename(ctx, s.owner, from, to))
}

// Close implements managesieve.Scripts.
func (s *shelf) Close() {}

// lines parts lines by CRLF (RFC 5804, 2.6).
func lines(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimRight(text, "\r\n"), "\r\n", "\n"), "\n", "\r\n")
}

// answers are the store's closed set of errors as the client is told them (RFC 5804, 1.3).
// What is ours is not among them: the server logs it and answers TRYLATER.
var answers = []struct {
	err  error
	code managesieve.Code
	text string
}{
	{scripts.ErrNoScript, managesieve.CodeNonexistent, "There is no script by that name"},
	{scripts.ErrExists, managesieve.CodeAlreadyExists, "There is a script by that name"},
	{scripts.ErrActive, managesieve.CodeActive, "The active script cannot be deleted"},
	{scripts.ErrTooMany, managesieve.CodeQuotaMaxScripts, "There are too many scripts"},
	{scripts.ErrTooLarge, managesieve.CodeQuotaMaxSize, "The script is too large"},
	{scripts.ErrEmpty, "", "The script is empty"},
	{scripts.ErrName, "", "That cannot be the name of a script"},
	{scripts.ErrFull, managesieve.CodeTryLater, "The server has no space left"},
	{mailstore.ErrNoAccount, "", "The account is no longer there"},
}

func answer(err error) error {
	var wrong *scripts.CompileError
	if errors.As(err, &wrong) {
		return &managesieve.Error{Text: lines(wrong.Err.Error())}
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return &managesieve.Error{Code: a.code, Text: a.text}
		}
	}
	return err
}
