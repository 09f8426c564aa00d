package login

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/tokens"
)

const (
	origin   = "https://mail.example.com"
	password = "correct horse"
)

// logBuffer gathers what is logged, to look for secrets.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// house is a gate with alice and bob.
type house struct {
	t      *testing.T
	gate   *Gate
	dir    *directory.Store
	tokens *tokens.Store
	server *httptest.Server
	alice  directory.Account
	log    *logBuffer
}

func newHouse(t *testing.T, change ...func(*Options)) *house {
	t.Helper()
	engine := memkv.New()
	t.Cleanup(func() { engine.Close() })
	clock := hlc.NewClock(1)
	t.Cleanup(func() { clock.Close() })
	committer := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, nil, clock)}
	h := &house{t: t, log: new(logBuffer)}
	log := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	h.dir, err = directory.Open(t.Context(), directory.Options{Engine: engine, Committer: committer, Clock: clock, FailureDelay: time.Millisecond, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.dir.Close)
	if _, err := h.dir.AddDomain(t.Context(), directory.Domain{Name: "example.com"}); err != nil {
		t.Fatal(err)
	}
	h.tokens = &tokens.Store{Committer: committer, Clock: clock, Log: log}
	h.alice = h.account("alice@example.com")
	o := Options{Directory: h.dir, Tokens: h.tokens, Origin: origin, Name: "Example Mail", Log: log}
	for _, f := range change {
		f(&o)
	}
	if h.gate, err = New(o); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", h.gate.Handler())
	mux.HandleFunc("/jmap/", func(w http.ResponseWriter, r *http.Request) { // what the gate guards
		u, err := h.gate.Authenticate(w, r)
		var refused *Refusal
		switch {
		case errors.As(err, &refused):
			w.WriteHeader(refused.Status)
		case err != nil:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			writeJSON(w, http.StatusOK, map[string]any{"login": u.Login.String(), "credential": u.Credential, "full": u.Full, "scopes": u.Scopes})
		}
	})
	h.server = httptest.NewTLSServer(mux)
	t.Cleanup(h.server.Close)
	return h
}

func (h *house) account(login string) directory.Account {
	h.t.Helper()
	at, err := address.Parse(login)
	if err != nil {
		h.t.Fatal(err)
	}
	a, err := h.dir.AddAccount(h.t.Context(), directory.NewAccount{Addresses: []address.Address{at}, Password: password})
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

// totp gives alice an authenticator, and the recovery codes. The code used for it is of the
// step before, so that the present one is still good.
func (h *house) totp() ([]byte, []string) {
	h.t.Helper()
	secret := directory.NewTOTP()
	recovery, err := h.dir.SetTOTP(h.t.Context(), h.alice.ID, secret, directory.TOTPCode(secret, time.Now().Add(-30*time.Second)))
	if err != nil {
		h.t.Fatal(err)
	}
	return secret, recovery
}

// browser is one with a page of ours open. It follows no redirects.
type browser struct {
	h *house
	c *http.Client
}

func (h *house) browser() *browser {
	h.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	c := *h.server.Client() // its transport leads *.example.com to the server
	c.Jar = jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{h, &c}
}

// send makes a request with fields ("Name: value"); one without a value is left out.
func (b *browser) send(method, path, body string, fields ...string) (*http.Response, string) {
	b.h.t.Helper()
	r, err := http.NewRequestWithContext(b.h.t.Context(), method, origin+path, strings.NewReader(body))
	if err != nil {
		b.h.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	answer, err := b.c.Do(r)
	if err != nil {
		b.h.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.h.t.Fatal(err)
	}
	return answer, string(text)
}

// ours are the fields of a request from our own page.
var ours = []string{"Content-Type: application/json", "Origin: " + origin, "Sec-Fetch-Site: same-origin", "X-Postroad: 1"}

// step makes a step of a log-in and returns the status and its answer.
func (b *browser) step(path string, q any) (int, map[string]any) {
	b.h.t.Helper()
	body, err := json.Marshal(q)
	if err != nil {
		b.h.t.Fatal(err)
	}
	answer, text := b.send("POST", path, string(body), ours...)
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		b.h.t.Fatalf("%s: %s %q: %v", path, answer.Status, text, err)
	}
	return answer.StatusCode, v
}

type params map[string]any

func (b *browser) logIn() { b.h.t.Helper(); b.logInAs("alice@example.com") }

func (b *browser) logInAs(user string) {
	b.h.t.Helper()
	if status, v := b.step("/login", params{"user": user, "password": password}); status != 200 || v["state"] != "ok" {
		b.h.t.Fatalf("log in: %d %v", status, v)
	}
}

// whoAmI asks what the gate guards, as our own page does.
func (b *browser) whoAmI() (int, map[string]any) {
	b.h.t.Helper()
	answer, text := b.send("GET", "/jmap/session", "", ours...)
	var v map[string]any
	if answer.StatusCode == 200 {
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			b.h.t.Fatal(err)
		}
	}
	return answer.StatusCode, v
}

