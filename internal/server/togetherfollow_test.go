package server

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/imap/imapclient"
)

// fellow is a client of JMAP that follows an account.
type fellow struct {
	g       *together
	r       *rand.Rand
	states  map[string]string                    // by type
	known   map[string]map[string]map[string]any // objects by type and id
	queries []*fellowQuery
}

// fellowQuery is a result that a client knows.
type fellowQuery struct {
	args  map[string]any
	state string // "" before it was asked for
	ids   []string
}

var fellowTypes = []string{"Mailbox", "Thread", "Email"}

// emailProperties are those of messages that a client keeps.
var emailProperties = []string{"mailboxIds", "keywords", "threadId", "receivedAt"}

func newFellow(g *together, r *rand.Rand) *fellow {
	f := &fellow{g: g, r: r, states: map[string]string{}, known: map[string]map[string]map[string]any{}}
	down := func(property string, more ...string) map[string]any {
		by := map[string]any{"property": property, "isAscending": false}
		if len(more) > 0 {
			by["keyword"] = more[0]
		}
		return by
	}
	inbox := map[string]any{"inMailbox": g.inbox}
	either := map[string]any{"operator": "OR", "conditions": []any{map[string]any{"hasKeyword": "$seen"}, map[string]any{"inMailboxOtherThan": []string{g.inbox}}}}
	filters := []map[string]any{nil, inbox, either, {"text": "apple"}, {"noneInThreadHaveKeyword": "$seen"}, {"notKeyword": "todo"}, {"subject": "one", "inMailbox": g.inbox}}
	sorts := [][]any{nil, {down("receivedAt")}, {down("subject"), down("size")}, {down("hasKeyword", "todo"), down("receivedAt")}, {down("someInThreadHaveKeyword", "$flagged"), down("from")}}
	for _, filter := range filters {
		args := map[string]any{"calculateTotal": true, "collapseThreads": r.IntN(2) == 0}
		if filter != nil {
			args["filter"] = filter
		}
		if sort := anyOf(r, sorts); sort != nil {
			args["sort"] = sort
		}
		f.queries = append(f.queries, &fellowQuery{args: args})
	}
	return f
}

// with adds arguments to a copy of others.
func with(args map[string]any, more ...any) map[string]any {
	all := map[string]any{}
	for name, v := range args {
		all[name] = v
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i].(string)] = more[i+1]
	}
	return all
}

// follow brings what the client knows up to date, whatever happens meanwhile.
func (f *fellow) follow() {
	for _, kind := range fellowTypes {
		if f.states[kind] == "" {
			f.states[kind], f.known[kind] = f.all(kind)
			continue
		}
		f.changes(kind)
	}
	for _, q := range f.queries {
		f.query(q)
	}
}

// all fetches all objects of a type.
func (f *fellow) all(kind string) (string, map[string]map[string]any) {
	args := map[string]any{"ids": nil}
	switch kind {
	case "Email":
		args["properties"] = emailProperties
	case "Thread":
		return f.allThreads()
	}
	return f.get(kind, args)
}

// allThreads fetches the threads of all messages, until nothing happened while it did: a
// thread that came and went after the state need not be told of (RFC 8620, 5.2).
func (f *fellow) allThreads() (string, map[string]map[string]any) {
	before, _ := f.get("Thread", map[string]any{"ids": []string{}})
	for {
		ids := map[string]bool{}
		for _, o := range list(f.g.call("Email/get", map[string]any{"ids": nil, "properties": []string{"threadId"}}), "list") {
			ids[o.(map[string]any)["threadId"].(string)] = true
		}
		state, all := f.get("Thread", map[string]any{"ids": sortedKeys(ids)})
		if state == before || f.g.t.Failed() {
			return state, all
		}
		before = state
	}
}

func (f *fellow) get(kind string, args map[string]any) (string, map[string]map[string]any) {
	r := f.g.call(kind+"/get", args)
	got := map[string]map[string]any{}
	for _, o := range list(r, "list") {
		o := o.(map[string]any)
		got[o["id"].(string)] = o
	}
	state, _ := r["state"].(string)
	return state, got
}

// changes follows the objects of a type, often in small steps.
func (f *fellow) changes(kind string) {
	for more := true; more; {
		args := map[string]any{"sinceState": f.states[kind]}
		if f.r.IntN(2) == 0 {
			args["maxChanges"] = 4 + f.r.IntN(4) // a message whose thread joins another one is two changes
		}
		r, kindOfError := f.g.try(kind+"/changes", args)
		if kindOfError == "cannotCalculateChanges" {
			f.g.note("%s/changes since %s cannot be told", kind, f.states[kind])
			f.states[kind], f.known[kind] = f.all(kind)
			return
		}
		if kindOfError != "" {
			f.g.fail("%s/changes %v: %v", kind, args, r)
			return
		}
		f.apply(kind, r)
		more, _ = r["hasMoreChanges"].(bool)
		f.states[kind], _ = r["newState"].(string)
	}
}

// apply takes what /changes tells. What is not found is told of as destroyed later.
func (f *fellow) apply(kind string, r map[string]any) {
	var ids []string
	for _, id := range list(r, "destroyed") {
		delete(f.known[kind], id.(string))
	}
	for _, id := range list(r, "created") {
		ids = append(ids, id.(string))
	}
	fresh := len(ids)
	for _, id := range list(r, "updated") {
		ids = append(ids, id.(string))
	}
	if len(ids) == 0 {
		return
	}
	args := map[string]any{"ids": ids}
	if kind == "Email" {
		args["properties"] = emailProperties
	}
	only := r["updatedProperties"]
	if only != nil && fresh == 0 { // RFC 8621, 2.2: nothing else of them is new
		args["properties"] = only
	}
	_, got := f.get(kind, args)
	for _, id := range ids {
		switch {
		case got[id] == nil:
			delete(f.known[kind], id)
		case only != nil && fresh == 0:
			for name, v := range got[id] {
				if f.known[kind][id] != nil {
					f.known[kind][id][name] = v
				}
			}
		default:
			f.known[kind][id] = got[id]
		}
	}
}

