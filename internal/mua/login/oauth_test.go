package login

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/tokens"
)

// The example of RFC 7636, appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	callback  = "https://app.example/cb?x=1"
)

func TestVerifies(t *testing.T) {
	for _, test := range []struct {
		name, verifier, challenge string
		want                      bool
	}{
		{"RFC 7636, B", verifier, challenge, true},
		{"another", verifier + "a", challenge, false},
		{"plain", challenge, challenge, false},
		{"short", "abc", challenge, false},
		{"empty", "", "", false},
	} {
		if got := verifies(test.verifier, test.challenge); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	short, long := strings.Repeat("a", 42), strings.Repeat("a", 129)
	for _, v := range []string{short, long, short + "é"} {
		sum := sha256.Sum256([]byte(v))
		if verifies(v, base64.RawURLEncoding.EncodeToString(sum[:])) {
			t.Errorf("a verifier of %d octets was taken", len(v))
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	for text, good := range map[string]bool{
		"https://app.example/cb": true, "https://app.example:8443/cb?x=1": true, "http://127.0.0.1/cb": true, "http://127.0.0.1:4711/": true,
		"http://[::1]:4711/cb": true, "com.example.app:/cb": true,
		"": false, "app.example/cb": false, "http://app.example/cb": false, "http://localhost/cb": false, "https:///cb": false, "https://app.example/#x": false,
		"https://app.example/cb#": false, "https://u:p@app.example/cb": false, "javascript:alert(1)": false, "data:text/html,x": false, "myapp:/cb": false,
		"com.example.app:cb": false, "com.example.app://host/cb": false, "https://app.example/c b": false, "https://app.example/\ncb": false,
		"https://app.example/" + strings.Repeat("x", redirectMax): false, "https://app.example/é": false, "http://127.0.0.1.evil.example/": false, "//app.example/cb": false,
	} {
		if why := CheckRedirect(text); (why == "") != good {
			t.Errorf("%q: %q", text, why)
		}
	}
}

func FuzzCheckRedirect(f *testing.F) {
	for _, s := range []string{"https://app.example/cb", "http://[::1]:1/", "com.example.app:/cb", "javascript:x", "https://a;b/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if CheckRedirect(text) != "" {
			return
		}
		if source := sourceOf(text); strings.ContainsAny(source, " ;,\r\n") {
			t.Errorf("%q stands in the policy as %q", text, source)
		}
		c := client{Redirects: []string{text}}
		if !c.allows(text) || c.allows("https://evil.example/") && text != "https://evil.example/" {
			t.Errorf("%q", text)
		}
	})
}

// FuzzRequest gives all that reads a stranger's text before there is anybody the text: none of
// it may take what we did not make.
func FuzzRequest(f *testing.F) {
	seals, err := newSeals(derive([]byte("secret"), "x"))
	if err != nil {
		f.Fatal(err)
	}
	g := &Gate{o: Options{Origin: origin}, seals: seals, clients: []byte("key")}
	id, err := g.clientID(registered{"x", []string{callback}, 1})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "d.", "d.e30.AAAA", id, "scope=a&scope=b", "scope=" + access.ScopeMail, `{"ticket":"x"}`, "AAAA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := g.client(t.Context(), registeredPrefix+text); err == nil && registeredPrefix+text != id {
			t.Errorf("%q is the client %+v", text, c)
		}
		if q, ok := single(text); ok {
			scopes, _ := readScopes(q.Get("scope"))
			for _, s := range scopes {
				if !slices.Contains(scopesSupported, s) {
					t.Errorf("scope %q", s)
				}
			}
			if len(scopes) > len(scopesSupported) {
				t.Errorf("scopes %q", scopes)
			}
		}
		var v any
		if g.open("x", text, &v) == nil {
			t.Errorf("%q is a ticket", text)
		}
		r := httptest.NewRequest("POST", "/", strings.NewReader(text))
		var q struct{ Ticket string }
		if err := readJSON(r, &q); err != nil && err != error(errRequest) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// TestAtOnce: of many that show one code, one is given tokens, and then nobody has any.
func TestAtOnce(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.logIn()
	id := b.register(callback)
	q := forCode(id, b.consent(askFor(id)))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var given []string
	for range 8 {
		wg.Go(func() {
			answer, text := b.send("POST", pathToken, q.Encode(), "Content-Type: application/x-www-form-urlencoded")
			var v struct {
				Access string `json:"access_token"`
			}
			mu.Lock()
			defer mu.Unlock()
			if json.Unmarshal([]byte(text), &v) == nil && answer.StatusCode == 200 {
				given = append(given, v.Access)
			}
		})
	}
	wg.Wait()
	if len(given) != 1 {
		t.Fatalf("%d were given tokens", len(given))
	}
	if status, _ := b.bearer(given[0]); status != 401 {
		t.Errorf("the tokens live: %d", status)
	}
}

// register registers a program as anybody can.
func (b *browser) register(redirects ...string) string {
	b.h.t.Helper()
	body, _ := json.Marshal(params{"redirect_uris": redirects, "client_name": "Tin <Can>", "token_endpoint_auth_method": "none", "software_id": "x"})
	answer, text := b.send("POST", pathRegister, string(body), "Content-Type: application/json", "Origin: https://app.example")
	var v struct {
		ID string `json:"client_id"`
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil || answer.StatusCode != 201 || v.ID == "" || answer.Header.Get("Access-Control-Allow-Origin") != "*" {
		b.h.t.Fatalf("%s %s", answer.Status, text)
	}
	return v.ID
}

func TestRegister(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	id := b.register(callback)
	for name, body := range map[string]string{
		"no redirect": `{}`, "none": `{"redirect_uris":[]}`, "six": `{"redirect_uris":["https://a/1","https://a/2","https://a/3","https://a/4","https://a/5","https://a/6"]}`,
		"http": `{"redirect_uris":["http://app.example/"]}`, "script": `{"redirect_uris":["javascript:alert(1)"]}`, "no JSON": `redirect_uris=x`,
		"long name": `{"redirect_uris":["https://a/"],"client_name":"` + strings.Repeat("x", clientNameMax+1) + `"}`,
		"control":   `{"redirect_uris":["https://a/"],"client_name":"a\u0007"}`, "endless": `{"client_name":"` + strings.Repeat("x", bodyMax),
	} {
		if answer, text := b.send("POST", pathRegister, body, "Content-Type: application/json"); answer.StatusCode != 400 || !strings.Contains(text, `"error":"invalid_`) {
			t.Errorf("%s: %s %s", name, answer.Status, text)
		}
	}
	c, err := h.gate.client(t.Context(), id)
	if err != nil || c.Name != "Tin <Can>" || c.Known || !slices.Equal(c.Redirects, []string{callback}) {
		t.Errorf("%+v %v", c, err)
	}
	body, mac, _ := strings.Cut(id[2:], ".")
	text, _ := base64.RawURLEncoding.DecodeString(body)
	forged := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(text), "app.example", "evil.exampl", 1)))
	for _, wrong := range []string{"", "d.", "d.." + mac, "d." + forged + "." + mac, "d." + body, id + "A", "d." + body + ".AAAAAAAAAAAAAAAAAAAAAA", "x"} {
		if _, err := h.gate.client(t.Context(), wrong); err != error(errClient) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	closed := newHouse(t, func(o *Options) { o.NoRegistration = true })
	if answer, _ := closed.browser().send("POST", pathRegister, `{"redirect_uris":["https://a/"]}`); answer.StatusCode != 403 {
		t.Errorf("turned off: %s", answer.Status)
	}
}

