// Package managesieve tests postroad's ManageSieve with sieve-connect.
package managesieve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/test/peer"
)

const script = "# Nothing is filed elsewhere.\r\nkeep;\r\n"

// sieve runs sieve-connect as alice, over STARTTLS, with the server's certificate verified.
func sieve(pr *peer.Postroad, args ...string) (string, error) {
	return peer.TryInput(peer.Password+"\n", append([]string{"sieve-connect", "--server", pr.Host, "--port", fmt.Sprint(peer.PortSieve),
		"--tlscafile", pr.Cert.Cert, "--tlshostname", "pr.test", "--user", "alice@pr.test", "--passwordfd", "0", "--noclearchan", "--nosrv"}, args...)...)
}

// TestSieveConnect does a user's work: put, list, activate, get, deactivate, delete.
func TestSieveConnect(t *testing.T) {
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.4.9", Name: "pr.test", Users: []string{"alice"}})
	dir := peer.Dir(t, "sieve-connect")
	local := peer.Write(t, dir, "main.sieve", script)
	must := func(args ...string) string {
		t.Helper()
		out, err := sieve(pr, args...)
		if err != nil {
			t.Fatalf("sieve-connect %v: %v\n%s", args, err, out)
		}
		return out
	}
	must("--upload", "--localsieve", local, "--remotesieve", "main")
	if out := must("--list"); !strings.Contains(out, `"main"`) || strings.Contains(out, "ACTIVE") {
		t.Errorf("list after upload:\n%s", out)
	}
	must("--activate", "--remotesieve", "main")
	if out := must("--list"); !strings.Contains(out, `"main" ACTIVE`) {
		t.Errorf("list after activate:\n%s", out)
	}
	pr.Stop()
	pr.Restart() // what was answered is durable
	back := filepath.Join(dir, "back.sieve")
	must("--download", "--remotesieve", "main", "--localsieve", back)
	if text, err := os.ReadFile(back); err != nil || strings.ReplaceAll(string(text), "\r\n", "\n") != strings.ReplaceAll(script, "\r\n", "\n") {
		t.Errorf("downloaded %q, %v", text, err)
	}
	if out, err := sieve(pr, "--delete", "--remotesieve", "main"); err == nil && !strings.Contains(out, "ACTIVE") {
		t.Errorf("the active script could be deleted:\n%s", out)
	}
	must("--deactivate")
	must("--delete", "--remotesieve", "main")
	if out := must("--list"); strings.Contains(out, "main") {
		t.Errorf("list after delete:\n%s", out)
	}
}
