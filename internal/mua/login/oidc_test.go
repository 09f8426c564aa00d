package login

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postroad/internal/telemetry"
)

// fakeProvider is an OIDC provider over TLS.
type fakeProvider struct {
	*httptest.Server
	t          *testing.T
	key        *ecdsa.PrivateKey
	introspect bool
	down       atomic.Bool
	asked      atomic.Int64
	active     map[string]map[string]any // claims by token
}

func newFakeProvider(t *testing.T, introspect bool) *fakeProvider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &fakeProvider{t: t, key: key, introspect: introspect, active: map[string]map[string]any{}}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *fakeProvider) serve(w http.ResponseWriter, r *http.Request) {
	if p.down.Load() {
		http.Error(w, "down", http.StatusBadGateway)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		m := map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/a", "token_endpoint": p.URL + "/t", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"}}
		if p.introspect {
			m["introspection_endpoint"] = p.URL + "/introspect"
		}
		writeJSON(w, 200, m)
	case "/keys":
		point, err := p.key.PublicKey.Bytes()
		if err != nil {
			p.t.Error(err)
			return
		}
		writeJSON(w, 200, map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1", "x": b64(point[1:33]), "y": b64(point[33:])}}})
	case "/introspect":
		p.asked.Add(1)
		if id, secret, _ := r.BasicAuth(); id != "postroad" || secret != "s%3Acret" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		if claims := p.active[r.PostFormValue("token")]; claims != nil {
			writeJSON(w, 200, claims)
			return
		}
		writeJSON(w, 200, map[string]bool{"active": false})
	default:
		http.NotFound(w, r)
	}
}

