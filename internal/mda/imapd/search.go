package imapd

import (
	"context"
	"time"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/blob"
	"postroad/internal/mailstore"
)

// truth is what is known of a key for one message: not every key can be told from the
// columns, nor from the stored record.
type truth uint8

const (
	no truth = iota
	yes
	unknown
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// Search finds messages (RFC 9051, 6.4.4). Each key is asked of the cheapest source that
// knows: first the columns, for what is left the stored record, then the message itself.
func (s *Session) Search(ctx context.Context, key *imap.SearchKey, o imapserver.SearchOptions) (*imapserver.SearchData, error) {
	m, err := s.current(ctx, cmdSearch)
	if err != nil {
		return nil, err
	}
	q := newQuery(s, m, key, time.Now())
	found, err := q.find(ctx, key, everything)
	if err != nil {
		return nil, err
	}
	if o.Need == imapserver.NeedWindow && o.Update == "" {
		found = o.Window.CutSet(found)
		d := m.result(found, key.HasModSeq())
		d.Cut, d.Relevancy = true, q.index.relevancy(found)
		return d, nil
	}
	d := m.result(found, key.HasModSeq())
	d.Relevancy = q.index.relevancy(found)
	if o.Update != "" {
		d.NoUpdate = m.keep(&searchContext{tag: o.Update, key: key, sets: q.sets, members: found})
	}
	return d, nil
}

// everything is all UIDs that there can be.
var everything = imap.UIDSet{{First: 1, Last: ^uint32(0)}}

// find returns the UIDs of the messages within a set that a key matches.
func (q *query) find(ctx context.Context, key *imap.SearchKey, within imap.UIDSet) (imap.UIDSet, error) {
	snapshot := q.mailbox.snapshot
	var found, open imap.UIDSet
	for _, r := range within {
		from, _ := snapshot.Index(r.First)
		to, there := snapshot.Index(r.Last)
		if there {
			to++
		}
		for _, row := range snapshot.Rows(from, to) {
			if row.Gone {
				continue
			}
			q.row = row
			switch q.judge(key) {
			case yes:
				found.Add(row.UID)
			case unknown:
				open.Add(row.UID)
			}
		}
	}
	if len(open) > 0 {
		if err := q.ask(ctx, key, &open, &found); err != nil {
			return nil, err
		}
		if err := q.read(ctx, key, open, &found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// read asks the stored records, and the messages, of those that the columns left open.
func (q *query) read(ctx context.Context, key *imap.SearchKey, open imap.UIDSet, found *imap.UIDSet) error {
	var matched imap.UIDSet
	for r, err := range q.mailbox.snapshot.Records(ctx, open, mailstore.WantEnvelope|mailstore.WantStructure) {
		if err != nil {
			return answer(err)
		}
		if r.Missing {
			continue
		}
		q.row, q.record = r.Row, r
		q.locate()
		t := q.judge(key)
		if t == unknown {
			if t, err = q.judgeWhole(ctx, key); err != nil {
				return err
			}
		}
		q.record = nil
		if t == yes {
			matched.Add(r.UID)
			q.rate()
		}
	}
	found.AddSet(matched)
	return nil
}

// judgeWhole decides with the message open.
func (q *query) judgeWhole(ctx context.Context, key *imap.SearchKey) (truth, error) {
	body, err := q.mailbox.account.Open(ctx, q.record.Body)
	if err != nil {
		return no, err
	}
	defer body.Close()
	q.body = body
	t := q.judge(key)
	q.body, q.parsed, q.header = nil, nil, nil
	if q.err != nil {
		return no, q.err
	}
	return t, nil
}

// result puts found UIDs as the server wants them.
func (m *selected) result(found imap.UIDSet, modSeq bool) *imapserver.SearchData {
	d := &imapserver.SearchData{UIDs: found}
	first := true
	for uid := range found.All() {
		i, _ := m.snapshot.Index(uid)
		d.Seqs.Add(uint32(i + 1))
		if !modSeq {
			continue
		}
		n := m.snapshot.Row(i).ModSeq
		if first {
			d.MinModSeq, first = n, false
		}
		d.MaxModSeq = n
		d.ModSeq = max(d.ModSeq, n)
	}
	return d
}

// query is one SEARCH under way.
type query struct {
	session *Session
	mailbox *selected
	now     time.Time
	sets    map[*imap.SearchKey]imap.UIDSet // SearchNumbers, resolved to UIDs
	flags   map[*imap.SearchKey]mailstore.Flags
	needles map[*imap.SearchKey]*needle
	index   indexed
	ids     map[*imap.SearchKey]mailstore.MessageID

	row    mailstore.Row
	record *mailstore.Record // nil: not read
	body   blob.Reader       // nil: not opened
	messageText
	err error // of reading body
}

// newQuery prepares what each key compares with.
func newQuery(s *Session, m *selected, key *imap.SearchKey, now time.Time) *query {
	q := &query{session: s, mailbox: m, now: now, sets: map[*imap.SearchKey]imap.UIDSet{}, flags: map[*imap.SearchKey]mailstore.Flags{},
		needles: map[*imap.SearchKey]*needle{}, ids: map[*imap.SearchKey]mailstore.MessageID{}}
	key.Walk(func(k *imap.SearchKey) {
		switch k.Op {
		case imap.SearchNumbers:
			q.sets[k] = m.uids(k.Set)
		case imap.SearchFlag:
			q.flags[k] = m.flagBit(k.Flag)
		case imap.SearchEmailID:
			q.ids[k], _ = mailstore.ParseObjectID('M', k.Text) // 0, which no message has, for what is none
		case imap.SearchThreadID:
			q.ids[k], _ = mailstore.ParseObjectID('T', k.Text)
		case imap.SearchFrom, imap.SearchTo, imap.SearchCc, imap.SearchBcc, imap.SearchSubject,
			imap.SearchHeader, imap.SearchBody, imap.SearchText:
			q.needles[k] = newNeedle(k.Text)
		}
	})
	q.index.add(key, false)
	return q
}

// flagBit is the bit of a flag in this mailbox, 0 for one that no message has.
func (m *selected) flagBit(f imap.Flag) mailstore.Flags {
	system, keywords := mailstore.ParseFlags([]imap.Flag{f})
	if len(keywords) == 0 {
		return system
	}
	for i, k := range m.snapshot.Keywords() {
		if imap.EqualFold(k, keywords[0]) {
			return mailstore.Keyword(i)
		}
	}
	return 0
}

// judge tells what is known of a key for the message at hand.
func (q *query) judge(k *imap.SearchKey) truth {
	switch k.Op {
	case imap.SearchAnd:
		return q.all(k.Keys)
	case imap.SearchOr:
		return q.either(&k.Keys[0], &k.Keys[1])
	case imap.SearchNot:
		return not(q.judge(&k.Keys[0]))
	case imap.SearchFuzzy:
		return q.judge(&k.Keys[0])
	case imap.SearchNumbers:
		return truthOf(q.sets[k].Contains(q.row.UID))
	case imap.SearchFlag:
		return truthOf(q.row.Flags&q.flags[k] != 0)
	case imap.SearchLarger:
		return truthOf(uint64(q.row.Size) > k.Number)
	case imap.SearchSmaller:
		return truthOf(uint64(q.row.Size) < k.Number)
	case imap.SearchModSeq:
		return truthOf(q.row.ModSeq >= k.Number)
	case imap.SearchEmailID:
		return truthOf(q.ids[k] != 0 && q.row.ID == q.ids[k])
	case imap.SearchSaveDate:
		return yes
	case imap.SearchOlder:
		return truthOf(q.now.Unix()-q.row.InternalDate >= int64(k.Number)) // RFC 5032, 3
	case imap.SearchYounger:
		return truthOf(q.now.Unix()-q.row.InternalDate <= int64(k.Number))
	case imap.SearchBefore, imap.SearchOn, imap.SearchSince:
		return onDay(q.row.InternalDate, k.Date, k.Op, imap.SearchBefore)
	case imap.SearchSavedBefore, imap.SearchSavedOn, imap.SearchSavedSince:
		return onDay(q.row.SaveDate, k.Date, k.Op, imap.SearchSavedBefore)
	}
	if t := q.judgeIndex(k); t != unknown {
		return t
	}
	if q.record == nil {
		return unknown
	}
	return q.judgeRecord(k)
}

// all is the conjunction of keys; one that is false decides.
func (q *query) all(keys []imap.SearchKey) truth {
	t := yes
	for i := range keys {
		switch q.judge(&keys[i]) {
		case no:
			return no
		case unknown:
			t = unknown
		}
	}
	return t
}

// either is the disjunction of two keys; one that is true decides.
func (q *query) either(a, b *imap.SearchKey) truth {
	t := q.judge(a)
	if t == yes {
		return yes
	}
	if u := q.judge(b); u != no {
		return u
	}
	return t
}

func not(t truth) truth {
	switch t {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

// onDay compares seconds since 1970 with a day, given as midnight UTC. first is the
// operator for "before"; "on" and "since" follow it.
func onDay(seconds int64, day time.Time, op, first imap.SearchOp) truth {
	start := day.Unix()
	switch op - first {
	case 0:
		return truthOf(seconds < start)
	case 1:
		return truthOf(seconds >= start && seconds < start+24*60*60)
	}
	return truthOf(seconds >= start)
}
