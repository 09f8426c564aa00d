// Package postfix tests postroad beside a real Postfix: mail both ways, found by MX
// records of a test DNS server, with and without STARTTLS.
package postfix

import (
	"fmt"
	"strings"
	"testing"

	"postroad/test/peer"
)

// Addresses of this package's hosts.
const (
	dnsHost      = "127.0.1.1"
	postroadHost = "127.0.1.2"
	postfixHost  = "127.0.1.3"
)

const zones = `
pr.test. 60 IN MX 10 mx.pr.test.
mx.pr.test. 60 IN A 127.0.1.2
pf.test. 60 IN MX 5 dead.pf.test.
pf.test. 60 IN MX 10 mx.pf.test.
dead.pf.test. 60 IN A 127.0.1.9
mx.pf.test. 60 IN A 127.0.1.3
`

// hosts starts a DNS server, postroad and Postfix.
func hosts(t *testing.T, tls bool) (*peer.Postroad, *peer.Postfix) {
	dns := peer.StartDNS(t, dnsHost, zones)
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: postroadHost, Name: "mx.pr.test", Domain: "pr.test", Users: []string{"alice", "bob"}, DNS: dns})
	pf := peer.StartPostfix(t, peer.PostfixOptions{Host: postfixHost, Name: "mx.pf.test", Domain: "pf.test", Users: []string{"ann", "ben"}, DNS: dns, TLS: tls,
		Main: "smtp_tls_security_level = may\n"})
	return pr, pf
}

// TestBothWays is the short scenario: Postfix sends to us by MX, we send to Postfix by MX
// with STARTTLS, past a host that does not answer.
func TestBothWays(t *testing.T) {
	pr, pf := hosts(t, true)
	pf.Sendmail(t, "ann@pf.test", "alice@pr.test", "From: ann@pf.test\nTo: alice@pr.test\nSubject: from postfix\n\nGood morning.\n.\n..dots\n")
	got := pr.WaitMessages(t, "alice", "INBOX", 1)[0]
	for _, want := range []string{"Subject: from postfix", "Good morning.\r\n.\r\n..dots\r\n", "Return-Path: <ann@pf.test>", "with ESMTPS"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	submit(t, pr, "alice@pr.test", "ann@pf.test", "to postfix")
	peer.Eventually(t, "the message in Postfix's mailbox", func() bool { return len(pf.Messages(t, "ann")) == 1 })
	got = pf.Messages(t, "ann")[0]
	for _, want := range []string{"Subject: to postfix", "Return-Path: <alice@pr.test>", "TLSv1.3"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

// submit sends a message by swaks over submission.
func submit(t *testing.T, pr *peer.Postroad, from, to, subject string) {
	t.Helper()
	peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSubmission), "--tls", "--auth", "PLAIN", "--auth-user", from, "--auth-password", peer.Password,
		"--from", from, "--to", to, "--h-Subject", subject, "--body", fmt.Sprintf("about %s", subject))
}
