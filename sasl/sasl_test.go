package sasl

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"
)

// testBackend knows one user with two passwords.
type testBackend struct {
	salt       []byte
	iterations int
	keys       []Key
}

const (
	testUser     = "user"
	testPassword = "pencil"
	testApp      = "pen,c=il2"
)

var testSecret = bytes.Repeat([]byte{7}, 32)

func newTestBackend(t testing.TB) *testBackend {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	b := &testBackend{salt: salt, iterations: 4096}
	for _, p := range []string{testPassword, testApp} {
		k, err := NewKey(p, salt, b.iterations)
		if err != nil {
			t.Fatal(err)
		}
		b.keys = append(b.keys, k)
	}
	return b
}

func (b *testBackend) Password(_ context.Context, authzid, user, password string) (any, error) {
	if user != testUser || password != testPassword && password != testApp {
		return nil, ErrCredentials
	}
	return "password:" + authzid + ":" + user, nil
}

func (b *testBackend) Verifier(_ context.Context, authzid, user string) (Verifier, error) {
	v := Verifier{Finish: func(_ context.Context, key int) (any, error) {
		if key < 0 {
			return nil, ErrCredentials
		}
		return fmt.Sprintf("scram:%s:%s:%d", authzid, user, key), nil
	}}
	if user == testUser {
		v.Salt, v.Iterations, v.Keys = b.salt, b.iterations, b.keys
	}
	return v, nil
}

// run plays both ends of an exchange.
func run(t *testing.T, s Server, c Client) (any, error) {
	t.Helper()
	ctx := t.Context()
	response, err := c.Start()
	if err != nil {
		return nil, err
	}
	for range 10 {
		challenge, done, err := s.Next(ctx, response)
		if err != nil {
			return nil, err
		}
		if done {
			return s.Identity(), c.Finish()
		}
		if response, err = c.Next(challenge); err != nil {
			return nil, err
		}
		if response == nil {
			response = []byte{}
		}
	}
	t.Fatal("exchange without end")
	return nil, nil
}

func TestMechanisms(t *testing.T) {
	server, client := handshake(t, nil)
	options := func(b *Bindings) *Options {
		return &Options{Backend: newTestBackend(t), Bindings: b, Secret: testSecret}
	}
	for _, tt := range []struct {
		name, mechanism string
		credentials     Credentials
		server, client  *Bindings
		identity        any
		err             error
	}{
		{name: "PLAIN", mechanism: Plain, credentials: Credentials{"other", testUser, testPassword}, identity: "password:other:user"},
		{name: "PLAIN wrong", mechanism: Plain, credentials: Credentials{"", testUser, "x"}, err: ErrCredentials},
		{name: "LOGIN", mechanism: Login, credentials: Credentials{"", testUser, testPassword}, identity: "password::user"},
		{name: "LOGIN wrong", mechanism: Login, credentials: Credentials{"", "x", testPassword}, err: ErrCredentials},
		{name: "LOGIN empty user", mechanism: Login, credentials: Credentials{"", "", testPassword}, err: ErrMalformed},
		{name: "SCRAM", mechanism: ScramSHA256, credentials: Credentials{"", testUser, testPassword}, identity: "scram::user:0"},
		{name: "SCRAM second password", mechanism: ScramSHA256, credentials: Credentials{"a,b=c", testUser, testApp}, identity: "scram:a,b=c:user:1"},
		{name: "SCRAM wrong", mechanism: ScramSHA256, credentials: Credentials{"", testUser, "x"}, err: ErrCredentials},
		{name: "SCRAM unknown", mechanism: ScramSHA256, credentials: Credentials{"", "nobody", testPassword}, err: ErrCredentials},
		{name: "SCRAM plus", mechanism: ScramSHA256Plus, server: server, client: client, credentials: Credentials{"", testUser, testPassword}, identity: "scram::user:0"},
		{name: "SCRAM plus wrong", mechanism: ScramSHA256Plus, server: server, client: client, credentials: Credentials{"", testUser, "x"}, err: ErrCredentials},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(tt.server)
			s, err := NewServer(strings.ToLower(tt.mechanism), o)
			if err != nil {
				t.Fatal(err)
			}
			c, err := NewClient(tt.mechanism, tt.credentials, tt.client, o.Mechanisms())
			if err != nil {
				t.Fatal(err)
			}
			identity, err := run(t, s, c)
			if !errors.Is(err, tt.err) || identity != tt.identity {
				t.Errorf("%v, %v; want %v, %v", identity, err, tt.identity, tt.err)
			}
		})
	}
}

