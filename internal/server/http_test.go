package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"postroad/address"
	"postroad/internal/config"
)

// at is where a door is.
func (d *demoServer) at(t *testing.T, door Door) string {
	t.Helper()
	for _, l := range d.Listeners {
		if l.Door == door {
			_, port, err := net.SplitHostPort(l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			return "localhost:" + port
		}
	}
	t.Fatalf("no door %s", door)
	return ""
}

// web is a client of HTTP that trusts the demo's certificate alone.
func (d *demoServer) web(t *testing.T, two bool) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(d.Certs.File())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: two}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// ask makes a request as alice.
func (d *demoServer) ask(t *testing.T, c *http.Client, method, url, body string, change func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("alice@"+demoDomain, d.demo.passwords["alice"])
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	w, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w, string(text)
}

func TestHTTPS(t *testing.T) {
	d := startDemo(t, t.TempDir())
	base := "https://" + d.at(t, DoorHTTPS)
	for _, two := range []bool{false, true} {
		c := d.web(t, two)
		w, text := d.ask(t, c, "GET", base+"/.well-known/jmap", "", nil)
		var session struct{ Username, APIURL string }
		if err := json.Unmarshal([]byte(text), &session); err != nil || w.StatusCode != 200 || session.Username != "alice@"+demoDomain || session.APIURL != base+"/jmap/api" {
			t.Fatalf("%s %s", w.Status, text)
		}
		if (w.ProtoMajor == 2) != two {
			t.Errorf("HTTP/%d", w.ProtoMajor)
		}
		if _, text = d.ask(t, c, "POST", session.APIURL, `{"using":["urn:ietf:params:jmap:core"],"methodCalls":[["Core/echo",{"a":1},"0"]]}`, nil); !strings.Contains(text, `["Core/echo",{"a":1},"0"]`) {
			t.Errorf("%s", text)
		}
	}
	c := d.web(t, true)
	alice, err := d.Directory.AccountByAddress(t.Context(), address.Address{Local: "alice", Domain: demoDomain})
	if err != nil {
		t.Fatal(err)
	}
	app, err := d.Directory.AddAppPassword(t.Context(), alice.ID, "phone")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"an app password", func(r *http.Request) { r.SetBasicAuth("alice@"+demoDomain, app) }, 200},
		{"a wrong password", func(r *http.Request) { r.SetBasicAuth("alice@"+demoDomain, "wrong") }, 401},
		{"another's password", func(r *http.Request) { r.SetBasicAuth("bob@"+demoDomain, d.demo.passwords["alice"]) }, 401},
		{"nobody", func(r *http.Request) { r.Header.Del("Authorization") }, 401},
		{"a page of another origin", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		{"our own page", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, 200},
		{"another path", func(r *http.Request) { r.URL.Path = "/other" }, 404},
	} {
		w, text := d.ask(t, c, "GET", base+"/jmap/session", "", test.change)
		if w.StatusCode != test.status {
			t.Errorf("%s: %s %s", test.name, w.Status, text)
		}
		if ways := strings.Join(w.Header.Values("WWW-Authenticate"), ", "); test.status == 401 && (!strings.Contains(ways, "Basic ") || !strings.Contains(ways, "Bearer ")) {
			t.Errorf("%s: WWW-Authenticate: %q", test.name, ways)
		}
	}
	if w, text := d.ask(t, c, "GET", "http://"+d.at(t, DoorHTTP)+"/jmap/session", "", nil); w.StatusCode != 200 {
		t.Errorf("without TLS on loopback: %s %s", w.Status, text)
	}
	if w, text := d.ask(t, c, "GET", "http://"+d.at(t, DoorMetrics)+"/metrics", "", nil); w.StatusCode != 200 || !strings.Contains(text, "http_requests_total") || !strings.Contains(text, "jmap_streams 0") {
		t.Errorf("metrics: %s", text)
	}
	if !strings.Contains(d.output, "/.well-known/jmap") {
		t.Error("the demo does not tell of JMAP")
	}
}

