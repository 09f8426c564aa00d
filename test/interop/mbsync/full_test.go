//go:build interop

package mbsync

import (
	"fmt"
	"testing"

	"postroad/test/peer"
)

// TestOverTLS fetches a few hundred messages over IMAPS and deletes them all.
func TestOverTLS(t *testing.T) {
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "localhost", Name: "pr.test", Users: []string{"alice"}})
	const n = 300
	peer.Run(t, "smtp-source", "-d", "-m", fmt.Sprint(n), "-s", "5", "-l", "3000", "-f", "x@y.test", "-t", "alice@pr.test", pr.Addr(peer.PortSMTP))
	l := newLocal(t, pr, "IMAPS", peer.PortIMAPS)
	l.sync()
	if got := len(l.files()); got != n {
		t.Fatalf("%d messages came, not %d", got, n)
	}
	for _, f := range l.files() {
		peer.Run(t, "rm", l.dir+f)
	}
	l.sync()
	if got := pr.IMAP(t, "alice", "", "STATUS INBOX (MESSAGES)"); got != "* STATUS INBOX (MESSAGES 0)\r\n" {
		t.Errorf("after deleting all here: %q", got)
	}
}
