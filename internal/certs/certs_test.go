package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writePair makes a certificate for names and puts it into two files.
func writePair(t *testing.T, dir, name string, names ...string) Files {
	t.Helper()
	f := Files{filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")}
	certificate, key, err := makeSelfSigned(names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Certificate, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	m, err := New(Options{Files: []Files{
		writePair(t, dir, "a", "mx.example.test", "example.test"),
		writePair(t, dir, "b", "*.example.org"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ ask, want string }{
		{"", "mx.example.test"}, {"mx.example.test", "mx.example.test"}, {"MX.Example.Test.", "mx.example.test"},
		{"example.test", "mx.example.test"}, {"imap.example.org", "*.example.org"}, {"example.org", "mx.example.test"},
		{"a.b.example.org", "mx.example.test"}, {"other.test", "mx.example.test"},
	} {
		c, err := m.GetCertificate(&tls.ClientHelloInfo{ServerName: test.ask})
		if err != nil || c.Leaf.Subject.CommonName != test.want {
			t.Errorf("%q: %v %v", test.ask, c.Leaf.Subject, err)
		}
	}
}

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	o := Options{Directory: dir, Names: []string{"mx.example.test", "localhost", "127.0.0.1"}}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if !m.SelfSigned() {
		t.Error("not self-signed")
	}
	first, _ := os.ReadFile(m.File())
	if info, err := os.Stat(filepath.Join(dir, "selfsigned.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v %v", info, err)
	}
	if _, err := New(o); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(m.File()); string(again) != string(first) {
		t.Error("made anew although it was good")
	}
	o.Names = append(o.Names, "more.example.test")
	if _, err := New(o); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(m.File()); string(again) == string(first) {
		t.Error("not made anew for a further name")
	}
	if err := os.WriteFile(m.File(), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); err == nil {
		t.Error("a damaged certificate was overwritten")
	}
}

func TestSelfSignedRenewal(t *testing.T) {
	f := Files{filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "k")}
	names, now := []string{"h.test"}, time.Now()
	read := func() string { b, _ := os.ReadFile(f.Certificate); return string(b) }
	if err := ensureSelfSigned(f, names, now); err != nil {
		t.Fatal(err)
	}
	first := read()
	if err := ensureSelfSigned(f, names, now.Add(selfSignedAge-selfSignedRenew-2*time.Hour)); err != nil || read() != first {
		t.Errorf("renewed too early: %v", err)
	}
	if err := ensureSelfSigned(f, names, now.Add(selfSignedAge-selfSignedRenew+time.Hour)); err != nil || read() == first {
		t.Errorf("not renewed: %v", err)
	}
	if err := ensureSelfSigned(f, nil, now); err == nil {
		t.Error("made for nobody")
	}
}

// TestReload changes files while the manager runs: a good pair is taken, a broken one not.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	f := writePair(t, dir, "a", "one.test")
	synctest.Test(t, func(t *testing.T) {
		m, err := New(Options{Files: []Files{f}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		shown := func() string {
			time.Sleep(2 * CheckInterval)
			synctest.Wait()
			c, _ := m.GetCertificate(&tls.ClientHelloInfo{})
			return c.Leaf.Subject.CommonName
		}
		writePair(t, dir, "a", "two.longer.test")
		if got := shown(); got != "two.longer.test" {
			t.Errorf("after a change: %s", got)
		}
		if err := os.WriteFile(f.Certificate, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := shown(); got != "two.longer.test" {
			t.Errorf("after a broken one: %s", got)
		}
		if err := os.Remove(f.Key); err != nil {
			t.Fatal(err)
		}
		if got := shown(); got != "two.longer.test" {
			t.Errorf("after a missing one: %s", got)
		}
		writePair(t, dir, "a", "three.test")
		if got := shown(); got != "three.test" {
			t.Errorf("after it was mended: %s", got)
		}
		stop()
		if err := <-done; err != context.Canceled {
			t.Error(err)
		}
	})
}

func TestBrokenAtStart(t *testing.T) {
	dir := t.TempDir()
	a, b := writePair(t, dir, "a", "a.test"), writePair(t, dir, "b", "b.test")
	_, err := New(Options{Files: []Files{{a.Certificate, b.Key}}})
	if err == nil || !strings.Contains(err.Error(), a.Certificate) {
		t.Errorf("a key that does not fit: %v", err)
	}
	if _, err = New(Options{Files: []Files{{filepath.Join(dir, "none"), b.Key}}}); err == nil {
		t.Error("a missing file")
	}
}

// TestHandshake connects to both kinds of doors.
func TestHandshake(t *testing.T) {
	m, err := New(Options{Directory: t.TempDir(), Names: []string{"mx.example.test"}})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(m.File())
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	handshake := func(server, client *tls.Config) error {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		client.RootCAs, client.ServerName = pool, "mx.example.test"
		go tls.Server(a, server).Handshake()
		return tls.Client(b, client).Handshake()
	}
	for _, test := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		good   bool
	}{
		{"1.3", m.Client(tls.VersionTLS12), &tls.Config{}, true},
		{"1.2", m.Client(tls.VersionTLS12), &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"1.2 where 1.3 is asked", m.Client(tls.VersionTLS13), &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		{"1.1", m.Server(), &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"old suite for mail programs", m.Client(tls.VersionTLS12),
			&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"old suite for servers", m.Server(),
			&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, true},
	} {
		if err := handshake(test.server, test.client); (err == nil) != test.good {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
