package imapserver

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/message"
)

// fakeMore is what a store keeps for the extensions.
type fakeMore struct {
	sorted    []uint32          // what SORT answers, if not nil
	threads   []imap.ThreadNode // what THREAD answers, if not nil
	scores    []uint8           // relevancy of the messages found, if not nil
	noUpdate  string            // why SORT is not kept up to date
	acls      map[string][]imap.ACLEntry
	tied      *ListRightsData
	quotas    map[string]*imap.Quota
	metadata  map[string]map[string][]byte
	cancelled []string // tags, by CANCELUPDATE
}

func newFakeMore() fakeMore {
	return fakeMore{
		acls:     map[string][]imap.ACLEntry{},
		quotas:   map[string]*imap.Quota{},
		metadata: map[string]map[string][]byte{},
	}
}

// fullSession is a fakeSession that serves every extension.
type fullSession struct{ *fakeSession }

// fakeContext is a search result that is kept up to date.
type fakeContext struct {
	tag    string
	keys   []imap.SortKey // nil: a SEARCH
	key    *imap.SearchKey
	result []uint32 // UIDs
}

func (s *fullSession) SearchesFuzzily() bool { return true }

// find returns the places in the view of what a key finds.
func (s *fakeSession) found(key *imap.SearchKey) []int {
	var out []int
	for i := range s.view {
		if s.matches(key, i) {
			out = append(out, i)
		}
	}
	return out
}

// keep makes an update context. Sequence numbers of the key are those of now.
func (s *fakeSession) keep(tag string, keys []imap.SortKey, key *imap.SearchKey) {
	key.Walk(func(k *imap.SearchKey) {
		if k.Op == imap.SearchNumbers && !k.Set.UID {
			var uids imap.UIDSet
			for _, i := range s.indices(k.Set) {
				uids.Add(s.view[i].message.uid)
			}
			k.Set = imap.NumSetUID(uids)
		}
	})
	c := &fakeContext{tag: tag, keys: keys, key: key}
	c.result = s.contextResult(c)
	s.contexts = append(s.contexts, c)
}

// contextResult is the result now, of messages that are still there.
func (s *fakeSession) contextResult(c *fakeContext) []uint32 {
	var out []uint32
	for _, i := range s.ordered(c.keys, s.found(c.key)) {
		if slices.Contains(s.selected.messages, s.view[i].message) {
			out = append(out, s.view[i].message.uid)
		}
	}
	return out
}

// seqOf returns a message's sequence number in the view.
func (s *fakeSession) seqOf(uid uint32) uint32 {
	return uint32(1 + slices.IndexFunc(s.view, func(v fakeView) bool { return v.message.uid == uid }))
}

// contextsBefore tells what has left the results, before sequence numbers change.
func (s *fakeSession) contextsBefore(w *UpdateWriter) {
	for _, c := range s.contexts {
		now := s.contextResult(c)
		for i := 0; i < len(c.result); {
			uid := c.result[i]
			if slices.Contains(now, uid) {
				i++
				continue
			}
			w.ContextRemove(c.tag, c.position(i), s.seqOf(uid), uid)
			c.result = slices.Delete(c.result, i, i+1)
		}
	}
}

// contextsAfter tells what has come into the results.
func (s *fakeSession) contextsAfter(w *UpdateWriter) {
	for _, c := range s.contexts {
		now := s.contextResult(c)
		for i, uid := range now {
			if !slices.Contains(c.result, uid) {
				w.ContextAdd(c.tag, c.position(i), s.seqOf(uid), uid)
			}
		}
		c.result = now
	}
}

func (c *fakeContext) position(i int) uint32 {
	if c.keys == nil {
		return 0
	}
	return uint32(i + 1)
}

func (s *fullSession) Search(ctx context.Context, key *imap.SearchKey, o SearchOptions) (*SearchData, error) {
	d, err := s.fakeSession.Search(ctx, key, o)
	if err != nil {
		return nil, err
	}
	defer s.lock()()
	if o.Need&NeedRelevancy != 0 {
		d.Relevancy = s.scores(int(d.UIDs.Count()))
	}
	if o.Update != "" {
		s.keep(o.Update, nil, key)
	}
	if o.Need == NeedWindow {
		d.Cut, d.UIDs, d.Seqs = true, o.Window.CutSet(d.UIDs), imap.SeqSet(o.Window.CutSet(imap.UIDSet(d.Seqs)))
	}
	return d, nil
}

