package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/tokens"
)

// How a person logs in, from our own page (all of it JSON, all same-origin):
//
//	POST /login                  name, password            ok, or second with a ticket
//	POST /login/again            password, in a session    likewise: the session is fresh again
//	POST /login/code             ticket, code              ok
//	POST /login/passkey          ticket, or none           options for the browser, a ticket
//	POST /login/passkey/finish   ticket, credential        ok
//	GET  /login/session                                    who is logged in
//	POST /logout
//
// A ticket says what was shown already. Only the last step makes anything durable.

// step is one of these. What it returns is the answer.
type step func(w http.ResponseWriter, r *http.Request) (any, error)

// under is what a ticket carries through a log-in of two steps.
type under struct {
	Account  directory.AccountID `json:"a"`
	Session  hlc.ID              `json:"s,omitempty"` // the one that becomes fresh; 0: a new one begins
	Remember bool                `json:"r,omitempty"`
}

const purposeSecond = "second factor"

// Answer is what the steps of a log-in answer.
type Answer struct {
	State   string       `json:"state"`             // "ok", or "second": one of Methods is asked for
	Ticket  string       `json:"ticket,omitempty"`  // of "second", for stepFor
	Methods []string     `json:"methods,omitempty"` // "code", "passkey", "recovery"
	Session *SessionView `json:"session,omitempty"` // of "ok"
}

// SessionView is a session as its user sees it.
type SessionView struct {
	ID         string    `json:"id"`
	Current    bool      `json:"current"`
	Login      string    `json:"login,omitempty"`
	Name       string    `json:"name,omitempty"`
	Client     string    `json:"client"`
	Address    string    `json:"address,omitempty"`
	How        string    `json:"how"`
	Remembered bool      `json:"remembered"`
	Created    time.Time `json:"created"`
	Used       time.Time `json:"used"`
	Expires    time.Time `json:"expires"`
	FreshUntil time.Time `json:"freshUntil"` // till then credentials may be changed
}

func viewSession(s tokens.Session, current bool) *SessionView {
	v := &SessionView{ID: s.ID.String(), Current: current, Client: s.Client, How: s.How, Remembered: s.Remembered,
		Created: s.Created, Used: s.Used, Expires: s.Expires, FreshUntil: s.Fresh.Add(tokens.FreshFor)}
	if s.Address.IsValid() {
		v.Address = s.Address.String()
	}
	return v
}

// json runs a step for a request of our own page and writes its answer.
func (g *Gate) json(f step) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := g.sameOrigin(r)
		if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); err == nil && r.Method == http.MethodPost && strings.TrimSpace(strings.ToLower(kind)) != "application/json" {
			err = refuse(http.StatusUnsupportedMediaType, "the Content-Type is application/json")
		}
		var answer any
		if err == nil {
			answer, err = f(w, r)
		}
		if err != nil {
			err = g.challenge(w, r, err, "")
		}
		g.writeJSON(w, answer, err)
	}
}

