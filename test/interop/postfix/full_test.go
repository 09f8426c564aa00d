//go:build interop

package postfix

import (
	"fmt"
	"strings"
	"testing"

	"postroad/test/peer"
)

// TestWithoutTLS sends to a Postfix that offers no STARTTLS.
func TestWithoutTLS(t *testing.T) {
	pr, pf := hosts(t, false)
	submit(t, pr, "bob@pr.test", "ben@pf.test", "in the clear")
	peer.Eventually(t, "the message in Postfix's mailbox", func() bool { return len(pf.Messages(t, "ben")) == 1 })
	if got := pf.Messages(t, "ben")[0]; strings.Contains(got, "TLSv1") || !strings.Contains(got, "Subject: in the clear") {
		t.Errorf("got:\n%s", got)
	}
}

// TestUnknownRecipientBounces shows that a refusal of Postfix comes back as a report, and
// that our own refusal of an unknown recipient makes Postfix bounce.
func TestUnknownRecipientBounces(t *testing.T) {
	pr, pf := hosts(t, true)
	submit(t, pr, "alice@pr.test", "nobody@pf.test", "nobody is there")
	report := pr.WaitMessages(t, "alice", "INBOX", 1)[0]
	for _, want := range []string{"multipart/report", "Final-Recipient: rfc822; nobody@pf.test", "Action: failed", "Status: 5.1.1", "Return-Path: <>"} {
		if !strings.Contains(report, want) {
			t.Errorf("no %q in:\n%s", want, report)
		}
	}
	pf.Sendmail(t, "ann@pf.test", "nobody@pr.test", "Subject: nobody\n\nhello\n")
	peer.Eventually(t, "Postfix's bounce", func() bool { return len(pf.Messages(t, "ann")) == 1 })
	if got := pf.Messages(t, "ann")[0]; !strings.Contains(got, "5.1.1") {
		t.Errorf("Postfix's bounce:\n%s", got)
	}
}

// TestNoRelay shows that a stranger cannot send through us.
func TestNoRelay(t *testing.T) {
	pr, _ := hosts(t, true)
	out, err := peer.Try("swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "x@elsewhere.test", "--to", "ann@pf.test")
	if err == nil || !strings.Contains(out, "550 5.7.1") {
		t.Errorf("relayed, or another answer: %v\n%s", err, out)
	}
}

// TestMany sends two hundred messages each way and counts them.
func TestMany(t *testing.T) {
	pr, pf := hosts(t, true)
	const n = 200
	peer.Run(t, "smtp-source", "-c", "-d", "-m", fmt.Sprint(n), "-s", "10", "-l", "20000", "-f", "ann@pf.test", "-t", "alice@pr.test", pr.Addr(peer.PortSMTP))
	peer.Eventually(t, "all messages from smtp-source", func() bool {
		return strings.Contains(pr.IMAP(t, "alice", "", "STATUS INBOX (MESSAGES)"), fmt.Sprintf("MESSAGES %d)", n))
	})
	for i := range n / 10 {
		submit(t, pr, "bob@pr.test", "ben@pf.test", fmt.Sprintf("number %d", i))
	}
	peer.Eventually(t, "all messages at Postfix", func() bool { return len(pf.Messages(t, "ben")) == n/10 })
}
