// Package jmap tests postroad's JMAP with clients that are not ours: jmap-jam and
// jmap-client-ts under Node.js.
package jmap

import (
	"fmt"
	"strings"
	"testing"

	"postroad/test/peer"
)

// TestClients lets both list, read, send to another server's user, change, and follow push.
func TestClients(t *testing.T) {
	peer.Run(t, "npm", "ci", "--no-audit", "--no-fund")
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.4.12", Name: "pr.test", Users: []string{"alice", "bob"}})
	peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "x@y.test", "--to", "alice@pr.test",
		"--h-Subject", "hello from SMTP", "--add-header", "Content-Type: text/plain; charset=utf-8", "--body", "Grüße")
	pr.WaitMessages(t, "alice", "INBOX", 1)
	out := peer.Run(t, "env", "NODE_TLS_REJECT_UNAUTHORIZED=0", "node", "--no-warnings", "clients.mjs",
		fmt.Sprintf("https://%s/.well-known/jmap", pr.Addr(peer.PortHTTPS)), "alice@pr.test", peer.Password, "bob@pr.test")
	if n := strings.Count(out, "ok "); n != 7 {
		t.Errorf("%d things worked:\n%s", n, out)
	}
	t.Log(out)
	pr.WaitMessages(t, "bob", "INBOX", 1)
	if m := pr.Messages(t, "bob", "INBOX"); !strings.Contains(string(m[0]), "Subject: sent by jmap-jam") {
		t.Errorf("bob got %s", m[0])
	}
}
