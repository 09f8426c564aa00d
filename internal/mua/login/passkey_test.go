package login

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"

	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
)

// authenticator is one in software: one key, ES256, and a counter.
type authenticator struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte
	count  uint32
	flags  byte
	origin string
}

const (
	flagPresent  = 0x01
	flagVerified = 0x04
	flagAttested = 0x40
)

func newAuthenticator(t *testing.T) *authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &authenticator{t: t, key: key, id: []byte(rand.Text()), flags: flagPresent | flagVerified, origin: origin}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// asked is what both kinds of options have.
type asked struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		User      struct {
			ID string `json:"id"`
		} `json:"user"`
		UserVerification string `json:"userVerification"`
	} `json:"publicKey"`
}

func (a *authenticator) read(options any) asked {
	a.t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		a.t.Fatal(err)
	}
	var q asked
	if err := json.Unmarshal(text, &q); err != nil || q.PublicKey.Challenge == "" {
		a.t.Fatalf("%s: %v", text, err)
	}
	return q
}

func (a *authenticator) client(kind, challenge string) []byte {
	text, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.origin, "crossOrigin": false})
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}

// data is the authenticator's data (WebAuthn, 6.1).
func (a *authenticator) data(flags byte) []byte {
	rp := sha256.Sum256([]byte("mail.example.com"))
	return binary.BigEndian.AppendUint32(append(rp[:], flags), a.count)
}

// create answers a registration.
func (a *authenticator) create(options any) json.RawMessage {
	a.t.Helper()
	q := a.read(options)
	a.handle, _ = base64.RawURLEncoding.DecodeString(q.PublicKey.User.ID)
	point, err := a.key.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	cose, err := webauthncbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
	if err != nil {
		a.t.Fatal(err)
	}
	data := append(a.data(a.flags|flagAttested), make([]byte, 16)...) // no AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.id)))
	data = append(append(data, a.id...), cose...)
	object, err := webauthncbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.credential(map[string]any{"clientDataJSON": b64(a.client("webauthn.create", q.PublicKey.Challenge)), "attestationObject": b64(object),
		"transports": []string{"internal"}})
}

func (a *authenticator) credential(response map[string]any) json.RawMessage {
	text, err := json.Marshal(map[string]any{"id": b64(a.id), "rawId": b64(a.id), "type": "public-key", "clientExtensionResults": map[string]any{}, "response": response})
	if err != nil {
		a.t.Fatal(err)
	}
	return text
}

// get answers a log-in.
func (a *authenticator) get(options any) json.RawMessage {
	a.t.Helper()
	a.count++
	client := a.client("webauthn.get", a.read(options).PublicKey.Challenge)
	data := a.data(a.flags)
	hash := sha256.Sum256(client)
	sum := sha256.Sum256(append(data[:len(data):len(data)], hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.credential(map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature), "userHandle": b64(a.handle)})
}