func TestLogIn(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	if status, _ := b.whoAmI(); status != 401 {
		t.Errorf("before: %d", status)
	}
	for name, q := range map[string]params{"wrong": {"user": "alice@example.com", "password": "x"}, "nobody": {"user": "nobody@example.com", "password": password}} {
		if status, v := b.step("/login", q); status != 401 || v["detail"] != "the name, the password or the code is wrong" {
			t.Errorf("%s: %d %v", name, status, v)
		}
	}
	answer, text := b.send("POST", "/login", `{"user":"alice@example.com","password":"`+password+`","remember":true}`, ours...)
	cookie := answer.Header.Get("Set-Cookie")
	for _, part := range []string{"__Host-postroad=prs_", "; Path=/", "; Max-Age=77", "; HttpOnly", "; Secure", "; SameSite=Strict"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("cookie %q has no %q (%s)", cookie, part, text)
		}
	}
	status, who := b.whoAmI()
	if status != 200 || who["login"] != "alice@example.com" || who["full"] != true || !strings.HasPrefix(who["credential"].(string), "session:") || who["scopes"] != nil {
		t.Errorf("%d %v", status, who)
	}
	_, text = b.send("GET", "/login/session", "", ours...)
	if !strings.Contains(text, `"login":"alice@example.com"`) || !strings.Contains(text, `"current":true`) {
		t.Errorf("session: %s", text)
	}
	value := strings.Split(strings.TrimPrefix(cookie, cookieName+"="), ";")[0]
	if status, v := b.step("/logout", params{}); status != 200 {
		t.Errorf("log out: %d %v", status, v)
	}
	other := h.browser()
	if answer, _ := other.send("GET", "/jmap/session", "", append(ours, "Cookie: "+cookieName+"="+value)...); answer.StatusCode != 401 {
		t.Errorf("the cookie of an ended session: %s", answer.Status)
	}
	for _, secret := range []string{value, password} {
		if strings.Contains(h.log.String(), secret) {
			t.Error("a secret was logged")
		}
	}
}

// TestLogInAnew: a browser that logs in again has one session, a new one.
func TestLogInAnew(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.logIn()
	_, before := b.whoAmI()
	b.logIn()
	_, after := b.whoAmI()
	list, err := h.tokens.Sessions(t.Context(), h.alice.ID)
	if err != nil || len(list) != 1 || before["credential"] == after["credential"] {
		t.Errorf("%d sessions, %v then %v (%v)", len(list), before, after, err)
	}
}

func TestSecondFactor(t *testing.T) {
	h := newHouse(t)
	secret, recovery := h.totp()
	app, err := h.dir.AddAppPassword(t.Context(), h.alice.ID, "phone")
	if err != nil {
		t.Fatal(err)
	}
	b := h.browser()
	if status, v := b.step("/login", params{"user": "alice@example.com", "password": app}); status != 403 {
		t.Errorf("with a program's password: %d %v", status, v)
	}
	first := func() string {
		t.Helper()
		status, v := b.step("/login", params{"user": "alice@example.com", "password": password})
		if status != 200 || v["state"] != "second" || len(v["methods"].([]any)) != 2 || v["session"] != nil {
			t.Fatalf("%d %v", status, v)
		}
		return v["ticket"].(string)
	}
	ticket := first()
	if status, _ := b.whoAmI(); status != 401 {
		t.Errorf("after the password alone: %d", status)
	}
	code := directory.TOTPCode(secret, time.Now())
	for _, test := range []struct {
		name, ticket, code string
		status             int
	}{
		{"wrong code", ticket, "12345x", 401},
		{"no ticket", "", code, 410},
		{"another ticket", "AAAA" + ticket[4:], code, 410},
		{"right", ticket, code, 200},
		{"replayed", ticket, code, 401},
		{"recovery", ticket, recovery[0], 200},
		{"recovery again", ticket, recovery[0], 401},
	} {
		if status, v := b.step("/login/code", params{"ticket": test.ticket, "code": test.code}); status != test.status {
			t.Errorf("%s: %d %v", test.name, status, v)
		}
	}
	if status, who := b.whoAmI(); status != 200 || who["full"] != true {
		t.Errorf("%d %v", status, who)
	}
	// Basic, as mail programs do it: the human password is not enough any more.
	for p, want := range map[string]int{password: 401, app: 200} {
		r, _ := http.NewRequest("GET", origin+"/jmap/session", nil)
		r.SetBasicAuth("alice@example.com", p)
		answer, err := h.server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("Basic: %s", answer.Status)
		}
	}
}

