package own

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/login"
	"postroad/internal/tokens"
	"postroad/jmap"
)

// guarded is a house with a gate; alice has a fresh session.
type guarded struct {
	*house
	tokens *tokens.Store
	mine   tokens.Session
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	h := newHouse(t)
	g := &guarded{house: h, tokens: &tokens.Store{Committer: h.access.Committer, Clock: h.access.Clock, Log: h.access.Log}}
	gate, err := login.New(login.Options{Directory: h.access.Directory, Tokens: g.tokens, Origin: "https://mail.ours.test"})
	must(t, err)
	o := h.m.o
	o.Credentials = gate
	h.m = New(h.access, o)
	h.add(h.m.Methods())
	g.mine = g.session("alice")
	g.as("session:"+g.mine.ID.String(), true)
	return g
}

// session starts one of a user's.
func (g *guarded) session(user string) tokens.Session {
	g.t.Helper()
	_, s, err := g.tokens.StartSession(g.t.Context(), tokens.Session{Account: g.users[user].ID, Client: "browser", How: "password"})
	must(g.t, err)
	return s
}

// as says what alice proves herself with from now on.
func (g *guarded) as(credential string, full bool) {
	g.users["alice"].Credential, g.users["alice"].Full = credential, full
}

// list is what a /get of all shows.
func (g *guarded) list(kind string) []map[string]any {
	g.t.Helper()
	r := g.call("alice", kind+"/get", "")
	if r["error"] != nil {
		g.t.Fatalf("%s: %v", kind, r)
	}
	var out []map[string]any
	for _, o := range r["list"].([]any) {
		out = append(out, o.(map[string]any))
	}
	return out
}

// TestCredentialsWhoMay: what programs, and people who have not proved themselves lately, may do.
func TestCredentialsWhoMay(t *testing.T) {
	views := []string{"AppPassword/get", "Session/get", "AccessToken/get", "Passkey/get", "Factors/get", "Session/endOthers",
		"AppPassword/set", "Session/set", "AccessToken/set", "Passkey/set"}
	changes := map[string]string{"Totp/begin": "", "Totp/confirm": `, "ticket": "x", "code": "123456"`, "Totp/remove": "", "RecoveryCodes/make": "",
		"Passkey/begin": "", "Passkey/finish": `, "ticket": "x", "credential": {}, "name": "x"`, "Password/change": `, "password": "battery staple"`}
	for name, test := range map[string]struct {
		credential   string
		full         bool
		view, change bool
	}{
		"an app password": {"app:phone", true, false, false},
		"a token":         {"token:x", true, false, false},
		"another server":  {"oidc:https://id.test", true, false, false},
		"a stale session": {"session:x", false, true, false},
		"a fresh session": {"session:x", true, true, true},
		"name, password":  {"password", true, true, true},
	} {
		g := newGuarded(t)
		g.as(test.credential, test.full)
		for _, method := range views {
			if r := g.call("alice", method, ""); (r["error"] == nil) != test.view || !test.view && r["error"] != "forbidden" {
				t.Errorf("%s: %s: %v", name, method, r)
			}
		}
		for method, args := range changes {
			if r := g.call("alice", method, args); (r["error"] != "forbidden") != test.change {
				t.Errorf("%s: %s: %v", name, method, r)
			}
		}
		if !test.view {
			continue
		}
		r := g.call("alice", "AppPassword/set", `, "create": {"k": {"name": "phone"}}`)
		if told := at(r, "notCreated", "k", "type"); (told == nil) != test.change || !test.change && told != "forbidden" {
			t.Errorf("%s: %v", name, r)
		}
		if text, _ := at(r, "notCreated", "k", "description").(string); !test.change && !strings.Contains(text, "log in again") {
			t.Errorf("%s: %q does not say what to do", name, text)
		}
	}
	g := newGuarded(t)
	if r := g.callFor("bob", "alice", "AppPassword/get", ""); r["error"] != "accountNotFound" {
		t.Errorf("a stranger: %v", r)
	}
}

// TestCredentialsAdvertised: they are there and told of where somebody keeps them.
func TestCredentialsAdvertised(t *testing.T) {
	for _, there := range []bool{false, true} {
		h := newHouse(t)
		if there {
			h = newGuarded(t).house
		}
		a, err := h.access.AccountFor(t.Context(), h.users["alice"], access.FormatID('A', h.users["alice"].ID))
		must(t, err)
		told := h.m.Capabilities(h.users["alice"], a)[Capability].(map[string]any)["credentials"] == true
		served := slices.ContainsFunc(h.m.Methods(), func(m jmap.Method) bool { return m.Name == "AppPassword/set" })
		if told != there || served != there {
			t.Errorf("there %v: told %v, served %v", there, told, served)
		}
	}
}

