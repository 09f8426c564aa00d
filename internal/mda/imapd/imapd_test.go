package imapd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postroad/address"
	"postroad/imap/imapserver"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
	"postroad/internal/mda/rules"
	"postroad/internal/scripts"
	"postroad/sasl"
	"postroad/sieve"
)

// Scripts in testdata/*.script are dialogues of one or more clients with one account, each
// a session of its own, all over the real store:
//
//	1C: text    client 1 sends the line; \r\n within it are escapes, <<text>> is a literal
//	1S: text    client 1 is sent just this line; … stands for any text
//
// Clients have logged in, which the script does not show.

// logins lets everybody in who knows the password.
type logins struct{ id mailflow.AccountID }

func (l logins) Password(_ context.Context, _, user, password string) (any, error) {
	if password != "secret" {
		return nil, sasl.ErrCredentials
	}
	return directory.Principal{ID: l.id, Login: address.Address{Local: user, Domain: "example.test"}}, nil
}

func (logins) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, nil
}

// house is a server over a store in memory.
type house struct {
	addr   string
	store  *mailstore.Store
	engine kv.Engine
}

const testMessageMax = 1 << 20

// newHouse starts the server; wrap, if not nil, comes between the store and its engine.
func newHouse(t *testing.T, q mailstore.Quota, wrap func(kv.Engine) kv.Engine) *house {
	t.Helper()
	var engine kv.Engine = memkv.New()
	if wrap != nil {
		engine = wrap(engine)
	}
	clock := hlc.NewClock(1)
	bodies := blob.NewBodies(engine, memblob.New(), clock)
	committer := &mailflow.Committer{Engine: engine, Bodies: bodies}
	store := mailstore.New(mailstore.Options{Committer: committer, Clock: clock, Undelete: time.Hour})
	id := clock.Next()
	if err := store.Create(t.Context(), id, q); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		store.Run(ctx)
	}()
	backend := New(Options{Store: store, Bodies: bodies, MessageBytesMax: testMessageMax, UserConnectionsMax: 4, Events: newEvents(t, committer, clock, id), AdminURI: "mailto:postmaster@example.test",
		SASL: func(netip.Addr) sasl.Backend { return logins{id} }})
	server := imapserver.New(imapserver.Options{NewSession: backend.NewSession, InsecureAuth: true, MessageBytesMax: testMessageMax})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	t.Cleanup(func() {
		server.Close()
		cancel()
		<-ran
		engine.Close()
	})
	return &house{addr: l.Addr().String(), store: store, engine: engine}
}

// markSieve is the script "mark" of the account.
const markSieve = `require ["imap4flags", "environment", "imapsieve", "variables", "fileinto", "copy"];
if not environment "imap.cause" "FLAG" {
	if environment :matches "imap.cause" "*" { addflag "$${1}"; }
} elsif allof(environment "imap.changedflags" "\\Flagged", hasflag "\\Flagged") {
	fileinto :copy "Archive";
} elsif environment "imap.changedflags" "\\Seen" {
	addflag "$Read";
}`

// newEvents are events of an account with the script "mark", which no mailbox names yet.
func newEvents(t *testing.T, committer *mailflow.Committer, clock *hlc.Clock, id mailflow.AccountID) *events.Events {
	owner := func(context.Context, mailflow.AccountID) (sieve.Owner, error) { return sieve.Owner{}, nil }
	store := scripts.New(scripts.Options{Committer: committer, Clock: clock,
		Compile:      func([]byte) (string, error) { return "", nil },
		Organisation: func(context.Context, mailflow.AccountID) (string, error) { return "acme", nil }})
	if _, err := store.Put(t.Context(), scripts.OfAccount(id), "mark", []byte(markSieve)); err != nil {
		t.Fatal(err)
	}
	return events.New(events.Options{Scripts: store, Rules: rules.New(rules.Options{Scripts: store, Owner: owner}),
		Bodies: committer.Bodies, Committer: committer, Owner: owner})
}

// client is one connection, logged in.
type client struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func (h *house) client(t *testing.T) *client {
	t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	k := &client{t, c, bufio.NewReader(c)}
	k.line()
	k.send("in LOGIN alice secret")
	for !strings.HasPrefix(k.line(), "in OK") {
	}
	return k
}

func (k *client) send(line string) {
	k.t.Helper()
	line = strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(line)
	line = literals.ReplaceAllStringFunc(line, func(l string) string {
		l = l[2 : len(l)-2]
		return fmt.Sprintf("{%d+}\r\n%s", len(l), l)
	})
	if _, err := fmt.Fprintf(k.c, "%s\r\n", line); err != nil {
		k.t.Fatal(err)
	}
}

var literals = regexp.MustCompile(`(?s)<<.*?>>`)

func (k *client) line() string {
	k.t.Helper()
	k.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	l, err := k.r.ReadString('\n')
	if err != nil {
		k.t.Fatalf("waiting for a line: %v (%q)", err, l)
	}
	return strings.TrimRight(l, "\r\n")
}

// want reads one line and compares it.
func (k *client) want(where, pattern string) {
	k.t.Helper()
	parts := strings.Split(pattern, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	if got := k.line(); !regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(got) {
		k.t.Fatalf("%s: got  %s\nwant %s", where, got, pattern)
	}
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".script"), func(t *testing.T) { runScript(t, f) })
	}
}

func runScript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, mailstore.Quota{Bytes: 5000}, nil)
	clients := map[string]*client{}
	for n, l := range strings.Split(string(text), "\n") {
		where := fmt.Sprintf("%s:%d", file, n+1)
		who, rest, ok := strings.Cut(l, ":")
		if !ok || strings.HasPrefix(l, "#") {
			continue
		}
		rest = strings.TrimPrefix(rest, " ")
		k := clients[who[:1]]
		if k == nil {
			k = h.client(t)
			clients[who[:1]] = k
		}
		switch who[1:] {
		case "C":
			k.send(rest)
		case "S":
			k.want(where, rest)
		default:
			t.Fatalf("%s: %q", where, l)
		}
	}
}

// TestConnectionsOfUser shows that one user cannot take all connections.
func TestConnectionsOfUser(t *testing.T) {
	h := newHouse(t, mailstore.Quota{}, nil)
	for range 4 {
		h.client(t)
	}
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := &client{t, c, bufio.NewReader(c)}
	k.line()
	k.send("in LOGIN alice secret")
	k.want("fifth connection", "in NO [LIMIT] …")
}
