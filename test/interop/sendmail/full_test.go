//go:build interop

package sendmail

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"postroad/test/peer"
)

// TestSuccessReport asks for a delivery report, which Sendmail makes since we hand the
// request on (RFC 3461, 5.2).
func TestSuccessReport(t *testing.T) {
	pr, sm := hosts(t)
	dialogue(t, pr.Addr(peer.PortSubmissions),
		"EHLO client.test", "250",
		"AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00alice@pr.test\x00"+peer.Password)), "235",
		"MAIL FROM:<alice@pr.test> RET=HDRS ENVID=QQ314159", "250",
		"RCPT TO:<joe@sm.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;joe@sm.test", "250",
		"DATA", "354",
		"From: alice@pr.test\r\nSubject: tell me\r\n\r\nhello\r\n.", "250",
		"QUIT", "221")
	peer.Eventually(t, "the message at Sendmail's user", func() bool { return len(sm.Messages(t, "joe")) == 1 })
	report := pr.WaitMessages(t, "alice", "INBOX", 1)[0]
	for _, want := range []string{"Original-Envelope-Id: QQ314159", "joe@sm.test", "2."} {
		if !strings.Contains(report, want) {
			t.Errorf("no %q in:\n%s", want, report)
		}
	}
}

// TestRefusal has Sendmail refuse a recipient at a domain that is not its own.
func TestRefusal(t *testing.T) {
	pr, sm := hosts(t)
	sm.Inject(t, "joe@sm.test", "nobody@pr.test", "Subject: nobody\n\nhello\n")
	peer.Eventually(t, "Sendmail's bounce", func() bool { return len(sm.Messages(t, "joe")) == 1 })
	if got := sm.Messages(t, "joe")[0]; !strings.Contains(got, "5.1.1") {
		t.Errorf("Sendmail's bounce:\n%s", got)
	}
	_ = pr
}

// dialogue sends lines over TLS; after each it wants a reply with a code.
func dialogue(t *testing.T, addr string, linesAndCodes ...string) {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // the test's own certificate
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for steps := append([]string{"", "220"}, linesAndCodes...); len(steps) > 0; steps = steps[2:] {
		if steps[0] != "" {
			fmt.Fprintf(c, "%s\r\n", steps[0])
		}
		line := "   -"
		for line[3] == '-' {
			if line, err = r.ReadString('\n'); err != nil || len(line) < 4 {
				t.Fatalf("after %q: %q, %v", steps[0], line, err)
			}
		}
		if !strings.HasPrefix(line, steps[1]) {
			t.Fatalf("after %q: %q, not %s", steps[0], line, steps[1])
		}
	}
}
