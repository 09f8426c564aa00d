// Package dovecot tests postroad beside a real Dovecot: its LMTP as our next hop, and its
// imapc, an IMAP client that serves what it reads, on top of us.
package dovecot

import (
	"fmt"
	"strings"
	"testing"

	"postroad/test/peer"
)

// TestLMTPNextHop routes a domain to Dovecot's LMTP.
func TestLMTPNextHop(t *testing.T) {
	dc := peer.StartDovecot(t, peer.DovecotOptions{Host: "127.0.3.3", Users: []string{"dan@dc.test"}, Password: "dan-pass"})
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.3.2", Name: "pr.test", Users: []string{"alice"},
		Extra: "[[route]]\ndomain = \"dc.test\"\nhost = \"127.0.3.3\"\nport = 24\ntransport = \"lmtp\"\n"})
	submit(t, pr, "dan@dc.test,nobody@dc.test", "by LMTP")
	peer.Eventually(t, "the message in Dovecot's mailbox", func() bool { return len(dc.Messages(t, "dan@dc.test")) == 1 })
	if got := dc.Messages(t, "dan@dc.test")[0]; !strings.Contains(got, "Subject: by LMTP") {
		t.Errorf("got:\n%s", got)
	}
	// One reply for each recipient (RFC 2033, 4.2): the unknown one comes back.
	report := pr.WaitMessages(t, "alice", "INBOX", 1)[0]
	if !strings.Contains(report, "Final-Recipient: rfc822; nobody@dc.test") || strings.Contains(report, "Final-Recipient: rfc822; dan@dc.test") {
		t.Errorf("the report:\n%s", report)
	}
}

// TestImapc has Dovecot serve our mailboxes through its imapc storage.
func TestImapc(t *testing.T) {
	pr, dc := imapc(t)
	for i := range 3 {
		peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "x@y.test", "--to", "alice@pr.test", "--h-Subject", fmt.Sprintf("number %d", i))
	}
	pr.WaitMessages(t, "alice", "INBOX", 3)
	out := dc.Doveadm(t, "fetch", "-u", "alice@pr.test", "hdr.subject uid", "mailbox", "INBOX", "all")
	if strings.Count(out, "number ") != 3 {
		t.Fatalf("through imapc:\n%s", out)
	}
	dc.Doveadm(t, "flags", "add", "-u", "alice@pr.test", `\Flagged`, "mailbox", "INBOX", "header", "subject", "number 1")
	if got := pr.IMAP(t, "alice", "INBOX", "SEARCH FLAGGED"); strings.TrimSpace(got) != "* SEARCH 2" {
		t.Errorf("flagged through imapc: %q", got)
	}
}

// imapc starts postroad and a Dovecot whose mail storage it is.
func imapc(t *testing.T) (*peer.Postroad, *peer.Dovecot) {
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.3.4", Name: "pr.test", Users: []string{"alice"}})
	dc := peer.StartDovecot(t, peer.DovecotOptions{Host: "127.0.3.5", Users: []string{"alice@pr.test"}, Password: peer.Password,
		Extra: fmt.Sprintf("mail_location = imapc:~/imapc\nimapc_host = %s\nimapc_port = %d\nimapc_user = %%u\nimapc_password = %s\nimapc_features = rfc822.size fetch-headers search modseq\n",
			pr.Host, peer.PortIMAP, peer.Password)})
	return pr, dc
}

func submit(t *testing.T, pr *peer.Postroad, to, subject string) {
	t.Helper()
	peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSubmission), "--tls", "--auth", "PLAIN", "--auth-user", "alice@pr.test", "--auth-password", peer.Password,
		"--from", "alice@pr.test", "--to", to, "--h-Subject", subject)
}