// query follows a result.
func (f *fellow) query(q *fellowQuery) {
	if q.state == "" {
		f.whole(q)
		return
	}
	args := with(q.args, "sinceQueryState", q.state)
	r, kindOfError := f.g.try("Email/queryChanges", args)
	switch {
	case kindOfError == "cannotCalculateChanges":
		f.g.note("Email/queryChanges %v cannot be told", args)
		f.whole(q)
		return
	case kindOfError != "":
		f.g.fail("Email/queryChanges %v: %v", args, r)
		return
	}
	was := slices.Clone(q.ids)
	removed := map[string]bool{}
	for _, id := range list(r, "removed") {
		removed[id.(string)] = true
	}
	q.ids = slices.DeleteFunc(q.ids, func(id string) bool { return removed[id] })
	for _, o := range list(r, "added") {
		o := o.(map[string]any)
		index := int(o["index"].(float64))
		if index > len(q.ids) {
			f.g.fail("%v: %v is added behind the end of %v, which was %v: %v", args, o, q.ids, was, r)
			return
		}
		q.ids = slices.Insert(q.ids, index, o["id"].(string))
	}
	q.state, _ = r["newQueryState"].(string)
	if total, _ := r["total"].(float64); int(total) != len(q.ids) {
		f.g.fail("%v: there are %v, the client has %v, had %v: %v", args, total, q.ids, was, r)
	}
}

// whole asks for a whole result.
func (f *fellow) whole(q *fellowQuery) {
	q.state, q.ids = f.result(q)
}

func (f *fellow) result(q *fellowQuery) (state string, ids []string) {
	r := f.g.call("Email/query", with(q.args))
	for _, id := range list(r, "ids") {
		ids = append(ids, id.(string))
	}
	if total, _ := r["total"].(float64); int(total) != len(ids) {
		f.g.fail("Email/query %v: %v in total are %v", q.args, total, ids)
	}
	state, _ = r["queryState"].(string)
	return state, ids
}

// compare compares what the client knows with all that is there, when nothing happens.
func (f *fellow) compare() {
	for _, kind := range fellowTypes {
		state, all := f.all(kind)
		if a, b := normalJSON(f.known[kind]), normalJSON(all); string(a) != string(b) {
			f.g.fail("%s: the client knows\n%s\nand there is\n%s", kind, a, b)
		}
		if state != f.states[kind] {
			f.g.fail("%s: /changes ends at state %s, /get tells %s", kind, f.states[kind], state)
		}
	}
	for _, q := range f.queries {
		state, ids := f.result(q)
		if !slices.Equal(ids, q.ids) {
			f.g.fail("%v: the client knows\n%v\nand the result is\n%v", q.args, q.ids, ids)
		}
		if state != q.state {
			f.g.fail("%v: /queryChanges ends at state %s, /query tells %s", q.args, q.state, state)
		}
	}
}

// normalJSON writes a value so that equal ones are equal.
func normalJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // of maps and strings
	}
	return raw
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// numbers is a set of UIDs.
func numbers(first, last uint32) imap.NumSet {
	var s imap.UIDSet
	s.AddRange(first, last)
	return imap.NumSetUID(s)
}

// examine adds what a mailbox has.
func (g *together) examine(name string, seen map[string]*placed) {
	k := g.imap[2]
	m, err := k.Examine(name)
	if err != nil {
		g.fail("EXAMINE %s: %v", name, err)
		return
	}
	box := ""
	for _, r := range m.Responses {
		if id, is := strings.CutPrefix(r.Code, "MAILBOXID ("); is {
			box = strings.TrimSuffix(id, ")")
		}
	}
	if box == "" {
		g.fail("EXAMINE %s tells no MAILBOXID", name)
	}
	if m.Exists == 0 {
		return
	}
	err = k.Fetch(numbers(1, m.UIDNext), "(UID FLAGS EMAILID THREADID)", nil, func(r *imapclient.Response) error {
		items := r.Items()
		id, thread := fmt.Sprint(items["EMAILID"].List[0].Text), items["THREADID"].List[0].Text
		p := seen[id]
		if p == nil {
			p = &placed{boxes: map[string]bool{}, flags: map[string]int{}, thread: thread}
			seen[id] = p
		}
		if p.thread != thread {
			g.fail("%s is in the threads %s and %s", id, p.thread, thread)
		}
		p.add(box, items["FLAGS"].List)
		return nil
	})
	if err != nil {
		g.fail("FETCH in %s: %v", name, err)
	}
}

// add adds a copy of a message.
func (p *placed) add(box string, flags []imapclient.Value) {
	p.copies++
	p.boxes[box] = true
	for _, f := range flags {
		switch name := strings.ToLower(f.Text); {
		case name == `\deleted` || name == `\recent`:
		case name[0] == '\\':
			p.flags["$"+name[1:]]++
		default:
			p.flags[name]++
		}
	}
}

// email is the message as JMAP should have it.
func (p *placed) email() map[string]any {
	keywords := map[string]bool{}
	for name, n := range p.flags {
		if name != "$seen" || n == p.copies {
			keywords[name] = true
		}
	}
	return map[string]any{"mailboxIds": p.boxes, "keywords": keywords}
}
