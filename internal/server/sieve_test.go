package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/internal/admin"
)

// put stores a script of a demo user.
func (d *demoServer) put(t *testing.T, user, name, script string, activate bool) {
	t.Helper()
	ref := admin.SieveRef{SieveOwner: admin.SieveOwner{Account: user + "@" + demoDomain}, Name: name}
	if err := d.client.Call(t.Context(), "sieve.put", admin.SievePut{SieveRef: ref, Content: []byte(script)}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if !activate {
		return
	}
	if err := d.client.Call(t.Context(), "sieve.activate", admin.SieveActivate{SieveRef: ref}, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// holds waits until a user's INBOX holds a text so often.
func (d *demoServer) holds(t *testing.T, user, text string, times int) {
	t.Helper()
	var all string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if all = d.inbox(t, user); strings.Count(all, text) == times {
			return
		}
	}
	t.Errorf("%s has %q %d times, not %d:\n%s", user, text, strings.Count(all, text), times, all)
}

// A mailbox that names a script runs it (RFC 6785), and IMAP tells where scripts are put.
func TestMailboxScript(t *testing.T) {
	d := startDemo(t, t.TempDir())
	d.put(t, "alice", "told", `require ["copy","imap4flags","environment","imapsieve"];
		if environment "imap.cause" "APPEND" { redirect :copy "bob@`+demoDomain+`"; addflag "$Told"; }`, false)
	k := d.dial(t, DoorIMAPS)
	k.expect("* OK")
	k.say("a LOGIN alice@%s %s", demoDomain, d.demo.passwords["alice"])
	k.expect("a OK")
	k.say("a CAPABILITY")
	var port string
	for _, l := range d.Listeners {
		if l.Door == DoorSieve {
			_, port, _ = strings.Cut(l.Addr().String(), ":")
		}
	}
	if got := k.expect("a OK"); !strings.Contains(got, fmt.Sprintf(" IMAPSIEVE=sieve://%s:%s ", hostname(d.config), port)) {
		t.Errorf("capabilities: %s", got)
	}
	k.say(`a SETMETADATA Archive (/shared/imapsieve/script "told")`)
	k.expect("a OK")
	text := "From: <a@x.test>\r\nMessage-ID: <event@x.test>\r\nSubject: event\r\n\r\nx\r\n"
	k.say("a APPEND Archive {%d+}\r\n%s", len(text), text)
	k.expect("a OK")
	k.say("a SELECT Archive")
	k.expect("a OK")
	k.say("a FETCH 1 FLAGS")
	if got := k.expect("a OK"); !strings.Contains(got, "$Told") {
		t.Errorf("flags: %s", got)
	}
	d.holds(t, "bob", "<event@x.test>", 1)
}

// Rules that ask for annotations get those of the mailbox (RFC 5490).
func TestRulesSeeAnnotations(t *testing.T) {
	d := startDemo(t, t.TempDir())
	k := d.dial(t, DoorIMAPS)
	k.expect("* OK")
	k.say("a LOGIN alice@%s %s", demoDomain, d.demo.passwords["alice"])
	k.expect("a OK")
	k.say(`a SETMETADATA INBOX (/private/comment "here")`)
	k.expect("a OK")
	d.put(t, "alice", "main", `require ["mboxmetadata","servermetadata","fileinto"];
		if allof(metadata "INBOX" "/private/comment" "here", metadata :is "Drafts" "/private/specialuse" "\\Drafts",
			not metadata :contains "Nowhere" "/private/comment" "", not servermetadata :contains "/private/comment" "",
			not metadataexists "INBOX" "nonsense") { keep; } else { fileinto "Archive"; }`, true)
	d.dial(t, DoorSMTP).send("EHLO", "carol@example.org", "alice@"+demoDomain, "annotated@x")
	d.holds(t, "alice", "<annotated@x>", 1)
}

// Two accounts that redirect to each other: it ends within the commit of the message, and its
// sender is told, once.
func TestRedirectLoop(t *testing.T) {
	d := startDemo(t, t.TempDir())
	d.put(t, "alice", "main", `redirect "bob@`+demoDomain+`";`, true)
	d.put(t, "bob", "main", `redirect "alice@`+demoDomain+`";`, true)
	if err := d.client.Call(t.Context(), "account.add", admin.NewAccount{Addresses: []string{"carol@" + demoDomain}, Password: "correct-horse"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	d.demo.passwords["carol"] = "correct-horse"
	d.dial(t, DoorLMTP).send("LHLO", "carol@"+demoDomain, "alice@"+demoDomain, "loop@x")
	d.holds(t, "carol", "The message went round in a circle", 1)
	for _, user := range []string{"alice", "bob"} {
		d.holds(t, user, "loop@x", 0)
	}
	var queued admin.QueueListed
	if err := d.client.Call(t.Context(), "queue.list", admin.QueueList{}, &queued, nil); err != nil || len(queued.Items) > 0 {
		t.Errorf("queue: %+v %v", queued, err)
	}
}
