package mutt

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"postroad/test/peer"
)

// delimiters keeps Mutt from taking the dot of a domain for a delimiter of names, as it
// does by default until it knows the server's.
const delimiters = `set imap_delim_chars = "/"
`

// openShared runs Mutt for a user in a mailbox.
func openShared(t *testing.T, pr *peer.Postroad, user, mailbox string) *peer.Terminal {
	dir := peer.Dir(t, "mutt-"+user)
	peer.Run(t, "mkdir", filepath.Join(dir, "cache"))
	rc := peer.Write(t, dir, "muttrc", fmt.Sprintf(muttrc+delimiters, user+"@pr.test", pr.Host, peer.Password, dir, "no", pr.Cert.Cert))
	return peer.StartTerminal(t, dir, "HOME="+dir+" mutt -F "+rc+" -f '"+mailbox+"'")
}

// unseen returns the sequence numbers of a user's unseen messages.
func unseen(t *testing.T, pr *peer.Postroad, user, mailbox string) string {
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(pr.IMAP(t, user, mailbox, "SEARCH UNSEEN")), "* SEARCH"))
}

// TestSharedByTwo: two Mutts have one mailbox open at once. Flags are for both, what each
// has read is for himself.
func TestSharedByTwo(t *testing.T) {
	pr := start(t, "127.0.7.3")
	for i := range 3 {
		peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "bob@pr.test", "--to", "alice@pr.test",
			"--h-From", "Carol <carol@pr.test>", "--h-Subject", fmt.Sprintf("number %d", i), "--body", fmt.Sprintf("text %d", i))
	}
	pr.WaitMessages(t, "alice", "INBOX", 3)
	pr.IMAP(t, "alice", "INBOX", `STORE 1:3 -FLAGS (\Seen)`) // they were fetched to be counted
	pr.Command("acl", "set", "alice@pr.test/INBOX", "bob@pr.test", "lrswite")
	const shared = "Other Users/alice@pr.test/INBOX"
	const path = "Other%20Users/alice%40pr.test/INBOX" // as curl wants it

	alice, bob := openShared(t, pr, "alice", "=INBOX"), openShared(t, pr, "bob", "="+shared)
	alice.Wait("number 2")
	bob.Wait("number 2")

	bob.Keys("1", "Enter", "Enter") // bob reads the first
	bob.Wait("text 0")
	bob.Keys("i")
	bob.Wait("number 2")
	bob.Keys("2", "Enter", "F") // and flags the second
	bob.Keys("$")
	peer.Eventually(t, "the flag for alice", func() bool {
		return strings.TrimSpace(pr.IMAP(t, "alice", "INBOX", "SEARCH FLAGGED")) == "* SEARCH 2"
	})
	peer.Eventually(t, "what bob has read", func() bool { return unseen(t, pr, "bob", path) == "2 3" })
	if got := unseen(t, pr, "alice", "INBOX"); got != "1 2 3" {
		t.Errorf("alice has %s unseen: bob's reading is not hers", got)
	}
	// alice's Mutt shows the flag by itself (IDLE).
	peer.Eventually(t, "the flag on alice's screen", func() bool {
		for l := range strings.Lines(alice.Screen()) {
			if strings.Contains(l, "number 1") && strings.Contains(l, "!") {
				return true
			}
		}
		return false
	})

	alice.Keys("3", "Enter", "Enter") // alice reads the third
	alice.Wait("text 2")
	alice.Keys("i")
	alice.Wait("number 0")
	alice.Keys("$")
	peer.Eventually(t, "what alice has read", func() bool { return unseen(t, pr, "alice", "INBOX") == "1 2" })
	if got := unseen(t, pr, "bob", path); got != "2 3" {
		t.Errorf("bob has %s unseen: alice's reading is not his", got)
	}

	// What comes meanwhile shows for both, and bob may delete it for both.
	peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "bob@pr.test", "--to", "alice@pr.test", "--h-Subject", "it came while waiting")
	alice.Wait("it came while waiting")
	bob.Wait("it came while waiting")
	bob.Keys("4", "Enter", "d", "$")
	peer.Eventually(t, "the message deleted", func() bool {
		return strings.TrimSpace(pr.IMAP(t, "alice", "INBOX", "SEARCH SUBJECT waiting")) == "* SEARCH"
	})
	for _, m := range []*peer.Terminal{alice, bob} {
		m.Keys("q")
	}
}