// TestInTheMiddle shows that PLUS notices somebody between client and server, and that
// without it a client that could have bound says so.
func TestInTheMiddle(t *testing.T) {
	server, _ := handshake(t, nil)
	_, client := handshake(t, nil)
	o := &Options{Backend: newTestBackend(t), Bindings: server, Secret: testSecret}
	for _, tt := range []struct {
		name, mechanism string
		offered         []string
		err             error
	}{
		{"other channel", ScramSHA256Plus, o.Mechanisms(), ErrCredentials},
		{"offer taken away", ScramSHA256, []string{ScramSHA256}, ErrBinding},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := NewServer(tt.mechanism, o)
			if err != nil {
				t.Fatal(err)
			}
			c, err := NewClient(tt.mechanism, Credentials{"", testUser, testPassword}, client, tt.offered)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := run(t, s, c); !errors.Is(err, tt.err) {
				t.Errorf("%v, want %v", err, tt.err)
			}
		})
	}
}

// TestEndPoint binds to the certificate, on a fresh and on a resumed session, against the
// module's own idea of the binding.
func TestEndPoint(t *testing.T) {
	cache := tls.NewLRUClientSessionCache(1)
	config := ServerConfig(&tls.Config{Certificates: []tls.Certificate{testCertificate(t)}})
	for _, name := range []string{"fresh", "resumed"} {
		t.Run(name, func(t *testing.T) {
			server, client := handshakeWith(t, config, cache)
			if resumed := client.state.DidResume; resumed != (name == "resumed") {
				t.Fatalf("resumed: %v", resumed)
			}
			ours, err := server.data(bindingEndPoint)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := scram.NewTLSServerEndpointBinding(&client.state)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(ours, theirs.Data) {
				t.Error("the two ends differ")
			}
			exporter, err := scram.NewTLSExporterBinding(&client.state)
			if err != nil {
				t.Fatal(err)
			}
			if ours, err = server.data(bindingExporter); err != nil || !bytes.Equal(ours, exporter.Data) {
				t.Errorf("tls-exporter differs, %v", err)
			}
		})
	}
}