func TestAppPasswordLife(t *testing.T) {
	g := newGuarded(t)
	r := g.call("alice", "AppPassword/set", `, "create": {"k": {"name": "phone"}}`)
	id, password := at(r, "created", "k", "id"), at(r, "created", "k", "password").(string)
	if r["oldState"] == r["newState"] || len(password) < 16 {
		t.Fatal(r)
	}
	list := g.list("AppPassword")
	if len(list) != 1 || list[0]["id"] != id || list[0]["name"] != "phone" || len(list[0]) != 3 {
		t.Fatal(list)
	}
	got := g.call("alice", "AppPassword/get", fmt.Sprintf(`, "ids": [%q, "x"], "properties": ["name"]`, id))
	if got["state"] != r["newState"] || fmt.Sprint(got["list"], got["notFound"]) != fmt.Sprintf("[map[id:%s name:phone]] [x]", id) || strings.Contains(fmt.Sprint(got), password) {
		t.Error(got)
	}
	for name, test := range map[string]struct{ object, want string }{
		"the same":       {`{"name": "phone"}`, "alreadyExists"},
		"no name":        {`{}`, "invalidProperties"},
		"null":           {`{"name": null}`, "invalidProperties"},
		"empty":          {`{"name": ""}`, "invalidProperties"},
		"one's own":      {`{"name": "x", "password": "chosen"}`, "invalidProperties"},
		"name of a list": {`{"name": []}`, "invalidProperties"},
	} {
		if r := g.call("alice", "AppPassword/set", `, "create": {"k": `+test.object+`}`); at(r, "notCreated", "k", "type") != test.want {
			t.Errorf("%s: %v", name, r)
		}
	}
	if r := g.call("alice", "AppPassword/set", fmt.Sprintf(`, "update": {%q: {"name": "y"}, "x": {}}`, id)); at(r, "notUpdated", id.(string), "type") != "forbidden" || at(r, "notUpdated", "x", "type") != "notFound" {
		t.Error(r)
	}
	if r := g.call("alice", "AppPassword/set", `, "ifInState": "x"`); r["error"] != "stateMismatch" {
		t.Error(r)
	}
	r = g.call("alice", "AppPassword/set", fmt.Sprintf(`, "ifInState": %q, "destroy": [%q, "x"]`, got["state"], id))
	if fmt.Sprint(r["destroyed"]) != fmt.Sprintf("[%s]", id) || at(r, "notDestroyed", "x", "type") != "notFound" || len(g.list("AppPassword")) != 0 {
		t.Error(r)
	}
}

func TestSessionLife(t *testing.T) {
	g := newGuarded(t)
	g.session("alice")
	g.session("alice")
	g.session("bob")
	list := g.list("Session")
	if len(list) != 3 {
		t.Fatal(list)
	}
	var mine, other string
	for _, s := range list {
		if s["current"] == true {
			mine = s["id"].(string)
		} else {
			other = s["id"].(string)
		}
	}
	if mine != "S"+g.mine.ID.String() {
		t.Errorf("%s is current: %v", mine, list)
	}
	if r := g.call("alice", "Session/set", fmt.Sprintf(`, "create": {"k": {}}, "destroy": [%q]`, other)); at(r, "notCreated", "k", "type") != "forbidden" || fmt.Sprint(r["destroyed"]) != "["+other+"]" {
		t.Error(r)
	}
	if r := g.call("alice", "Session/endOthers", ""); r["error"] != nil {
		t.Error(r)
	}
	if list := g.list("Session"); len(list) != 1 || list[0]["id"] != mine {
		t.Error(list)
	}
	if r := g.call("alice", "Session/set", fmt.Sprintf(`, "destroy": [%q]`, mine)); fmt.Sprint(r["destroyed"]) != "["+mine+"]" || len(g.list("Session")) != 0 {
		t.Error("one's own", r)
	}
	if list, err := g.tokens.Sessions(t.Context(), g.users["bob"].ID); len(list) != 1 || err != nil {
		t.Error("bob's", list, err)
	}
}