// writeJSON writes an answer, or why there is none.
func (g *Gate) writeJSON(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	var refused *Refusal
	switch {
	case errors.As(err, &refused):
		status, answer = refused.Status, map[string]string{"detail": refused.Detail}
	case err != nil:
		g.o.Log.Error("login: a request failed", "error", err)
		status, answer = http.StatusInternalServerError, map[string]string{"detail": "our fault; try again later"}
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil { // none of our values is one that JSON cannot write
		status, text = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(text)
}

// errRequest is a body that is not what the step asks for.
var errRequest = refuse(http.StatusBadRequest, "the request is not the JSON object that this step takes")

// readJSON reads a body with known names only.
func readJSON(r *http.Request, v any) error {
	raw, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return refuse(http.StatusRequestEntityTooLarge, "the request is too long")
	}
	if err != nil {
		return errRequest
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if d.Decode(v) != nil || d.More() {
		return errRequest
	}
	return nil
}

// logIn is the first step: name and password.
func (g *Gate) logIn(w http.ResponseWriter, r *http.Request) (any, error) {
	var q struct {
		User     string `json:"user"`
		Password string `json:"password"`
		Remember bool   `json:"remember"`
	}
	if err := readJSON(r, &q); err != nil {
		return nil, err
	}
	p, err := g.person(r, q.User, q.Password)
	if err != nil {
		return nil, err
	}
	return g.next(w, r, p, under{Account: p.ID, Remember: q.Remember})
}

// person checks a human password. A program's does not open the web mail: it would be a way
// around the second factor, and to all credentials.
func (g *Gate) person(r *http.Request, user, password string) (directory.Principal, error) {
	p, err := g.o.Directory.Authenticate(r.Context(), directory.Credentials{Login: user, Password: password, Client: g.o.Client(r), Person: true})
	if err == nil && p.App != "" {
		err = refuse(http.StatusForbidden, "this is the password of a program; log in with your own")
	}
	return p, wrongPassword(err)
}

// next ends a log-in, or asks for the second factor.
func (g *Gate) next(w http.ResponseWriter, r *http.Request, p directory.Principal, u under) (any, error) {
	if !p.Second {
		return g.arrive(w, r, u, "password")
	}
	ticket, err := g.seal(purposeSecond, stepFor, u)
	if err != nil {
		return nil, err
	}
	methods, err := g.methods(r.Context(), p.ID)
	return Answer{State: "second", Ticket: ticket, Methods: methods}, err
}

// methods are what an account has as second factor.
func (g *Gate) methods(ctx context.Context, id directory.AccountID) ([]string, error) {
	f, err := g.o.Directory.Factors(ctx, id)
	var list []string
	if !f.TOTP.IsZero() {
		list = append(list, "code")
	}
	if len(f.Passkeys) > 0 {
		list = append(list, "passkey")
	}
	if f.Recovery > 0 {
		list = append(list, "recovery")
	}
	return list, err
}

// logInAgain proves anew who has a session.
func (g *Gate) logInAgain(w http.ResponseWriter, r *http.Request) (any, error) {
	var q struct {
		Password string `json:"password"`
	}
	if err := readJSON(r, &q); err != nil {
		return nil, err
	}
	s, err := g.session(r)
	if err != nil {
		return nil, err
	}
	who, err := g.principal(r.Context(), s.Account)
	if err != nil {
		return nil, err
	}
	p, err := g.person(r, who.Login.String(), q.Password)
	if err != nil {
		return nil, err
	}
	return g.next(w, r, p, under{Account: p.ID, Session: s.ID})
}

// logInCode is the second step with an authenticator's code, or one for recovery.
func (g *Gate) logInCode(w http.ResponseWriter, r *http.Request) (any, error) {
	var q struct {
		Ticket string `json:"ticket"`
		Code   string `json:"code"`
	}
	if err := readJSON(r, &q); err != nil {
		return nil, err
	}
	u, err := g.checkCode(r, q.Ticket, q.Code)
	if err != nil {
		return nil, err
	}
	return g.arrive(w, r, u, "password+code")
}

// checkCode takes the second step of a log-in.
func (g *Gate) checkCode(r *http.Request, ticket, code string) (under, error) {
	var u under
	if err := g.openTicket(purposeSecond, ticket, &u); err != nil {
		return u, err
	}
	return u, wrongPassword(g.o.Directory.CheckCode(r.Context(), u.Account, code, g.o.Client(r)))
}

// openTicket is open with a refusal that says what to do.
func (g *Gate) openTicket(purpose, ticket string, v any) error {
	err := g.open(purpose, ticket, v)
	if errors.Is(err, errTicket) {
		return refuse(http.StatusGone, "it took too long; begin again with name and password")
	}
	return err
}

// arrive ends a log-in: a new session, or the one there is becomes fresh.
func (g *Gate) arrive(w http.ResponseWriter, r *http.Request, u under, how string) (any, error) {
	s, err := g.enter(w, r, u, how)
	if err != nil {
		return nil, err
	}
	p, err := g.principal(r.Context(), s.Account)
	if err != nil {
		return nil, err
	}
	v := viewSession(s, true)
	v.Login, v.Name = p.Login.String(), p.Name
	return Answer{State: "ok", Session: v}, nil
}

// enter makes the session and gives the browser its cookie. A session that the browser had
// before ends: nobody keeps two in one.
func (g *Gate) enter(w http.ResponseWriter, r *http.Request, u under, how string) (tokens.Session, error) {
	ctx := r.Context()
	if _, err := g.principal(ctx, u.Account); err != nil {
		return tokens.Session{}, err
	}
	had, err := g.cookie(r)
	if u.Session != 0 {
		if err != nil || had.ID != u.Session || had.Account != u.Account {
			return tokens.Session{}, errNobody
		}
		if err := g.o.Tokens.Renew(ctx, u.Account, u.Session); err != nil {
			if errors.Is(err, tokens.ErrNotFound) {
				return tokens.Session{}, errNobody
			}
			return tokens.Session{}, err
		}
		had.Fresh = time.Now().UTC().Truncate(time.Second)
		return had, nil
	}
	token, s, err2 := g.o.Tokens.StartSession(ctx, tokens.Session{Account: u.Account, Client: r.UserAgent(), Address: g.o.Client(r), How: how, Remembered: u.Remember})
	if err2 != nil {
		return tokens.Session{}, err2
	}
	if err == nil {
		if err := g.o.Tokens.EndSession(ctx, had.Account, had.ID); err != nil && !errors.Is(err, tokens.ErrNotFound) {
			return tokens.Session{}, err
		}
	}
	g.sendCookie(w, token, s)
	g.o.Log.Info("logged in", "account", u.Account, "how", how, "client", g.o.Client(r))
	return s, nil
}

// showSession tells who is logged in.
func (g *Gate) showSession(w http.ResponseWriter, r *http.Request) (any, error) {
	s, err := g.session(r)
	if err != nil {
		return nil, err
	}
	p, err := g.principal(r.Context(), s.Account)
	if err != nil {
		return nil, err
	}
	v := viewSession(s, true)
	v.Login, v.Name = p.Login.String(), p.Name
	return Answer{State: "ok", Session: v}, nil
}

// logOut ends the session and has the browser forget what it keeps of it.
func (g *Gate) logOut(w http.ResponseWriter, r *http.Request) (any, error) {
	s, err := g.session(r)
	if err != nil {
		return nil, err
	}
	if err := g.o.Tokens.EndSession(r.Context(), s.Account, s.ID); err != nil && !errors.Is(err, tokens.ErrNotFound) {
		return nil, err
	}
	dropCookie(w)
	w.Header().Set("Clear-Site-Data", `"cache", "cookies", "storage"`)
	return Answer{State: "out"}, nil
}
