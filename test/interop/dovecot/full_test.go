//go:build interop

package dovecot

import (
	"fmt"
	"strings"
	"testing"

	"postroad/test/peer"
)

// TestImapcChanges makes mailboxes, copies, moves and expunges through Dovecot.
func TestImapcChanges(t *testing.T) {
	pr, dc := imapc(t)
	for i := range 5 {
		peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "x@y.test", "--to", "alice@pr.test", "--h-Subject", fmt.Sprintf("number %d", i))
	}
	pr.WaitMessages(t, "alice", "INBOX", 5)
	u := "alice@pr.test"
	dc.Doveadm(t, "mailbox", "create", "-u", u, "Work/Done")
	dc.Doveadm(t, "copy", "-u", u, "Work/Done", "mailbox", "INBOX", "header", "subject", "number 0")
	dc.Doveadm(t, "move", "-u", u, "Work/Done", "mailbox", "INBOX", "header", "subject", "number 1")
	dc.Doveadm(t, "expunge", "-u", u, "mailbox", "INBOX", "header", "subject", "number 2")
	if got := len(pr.Messages(t, "alice", "INBOX")); got != 3 {
		t.Errorf("%d messages in INBOX, not 3", got)
	}
	if got := pr.Messages(t, "alice", "Work/Done"); len(got) != 2 || !strings.Contains(got[0], "number 0") || !strings.Contains(got[1], "number 1") {
		t.Errorf("Work/Done has %d messages", len(got))
	}
	if out := dc.Doveadm(t, "mailbox", "status", "-u", u, "messages", "INBOX"); !strings.Contains(out, "messages=3") {
		t.Errorf("status through imapc: %s", out)
	}
}
