// Package submission tests the doors for our users with msmtp and swaks.
package submission

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"postroad/test/peer"
)

// TestMsmtp sends over 587 with STARTTLS and over 465.
func TestMsmtp(t *testing.T) {
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.5.2", Name: "pr.test", Users: []string{"alice", "bob"}})
	dir := peer.Dir(t, "msmtp")
	for i, door := range []struct {
		port     int
		starttls string
	}{{peer.PortSubmission, "on"}, {peer.PortSubmissions, "off"}} {
		rc := peer.Write(t, dir, "msmtprc", fmt.Sprintf(`defaults
auth on
tls on
tls_trust_file %s
tls_starttls %s
account default
host %s
tls_host_override pr.test
port %d
from alice@pr.test
user alice@pr.test
password %s
`, pr.Cert.Cert, door.starttls, pr.Host, door.port, peer.Password))
		if err := os.Chmod(rc, 0o600); err != nil { // msmtp insists, because of the password
			t.Fatal(err)
		}
		msg := fmt.Sprintf("From: alice@pr.test\nTo: bob@pr.test\nBcc: alice@pr.test\nSubject: msmtp %d\n\nhello\n", i)
		if out, err := peer.TryInput(msg, "msmtp", "-C", rc, "-t"); err != nil {
			t.Fatalf("msmtp over %d: %v\n%s", door.port, err, out)
		}
		got := pr.WaitMessages(t, "bob", "INBOX", i+1)[i]
		if !strings.Contains(got, fmt.Sprintf("Subject: msmtp %d", i)) || !strings.Contains(got, "Message-ID: <") || strings.Contains(got, "Bcc:") {
			t.Errorf("got:\n%s", got)
		}
		pr.WaitMessages(t, "alice", "INBOX", i+1)
	}
}

// TestSwaks shows what is refused, and each way to log in.
func TestSwaks(t *testing.T) {
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.5.3", Name: "pr.test", Users: []string{"alice", "bob"}})
	base := []string{"swaks", "--from", "alice@pr.test", "--to", "bob@pr.test"}
	login := func(user, password string) []string {
		return []string{"--auth-user", user, "--auth-password", password}
	}
	for _, c := range []struct {
		name string
		args []string
		want string // in the dialogue
		ok   bool
	}{
		{"PLAIN over STARTTLS", append([]string{"--server", pr.Addr(587), "--tls", "--auth", "PLAIN"}, login("alice@pr.test", peer.Password)...), "235 2.7.0", true},
		{"LOGIN over TLS", append([]string{"--server", pr.Addr(465), "--tls-on-connect", "--auth", "LOGIN"}, login("alice@pr.test", peer.Password)...), "235 2.7.0", true},
		{"without log-in", []string{"--server", pr.Addr(587), "--tls"}, "530 5.7.0", false},
		{"wrong password", append([]string{"--server", pr.Addr(587), "--tls", "--auth", "PLAIN"}, login("alice@pr.test", "wrong")...), "535 5.7.8", false},
		{"as somebody else", append([]string{"--server", pr.Addr(587), "--tls", "--auth", "PLAIN", "--from", "bob@pr.test"}, login("alice@pr.test", peer.Password)...), "5.7.1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := peer.Try(append(append([]string{}, base...), c.args...)...)
			if (err == nil) != c.ok || !strings.Contains(out, c.want) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	pr.WaitMessages(t, "bob", "INBOX", 2)
}
