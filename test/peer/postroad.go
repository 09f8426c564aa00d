package peer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Postroad is the program under test, as an administrator runs it: the built binary with
// a configuration file.
type Postroad struct {
	*Process
	Host   string // loopback address of all doors, at their own ports
	Domain string
	Dir    string
	Conf   string
	Cert   Cert
	t      testing.TB
	args   []string
}

// PostroadOptions say what postroad serves.
type PostroadOptions struct {
	Host     string   // 127.0.0.x
	Name     string   // hostname
	Domain   string   // local domain; empty: Name
	Users    []string // local parts of its accounts, all with Password
	DNS      string   // address of the test DNS server, port 53; empty: the system's
	Extra    string   // more of the configuration, top-level keys excluded
	NoLogins bool     // start without making domain and accounts (they are there)
	Dir      string   // keep the data of an earlier start
}

// Password is that of all accounts in tests.
const Password = "interop-pass-1"

// The ports, all below 32768, at each of which a door listens on Host.
const (
	PortSMTP        = 25
	PortLMTP        = 24
	PortSubmission  = 587
	PortSubmissions = 465
	PortIMAP        = 143
	PortIMAPS       = 993
	PortPOP3        = 110
	PortPOP3S       = 995
	PortSieve       = 4190
	PortHTTPS       = 443
)

var build struct {
	sync.Once
	path string
	err  error
}

// Binary is the path of the program: $POSTROAD_BINARY, or built now.
func Binary(t testing.TB) string {
	t.Helper()
	build.Do(func() {
		if build.path = os.Getenv("POSTROAD_BINARY"); build.path != "" {
			return
		}
		dir, err := os.MkdirTemp("", "postroad-binary-")
		if err != nil {
			build.err = err
			return
		}
		build.path = filepath.Join(dir, "postroad")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", build.path, "postroad/cmd/postroad")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // static, as the Makefile builds it: the sandbox lets no other library run
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("build postroad: %w\n%s", err, out)
		}
		// Started as another user, it must be reachable.
		build.err = errors.Join(build.err, os.Chmod(dir, 0o755))
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// StartPostroad runs postroad with a domain and accounts. It needs root, for the ports.
func StartPostroad(t testing.TB, o PostroadOptions) *Postroad {
	t.Helper()
	NeedRoot(t)
	if o.Domain == "" {
		o.Domain = o.Name
	}
	dir := o.Dir
	if dir == "" {
		dir = Dir(t, "postroad")
	}
	p := &Postroad{Host: o.Host, Domain: o.Domain, Dir: dir, t: t}
	p.Cert = MakeCert(t, dir, o.Name)
	p.Conf = Write(t, dir, "postroad.toml", postroadConf(dir, o, p.Cert))
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	Run(t, "chown", "-R", "nobody", filepath.Join(dir, "data"))
	p.args = []string{Binary(t), "--config", p.Conf}
	p.Restart()
	if !o.NoLogins {
		p.Command("domain", "add", o.Domain)
		for _, u := range o.Users {
			p.Account(u + "@" + o.Domain)
		}
	}
	return p
}

func postroadConf(dir string, o PostroadOptions, c Cert) string {
	var b strings.Builder
	fmt.Fprintf(&b, "hostname = %q\ndata_directory = %q\nuser = \"nobody\"\n[listen]\n", o.Name, filepath.Join(dir, "data"))
	for _, d := range []struct {
		key  string
		port int
	}{{"smtp", PortSMTP}, {"lmtp", PortLMTP}, {"submission", PortSubmission}, {"submissions", PortSubmissions},
		{"imap", PortIMAP}, {"imaps", PortIMAPS}, {"pop3", PortPOP3}, {"pop3s", PortPOP3S}, {"sieve", PortSieve}, {"https", PortHTTPS}} {
		fmt.Fprintf(&b, "%s = [\"%s:%d\"]\n", d.key, o.Host, d.port)
	}
	fmt.Fprintf(&b, "[[tls.certificate]]\ncertificate = %q\nkey = %q\n", c.Cert, c.Key)
	if o.DNS != "" {
		fmt.Fprintf(&b, "[dns]\nservers = [%q]\n", o.DNS)
	}
	return b.String() + o.Extra
}

// Restart starts the program (again), and returns when its doors are open.
func (p *Postroad) Restart() {
	p.t.Helper()
	p.Process = Start(p.t, "postroad", p.Dir, append(p.args, "serve")...)
	p.WaitPort(p.Addr(PortSMTP), p.Addr(PortIMAP), p.Addr(PortSubmission))
}

// Addr is the address of a door.
func (p *Postroad) Addr(port int) string { return fmt.Sprintf("%s:%d", p.Host, port) }

// Command runs one of the program's commands and returns what it printed.
func (p *Postroad) Command(args ...string) string {
	p.t.Helper()
	return Run(p.t, append(p.args, args...)...)
}

// Account adds an account with Password.
func (p *Postroad) Account(address string) {
	p.t.Helper()
	if out, err := TryInput(Password+"\n", append(p.args, "account", "add", address, "--password-stdin")...); err != nil {
		p.t.Fatalf("account add %s: %v\n%s", address, err, out)
	}
}
