//go:build interop

package sendmail

import (
	"strings"
	"testing"

	"postroad/test/peer"
)

// TestSuccessReport asks for a delivery report, which Sendmail makes since we hand the
// request on (RFC 3461, 5.2).
func TestSuccessReport(t *testing.T) {
	pr, sm := hosts(t)
	out := peer.Run(t, "sh", "-c", `printf 'EHLO x\r\nAUTH PLAIN %s\r\nMAIL FROM:<alice@pr.test> RET=HDRS ENVID=QQ314159\r\nRCPT TO:<joe@sm.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;joe@sm.test\r\nDATA\r\n' `+
		`"$(printf '\0alice@pr.test\0`+peer.Password+`' | base64)" | (cat; sleep 1; printf 'Subject: tell me\r\n\r\nhello\r\n.\r\nQUIT\r\n'; sleep 1) | openssl s_client -quiet -connect `+pr.Addr(peer.PortSubmissions)+` 2>/dev/null`)
	if !strings.Contains(out, "\n250 2.") {
		t.Fatalf("dialogue:\n%s", out)
	}
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
