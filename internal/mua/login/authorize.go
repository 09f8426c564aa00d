package login

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"postroad/internal/kv/hlc"
	"postroad/internal/tokens"
)

// How a program gets a grant (RFC 6749, 4.1, with PKCE always):
//
//	GET  /oauth/authorize   log in first, if there is no session; then the page that asks
//	POST /oauth/enter       name and password, from that page
//	POST /oauth/code        the second factor
//	POST /oauth/consent     yes or no; the answer goes to the program's redirect URI
//
// A fault in the client or its redirect URI is shown to the user and goes nowhere: sending it
// on is what makes an open redirector (RFC 9700, 4.11.2). All other faults go to the client;
// but to one that registered itself only by a link that the user sees, since anybody may have
// made it for a page that looks like ours. Once the user has answered, he has seen the host.
// Pages have no script. Requests travel sealed within their forms.

const (
	queryMax    = 8 << 10 // octets of a request's parameters
	stateMax    = 4 << 10
	challengeLn = 43 // S256 in base 64 (RFC 7636, 4.2)
)

// ask is a request for a grant that was found good.
type ask struct {
	Query     string   `json:"q"` // as it came, to begin anew
	Client    string   `json:"c"`
	Name      string   `json:"n,omitempty"`
	Known     bool     `json:"k,omitempty"`
	Redirect  string   `json:"r"`
	State     string   `json:"st,omitempty"`
	Scopes    []string `json:"sc"`
	Offline   bool     `json:"o,omitempty"`
	Challenge string   `json:"ch"`
	Session   hlc.ID   `json:"s,omitempty"` // whose form this is
	Account   hlc.ID   `json:"a,omitempty"`
}

const (
	purposeEnter   = "oauth enter"
	purposeConsent = "oauth consent"
	purposeOAuth2  = "oauth second factor"
)

// redirectError is a fault that goes to the client (RFC 6749, 4.1.2.1).
type redirectError struct{ code, detail string }

func (e *redirectError) Error() string { return e.code + ": " + e.detail }

// single reads parameters, none of which may come twice (RFC 6749, 3.1).
func single(text string) (url.Values, bool) {
	if len(text) > queryMax {
		return nil, false
	}
	q, err := url.ParseQuery(text)
	if err != nil {
		return nil, false
	}
	for _, v := range q {
		if len(v) != 1 {
			return nil, false
		}
	}
	return q, true
}

// readAsk judges a request for a grant. A *Refusal is for the user, a *redirectError for the
// client, for which Redirect and State are filled in.
func (g *Gate) readAsk(r *http.Request) (ask, error) {
	q, ok := single(r.URL.RawQuery)
	if !ok {
		return ask{}, refuse(http.StatusBadRequest, "the program's request is malformed")
	}
	a := ask{Query: r.URL.RawQuery, Client: q.Get("client_id"), Redirect: q.Get("redirect_uri"), State: q.Get("state"), Challenge: q.Get("code_challenge")}
	c, err := g.client(r.Context(), a.Client)
	if err != nil {
		return ask{}, err
	}
	if a.Redirect == "" && len(c.Redirects) == 1 && CheckRedirect(c.Redirects[0]) == "" {
		a.Redirect = c.Redirects[0] // RFC 6749, 3.1.2.3
	}
	if !c.allows(a.Redirect) {
		return ask{}, refuse(http.StatusBadRequest, "the program wants the answer at an address that it has not registered")
	}
	a.Name, a.Known = c.Name, c.Known
	if len(a.State) > stateMax {
		a.State = ""
		return a, &redirectError{"invalid_request", "the state is too long"}
	}
	switch {
	case q.Get("response_type") != "code":
		return a, &redirectError{"unsupported_response_type", "response_type is code"}
	case q.Has("request") || q.Has("request_uri"):
		return a, &redirectError{"request_not_supported", "parameters stand in the query"}
	case q.Has("response_mode") && q.Get("response_mode") != "query":
		return a, &redirectError{"invalid_request", "response_mode is query"}
	case q.Get("code_challenge_method") != "S256" || !isChallenge(a.Challenge): // never plain (RFC 9700, 2.1.1)
		return a, &redirectError{"invalid_request", "code_challenge is needed, and its method is S256 (RFC 7636)"}
	case q.Has("resource") && q.Get("resource") != g.o.Origin && !strings.HasPrefix(q.Get("resource"), g.o.Origin+"/"): // RFC 8707, 2
		return a, &redirectError{"invalid_target", "this resource is not ours"}
	}
	a.Scopes, a.Offline = readScopes(q.Get("scope"))
	if len(a.Scopes) == 0 {
		return a, &redirectError{"invalid_scope", "none of the scopes is known here"}
	}
	return a, nil
}

