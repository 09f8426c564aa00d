package peer

import (
	"net/smtp"
	"strings"
	"testing"
)

// TestPostfixAndDovecot shows that the peers themselves work: a message through Postfix
// into its own mailbox, and Dovecot answering on its ports.
func TestPostfixAndDovecot(t *testing.T) {
	p := StartPostfix(t, PostfixOptions{Host: "127.0.0.21", Name: "pf.test", Domain: "pf.test", Users: []string{"ann"}})
	d := StartDovecot(t, DovecotOptions{Host: "127.0.0.22", Users: []string{"dan@dc.test"}, Password: "secret-1"})
	msg := "From: x@pf.test\r\nTo: ann@pf.test\r\nSubject: probe\r\n\r\nhello\r\n"
	if err := smtp.SendMail(p.Host+":25", nil, "x@pf.test", []string{"ann@pf.test"}, []byte(msg)); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the message in Postfix's Maildir", func() bool { return len(p.Messages(t, "ann")) == 1 })
	if out := d.Doveadm(t, "auth", "test", "dan@dc.test", "secret-1"); !strings.Contains(out, "succeeded") {
		t.Fatal(out)
	}
}

// TestSendmail shows that Sendmail runs and delivers to its own users.
func TestSendmail(t *testing.T) {
	dns := StartDNS(t, "127.0.0.24", "sm.test. 60 IN MX 10 sm.test.\nsm.test. 60 IN A 127.0.0.23\n")
	s := StartSendmail(t, SendmailOptions{Host: "127.0.0.23", Name: "sm.test", DNS: dns})
	msg := "From: x@sm.test\r\nTo: joe@sm.test\r\nSubject: probe\r\n\r\nhello\r\n"
	if err := smtp.SendMail(s.Host+":25", nil, "x@sm.test", []string{"joe@sm.test"}, []byte(msg)); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the message at Sendmail's user", func() bool { return len(s.Messages(t, "joe")) == 1 })
}
