// Package jmapd joins the families of data types to one JMAP server (RFC 8620): what a
// session is told, how octets come in and go out, and who is told of changes, by streams
// and by push services.
//
// The main type is [Server]. The package answers no method itself but those of
// PushSubscription; a family is a [Part], and none knows another.
//
// RFC 8620, 2, 6 and 7; RFC 8887; RFC 9749.
package jmapd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"

	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// Part is a family of data types.
type Part interface {
	Methods() []jmap.Method
	// Session is its part of the session's capabilities, by URI.
	Session() map[string]any
	// Capabilities is its part of accountCapabilities: what a user can do in one account.
	Capabilities(u *access.User, a *access.Account) map[string]any
	// States are the states of its types in an account, for push.
	States(ctx context.Context, a *access.Account) (map[string]string, error)
}

// Options are what a server is made of.
type Options struct {
	House *access.House
	Parts []Part
	Blobs access.Blobs // nil: nothing goes in or out
	// Authenticate tells whom a request is from. A *jmap.Problem is answered as it is.
	Authenticate func(w http.ResponseWriter, r *http.Request) (*access.User, error)
	// Lives tells whether the credential that a user came with still holds; nil: only
	// accounts and app passwords are looked at.
	Lives func(ctx context.Context, u *access.User) error
	// Origin is jmap.Options.Origin.
	Origin   func(r *http.Request) string
	Limits   jmap.RequestLimits
	Panicked func(v any, stack []byte)

	// PushNetworks may be pushed to although they are not of the open Internet.
	PushNetworks []netip.Prefix
	// PushTLS is for tests: roots that push services are checked by; nil: the system's.
	PushTLS *tls.Config
}

// Server is JMAP over a house. Its Handler answers requests; Run is what it does besides.
type Server struct {
	o     Options
	house *access.House
	log   *slog.Logger
	parts []Part
	jmap  *jmap.Server
	hub   *hub
	push  *pusher
}

// New makes a server. ctx is for reading the server's key for push services, which is made
// when it is missing.
func New(ctx context.Context, o Options) (*Server, error) {
	s := &Server{o: o, house: o.House, log: o.House.Log, parts: o.Parts, hub: newHub(o.House)}
	var err error
	if s.push, err = newPusher(ctx, s); err != nil {
		return nil, err
	}
	capabilities := map[string]any{capabilityVAPID: map[string]any{"applicationServerKey": s.push.public}}
	methods := s.push.methods()
	for _, p := range o.Parts {
		maps.Copy(capabilities, p.Session())
		methods = append(methods, p.Methods()...)
	}
	j := jmap.Options{
		Methods: methods, Capabilities: capabilities, Collations: collations,
		Authenticate: func(w http.ResponseWriter, r *http.Request) (any, error) {
			u, err := o.Authenticate(w, r)
			if err != nil {
				return nil, err
			}
			return u, nil
		},
		May:     func(u any, uri string) bool { return u.(*access.User).May(uri) },
		Who:     func(u any) string { return u.(*access.User).ID.String() },
		Recheck: func(ctx context.Context, u any) error { return s.lives(ctx, u.(*access.User)) },
		Session: s.session, Origin: o.Origin, Changes: s.hub, Limits: o.Limits, Log: s.log, Panicked: o.Panicked,
	}
	s.hub.states = s.states
	if o.Blobs != nil {
		j.Blobs = blobs{s.house, o.Blobs}
	}
	s.jmap = jmap.New(j)
	return s, nil
}

// collations are those by which all parts sort texts (RFC 4790): sort keys of mail are kept
// for one.
var collations = []string{"i;unicode-casemap"}

// capabilityVAPID is that of RFC 9749.
const capabilityVAPID = "urn:ietf:params:jmap:webpush-vapid"

// Handler answers /.well-known/jmap and all below /jmap/.
func (s *Server) Handler() http.Handler { return s.jmap }

// Shutdown ends the streams.
func (s *Server) Shutdown(ctx context.Context) error { return s.jmap.Shutdown(ctx) }

// Streams is the number of those that are open.
func (s *Server) Streams() int { return s.jmap.Streams() }

// Run pushes to push services until ctx is done.
func (s *Server) Run(ctx context.Context) error { return s.push.run(ctx) }

// session tells a user's accounts (RFC 8620, 2).
func (s *Server) session(ctx context.Context, user any) (*jmap.Session, error) {
	u := user.(*access.User)
	accounts, err := s.house.Accounts(ctx, u)
	if err != nil {
		return nil, err
	}
	o := &jmap.Session{Username: u.Login.String(), Accounts: map[jmap.ID]jmap.SessionAccount{}, Primary: map[string]jmap.ID{}}
	for _, a := range accounts {
		can := map[string]any{}
		for _, p := range s.parts {
			maps.Copy(can, p.Capabilities(u, a))
		}
		maps.DeleteFunc(can, func(uri string, _ any) bool { return !u.May(uri) })
		o.Accounts[a.JMAP()] = jmap.SessionAccount{Name: a.Owner.Login.String(), IsPersonal: a.Own, Capabilities: can}
		if a.Own {
			for uri := range can {
				o.Primary[uri] = a.JMAP()
			}
		}
	}
	return o, nil
}

// states are those of all types in all accounts of a user.
func (s *Server) states(ctx context.Context, u *access.User) (jmap.States, error) {
	accounts, err := s.house.Accounts(ctx, u)
	if err != nil {
		return nil, err
	}
	all := jmap.States{}
	for _, a := range accounts {
		of := map[string]string{}
		for _, p := range s.parts {
			states, err := p.States(ctx, a)
			if err != nil {
				return nil, err
			}
			maps.Copy(of, states)
		}
		if len(of) > 0 {
			all[a.JMAP()] = of
		}
	}
	return all, nil
}

// errEnded is a credential that no longer holds.
var errEnded = errors.New("jmapd: the credential no longer holds")

// lives tells whether a user may still be here.
func (s *Server) lives(ctx context.Context, u *access.User) error {
	if _, err := s.house.Directory.Principal(ctx, u.ID); err != nil {
		return err
	}
	if u.App != "" {
		apps, err := s.house.Directory.AppPasswords(ctx, u.ID)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(apps, func(a directory.AppPassword) bool { return a.Name == u.App }) {
			return errEnded
		}
	}
	if s.o.Lives != nil {
		return s.o.Lives(ctx, u)
	}
	return nil
}

// blobs are access.Blobs for the protocol, which knows no accounts.
type blobs struct {
	house *access.House
	store access.Blobs
}

func (b blobs) Upload(ctx context.Context, user any, account jmap.ID, mediaType string, r io.Reader) (jmap.ID, int64, error) {
	u := user.(*access.User)
	a, err := b.house.AccountFor(ctx, u, account)
	if err != nil {
		return "", 0, err
	}
	return b.store.Upload(ctx, u, a, mediaType, r)
}

func (b blobs) Open(ctx context.Context, user any, account, blob jmap.ID) (jmap.Blob, error) {
	u := user.(*access.User)
	a, err := b.house.AccountFor(ctx, u, account)
	if err != nil {
		return nil, err
	}
	return b.store.OpenBlob(ctx, u, a, blob)
}
