package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postroad/internal/telemetry"
)

var compareTree = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b telemetry.Secret) bool { return a.Equal(b.Reveal()) }),
}

func TestEmptyFileWorks(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n"} {
		c, err := Parse("x.toml", []byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if d := cmp.Diff(Default(), c, compareTree); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestParse(t *testing.T) {
	c, err := Parse("x.toml", []byte(`
hostname = "mx.example.test"
[listen]
smtp = ["127.0.0.1:2525", "[::1]:2525"]
pop3 = []
lmtp = ["unix:/run/lmtp"]
[limits]
message = "10MB"
smtp_timeout = "1h30m"
[queue]
expire = "4d"
[trust]
relay = ["192.0.2.0/24"]
[[route]]
domain = "*.example.org"
host = "relay.example.net"
password = "geheim"
implicit_tls = true
tls = "verify"
[[route]]
domain = "*"
host = "192.0.2.1"
transport = "lmtp"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Hostname = "mx.example.test"
	want.Listen.SMTP = []string{"127.0.0.1:2525", "[::1]:2525"}
	want.Listen.POP3 = []string{}
	want.Listen.LMTP = []string{"unix:/run/lmtp"}
	want.Limits.Message = 10 << 20
	want.Limits.SMTPTimeout = Duration(90 * time.Minute)
	want.Queue.Expire = Duration(96 * time.Hour)
	want.Trust.Relay = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	want.Routes = []Route{{Domain: "*.example.org", Host: "relay.example.net", Transport: "smtp", TLS: "verify", ImplicitTLS: true,
		Password: telemetry.NewSecret("geheim")},
		{Domain: "*", Host: "192.0.2.1", Transport: "lmtp"}}
	if d := cmp.Diff(want, c, compareTree); d != "" {
		t.Error(d)
	}
}

func TestErrorsNameTheirLine(t *testing.T) {
	tests := []struct {
		name, text string
		line       int
		want       string
	}{
		{"unknown at the top", "hostname = \"a.test\"\n\nhostnam = \"b\"\n", 3, `"hostnam"`},
		{"unknown in a table", "[limits]\n# text\nmesage = 1\n", 3, `"limits.message"`},
		{"unknown table", "\n[limit]\nmessage = 1\n", 2, `"limit"`},
		{"unknown, over lines", "[listen]\n\nsmpt = [\n \":25\",\n \":26\",\n]\n", 3, `"listen.smtp"`},
		{"unknown in an array", "[[route]]\ndomain = \"*\"\nhost = \"h.test\"\nhots = 1\n", 4, `"route.hots"`},
		{"a string that looks like a key", "hostname = \"a.test\"\nuser = \"\"\"\nx = 1\n\"\"\"\nx = 2\n", 5, `"x"`},
		{"syntax", "hostname = \n", 1, ""},
		{"type", "\nhostname = 7\n", 2, "hostname"},
		{"size", "[limits]\nmessage = \"ten\"\n", 2, "ten"},
		{"negative size", "[limits]\nmessage = \"-1\"\n", 2, "-1"},
		{"duration", "[queue]\nexpire = \"soon\"\n", 2, "soon"},
		{"network", "[trust]\nrelay = [\"192.0.2.0\"]\n", 2, ""},
		{"too small", "[limits]\nrecipients = 5\n", 2, "too small"},
		{"listener", "[listen]\nimap = [\"143\"]\n", 2, "143"},
		{"socket", "[listen]\nimap = [\"unix:/x\"]\n", 2, "LMTP"},
		{"log level", "\n\n[log]\nlevel = \"loud\"\n", 4, "loud"},
		{"half a certificate", "[[tls.certificate]]\nkey = \"x\"\n", 1, "both"},
		{"hops", "[limits]\nhops = 99\n", 2, "too small"},
		{"header fields", "[limits]\nheader_fields = 0\n", 2, "too small"},
		{"IMAP idle", "\n[limits]\nimap_idle_timeout = \"29m\"\n", 3, "too small"},
		{"IMAP log-in", "[limits]\nimap_login_timeout = \"10ms\"\n", 2, "too small"},
		{"TLS of a route", "[[route]]\ndomain = \"*\"\nhost = \"h.test\"\ntls = \"must\"\n", 4, "must"},
		{"TLS that is no choice", "[[route]]\ndomain = \"*\"\nhost = \"h.test\"\nimplicit_tls = true\ntls = \"may\"\n", 5, "implicit_tls"},
		{"password without proof", "[[route]]\ndomain = \"*\"\nhost = \"h.test\"\nusername = \"u\"\ntls = \"encrypt\"\n", 5, "user name"},
		{"OIDC without TLS", "[login.oidc]\nissuer = \"http://id.test\"\nclient = \"x\"\n", 2, "https"},
		{"OIDC without a client", "[login.oidc]\nissuer = \"https://id.test\"\nclient = \"\"\n", 3, "login.oidc.client"},
		{"OIDC without an issuer", "[login.oidc]\nissuer = \"\"\nclient = \"x\"\n", 2, "login.oidc.issuer"},
		{"OIDC without a claim", "[login.oidc]\nissuer = \"https://id.test\"\nclient = \"x\"\nclaim = \"\"\n", 4, "login.oidc.claim"},
		{"route", "[[route]]\ndomain = \"a b\"\nhost = \"h.test\"\n", 2, "a b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("x.toml", []byte(test.text))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.Line != test.line || !strings.Contains(e.Error(), test.want) {
				t.Errorf("got %v, want line %d and %s", e, test.line, test.want)
			}
		})
	}
}

func TestFindAndLoad(t *testing.T) {
	if _, err := Find(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is named must be there: %v", err)
	}
	name := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(name, []byte("hostname = \"h.test\""), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Find(name); err != nil || c.Hostname != "h.test" {
		t.Errorf("%v %v", c, err)
	}
	if err := os.WriteFile(name, bytes.Repeat([]byte("#\n"), fileMax), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name); err == nil {
		t.Error("an endless file was read")
	}
}

// TestDoc holds the manual to the tree: a comment over every field, and a text that is
// itself a configuration with the defaults, also with every value uncommented.
func TestDoc(t *testing.T) {
	for _, e := range entries() {
		if e.Comment == "" {
			t.Errorf("%s has no comment", e.Key)
		}
	}
	var b bytes.Buffer
	if err := Doc(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("doc", b.Bytes()); err != nil {
		t.Fatal(err)
	}
	// Uncommented, up to the first of the tables that need values of their own.
	text, _, _ := strings.Cut(b.String(), "\n# Next hops")
	var live strings.Builder
	for line := range strings.SplitSeq(text, "\n") {
		rest, commented := strings.CutPrefix(line, "#")
		if strings.Contains(line, "[[") || strings.Contains(line, "certificate =") || strings.HasPrefix(line, "#key =") {
			continue
		}
		if commented && !strings.HasPrefix(rest, " ") {
			line = rest
		}
		live.WriteString(line + "\n")
	}
	c, err := Parse("doc", []byte(live.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, live.String())
	}
	c.Trust = Default().Trust // an empty list is not a missing one
	if d := cmp.Diff(Default(), c, compareTree); d != "" {
		t.Error(d)
	}
}

func TestSecretsAreStars(t *testing.T) {
	c := Default()
	c.Routes = []Route{{Domain: "*", Host: "h.test", Transport: "smtp", Password: telemetry.NewSecret("geheim")}}
	var b bytes.Buffer
	if err := c.Show(&b); err != nil {
		t.Fatal(err)
	}
	s := c.Routes[0].Password
	printed := b.String() + fmt.Sprintf("%v %+v %#v %s %q", s, c.Routes[0], c.Routes[0], s, s)
	if strings.Contains(printed, "geheim") || !strings.Contains(printed, "***") {
		t.Error(printed)
	}
	if s.Reveal() != "geheim" {
		t.Error("Reveal")
	}
}

func TestShowCanBeRead(t *testing.T) {
	var b bytes.Buffer
	if err := Default().Show(&b); err != nil {
		t.Fatal(err)
	}
	c, err := Parse("show", b.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	c.Trust = Default().Trust
	if d := cmp.Diff(Default(), c, compareTree); d != "" {
		t.Error(d)
	}
}

func TestValues(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "17": 17, "8KB": 8192, "8 kb": 8192, "50MB": 50 << 20, "1GB": 1 << 30, "2TB": 2 << 40} {
		var s, back Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d %v", text, s, err)
		}
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Errorf("%s printed as %s", text, s)
		}
	}
	for text, want := range map[string]Duration{"0s": 0, "300s": Duration(300 * time.Second), "5d": Duration(5 * day), "1h": Duration(time.Hour)} {
		var d, back Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d != want {
			t.Errorf("%s: %v %v", text, d, err)
		}
		if err := back.UnmarshalText([]byte(d.String())); err != nil || back != d {
			t.Errorf("%s printed as %s", text, d)
		}
	}
	for _, text := range []string{"", "MB", "9999999999TB", "1.5GB", "-3d", "99999999999999d"} {
		if new(Size).UnmarshalText([]byte(text)) == nil {
			t.Errorf("size %q", text)
		}
		if new(Duration).UnmarshalText([]byte(text)) == nil {
			t.Errorf("duration %q", text)
		}
	}
}