// TestAgain: a session is fresh for a while; to be so again takes all that the account has.
func TestAgain(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.logIn()
	_, recovery := h.totp()
	status, v := b.step("/login/again", params{"password": "wrong"})
	if status != 401 {
		t.Errorf("wrong: %d %v", status, v)
	}
	status, v = b.step("/login/again", params{"password": password})
	if status != 200 || v["state"] != "second" {
		t.Fatalf("%d %v", status, v)
	}
	ticket := v["ticket"]
	if status, v := h.browser().step("/login/code", params{"ticket": ticket, "code": recovery[0]}); status != 401 {
		t.Errorf("in another browser: %d %v", status, v)
	}
	bob := h.browser()
	h.account("bob@example.com")
	bob.logInAs("bob@example.com")
	if status, v := bob.step("/login/code", params{"ticket": ticket, "code": recovery[2]}); status != 401 {
		t.Errorf("in another's session: %d %v", status, v)
	}
	_, before := b.whoAmI()
	if status, v := b.step("/login/code", params{"ticket": ticket, "code": recovery[1]}); status != 200 || v["state"] != "ok" {
		t.Errorf("%d %v", status, v)
	}
	if _, after := b.whoAmI(); after["credential"] != before["credential"] {
		t.Errorf("the session is %v, was %v", after, before)
	}
}

// TestCookieIsOurs is the table of requests that carry a good cookie.
func TestCookieIsOurs(t *testing.T) {
	h := newHouse(t)
	token, session, err := h.tokens.StartSession(t.Context(), tokens.Session{Account: h.alice.ID, Client: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, method string
		fields       string // "Name: value", by line
		status       int
	}{
		{"our page reads", "GET", "Sec-Fetch-Site: same-origin", 200},
		{"our page reads, with Origin alone", "GET", "Origin: " + origin, 200},
		{"EventSource of ours", "GET", "Sec-Fetch-Site: same-origin\nAccept: text/event-stream", 200},
		{"nobody tells", "GET", "", 403},
		{"another site", "GET", "Sec-Fetch-Site: cross-site", 403},
		{"another host of our site", "GET", "Sec-Fetch-Site: same-site", 403},
		{"typed into the bar", "GET", "Sec-Fetch-Site: none", 403},
		{"another origin", "GET", "Origin: https://evil.example", 403},
		{"another port", "GET", "Origin: " + origin + ":8443", 403},
		{"an opaque origin", "GET", "Origin: null", 403},
		{"two that disagree", "GET", "Origin: https://evil.example\nSec-Fetch-Site: same-origin", 403},
		{"two that disagree, the other way", "GET", "Origin: " + origin + "\nSec-Fetch-Site: cross-site", 403},
		{"our page writes", "POST", "Sec-Fetch-Site: same-origin\nX-Postroad: 1", 200},
		{"a form of ours", "POST", "Sec-Fetch-Site: same-origin\nOrigin: " + origin, 403},
		{"a write from another site", "POST", "Origin: https://evil.example\nX-Postroad: 1", 403},
		{"a write that nobody tells of", "POST", "X-Postroad: 1", 403},
		{"a method that nobody knows", "FETCH", "Sec-Fetch-Site: same-origin", 403},
		{"WebSocket of ours", "GET", "Upgrade: websocket\nOrigin: " + origin, 200},
		{"WebSocket of ours, its scheme counted", "GET", "Upgrade: websocket\nOrigin: " + origin + "\nSec-Fetch-Site: cross-site", 200},
		{"WebSocket of another site", "GET", "Upgrade: websocket\nOrigin: https://evil.example\nSec-Fetch-Site: same-origin", 403},
		{"WebSocket without Origin", "GET", "Upgrade: websocket\nSec-Fetch-Site: same-origin", 403},
		{"two cookies", "GET", "Sec-Fetch-Site: same-origin\nCookie: " + cookieName + "=a; " + cookieName + "=b", 401},
		{"a broken cookie", "GET", "Sec-Fetch-Site: same-origin\nCookie: " + cookieName + "=prs_x", 401},
		{"no cookie", "GET", "Sec-Fetch-Site: same-origin\nCookie: x=y", 401},
		{"wrong Authorization beside the cookie", "GET", "Sec-Fetch-Site: same-origin\nAuthorization: Bearer x", 401},
	} {
		r := httptest.NewRequest(test.method, "/jmap/api", nil)
		r.Header.Set("Cookie", cookieName+"="+token.Reveal())
		for line := range strings.Lines(test.fields) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			r.Header.Set(name, value)
		}
		if got := h.status(r); got != test.status {
			t.Errorf("%s: %d, not %d", test.name, got, test.status)
		}
	}
	good := httptest.NewRequest("GET", "/jmap/api", nil)
	good.Header.Set("Cookie", cookieName+"="+token.Reveal())
	good.Header.Set("Sec-Fetch-Site", "same-origin")
	h.disable(true)
	if got := h.status(good); got != 401 {
		t.Errorf("of a disabled account: %d", got)
	}
	h.disable(false)
	if err := h.tokens.EndSession(t.Context(), h.alice.ID, session.ID); err != nil {
		t.Fatal(err)
	}
	if got := h.status(good); got != 401 {
		t.Errorf("ended: %d", got)
	}
}

