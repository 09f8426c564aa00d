package email

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
)

// followSeeds is how many sequences of changes TestFollow makes; POSTROAD_SEEDS says another
// number.
const followSeeds = 20

// TestFollow changes an account at random, as deliveries, IMAP and JMAP do, and lets clients
// follow: the owner and somebody with whom parts are shared, each with several queries. After
// each change what a client knows by /changes and /queryChanges is what is there.
func TestFollow(t *testing.T) {
	seeds := followSeeds
	if s := os.Getenv("POSTROAD_SEEDS"); s != "" {
		var err error
		if seeds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { newFollowing(t, uint64(seed)).run() })
	}
}

// following is one sequence.
type following struct {
	*bodyHouse
	t       *testing.T
	r       *rand.Rand
	a       *access.Account
	clients []*follower
	step    int
	what    string // the last change
	deleted int    // mailboxes that were
}

func newFollowing(t *testing.T, seed uint64) *following {
	h := newBodyHouse(t, Options{})
	f := &following{bodyHouse: h, t: t, r: rand.New(rand.NewPCG(seed, 7)), a: h.open("alice", "alice")}
	for _, name := range []string{"Work", "Work/Sub", "Lists"} {
		_, err := f.a.CreateMailbox(t.Context(), name, "")
		must(t, err)
	}
	h.share("alice", "Work", "bob", "lrswit")
	h.share("alice", "INBOX", "bob", "lr")
	h.share("alice", "Sent", "bob", "lr") // so that something always is
	for _, user := range []string{"alice", "bob"} {
		for range 2 {
			f.clients = append(f.clients, newFollower(f, user))
		}
	}
	return f
}

func (f *following) run() {
	for f.step = range 25 {
		f.change()
		if f.r.IntN(4) == 0 { // as after a restart, nothing is at hand of moments before
			f.m.results = newResults(f.m.o.ResultBytes)
		}
		for _, c := range f.clients {
			if f.r.IntN(3) > 0 {
				c.follow()
			}
		}
	}
	for _, c := range f.clients {
		c.follow()
	}
}

// boxes are the mailboxes that there are.
func (f *following) boxes() []*mailstore.Mailbox {
	tree, err := f.a.Tree(context.Background())
	must(f.t, err)
	return tree.All()
}

func (f *following) anyBox() *mailstore.Mailbox {
	all := f.boxes()
	return all[f.r.IntN(len(all))]
}

// change makes one change.
func (f *following) change() {
	ctx := context.Background()
	box := f.anyBox()
	uids := imap.UIDSet{{First: uint32(1 + f.r.IntN(6)), Last: uint32(3 + f.r.IntN(8))}}
	if uids[0].First > uids[0].Last {
		uids[0].First = uids[0].Last
	}
	kind := f.r.IntN(14)
	f.what = fmt.Sprintf("step %d: change %d of %s %v", f.step, kind, box.Name, uids)
	switch kind {
	case 0, 1, 2, 3:
		f.arriveAny(box)
	case 4, 5:
		_, err := f.a.StoreFlags(ctx, box.ID, uids, mailstore.FlagChange{Mode: mailstore.FlagsAdd, Flags: []mailstore.Flags{mailstore.Seen, mailstore.Flagged, mailstore.Deleted}[f.r.IntN(3)]})
		must(f.t, err)
	case 6:
		_, err := f.a.StoreFlags(ctx, box.ID, uids, mailstore.FlagChange{Mode: mailstore.FlagsRemove, Flags: mailstore.Seen | mailstore.Flagged})
		must(f.t, err)
	case 7:
		_, err := f.a.Copy(ctx, box.ID, uids, f.anyBox().ID)
		must(f.t, err)
	case 8:
		if to := f.anyBox(); to.ID != box.ID {
			_, err := f.a.Move(ctx, box.ID, uids, to.ID)
			must(f.t, err)
		}
	case 9:
		_, err := f.a.Expunge(ctx, box.ID, uids, true)
		must(f.t, err)
	case 10:
		f.tree(box)
	case 11, 12:
		f.set()
	case 13:
		f.rights(box)
	}
}

// arriveAny delivers a message that may belong to a conversation, or join two.
func (f *following) arriveAny(box *mailstore.Mailbox) {
	refs := ""
	for range f.r.IntN(3) {
		refs += fmt.Sprintf(" <%d@x>", f.r.IntN(12))
	}
	if refs != "" {
		refs = "References:" + refs + "\n"
	}
	f.arrive("alice", f.r.IntN(30), fmt.Sprintf("From: %c <a@x>\nSubject: %s\nMessage-ID: <%d@x>\n%s\n%s\n", 'a'+f.r.IntN(4),
		[]string{"one", "one", "two"}[f.r.IntN(3)], f.r.IntN(12), refs, []string{"apple", "pear"}[f.r.IntN(2)]), box.Name)
}