// scores makes up relevancy scores.
func (s *fakeSession) scores(n int) []uint8 {
	if s.store.scores != nil {
		return s.store.scores[:n]
	}
	out := make([]uint8, n)
	for i := range out {
		out[i] = uint8(1 + i*37%100)
	}
	return out
}

// ordered sorts places in the view.
func (s *fakeSession) ordered(keys []imap.SortKey, places []int) []int {
	slices.SortStableFunc(places, func(a, b int) int {
		for _, k := range keys {
			d := compareBy(k.By, s.view[a].message, s.view[b].message)
			if k.Reverse {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
	return places
}

func compareBy(by imap.SortBy, a, b *fakeMessage) int {
	first := func(l message.AddressList) string {
		return strings.ToUpper(string(imap.AppendEnvelope(nil, &message.Message{From: l})))
	}
	switch by {
	case imap.SortArrival:
		return a.date.Compare(b.date)
	case imap.SortDate:
		return a.sent().Compare(b.sent())
	case imap.SortSize:
		return cmp.Compare(len(a.body), len(b.body))
	case imap.SortSubject:
		return cmp.Compare(a.baseSubject(), b.baseSubject())
	case imap.SortFrom, imap.SortDisplayFrom:
		return cmp.Compare(first(a.parsed.From), first(b.parsed.From))
	case imap.SortTo, imap.SortDisplayTo:
		return cmp.Compare(first(a.parsed.To), first(b.parsed.To))
	case imap.SortCc:
		return cmp.Compare(first(a.parsed.Cc), first(b.parsed.Cc))
	case imap.SortRelevancy:
		return cmp.Compare(b.uid, a.uid)
	}
	panic("a sort key that the model does not know")
}

func (n *fakeMessage) sent() time.Time {
	if n.parsed.Date.IsZero() {
		return n.date
	}
	return n.parsed.Date
}

func (n *fakeMessage) baseSubject() string {
	return strings.TrimPrefix(strings.ToUpper(n.parsed.Subject), "RE: ")
}

func (s *fullSession) Sort(_ context.Context, keys []imap.SortKey, key *imap.SearchKey, o SearchOptions) (*SortData, error) {
	defer s.lock()()
	d := &SortData{}
	places := s.ordered(keys, s.found(key))
	for i, at := range places {
		n := s.view[at].message
		d.UIDs, d.Seqs = append(d.UIDs, n.uid), append(d.Seqs, uint32(at+1))
		d.ModSeq = max(d.ModSeq, n.modSeq)
		if i == 0 {
			d.FirstModSeq = n.modSeq
		}
		d.LastModSeq = n.modSeq
	}
	if s.store.sorted != nil {
		d.UIDs, d.Seqs = s.store.sorted, s.store.sorted
	}
	if o.Need&NeedRelevancy != 0 {
		d.Relevancy = s.scores(len(d.UIDs))
	}
	if o.Update != "" {
		if d.NoUpdate = s.store.noUpdate; d.NoUpdate == "" {
			s.keep(o.Update, keys, key)
		}
	}
	if o.Need == NeedWindow {
		from, to := o.Window.Cut(uint64(len(d.UIDs)))
		d.Cut, d.UIDs, d.Seqs = true, d.UIDs[from:to], d.Seqs[from:to]
	}
	return d, nil
}

// Thread puts messages of one base subject below the first of them.
func (s *fullSession) Thread(_ context.Context, algorithm imap.ThreadAlgorithm, key *imap.SearchKey, uid bool) ([]imap.ThreadNode, error) {
	defer s.lock()()
	if s.store.threads != nil {
		return s.store.threads, nil
	}
	var out []imap.ThreadNode
	first := 0
	subject := ""
	for i, at := range s.ordered([]imap.SortKey{{By: imap.SortSubject}, {By: imap.SortDate}}, s.found(key)) {
		n := s.view[at].message
		number := uint32(at + 1)
		if uid {
			number = n.uid
		}
		if i > 0 && n.baseSubject() == subject && algorithm == imap.ThreadOrderedSubject {
			out[first].Children++
		} else {
			first, subject = i, n.baseSubject()
		}
		out = append(out, imap.ThreadNode{Number: number})
	}
	return out, nil
}

func (s *fullSession) CancelUpdate(_ context.Context, tags []string) error {
	defer s.lock()()
	s.store.cancelled = append(s.store.cancelled, tags...)
	s.contexts = slices.DeleteFunc(s.contexts, func(c *fakeContext) bool { return slices.Contains(tags, c.tag) })
	return nil
}

// MultiSearch searches mailboxes in the order of their names.
func (s *fullSession) MultiSearch(ctx context.Context, w *MultiSearchWriter, sources []SearchSource, key *imap.SearchKey, o SearchOptions) error {
	unlock := s.lock()
	var chosen []*fakeMailbox
	for _, m := range s.store.mailboxes {
		if slices.Contains(m.attributes, imap.AttrNonExistent) {
			continue
		}
		for _, source := range sources {
			if s.names(source, m) {
				chosen = append(chosen, m)
				break
			}
		}
	}
	slices.SortFunc(chosen, func(a, b *fakeMailbox) int { return cmp.Compare(a.name, b.name) })
	unlock()
	for _, m := range chosen {
		if m.name == "forbidden" {
			return errors.New("a disk that fails")
		}
		one := &fullSession{&fakeSession{store: s.store}}
		if _, err := one.Select(ctx, m.name, SelectOptions{}); err != nil {
			return err
		}
		d, err := one.Search(ctx, key, o)
		if err != nil {
			return err
		}
		if err := w.Result(m.name, m.uidValidity, d); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeSession) names(source SearchSource, m *fakeMailbox) bool {
	switch source.Kind {
	case SourceSelected:
		return m == s.selected
	case SourceInboxes:
		return m.name == imap.Inbox
	case SourcePersonal:
		return true
	case SourceSubscribed:
		return m.subscribed
	}
	for _, name := range source.Mailboxes {
		rest, below := strings.CutPrefix(m.name, name+"/")
		switch {
		case m.name == name:
			return true
		case below && source.Kind == SourceSubtree, below && source.Kind == SourceSubtreeOne && !strings.Contains(rest, "/"):
			return true
		}
	}
	return false
}

func (s *fullSession) SetACL(_ context.Context, mailbox, identifier string, op imap.RightsOp, rights imap.Rights) error {
	defer s.lock()()
	if _, err := s.find(mailbox); err != nil {
		return err
	}
	acl := s.store.acls[mailbox]
	for i := range acl {
		if acl[i].Identifier == identifier {
			acl[i].Rights = acl[i].Rights.Change(op, rights)
			return nil
		}
	}
	s.store.acls[mailbox] = append(acl, imap.ACLEntry{Identifier: identifier, Rights: imap.RightsNone.Change(op, rights)})
	return nil
}

func (s *fullSession) DeleteACL(_ context.Context, mailbox, identifier string) error {
	defer s.lock()()
	s.store.acls[mailbox] = slices.DeleteFunc(s.store.acls[mailbox], func(e imap.ACLEntry) bool { return e.Identifier == identifier })
	return nil
}

func (s *fullSession) GetACL(_ context.Context, mailbox string) ([]imap.ACLEntry, error) {
	defer s.lock()()
	if _, err := s.find(mailbox); err != nil {
		return nil, err
	}
	return s.store.acls[mailbox], nil
}

func (s *fullSession) ListRights(_ context.Context, mailbox, identifier string) (*ListRightsData, error) {
	defer s.lock()()
	if _, err := s.find(mailbox); err != nil {
		return nil, err
	}
	if s.store.tied != nil {
		return s.store.tied, nil
	}
	if identifier == "fred" {
		return &ListRightsData{Required: imap.RightsAll}, nil
	}
	return &ListRightsData{Tied: []imap.Rights{imap.RightLookup, imap.RightRead, imap.RightDelete, imap.RightExpunge}}, nil
}

func (s *fullSession) MyRights(_ context.Context, mailbox string) (imap.Rights, error) {
	defer s.lock()()
	if _, err := s.find(mailbox); err != nil {
		return 0, err
	}
	for _, e := range s.store.acls[mailbox] {
		if e.Identifier == "fred" {
			return e.Rights, nil
		}
	}
	if mailbox == "work" {
		return 0, imap.No(imap.CodeNoPerm, "You may not know")
	}
	return imap.RightsAll, nil
}

func (s *fullSession) QuotaResources() []imap.QuotaResource {
	return []imap.QuotaResource{imap.QuotaStorage, imap.QuotaMessage}
}

func (s *fullSession) GetQuota(_ context.Context, root string) (*imap.Quota, error) {
	defer s.lock()()
	if q := s.store.quotas[root]; q != nil {
		return q, nil
	}
	return nil, imap.No(imap.CodeNonExistent, "No such quota root")
}

func (s *fullSession) GetQuotaRoot(context.Context, string) ([]imap.Quota, error) {
	defer s.lock()()
	var out []imap.Quota
	for _, q := range s.store.quotas {
		out = append(out, *q)
	}
	slices.SortFunc(out, func(a, b imap.Quota) int { return cmp.Compare(b.Root, a.Root) })
	return out, nil
}

func (s *fullSession) SetQuota(_ context.Context, root string, limits []imap.QuotaLimit) (*imap.Quota, error) {
	defer s.lock()()
	if strings.HasPrefix(root, "!") {
		return nil, imap.No(imap.CodeNoPerm, "Cannot change system limit")
	}
	old := s.store.quotas[root]
	q := &imap.Quota{Root: root}
	for _, l := range limits {
		u := imap.QuotaUsage{Resource: l.Resource, Limit: l.Limit}
		if old != nil {
			for _, r := range old.Resources {
				if r.Resource == l.Resource {
					u.Usage = r.Usage
				}
			}
		}
		q.Resources = append(q.Resources, u)
	}
	s.store.quotas[root] = q
	return q, nil
}

func (s *fullSession) GetMetadata(_ context.Context, mailbox string, o MetadataOptions) ([]imap.MetadataEntry, error) {
	defer s.lock()()
	if mailbox != "" {
		if _, err := s.find(mailbox); err != nil {
			return nil, err
		}
	}
	var out []imap.MetadataEntry
	for name, value := range s.store.metadata[mailbox] {
		if slices.ContainsFunc(o.Names, func(n string) bool { return imap.MetadataMatches(n, name, o.Depth) }) {
			out = append(out, imap.MetadataEntry{Name: name, Value: value})
		}
	}
	slices.SortFunc(out, func(a, b imap.MetadataEntry) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (s *fullSession) SetMetadata(_ context.Context, mailbox string, entries []imap.MetadataEntry) error {
	defer s.lock()()
	if mailbox != "" {
		if _, err := s.find(mailbox); err != nil {
			return err
		}
	}
	m := s.store.metadata[mailbox]
	if m == nil {
		m = map[string][]byte{}
		s.store.metadata[mailbox] = m
	}
	n := len(m)
	for _, e := range entries {
		if e.Name == imap.MetadataAdmin {
			return imap.No(imap.CodeNoPerm, "The entry is read-only")
		}
		if m[e.Name] == nil && e.Value != nil {
			n++
		}
	}
	if n > 10 {
		return imap.No(imap.CodeMetadataTooMany, "Too many entries")
	}
	for _, e := range entries {
		if m[e.Name] = e.Value; e.Value == nil {
			delete(m, e.Name)
		}
	}
	return nil
}

// answers does what a script says about the answers of extensions; false: it says nothing
// about them.
func (s *fakeStore) answers(t testing.TB, f []string) bool {
	numbers := func(words []string) []uint32 {
		out := []uint32{}
		for _, w := range words {
			n, err := strconv.ParseUint(w, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, uint32(n))
		}
		return out
	}
	switch f[0] {
	case "sorted":
		s.sorted = numbers(f[1:])
	case "scores":
		s.scores = nil
		for _, n := range numbers(f[1:]) {
			s.scores = append(s.scores, uint8(n))
		}
	case "threads":
		d := imap.NewDecoder([]byte(strings.Join(f[1:], " ")))
		if s.threads = d.ThreadList(); d.Err() != nil {
			t.Fatal(d.Err())
		}
	case "broken-threads":
		s.threads = []imap.ThreadNode{{Number: 1, Children: 5}}
	case "no-update":
		s.noUpdate = strings.Join(f[1:], " ")
	case "quota": // root resource usage limit …
		q := &imap.Quota{Root: f[1]}
		for i := 2; i+2 < len(f); i += 3 {
			n := numbers(f[i+1 : i+3])
			q.Resources = append(q.Resources, imap.QuotaUsage{Resource: imap.QuotaResource(f[i]), Usage: uint64(n[0]), Limit: uint64(n[1])})
		}
		s.quotas[f[1]] = q
	case "tied": // required tied…; "-" is none
		s.tied = &ListRightsData{}
		for i, w := range f[1:] {
			r, err := imap.ParseRights(strings.TrimPrefix(w, "-"))
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				s.tied.Required = r
			} else {
				s.tied.Tied = append(s.tied.Tied, r)
			}
		}
	default:
		return false
	}
	return true
}
