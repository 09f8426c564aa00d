package imapserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"postroad/imap"
	"postroad/message"
	"postroad/sasl"
)

// fakeStore is a plain model of an account's mailboxes. It keeps everything in memory and
// does the obvious thing, so that it can stand as an oracle.
type fakeStore struct {
	mu        sync.Mutex
	mailboxes map[string]*fakeMailbox
	modSeq    uint64
	watchers  map[*fakeSession]func()
	now       time.Time
	refuse    error // what Append answers before it reads anything
	panics    bool  // Namespace panics
	fakeMore
}

type fakeMailbox struct {
	name        string
	id          string
	uidValidity uint32
	uidNext     uint32
	messages    []*fakeMessage
	gone        []fakeGone
	attributes  []imap.MailboxAttr
	subscribed  bool
	noModSeq    bool
}

type fakeGone struct {
	uid    uint32
	modSeq uint64
}

type fakeMessage struct {
	uid    uint32
	flags  []imap.Flag
	date   time.Time
	saved  time.Time
	modSeq uint64
	id     string
	body   []byte
	parsed *message.Message
}

func newFakeStore() *fakeStore {
	s := &fakeStore{
		mailboxes: map[string]*fakeMailbox{},
		modSeq:    100,
		watchers:  map[*fakeSession]func(){},
		now:       time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC),
		fakeMore:  newFakeMore(),
	}
	s.create("INBOX")
	s.mailboxes["INBOX"].subscribed = true
	return s
}

func (s *fakeStore) create(name string) *fakeMailbox {
	m := &fakeMailbox{name: name, uidValidity: uint32(1000 + len(s.mailboxes)), uidNext: 1}
	m.id = fmt.Sprintf("M%d", m.uidValidity)
	s.mailboxes[name] = m
	return m
}

// add appends a message; the store is locked.
func (s *fakeStore) add(m *fakeMailbox, body []byte, flags []imap.Flag, date time.Time) *fakeMessage {
	parsed, err := message.Parse(bytes.NewReader(body), message.Limits{})
	if err != nil {
		panic(err)
	}
	s.modSeq++
	n := &fakeMessage{uid: m.uidNext, flags: flags, date: date, saved: s.now, modSeq: s.modSeq,
		id: fmt.Sprintf("E%d", s.modSeq), body: body, parsed: parsed}
	m.uidNext++
	m.messages = append(m.messages, n)
	return n
}

// expunge removes a message; the store is locked.
func (s *fakeStore) expunge(m *fakeMailbox, uid uint32) {
	s.modSeq++
	m.gone = append(m.gone, fakeGone{uid, s.modSeq})
	m.messages = slices.DeleteFunc(m.messages, func(n *fakeMessage) bool { return n.uid == uid })
}

func (s *fakeStore) notify() {
	for _, wake := range s.watchers {
		wake()
	}
}

// Password and Verifier make the store a sasl.Backend.
func (s *fakeStore) Password(_ context.Context, authzid, user, password string) (any, error) {
	switch {
	case user == "fred" && password == "secret" && (authzid == "" || authzid == user):
		return user, nil
	case user == "broken":
		return nil, errors.New("the directory does not answer")
	}
	return nil, sasl.ErrCredentials
}

func (s *fakeStore) Verifier(context.Context, string, string) (sasl.Verifier, error) {
	return sasl.Verifier{}, nil
}

// fakeSession is the Session over a fakeStore.
type fakeSession struct {
	store    *fakeStore
	selected *fakeMailbox
	view     []fakeView
	contexts []*fakeContext
	closed   bool
}

// fakeView is a message as the client knows it.
type fakeView struct {
	message *fakeMessage
	modSeq  uint64
}

func (s *fakeSession) Close() { s.closed = true }

func (s *fakeSession) SASL(b *sasl.Bindings) *sasl.Options {
	return &sasl.Options{Backend: s.store, Bindings: b}
}

func (s *fakeSession) Authenticated(_ context.Context, identity any) error {
	if identity != "fred" {
		return errors.New("unknown identity")
	}
	return nil
}

func (s *fakeSession) lock() func() { s.store.mu.Lock(); return s.store.mu.Unlock }

func (s *fakeSession) find(name string) (*fakeMailbox, error) {
	if m := s.store.mailboxes[name]; m != nil && !slices.Contains(m.attributes, imap.AttrNonExistent) {
		return m, nil
	}
	return nil, imap.No(imap.CodeNonExistent, "No such mailbox")
}

var fakeFlags = []imap.Flag{imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft}

func (s *fakeSession) Select(_ context.Context, mailbox string, o SelectOptions) (*SelectData, error) {
	defer s.lock()()
	m, err := s.find(mailbox)
	if err != nil {
		return nil, err
	}
	s.selected, s.view = m, nil
	d := &SelectData{Mailbox: m.name, Flags: fakeFlags, PermanentFlags: append(slices.Clone(fakeFlags), imap.FlagWildcard),
		Exists: uint32(len(m.messages)), UIDNext: m.uidNext, UIDValidity: m.uidValidity, MailboxID: m.id,
		Delimiter: '/', Attributes: m.attributes}
	if !m.noModSeq {
		d.HighestModSeq = s.store.modSeq
	}
	for i, n := range m.messages {
		s.view = append(s.view, fakeView{n, n.modSeq})
		if d.Unseen == 0 && !slices.Contains(n.flags, imap.FlagSeen) {
			d.Unseen = uint32(i + 1)
		}
	}
	return d, nil
}

