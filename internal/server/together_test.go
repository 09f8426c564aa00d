package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postroad/imap"
	"postroad/imap/imapclient"
	"postroad/internal/admin"
)

// togetherSeeds is how many sequences TestTogether makes. POSTROAD_TOGETHER_SEEDS says another
// number; POSTROAD_TOGETHER_FIRST the first seed, to repeat one that failed: the changes are the
// same, how they fall together is not. `make jmap-seeds` makes a thousand.
const togetherSeeds = 20

const (
	togetherShort   = 4 // seeds with -short, as the race detector runs
	togetherRounds  = 6 // of a sequence; after each it is quiet and all is compared
	togetherChanges = 3 // of each client in a round
)

// TestTogether changes an account through IMAP, LMTP and JMAP at once, over the server's own
// doors, while clients of JMAP follow by /changes and /queryChanges: one in quiet moments
// alone, one in the midst of the changes too. When it is quiet, what they know is what a full
// fetch and a full query tell, and what IMAP shows.
func TestTogether(t *testing.T) {
	number := func(name string, otherwise int) int {
		if s := os.Getenv(name); s != "" {
			n, err := strconv.Atoi(s)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return n
		}
		return otherwise
	}
	seeds, first := number("POSTROAD_TOGETHER_SEEDS", togetherSeeds), number("POSTROAD_TOGETHER_FIRST", 0)
	if testing.Short() {
		seeds = min(seeds, togetherShort)
	}
	d := startDemo(t, t.TempDir())
	c := d.web(t, true)
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+seeds; seed++ {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				newTogether(t, d, c, uint64(seed)).run()
			})
		}
	})
}

// together is one sequence, with an account of its own.
type together struct {
	t        *testing.T
	d        *demoServer
	http     *http.Client
	base     string
	seed     uint64
	user     string
	password string
	account  string // id
	inbox    string // id
	imap     []*imapclient.Client
	lmtp     *talk
	follow   []*fellow // the first follows in the midst of changes too

	deleted atomic.Int64 // mailboxes that were

	mu  sync.Mutex
	log []string // what was done
}

func newTogether(t *testing.T, d *demoServer, c *http.Client, seed uint64) *together {
	g := &together{t: t, d: d, http: c, base: "https://" + d.at(t, DoorHTTPS), seed: seed,
		user: fmt.Sprintf("seed%d@%s", seed, demoDomain), password: admin.GeneratePassword()}
	err := d.Verbs().Call(t.Context(), "account.add", admin.NewAccount{Addresses: []string{g.user}, Password: g.password}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.imap = make([]*imapclient.Client, 3)
	for i := range g.imap {
		g.login(i)
	}
	t.Cleanup(func() {
		for _, k := range g.imap {
			k.Close()
		}
	})
	g.lmtp = d.dial(t, DoorLMTP)
	g.lmtp.c.SetDeadline(time.Now().Add(10 * time.Minute))
	g.lmtp.expect("220 ")
	g.lmtp.say("LHLO client.test")
	g.lmtp.expect("250 ")
	status, text := g.ask("GET", "/.well-known/jmap", "")
	var session struct{ PrimaryAccounts map[string]string }
	if err := json.Unmarshal([]byte(text), &session); err != nil || status != http.StatusOK {
		t.Fatal(status, err, text)
	}
	g.account = session.PrimaryAccounts["urn:ietf:params:jmap:mail"]
	g.inbox = g.named("INBOX")
	for i := range 2 {
		g.follow = append(g.follow, newFellow(g, rand.New(rand.NewPCG(seed, uint64(100+i)))))
	}
	return g
}

// login connects a client of IMAP, again if it was connected.
func (g *together) login(i int) {
	if g.imap[i] != nil {
		g.imap[i].Close()
	}
	k, err := imapclient.Dial(g.t.Context(), g.d.at(g.t, DoorIMAP), nil)
	if err == nil {
		k.Timeout = time.Minute
		g.imap[i] = k
		err = k.Login(g.user, g.password)
	}
	if err != nil {
		g.fail("login: %v", err)
	}
}

// note remembers what was done, for who must understand a failure.
func (g *together) note(format string, a ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.log = append(g.log, fmt.Sprintf(format, a...))
}

// fail tells what is wrong, and what was done before. It does not end the goroutine.
func (g *together) fail(format string, a ...any) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.t.Errorf("seed %d: %s\nafter\n%s", g.seed, fmt.Sprintf(format, a...), strings.Join(g.log, "\n"))
}

