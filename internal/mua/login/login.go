// Package login says whom an HTTP request is from: a person with a session, a program with a
// password of its own, or one that was given a token.
//
// The main type is [Gate]. [Gate.Authenticate] judges a request; [Gate.Handler] serves what
// happens before there is anybody: logging in with password, code and passkey, and an
// authorization server (OAuth 2.1) for public clients. What a person changes of his own
// credentials are methods that take the [access.User]. The package stores nothing by itself:
// credentials are in directory, sessions and grants in tokens.
//
// A session's cookie counts only for requests of our own pages: see sameOrigin. Nothing that
// a stranger can cause is stored: what is under way (a log-in of two steps, a challenge, a
// request for consent) travels sealed with the client.
//
// RFC 6749, 6750, 7009, 7591, 7617, 7636, 7662, 8252, 8414, 9207, 9700, 9728; WebAuthn.
package login

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"postroad/internal/directory"
	"postroad/internal/tokens"
)

// Options say how a Gate works; Directory, Tokens and Origin must be there.
type Options struct {
	Directory *directory.Store
	Tokens    *tokens.Store
	// Origin is where people and programs find us: "https://mail.example.org". It is the
	// issuer of tokens, and the host of it what passkeys are for.
	Origin string
	// Name is what pages and authenticators call the service; empty: the host.
	Name string
	// LoginPage is the path where a person logs in with a passkey, which pages without
	// script cannot; empty: "/login".
	LoginPage string
	// NoRegistration turns off that programs register themselves (RFC 7591).
	NoRegistration bool
	// OIDC is a provider whose tokens count too; nil: none.
	OIDC *OIDC
	// Client tells a request's address; nil: its RemoteAddr.
	Client func(*http.Request) netip.Addr
	Log    *slog.Logger // nil: none
}

// Limits.
const (
	bodyMax       = 64 << 10 // octets of a request's body, a passkey's answer the longest
	ticketMax     = 48 << 10 // octets of a ticket
	tokenMax      = 8 << 10  // octets of a bearer token
	stepFor       = 5 * time.Minute
	consentFor    = 10 * time.Minute
	sweepInterval = 24 * time.Hour
)

// Gate judges requests. Its methods may be called at once.
type Gate struct {
	o        Options
	host     string
	seals    cipher.AEAD
	clients  []byte // key for the ids of programs that registered themselves
	passkeys *webauthn.WebAuthn
	outside  *provider // nil: none
}

// New makes a gate.
func New(o Options) (*Gate, error) {
	origin, err := url.Parse(o.Origin)
	if err != nil || origin.Scheme != "https" || origin.Host == "" || o.Origin != "https://"+strings.ToLower(origin.Host) || origin.Port() == "443" {
		return nil, fmt.Errorf("login: origin %q: it is as browsers write it: \"https://\" and a host in small letters, with a port where it is not 443, and nothing behind", o.Origin)
	}
	if o.Name == "" {
		o.Name = origin.Hostname()
	}
	if o.LoginPage == "" {
		o.LoginPage = "/login"
	}
	if o.Client == nil {
		o.Client = remoteAddr
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{o: o, host: origin.Hostname(), clients: derive(o.Directory.Secret(), "oauth clients")}
	if g.seals, err = newSeals(derive(o.Directory.Secret(), "login tickets")); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	g.passkeys, err = webauthn.New(&webauthn.Config{
		RPID: g.host, RPDisplayName: o.Name, RPOrigins: []string{o.Origin}, AttestationPreference: protocol.PreferNoAttestation,
	})
	if err != nil {
		return nil, fmt.Errorf("login: passkeys for %s: %w", g.host, err)
	}
	if o.OIDC != nil {
		if g.outside, err = newProvider(*o.OIDC); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// remoteAddr is the address of the connection.
func remoteAddr(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// Paths that Handler serves; those under pathResource too.
const (
	pathServer     = "/.well-known/oauth-authorization-server"
	pathResource   = "/.well-known/oauth-protected-resource"
	pathAuthorize  = "/oauth/authorize"
	pathEnter      = "/oauth/enter"
	pathCode       = "/oauth/code"
	pathConsent    = "/oauth/consent"
	pathToken      = "/oauth/token"
	pathRevoke     = "/oauth/revoke"
	pathInspect    = "/oauth/introspect"
	pathRegister   = "/oauth/register"
	pathLogin      = "/login"
	pathLoginCode  = "/login/code"
	pathLoginKey   = "/login/passkey"
	pathLoginDone  = "/login/passkey/finish"
	pathLoginAgain = "/login/again"
	pathSession    = "/login/session"
	pathLogout     = "/logout"
)

// Handler serves the paths below "/oauth/" and "/login/", POST "/login" and "/logout", and the
// two documents under "/.well-known/". A GET of "/login" is not among them: it is a page of
// the web mail.
func (g *Gate) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET "+pathServer, g.serveServer)
	m.HandleFunc("GET "+pathResource, g.serveResource)
	m.HandleFunc("GET "+pathResource+"/", g.serveResource)
	m.HandleFunc("GET "+pathAuthorize, g.serveAuthorize)
	for path, f := range map[string]http.HandlerFunc{pathEnter: g.serveEnter, pathCode: g.serveEnterCode, pathConsent: g.serveConsent} {
		m.HandleFunc("POST "+path, g.form(f))
	}
	for path, f := range map[string]http.HandlerFunc{pathToken: g.serveToken, pathRevoke: g.serveRevoke, pathRegister: g.serveRegister} {
		m.HandleFunc("POST "+path, anyOrigin(f))
		m.HandleFunc("OPTIONS "+path, anyOrigin(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	}
	m.HandleFunc("POST "+pathInspect, g.serveInspect)
	for path, f := range map[string]step{pathLogin: g.logIn, pathLoginCode: g.logInCode, pathLoginKey: g.passkeyBegin,
		pathLoginDone: g.passkeyFinish, pathLoginAgain: g.logInAgain, pathLogout: g.logOut} {
		m.HandleFunc("POST "+path, g.json(f))
	}
	m.HandleFunc("GET "+pathSession, g.json(g.showSession))
	return guarded(m)
}

// guarded sets what every answer has: nothing is kept, framed or guessed at.
func guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Cache-Control", "no-store")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		// The origin of our own forms must be sent, or they could not be told from others'.
		head.Set("Referrer-Policy", "same-origin")
		r.Body = http.MaxBytesReader(w, r.Body, bodyMax)
		h.ServeHTTP(w, r)
	})
}

// Run sweeps what is over, once a day, until ctx is done.
func (g *Gate) Run(ctx context.Context) {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n, err := g.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			g.o.Log.Warn("login: sessions and grants that are over were not all swept", "error", err)
		}
		g.o.Log.Debug("login: swept", "accounts", n.Accounts, "ended", n.Ended, "gone", n.Gone)
	}
}

// Sweep throws away sessions and grants that are over, and those of accounts that are gone.
func (g *Gate) Sweep(ctx context.Context) (tokens.Swept, error) {
	return g.o.Tokens.Sweep(ctx, func(ctx context.Context, id tokens.AccountID) (bool, error) {
		_, err := g.o.Directory.Account(ctx, id)
		if errors.Is(err, directory.ErrNotFound) {
			return false, nil
		}
		return true, err
	})
}