func isChallenge(s string) bool {
	return len(s) == challengeLn && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// readScopes keeps the scopes that are known (RFC 6749, 3.3); none asked for is mail.
func readScopes(text string) (scopes []string, offline bool) {
	if text == "" {
		return scopesSupported[:1], false
	}
	for _, s := range strings.Fields(text) {
		switch {
		case s == scopeOffline:
			offline = true
		case slices.Contains(scopesSupported, s) && !slices.Contains(scopes, s):
			scopes = append(scopes, s)
		}
	}
	return scopes, offline
}

// answer sends the browser back to the client with parameters.
func (g *Gate) answer(w http.ResponseWriter, r *http.Request, a *ask, params url.Values) {
	where, err := g.answerURL(a, params)
	if err != nil {
		g.failPage(w, r, err)
		return
	}
	w.Header().Set("Location", where)
	w.WriteHeader(http.StatusSeeOther)
}

// answerURL is the client's redirect URI with parameters, and who we are (RFC 9207).
func (g *Gate) answerURL(a *ask, params url.Values) (string, error) {
	u, err := url.Parse(a.Redirect)
	if err != nil { // it was checked
		return "", fmt.Errorf("redirect URI: %w", err)
	}
	params.Set("iss", g.o.Origin)
	if a.State != "" {
		params.Set("state", a.State)
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += params.Encode()
	return u.String(), nil
}

// serveAuthorize begins.
func (g *Gate) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	a, err := g.readAsk(r)
	if err != nil {
		g.refuseAsk(w, r, &a, err)
		return
	}
	s, err := g.cookie(r)
	if err == nil {
		_, err = g.principal(r.Context(), s.Account)
	}
	var refused *Refusal
	switch {
	case err == nil:
		g.askConsent(w, r, a, s)
	case !errors.As(err, &refused):
		g.failPage(w, r, err)
	case isForeign(r) && len(r.CookiesNamed(cookieName)) == 0:
		// A strict cookie does not come along from another site. Our own page takes the same
		// step, and then it does.
		g.page(w, r, http.StatusOK, pageOnward, view{Onward: pathAuthorize + "?" + a.Query})
	default:
		g.askPassword(w, r, a, "", http.StatusOK)
	}
}

// isForeign tells whether another site sent the browser here.
func isForeign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// refuseAsk tells whoever may know what is wrong with a request.
func (g *Gate) refuseAsk(w http.ResponseWriter, r *http.Request, a *ask, err error) {
	var back *redirectError
	var refused *Refusal
	switch {
	case errors.As(err, &back):
		params := url.Values{"error": {back.code}, "error_description": {back.detail}}
		if a.Known {
			g.answer(w, r, a, params)
			return
		}
		where, err := g.answerURL(a, params)
		if err != nil {
			g.failPage(w, r, err)
			return
		}
		g.page(w, r, http.StatusBadRequest, pageBack, view{Ask: a, Text: back.detail, Back: template.URL(where)})
	case errors.As(err, &refused):
		g.page(w, r, refused.Status, pageError, view{Text: refused.Detail})
	default:
		g.failPage(w, r, err)
	}
}

// askPassword shows the form for name and password.
func (g *Gate) askPassword(w http.ResponseWriter, r *http.Request, a ask, wrong string, status int) {
	ticket, err := g.seal(purposeEnter, consentFor, a)
	if err != nil {
		g.failPage(w, r, err)
		return
	}
	g.page(w, r, status, pageEnter, view{Ask: &a, Ticket: ticket, Wrong: wrong, LoginPage: g.o.LoginPage})
}

// askConsent shows the page that asks the user.
func (g *Gate) askConsent(w http.ResponseWriter, r *http.Request, a ask, s tokens.Session) {
	p, err := g.principal(r.Context(), s.Account)
	if err != nil {
		g.refuseAsk(w, r, &a, err)
		return
	}
	a.Session, a.Account = s.ID, s.Account
	ticket, err := g.seal(purposeConsent, consentFor, a)
	if err != nil {
		g.failPage(w, r, err)
		return
	}
	g.page(w, r, http.StatusOK, pageConsent, view{Ask: &a, Ticket: ticket, Login: p.Login.String()})
}

// form judges a form of ours: another site's page must not fill it in for the user.
func (g *Gate) form(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		if origin == "" && site == "" || origin != "" && origin != g.o.Origin || site != "" && site != "same-origin" {
			g.page(w, r, http.StatusForbidden, pageError, view{Text: "this form was not sent by a page of ours"})
			return
		}
		if err := r.ParseForm(); err != nil {
			g.page(w, r, http.StatusBadRequest, pageError, view{Text: "the form is malformed or too long"})
			return
		}
		f(w, r)
	}
}