func (g *together) run() {
	for round := range togetherRounds {
		g.note("round %d", round)
		var all sync.WaitGroup
		at := func(n int, do func(*rand.Rand)) {
			r := rand.New(rand.NewPCG(g.seed, uint64(round*10+n)))
			all.Go(func() {
				for range 1 + r.IntN(togetherChanges) {
					do(r)
				}
			})
		}
		at(0, func(r *rand.Rand) { g.byIMAP(0, r) })
		at(1, func(r *rand.Rand) { g.byIMAP(1, r) })
		at(2, g.byLMTP)
		at(3, g.byJMAP)
		at(4, g.byJMAP)
		at(5, func(*rand.Rand) { g.follow[0].follow() })
		all.Wait()
		for _, f := range g.follow {
			f.follow()
			f.compare()
		}
		g.compareIMAP(g.follow[0])
		if g.t.Failed() {
			return
		}
	}
}

// ask makes a request.
func (g *together) ask(method, path, body string) (int, string) {
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.base+path, strings.NewReader(body))
	if err != nil {
		g.fail("%s", err)
		return 0, ""
	}
	r.SetBasicAuth(g.user, g.password)
	r.Header.Set("Content-Type", "application/json")
	w, err := g.http.Do(r)
	if err != nil {
		g.fail("%s %s: %v", method, path, err)
		return 0, ""
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		g.fail("%s %s: %v", method, path, err)
	}
	return w.StatusCode, string(text)
}

// try calls a method and returns its answer, which may be an error.
func (g *together) try(method string, args map[string]any) (map[string]any, string) {
	args["accountId"] = g.account
	raw, err := json.Marshal(map[string]any{"using": []string{"urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"}, "methodCalls": []any{[]any{method, args, "0"}}})
	if err != nil {
		g.fail("%s", err)
	}
	status, text := g.ask("POST", "/jmap/api", string(raw))
	var answer struct{ MethodResponses [][]json.RawMessage }
	var name string
	r := map[string]any{}
	err = json.Unmarshal([]byte(text), &answer)
	if err == nil && len(answer.MethodResponses) == 1 {
		err = errors.Join(json.Unmarshal(answer.MethodResponses[0][0], &name), json.Unmarshal(answer.MethodResponses[0][1], &r))
	}
	if err != nil || status != http.StatusOK || name == "" {
		g.fail("%s %s: %d %v %s", method, raw, status, err, text)
		return r, "failed"
	}
	if name == "error" {
		kind, _ := r["type"].(string)
		return r, kind
	}
	return r, ""
}

// call calls a method that must succeed.
func (g *together) call(method string, args map[string]any) map[string]any {
	r, kind := g.try(method, args)
	if kind != "" {
		g.fail("%s %v: %v", method, args, r)
	}
	return r
}

// anyLetter is a message that may belong to a conversation.
func anyLetter(r *rand.Rand) string {
	refs := ""
	if n := r.IntN(8); n > 3 {
		refs = fmt.Sprintf("References: <%d@x.test>\r\n", n)
	}
	return fmt.Sprintf("From: %c <a@x.test>\r\nTo: b@x.test\r\nDate: Tue, 01 Dec 2026 10:%02d:00 +0000\r\nSubject: %s\r\nMessage-ID: <%d@x.test>\r\n%s\r\n%s\r\n",
		'a'+r.IntN(4), r.IntN(60), []string{"one", "one", "two"}[r.IntN(3)], r.IntN(12), refs, []string{"apple", "pear", "apple and pear"}[r.IntN(3)])
}

func (g *together) byLMTP(r *rand.Rand) {
	text := anyLetter(r)
	g.note("LMTP: %.90q", text)
	for _, say := range []struct{ line, want string }{{"MAIL FROM:<a@x.test>", "250 "}, {"RCPT TO:<" + g.user + ">", "250 "}, {"DATA", "354 "}, {text + ".", "250 "}} {
		fmt.Fprintf(g.lmtp.c, "%s\r\n", say.line)
		line, err := g.lmtp.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, say.want) {
			g.fail("LMTP %q: %q, %v", say.line, line, err)
			return
		}
	}
}

var togetherNames = []string{"INBOX", "Archive", "Trash", "n0", "n1", "n0/n2"}

func anyOf[T any](r *rand.Rand, all []T) T { return all[r.IntN(len(all))] }

