// Package mbsync tests postroad's IMAP with mbsync, which synchronises both ways and is
// strict about UIDs and flags.
package mbsync

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"postroad/test/peer"
)

// local is a Maildir tree that mbsync keeps in step with an account.
type local struct {
	t   *testing.T
	dir string
	rc  string
}

func newLocal(t *testing.T, pr *peer.Postroad, tls string, port int) *local {
	dir := peer.Dir(t, "mbsync")
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o700); err != nil {
		t.Fatal(err)
	}
	rc := peer.Write(t, dir, "mbsyncrc", fmt.Sprintf(`IMAPAccount pr
Host %[1]s
Port %[2]d
User alice@pr.test
Pass %[3]s
SSLType %[5]s
CertificateFile %[6]s
AuthMechs PLAIN LOGIN

IMAPStore far
Account pr

MaildirStore near
Path %[4]s/mail/
Inbox %[4]s/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
`, pr.Host, port, peer.Password, dir, tls, pr.Cert.Cert))
	return &local{t, dir, rc}
}

// sync runs mbsync once.
func (l *local) sync() { peer.Run(l.t, "mbsync", "-c", l.rc, "-a") }

// files lists all messages with their flags, the names without what changes by itself.
func (l *local) files() []string {
	var all []string
	err := filepath.WalkDir(filepath.Join(l.dir, "mail"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
			all = append(all, strings.TrimPrefix(path, l.dir))
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	sort.Strings(all)
	return all
}

// TestTwoWays makes changes on both sides; afterwards a second run changes nothing.
func TestTwoWays(t *testing.T) {
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.6.2", Name: "pr.test", Users: []string{"alice"}})
	for i := range 5 {
		peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "x@y.test", "--to", "alice@pr.test", "--h-Subject", fmt.Sprintf("number %d", i))
	}
	pr.WaitMessages(t, "alice", "INBOX", 5)
	l := newLocal(t, pr, "None", peer.PortIMAP)
	l.sync()
	if n := len(l.files()); n != 5 {
		t.Fatalf("%d messages came, not 5: %q", n, l.files())
	}

	// Here: a new mailbox with a message, a flag, a deletion. There: a flag, a deletion.
	work := filepath.Join(l.dir, "mail", "Work")
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	peer.Write(t, filepath.Join(work, "cur"), "1.host:2,S", "From: me@pr.test\nSubject: written here\n\nhello\n")
	inbox, err := filepath.Glob(filepath.Join(l.dir, "mail/INBOX/*/*"))
	if err != nil || len(inbox) != 5 {
		t.Fatalf("%v, %q", err, inbox)
	}
	sort.Slice(inbox, func(i, j int) bool { return uidOf(inbox[i]) < uidOf(inbox[j]) })
	flagged := strings.Replace(strings.SplitN(inbox[0], ":2,", 2)[0], "/new/", "/cur/", 1) + ":2,FS"
	if err := os.Rename(inbox[0], flagged); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(inbox[1]); err != nil {
		t.Fatal(err)
	}
	pr.IMAP(t, "alice", "INBOX", `STORE 4 +FLAGS (\Answered)`)
	pr.IMAP(t, "alice", "INBOX", `STORE 5 +FLAGS (\Deleted)`)
	pr.IMAP(t, "alice", "INBOX", `EXPUNGE`)
	l.sync()
	if got := pr.Messages(t, "alice", "Work"); len(got) != 1 || !strings.Contains(got[0], "Subject: written here") {
		t.Errorf("Work has %q", got)
	}
	if got := strings.TrimSpace(pr.IMAP(t, "alice", "INBOX", "SEARCH FLAGGED SEEN")); got != "* SEARCH 1" {
		t.Errorf("flagged here: %q", got)
	}
	if got := len(pr.Messages(t, "alice", "INBOX")); got != 3 {
		t.Errorf("%d messages are left in INBOX, not 3", got)
	}

	before, far := l.files(), pr.IMAP(t, "alice", "INBOX", "FETCH 1:* (UID FLAGS)")
	state := pr.IMAP(t, "alice", "", "STATUS INBOX (HIGHESTMODSEQ UIDNEXT)")
	l.sync()
	if after := l.files(); strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("the second run changed the Maildir:\n%q\n%q", before, after)
	}
	if after := pr.IMAP(t, "alice", "INBOX", "FETCH 1:* (UID FLAGS)"); after != far {
		t.Errorf("the second run changed the account:\n%s\n%s", far, after)
	}
	if after := pr.IMAP(t, "alice", "", "STATUS INBOX (HIGHESTMODSEQ UIDNEXT)"); after != state {
		t.Errorf("the second run moved the mod-sequence: %s, %s", state, after)
	}
}

// uidOf is the UID in a file name of mbsync's, "…,U=12:2,S".
func uidOf(path string) (uid int) {
	if _, rest, ok := strings.Cut(path, ",U="); ok {
		fmt.Sscanf(rest, "%d", &uid)
	}
	return uid
}
