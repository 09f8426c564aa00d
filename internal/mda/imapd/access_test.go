package imapd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"postroad/address"
	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/sasl"
)

// town is a server with several users: alice, bob, cy and dave; bob and cy are the group
// sales. There is a public account.
type town struct {
	*house
	directory *directory.Store
	people    map[string]directory.Account
}

// residents lets in everybody who is there.
type residents struct{ t *town }

func (r residents) Password(_ context.Context, _, user, password string) (any, error) {
	a, there := r.t.people[user]
	if !there || password != "secret" {
		return nil, sasl.ErrCredentials
	}
	return directory.Principal{ID: a.ID, Org: a.Org, Login: a.Login}, nil
}

func (residents) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, nil
}

func newTown(t *testing.T) *town {
	t.Helper()
	engine, clock := memkv.New(), hlc.NewClock(1)
	bodies := blob.NewBodies(engine, memblob.New(), clock)
	committer := &mailflow.Committer{Engine: engine, Bodies: bodies}
	d, err := directory.Open(t.Context(), directory.Options{Engine: engine, Committer: committer, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	w := &town{house: &house{engine: engine}, directory: d, people: map[string]directory.Account{}}
	w.store = mailstore.New(mailstore.Options{Committer: committer, Clock: clock})
	w.settle(t)
	backend := New(Options{Store: w.store, Bodies: bodies, Directory: d, MessageBytesMax: testMessageMax,
		SASL: func(netip.Addr) sasl.Backend { return residents{w} }})
	server := imapserver.New(imapserver.Options{NewSession: backend.NewSession, InsecureAuth: true, MessageBytesMax: testMessageMax})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	w.addr = l.Addr().String()
	t.Cleanup(func() {
		server.Close()
		d.Close()
		clock.Close()
		engine.Close()
	})
	return w
}

// settle makes the people.
func (w *town) settle(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	if _, err := w.directory.AddDomain(ctx, directory.Domain{Name: "d.test", Org: directory.DefaultOrg, Separator: "+"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob", "cy", "dave", "public"} {
		a, err := w.directory.AddAccount(ctx, directory.NewAccount{Addresses: []address.Address{{Local: name, Domain: "d.test"}}, Public: name == "public"})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.Create(ctx, a.ID, mailstore.Quota{}); err != nil {
			t.Fatal(err)
		}
		w.people[name] = a
	}
	_, err := w.directory.AddExpander(ctx, directory.Expander{Kind: directory.Group, Address: address.Address{Local: "sales", Domain: "d.test"},
		Members: []address.Address{{Local: "bob", Domain: "d.test"}, {Local: "cy", Domain: "d.test"}}})
	if err != nil {
		t.Fatal(err)
	}
}

// grant sets rights of one user on a mailbox of another one, which is made if need be.
func (w *town) grant(t *testing.T, owner, mailbox, who string, rights imap.Rights) {
	t.Helper()
	a := w.account(t, owner)
	tree, err := a.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := tree.Name(mailbox)
	if m == nil {
		if m, err = a.CreateMailbox(t.Context(), mailbox, ""); err != nil {
			t.Fatal(err)
		}
	}
	s := mailstore.Subject{Kind: mailstore.SubjectAccount, Account: w.people[who].ID}
	if who == imap.ACLAnyone {
		s = mailstore.Subject{Kind: mailstore.SubjectAnyone}
	}
	if err := a.SetACL(t.Context(), directory.DefaultOrg, m.ID, s, imap.RightsReplace, rights); err != nil {
		t.Fatal(err)
	}
}

// account is a user's account.
func (w *town) account(t *testing.T, name string) *mailstore.Account {
	t.Helper()
	a, err := w.store.Account(t.Context(), w.people[name].ID)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// login is a connection of a user.
func (w *town) login(t *testing.T, user string) *client {
	t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	k := &client{t, c, bufio.NewReader(c)}
	k.line()
	k.do("in LOGIN " + user + " secret")
	return k
}

// do sends a command and returns all lines up to its tagged response.
func (k *client) do(line string) []string {
	k.t.Helper()
	k.send(line)
	tag, _, _ := strings.Cut(line, " ")
	var all []string
	for {
		l := k.line()
		all = append(all, l)
		if strings.HasPrefix(l, tag+" ") || strings.HasPrefix(l, "* BYE") {
			return all
		}
	}
}

// say is do, of which only the tagged response counts.
func (k *client) say(line string) string {
	k.t.Helper()
	all := k.do(line)
	return all[len(all)-1]
}

const theBox = "Other Users/alice@d.test/P/Box"

func letters(s string) imap.Rights {
	r, err := imap.ParseRights(s)
	if err != nil {
		panic(err)
	}
	return r
}

// uses are the commands on somebody else's mailbox, with the rights they need: all of
// need, and one of oneOf. The last line is the command; all before it prepare it.
var uses = []struct {
	name        string
	lines       []string
	need, oneOf string
	parent      string // right needed on the mailbox above
	missing     string // code where there is no such mailbox; empty: NONEXISTENT
	always      bool   // refused with NOPERM also where the mailbox may not be looked up
}{
	{name: "SELECT", lines: []string{`SELECT "@@"`}, need: "r"},
	{name: "EXAMINE", lines: []string{`EXAMINE "@@"`}, need: "r"},
	{name: "STATUS", lines: []string{`STATUS "@@" (MESSAGES UNSEEN)`}, need: "r"},
	{name: "APPEND", lines: []string{"APPEND \"@@\" <<Subject: x\r\n\r\n>>"}, need: "i", missing: "TRYCREATE"},
	{name: "COPY into", lines: []string{"SELECT INBOX", `COPY 1 "@@"`}, need: "i", missing: "TRYCREATE"},
	{name: "MOVE into", lines: []string{"SELECT INBOX", `MOVE 1 "@@"`}, need: "i", missing: "TRYCREATE"},
	{name: "CREATE below", lines: []string{`CREATE "@@/new"`}, need: "k", always: true},
	{name: "DELETE", lines: []string{`DELETE "@@"`}, need: "x"},
	{name: "RENAME", lines: []string{`RENAME "@@" "@@2"`}, need: "x", parent: "k"},
	{name: "SUBSCRIBE", lines: []string{`SUBSCRIBE "@@"`}},
	{name: "UNSUBSCRIBE", lines: []string{`UNSUBSCRIBE "@@"`}},
	{name: "LIST", lines: []string{`LIST "" "@@"`}},
	{name: "LSUB", lines: []string{`LSUB "" "@@"`}},
	{name: "SETACL", lines: []string{`SETACL "@@" cy lr`}, need: "a"},
	{name: "DELETEACL", lines: []string{`DELETEACL "@@" cy`}, need: "a"},
	{name: "GETACL", lines: []string{`GETACL "@@"`}, need: "a"},
	{name: "LISTRIGHTS", lines: []string{`LISTRIGHTS "@@" cy`}, need: "a"},
	{name: "MYRIGHTS", lines: []string{`MYRIGHTS "@@"`}, oneOf: "lrikxa"},
	{name: "FETCH", lines: []string{`SELECT "@@"`, "FETCH 1 (FLAGS BODY[])"}, need: "r"},
	{name: "SEARCH", lines: []string{`SELECT "@@"`, "SEARCH TEXT x"}, need: "r"},
	{name: `STORE \Seen`, lines: []string{`SELECT "@@"`, `STORE 1 +FLAGS (\Seen)`}, need: "rs"},
	{name: `STORE \Deleted`, lines: []string{`SELECT "@@"`, `STORE 1 +FLAGS (\Deleted)`}, need: "rt"},
	{name: `STORE \Flagged`, lines: []string{`SELECT "@@"`, `STORE 1 +FLAGS (\Flagged)`}, need: "rw"},
	{name: "STORE keyword", lines: []string{`SELECT "@@"`, `STORE 1 +FLAGS (k)`}, need: "rw"},
	{name: "STORE two flags", lines: []string{`SELECT "@@"`, `STORE 1 +FLAGS (\Flagged \Deleted)`}, need: "r", oneOf: "wt"},
	{name: "STORE no flags", lines: []string{`SELECT "@@"`, `STORE 1 FLAGS ()`}, need: "r", oneOf: "swt"},
	{name: "EXPUNGE", lines: []string{`SELECT "@@"`, "EXPUNGE"}, need: "re"},
	{name: "UID EXPUNGE", lines: []string{`SELECT "@@"`, "UID EXPUNGE 1"}, need: "re"},
	{name: "CLOSE", lines: []string{`SELECT "@@"`, "CLOSE"}, need: "r"},
	{name: "COPY from", lines: []string{`SELECT "@@"`, "COPY 1 INBOX"}, need: "r"},
	{name: "MOVE from", lines: []string{`SELECT "@@"`, "MOVE 1 INBOX"}, need: "rte"},
	{name: "IDLE", lines: []string{`SELECT "@@"`, "NOOP"}, need: "r"},
}

// TestGate goes through every command with all rights but one, for each right, with just
// those it needs, with each of these missing, and with none.
func TestGate(t *testing.T) {
	w := newTown(t)
	for n, u := range uses {
		t.Run(u.name, func(t *testing.T) {
			owner, k := w.login(t, "alice"), w.login(t, "bob")
			sets := map[imap.Rights]bool{0: true, imap.RightLookup: true, imap.RightsAll: true, letters(u.need) | letters(u.oneOf): true, letters(u.need): true}
			for bit := imap.Rights(1); bit <= imap.RightsAll; bit <<= 1 {
				sets[imap.RightsAll&^bit], sets[letters(u.need)&^bit] = true, true
			}
			at := 0
			for rights := range sets {
				at++
				parent := fmt.Sprintf("P%d-%d", n, at)
				w.grant(t, "alice", parent, "bob", letters(u.parent))
				w.grant(t, "alice", parent+"/Box", "bob", rights)
				w.try(t, owner, k, n, parent, rights, true)
			}
			if u.parent != "" {
				parent := fmt.Sprintf("P%d-none", n)
				w.grant(t, "alice", parent, "bob", imap.RightsAll&^letters(u.parent))
				w.grant(t, "alice", parent+"/Box", "bob", imap.RightsAll)
				w.try(t, owner, k, n, parent, imap.RightsAll, false)
			}
		})
	}
}

// try runs one use with rights, and checks the answer.
func (w *town) try(t *testing.T, owner, k *client, n int, parent string, rights imap.Rights, parentOK bool) {
	t.Helper()
	u := uses[n]
	owner.do("o APPEND \"" + parent + "/Box\" <<Subject: x\r\n\r\n>>")
	k.do("o APPEND INBOX <<Subject: x\r\n\r\n>>")
	box := "Other Users/alice@d.test/" + parent + "/Box"
	var last string
	for _, l := range u.lines {
		last = k.say("t " + strings.ReplaceAll(l, "@@", box))
		if !strings.HasPrefix(last, "t OK") {
			break
		}
	}
	k.do("u SELECT None") // leaves what is selected
	selects := strings.HasPrefix(u.lines[0], `SELECT "@@"`)
	allowed := rights.Has(letters(u.need)) && (u.oneOf == "" || rights&letters(u.oneOf) != 0)
	want := "t NO [NOPERM]"
	switch {
	case allowed && parentOK:
		want = "t OK"
	case rights.Has(imap.RightLookup) || u.always || !parentOK || selects && rights.Has(imap.RightRead):
	case u.missing != "":
		want = "t NO [" + u.missing + "]"
	default:
		want = "t NO [NONEXISTENT]"
	}
	if !strings.HasPrefix(last, want) {
		t.Errorf("%s with %q (%v): %q, want %q", u.name, rights, parentOK, last, want)
	}
}

// TestNoLeak: somebody without rights gets, for each command, the same answer for a mailbox
// that is there and for one that is not, of one who shares something with him, of one who
// does not, and of nobody.
func TestNoLeak(t *testing.T) {
	for _, shares := range []bool{false, true} {
		t.Run(fmt.Sprintf("shares something else: %v", shares), func(t *testing.T) {
			w := newTown(t)
			w.grant(t, "alice", "P/Box", "bob", imap.RightsAll)
			w.grant(t, "public", "Box", "bob", imap.RightsAll)
			w.grant(t, "public", "P/Box", "bob", imap.RightsAll)
			if shares {
				w.grant(t, "alice", "Else", "dave", imap.RightsAll)
				w.grant(t, "public", "Else", "dave", imap.RightsAll)
			}
			for _, u := range uses {
				answers := map[string]string{}
				k := w.login(t, "dave")
				k.do("o APPEND INBOX <<Subject: x\r\n\r\n>>")
				for _, box := range []string{theBox, "Other Users/alice@d.test/P/Box/below", "Other Users/alice@d.test/None", "Other Users/alice@d.test/INBOX",
					"Other Users/cy@d.test/INBOX", "Other Users/nobody@d.test/P/Box", "Other Users/dave@d.test/INBOX",
					"Other Users/alice@d.test", "Other Users", "Shared/P/Box", "Shared/None", "Shared/Box"} {
					var said []string
					for _, l := range u.lines {
						lines := k.do("t " + strings.ReplaceAll(l, "@@", box))
						said = append(said, lines...)
						if !strings.HasPrefix(lines[len(lines)-1], "t OK") {
							break
						}
					}
					k.do("u SELECT None")
					text := strings.ReplaceAll(strings.Join(said, "\n"), box, "NAME")
					answers[uncounted.ReplaceAllString(text, "")] += " " + box
				}
				if strings.HasPrefix(u.name, "LIST") { // parents of what may be seen are listed themselves
					continue
				}
				if len(answers) != 1 {
					t.Errorf("%s: %q", u.name, answers)
				}
			}
			k := w.login(t, "dave")
			for _, l := range []string{`LIST "" *`, `LIST "" "Other Users/*"`, `LIST "" "Other Users/%"`, `LIST "" Shared/%`, `LIST (SUBSCRIBED) "" *`, `LIST "" * RETURN (STATUS (MESSAGES) MYRIGHTS)`} {
				for _, line := range k.do("t " + l) {
					if strings.Contains(line, "Box") || !shares && strings.Contains(line, "alice") {
						t.Errorf("%s: %s", l, line)
					}
				}
			}
		})
	}
}

// uncounted are parts of an answer that go with the number of sessions before.
var uncounted = regexp.MustCompile(`\* \d+ EXISTS\n|\[UIDNEXT \d+\]|\[HIGHESTMODSEQ \d+\]|\[UNSEEN \d+\]`)

func at(s string) address.Address {
	a, err := address.Parse(s)
	if err != nil {
		panic(err)
	}
	return a
}
