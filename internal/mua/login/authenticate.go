package login

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/tokens"
)

// Refusal is why a request is nobody's. Its words are fit for strangers.
type Refusal struct {
	Status int
	Detail string
}

func (r *Refusal) Error() string { return fmt.Sprintf("login: %d %s", r.Status, r.Detail) }

func refuse(status int, detail string) *Refusal { return &Refusal{status, detail} }

const (
	cookieName  = "__Host-postroad" // the prefix makes browsers hold it to this host and to TLS
	unsafeField = "X-Postroad"      // no other site can send it without asking us first
	basicRealm  = "postroad"
)

// Authenticate tells whom a request is from: by the Authorization field (Basic or Bearer), or
// else by a session's cookie if one of our own pages sent it. It sets fields of the answer and
// writes none: the error is a *Refusal, or ours.
func (g *Gate) Authenticate(w http.ResponseWriter, r *http.Request) (*access.User, error) {
	fields := r.Header.Values("Authorization")
	if len(fields) > 1 {
		return nil, refuse(http.StatusBadRequest, "more than one Authorization field")
	}
	if len(fields) == 1 {
		scheme, rest, _ := strings.Cut(fields[0], " ")
		switch rest = strings.TrimLeft(rest, " "); strings.ToLower(scheme) {
		case "basic":
			return g.basic(w, r, rest)
		case "bearer":
			u, err := g.Bearer(r.Context(), rest, g.o.Client(r))
			if err != nil {
				return nil, g.challenge(w, r, err, `error="invalid_token"`)
			}
			return u, nil
		}
		return nil, g.challenge(w, r, errNobody, "")
	}
	s, err := g.session(r)
	if err != nil {
		return nil, g.challenge(w, r, err, "")
	}
	return g.sessionUser(r.Context(), s, g.o.Client(r))
}

// errNobody is a request without what proves who it is from, or with what does not.
var errNobody = refuse(http.StatusUnauthorized, "log in first")

// challenge says how one may log in (RFC 9110, 11.6.1). A browser is not asked for Basic: it
// would show a window of its own over the web mail.
func (g *Gate) challenge(w http.ResponseWriter, r *http.Request, err error, more string) error {
	var refused *Refusal
	if errors.As(err, &refused) && refused.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "60")
	}
	if errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		return err
	}
	bearer := `Bearer resource_metadata="` + g.o.Origin + pathResource + resourcePath(r.URL) + `"` // RFC 9728, 5.1
	if more != "" {
		bearer += ", " + more // RFC 6750, 3.1
	}
	w.Header().Add("WWW-Authenticate", bearer)
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get(unsafeField) == "" {
		w.Header().Add("WWW-Authenticate", `Basic realm="`+basicRealm+`", charset="UTF-8"`) // RFC 7617, 2.1
	}
	return err
}

// resourcePath is the path of what was asked for, as it stands in the URL of its metadata
// (RFC 9728, 3.1).
func resourcePath(u *url.URL) string {
	if p := u.EscapedPath(); p != "/" && len(p) <= 500 {
		return p
	}
	return ""
}

// basic judges name and password (RFC 7617). A program's password is always enough, a human
// one where the account has no second factor: directory says so.
func (g *Gate) basic(w http.ResponseWriter, r *http.Request, text string) (*access.User, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	user, password, ok := strings.Cut(string(raw), ":")
	if err != nil || !ok || !utf8.Valid(raw) {
		return nil, g.challenge(w, r, errNobody, "")
	}
	client := g.o.Client(r)
	p, err := g.o.Directory.Authenticate(r.Context(), directory.Credentials{Login: user, Password: password, Client: client})
	if err != nil {
		return nil, g.challenge(w, r, wrongPassword(err), "")
	}
	u := &access.User{Principal: p, Client: client, Credential: "app:" + p.App}
	if p.App == "" { // the password itself, shown just now
		u.Credential, u.Full = "password", true
	}
	return u, nil
}

// wrongPassword turns directory's errors into refusals.
func wrongPassword(err error) error {
	switch {
	case errors.Is(err, directory.ErrCredentials):
		return refuse(http.StatusUnauthorized, "the name, the password or the code is wrong")
	case errors.Is(err, directory.ErrThrottled):
		return refuse(http.StatusTooManyRequests, "too many failed tries; wait some minutes")
	}
	return err
}

