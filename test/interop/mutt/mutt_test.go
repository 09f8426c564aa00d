// Package mutt tests postroad with Mutt in a terminal: reading, replying, sending,
// flagging and moving, as a person does.
package mutt

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"postroad/test/peer"
)

// muttrc configures Mutt for an account. The editor adds a line to what it is given.
const muttrc = `set folder = "imap://%[1]s@%[2]s/"
set spoolfile = "+INBOX"
set imap_user = "%[1]s"
set imap_pass = "%[3]s"
set smtp_url = "smtp://%[1]s@%[2]s:587/"
set smtp_pass = "%[3]s"
set from = "%[1]s"
set realname = "Alice Example"
set ssl_starttls = %[5]s
set ssl_force_tls = no
set certificate_file = "%[6]s"
set record = "+Sent"
set postponed = "+Drafts"
set header_cache = "%[4]s/cache/"
set imap_idle = yes
set mail_check = 1
set timeout = 1
set editor = "sh -c 'echo written in mutt >> $0'"
set edit_headers = no
set abort_unmodified = no
set recall = no
set sort = date-received
set quit = yes
set delete = yes
set move = no
set confirmappend = no
set confirmcreate = no
set save_empty = no
`

func start(t *testing.T, host string) *peer.Postroad {
	return peer.StartPostroad(t, peer.PostroadOptions{Host: host, Name: "pr.test", Users: []string{"alice", "bob"}})
}

// open runs Mutt for alice.
func open(t *testing.T, pr *peer.Postroad, starttls string) *peer.Terminal {
	dir := peer.Dir(t, "mutt")
	peer.Run(t, "mkdir", filepath.Join(dir, "cache"))
	rc := peer.Write(t, dir, "muttrc", fmt.Sprintf(muttrc, "alice@pr.test", pr.Host, peer.Password, dir, starttls, pr.Cert.Cert))
	return peer.StartTerminal(t, dir, "HOME="+dir+" mutt -F "+rc)
}

// TestReadReplySendFlagMove is a session of a person at Mutt.
func TestReadReplySendFlagMove(t *testing.T) {
	pr := start(t, "127.0.7.2")
	for i := range 3 {
		peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "bob@pr.test", "--to", "alice@pr.test",
			"--h-From", "Bob <bob@pr.test>", "--h-Subject", fmt.Sprintf("number %d", i), "--body", fmt.Sprintf("text %d", i))
	}
	pr.WaitMessages(t, "alice", "INBOX", 3)
	m := open(t, pr, "no")
	m.Wait("number 2")

	m.Keys("1", "Enter") // to the first message
	m.Keys("Enter")      // read it
	m.Wait("text 0")
	m.Keys("r") // reply
	m.Wait("To: ")
	m.Keys("Enter")
	m.Wait("Subject: Re: number 0")
	m.Keys("Enter")
	m.Wait("Include message in reply")
	m.Keys("y")
	m.Wait("y:Send")
	m.Keys("y")
	reply := pr.WaitMessages(t, "bob", "INBOX", 1)[0]
	for _, want := range []string{"Subject: Re: number 0", "written in mutt", "> text 0", "From: Alice Example <alice@pr.test>"} {
		if !strings.Contains(reply, want) {
			t.Errorf("no %q in the reply:\n%s", want, reply)
		}
	}
	pr.WaitMessages(t, "alice", "Sent", 1)

	m.Keys("i") // to the index
	m.Wait("number 1")
	m.Keys("2", "Enter", "F") // flag the second
	m.Keys("3", "Enter", "s") // move the third
	m.Wait("Save to mailbox")
	m.Keys("C-u", "=Archive", "Enter")
	m.Wait("number 2")
	m.Keys("$")
	peer.Eventually(t, "the moved message in Archive", func() bool { return len(pr.Messages(t, "alice", "Archive")) == 1 })
	if got := pr.Messages(t, "alice", "INBOX"); len(got) != 2 {
		t.Errorf("%d messages are left in INBOX, not 2", len(got))
	}
	if got := strings.TrimSpace(pr.IMAP(t, "alice", "INBOX", "SEARCH FLAGGED")); got != "* SEARCH 2" {
		t.Errorf("flagged: %q", got)
	}
	if got := strings.TrimSpace(pr.IMAP(t, "alice", "INBOX", "SEARCH ANSWERED SEEN")); got != "* SEARCH 1" {
		t.Errorf("answered: %q", got)
	}

	// What arrives meanwhile shows by itself (IDLE).
	peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "bob@pr.test", "--to", "alice@pr.test", "--h-Subject", "it came while waiting")
	m.Wait("it came while waiting")
	m.Keys("q")
}
