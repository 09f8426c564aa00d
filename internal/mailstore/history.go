package mailstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// What changed is told from the change log and what is there now. A message, thread or
// mailbox is told once, at the place of its last change, so that a reader who takes the
// changes in steps is told of each once, unless it changes meanwhile. What he knows of it is
// how it was when the steps began, or at the end of some step since, if he was told of it
// then: so it is told as updated only if it was there all that time, and as destroyed if it
// was there at any time.

// ErrNoChanges says that it cannot be told what changed since a state: the log does not
// reach back so far, or the reader sees something else since. He reads all anew.
var ErrNoChanges = errors.New("mailstore: the changes since that state are not known")

// Changes are those of messages, mailboxes or threads between two states. What came and
// went in between is left out.
type Changes[ID any] struct {
	Created, Updated, Destroyed []ID
	State                       State // to ask from the next time
	More                        bool  // there are more behind State

	// CountsOnly tells, of mailboxes, that of those updated nothing but Counts changed
	// (RFC 8621, 2.2, updatedProperties).
	CountsOnly bool
}

// changed is something that changed, by the place of its last change.
type changed struct {
	modseq uint64
	id     uint64
}

func compareChanged(a, b changed) int {
	return cmp.Or(cmp.Compare(a.modseq, b.modseq), cmp.Compare(a.id, b.id))
}

// stepper takes the changes since a state in steps.
type stepper[ID any] struct {
	h      *history
	since  State
	origin uint64
	limit  int
	out    *Changes[ID]
}

// step calls tell for all that changed, in order, until the limit is met. Tell adds to the
// changes that it is given what is to be told of one.
func (s *stepper[ID]) step(all []changed, newest State, tell func(changed, *Changes[ID]) error) error {
	all = slices.DeleteFunc(all, func(c changed) bool {
		return c.modseq <= s.since.ModSeq || c.modseq == s.since.ModSeq+1 && c.id <= s.since.N
	})
	slices.SortFunc(all, compareChanged)
	s.out = &Changes[ID]{State: newest}
	told := -1 // the last one told
	for i, c := range all {
		var one Changes[ID]
		if err := tell(c, &one); err != nil {
			return err
		}
		n := len(one.Created) + len(one.Updated) + len(one.Destroyed)
		if s.limit > 0 && n > 0 && len(s.out.Created)+len(s.out.Updated)+len(s.out.Destroyed)+n > s.limit {
			if told < 0 {
				return ErrNoChanges // not even one can be told
			}
			s.cut(all[i-1], c)
			return nil
		}
		s.out.Created = append(s.out.Created, one.Created...)
		s.out.Updated = append(s.out.Updated, one.Updated...)
		s.out.Destroyed = append(s.out.Destroyed, one.Destroyed...)
		if n > 0 {
			told = i
		}
	}
	return nil
}

// cut ends a step between two changes.
func (s *stepper[ID]) cut(last, next changed) {
	at := State{ModSeq: last.modseq, Scope: s.since.Scope}
	if next.modseq == last.modseq {
		at.ModSeq, at.N = last.modseq-1, last.id
	}
	from := State{ModSeq: s.since.ModSeq, N: s.since.N}
	if s.since.Since != nil {
		from = State{ModSeq: s.since.Since.ModSeq, N: s.since.Since.N}
	}
	at.Since = &from
	s.out.More, s.out.State = true, at
}

// before is the mod-sequence of what the reader knew of something before this step, if he
// was told of it in one before.
func (s *stepper[ID]) before(id uint64) uint64 {
	if s.since.N > 0 && id <= s.since.N {
		return s.since.ModSeq + 1
	}
	return s.since.ModSeq
}

// spell tells whether something was there all of some time, and whether it was at all.
type spell struct{ always, once bool }

// spellOf asks for each of some moments.
func spellOf(moments []uint64, there func(at uint64) (bool, error)) (spell, error) {
	s := spell{always: true}
	for _, at := range moments {
		is, err := there(at)
		if err != nil {
			return s, err
		}
		s.always, s.once = s.always && is, s.once || is
	}
	return s, nil
}

// moments are the origin of the steps and those up to this step at which something
// happened.
func (s *stepper[ID]) moments(id uint64, happened []happening) []uint64 {
	all := []uint64{s.origin}
	for _, x := range happened {
		if x.modseq > s.origin && x.modseq <= s.before(id) {
			all = append(all, x.modseq)
		}
	}
	return all
}

// tell sorts something in by when it was there up to this step, and whether it is now.
func (c *Changes[ID]) tell(id ID, was spell, now bool) {
	switch {
	case now && was.always:
		c.Updated = append(c.Updated, id)
	case now:
		c.Created = append(c.Created, id)
	case was.once:
		c.Destroyed = append(c.Destroyed, id)
	}
}