// TestStreamsAtStop has streams open when the server stops, which does not wait for them.
func TestStreamsAtStop(t *testing.T) {
	d := startDemo(t, t.TempDir())
	c := d.web(t, true)
	r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+d.at(t, DoorHTTPS)+"/jmap/eventsource?types=*&closeafter=no&ping=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("alice@"+demoDomain, d.demo.passwords["alice"])
	w, err := c.Do(r)
	if err != nil || w.StatusCode != 200 {
		t.Fatalf("%v %v", w, err)
	}
	defer w.Body.Close()
	k, _, err := websocket.Dial(t.Context(), "wss://"+d.at(t, DoorHTTPS)+"/jmap/ws", &websocket.DialOptions{HTTPClient: d.web(t, false), Subprotocols: []string{"jmap"}, HTTPHeader: r.Header})
	if err != nil {
		t.Fatal(err)
	}
	defer k.CloseNow()
	if err := k.Write(t.Context(), websocket.MessageText, []byte(`{"@type":"Request","using":[],"methodCalls":[]}`)); err != nil {
		t.Fatal(err)
	}
	if _, text, err := k.Read(t.Context()); err != nil || !bytes.Contains(text, []byte(`"@type":"Response"`)) {
		t.Errorf("%s %v", text, err)
	}
	if n := d.jmap.Streams(); n != 2 {
		t.Errorf("%d streams", n)
	}
	closed := make(chan error, 1)
	go func() { _, _, err := k.Read(context.Background()); closed <- err }()
	start := time.Now()
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > stopTimeout/2 {
		t.Errorf("it took %s to stop", took)
	}
	if err := <-closed; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the WebSocket ends with %v", err)
	}
}

// TestHTTPLimits holds connections of an address to their number until it has logged in.
func TestHTTPLimits(t *testing.T) {
	d := startDemo(t, t.TempDir(), func(c *config.Config) { c.Limits.AddressConnections = 2 })
	at := d.at(t, DoorHTTP)
	var open []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", strings.Replace(at, "localhost", "127.0.0.1", 1))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	third, err := net.Dial("tcp", strings.Replace(at, "localhost", "127.0.0.1", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	third.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := third.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the third of two: %v", err)
	}
	open[0].Close()
	var last error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+strings.Replace(at, "localhost", "127.0.0.1", 1)+"/jmap/session", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("alice@"+demoDomain, d.demo.passwords["alice"])
		w, err := d.web(t, false).Do(r)
		if last = err; err == nil {
			w.Body.Close()
			return
		}
	}
	t.Errorf("a place is free, and nobody gets it: %v", last)
}

func TestClientAddress(t *testing.T) {
	s := &Server{Store: &Store{config: &config.Config{Trust: config.Trust{Proxy: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}}}}}
	for _, test := range []struct{ name, remote, forwarded, proto, host, client, origin string }{
		{"directly", "192.0.2.1:5", "", "", "", "192.0.2.1", "http://here"},
		{"a stranger says so", "192.0.2.1:5", "198.51.100.1", "https", "evil", "192.0.2.1", "http://here"},
		{"by a proxy", "127.0.0.1:5", "198.51.100.1", "https", "mail.test", "198.51.100.1", "https://mail.test"},
		{"by two proxies, with a lie before", "127.0.0.1:5", "1.1.1.1, 198.51.100.1, 10.0.0.1", "http", "", "198.51.100.1", "http://here"},
		{"nonsense", "127.0.0.1:5", "198.51.100.1, x", "", "a/b", "127.0.0.1", "http://here"},
		{"mapped", "[::ffff:127.0.0.1]:5", "::ffff:198.51.100.1", "", "", "198.51.100.1", "http://here"},
		{"by a proxy that says nothing", "127.0.0.1:5", "", "", "", "127.0.0.1", "http://here"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Host = test.remote, "here"
		for name, value := range map[string]string{"X-Forwarded-For": test.forwarded, "X-Forwarded-Proto": test.proto, "X-Forwarded-Host": test.host} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if got := s.client(r); got.String() != test.client {
			t.Errorf("%s: client %s", test.name, got)
		}
		if got := s.origin(r); got != test.origin {
			t.Errorf("%s: origin %s", test.name, got)
		}
	}
}