// Bearer tells whom a token was given to: one of ours, or one of the outside provider's. The
// error is a *Refusal, or ours. It is for doors other than HTTP too (RFC 7628).
func (g *Gate) Bearer(ctx context.Context, token string, client netip.Addr) (*access.User, error) {
	if token == "" || len(token) > tokenMax {
		return nil, errNobody
	}
	if !tokens.Ours(token) {
		if g.outside == nil {
			return nil, errNobody
		}
		return g.bearerOutside(ctx, token, client)
	}
	a, err := g.o.Tokens.Access(ctx, token, client)
	if errors.Is(err, tokens.ErrNotFound) {
		return nil, errNobody
	}
	if err != nil {
		return nil, err
	}
	p, err := g.principal(ctx, a.Account)
	if err != nil {
		return nil, err
	}
	return &access.User{Principal: p, Client: client, Credential: "token:" + a.ID.String(), Scopes: a.Scopes}, nil
}

// principal returns who an account is, unless it is off or gone: then a token or a session
// of it is nobody's.
func (g *Gate) principal(ctx context.Context, id directory.AccountID) (directory.Principal, error) {
	a, err := g.o.Directory.Account(ctx, id)
	if errors.Is(err, directory.ErrNotFound) || err == nil && (a.Disabled || a.Public) {
		return directory.Principal{}, errNobody
	}
	if err != nil {
		return directory.Principal{}, err
	}
	return g.o.Directory.Principal(ctx, id)
}

// session returns the session of a request of one of our own pages.
func (g *Gate) session(r *http.Request) (tokens.Session, error) {
	s, err := g.cookie(r)
	if err != nil {
		return tokens.Session{}, err
	}
	return s, g.sameOrigin(r)
}

// cookie returns the session behind a request's cookie, whoever sent it along. Two cookies of
// the name cannot come from one of our answers.
func (g *Gate) cookie(r *http.Request) (tokens.Session, error) {
	cookies := r.CookiesNamed(cookieName)
	if len(cookies) != 1 {
		return tokens.Session{}, errNobody
	}
	s, err := g.o.Tokens.Session(r.Context(), cookies[0].Value, g.o.Client(r))
	if errors.Is(err, tokens.ErrNotFound) {
		return s, errNobody
	}
	return s, err
}

func (g *Gate) sessionUser(ctx context.Context, s tokens.Session, client netip.Addr) (*access.User, error) {
	p, err := g.principal(ctx, s.Account)
	if err != nil {
		return nil, err
	}
	return &access.User{Principal: p, Client: client, Credential: "session:" + s.ID.String(), Full: s.IsFresh(time.Now())}, nil
}

// errForeign is a request that another site caused, or that does not tell.
var errForeign = refuse(http.StatusForbidden, "a session counts only for requests of our own pages: they carry Sec-Fetch-Site or Origin, and "+unsafeField+" where they change something")

// sameOrigin tells whether one of our own pages made the request. The cookie's SameSite
// keeps other sites out by itself; this holds where a browser's does not, and against other
// hosts of our own domain, which are the same site:
//
//	Origin, where it is there, is ours
//	Sec-Fetch-Site, where it is there, is same-origin; for WebSocket, whose scheme browsers
//	have counted as another, Origin decides
//	one of the two is there
//	what is not GET or HEAD has a field of ours, which needs script of our origin
func (g *Gate) sameOrigin(r *http.Request) error {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	socket := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case origin == "" && (site == "" || socket),
		origin != "" && origin != g.o.Origin,
		site != "" && site != "same-origin" && !socket,
		!reads && r.Header.Get(unsafeField) != "1":
		return errForeign
	}
	return nil
}

// sendCookie gives a browser its session.
func (g *Gate) sendCookie(w http.ResponseWriter, token tokens.Token, s tokens.Session) {
	c := &http.Cookie{Name: cookieName, Value: token.Reveal(), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if s.Remembered {
		c.Expires, c.MaxAge = s.Expires, int(time.Until(s.Expires)/time.Second)
	}
	http.SetCookie(w, c)
}

// dropCookie takes it away again.
func dropCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: -1})
}

// Lives tells whether what a user proved himself with when he came still holds, for streams:
// a session or a grant may have ended since. The error is a *Refusal, or ours.
func (g *Gate) Lives(ctx context.Context, u *access.User) error {
	kind, text, _ := strings.Cut(u.Credential, ":")
	var alive bool
	switch kind {
	case "session":
		list, err := g.o.Tokens.Sessions(ctx, u.ID)
		if err != nil {
			return err
		}
		alive = slices.ContainsFunc(list, func(s tokens.Session) bool { return s.ID.String() == text })
	case "token":
		list, err := g.o.Tokens.Grants(ctx, u.ID)
		if err != nil {
			return err
		}
		alive = slices.ContainsFunc(list, func(s tokens.Grant) bool { return s.ID.String() == text })
	default:
		return nil
	}
	if !alive {
		return errNobody
	}
	return nil
}
