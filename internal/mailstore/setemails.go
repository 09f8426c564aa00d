package mailstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"postroad/imap"
	"postroad/internal/mailflow"
)

// EmailChange is what SetEmails does to one message, as a whole: in all the mailboxes that
// the reader may read, in one commit.
type EmailChange struct {
	ID MessageID

	// Destroy removes the message from every mailbox; the rest is not looked at.
	Destroy bool

	// Mailboxes are those in which the message is to be, when SetMailboxes is set. Add and
	// Remove change them one by one. A message that goes from one mailbox to another is
	// moved, as MOVE does, with its flags; one that comes to a further one is copied; one
	// that leaves a mailbox is expunged from there, and can be brought back as after EXPUNGE.
	// A message in no mailbox at all is an error: ErrNoMailbox.
	SetMailboxes bool
	Mailboxes    []MailboxID
	Add, Remove  []MailboxID

	// Keywords are those that it is to have, when SetKeywords is set: all others are taken
	// away, but for \Deleted. AddKeywords and RemoveKeywords change them one by one. System
	// flags are keywords here, as "$seen" or "\\Seen". They are set in each mailbox.
	SetKeywords                 bool
	Keywords                    []string
	AddKeywords, RemoveKeywords []string

	// Touch is a mailbox where the message changes although nothing that is kept here does:
	// something hangs on it there that is kept elsewhere. If it stays in that mailbox,
	// Options.Passing is asked with that as From and as To, and clients are told of the
	// message as of one with other flags. 0: none.
	Touch MailboxID
}

// SetEmails changes messages for a reader; the rights to do so are the caller's matter. Each
// message is changed as a whole or not at all, several in one commit where they fit. The
// result has an error for each change, nil for those that are done: ErrNoMessage,
// ErrNoMailbox, ErrOverQuota, ErrLimit and ErrTooLarge (of keywords). No message may be
// named twice: ErrExists for the later ones. In another one's account \Seen is the reader's
// own.
func (a *Account) SetEmails(ctx context.Context, r Reader, changes []EmailChange) []error {
	errs := make([]error, len(changes))
	e, err := a.Emails(ctx, r)
	if err != nil {
		fillErrors(errs, nil, err)
		return errs
	}
	order := setOrder(e, changes, errs)
	tries := 0
	for most := len(order); len(order) > 0; {
		n := min(most, len(order))
		done, err := a.setSome(ctx, r, changes, order[:n], errs)
		switch {
		case err == nil:
			order, tries = order[done:], 0
		case errors.Is(err, errAgain) && tries < emailsTries:
			tries++
			continue
		case splits(err) && n > 1:
			most = n / 2 // finds the one that does not fit, if it is one
			continue
		case splits(err):
			errs[order[0]] = err
			order = order[1:]
		default:
			fillErrors(errs, order, err)
			return errs
		}
		if most < n*2 {
			most = n * 2
		}
	}
	return errs
}

// splits tells whether an error may be that of some of several messages.
func splits(err error) bool {
	return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrOverQuota) || errors.Is(err, ErrLimit)
}

// fillErrors gives an error to changes, nil: to all.
func fillErrors(errs []error, of []int, err error) {
	if of == nil {
		for i := range errs {
			errs[i] = err
		}
	}
	for _, i := range of {
		errs[i] = err
	}
}

// setOrder is the order in which changes are made: messages that lie beside each other
// share what a commit writes.
func setOrder(e *Emails, changes []EmailChange, errs []error) []int {
	order := make([]int, 0, len(changes))
	named := make(map[MessageID]bool, len(changes))
	at := make([]Location, len(changes))
	for i := range changes {
		if named[changes[i].ID] {
			errs[i] = fmt.Errorf("message %s: named twice: %w", changes[i].ID, ErrExists)
			continue
		}
		named[changes[i].ID] = true
		if p, found := e.Find(changes[i].ID); found {
			g, k := e.at(uint32(p))
			at[i] = Location{e.boxes[g.box[k]].snapshot.mailbox, g.uid[k]}
		}
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(at[a].Mailbox, at[b].Mailbox), cmp.Compare(at[a].UID, at[b].UID))
	})
	return order
}

// setSome makes as many of the changes as fit into a commit, in order, and returns how many
// that were; what went wrong with single ones is in errs.
func (a *Account) setSome(ctx context.Context, r Reader, changes []EmailChange, order []int, errs []error) (done int, err error) {
	var s *setting
	var own []error
	err = a.commit(ctx, "change messages", func(ctx context.Context, u *mailflow.Unit) (err error) {
		own = own[:0]
		if s, err = a.beginSet(ctx, u, r); err != nil {
			return err
		}
		defer s.close()
		for done = 0; done < len(order) && !s.full(); done++ {
			own = append(own, s.change(&changes[order[done]]))
		}
		for _, err := range own {
			if err != nil && !alone(err) {
				return err
			}
		}
		return s.write()
	})
	if err != nil {
		return 0, err
	}
	for i, err := range own {
		errs[order[i]] = err
	}
	s.see(ctx)
	return done, nil
}

// alone tells whether an error is that of one message, which keeps no other from being
// changed.
func alone(err error) bool {
	return errors.Is(err, ErrNoMessage) || errors.Is(err, ErrNoMailbox) || errors.Is(err, ErrLimit) || errors.Is(err, ErrTooLarge)
}