// formTicket opens the ticket of a form, or shows that it is too old.
func (g *Gate) formTicket(w http.ResponseWriter, r *http.Request, purpose string, v any) bool {
	err := g.open(purpose, r.PostForm.Get("ticket"), v)
	if errors.Is(err, errTicket) {
		g.page(w, r, http.StatusGone, pageError, view{Text: "it took too long; go back to the program and begin again"})
		return false
	}
	if err != nil {
		g.failPage(w, r, err)
		return false
	}
	return true
}

// second is what the form for a code carries.
type second struct {
	under
	Ask ask `json:"k"`
}

// serveEnter takes name and password.
func (g *Gate) serveEnter(w http.ResponseWriter, r *http.Request) {
	var a ask
	if !g.formTicket(w, r, purposeEnter, &a) {
		return
	}
	p, err := g.person(r, r.PostForm.Get("user"), r.PostForm.Get("password"))
	var refused *Refusal
	switch {
	case errors.As(err, &refused):
		g.askPassword(w, r, a, refused.Detail, refused.Status)
	case err != nil:
		g.failPage(w, r, err)
	case p.Second:
		g.askCode(w, r, second{under{Account: p.ID}, a}, "", http.StatusOK)
	default:
		g.entered(w, r, second{under{Account: p.ID}, a}, "password")
	}
}

// askCode shows the form for the second factor.
func (g *Gate) askCode(w http.ResponseWriter, r *http.Request, s second, wrong string, status int) {
	ticket, err := g.seal(purposeOAuth2, stepFor, s)
	if err != nil {
		g.failPage(w, r, err)
		return
	}
	g.page(w, r, status, pageCode, view{Ask: &s.Ask, Ticket: ticket, Wrong: wrong, LoginPage: g.o.LoginPage})
}

// serveEnterCode takes a code.
func (g *Gate) serveEnterCode(w http.ResponseWriter, r *http.Request) {
	var s second
	if !g.formTicket(w, r, purposeOAuth2, &s) {
		return
	}
	err := wrongPassword(g.o.Directory.CheckCode(r.Context(), s.Account, r.PostForm.Get("code"), g.o.Client(r)))
	var refused *Refusal
	switch {
	case errors.As(err, &refused):
		// A ticket is not made anew for a wrong code, or it would never end.
		g.page(w, r, refused.Status, pageCode, view{Ask: &s.Ask, Ticket: r.PostForm.Get("ticket"), Wrong: refused.Detail, LoginPage: g.o.LoginPage})
	case err != nil:
		g.failPage(w, r, err)
	default:
		g.entered(w, r, s, "password+code")
	}
}

// entered begins the session and goes back to where it was asked for.
func (g *Gate) entered(w http.ResponseWriter, r *http.Request, s second, how string) {
	if _, err := g.enter(w, r, s.under, how); err != nil {
		g.refuseAsk(w, r, &s.Ask, err)
		return
	}
	http.Redirect(w, r, pathAuthorize+"?"+s.Ask.Query, http.StatusSeeOther)
}

// serveConsent takes the user's yes or no.
func (g *Gate) serveConsent(w http.ResponseWriter, r *http.Request) {
	var a ask
	if !g.formTicket(w, r, purposeConsent, &a) {
		return
	}
	s, err := g.cookie(r)
	if err != nil || s.ID != a.Session || s.Account != a.Account {
		g.page(w, r, http.StatusForbidden, pageError, view{Text: "you are not logged in any more; go back to the program and begin again"})
		return
	}
	if _, err := g.principal(r.Context(), s.Account); err != nil {
		g.refuseAsk(w, r, &a, err)
		return
	}
	if r.PostForm.Get("answer") != "yes" {
		g.answer(w, r, &a, url.Values{"error": {"access_denied"}, "error_description": {"the user said no"}})
		return
	}
	code, err := g.o.Tokens.NewGrant(r.Context(), tokens.Offer{Redirect: a.Redirect, Challenge: a.Challenge,
		Grant: tokens.Grant{Account: s.Account, Client: a.Client, Name: a.Name, Scopes: a.Scopes, Offline: a.Offline}})
	if err != nil {
		g.failPage(w, r, err)
		return
	}
	g.o.Log.Info("a program was given a grant", "account", s.Account, "program", a.Name, "scopes", a.Scopes)
	g.answer(w, r, &a, url.Values{"code": {code.Reveal()}})
}
