// Package pop3 tests postroad's POP3 with the programs that still use it: fetchmail and
// getmail.
package pop3

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"postroad/test/peer"
)

func start(t *testing.T, host string, n int) *peer.Postroad {
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: host, Name: "pr.test", Users: []string{"alice"}})
	for i := range n {
		peer.Run(t, "swaks", "--server", pr.Addr(peer.PortSMTP), "--from", "x@y.test", "--to", "alice@pr.test", "--h-Subject", fmt.Sprintf("number %d", i), "--body", ".dot\n..two\nend")
	}
	pr.WaitMessages(t, "alice", "INBOX", n)
	return pr
}

// TestFetchmail takes all mail over POP3 with STLS and leaves the maildrop empty.
func TestFetchmail(t *testing.T) {
	pr := start(t, "127.0.4.2", 3)
	dir := peer.Dir(t, "fetchmail")
	rc := peer.Write(t, dir, "fetchmailrc", fmt.Sprintf(`poll %s protocol POP3 port %d username "alice@pr.test" password "%s"
 ssl sslproto "" no sslcertck
 mda "cat >> %s/mbox"
`, pr.Host, peer.PortPOP3S, peer.Password, dir))
	if err := os.Chmod(rc, 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "sh", "-c", "FETCHMAILHOME="+dir+" fetchmail -f "+rc+" --nodetach --nosyslog")
	b, err := os.ReadFile(filepath.Join(dir, "mbox"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if want := fmt.Sprintf("Subject: number %d\n", i); !contains(b, want) {
			t.Errorf("no %q in what fetchmail took", want)
		}
	}
	if !contains(b, "\n.dot\n..two\nend\n") {
		t.Error("dots at the beginning of lines were changed")
	}
	if n := len(pr.Messages(t, "alice", "INBOX")); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// TestGetmail takes all mail twice, leaving it: the second time there is nothing new.
func TestGetmail(t *testing.T) {
	pr := start(t, "127.0.4.3", 3)
	dir := peer.Dir(t, "getmail")
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "Maildir", d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	peer.Write(t, dir, "getmailrc", fmt.Sprintf(`[retriever]
type = SimplePOP3Retriever
server = %s
port = %d
username = alice@pr.test
password = %s
[destination]
type = Maildir
path = %s/Maildir/
[options]
delete = false
read_all = false
`, pr.Host, peer.PortPOP3, peer.Password, dir))
	peer.Run(t, "chown", "-R", "nobody", dir) // getmail does not deliver as root
	for range 2 {
		peer.Run(t, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "HOME="+dir, "getmail", "--getmaildir="+dir)
		files, err := filepath.Glob(filepath.Join(dir, "Maildir/new/*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != 3 {
			t.Errorf("%d messages in the Maildir, not 3", len(files))
		}
	}
}
