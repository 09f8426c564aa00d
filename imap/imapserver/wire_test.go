package imapserver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroad/imap"
)

// Wire scripts are in testdata/*.wire:
//
//	C: text          the client sends the line and CRLF
//	C- text          the client sends the text without CRLF; \r, \n, \0 and \x.. are escapes
//	S: text          the server sends just this line; … stands for any text
//	S end            the server has closed the connection
//	S none           the server has nothing to say within a moment
//	X: what …        something done by another session, see other
//	O: option        before anything else: secure, before (no log-in), extended (a session
//	                 that serves every extension)
//	TLS              the client begins TLS
//
// Unless O: before is given the client has logged in, which the script does not show.

// testCertificate is made once.
var testCertificate = func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"imap.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}()

// wire is a client at the end of a pipe to a server.
type wire struct {
	t      testing.TB
	server *Server
	store  *fakeStore
	conn   net.Conn
	lines  chan string
	ended  chan struct{}
}

// newServer makes a server whose sessions are over a store.
func newServer(t testing.TB, store *fakeStore, change func(*Options)) *Server {
	o := Options{
		NewSession: func(context.Context, *Conn) (Session, error) {
			return &fakeSession{store: store}, nil
		},
		TLS:             &tls.Config{Certificates: []tls.Certificate{testCertificate}},
		InsecureAuth:    true,
		MessageBytesMax: 100_000,
		ID:              []Field{{"name", "postroad"}},
		Log:             slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// newWire starts a server for one connection over a store.
func newWire(t testing.TB, store *fakeStore, change func(*Options)) *wire {
	w := &wire{t: t, server: newServer(t, store, change), store: store, ended: make(chan struct{})}
	client, server := net.Pipe()
	w.conn = client
	go func() {
		defer close(w.ended)
		w.server.ServeConn(server, false)
	}()
	w.read()
	t.Cleanup(w.close)
	return w
}

func (w *wire) close() {
	w.conn.Close()
	<-w.ended
}

// testWriter lets the server's log come out with the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// read begins to read lines in the background.
func (w *wire) read() {
	lines := make(chan string, 100_000)
	w.lines = lines
	r := bufio.NewReader(w.conn)
	go func() {
		defer close(lines)
		for {
			line, err := r.ReadString('\n')
			if line != "" {
				lines <- line
			}
			if err != nil {
				return
			}
			if strings.HasSuffix(line, "Begin TLS negotiation now\r\n") {
				return
			}
		}
	}()
}

// send writes to the server.
func (w *wire) send(text string) {
	if _, err := w.conn.Write([]byte(text)); err != nil {
		w.t.Fatalf("send %.80q: %v", text, err)
	}
}

// line returns the server's next line, or "" when it has closed.
func (w *wire) line() string {
	select {
	case l := <-w.lines:
		return l
	case <-time.After(10 * time.Second):
		w.t.Fatal("the server says nothing")
		return ""
	}
}

// expect compares the server's next line.
func (w *wire) expect(want string) {
	w.t.Helper()
	got := w.line()
	line, ok := strings.CutSuffix(got, "\r\n")
	if !ok && got != "" {
		w.t.Fatalf("server sent %q, which does not end with CRLF", got)
	}
	if !matchLine(want, line) {
		w.t.Fatalf("server sent\n  %s\nwant\n  %s", line, want)
	}
}

func matchLine(want, got string) bool {
	if !strings.Contains(want, "…") {
		return want == got
	}
	return regexp.MustCompile("^(?s:" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + ")$").MatchString(got)
}

// logIn logs in and forgets what the server says.
func (w *wire) logIn() {
	w.expect("* OK [CAPABILITY …] IMAP service ready")
	w.send("a LOGIN fred secret\r\n")
	w.expect("a OK [CAPABILITY …] Logged in")
}

func TestWire(t *testing.T) {
	files, err := filepath.Glob("testdata/*.wire")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".wire"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			runScript(t, string(b))
		})
	}
}

func runScript(t *testing.T, script string) {
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	var options []string
	for _, l := range lines {
		if o, ok := strings.CutPrefix(l, "O: "); ok {
			options = append(options, o)
		}
	}
	has := func(o string) bool { return strings.Contains(" "+strings.Join(options, " ")+" ", " "+o+" ") }
	store := newFakeStore()
	fill(store)
	w := newWire(t, store, func(o *Options) {
		o.InsecureAuth = !has("secure")
		if has("extended") {
			o.NewSession = func(context.Context, *Conn) (Session, error) {
				return &fullSession{&fakeSession{store: store}}, nil
			}
		}
	})
	if !has("before") {
		w.logIn()
	}
	for i, l := range lines {
		step(t, w, i+1, l)
	}
}

