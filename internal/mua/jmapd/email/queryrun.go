package email

import (
	"context"
	"io"
	"strings"

	"postroad/internal/mailstore"
	"postroad/internal/search"
	"postroad/jmap"
	"postroad/message"
)

// lookedIntoMax is how many messages a query reads at most, where the index does not know
// whether they match; each costs a body.
const lookedIntoMax = 10_000

// evaluation decides which messages of an Emails match a filter. What is quick decides
// first; the index decides on texts as far as it can; what is left is looked into.
type evaluation struct {
	methods *Methods
	e       *mailstore.Emails
	account *mailstore.Account
	filter  *emailFilter
	few     bool // only some messages are asked about: threads are gone through one by one
	found   *search.Found
	place   search.Place // of the message at hand in the index
	at      int          // the message that place is of
	decided map[mailstore.MessageID][]bool
	has     map[mailstore.MessageID]bool // attachments
	test    func(place int) search.State
}

// lookedIntoFirst is how many messages are rather read than looked up in the index.
const lookedIntoFirst = 8

// fewMessages is how many messages are so few that what is told of all at once is not made.
const fewMessages = 2000

// evaluate prepares to decide on n messages.
func (m *Methods) evaluate(ctx context.Context, a *mailstore.Account, e *mailstore.Emails, f *emailFilter, n int) (*evaluation, error) {
	v := &evaluation{methods: m, e: e, account: a, filter: f, few: n <= fewMessages, at: -1}
	if len(f.texts) > 0 && n > lookedIntoFirst {
		queries := make([]*search.Query, len(f.texts))
		for i, t := range f.texts {
			queries[i] = t.query
		}
		var err error
		if v.found, err = a.Index().Find(ctx, nil, queries); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			// The messages are there all the same, and are looked into.
			m.house.Log.Error("the index of an account cannot be used; a rebuild helps", "account", a.ID(), "error", err)
			v.found = nil
		}
	}
	v.test = v.compile(&f.root)
	return v, nil
}

// compile makes a function of a node: what is known of a message.
func (v *evaluation) compile(n *filterNode) func(place int) search.State {
	e := v.e
	switch n.op {
	case opAnd, opOr, opNot:
		return v.compileOperator(n)
	case opMailbox:
		return known(func(p int) bool { return e.In(p, n.mailbox) })
	case opMailboxOther:
		return known(func(p int) bool {
			for _, box := range e.Mailboxes(p) {
				if !n.mailboxes[box] {
					return true
				}
			}
			return false
		})
	case opBefore:
		return known(func(p int) bool { return e.ReceivedAt(p) < n.at })
	case opAfter:
		return known(func(p int) bool { return e.ReceivedAt(p) >= n.at })
	case opMinSize:
		return known(func(p int) bool { return int64(e.Size(p)) >= n.size })
	case opMaxSize:
		return known(func(p int) bool { return int64(e.Size(p)) < n.size })
	case opKeyword:
		return known(e.Keyword(n.keyword).Has)
	case opThreadAll, opThreadSome, opThreadNone:
		count := v.threadCount(n.keyword)
		return known(func(p int) bool {
			with, of := count(p)
			return n.op == opThreadAll && with == of || n.op == opThreadSome && with > 0 || n.op == opThreadNone && with == 0
		})
	case opAttachment:
		return func(p int) search.State {
			has, known := v.has[e.Message(p)]
			switch {
			case !known:
				return search.Maybe
			case has == n.yes:
				return search.Yes
			}
			return search.No
		}
	}
	return func(p int) search.State { return v.inTexts(p, n) }
}

// known is a test that always knows.
func known(f func(place int) bool) func(place int) search.State {
	return func(p int) search.State {
		if f(p) {
			return search.Yes
		}
		return search.No
	}
}

// compileOperator is compile for AND, OR and NOT (RFC 8620, 5.5). States order as No,
// Maybe, Yes.
func (v *evaluation) compileOperator(n *filterNode) func(place int) search.State {
	kids := make([]func(int) search.State, len(n.kids))
	for i, k := range n.kids {
		kids[i] = v.compile(k)
	}
	if n.op == opAnd {
		return func(p int) search.State {
			s := search.Yes
			for i := 0; i < len(kids) && s != search.No; i++ {
				s = min(s, kids[i](p))
			}
			return s
		}
	}
	any := func(p int) search.State {
		s := search.No
		for i := 0; i < len(kids) && s != search.Yes; i++ {
			s = max(s, kids[i](p))
		}
		return s
	}
	if n.op == opOr {
		return any
	}
	return func(p int) search.State { return search.Yes - any(p) }
}

// threadCount tells of a message how many of its thread have a keyword, and how many there
// are.
func (v *evaluation) threadCount(keyword string) func(place int) (with, of int32) {
	return threadCount(v.e, keyword, v.few)
}