// TestRFC7677 is the example of RFC 7677, 3.
func TestRFC7677(t *testing.T) {
	const clientNonce, serverNonce = "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	dialogue := []string{
		"n,,n=user,r=" + clientNonce,
		"r=" + clientNonce + serverNonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		"c=biws,r=" + clientNonce + serverNonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	}
	s := &scramServer{options: &Options{Backend: newTestBackend(t), Secret: testSecret}, nonce: func() string { return serverNonce }}
	x, err := scram.SHA256.NewClient(testUser, testPassword, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := startScramClient(ScramSHA256, x.WithNonceGenerator(func() string { return clientNonce }), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Start()
	for i := 0; i < len(dialogue); i += 2 {
		if err != nil || string(response) != dialogue[i] {
			t.Fatalf("client: %q, %v; want %q", response, err, dialogue[i])
		}
		challenge, _, err := s.Next(t.Context(), response)
		if err != nil || string(challenge) != dialogue[i+1] {
			t.Fatalf("server: %q, %v; want %q", challenge, err, dialogue[i+1])
		}
		if response, err = c.Next(challenge); err != nil {
			t.Fatal(err)
		}
	}
	if _, done, err := s.Next(t.Context(), response); !done || err != nil {
		t.Fatal(done, err)
	}
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
}

// TestUnknownUser: the salt of somebody unknown is the same each time, in any case, and
// differs from others'.
func TestUnknownUser(t *testing.T) {
	o := &Options{Backend: newTestBackend(t), Secret: testSecret}
	first := func(user string) string {
		s, err := NewServer(ScramSHA256, o)
		if err != nil {
			t.Fatal(err)
		}
		m, _, err := s.Next(t.Context(), []byte("n,,n="+user+",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(m), ",")
		return rest
	}
	if a, b := first("nobody"), first("Nobody"); a != b {
		t.Errorf("%q, then %q", a, b)
	}
	if a, b := first("nobody"), first("somebody"); a == b {
		t.Errorf("both %q", a)
	}
	if a, b := first("nobody"), first(testUser); len(a) != len(b) {
		t.Errorf("%q can be told from %q", a, b)
	}
}

func TestMalformed(t *testing.T) {
	long := strings.Repeat("x", nameMax+1)
	for _, tt := range []struct {
		name, mechanism string
		responses       []string
	}{
		{"PLAIN without NUL", Plain, []string{"user"}},
		{"PLAIN with one NUL", Plain, []string{"user\x00pencil"}},
		{"PLAIN with three", Plain, []string{"\x00user\x00pencil\x00"}},
		{"PLAIN without password", Plain, []string{"\x00user\x00"}},
		{"PLAIN with long name", Plain, []string{"\x00" + long + "\x00pencil"}},
		{"PLAIN not UTF-8", Plain, []string{"\x00us\xffer\x00pencil"}},
		{"SCRAM empty", ScramSHA256, []string{""}},
		{"SCRAM mandatory extension", ScramSHA256, []string{"n,,m=x,n=user,r=abc"}},
		{"SCRAM wrong escape", ScramSHA256, []string{"n,,n=us=er,r=abc"}},
		{"SCRAM without nonce", ScramSHA256, []string{"n,,n=user"}},
		{"SCRAM empty nonce", ScramSHA256, []string{"n,,n=user,r="}},
		{"SCRAM plus flag without plus", ScramSHA256, []string{"p=tls-exporter,,n=user,r=abc"}},
		{"SCRAM flag unknown", ScramSHA256, []string{"x,,n=user,r=abc"}},
		{"SCRAM final without proof", ScramSHA256, []string{"n,,n=user,r=abc", "c=biws,r=abc"}},
		{"SCRAM short proof", ScramSHA256, []string{"n,,n=user,r=abc", "c=biws,r=abc,p=YQ=="}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := NewServer(tt.mechanism, &Options{Backend: newTestBackend(t), Secret: testSecret})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range tt.responses {
				_, done, err := s.Next(t.Context(), []byte(r))
				if last := i == len(tt.responses)-1; done || last && !errors.Is(err, ErrMalformed) || !last && err != nil {
					t.Fatalf("response %d: done %v, %v", i, done, err)
				}
			}
			if _, _, err := s.Next(t.Context(), []byte("x")); !errors.Is(err, ErrState) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestNoInitialResponse(t *testing.T) {
	o := &Options{Backend: newTestBackend(t)}
	for mechanism, want := range map[string]string{Plain: "", Login: "Username:"} {
		s, err := NewServer(mechanism, o)
		if err != nil {
			t.Fatal(err)
		}
		challenge, done, err := s.Next(t.Context(), nil)
		if string(challenge) != want || done || err != nil {
			t.Errorf("%s: %q, %v, %v", mechanism, challenge, done, err)
		}
	}
	if got, want := o.Mechanisms(), []string{Plain, Login}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestServerMustProveItself(t *testing.T) {
	c, err := NewClient(ScramSHA256, Credentials{"", testUser, testPassword}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(); !errors.Is(err, ErrServer) {
		t.Errorf("success after %q: %v", first, err)
	}
	nonce := strings.TrimPrefix(string(first), "n,,n=user,r=")
	if _, err := c.Next([]byte("r=" + nonce + "x,s=YWJjZA==,i=2000000000")); !errors.Is(err, ErrMalformed) {
		t.Errorf("two thousand million iterations: %v", err)
	}
}

func TestChoose(t *testing.T) {
	_, client := handshake(t, nil)
	for _, tt := range []struct {
		name    string
		offered []string
		b       *Bindings
		want    string
	}{
		{"clear text, no SCRAM", []string{Plain, Login}, nil, ""},
		{"clear text", []string{Plain, ScramSHA256}, nil, ScramSHA256},
		{"all under TLS", []string{Login, Plain, ScramSHA256, ScramSHA256Plus}, client, ScramSHA256Plus},
		{"LOGIN alone", []string{"XOAUTH2", Login}, client, Login},
	} {
		if got := Choose(tt.offered, tt.b); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func testCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func handshake(t *testing.T, cache tls.ClientSessionCache) (server, client *Bindings) {
	t.Helper()
	return handshakeWith(t, ServerConfig(&tls.Config{Certificates: []tls.Certificate{testCertificate(t)}}), cache)
}

// handshakeWith makes a TLS connection and returns what both ends bind to. A pipe in
// memory would not do: both ends write at the end of a handshake.
func handshakeWith(t *testing.T, config *tls.Config, cache tls.ClientSessionCache) (server, client *Bindings) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	s := tls.Server(a, config)
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true, ServerName: "mx.example.com", ClientSessionCache: cache})
	failed := make(chan error, 1)
	go func() {
		var err error
		server, err = ServerHandshake(t.Context(), s)
		if err == nil {
			_, err = s.Write([]byte("x")) // the tickets go before it
		}
		failed <- err
	}()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return server, ClientBindings(c)
}

// FuzzServer gives each mechanism two responses; nobody gets in by chance, nothing
// panics.
func FuzzServer(f *testing.F) {
	f.Add(uint8(0), []byte("\x00user\x00x"), []byte(""))
	f.Add(uint8(1), []byte("user"), []byte("x"))
	f.Add(uint8(2), []byte("n,a=x,n=user,r=abc"), []byte("c=biws,r=abc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	f.Add(uint8(2), []byte("y,,n=u=2Cser,r=abc"), []byte("c=eSws,r=abc,p="))
	o := &Options{Backend: newTestBackend(f), Secret: testSecret}
	f.Fuzz(func(t *testing.T, which uint8, first, second []byte) {
		list := o.Mechanisms()
		mechanism := list[int(which)%len(list)]
		s, err := NewServer(mechanism, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range [][]byte{first, second} {
			_, done, err := s.Next(t.Context(), r)
			if err != nil {
				return
			}
			if done && !bytes.Contains(append(first, second...), []byte(testPassword)) && !bytes.Contains(append(first, second...), []byte(testApp)) {
				t.Fatalf("%s let %q, %q in", mechanism, first, second)
			}
		}
	})
}