// tree makes, renames or deletes a mailbox.
func (f *following) tree(box *mailstore.Mailbox) {
	ctx := context.Background()
	name := fmt.Sprint("n", f.r.IntN(4))
	switch f.r.IntN(4) {
	case 0, 1:
		if f.r.IntN(2) == 0 {
			name = box.Name + "/" + name
		}
		_, _ = f.a.CreateMailbox(ctx, name, "") // or is there
	case 2:
		if box.Role == "" && box.Name != imap.Inbox {
			_ = f.a.RenameMailbox(ctx, box.Name, name) // or is there
		}
	case 3:
		if box.Role == "" && box.Name != imap.Inbox {
			if f.a.DeleteMailbox(ctx, box.Name) == nil { // or has children
				f.deleted++
			}
		}
	}
}

// set changes a message by Email/set.
func (f *following) set() {
	list := f.call("alice", "Email/query", "alice", `"limit": 50`)["ids"].([]any)
	if len(list) == 0 {
		return
	}
	id := list[f.r.IntN(len(list))]
	box := mailstore.FormatMailboxID(f.anyBox().ID)
	patch := []string{`{"keywords/$seen": true}`, `{"keywords/todo": true}`, `{"keywords": {}}`, fmt.Sprintf(`{"mailboxIds": {%q: true}}`, box),
		fmt.Sprintf(`{"mailboxIds/%s": true}`, box)}[f.r.IntN(5)]
	if f.r.IntN(6) == 0 {
		f.call("alice", "Email/set", "alice", fmt.Sprintf(`"destroy": [%q]`, id))
		return
	}
	f.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {%q: %s}`, id, patch))
}

// rights gives bob other rights to a mailbox.
func (f *following) rights(box *mailstore.Mailbox) {
	if box.Role == imap.AttrSent {
		return
	}
	f.share("alice", box.Name, "bob", []string{"", "l", "lr", "lrs"}[f.r.IntN(4)])
}

// follower is a client that follows the changes of alice's account.
type follower struct {
	f       *following
	user    string
	states  map[string]string         // by type
	known   map[string]map[string]any // objects by type, then by id
	queries map[string]*followedQuery // by arguments
	deleted int                       // mailboxes, when he followed last
}

// followedQuery is a result that a client knows.
type followedQuery struct {
	state string
	ids   []any
}

// followedQueries are the arguments of queries; $work is a mailbox.
var followedQueries = []string{
	`"sort": [{"property": "receivedAt", "isAscending": false}], "collapseThreads": true, "filter": {"inMailbox": "$inbox"}`,
	`"filter": {"inMailbox": "$work"}`,
	`"filter": {"inMailbox": "$inbox"}, "sort": [{"property": "receivedAt"}]`,
	`"sort": [{"property": "someInThreadHaveKeyword", "keyword": "$flagged", "isAscending": false}, {"property": "subject"}, {"property": "receivedAt", "isAscending": false}], "collapseThreads": true`,
	`"filter": {"operator": "OR", "conditions": [{"hasKeyword": "$seen"}, {"inMailboxOtherThan": ["$inbox"]}]}, "sort": [{"property": "from"}, {"property": "size"}]`,
	`"filter": {"body": "apple"}, "sort": [{"property": "size"}]`,
	`"filter": {"body": "apple", "inMailbox": "$inbox"}, "collapseThreads": true`,
	`"filter": {"noneInThreadHaveKeyword": "$seen"}, "sort": [{"property": "hasKeyword", "keyword": "todo"}]`,
	`"filter": {"after": "2026-12-01T10:10:00Z", "hasAttachment": false}`,
}

func newFollower(f *following, user string) *follower {
	c := &follower{f: f, user: user, states: map[string]string{}, known: map[string]map[string]any{}, queries: map[string]*followedQuery{}}
	replace := strings.NewReplacer("$inbox", f.box("alice", "INBOX"), "$work", f.box("alice", "Work"))
	for _, q := range followedQueries {
		if f.r.IntN(2) == 0 {
			c.queries[replace.Replace(q)] = nil
		}
	}
	return c
}

// fatal ends the test with what the client knows.
func (c *follower) fatal(format string, a ...any) {
	c.f.t.Helper()
	c.f.t.Fatalf("%s, after %s: %s", c.user, c.f.what, fmt.Sprintf(format, a...))
}

// follow brings what the client knows up to date, and compares it with what is there.
func (c *follower) follow() {
	for _, kind := range []string{"Email", "Thread", "Mailbox"} {
		c.objects(kind)
	}
	for args := range c.queries {
		c.query(args)
	}
	c.deleted = c.f.deleted
}

// lost tells whether a client may be told to read all anew: a guest, because he may see
// another part now; anybody after a mailbox was deleted with what was in it.
func (c *follower) lost() bool { return c.user != "alice" || c.deleted != c.f.deleted }

// objects follows the objects of a type.
func (c *follower) objects(kind string) {
	steps := fmt.Sprintf(`, "maxChanges": %d`, 4+c.f.r.IntN(4)) // a message whose thread joins another one is two changes
	if c.f.r.IntN(2) == 0 {
		steps = ""
	}
	for more := c.states[kind] != ""; more; {
		r := c.f.try(c.user, kind+"/changes", "alice", fmt.Sprintf(`"sinceState": %q%s`, c.states[kind], steps))
		if r["error"] == "cannotCalculateChanges" && c.lost() {
			c.states[kind] = ""
			break
		}
		if r["error"] != nil {
			c.fatal("%s/changes since %s: %v", kind, c.states[kind], r)
		}
		more = r["hasMoreChanges"].(bool)
		c.apply(kind, r)
		c.states[kind] = r["newState"].(string)
	}
	all := map[string]any{}
	state := ""
	ids := "null"
	if kind == "Email" {
		raw, _ := json.Marshal(c.f.call(c.user, "Email/query", "alice", "")["ids"])
		ids = string(raw)
	}
	state = c.fetch(kind, ids, all)
	switch {
	case c.states[kind] == "":
		c.known[kind] = all
	case state != c.states[kind]:
		c.fatal("%s: /changes ends at state %s, /get tells %s", kind, c.states[kind], state)
	case !reflect.DeepEqual(c.known[kind], all):
		c.fatal("%s: the client knows\n%v\nand there is\n%v", kind, c.known[kind], all)
	}
	c.states[kind] = state
}

// fetch gets objects, and returns the state.
func (c *follower) fetch(kind, ids string, into map[string]any) string {
	properties := ""
	if kind == "Email" {
		properties = `, "properties": ["mailboxIds", "keywords", "threadId", "receivedAt"]`
	}
	r := c.f.call(c.user, kind+"/get", "alice", fmt.Sprintf(`"ids": %s%s`, ids, properties))
	for _, o := range r["list"].([]any) {
		into[at(o, "id").(string)] = o
	}
	return r["state"].(string)
}

// apply takes what /changes tells.
func (c *follower) apply(kind string, r map[string]any) {
	var ids []any
	for _, id := range r["destroyed"].([]any) {
		delete(c.known[kind], id.(string))
	}
	ids = append(ids, r["created"].([]any)...)
	for _, id := range r["updated"].([]any) {
		if c.known[kind][id.(string)] == nil {
			c.fatal("%s: an update of %v, which was never told of", kind, id)
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		delete(c.known[kind], id.(string)) // what is gone by now comes as destroyed later
	}
	if ids == nil {
		return
	}
	raw, _ := json.Marshal(ids)
	got := map[string]any{}
	c.fetch(kind, string(raw), got)
	for _, id := range ids {
		if o := got[id.(string)]; o != nil {
			c.known[kind][id.(string)] = o
		} else {
			c.known[kind][id.(string)] = "gone"
		}
	}
}

// query follows a result.
func (c *follower) query(args string) {
	q := c.queries[args]
	if q != nil {
		r := c.f.try(c.user, "Email/queryChanges", "alice", fmt.Sprintf(`%s, "calculateTotal": true, "sinceQueryState": %q`, args, q.state))
		switch {
		case r["error"] == "cannotCalculateChanges" && c.lost():
			q = nil
		case r["error"] != nil:
			c.fatal("Email/queryChanges %s: %v", args, r)
		default:
			q.apply(c, args, r)
		}
	}
	r := c.f.call(c.user, "Email/query", "alice", args)
	now := &followedQuery{r["queryState"].(string), r["ids"].([]any)}
	switch {
	case q == nil:
	case q.state != now.state:
		c.fatal("%s: /queryChanges ends at state %s, /query tells %s", args, q.state, now.state)
	case !slices.Equal(q.ids, now.ids):
		c.fatal("%s:\nthe client knows  %v\nand the result is %v", args, q.ids, now.ids)
	}
	c.window(args, now)
	c.queries[args] = now
}

// apply takes what /queryChanges tells, as RFC 8620, 5.6, says.
func (q *followedQuery) apply(c *follower, args string, r map[string]any) {
	for _, id := range r["removed"].([]any) {
		q.ids = slices.DeleteFunc(q.ids, func(have any) bool { return have == id })
	}
	for _, item := range r["added"].([]any) {
		index := int(at(item, "index").(float64))
		if index > len(q.ids) {
			c.fatal("%s: %v is added behind the end of %v", args, item, q.ids)
		}
		q.ids = slices.Insert(q.ids, index, at(item, "id"))
	}
	if total := int(r["total"].(float64)); total != len(q.ids) {
		c.fatal("%s: the client has %d of %d", args, len(q.ids), total)
	}
	q.state = r["newQueryState"].(string)
}

// window asks for a part of a result, by position and by anchor.
func (c *follower) window(args string, all *followedQuery) {
	if len(all.ids) == 0 {
		return
	}
	i := c.f.r.IntN(len(all.ids))
	want := all.ids[i:min(i+2, len(all.ids))]
	for _, more := range []string{fmt.Sprintf(`"position": %d`, i), fmt.Sprintf(`"position": %d`, i-len(all.ids)), fmt.Sprintf(`"anchor": %q`, all.ids[i])} {
		if got := c.f.call(c.user, "Email/query", "alice", args+`, "limit": 2, `+more)["ids"].([]any); !slices.Equal(got, want) {
			c.fatal("%s, %s: %v, want %v", args, more, got, want)
		}
	}
}