// walk finds out what changed since a state: f is given the history and adds what is to be
// told.
func walk[ID any](ctx context.Context, e *Emails, what string, since, newest State, limit int, f func(*stepper[ID]) error) (*Changes[ID], error) {
	if since.Scope != newest.Scope || since.ModSeq > uint64(e.version) {
		return nil, ErrNoChanges
	}
	if since.Since == nil && since.N == 0 && !newest.After(since) {
		return &Changes[ID]{State: newest}, nil
	}
	s := &stepper[ID]{since: since, origin: since.ModSeq, limit: limit}
	if since.Since != nil {
		s.origin = since.Since.ModSeq
	}
	err := e.history(ctx, s.origin, func(h *history) error {
		s.h = h
		return f(s)
	})
	if errors.Is(err, ErrNoChanges) {
		return nil, ErrNoChanges
	}
	return s.out, storageError("changes of "+what, err)
}

// EmailChanges returns what changed of the messages of e since a state, at most limit ids
// (0: all). ErrNoChanges. The work is that of what changed, not of what there is.
func (e *Emails) EmailChanges(ctx context.Context, since State, limit int) (*Changes[EmailID], error) {
	states, err := e.States(ctx)
	if err != nil {
		return nil, err
	}
	return walk(ctx, e, "messages", since, states.Emails, limit, func(s *stepper[EmailID]) error {
		if s.h.untold {
			return ErrNoChanges
		}
		var all []changed
		for id, m := range s.h.messages {
			all = append(all, changed{m.last, uint64(id)})
		}
		return s.step(all, states.Emails, func(c changed, out *Changes[EmailID]) error {
			return s.h.tellEmail(MessageID(c.id), s.moments(c.id, s.h.messages[MessageID(c.id)].entries), s.before(c.id), out)
		})
	})
}