// byIMAP makes one change through IMAP. What it names may be gone or there already: then the
// server says NO.
func (g *together) byIMAP(client int, r *rand.Rand) {
	k := g.imap[client]
	box, to := anyOf(r, togetherNames), anyOf(r, togetherNames)
	first := uint32(1 + r.IntN(12))
	set := numbers(first, first+uint32(r.IntN(4)))
	kind := r.IntN(14)
	var err error
	if kind > 4 {
		if _, err = k.Select(box); err != nil {
			g.answered(client, fmt.Sprintf("SELECT %s", box), err)
			return
		}
	}
	what := fmt.Sprintf("IMAP %d: %s, %s, %v", kind, box, to, set)
	switch kind {
	case 0, 1:
		text := anyLetter(r)
		flags := []imap.Flag{`\Seen`, `\Flagged`, "todo"}[:r.IntN(4)]
		_, _, err = k.Append(box, imapclient.Message{Flags: flags, Size: int64(len(text)), Body: strings.NewReader(text)})
	case 2:
		err = k.Create(fmt.Sprint("n", r.IntN(3)))
	case 3:
		err = k.Rename(anyOf(r, togetherNames[3:]), anyOf(r, togetherNames[3:]))
	case 4:
		g.deleted.Add(1)
		err = k.Delete(anyOf(r, togetherNames[3:]))
	case 5, 6, 7:
		_, err = k.Store(set, "+FLAGS", anyOf(r, []imap.Flag{`\Seen`, `\Flagged`, `\Answered`, "todo", `\Deleted`}))
	case 8, 9:
		_, err = k.Store(set, anyOf(r, []string{"-FLAGS", "FLAGS.SILENT"}), anyOf(r, []imap.Flag{`\Seen`, `\Flagged`, "todo", `\Deleted`}))
	case 10:
		_, err = k.Copy(set, to)
	case 11, 12:
		_, err = k.Move(set, to)
	case 13:
		_, err = k.Expunge()
	}
	g.answered(client, what, err)
}

// answered notes what came of a command; a refusal is one of the answers, and so is the end of
// the connection when another client deleted the selected mailbox: BYE says so, but what is
// sent meanwhile may find the connection closed.
func (g *together) answered(client int, what string, err error) {
	g.note("%s: %v", what, err)
	var refused *imapclient.Error
	switch {
	case err == nil || errors.As(err, &refused) && refused.Status == imap.NO:
	case refused != nil && refused.Status == imap.BYE && strings.Contains(refused.Text, "was deleted"),
		refused == nil && g.deleted.Load() > 0:
		g.login(client)
	default:
		g.fail("%s: %v", what, err)
	}
}

// named is the id of a mailbox, "" if there is none.
func (g *together) named(name string) string {
	for _, o := range list(g.call("Mailbox/get", map[string]any{"ids": nil, "properties": []string{"name", "role"}}), "list") {
		o := o.(map[string]any)
		if o["name"] == name || name == "INBOX" && o["role"] == "inbox" {
			return o["id"].(string)
		}
	}
	return ""
}

func list(r map[string]any, name string) []any { l, _ := r[name].([]any); return l }

// byJMAP makes one change through JMAP.
func (g *together) byJMAP(r *rand.Rand) {
	var boxes, emails []string
	for _, o := range list(g.call("Mailbox/get", map[string]any{"ids": nil, "properties": []string{"id"}}), "list") {
		boxes = append(boxes, o.(map[string]any)["id"].(string))
	}
	for _, id := range list(g.call("Email/query", map[string]any{}), "ids") {
		emails = append(emails, id.(string))
	}
	if len(boxes) == 0 {
		return
	}
	kind := r.IntN(12)
	method, args := "Email/set", map[string]any{}
	switch {
	case kind < 2:
		args["create"] = map[string]any{"k": map[string]any{"mailboxIds": map[string]bool{anyOf(r, boxes): true}, "keywords": map[string]bool{"$draft": true},
			"subject": anyOf(r, []string{"one", "two"}), "from": []any{map[string]any{"email": "d@x.test"}}}}
	case kind == 2:
		method, args = "Email/import", g.importing(r, anyOf(r, boxes))
	case kind < 5:
		method, args = "Mailbox/set", mailboxChange(r, boxes)
	case len(emails) == 0:
		return
	case kind == 5:
		args["destroy"] = []string{anyOf(r, emails)}
	default:
		update := map[string]any{}
		for range 1 + r.IntN(3) {
			box := anyOf(r, boxes)
			update[anyOf(r, emails)] = anyOf(r, []map[string]any{{"keywords/$seen": true}, {"keywords/todo": true}, {"keywords/$flagged": nil}, {"keywords": map[string]bool{}},
				{"mailboxIds": map[string]bool{box: true}}, {"mailboxIds/" + box: true}, {"mailboxIds/" + box: nil, "keywords/$seen": nil}})
		}
		args["update"] = update
	}
	asked := fmt.Sprint(args)
	if method == "Mailbox/set" && args["destroy"] != nil {
		g.deleted.Add(1)
	}
	answer := g.call(method, args)
	delete(answer, "accountId")
	g.note("%s %s: %v", method, asked, answer)
}

