// Package sendmail tests postroad beside a real Sendmail 8.17, both ways by MX.
package sendmail

import (
	"strings"
	"testing"

	"postroad/test/peer"
)

const zones = `
pr.test. 60 IN MX 10 mx.pr.test.
mx.pr.test. 60 IN A 127.0.2.2
sm.test. 60 IN MX 10 sm.test.
sm.test. 60 IN A 127.0.2.3
`

func hosts(t *testing.T) (*peer.Postroad, *peer.Sendmail) {
	dns := peer.StartDNS(t, "127.0.2.1", zones)
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.2.2", Name: "mx.pr.test", Domain: "pr.test", Users: []string{"alice"}, DNS: dns})
	sm := peer.StartSendmail(t, peer.SendmailOptions{Host: "127.0.2.3", Name: "sm.test", DNS: dns})
	return pr, sm
}

// TestBothWays sends a message from Sendmail to us and one from us to Sendmail.
func TestBothWays(t *testing.T) {
	pr, sm := hosts(t)
	sm.Inject(t, "joe@sm.test", "alice@pr.test", "From: joe@sm.test\nTo: alice@pr.test\nSubject: from sendmail\n\nGood morning.\n")
	if got := pr.WaitMessages(t, "alice", "INBOX", 1)[0]; !strings.Contains(got, "Subject: from sendmail") || !strings.Contains(got, "8.17.1") {
		t.Errorf("got:\n%s", got)
	}
	submit(t, pr, "joe@sm.test", "to sendmail")
	peer.Eventually(t, "the message at Sendmail's user", func() bool { return len(sm.Messages(t, "joe")) == 1 })
	if got := sm.Messages(t, "joe")[0]; !strings.Contains(got, "Subject: to sendmail") {
		t.Errorf("got:\n%s", got)
	}
}

func submit(t *testing.T, pr *peer.Postroad, to, subject string) {
	t.Helper()
	peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSubmission), "--tls", "--auth", "PLAIN", "--auth-user", "alice@pr.test", "--auth-password", peer.Password,
		"--from", "alice@pr.test", "--to", to, "--h-Subject", subject)
}