// PrepareSetEmail is SetEmails for one message within a unit, with no other change of
// messages in it. A reader's own \Seen does not go along where the message is moved.
func (a *Account) PrepareSetEmail(ctx context.Context, u *mailflow.Unit, r Reader, c EmailChange) error {
	s, err := a.beginSet(ctx, u, r)
	if err != nil {
		return err
	}
	defer s.close()
	if err = s.change(&c); err == nil {
		err = s.write()
	}
	return storageError("change a message", err)
}

// setting is changes of messages that come into one commit.
type setting struct {
	*work
	emails *Emails
	reader AccountID // with a \Seen of his own; 0: the owner

	boxes  map[MailboxID]*setBox
	chunks int
	rows   int
	paid   tally // what the quota counts more, or less
}

// setBox is what changes in one mailbox.
type setBox struct {
	id       MailboxID
	table    []string // of keywords, as it is without the commit
	chunks   map[uint32]*setChunk
	flagged  []*slot
	gone     []*slot
	expunged []*slot // those of gone that can be brought back
	came     []Row
	seen     []bool // of those that came: the reader has read them
	read     imap.UIDSet
	tally    tally
	copied   *Copied
	own      map[uint32]*seenState // the reader's \Seen
}

// setChunk is a chunk with whether the commit relies on it.
type setChunk struct {
	*chunk
	guarded bool
}

// Limits of what comes into one commit; where they are too many still, it is halved.
const (
	setChunksMax = chunksMax
	setRowsMax   = 4000
)

// emailsInStep is how often what is in memory is brought to the version of a commit.
const emailsInStep = 5

func (a *Account) beginSet(ctx context.Context, u *mailflow.Unit, r Reader) (*setting, error) {
	for try := 1; ; try++ {
		e, err := a.Emails(ctx, r)
		if err != nil {
			return nil, err
		}
		w, err := a.begin(ctx, u)
		if err != nil {
			return nil, err
		}
		// Where deliveries come all the time it may be behind: each entry is looked at anyway.
		if e.version == w.snap.Version() || try == emailsInStep {
			s := &setting{work: w, emails: e, boxes: map[MailboxID]*setBox{}}
			if r.ID != a.id {
				s.reader = r.ID
			}
			return s, nil
		}
		w.close()
	}
}

func (s *setting) full() bool { return s.chunks >= setChunksMax || s.rows >= setRowsMax }

// box returns what changes in a mailbox.
func (s *setting) box(id MailboxID) (*setBox, error) {
	if b := s.boxes[id]; b != nil {
		return b, nil
	}
	raw, _, err := get(s.snap, key(keyKeywords, id))
	if err != nil {
		return nil, err
	}
	b := &setBox{id: id, chunks: map[uint32]*setChunk{}, own: map[uint32]*seenState{}}
	if b.table, err = readKeywords(raw); err != nil {
		return nil, err
	}
	s.boxes[id] = b
	return b, nil
}

// setEntry is an entry of the message that is being changed.
type setEntry struct {
	box   *setBox
	chunk *setChunk
	slot  *slot
	mine  *seenSlot // the reader's own \Seen; nil: the owner's
	state *seenState
}

// flags are those of an entry as the reader has them.
func (e *setEntry) flags() Flags {
	f := e.slot.Flags
	if e.mine != nil {
		f &^= Seen
		if e.mine.seen {
			f |= Seen
		}
	}
	return f
}

// chunk reads a chunk, for a guest with its entries: those in memory have his own \Seen.
func (s *setting) chunk(mailbox MailboxID, n uint32) (*chunk, error) {
	if s.reader == 0 {
		return readChunk(s.snap, mailbox, n)
	}
	first := max(1, n<<chunkBits)
	read, err := readChunks(s.snap, mailbox, imap.UIDSet{{First: first, Last: n<<chunkBits | (chunkSize - 1)}}, 1)
	if err != nil {
		return nil, err
	}
	return read[0], nil
}

// enter lays an entry under the state of its chunk: as it is in memory, which is as it was
// added where the state says nothing of it.
func (s *setting) enter(c *chunk, at Location) {
	box := s.emails.Snapshot(at.Mailbox)
	if i, found := box.Index(at.UID); found && !c.slot(at.UID).there {
		row := box.Row(i)
		c.enter(&row)
	}
}

// entry reads an entry. errAgain where it is not there any more.
func (s *setting) entry(at Location, id MessageID) (*setEntry, error) {
	b, err := s.box(at.Mailbox)
	if err != nil {
		return nil, err
	}
	n := at.UID >> chunkBits
	c := b.chunks[n]
	if c == nil {
		read, err := s.chunk(at.Mailbox, n)
		if err != nil {
			return nil, err
		}
		c = &setChunk{chunk: read}
		b.chunks[n] = c
		s.chunks++
	}
	if s.reader == 0 {
		s.enter(c.chunk, at)
	}
	e := &setEntry{box: b, chunk: c, slot: c.slot(at.UID)}
	if !e.slot.live() || e.slot.ID != id {
		return nil, fmt.Errorf("message %s: %w", id, errAgain)
	}
	if s.reader != 0 {
		k := at.UID >> seenBits
		if b.own[k] == nil {
			if b.own[k], err = readSeenState(s.snap, at.Mailbox, s.reader, k); err != nil {
				return nil, err
			}
		}
		e.state = b.own[k]
		e.mine = &e.state.slots[at.UID&(seenChunk-1)]
	}
	return e, nil
}