func TestAccessTokenLife(t *testing.T) {
	g := newGuarded(t)
	code, err := g.tokens.NewGrant(t.Context(), tokens.Offer{Redirect: "https://app.test/cb", Challenge: "x",
		Grant: tokens.Grant{Account: g.users["alice"].ID, Client: "app", Name: "App", Scopes: []string{access.ScopeMail}, Offline: true}})
	must(t, err)
	given, err := g.tokens.Exchange(t.Context(), code.Reveal(), func(tokens.Offer) error { return nil })
	must(t, err)
	list := g.list("AccessToken")
	if len(list) != 1 || list[0]["name"] != "App" || list[0]["offline"] != true || fmt.Sprint(list[0]["scopes"]) != "["+access.ScopeMail+"]" {
		t.Fatal(list)
	}
	if text := fmt.Sprint(list); strings.Contains(text, given.Access.Reveal()) || strings.Contains(text, given.Refresh.Reveal()) {
		t.Error("a secret is shown")
	}
	r := g.call("alice", "AccessToken/set", fmt.Sprintf(`, "destroy": [%q, "G1"]`, list[0]["id"]))
	if fmt.Sprint(r["destroyed"]) != fmt.Sprintf("[%s]", list[0]["id"]) || at(r, "notDestroyed", "G1", "type") != "notFound" || len(g.list("AccessToken")) != 0 {
		t.Error(r)
	}
}

func TestTOTPAndRecoveryLife(t *testing.T) {
	g := newGuarded(t)
	if r := g.call("alice", "RecoveryCodes/make", ""); r["error"] != "invalidArguments" {
		t.Errorf("codes without a factor: %v", r)
	}
	begun := g.call("alice", "Totp/begin", "")
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(begun["secret"].(string))
	must(t, err)
	confirm := func(code string) map[string]any {
		return g.call("alice", "Totp/confirm", fmt.Sprintf(`, "ticket": %q, "code": %q`, begun["ticket"], code))
	}
	if r := confirm("00000x"); r["error"] != "invalidArguments" {
		t.Errorf("wrong code: %v", r)
	}
	first := confirm(directory.TOTPCode(secret, time.Now()))
	if codes, _ := first["recoveryCodes"].([]any); len(codes) != directory.RecoveryCodes {
		t.Fatal(first)
	}
	if r := g.call("alice", "Factors/get", ""); r["totp"] == nil || r["recoveryCodes"] != float64(directory.RecoveryCodes) || r["passkeys"] != 0.0 {
		t.Error(r)
	}
	if r := g.call("alice", "RecoveryCodes/make", ""); fmt.Sprint(r["recoveryCodes"]) == fmt.Sprint(first["recoveryCodes"]) || r["error"] != nil {
		t.Error(r)
	}
	if r := g.call("alice", "Totp/remove", ""); r["error"] != nil {
		t.Error(r)
	}
	if r := g.call("alice", "Totp/remove", ""); r["error"] != "invalidArguments" {
		t.Errorf("again: %v", r)
	}
	if r := g.call("alice", "Factors/get", ""); r["totp"] != nil || r["recoveryCodes"] != 0.0 {
		t.Error(r)
	}
}

// answer is a software authenticator's answer to the options of a registration (WebAuthn,
// 6.5, attestation "none"; its CBOR is written by hand).
func answer(t *testing.T, options any) string {
	t.Helper()
	challenge := at(options.(map[string]any), "publicKey", "challenge")
	client, err := json.Marshal(map[string]any{"type": "webauthn.create", "challenge": challenge, "origin": "https://mail.ours.test"})
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	point, err := key.PublicKey.Bytes()
	must(t, err)
	id := []byte(rand.Text())
	site := sha256.Sum256([]byte("mail.ours.test"))
	data := append(site[:], 0x45, 0, 0, 0, 0) // present, verified, attested; counter
	data = binary.BigEndian.AppendUint16(append(data, make([]byte, 16)...), uint16(len(id)))
	data = append(append(data, id...), 0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32)
	data = append(append(append(data, point[1:33]...), 0x22, 0x58, 32), point[33:]...)
	object := []byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59")
	object = append(binary.BigEndian.AppendUint16(object, uint16(len(data))), data...)
	b64 := base64.RawURLEncoding.EncodeToString
	text, err := json.Marshal(map[string]any{"id": b64(id), "rawId": b64(id), "type": "public-key", "clientExtensionResults": map[string]any{},
		"response": map[string]any{"clientDataJSON": b64(client), "attestationObject": b64(object)}})
	must(t, err)
	return string(text)
}