func step(t *testing.T, w *wire, number int, l string) {
	defer func() {
		if t.Failed() {
			t.Logf("at line %d: %s", number, l)
		}
	}()
	kind, text, _ := strings.Cut(l, " ")
	switch kind {
	case "", "#", "O:":
	case "C:":
		w.send(text + "\r\n")
	case "C-":
		s, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatal(err)
		}
		w.send(s)
	case "S:":
		w.expect(text)
	case "S":
		switch text {
		case "end":
			if got := w.line(); got != "" {
				t.Fatalf("server sent %q, want the end", got)
			}
		case "none":
			select {
			case l := <-w.lines:
				t.Fatalf("server sent %q, want nothing", l)
			case <-time.After(30 * time.Millisecond):
			}
		}
	case "X:":
		w.other(text)
	case "TLS":
		c := tls.Client(w.conn, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		w.conn = c
		w.read()
	default:
		t.Fatalf("line %d is no step: %s", number, l)
	}
}

// other does what another session would.
func (w *wire) other(text string) {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	f := strings.Fields(text)
	if f[0] == "panic" {
		s.panics = true
		return
	}
	if s.answers(w.t, f) {
		return
	}
	if f[0] == "refuse" {
		s.refuse = imap.No(imap.Code(f[1]), "Refused")
		return
	}
	m := s.mailboxes[f[1]]
	switch f[0] {
	case "append":
		s.add(m, []byte("Subject: "+f[2]+"\r\n\r\n"+f[2]+"\r\n"), nil, s.now)
	case "expunge":
		uid, err := strconv.Atoi(f[2])
		if err != nil {
			w.t.Fatal(err)
		}
		s.expunge(m, uint32(uid))
	case "flags":
		for _, n := range m.messages {
			if fmt.Sprint(n.uid) == f[2] {
				n.flags = nil
				for _, flag := range f[3:] {
					n.flags = append(n.flags, imap.Flag(flag))
				}
				s.modSeq++
				n.modSeq = s.modSeq
			}
		}
	case "nomodseq":
		m.noModSeq = true
	default:
		w.t.Fatalf("unknown: %s", text)
	}
	s.notify()
}

// fill puts three messages into INBOX (UIDs 1, 2, 4; 3 is gone), and makes some mailboxes.
func fill(s *fakeStore) {
	inbox := s.mailboxes["INBOX"]
	date := time.Date(1996, 7, 17, 2, 44, 25, 0, time.FixedZone("", -7*3600))
	s.add(inbox, crlf(messagePlain), []imap.Flag{imap.FlagSeen}, date)
	s.add(inbox, crlf(messageMixed), nil, date.AddDate(10, 0, 0))
	s.add(inbox, crlf("Subject: gone\n\n"), nil, date)
	s.expunge(inbox, 3)
	s.add(inbox, crlf(messageEightBit), []imap.Flag{imap.FlagFlagged, "$Forwarded"}, s.now.Add(-time.Hour))
	for _, name := range []string{"Archive", "Sent", "work", "work/2023", "work/2024", "Entwürfe"} {
		s.create(name)
	}
	s.mailboxes["Sent"].attributes = []imap.MailboxAttr{imap.AttrSent}
	s.mailboxes["Sent"].subscribed = true
	s.mailboxes["work/2024"].subscribed = true
	s.mailboxes["Entwürfe"].attributes = []imap.MailboxAttr{imap.AttrDrafts}
	for _, m := range s.mailboxes {
		// Maps have no order, mailboxes made above have.
		m.uidValidity = 1000 + uint32(len(m.name))
		m.id = "M" + strings.ReplaceAll(strings.ReplaceAll(m.name, "/", "-"), "ü", "u")
	}
}

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// messagePlain is the message of RFC 9051, 8.
const messagePlain = `Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)
From: Terry Gray <gray@cac.washington.edu>
Subject: IMAP4rev2 WG mtg summary and minutes
To: imap@cac.washington.edu
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>
Message-Id: <B27397-0100000@cac.washington.edu>
MIME-Version: 1.0
Content-Type: TEXT/PLAIN; CHARSET=US-ASCII

Here are the minutes.
`

const messageMixed = `Date: Mon, 17 Jul 2006 10:00:00 +0200
From: "Joe \"Q\" Public" <joe@example.com>
Reply-To: A Group:ann@example.com,bob@example.com;
To: undisclosed recipients:;
Subject: parts
Message-ID: <parts@example.com>
In-Reply-To: <before@example.com>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b1
Content-Language: en, de

preamble
--b1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

caf=C3=A9
--b1
Content-Type: message/rfc822
Content-Disposition: attachment; filename=inner.eml

From: inner@example.com
Subject: inner
Content-Type: multipart/alternative; boundary=b2

--b2

plain
--b2
Content-Type: text/html

<b>bold</b>
--b2--
--b1
Content-Type: application/octet-stream; name*=utf-8''%C3%A4.bin
Content-Transfer-Encoding: base64
Content-ID: <cid@example.com>
Content-Description: two octets

AAE=
--b1
Content-Type: application/octet-stream
Content-Transfer-Encoding: x-unknown

?
--b1--
`

const messageEightBit = `From: Jürgen <jürgen@example.com>
Subject: Grüße
To: fred@example.com

Grüße
`