// tellEmail tells of one message, under each of the ids that it had, which joins change.
func (h *history) tellEmail(id MessageID, moments []uint64, before uint64, out *Changes[EmailID]) error {
	m := h.messages[id]
	joins, err := h.joinsOf(m.own)
	if err != nil {
		return err
	}
	for _, at := range joins {
		if at > moments[0] && at <= before {
			moments = append(moments, at)
		}
	}
	name := func(at uint64) (EmailID, error) {
		root, err := h.rootOf(id, m, at)
		if root == m.own {
			root = 0
		}
		return EmailID{id, root}, err
	}
	var names []EmailID
	for _, at := range append(slices.Clone(moments), uint64(h.e.version)) {
		n, err := name(at)
		if err != nil {
			return err
		}
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, n := range names {
		there := func(at uint64) (bool, error) {
			is, err := name(at)
			return is == n && h.entries(id, m, at) > 0, err
		}
		was, err := spellOf(moments, there)
		if err != nil {
			return err
		}
		now, err := there(uint64(h.e.version))
		if err != nil {
			return err
		}
		out.tell(n, was, now)
	}
	return nil
}

// MailboxChanges is EmailChanges for mailboxes.
func (e *Emails) MailboxChanges(ctx context.Context, since State, limit int) (*Changes[MailboxID], error) {
	states, err := e.States(ctx)
	if err != nil {
		return nil, err
	}
	counts := true
	out, err := walk(ctx, e, "mailboxes", since, states.Mailboxes, limit, func(s *stepper[MailboxID]) error {
		if err := s.h.spread(); err != nil {
			return err
		}
		var all []changed
		for id, m := range s.h.mailboxes {
			all = append(all, changed{m.last, uint64(id)})
		}
		return s.step(all, states.Mailboxes, func(c changed, out *Changes[MailboxID]) error {
			id, m := MailboxID(c.id), s.h.mailboxes[MailboxID(c.id)]
			now := e.seesMailbox(id)
			was, _ := spellOf(s.moments(c.id, m.told), func(at uint64) (bool, error) { return m.there(now, at), nil })
			out.tell(id, was, now)
			counts = counts && (m.changed == 0 || len(out.Updated) == 0)
			return nil
		})
	})
	if out != nil {
		out.CountsOnly = counts && len(out.Updated) > 0
	}
	return out, err
}

// seesMailbox tells whether a mailbox is there for the reader.
func (e *Emails) seesMailbox(id MailboxID) bool {
	return slices.ContainsFunc(e.sight.all, func(v Visible) bool { return v.ID == id })
}

// there tells whether a mailbox was there at a mod-sequence.
func (m *mailboxHistory) there(now bool, at uint64) bool {
	n := 0
	if now {
		n = 1
	}
	for _, x := range m.told {
		if x.modseq > at {
			n -= x.n
		}
	}
	return n > 0
}

// spread marks the mailboxes whose counts change with a thread: all that its messages are
// in.
func (h *history) spread() error {
	if h.trash > 0 {
		for id := range h.e.number {
			m := h.mailbox(id)
			m.last = max(m.last, h.trash)
		}
	}
	threads := map[ThreadID]uint64{}
	for id, m := range h.messages {
		root, err := h.rootOf(id, m, uint64(h.e.version))
		if err != nil {
			return err
		}
		threads[root] = max(threads[root], m.last)
	}
	for _, j := range h.joined {
		if root, err := h.root(j.to, uint64(h.e.version)); err != nil {
			return err
		} else if j.modseq <= uint64(h.e.version) {
			threads[root] = max(threads[root], j.modseq)
		}
	}
	for id, last := range threads {
		for _, p := range h.e.ThreadMembers(id) {
			for at := range h.e.entries(uint32(p)) {
				m := h.mailbox(h.e.boxes[at.box].snapshot.mailbox)
				m.last = max(m.last, last)
			}
		}
	}
	return nil
}

// ThreadChanges is EmailChanges for threads.
func (e *Emails) ThreadChanges(ctx context.Context, since State, limit int) (*Changes[ThreadID], error) {
	states, err := e.States(ctx)
	if err != nil {
		return nil, err
	}
	return walk(ctx, e, "threads", since, states.Threads, limit, func(s *stepper[ThreadID]) error {
		if s.h.untold {
			return ErrNoChanges
		}
		threads, err := s.h.threads()
		if err != nil {
			return err
		}
		var all []changed
		for id, t := range threads {
			all = append(all, changed{t.last, uint64(id)})
		}
		return s.step(all, states.Threads, func(c changed, out *Changes[ThreadID]) error {
			id, t := ThreadID(c.id), threads[ThreadID(c.id)]
			now := len(e.ThreadMembers(id))
			was, err := t.spell(s.h, id, now, s.origin, s.before(c.id))
			out.tell(id, was, now > 0)
			return err
		})
	})
}

// threadHistory is what became of a thread.
type threadHistory struct {
	last   uint64
	moving map[MessageID]*messageHistory // messages that came, went, or changed threads
}

// threads finds the threads whose messages are others than before.
func (h *history) threads() (map[ThreadID]*threadHistory, error) {
	all := map[ThreadID]*threadHistory{}
	mark := func(root ThreadID, id MessageID, m *messageHistory, at uint64) {
		t := all[root]
		if t == nil {
			t = &threadHistory{moving: map[MessageID]*messageHistory{}}
			all[root] = t
		}
		t.last, t.moving[id] = max(t.last, at), m
	}
	for id, m := range h.messages {
		for _, at := range h.turns(id, m) {
			root, err := h.rootOf(id, m, at)
			if err != nil {
				return nil, err
			}
			mark(root, id, m, at)
		}
		for t := m.own; ; {
			to, at, err := h.next(t, uint64(h.e.version))
			if err != nil {
				return nil, err
			}
			if to == 0 {
				break
			}
			if at > 0 && h.entries(id, m, at) > 0 {
				mark(t, id, m, at)
				root, err := h.root(to, at)
				if err != nil {
					return nil, err
				}
				mark(root, id, m, at)
			}
			t = to
		}
	}
	// What moves between two threads moves in each thread that it has been in.
	for id, m := range h.messages {
		moments, err := h.moments(m)
		if err != nil {
			return nil, err
		}
		for _, at := range append(moments, h.from) {
			root, err := h.rootOf(id, m, at)
			if err != nil {
				return nil, err
			}
			if t := all[root]; t != nil {
				t.moving[id] = m
			}
		}
	}
	return all, nil
}

// moments are the mod-sequences at which something happened to a message that may have put
// it into a thread, or taken it out of one, and the last of all.
func (h *history) moments(m *messageHistory) ([]uint64, error) {
	all, err := h.joinsOf(m.own)
	for _, x := range m.entries {
		all = append(all, x.modseq)
	}
	all = append(all, uint64(h.e.version))
	slices.Sort(all)
	return slices.Compact(all), err
}

// spell tells when a thread, which has so many messages now, had any from the origin up to
// this step.
func (t *threadHistory) spell(h *history, id ThreadID, now int, origin, before uint64) (spell, error) {
	var all []happening // messages that came or went, after the origin
	n := now
	for message, m := range t.moving {
		moments, err := h.moments(m)
		if err != nil {
			return spell{}, err
		}
		is := false
		for i, at := range append([]uint64{origin}, moments...) {
			root, err := h.rootOf(message, m, at)
			if err != nil {
				return spell{}, err
			}
			was := is
			if is = root == id && h.entries(message, m, at) > 0; i == 0 || at <= origin || is == was {
				continue
			}
			x := happening{at, 1}
			if was {
				x.n = -1
			}
			n -= x.n
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b happening) int { return cmp.Compare(a.modseq, b.modseq) })
	s := spell{always: n > 0, once: n > 0}
	for i := 0; i < len(all) && all[i].modseq <= before; {
		at := all[i].modseq
		for ; i < len(all) && all[i].modseq == at; i++ {
			n += all[i].n
		}
		s.always, s.once = s.always && n > 0, s.once || n > 0
	}
	return s, nil
}