func TestPasskeyLife(t *testing.T) {
	g := newGuarded(t)
	begun := g.call("alice", "Passkey/begin", "")
	finish := func(credential string) map[string]any {
		return g.call("alice", "Passkey/finish", fmt.Sprintf(`, "ticket": %q, "name": "key ring", "credential": %s`, begun["ticket"], credential))
	}
	if r := finish(`{"id": "x"}`); r["error"] != "invalidArguments" {
		t.Errorf("no answer: %v", r)
	}
	r := finish(answer(t, begun["options"]))
	if codes, _ := r["recoveryCodes"].([]any); len(codes) != directory.RecoveryCodes {
		t.Fatal(r)
	}
	list := g.list("Passkey")
	if len(list) != 1 || list[0]["id"] != r["id"] || list[0]["name"] != "key ring" || list[0]["used"] != nil {
		t.Fatal(list)
	}
	id := r["id"].(string)
	for patch, want := range map[string]any{`{"name": "blue key"}`: nil, `{"name": ""}`: "invalidProperties", `{"used": null}`: "invalidProperties"} {
		if r := g.call("alice", "Passkey/set", fmt.Sprintf(`, "update": {%q: %s}`, id, patch)); at(r, "notUpdated", id, "type") != want {
			t.Errorf("%s: %v", patch, r)
		}
	}
	if list := g.list("Passkey"); list[0]["name"] != "blue key" {
		t.Error(list)
	}
	g.as("session:x", false)
	if r := g.call("alice", "Passkey/set", fmt.Sprintf(`, "destroy": [%q]`, id)); at(r, "notDestroyed", id, "type") != "forbidden" {
		t.Errorf("stale: %v", r)
	}
	g.as("session:x", true)
	if r := g.call("alice", "Passkey/set", fmt.Sprintf(`, "destroy": [%q]`, id)); r["notDestroyed"] != nil || len(g.list("Passkey")) != 0 {
		t.Error(r)
	}
}

func TestPasswordChange(t *testing.T) {
	g := newGuarded(t)
	g.session("alice")
	if r := g.call("alice", "Password/change", `, "password": "x"`); r["error"] != "invalidArguments" {
		t.Errorf("too short: %v", r)
	}
	if r := g.call("alice", "Password/change", `, "password": "battery staple"`); r["error"] != nil || len(g.list("Session")) != 2 {
		t.Error(r)
	}
	r := g.call("alice", "Password/change", `, "password": "horse battery", "endOthers": true`)
	if list := g.list("Session"); r["error"] != nil || len(list) != 1 || list[0]["current"] != true || strings.Contains(fmt.Sprint(r), "horse") {
		t.Error(r, list)
	}
	u := g.users["alice"]
	if _, err := g.access.Directory.Authenticate(t.Context(), directory.Credentials{Login: u.Login.String(), Password: "horse battery"}); err != nil {
		t.Error(err)
	}
}

// TestCredentialsKeepSecrets: what was sent, or shown once, is in no error, state or log.
func TestCredentialsKeepSecrets(t *testing.T) {
	g := newGuarded(t)
	var log strings.Builder
	g.access.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g.tokens.Log = g.access.Log
	const secret = "s3crt"
	for method, args := range map[string]string{
		"Password/change": `"password": "` + secret + `"`,
		"Totp/confirm":    `"ticket": "` + secret + `", "code": "` + secret + `"`,
		"Passkey/finish":  `"ticket": "` + secret + `", "credential": "` + secret + `", "name": "x"`,
		"Totp/begin":      `"password": "` + secret + `"`,
	} {
		raw := fmt.Sprintf(`{"accountId": %q, %s}`, access.FormatID('A', g.users["alice"].ID), args)
		_, err := g.methods[method].Do(t.Context(), jmap.NewCall(method, json.RawMessage(raw), g.users["alice"], nil))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", method, err)
		}
	}
	r := g.call("alice", "AppPassword/set", `, "create": {"k": {"name": "phone"}}`)
	password := at(r, "created", "k", "password").(string)
	if state := fmt.Sprint(r["oldState"], r["newState"]); strings.Contains(state, password) || strings.Contains(log.String(), password) || strings.Contains(log.String(), secret) {
		t.Errorf("state %s, log %s", state, &log)
	}
}
