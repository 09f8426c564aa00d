package mailstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"postroad/internal/kv"
)

// historyMax is how many messages and UIDs of a stretch of the log are looked at: with more
// it is better to read all anew.
const historyMax = 500_000

// history is a stretch of the change log as one reader sees it: what became of messages,
// threads and mailboxes after a moment.
type history struct {
	e    *Emails
	snap kv.Snapshot
	from uint64 // what is told comes after this mod-sequence

	records  []*change
	vanished map[Location]MessageID
	left     map[MessageID][2]ThreadID // threads of messages that went: own and joined
	joined   map[ThreadID]joining      // by the thread that joined another
	untold   bool                      // messages came or went that no record tells of
	trash    uint64                    // when another mailbox became Trash last
	size     int

	lastMail, lastJoined uint64 // the last change of messages, join of threads
	mailboxes            map[MailboxID]*mailboxHistory
	messages             map[MessageID]*messageHistory
}

// joining is a thread that joined another one.
type joining struct {
	modseq uint64
	to     ThreadID
}

// mailboxHistory is what became of a mailbox.
type mailboxHistory struct {
	told    []happening // it was made, or went away
	changed uint64      // its own last change
	last    uint64      // that, or the last of what is in it or in threads with that
}

// messageHistory is what became of a message.
type messageHistory struct {
	entries []happening // entries that came and went
	last    uint64      // its last change, whatever it was
	own     ThreadID    // its thread, before that joined another
}

// happening is how many came, or went if below 0, in one commit.
type happening struct {
	modseq uint64
	n      int
}

// history calls f with what happened after a mod-sequence up to the moment of e.
// ErrNoChanges.
func (e *Emails) history(ctx context.Context, from uint64, f func(*history) error) error {
	if from > uint64(e.version) {
		return ErrNoChanges
	}
	snap, err := e.account.snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.Close()
	h := &history{e: e, snap: snap, from: from, vanished: map[Location]MessageID{}, left: map[MessageID][2]ThreadID{},
		joined: map[ThreadID]joining{}, mailboxes: map[MailboxID]*mailboxHistory{}, messages: map[MessageID]*messageHistory{}}
	complete, err := readChanges(snap, from, func(c *change) bool {
		// What is told of threads is needed of later ones too: they are read as they are now.
		if c.modseq <= uint64(e.version) || c.kind == changeJoined || c.kind == changeLeft {
			h.take(c)
		}
		return h.size <= historyMax
	})
	if err != nil {
		return err
	}
	if !complete || h.size > historyMax {
		return ErrNoChanges
	}
	if err := h.resolve(); err != nil {
		return err
	}
	return f(h)
}

// concerns tells whether the reader sees what is in a mailbox. Of mailboxes that are gone
// only the owner's record is looked at: for others the scope tells that they are.
func (e *Emails) concerns(mailbox MailboxID) bool {
	if e.sight.owner {
		return mailbox&recoverableBit == 0
	}
	_, readable := e.number[mailbox]
	return readable
}

// looksUp tells whether the reader sees a mailbox.
func (e *Emails) looksUp(mailbox MailboxID) bool {
	return e.sight.owner && mailbox&recoverableBit == 0 ||
		slices.ContainsFunc(e.sight.all, func(v Visible) bool { return v.ID == mailbox })
}

// take takes a record in.
func (h *history) take(c *change) {
	switch c.kind {
	case changeJoined:
		h.joined[c.ids[0]] = joining{c.modseq, c.ids[1]}
		if h.size++; c.modseq <= uint64(h.e.version) {
			h.lastJoined, h.lastMail = c.modseq, c.modseq
		}
		return
	case changeLeft:
		for i, id := range c.ids {
			h.left[id] = c.threads[i]
		}
		return
	case changeMailbox:
		h.takeMailbox(c)
		return
	case changeSeen:
		if c.reader != h.e.reader || h.e.sight.owner {
			return
		}
	}
	if !h.e.concerns(c.mailbox) {
		return
	}
	h.size += int(c.uids.Count())
	h.records = append(h.records, c)
	if c.kind == changeVanished {
		i := 0
		for uid := range c.uids.All() {
			if i < len(c.ids) {
				h.vanished[Location{c.mailbox, uid}] = c.ids[i]
			}
			i++
		}
	}
}

func (h *history) takeMailbox(c *change) {
	if c.what == mailboxTrash {
		h.trash = c.modseq
	}
	if !h.e.looksUp(c.mailbox) {
		return
	}
	m := h.mailbox(c.mailbox)
	switch c.what {
	case mailboxMade:
		m.told = append(m.told, happening{c.modseq, 1})
	case mailboxGone:
		m.told = append(m.told, happening{c.modseq, -1})
	case mailboxUntold:
		h.untold, h.lastMail, h.lastJoined = true, c.modseq, c.modseq
	}
	m.changed, m.last = c.modseq, c.modseq
	h.size++
}

func (h *history) mailbox(id MailboxID) *mailboxHistory {
	m := h.mailboxes[id]
	if m == nil {
		m = &mailboxHistory{}
		h.mailboxes[id] = m
	}
	return m
}

func (h *history) message(id MessageID) *messageHistory {
	m := h.messages[id]
	if m == nil {
		m = &messageHistory{}
		h.messages[id] = m
	}
	return m
}