func (h *house) disable(off bool) {
	h.t.Helper()
	if _, err := h.dir.ChangeAccount(h.t.Context(), h.alice.ID, func(a *directory.Account) error { a.Disabled = off; return nil }); err != nil {
		h.t.Fatal(err)
	}
}

// status is what Authenticate makes of a request: 200, or the refusal's.
func (h *house) status(r *http.Request) int {
	h.t.Helper()
	_, err := h.gate.Authenticate(httptest.NewRecorder(), r)
	var refused *Refusal
	switch {
	case err == nil:
		return 200
	case errors.As(err, &refused):
		return refused.Status
	}
	h.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	return 500
}

func TestAuthorization(t *testing.T) {
	h := newHouse(t)
	app, err := h.dir.AddAppPassword(t.Context(), h.alice.ID, "phone")
	if err != nil {
		t.Fatal(err)
	}
	basic := func(user, password string) string {
		r := httptest.NewRequest("GET", "/", nil)
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for _, test := range []struct {
		name, field string
		want        string // the credential, or empty
	}{
		{"human password", basic("alice@example.com", password), "password"},
		{"app password", basic("alice@example.com", app), "app:phone"},
		{"scheme in capitals", "BASIC" + basic("alice@example.com", app)[5:], "app:phone"},
		{"wrong", basic("alice@example.com", "x"), ""},
		{"nobody", basic("nobody@example.com", password), ""},
		{"not base 64", "Basic ???", ""},
		{"no colon", "Basic YWxpY2U=", ""},
		{"not UTF-8", "Basic //86eA==", ""},
		{"no scheme", "", ""},
		{"another scheme", "Digest x", ""},
		{"empty token", "Bearer ", ""},
		{"token", "Bearer abc", ""},
		{"endless token", "Bearer " + strings.Repeat("a", tokenMax+1), ""},
	} {
		r := httptest.NewRequest("GET", "https://mail.example.com/jmap/session", nil)
		r.Header.Set("Authorization", test.field)
		w := httptest.NewRecorder()
		u, err := h.gate.Authenticate(w, r)
		var refused *Refusal
		switch {
		case test.want != "" && (err != nil || u.Credential != test.want || u.ID != h.alice.ID || u.Full != (test.want == "password")):
			t.Errorf("%s: %+v %v", test.name, u, err)
		case test.want == "" && (!errors.As(err, &refused) || refused.Status != 401):
			t.Errorf("%s: %+v %v", test.name, u, err)
		case test.want == "":
			asked := strings.Join(w.Header().Values("WWW-Authenticate"), "\n")
			meta := `Bearer resource_metadata="https://mail.example.com/.well-known/oauth-protected-resource/jmap/session"`
			if !strings.HasPrefix(asked, meta) || !strings.HasSuffix(asked, "\nBasic realm=\"postroad\", charset=\"UTF-8\"") ||
				strings.Contains(asked, "invalid_token") != strings.HasPrefix(test.field, "Bearer") {
				t.Errorf("%s: %s", test.name, asked)
			}
		}
	}
	r := httptest.NewRequest("GET", "/jmap/session", nil)
	r.Header["Authorization"] = []string{basic("alice@example.com", app), "Bearer x"}
	if got := h.status(r); got != 400 {
		t.Errorf("two fields: %d", got)
	}
	w := httptest.NewRecorder()
	r = httptest.NewRequest("GET", "/jmap/session", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if _, err := h.gate.Authenticate(w, r); err == nil || len(w.Header().Values("WWW-Authenticate")) != 1 {
		t.Errorf("a browser is asked for Basic: %v %v", w.Header(), err)
	}
}

// TestStepsOfStrangers: no step can be taken from elsewhere, or with a body that is not its own.
func TestStepsOfStrangers(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	good := `{"user":"alice@example.com","password":"` + password + `"}`
	for _, test := range []struct {
		name, body string
		fields     []string
		status     int
	}{
		{"another site", good, []string{"Content-Type: application/json", "Origin: https://evil.example", "X-Postroad: 1"}, 403},
		{"a form", good, []string{"Content-Type: text/plain", "Origin: " + origin, "Sec-Fetch-Site: same-origin"}, 403},
		{"no JSON", good, append(ours, "Content-Type: text/plain"), 415},
		{"unknown name", `{"user":"a","password":"b","admin":true}`, ours, 400},
		{"two objects", good + good, ours, 400},
		{"an array", `[]`, ours, 400},
		{"empty", ``, ours, 400},
		{"deep", strings.Repeat("[", 20_000), ours, 400},
		{"endless", `{"user":"` + strings.Repeat("x", bodyMax) + `"}`, ours, 413},
	} {
		answer, text := b.send("POST", "/login", test.body, test.fields...)
		if answer.StatusCode != test.status || answer.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s %s", test.name, answer.Status, text)
		}
	}
}

func TestSeal(t *testing.T) {
	h := newHouse(t)
	g := h.gate
	ticket, err := g.seal("a", time.Minute, params{"x": 1})
	if err != nil {
		t.Fatal(err)
	}
	old, err := g.seal("a", -time.Second, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string][2]string{"purpose": {"b", ticket}, "old": {"a", old}, "cut": {"a", ticket[:len(ticket)-2]}, "empty": {"a", ""},
		"changed": {"a", "A" + ticket[1:len(ticket)-1] + "A"}, "long": {"a", strings.Repeat("A", ticketMax+1)}} {
		var v any
		if err := g.open(test[0], test[1], &v); !errors.Is(err, errTicket) {
			t.Errorf("%s: %v %v", name, v, err)
		}
	}
	var v params
	if err := g.open("a", ticket, &v); err != nil || v["x"] != 1.0 {
		t.Errorf("%v %v", v, err)
	}
	if again, _ := g.seal("a", time.Minute, params{"x": 1}); again == ticket {
		t.Error("the same ticket twice")
	}
}

func TestOptions(t *testing.T) {
	h := newHouse(t)
	for _, o := range []string{"", "http://mail.example.com", "https://", "https://mail.example.com/", "https://mail.example.com/x", "https://u@mail.example.com", "mail.example.com", "https://Mail.example.com", "https://mail.example.com:443"} {
		if _, err := New(Options{Directory: h.dir, Tokens: h.tokens, Origin: o}); err == nil {
			t.Errorf("origin %q was taken", o)
		}
	}
}

// user is alice as a request of hers has her.
func (h *house) user(credential string, full bool) *access.User {
	h.t.Helper()
	p, err := h.dir.Principal(h.t.Context(), h.alice.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	return &access.User{Principal: p, Client: netip.MustParseAddr("192.0.2.1"), Credential: credential, Full: full}
}

var netipZero netip.Addr