func (s *fakeSession) Create(_ context.Context, mailbox string, o CreateOptions) (*CreateData, error) {
	defer s.lock()()
	if s.store.mailboxes[mailbox] != nil {
		return nil, imap.No(imap.CodeAlreadyExists, "The mailbox exists")
	}
	m := s.store.create(mailbox)
	m.attributes = o.SpecialUse
	return &CreateData{MailboxID: m.id}, nil
}

func (s *fakeSession) Delete(_ context.Context, mailbox string) error {
	defer s.lock()()
	m, err := s.find(mailbox)
	if err != nil {
		return err
	}
	if m.name == imap.Inbox {
		return imap.No(imap.CodeCannot, "INBOX stays")
	}
	if m.subscribed {
		m.attributes = []imap.MailboxAttr{imap.AttrNonExistent}
		return nil
	}
	delete(s.store.mailboxes, mailbox)
	return nil
}

func (s *fakeSession) Rename(_ context.Context, mailbox, newName string) error {
	defer s.lock()()
	m, err := s.find(mailbox)
	if err != nil {
		return err
	}
	if s.store.mailboxes[newName] != nil {
		return imap.No(imap.CodeAlreadyExists, "The mailbox exists")
	}
	delete(s.store.mailboxes, mailbox)
	m.name = newName
	s.store.mailboxes[newName] = m
	return nil
}

func (s *fakeSession) Subscribe(_ context.Context, mailbox string) error {
	defer s.lock()()
	m := s.store.mailboxes[mailbox]
	if m == nil {
		m = s.store.create(mailbox)
		m.attributes = []imap.MailboxAttr{imap.AttrNonExistent}
	}
	m.subscribed = true
	return nil
}

func (s *fakeSession) Unsubscribe(_ context.Context, mailbox string) error {
	defer s.lock()()
	if m := s.store.mailboxes[mailbox]; m != nil {
		m.subscribed = false
	}
	return nil
}

func (s *fakeSession) List(_ context.Context, w *ListWriter, _ ListOptions) error {
	defer s.lock()()
	for _, m := range s.store.mailboxes {
		w.Mailbox(MailboxInfo{Name: m.name, Delimiter: '/', Attributes: m.attributes, Subscribed: m.subscribed})
	}
	return nil
}

func (s *fakeSession) Namespace(context.Context) (*NamespaceData, error) {
	if s.store.panics {
		panic("a bug of the session")
	}
	return &NamespaceData{Personal: []Namespace{{"", '/'}}}, nil
}

func (s *fakeSession) Status(_ context.Context, mailbox string, _ imap.StatusItems) (*StatusData, error) {
	defer s.lock()()
	m, err := s.find(mailbox)
	if err != nil {
		return nil, err
	}
	d := &StatusData{Messages: uint32(len(m.messages)), UIDNext: m.uidNext, UIDValidity: m.uidValidity,
		HighestModSeq: s.store.modSeq, MailboxID: m.id}
	for _, n := range m.messages {
		d.Size += uint64(len(n.body))
		if !slices.Contains(n.flags, imap.FlagSeen) {
			d.Unseen++
		}
		if slices.Contains(n.flags, imap.FlagDeleted) {
			d.Deleted++
			d.DeletedStorage += uint64(len(n.body))
		}
	}
	return d, nil
}

func (s *fakeSession) Append(_ context.Context, mailbox string, r *AppendReader) (*AppendData, error) {
	unlock := s.lock()
	m, err := s.find(mailbox)
	if err == nil && s.store.refuse != nil {
		err = s.store.refuse
	}
	unlock()
	if err != nil {
		var e *imap.Error
		if errors.As(err, &e) && e.Code == imap.CodeNonExistent {
			err = imap.No(imap.CodeTryCreate, "No such mailbox")
		}
		return nil, err
	}
	type staged struct {
		m    *AppendMessage
		body []byte
	}
	var all []staged
	for {
		a, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(a)
		if err != nil {
			return nil, err
		}
		all = append(all, staged{a, body})
	}
	defer s.lock()()
	d := &AppendData{UIDValidity: m.uidValidity}
	for _, a := range all {
		date := a.m.Date
		if date.IsZero() {
			date = s.store.now
		}
		d.UIDs.Add(s.store.add(m, a.body, a.m.Flags, date).uid)
	}
	s.store.notify()
	return d, nil
}

func (s *fakeSession) Poll(_ context.Context, w *UpdateWriter, o PollOptions) error {
	defer s.lock()()
	s.poll(w, o.Expunge)
	return nil
}