// resolve finds out which messages the records mean.
func (h *history) resolve() error {
	for _, c := range h.records {
		if h.aside(c) {
			continue
		}
		h.lastMail = max(h.lastMail, c.modseq)
		s := h.e.Snapshot(c.mailbox)
		n := 0
		switch c.kind {
		case changeAppended, changeCopied:
			n = 1
		case changeVanished:
			n = -1
		}
		for uid := range c.uids.All() {
			id, there := h.at(s, c.mailbox, uid)
			if !there {
				if h.untold {
					continue
				}
				return ErrNoChanges
			}
			m := h.message(id)
			m.last = c.modseq
			if n != 0 {
				m.entries = append(m.entries, happening{c.modseq, n})
			}
		}
		b := h.mailbox(c.mailbox)
		b.last = max(b.last, c.modseq)
	}
	h.records = nil
	for id, m := range h.messages {
		var err error
		if m.own, err = h.own(id); err != nil {
			return err
		}
	}
	return h.joins()
}

// aside tells whether a record is of a mailbox while it was deleted, and could be brought
// back.
func (h *history) aside(c *change) bool {
	now := h.e.seesMailbox(c.mailbox)
	m := h.mailboxes[c.mailbox]
	if m == nil {
		return !now
	}
	return !m.there(now, c.modseq) && !m.there(now, c.modseq-1)
}

// at finds the message of a UID, in the mailbox or among those that vanished from it.
func (h *history) at(s *Snapshot, mailbox MailboxID, uid uint32) (MessageID, bool) {
	if s != nil {
		if i, found := s.Index(uid); found {
			return s.Row(i).ID, true
		}
	}
	id, there := h.vanished[Location{mailbox, uid}]
	return id, there
}

// own finds the thread of a message, before it joined another one.
func (h *history) own(id MessageID) (ThreadID, error) {
	if p, there := h.e.Find(id); there && h.e.bits(uint32(p))&bitJoined == 0 {
		return h.e.Thread(p), nil
	}
	if t, left := h.left[id]; left {
		return t[0], nil
	}
	v, found, err := get(h.snap, key(keyList, id))
	if err != nil {
		return 0, err
	}
	if !found {
		return id, nil // swept, of a time when threads of what goes were not told
	}
	var r Record
	_, _, err = r.readList(v)
	return r.Thread, err
}

// joins adds the messages of threads that joined others.
func (h *history) joins() error {
	met := map[ThreadID]bool{}
	for id := range h.joined {
		root, err := h.root(id, uint64(h.e.version))
		if err != nil {
			return err
		}
		if met[root] {
			continue
		}
		met[root] = true
		for _, p := range h.e.ThreadMembers(root) {
			if h.e.bits(uint32(p))&bitJoined == 0 {
				continue
			}
			own, err := h.own(h.e.Message(p))
			if err != nil {
				return err
			}
			at, err := h.joinsOf(own)
			if err != nil {
				return err
			}
			if len(at) > 0 {
				m := h.message(h.e.Message(p))
				m.own, m.last = own, max(m.last, slices.Max(at))
			}
		}
	}
	return nil
}

// next is the thread that one joined up to a mod-sequence.
func (h *history) next(id ThreadID, at uint64) (ThreadID, uint64, error) {
	if j, here := h.joined[id]; here {
		if j.modseq > at {
			return 0, 0, nil
		}
		return j.to, j.modseq, nil
	}
	v, found, err := get(h.snap, key(keyJoined, id))
	if err != nil || !found {
		return 0, 0, err
	}
	r := newReader(v)
	to := r.id()
	if r.bad || to >= id {
		return 0, 0, fmt.Errorf("%w: thread that joined %s", ErrDamaged, id)
	}
	return to, 0, nil
}

// root is the conversation that a thread belonged to at a mod-sequence.
func (h *history) root(id ThreadID, at uint64) (ThreadID, error) {
	for range familyMax {
		to, _, err := h.next(id, at)
		if err != nil || to == 0 {
			return id, err
		}
		id = to
	}
	return id, nil
}

// joinsOf are the mod-sequences at which the conversation of a thread joined another one.
func (h *history) joinsOf(id ThreadID) (all []uint64, err error) {
	for range familyMax {
		to, at, err := h.next(id, uint64(h.e.version))
		if err != nil || to == 0 {
			return all, err
		}
		if id = to; at > 0 {
			all = append(all, at)
		}
	}
	return all, nil
}

// rootOf is the conversation of a message at a mod-sequence.
func (h *history) rootOf(id MessageID, m *messageHistory, at uint64) (ThreadID, error) {
	root, err := h.root(m.own, at)
	if t, left := h.left[id]; left && root == m.own && t[1] != t[0] {
		if _, here := h.joined[m.own]; !here {
			root = t[1] // the keys of the threads have gone with them
		}
	}
	return root, err
}

// entries is how many entries of a message the reader saw at a mod-sequence.
func (h *history) entries(id MessageID, m *messageHistory, at uint64) int {
	n := 0
	if p, there := h.e.Find(id); there {
		for range h.e.entries(uint32(p)) {
			n++
		}
	}
	for _, x := range m.entries {
		if x.modseq > at {
			n -= x.n
		}
	}
	return n
}

// turns are the mod-sequences at which a message came into the reader's sight or went.
func (h *history) turns(id MessageID, m *messageHistory) []uint64 {
	list := slices.Clone(m.entries)
	slices.SortStableFunc(list, func(a, b happening) int { return cmp.Compare(a.modseq, b.modseq) })
	n := h.entries(id, m, h.from)
	var turns []uint64
	for i := 0; i < len(list); {
		was, at := n, list[i].modseq
		for ; i < len(list) && list[i].modseq == at; i++ {
			n += list[i].n
		}
		if (was > 0) != (n > 0) {
			turns = append(turns, at)
		}
	}
	return turns
}