// sign makes a JWT with ES256.
func (p *fakeProvider) sign(key *ecdsa.PrivateKey, claims map[string]any) string {
	p.t.Helper()
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			p.t.Fatal(err)
		}
		return b64(text)
	}
	text := part(map[string]string{"alg": "ES256", "kid": "1"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		p.t.Fatal(err)
	}
	return text + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func (p *fakeProvider) house(secret string, change ...func(*OIDC)) *house {
	p.t.Helper()
	o := OIDC{Issuer: p.URL, Client: "postroad", HTTP: p.Client()}
	if secret != "" {
		o.Secret = telemetry.NewSecret(secret)
	}
	for _, f := range change {
		f(&o)
	}
	return newHouse(p.t, func(g *Options) { g.OIDC = &o })
}

// judge says what becomes of a token: the login, or the status.
func (h *house) judge(token string) (string, int) {
	h.t.Helper()
	u, err := h.gate.Bearer(h.t.Context(), token, netipZero)
	if err == nil {
		if u.Full || !strings.HasPrefix(u.Credential, "oidc:") {
			h.t.Errorf("%+v", u)
		}
		return u.Login.String(), 200
	}
	refused, ok := err.(*Refusal)
	if !ok {
		h.t.Fatal(err)
	}
	return "", refused.Status
}

func TestIntrospection(t *testing.T) {
	p := newFakeProvider(t, true)
	soon := time.Now().Add(time.Hour).Unix()
	p.active = map[string]map[string]any{
		"good":        {"active": true, "email": "alice@example.com", "exp": soon},
		"verified":    {"active": true, "email": "alice@example.com", "email_verified": true},
		"unverified":  {"active": true, "email": "alice@example.com", "email_verified": false},
		"unverified2": {"active": true, "email": "alice@example.com", "email_verified": "false"},
		"inactive":    {"active": false, "email": "alice@example.com"},
		"no active":   {"email": "alice@example.com"},
		"expired":     {"active": true, "email": "alice@example.com", "exp": time.Now().Add(-time.Minute).Unix()},
		"nobody":      {"active": true, "email": "nobody@example.com"},
		"foreign":     {"active": true, "email": "alice@example.org"},
		"no claim":    {"active": true, "sub": "alice"},
		"number":      {"active": true, "email": 4711},
		"no address":  {"active": true, "email": "alice"},
	}
	h := p.house("s:cret")
	for token := range p.active {
		who, status := h.judge(token)
		if good := token == "good" || token == "verified"; good != (status == 200 && who == "alice@example.com") || !good && status != 401 {
			t.Errorf("%s: %s %d", token, who, status)
		}
	}
	if _, status := h.judge("unknown"); status != 401 {
		t.Errorf("unknown: %d", status)
	}
	before := p.asked.Load()
	for range 3 {
		h.judge("good")
		h.judge("unknown")
	}
	if p.asked.Load() != before {
		t.Error("asked again about what was known")
	}
	h.disable(true)
	if _, status := h.judge("good"); status != 401 {
		t.Errorf("of a disabled account, remembered: %d", status)
	}
	h.disable(false)
	p.down.Store(true)
	if _, status := h.judge("good"); status != 200 {
		t.Errorf("remembered while the provider is down: %d", status)
	}
	if _, status := h.judge("another"); status != 503 {
		t.Errorf("while the provider is down: %d", status)
	}
	p.down.Store(false)
	if _, status := h.judge("another"); status != 401 {
		t.Errorf("after that: %d", status)
	}
	wrong := p.house("other")
	if _, status := wrong.judge("good"); status != 503 || !strings.Contains(wrong.log.String(), "are client and secret right") {
		t.Errorf("with a wrong secret: %d\n%s", status, wrong.log)
	}
	if strings.Contains(h.log.String()+wrong.log.String(), "s:cret") {
		t.Error("the secret was logged")
	}
}

func TestJWT(t *testing.T) {
	p := newFakeProvider(t, false)
	h := p.house("", func(o *OIDC) { o.Claim = "upn" })
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		key    *ecdsa.PrivateKey
		change func(map[string]any)
		status int
	}{
		{"good", p.key, func(map[string]any) {}, 200},
		{"several audiences", p.key, func(c map[string]any) { c["aud"] = []string{"x", "postroad"} }, 200},
		{"another audience", p.key, func(c map[string]any) { c["aud"] = "x" }, 401},
		{"no audience", p.key, func(c map[string]any) { delete(c, "aud") }, 401},
		{"another issuer", p.key, func(c map[string]any) { c["iss"] = "https://evil.example" }, 401},
		{"expired", p.key, func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }, 401},
		{"no expiry", p.key, func(c map[string]any) { delete(c, "exp") }, 401},
		{"not yet", p.key, func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() }, 401},
		{"another key", other, func(map[string]any) {}, 401},
		{"another claim", p.key, func(c map[string]any) { c["email"] = c["upn"]; delete(c, "upn") }, 401},
	} {
		claims := map[string]any{"iss": p.URL, "aud": "postroad", "sub": "1", "upn": "alice@example.com", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
		test.change(claims)
		if _, status := h.judge(p.sign(test.key, claims)); status != test.status {
			t.Errorf("%s: %d", test.name, status)
		}
	}
	none := b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"iss":"`+p.URL+`","aud":"postroad","upn":"alice@example.com","exp":99999999999}`)) + "."
	for _, text := range []string{none, "x", "a.b.c", "..", strings.Repeat("a", 5000)} {
		if _, status := h.judge(text); status != 401 {
			t.Errorf("%.20q: %d", text, status)
		}
	}
}

// TestProviderDown: without its metadata nothing is known, and it is not asked at each request.
func TestProviderDown(t *testing.T) {
	p := newFakeProvider(t, true)
	p.down.Store(true)
	h := p.house("s:cret")
	for range 3 {
		if _, status := h.judge("good"); status != 503 {
			t.Errorf("%d", status)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/jmap/session", nil)
	r.Header.Set("Authorization", "Bearer good")
	if _, err := h.gate.Authenticate(w, r); err == nil || w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("%v %v", err, w.Header())
	}
	token := h.grant("x").Access.Reveal()
	if _, err := h.gate.Bearer(t.Context(), token, netipZero); err != nil {
		t.Errorf("our own token: %v", err)
	}
	for _, o := range []OIDC{{}, {Issuer: "http://id.example", Client: "x"}, {Issuer: "https://id.example"}} {
		if _, err := newProvider(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