// threadCount is evaluation.threadCount; where all messages are asked about, it counts once.
func threadCount(e *mailstore.Emails, keyword string, few bool) func(place int) (with, of int32) {
	has := e.Keyword(keyword).Has
	if few {
		return func(p int) (with, of int32) {
			for _, member := range e.ThreadMembers(e.Thread(p)) {
				if of++; has(member) {
					with++
				}
			}
			return with, of
		}
	}
	type tally struct{ with, of int32 }
	var all []tally // made by the first who asks
	return func(p int) (with, of int32) {
		if all == nil {
			all = make([]tally, e.ThreadNumbers())
			for q := range e.All() {
				t := &all[e.ThreadNumber(q)]
				if t.of++; has(q) {
					t.with++
				}
			}
		}
		t := all[e.ThreadNumber(p)]
		return t.with, t.of
	}
}

// inTexts is what is known of a condition on texts: by what was looked into, else by the
// index.
func (v *evaluation) inTexts(p int, n *filterNode) search.State {
	t := n.text
	if fits, there := v.decided[v.e.Message(p)]; there {
		if fits[t.number] {
			return search.Yes
		}
		return search.No
	}
	if v.found == nil || n.op == opHeader && !search.SearchedName(t.header) {
		return search.Maybe
	}
	if v.at != p {
		v.place, v.at = v.found.Place(v.e.Message(p)), p
	}
	s := v.found.State(v.place, t.number)
	if n.op == opHeader {
		return min(s, search.Maybe) // it may be another field
	}
	return s
}

// matches returns those of some places that match, in their order.
func (v *evaluation) matches(ctx context.Context, places []int) ([]int, error) {
	states := make([]search.State, len(places))
	var open []int // indexes of those that are to be looked into
	for i, p := range places {
		if states[i] = v.test(p); states[i] == search.Maybe {
			open = append(open, i)
		}
	}
	for _, step := range []func(context.Context, []mailstore.MessageID) error{v.attachments, v.lookInto} {
		if len(open) == 0 {
			break
		}
		ids := make([]mailstore.MessageID, len(open))
		for k, i := range open {
			ids[k] = v.e.Message(places[i])
		}
		if err := step(ctx, ids); err != nil {
			return nil, err
		}
		left := open[:0]
		for _, i := range open {
			if states[i] = v.test(places[i]); states[i] == search.Maybe {
				left = append(left, i)
			}
		}
		open = left
	}
	out := make([]int, 0, len(places))
	for i, p := range places {
		if states[i] == search.Yes {
			out = append(out, p)
		}
	}
	return out, nil
}

// attachments finds out which messages have attachments, where the filter asks.
func (v *evaluation) attachments(ctx context.Context, ids []mailstore.MessageID) (err error) {
	if v.filter.uses.structure {
		v.has, err = v.methods.attached.get(ctx, v.account, ids)
	}
	return err
}

// lookInto reads messages, and remembers which conditions on texts they match.
func (v *evaluation) lookInto(ctx context.Context, ids []mailstore.MessageID) error {
	if len(v.filter.texts) == 0 {
		return nil
	}
	if len(ids) > lookedIntoMax {
		return jmap.ErrUnsupportedFilter.With("more than %d messages would have to be read; add a condition", lookedIntoMax)
	}
	if v.decided == nil {
		v.decided = make(map[mailstore.MessageID][]bool, len(ids))
	}
	for r, err := range v.account.Records(ctx, ids, mailstore.WantStructure) {
		if err != nil {
			return err
		}
		fits := make([]bool, len(v.filter.texts))
		if !r.Missing {
			if err := v.judge(ctx, r, fits); err != nil {
				return err
			}
		}
		v.decided[ids[r.Index]] = fits
	}
	return nil
}

// judge looks for each text in a message.
func (v *evaluation) judge(ctx context.Context, r *mailstore.Record, fits []bool) error {
	parsed, err := message.Decode(r.Structure)
	if err != nil {
		return err
	}
	body, err := v.account.Open(ctx, r.Body)
	if err != nil {
		return err
	}
	defer body.Close()
	for i, t := range v.filter.texts {
		switch {
		case t.header != "":
			fits[i], err = inHeader(parsed, body, t)
		default:
			fits[i], _, err = t.query.Judge(func(fields search.Fields, do func(search.Field, io.Reader) error) error {
				return search.EachText(parsed, body, fields, do)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inHeader looks into the header fields of one name.
func inHeader(m *message.Message, body io.ReaderAt, t *textTest) (bool, error) {
	block := make([]byte, m.Root.Header.Size())
	if _, err := body.ReadAt(block, m.Root.Header.Start); err != nil && err != io.EOF {
		return false, err
	}
	for f := range message.Fields(block) {
		if !f.Is(t.header) {
			continue
		}
		if t.named {
			return true, nil
		}
		value := f.Text()
		fits, _, err := t.query.Judge(func(_ search.Fields, do func(search.Field, io.Reader) error) error {
			return do(search.FieldHeader, strings.NewReader(value))
		})
		if fits || err != nil {
			return fits, err
		}
	}
	return false, nil
}