// askFor is a good request for a grant.
func askFor(client string) url.Values {
	return url.Values{"response_type": {"code"}, "client_id": {client}, "redirect_uri": {callback}, "state": {"s t&a=te"},
		"scope": {access.ScopeMail + " " + access.ScopeContacts + " offline_access openid"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}}
}

var navigate = []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"}

// TestAuthorizeHostile: what goes to the client, and what goes nowhere.
func TestAuthorizeHostile(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.logIn()
	id := b.register(callback, "http://127.0.0.1/cb", "http://[::1]:1/cb")
	one, _, err := h.tokens.AddClient(t.Context(), tokens.Client{ID: "one", Name: "One", Redirects: []string{callback}})
	if err != nil {
		t.Fatal(err)
	}
	only, _, err := h.tokens.AddClient(t.Context(), tokens.Client{ID: "proxy", Name: "Proxy", Inspects: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(url.Values)
		want   string // "page": the user is asked; "shown": an error that goes nowhere; else the error code sent to the client
	}{
		{"good", func(q url.Values) {}, "page"},
		{"known client", func(q url.Values) { q.Set("client_id", one.ID) }, "page"},
		{"known client, its only redirect", func(q url.Values) { q.Set("client_id", one.ID); q.Del("redirect_uri") }, "page"},
		{"loopback with a port", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:4711/cb") }, "page"},
		{"IPv6 loopback with another port", func(q url.Values) { q.Set("redirect_uri", "http://[::1]:4711/cb") }, "page"},
		{"resource", func(q url.Values) { q.Set("resource", origin+"/jmap/session") }, "page"},
		{"no client", func(q url.Values) { q.Del("client_id") }, "shown"},
		{"unknown client", func(q url.Values) { q.Set("client_id", "x") }, "shown"},
		{"client that only inspects", func(q url.Values) { q.Set("client_id", only.ID) }, "shown"},
		{"no redirect of three", func(q url.Values) { q.Del("redirect_uri") }, "shown"},
		{"open redirect", func(q url.Values) { q.Set("redirect_uri", "https://evil.example/") }, "shown"},
		{"prefix", func(q url.Values) { q.Set("redirect_uri", callback+"/../evil") }, "shown"},
		{"another path of loopback", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.1:4711/other") }, "shown"},
		{"another loopback address", func(q url.Values) { q.Set("redirect_uri", "http://127.0.0.2/cb") }, "shown"},
		{"loopback by name", func(q url.Values) { q.Set("redirect_uri", "http://localhost/cb") }, "shown"},
		{"another case", func(q url.Values) { q.Set("redirect_uri", "https://APP.example/cb?x=1") }, "shown"},
		{"redirect twice", func(q url.Values) { q.Add("redirect_uri", "https://evil.example/") }, "shown"},
		{"state twice", func(q url.Values) { q.Add("state", "x") }, "shown"},
		{"endless", func(q url.Values) { q.Set("x", strings.Repeat("x", queryMax)) }, "shown"},
		{"implicit", func(q url.Values) { q.Set("response_type", "token") }, "unsupported_response_type"},
		{"no PKCE", func(q url.Values) { q.Del("code_challenge"); q.Del("code_challenge_method") }, "invalid_request"},
		{"PKCE plain", func(q url.Values) { q.Set("code_challenge_method", "plain") }, "invalid_request"},
		{"PKCE without a method", func(q url.Values) { q.Del("code_challenge_method") }, "invalid_request"},
		{"challenge too short", func(q url.Values) { q.Set("code_challenge", "x") }, "invalid_request"},
		{"unknown scope", func(q url.Values) { q.Set("scope", "openid profile") }, "invalid_scope"},
		{"offline alone", func(q url.Values) { q.Set("scope", "offline_access") }, "invalid_scope"},
		{"another's resource", func(q url.Values) { q.Set("resource", origin+".evil.example/") }, "invalid_target"},
		{"request object", func(q url.Values) { q.Set("request_uri", "https://evil.example/") }, "request_not_supported"},
		{"fragment answer", func(q url.Values) { q.Set("response_mode", "fragment") }, "invalid_request"},
		{"long state", func(q url.Values) { q.Set("state", strings.Repeat("x", stateMax+1)) }, "invalid_request"},
	} {
		q := askFor(id)
		test.change(q)
		answer, text := b.send("GET", pathAuthorize+"?"+q.Encode(), "", navigate...)
		where := answer.Header.Get("Location")
		switch test.want {
		case "page":
			if answer.StatusCode != 200 || where != "" || !strings.Contains(text, `action="`+pathConsent+`"`) {
				t.Errorf("%s: %s %s", test.name, answer.Status, text)
			}
		case "shown":
			if answer.StatusCode != 400 || where != "" || strings.Contains(text, "evil") {
				t.Errorf("%s: %s %s %s", test.name, answer.Status, where, text)
			}
		default:
			// One that registered itself is not sent to without a look; a known one is.
			if answer.StatusCode != 400 || where != "" || !strings.Contains(text, `<a href="https://app.example/cb?x=1&amp;error=`+test.want) {
				t.Errorf("%s: %s %s %s", test.name, answer.Status, where, text)
			}
			q.Set("client_id", one.ID)
			answer, _ = b.send("GET", pathAuthorize+"?"+q.Encode(), "", navigate...)
			where = answer.Header.Get("Location")
			u, err := url.Parse(where)
			if err != nil || answer.StatusCode != 303 || !strings.HasPrefix(where, callback+"&") || u.Query().Get("error") != test.want || u.Query().Get("iss") != origin ||
				test.name != "long state" && u.Query().Get("state") != "s t&a=te" {
				t.Errorf("%s: %s %s", test.name, answer.Status, where)
			}
		}
	}
}

var ticketField = regexp.MustCompile(`name="ticket" value="([^"]*)"`)

// fill sends a form of a page of ours.
func (b *browser) fill(path, page string, fields url.Values, more ...string) (status int, where, text string) {
	b.h.t.Helper()
	found := ticketField.FindStringSubmatch(page)
	if found == nil {
		b.h.t.Fatalf("no form for %s in %s", path, page)
	}
	fields.Set("ticket", html.UnescapeString(found[1]))
	answer, text := b.send("POST", path, fields.Encode(), append([]string{"Content-Type: application/x-www-form-urlencoded", "Origin: " + origin, "Sec-Fetch-Site: same-origin"}, more...)...)
	return answer.StatusCode, answer.Header.Get("Location"), text
}

// consent goes from a request to the code, in a session.
func (b *browser) consent(q url.Values) string {
	b.h.t.Helper()
	_, page := b.send("GET", pathAuthorize+"?"+q.Encode(), "", navigate...)
	status, where, text := b.fill(pathConsent, page, url.Values{"answer": {"yes"}})
	u, err := url.Parse(where)
	if err != nil || status != 303 || u.Query().Get("code") == "" {
		b.h.t.Fatalf("%d %s %s", status, where, text)
	}
	return u.Query().Get("code")
}

// post makes a request to the token endpoint or its kin.
func (b *browser) post(path string, q url.Values, fields ...string) (int, map[string]any) {
	b.h.t.Helper()
	answer, text := b.send("POST", path, q.Encode(), append([]string{"Content-Type: application/x-www-form-urlencoded"}, fields...)...)
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		b.h.t.Fatalf("%s %q: %v", answer.Status, text, err)
	}
	if answer.Header.Get("Cache-Control") != "no-store" {
		b.h.t.Errorf("%s may be kept", path)
	}
	return answer.StatusCode, v
}

func forCode(client, code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
}

// bearer asks what the gate guards with a token.
func (b *browser) bearer(token any) (int, string) {
	b.h.t.Helper()
	answer, text := b.send("GET", "/jmap/session", "", "Authorization: Bearer "+token.(string))
	return answer.StatusCode, text
}

// TestFlow goes all the way: registered, sent over from another site, logged in with a second
// factor, agreed, tokens, renewed, revoked.
func TestFlow(t *testing.T) {
	h := newHouse(t)
	secret, _ := h.totp()
	b, program := h.browser(), h.browser()
	id := program.register(callback)
	q := askFor(id)
	from := pathAuthorize + "?" + q.Encode()
	answer, page := b.send("GET", from, "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
	if onward := `<meta http-equiv="refresh" content="0;url=` + html.EscapeString(from); answer.StatusCode != 200 || !strings.Contains(page, onward[:60]) || strings.Contains(page, "ZgotmplZ") {
		t.Errorf("from another site: %s %s", answer.Status, page)
	}
	answer, page = b.send("GET", from, "", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate")
	policy := answer.Header.Get("Content-Security-Policy")
	if !strings.Contains(page, "Tin &lt;Can&gt;") || strings.Contains(page, "<script") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "form-action 'self' https://app.example;") {
		t.Errorf("log-in page: %s\n%s", policy, page)
	}
	if status, _, text := b.fill(pathEnter, page, url.Values{"user": {"alice@example.com"}, "password": {"wrong"}}); status != 401 || !strings.Contains(text, `role="alert"`) {
		t.Errorf("wrong password: %d %s", status, text)
	}
	if status, _, text := b.fill(pathEnter, page, url.Values{"user": {"alice@example.com"}, "password": {password}}, "Origin: https://evil.example"); status != 403 {
		t.Errorf("another site's form: %d %s", status, text)
	}
	_, _, page = b.fill(pathEnter, page, url.Values{"user": {"alice@example.com"}, "password": {password}})
	if status, _, _ := b.fill(pathCode, page, url.Values{"code": {"00000x"}}); status != 401 {
		t.Errorf("wrong code: %d", status)
	}
	status, where, text := b.fill(pathCode, page, url.Values{"code": {directory.TOTPCode(secret, time.Now())}})
	if status != 303 || where != from {
		t.Fatalf("%d %s %s", status, where, text)
	}
	_, page = b.send("GET", where, "", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate")
	for _, part := range []string{"alice@example.com", "Tin &lt;Can&gt;", "read, change, delete and send your mail", "contacts", "while you are away", "app.example", "nobody has checked it"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page that asks has no %q:\n%s", part, page)
		}
	}
	if status, where, _ := b.fill(pathConsent, page, url.Values{"answer": {"no"}}); status != 303 || !strings.HasPrefix(where, callback+"&error=access_denied&") {
		t.Errorf("no: %d %s", status, where)
	}
	if status, _, _ := h.browser().fill(pathConsent, page, url.Values{"answer": {"yes"}}); status != 403 {
		t.Errorf("yes in another browser: %d", status)
	}
	bob := h.browser()
	h.account("bob@example.com")
	bob.logInAs("bob@example.com")
	if status, _, _ := bob.fill(pathConsent, page, url.Values{"answer": {"yes"}}); status != 403 {
		t.Errorf("yes in another's session: %d", status)
	}
	status, where, _ = b.fill(pathConsent, page, url.Values{"answer": {"yes"}})
	u, _ := url.Parse(where)
	if got := u.Query(); status != 303 || !strings.HasPrefix(where, callback+"&") || got.Get("state") != "s t&a=te" || got.Get("iss") != origin || got.Get("x") != "1" {
		t.Fatalf("yes: %d %s", status, where)
	}
	status, v := program.post(pathToken, forCode(id, u.Query().Get("code")))
	if status != 200 || v["token_type"] != "Bearer" || v["expires_in"].(float64) < 3500 || v["scope"] != access.ScopeMail+" "+access.ScopeContacts+" offline_access" {
		t.Fatalf("%d %v", status, v)
	}
	if status, text := program.bearer(v["access_token"]); status != 200 || !strings.Contains(text, `"login":"alice@example.com"`) || !strings.Contains(text, `"full":false`) {
		t.Errorf("%d %s", status, text)
	}
	status, renewed := program.post(pathToken, url.Values{"grant_type": {"refresh_token"}, "client_id": {id}, "refresh_token": {v["refresh_token"].(string)}, "scope": {access.ScopeMail}})
	if status != 200 || renewed["refresh_token"] == v["refresh_token"] || renewed["scope"] != access.ScopeMail+" offline_access" {
		t.Errorf("%d %v", status, renewed)
	}
	h.inspects(renewed["access_token"].(string), id)
	for _, gone := range []string{renewed["refresh_token"].(string), "nothing"} {
		if status, v := program.post(pathRevoke, url.Values{"token": {gone}, "client_id": {id}}); status != 200 || len(v) != 0 {
			t.Errorf("revoke: %d %v", status, v)
		}
	}
	if status, _ := program.bearer(renewed["access_token"]); status != 401 {
		t.Errorf("after the grant's end: %d", status)
	}
	for _, secret := range []string{v["access_token"].(string), v["refresh_token"].(string), u.Query().Get("code"), password} {
		if strings.Contains(h.log.String(), secret) {
			t.Error("a secret was logged")
		}
	}
}

// inspects asks about a token as another server does.
func (h *house) inspects(token, client string) {
	h.t.Helper()
	b := h.browser()
	c, secret, err := h.tokens.AddClient(h.t.Context(), tokens.Client{Name: "Proxy", Inspects: true})
	if err != nil {
		h.t.Fatal(err)
	}
	basic := func(secret string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(c.ID+":"+secret))
	}
	status, v := b.post(pathInspect, url.Values{"token": {token}}, basic(secret.Reveal()))
	if status != 200 || v["active"] != true || v["username"] != "alice@example.com" || v["client_id"] != client || v["iss"] != origin {
		h.t.Errorf("%d %v", status, v)
	}
	if status, v := b.post(pathInspect, url.Values{"token": {"x"}}, basic(secret.Reveal())); status != 200 || v["active"] != false || len(v) != 1 {
		h.t.Errorf("no token: %d %v", status, v)
	}
	for _, field := range []string{basic("x"), "X-Nothing: 1", "Authorization: Bearer " + token} {
		if status, v := b.post(pathInspect, url.Values{"token": {token}}, field); status != 401 || v["active"] != nil {
			h.t.Errorf("a stranger: %d %v", status, v)
		}
	}
	h.disable(true)
	if _, v := b.post(pathInspect, url.Values{"token": {token}}, basic(secret.Reveal())); v["active"] != false {
		h.t.Errorf("of a disabled account: %v", v)
	}
	h.disable(false)
}

// TestTokenHostile: a code is for one client, one address, one verifier, one time.
func TestTokenHostile(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	b.logIn()
	id, other := b.register(callback), b.register(callback, "https://other.example/")
	for _, test := range []struct {
		name   string
		change func(url.Values)
		status int
		code   string
	}{
		{"good", func(url.Values) {}, 200, ""},
		{"another client", func(q url.Values) { q.Set("client_id", other) }, 400, "invalid_grant"},
		{"unknown client", func(q url.Values) { q.Set("client_id", "x") }, 400, "invalid_client"},
		{"another redirect", func(q url.Values) { q.Set("redirect_uri", "https://other.example/") }, 400, "invalid_grant"},
		{"an empty redirect", func(q url.Values) { q.Set("redirect_uri", "") }, 400, "invalid_grant"},
		{"another verifier", func(q url.Values) { q.Set("code_verifier", rand.Text()+rand.Text()) }, 400, "invalid_grant"},
		{"no verifier", func(q url.Values) { q.Del("code_verifier") }, 400, "invalid_grant"},
		{"the challenge as verifier", func(q url.Values) { q.Set("code_verifier", challenge) }, 400, "invalid_grant"},
		{"another code", func(q url.Values) { q.Set("code", "prc_x") }, 400, "invalid_grant"},
		{"code twice", func(q url.Values) { q.Add("code", "x") }, 400, "invalid_request"},
		{"password grant", func(q url.Values) { q.Set("grant_type", "password") }, 400, "unsupported_grant_type"},
	} {
		q := forCode(id, b.consent(askFor(id)))
		test.change(q)
		status, v := b.post(pathToken, q)
		if code, _ := v["error"].(string); status != test.status || code != test.code {
			t.Errorf("%s: %d %v", test.name, status, v)
		}
	}
	if answer, _ := b.send("POST", pathToken, "{}", "Content-Type: application/json"); answer.StatusCode != 400 {
		t.Errorf("JSON: %s", answer.Status)
	}
	q := forCode(id, b.consent(askFor(id)))
	_, first := b.post(pathToken, q)
	if status, v := b.post(pathToken, q); status != 400 || v["error"] != "invalid_grant" {
		t.Errorf("the code again: %d %v", status, v)
	}
	if status, _ := b.bearer(first["access_token"]); status != 401 {
		t.Errorf("the first one's token after that: %d", status)
	}
	refresh := func(client, token string, scope ...string) (int, map[string]any) {
		q := url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {token}}
		if scope != nil {
			q.Set("scope", scope[0])
		}
		return b.post(pathToken, q)
	}
	_, v := b.post(pathToken, forCode(id, b.consent(askFor(id))))
	token := v["refresh_token"].(string)
	for name, answer := range map[string]func() (int, map[string]any){
		"another client": func() (int, map[string]any) { return refresh(other, token) },
		"more scope":     func() (int, map[string]any) { return refresh(id, token, access.ScopeCalendars) },
		"no scope":       func() (int, map[string]any) { return refresh(id, token, "") },
	} {
		if status, v := answer(); status != 400 {
			t.Errorf("%s: %d %v", name, status, v)
		}
	}
	h.disable(true)
	if status, v := refresh(id, token); status != 400 || v["error"] != "invalid_grant" {
		t.Errorf("of a disabled account: %d %v", status, v)
	}
	h.disable(false)
	if status, v := refresh(id, token); status != 200 {
		t.Errorf("after all that: %d %v", status, v)
	}
	online := askFor(id)
	online.Set("scope", access.ScopeMail)
	if _, v := b.post(pathToken, forCode(id, b.consent(online))); v["refresh_token"] != nil || v["scope"] != access.ScopeMail {
		t.Errorf("not offline: %v", v)
	}
}

func TestMetadata(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	get := func(path string) map[string]any {
		t.Helper()
		answer, text := b.send("GET", path, "")
		var v map[string]any
		if err := json.Unmarshal([]byte(text), &v); err != nil || answer.StatusCode != 200 || answer.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Fatalf("%s %s %v", answer.Status, text, err)
		}
		return v
	}
	m := get(pathServer)
	for name, want := range map[string]any{"issuer": origin, "authorization_endpoint": origin + pathAuthorize, "token_endpoint": origin + pathToken,
		"registration_endpoint": origin + pathRegister, "authorization_response_iss_parameter_supported": true} {
		if m[name] != want {
			t.Errorf("%s: %v", name, m[name])
		}
	}
	if methods := m["code_challenge_methods_supported"].([]any); len(methods) != 1 || methods[0] != "S256" {
		t.Errorf("%v", methods)
	}
	for path, want := range map[string]string{"": origin, "/": origin, "/jmap/session": origin + "/jmap/session"} {
		if r := get(pathResource + path); r["resource"] != want || r["authorization_servers"].([]any)[0] != origin {
			t.Errorf("%s: %v", path, r)
		}
	}
	// Every endpoint that is announced is there.
	for name, v := range m {
		path, ok := strings.CutPrefix(func() string { s, _ := v.(string); return s }(), origin+"/")
		if !ok || !strings.HasSuffix(name, "_endpoint") {
			continue
		}
		method := "POST"
		if name == "authorization_endpoint" {
			method = "GET"
		}
		if answer, _ := b.send(method, "/"+path, ""); answer.StatusCode == 404 || answer.StatusCode == 405 {
			t.Errorf("%s: %s", name, answer.Status)
		}
	}
}
