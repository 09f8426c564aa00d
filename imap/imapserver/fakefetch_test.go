package imapserver

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"postroad/imap"
	"postroad/message"
)

func (s *fakeSession) Fetch(_ context.Context, w *FetchWriter, set imap.NumSet, o FetchOptions) error {
	defer s.lock()()
	if o.Vanished {
		s.vanished(w, set, o)
	}
	for _, i := range s.indices(set) {
		v := &s.view[i]
		n := v.message
		if n.modSeq <= o.ChangedSince || !slices.Contains(s.selected.messages, n) {
			continue
		}
		if o.SetSeen && !slices.Contains(n.flags, imap.FlagSeen) {
			n.flags = append(n.flags, imap.FlagSeen)
			s.store.modSeq++
			n.modSeq, v.modSeq = s.store.modSeq, s.store.modSeq
			o.Flags = true
		}
		w.Begin(uint32(i+1), n.uid)
		n.items(w, o)
		for _, sec := range o.Sections {
			if err := n.section(w, sec); err != nil {
				return err
			}
		}
		if err := w.End(); err != nil {
			return err
		}
	}
	return nil
}

// vanished remembers every expunge there ever was.
func (s *fakeSession) vanished(w *FetchWriter, set imap.NumSet, o FetchOptions) {
	uids := set.Resolve(s.selected.uidNext - 1)
	var gone imap.UIDSet
	for _, g := range s.selected.gone {
		if g.modSeq > o.ChangedSince && uids.Contains(g.uid) {
			gone.Add(g.uid)
		}
	}
	w.Vanished(gone)
}

func (n *fakeMessage) items(w *FetchWriter, o FetchOptions) {
	if o.Flags {
		w.Flags(n.flags)
	}
	if o.InternalDate {
		w.InternalDate(n.date)
	}
	if o.Size {
		w.Size(int64(len(n.body)))
	}
	if o.Envelope {
		w.Envelope(imap.AppendEnvelope(nil, n.parsed))
	}
	if o.Body {
		w.Body(imap.AppendBodyStructure(nil, n.parsed.Root, false))
	}
	if o.BodyStructure {
		w.BodyStructure(imap.AppendBodyStructure(nil, n.parsed.Root, true))
	}
	if o.ModSeq {
		w.ModSeq(n.modSeq)
	}
	if o.SaveDate {
		w.SaveDate(n.saved)
	}
	if o.EmailID {
		w.EmailID(n.id)
	}
	if o.ThreadID {
		w.ThreadID("")
	}
}

func (n *fakeMessage) section(w *FetchWriter, s *imap.Section) error {
	span, ok := s.ResolveIn(n.parsed)
	if !ok {
		w.SectionNil(s)
		return nil
	}
	b := n.body[span.Start:span.End]
	switch {
	case s.Item == imap.ItemBinary || s.Item == imap.ItemBinarySize:
		p := n.parsed.Part(s.Part...)
		encoding := p.Encoding
		if len(s.Part) == 0 {
			encoding = "binary"
		} else if encoding == "x-unknown" {
			return imap.No(imap.CodeUnknownCTE, "Unknown encoding")
		}
		decoded, err := io.ReadAll(message.NewDecoder(bytes.NewReader(b), encoding))
		if err != nil {
			return err
		}
		if s.Item == imap.ItemBinarySize {
			w.BinarySize(s, int64(len(decoded)))
			return nil
		}
		return w.Binary(s, bytes.NewReader(decoded), int64(len(decoded)))
	case s.Specifier == imap.HeaderFields || s.Specifier == imap.HeaderFieldsNot:
		return w.SectionBytes(s, s.AppendFields(nil, b))
	}
	return w.Section(s, bytes.NewReader(n.body), span)
}

func (s *fakeSession) Search(_ context.Context, key *imap.SearchKey, o SearchOptions) (*SearchData, error) {
	defer s.lock()()
	d := &SearchData{}
	for i, v := range s.view {
		if !s.matches(key, i) {
			continue
		}
		d.Seqs.Add(uint32(i + 1))
		d.UIDs.Add(v.message.uid)
		d.ModSeq = max(d.ModSeq, v.message.modSeq)
		if d.MinModSeq == 0 {
			d.MinModSeq = v.message.modSeq
		}
		d.MaxModSeq = v.message.modSeq
	}
	return d, nil
}

func (s *fakeSession) matches(k *imap.SearchKey, i int) bool {
	n := s.view[i].message
	contains := func(text string) bool {
		return strings.Contains(strings.ToLower(text), strings.ToLower(k.Text))
	}
	addresses := func(l message.AddressList) bool {
		return contains(string(imap.AppendEnvelope(nil, &message.Message{From: l})))
	}
	switch k.Op {
	case imap.SearchAnd:
		for j := range k.Keys {
			if !s.matches(&k.Keys[j], i) {
				return false
			}
		}
		return true
	case imap.SearchOr:
		return s.matches(&k.Keys[0], i) || s.matches(&k.Keys[1], i)
	case imap.SearchNot:
		return !s.matches(&k.Keys[0], i)
	case imap.SearchFuzzy:
		return s.matches(&k.Keys[0], i)
	case imap.SearchNumbers:
		return slices.Contains(s.indices(k.Set), i)
	case imap.SearchFlag:
		return slices.Contains(n.flags, k.Flag)
	case imap.SearchFrom:
		return addresses(n.parsed.From)
	case imap.SearchTo:
		return addresses(n.parsed.To)
	case imap.SearchCc:
		return addresses(n.parsed.Cc)
	case imap.SearchBcc:
		return addresses(n.parsed.Bcc)
	case imap.SearchSubject:
		return contains(n.parsed.Subject)
	case imap.SearchHeader:
		for f := range message.Fields(n.body[:n.parsed.Root.Header.End]) {
			if f.Is(k.Field) && contains(f.Text()) {
				return true
			}
		}
		return false
	case imap.SearchBody:
		return contains(string(n.body[n.parsed.Root.Body.Start:]))
	case imap.SearchText:
		return contains(string(n.body))
	case imap.SearchSaveDate:
		return true
	case imap.SearchLarger:
		return uint64(len(n.body)) > k.Number
	case imap.SearchSmaller:
		return uint64(len(n.body)) < k.Number
	case imap.SearchModSeq:
		return n.modSeq >= k.Number
	case imap.SearchEmailID:
		return n.id == k.Text
	case imap.SearchThreadID:
		return false
	case imap.SearchOlder:
		return s.store.now.Sub(n.date) > time.Duration(k.Number)*time.Second
	case imap.SearchYounger:
		return s.store.now.Sub(n.date) <= time.Duration(k.Number)*time.Second
	}
	return matchesDay(k, n)
}

func matchesDay(k *imap.SearchKey, n *fakeMessage) bool {
	day := func(t time.Time) int {
		y, m, d := t.Date()
		return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Sub(k.Date).Hours() / 24)
	}
	switch k.Op {
	case imap.SearchBefore:
		return day(n.date) < 0
	case imap.SearchOn:
		return day(n.date) == 0
	case imap.SearchSince:
		return day(n.date) >= 0
	case imap.SearchSentBefore:
		return day(n.parsed.Date) < 0
	case imap.SearchSentOn:
		return day(n.parsed.Date) == 0
	case imap.SearchSentSince:
		return day(n.parsed.Date) >= 0
	case imap.SearchSavedBefore:
		return day(n.saved) < 0
	case imap.SearchSavedOn:
		return day(n.saved) == 0
	case imap.SearchSavedSince:
		return day(n.saved) >= 0
	}
	panic("a search key that the model does not know")
}