// importing uploads a message and has the arguments that import it.
func (g *together) importing(r *rand.Rand, box string) map[string]any {
	status, text := g.ask("POST", "/jmap/upload/"+g.account+"/", anyLetter(r))
	var upload struct{ BlobID string }
	if err := json.Unmarshal([]byte(text), &upload); err != nil || status != http.StatusCreated {
		g.fail("upload: %d %v %s", status, err, text)
	}
	return map[string]any{"emails": map[string]any{"k": map[string]any{"blobId": upload.BlobID, "mailboxIds": map[string]bool{box: true}, "keywords": map[string]bool{"$seen": true}}}}
}

// mailboxChange are the arguments of Mailbox/set. Much of it is refused: roles are had once.
func mailboxChange(r *rand.Rand, boxes []string) map[string]any {
	box, name := anyOf(r, boxes), fmt.Sprint("n", r.IntN(3))
	switch r.IntN(4) {
	case 0:
		return map[string]any{"create": map[string]any{"k": map[string]any{"name": name, "parentId": anyOf(r, []any{nil, box})}}}
	case 1:
		return map[string]any{"update": map[string]any{box: map[string]any{"sortOrder": r.IntN(9)}}}
	case 2:
		return map[string]any{"update": map[string]any{box: map[string]any{"isSubscribed": r.IntN(2) == 0}}}
	}
	return map[string]any{"destroy": []string{anyOf(r, boxes[len(boxes)/2:])}, "onDestroyRemoveEmails": r.IntN(2) == 0}
}

// compareIMAP compares what IMAP shows with what a client of JMAP knows: \Seen is when all
// copies have it, others when one has (RFC 8621, 4.1.1). A message whose thread joined another
// one has got another id for JMAP, and keeps EMAILID and THREADID, which never change (RFC
// 8474, 5). A message with \Deleted is compared like others: it should not be visible by JMAP
// (RFC 8621, 4.1.1), but the store's picture of messages has it still.
func (g *together) compareIMAP(f *fellow) {
	g.login(2) // what was selected may have been deleted
	seen := map[string]*placed{}
	boxes, err := g.imap[2].List("", "*")
	if err != nil {
		g.fail("LIST: %v", err)
		return
	}
	for _, b := range boxes {
		if !slices.Contains(b.Attributes, `\NonExistent`) && !slices.Contains(b.Attributes, `\Noselect`) {
			g.examine(b.Name, seen)
		}
	}
	shown, known, joined := map[string]any{}, map[string]any{}, map[string]any{}
	for id, p := range seen {
		shown[id] = p.email()
	}
	for id, o := range f.known["Email"] {
		plain, _, other := strings.Cut(id, "-")
		known[plain] = map[string]any{"mailboxIds": o["mailboxIds"], "keywords": o["keywords"]}
		p := seen[plain]
		if p == nil {
			continue // and the comparison fails
		}
		if was, there := joined[p.thread]; there && was != o["threadId"] || !other && p.thread != o["threadId"] {
			g.fail("%s: THREADID %s and threadId %v and %v", id, p.thread, o["threadId"], was)
		}
		joined[p.thread] = o["threadId"]
	}
	if a, b := normalJSON(shown), normalJSON(known); !bytes.Equal(a, b) {
		g.fail("IMAP shows\n%s\nand JMAP\n%s", a, b)
	}
}

// placed is a message as IMAP shows it in all mailboxes.
type placed struct {
	boxes  map[string]bool
	flags  map[string]int // by name as JMAP has it: how many copies have it
	copies int
	thread string
}
