package dovecot

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"postroad/imap/imapclient"
	"postroad/test/peer"
)

// orderMessages is how many messages are put in order.
const orderMessages = 2000

// TestOrder puts the same messages into both servers and compares how they sort and thread
// them.
func TestOrder(t *testing.T) {
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.3.6", Name: "pr.test", Users: []string{"alice"}})
	dc := peer.StartDovecot(t, peer.DovecotOptions{Host: "127.0.3.7", Users: []string{"alice@pr.test"}, Password: peer.Password,
		Extra: "mail_location = sdbox:~/sdbox\nmail_fsync = never\n"})
	all := orderMail(rand.New(rand.NewPCG(3, 3)))
	ours, theirs := fill(t, pr.Addr(peer.PortIMAP), all), fill(t, dc.Host+":143", all)
	for _, command := range []string{
		"UID SORT (ARRIVAL) UTF-8 ALL",
		"UID SORT (DATE) UTF-8 ALL",
		"UID SORT (REVERSE DATE) UTF-8 ALL",
		"UID SORT (SIZE) UTF-8 ALL",
		"UID SORT (SUBJECT) UTF-8 ALL",
		"UID SORT (REVERSE SUBJECT DATE) UTF-8 ALL",
		"UID SORT (FROM) UTF-8 ALL",
		"UID SORT (TO SUBJECT) UTF-8 ALL",
		"UID SORT (CC REVERSE SIZE) UTF-8 ALL",
		"UID SORT (DISPLAYFROM) UTF-8 ALL",
		"UID SORT (DISPLAYTO DATE) UTF-8 ALL",
		"UID THREAD REFERENCES UTF-8 ALL",
		"UID THREAD REFS UTF-8 ALL",
		"UID THREAD ORDEREDSUBJECT UTF-8 ALL",
		"UID THREAD REFERENCES UTF-8 SUBJECT apples",
	} {
		a, b := ours.ask(t, command), theirs.ask(t, command)
		if len(a) < orderMessages/10 {
			t.Errorf("%s: short answer %q", command, a)
		}
		if a == b {
			continue
		}
		at := 0
		for at < min(len(a), len(b)) && a[at] == b[at] {
			at++
		}
		from := max(0, at-60)
		t.Errorf("%s: answers differ\npostroad %s\ndovecot  %s", command, a[from:min(len(a), at+60)], b[from:min(len(b), at+60)])
	}
}

// orderMail makes messages that answer one another, some in disorder.
func orderMail(r *rand.Rand) []string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var all []string
	refs := make([]string, orderMessages) // of each message what an answer refers to
	subjects := make([]string, orderMessages)
	for i := range orderMessages {
		var b strings.Builder
		id := fmt.Sprintf("<%d.%d@mail.example.org>", i, r.IntN(1000))
		subject := pick("apples", "Bananas", "cherries and dates", "=?utf-8?q?=C3=84pfel?=", "ähnliches", "zebra") + fmt.Sprintf(" %d", r.IntN(400))
		parents := ""
		if i > 0 && r.IntN(3) > 0 {
			p := i - 1 - r.IntN(min(i, 60))
			parents, subject = refs[p], pick("Re: ", "RE: [list] ", "Fwd: ", "")+subjects[p]
			if r.IntN(12) == 0 { // another program's answer, or to a message that is not here
				parents = fmt.Sprintf("<%d@elsewhere.example>", r.IntN(200))
			}
		}
		who := func() string {
			n := r.IntN(40)
			return pick(fmt.Sprintf("Person %d <p%d@example.org>", n, 40-n), fmt.Sprintf("p%d@example.net", n), fmt.Sprintf("=?utf-8?b?w4Q=?= %d <q%d@example.com>", n, n))
		}
		fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: %s\r\n", who(), who(), subject, id)
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "Cc: %s\r\n", who())
		}
		if r.IntN(20) > 0 {
			at := time.Date(2024, 1, 1, 0, 0, i*600+r.IntN(20000), 0, time.FixedZone("", (r.IntN(20)-10)*3600))
			fmt.Fprintf(&b, "Date: %s\r\n", at.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
		}
		if parents != "" {
			if r.IntN(4) > 0 {
				fmt.Fprintf(&b, "References: %s\r\n", strings.ReplaceAll(parents, " ", "\r\n "))
			}
			fmt.Fprintf(&b, "In-Reply-To: %s\r\n", parents[strings.LastIndexByte(parents, ' ')+1:])
		}
		fmt.Fprintf(&b, "\r\n%s\r\n", strings.Repeat("x", r.IntN(70)))
		refs[i], subjects[i] = strings.TrimSpace(parents+" "+id), subject
		all = append(all, b.String())
	}
	return all
}

// asker is a connection with INBOX selected.
type asker struct {
	conn net.Conn
	in   *bufio.Reader
}

// fill appends messages to the INBOX at an address and opens it.
func fill(t *testing.T, address string, all []string) *asker {
	t.Helper()
	c, err := imapclient.Dial(context.Background(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("alice@pr.test", peer.Password); err != nil {
		t.Fatal(err)
	}
	var messages []imapclient.Message
	for i, m := range all {
		messages = append(messages, imapclient.Message{Body: strings.NewReader(m), Size: int64(len(m)), Date: time.Unix(1_704_000_000+int64(i*7919%100_000)*60, 0).UTC()})
	}
	if _, _, err := c.Append("INBOX", messages...); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	a := &asker{conn, bufio.NewReader(conn)}
	a.ask(t, "LOGIN alice@pr.test "+peer.Password)
	a.ask(t, "SELECT INBOX")
	return a
}

// ask returns the last untagged response to a command.
func (a *asker) ask(t *testing.T, command string) string {
	t.Helper()
	a.conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(a.conn, "x %s\r\n", command)
	last := ""
	for {
		line, err := a.in.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "x ") {
			if !strings.HasPrefix(line, "x OK") {
				t.Fatalf("%s: %s", command, line)
			}
			return last
		}
		last = line
	}
}