func (s *fakeSession) poll(w *UpdateWriter, expunge bool) {
	m := s.selected
	s.contextsBefore(w)
	if expunge {
		for i := 0; i < len(s.view); {
			if n := s.view[i].message; !slices.Contains(m.messages, n) {
				w.Expunged(uint32(i+1), n.uid)
				s.view = slices.Delete(s.view, i, i+1)
				continue
			}
			i++
		}
	}
	known := uint32(0)
	if len(s.view) > 0 {
		known = s.view[len(s.view)-1].message.uid
	}
	had := len(s.view)
	for _, n := range m.messages {
		if n.uid > known {
			s.view = append(s.view, fakeView{n, n.modSeq})
		}
	}
	if len(s.view) > had {
		w.Exists(uint32(len(s.view)))
	}
	for i := range s.view {
		if v := &s.view[i]; v.message.modSeq > v.modSeq {
			v.modSeq = v.message.modSeq
			w.Flags(uint32(i+1), v.message.uid, v.modSeq, v.message.flags)
		}
	}
	s.contextsAfter(w)
}

func (s *fakeSession) Watch(wake func()) func() {
	defer s.lock()()
	s.store.watchers[s] = wake
	return func() {
		defer s.lock()()
		delete(s.store.watchers, s)
	}
}

func (s *fakeSession) Unselect(context.Context) error {
	s.selected, s.view, s.contexts = nil, nil, nil
	return nil
}

// indices returns the places in the view that a set names.
func (s *fakeSession) indices(set imap.NumSet) []int {
	var out []int
	if len(s.view) == 0 {
		return nil
	}
	if set.UID {
		uids := set.Resolve(s.view[len(s.view)-1].message.uid)
		for i, v := range s.view {
			if uids.Contains(v.message.uid) {
				out = append(out, i)
			}
		}
		return out
	}
	for n := range set.Resolve(uint32(len(s.view))).All() {
		out = append(out, int(n-1))
	}
	return out
}

func (s *fakeSession) Expunge(_ context.Context, w *UpdateWriter, uids *imap.NumSet) (uint64, error) {
	defer s.lock()()
	var set imap.UIDSet
	if uids != nil {
		set = uids.Resolve(s.selected.uidNext - 1)
	}
	removed := false
	for _, n := range slices.Clone(s.selected.messages) {
		if slices.Contains(n.flags, imap.FlagDeleted) && (uids == nil || set.Contains(n.uid)) {
			s.store.expunge(s.selected, n.uid)
			removed = true
		}
	}
	if w != nil {
		s.poll(w, true)
	}
	if !removed {
		return 0, nil
	}
	return s.store.modSeq, nil
}

func (s *fakeSession) Store(_ context.Context, w *UpdateWriter, set imap.NumSet, o StoreOptions) (*StoreData, error) {
	defer s.lock()()
	d := &StoreData{}
	for _, i := range s.indices(set) {
		v := &s.view[i]
		n := v.message
		if o.HasUnchangedSince && n.modSeq > o.UnchangedSince {
			if o.UID {
				d.Modified.Add(n.uid)
			} else {
				d.Modified.Add(uint32(i + 1))
			}
			continue
		}
		switch o.Op {
		case StoreReplace:
			n.flags = slices.Clone(o.Flags)
		case StoreAdd:
			for _, f := range o.Flags {
				if !slices.Contains(n.flags, f) {
					n.flags = append(n.flags, f)
				}
			}
		case StoreRemove:
			n.flags = slices.DeleteFunc(slices.Clone(n.flags), func(f imap.Flag) bool { return slices.Contains(o.Flags, f) })
		}
		s.store.modSeq++
		n.modSeq = s.store.modSeq
		v.modSeq = n.modSeq
		w.Flags(uint32(i+1), n.uid, n.modSeq, n.flags)
	}
	s.store.notify()
	return d, nil
}

func (s *fakeSession) Copy(_ context.Context, set imap.NumSet, mailbox string) (*CopyData, error) {
	defer s.lock()()
	return s.copy(set, mailbox)
}

func (s *fakeSession) copy(set imap.NumSet, mailbox string) (*CopyData, error) {
	m, err := s.find(mailbox)
	if err != nil {
		return nil, imap.No(imap.CodeTryCreate, "No such mailbox")
	}
	d := &CopyData{UIDValidity: m.uidValidity}
	for _, i := range s.indices(set) {
		n := s.view[i].message
		d.Source.Add(n.uid)
		d.Dest.Add(s.store.add(m, n.body, slices.Clone(n.flags), n.date).uid)
	}
	s.store.notify()
	return d, nil
}

func (s *fakeSession) Move(_ context.Context, w *UpdateWriter, set imap.NumSet, mailbox string) error {
	defer s.lock()()
	d, err := s.copy(set, mailbox)
	if err != nil {
		return err
	}
	w.Copied(d)
	for uid := range d.Source.All() {
		s.store.expunge(s.selected, uid)
	}
	s.poll(w, true)
	return nil
}