// enrol gives alice a passkey.
func (h *house) enrol(a *authenticator, name string) string {
	h.t.Helper()
	u := h.user("session:x", true)
	q, err := h.gate.PasskeyBegin(h.t.Context(), u)
	if err != nil {
		h.t.Fatal(err)
	}
	id, _, err := h.gate.PasskeyFinish(h.t.Context(), u, q.Ticket, a.create(q.Options), name)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

func TestPasskeyRegistration(t *testing.T) {
	h := newHouse(t)
	ctx, u := t.Context(), h.user("session:x", true)
	bob := h.account("bob@example.com")
	other := h.user("session:y", true)
	other.ID, other.Login = bob.ID, bob.Login
	var refused *Refusal
	for _, test := range []struct {
		name string
		who  *access.User
		spin func(*authenticator)
	}{
		{"another account", other, func(*authenticator) {}},
		{"another origin", u, func(a *authenticator) { a.origin = "https://evil.example" }},
		{"nobody present", u, func(a *authenticator) { a.flags = 0 }},
	} {
		a := newAuthenticator(t)
		test.spin(a)
		q, err := h.gate.PasskeyBegin(ctx, u)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.gate.PasskeyFinish(ctx, test.who, q.Ticket, a.create(q.Options), "x"); !errors.As(err, &refused) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	a := newAuthenticator(t)
	q, err := h.gate.PasskeyBegin(ctx, u)
	if err != nil {
		t.Fatal(err)
	}
	answer := a.create(q.Options)
	for name, text := range map[string]string{"empty": "", "no JSON": "x", "nothing in it": "{}", "cut": string(answer[:len(answer)/2])} {
		if _, _, err := h.gate.PasskeyFinish(ctx, u, q.Ticket, []byte(text), "x"); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	id, recovery, err := h.gate.PasskeyFinish(ctx, u, q.Ticket, answer, "laptop")
	if err != nil || len(recovery) != directory.RecoveryCodes || id != b64(a.id) {
		t.Fatal(id, recovery, err)
	}
	if _, _, err := h.gate.PasskeyFinish(ctx, u, q.Ticket, answer, "laptop"); err == nil {
		t.Error("the same answer twice")
	}
	if err := h.gate.PasskeyRename(ctx, u, id, "key ring"); err != nil {
		t.Error(err)
	}
	if f, err := h.gate.Factors(ctx, u); err != nil || len(f.Passkeys) != 1 || f.Passkeys[0].Name != "key ring" {
		t.Errorf("%+v %v", f, err)
	}
	for _, wrong := range []string{"", "?", "AAAA"} {
		if err := h.gate.PasskeyRemove(ctx, u, wrong); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if err := h.gate.PasskeyRemove(ctx, u, id); err != nil {
		t.Error(err)
	}
}

// ask begins a log-in with a passkey and returns the ticket and the options.
func (b *browser) ask(q params) (string, any) {
	b.h.t.Helper()
	status, v := b.step(pathLoginKey, q)
	if status != 200 {
		b.h.t.Fatalf("%d %v", status, v)
	}
	return v["ticket"].(string), v["options"]
}

// TestPasskeyAlone logs in without a password.
func TestPasskeyAlone(t *testing.T) {
	h := newHouse(t)
	a := newAuthenticator(t)
	h.enrol(a, "phone")
	for _, test := range []struct {
		name   string
		spin   func(*authenticator)
		status int
	}{
		{"not verified", func(a *authenticator) { a.flags = flagPresent }, 401},
		{"another origin", func(a *authenticator) { a.origin = "https://evil.example" }, 401},
		{"another key", func(a *authenticator) { a.key = newAuthenticator(t).key }, 401},
		{"another id", func(a *authenticator) { a.id = []byte("xxxxxxxxxxxxxxxxxxxx") }, 401},
		{"nobody's handle", func(a *authenticator) { a.handle = []byte("0000000000001") }, 401},
		{"no handle", func(a *authenticator) { a.handle = nil }, 401},
		{"broken handle", func(a *authenticator) { a.handle = []byte("x") }, 401},
		{"good", func(a *authenticator) {}, 200},
		{"a copy whose counter is behind", func(a *authenticator) { a.count = 0 }, 401},
	} {
		b := h.browser()
		copied := *a
		test.spin(&copied)
		ticket, options := b.ask(params{})
		status, v := b.step(pathLoginDone, params{"ticket": ticket, "credential": copied.get(options)})
		if who, _ := b.whoAmI(); status != test.status || (who == 200) != (test.status == 200) {
			t.Errorf("%s: %d %v, then %d", test.name, status, v, who)
		}
		if test.status == 200 {
			a.count = copied.count
		}
	}
	b := h.browser()
	ticket, options := b.ask(params{})
	answer := a.get(options)
	if status, v := b.step(pathLoginDone, params{"ticket": ticket, "credential": answer}); status != 200 || v["session"].(map[string]any)["how"] != "passkey" {
		t.Fatalf("%d %v", status, v)
	}
	if status, _ := h.browser().step(pathLoginDone, params{"ticket": ticket, "credential": answer}); status != 401 {
		t.Errorf("replayed: %d", status)
	}
	other, _ := b.ask(params{})
	if status, _ := h.browser().step(pathLoginDone, params{"ticket": other, "credential": answer}); status != 401 {
		t.Errorf("with another challenge: %d", status)
	}
	h.disable(true)
	ticket, options = b.ask(params{})
	if status, _ := h.browser().step(pathLoginDone, params{"ticket": ticket, "credential": a.get(options)}); status != 401 {
		t.Errorf("of a disabled account: %d", status)
	}
}

// TestPasskeyIsSecond takes it after the password, where it need not verify its user, and to
// make a session fresh, where it must.
func TestPasskeyIsSecond(t *testing.T) {
	h := newHouse(t)
	a := newAuthenticator(t)
	h.enrol(a, "key")
	b := h.browser()
	if status, v := b.step(pathLoginKey, params{"again": true}); status != 401 {
		t.Errorf("again without a session: %d %v", status, v)
	}
	_, v := b.step(pathLogin, params{"user": "alice@example.com", "password": password})
	if v["state"] != "second" {
		t.Fatal(v)
	}
	ticket, options := b.ask(params{"ticket": v["ticket"]})
	a.flags = flagPresent
	if status, v := b.step(pathLoginDone, params{"ticket": ticket, "credential": a.get(options)}); status != 200 || v["session"].(map[string]any)["how"] != "password+passkey" {
		t.Fatalf("%d %v", status, v)
	}
	ticket, options = b.ask(params{"again": true})
	if status, _ := b.step(pathLoginDone, params{"ticket": ticket, "credential": a.get(options)}); status != 401 {
		t.Errorf("again, not verified: %d", status)
	}
	a.flags |= flagVerified
	ticket, options = b.ask(params{"again": true})
	if status, v := b.step(pathLoginDone, params{"ticket": ticket, "credential": a.get(options)}); status != 200 {
		t.Errorf("again: %d %v", status, v)
	}
	if status, _ := b.step(pathLoginCode, params{"ticket": ticket, "code": "123456"}); status != 410 {
		t.Errorf("a ticket of another kind: %d", status)
	}
}
