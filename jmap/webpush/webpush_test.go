package webpush

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"
)

func octets(t *testing.T, text string) []byte {
	t.Helper()
	b, err := decode(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestExample is RFC 8291, 5 and appendix A.
func TestExample(t *testing.T) {
	keys, err := ParseKeys("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg")
	if err != nil {
		t.Fatal(err)
	}
	sender, err := ecdh.P256().NewPrivateKey(octets(t, "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := keys.encrypt([]byte("When I grow up, I want to be a watermelon"), sender, octets(t, "DGv6ra1nlYgDCS1FRnbzlw"))
	if err != nil {
		t.Fatal(err)
	}
	want := octets(t, "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN")
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

// verify checks credentials as a push service does and returns the claims.
func verify(t *testing.T, credentials string) map[string]any {
	t.Helper()
	rest, ok := strings.CutPrefix(credentials, "vapid t=")
	token, k, found := strings.Cut(rest, ",")
	parts := strings.Split(token, ".")
	k, named := strings.CutPrefix(strings.TrimSpace(k), "k=")
	if !ok || !found || !named || len(parts) != 3 {
		t.Fatalf("%q", credentials)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), octets(t, k))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature := octets(t, parts[2])
	if len(signature) != 64 || !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Fatal("the signature does not hold")
	}
	if head := string(octets(t, parts[0])); head != `{"typ":"JWT","alg":"ES256"}` {
		t.Errorf("header %s", head)
	}
	var claims map[string]any
	if err := json.Unmarshal(octets(t, parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestVerifyExample is RFC 8292, 2.4: it shows that what checks ours is right.
func TestVerifyExample(t *testing.T) {
	claims := verify(t, "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1YiI6Im1ha"+
		"Wx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA, "+
		"k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs")
	if claims["aud"] != "https://push.example.net" || claims["sub"] != "mailto:push@example.com" || claims["exp"] != 1453523768.0 {
		t.Errorf("%v", claims)
	}
}

func TestRequest(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := ecdh.P256().GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseKeys(base64.URLEncoding.EncodeToString(receiver.PublicKey().Bytes()), base64.URLEncoding.EncodeToString(make([]byte, 16)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	m := Message{Endpoint: "https://push.example.net:8443/p/x?y", Keys: keys, Body: []byte("text"), Type: "application/json", TTL: time.Minute,
		Urgency: High, Topic: "t", Key: again, Subject: "mailto:postmaster@example.com"}
	r, err := m.Request(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"TTL": "60", "Urgency": "high", "Topic": "t", "Content-Encoding": "aes128gcm", "Content-Type": "application/json"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	claims := verify(t, r.Header.Get("Authorization"))
	if claims["aud"] != "https://push.example.net:8443" || claims["sub"] != m.Subject || claims["exp"] != float64(now.Add(tokenLife).Unix()) {
		t.Errorf("%v", claims)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || len(body) != headerSize+4+1+tagSize || r.ContentLength != int64(len(body)) {
		t.Errorf("%d octets (%v)", len(body), err)
	}
	other, err := keys.Encrypt([]byte("text"))
	if err != nil || bytes.Equal(body, other) {
		t.Errorf("the same twice (%v)", err)
	}
	m.Keys, m.Key = nil, nil
	if r, err = m.Request(t.Context(), now); err != nil || r.Header.Get("Content-Encoding") != "" || r.Header.Get("Authorization") != "" {
		t.Errorf("without keys: %v %v", r.Header, err)
	}
}

func TestFaults(t *testing.T) {
	good := "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
	for name, k := range map[string][2]string{
		"nothing": {"", ""}, "no base64": {"*", "BTBZMqHH6r4Tts7J_aSIgg"}, "a short secret": {good, "BTBZMqHH6r4Tts7J_aSI"},
		"no point": {"BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", "BTBZMqHH6r4Tts7J_aSIgg"},
		"infinity": {"AA", "BTBZMqHH6r4Tts7J_aSIgg"},
	} {
		if _, err := ParseKeys(k[0], k[1]); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys, err := ParseKeys(good, "BTBZMqHH6r4Tts7J_aSIgg")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := keys.Encrypt(make([]byte, PlainMax)); err != nil || len(out) != bodyMax {
		t.Errorf("as long as can be: %d %v", len(out), err)
	}
	if _, err := keys.Encrypt(make([]byte, PlainMax+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	if _, err := ParseKey([]byte("x")); !errors.Is(err, ErrKey) {
		t.Errorf("%v", err)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg==")
	f.Fuzz(func(t *testing.T, p256dh, auth string) {
		k, err := ParseKeys(p256dh, auth)
		if err != nil {
			return
		}
		if _, err := k.Encrypt([]byte("text")); err != nil {
			t.Errorf("%q %q: %v", p256dh, auth, err)
		}
	})
}
