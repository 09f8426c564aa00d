package email

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/snooze"
	"postroad/jmap"
	"postroad/message"
)

// arriving is a message on its way into an account: made, imported or copied.
type arriving struct {
	creation    jmap.ID
	in          *mailstore.Incoming
	boxes       []mailstore.MailboxID
	upload      *upload         // whose body it is; nil: it has one of its own
	snoozed     *snooze.Snoozed // when it comes back, where that is said
	tellSnoozed bool
	seen        bool // in another one's account: \Seen is the user's own, set once it is there

	added []*mailstore.Appended
	err   error
}

// arriveAtOnce is how many messages one commit takes, of which each may have 20 references.
const arriveAtOnce = 16

// stage writes a message into the store of bodies and takes its structure apart on the way.
func (m *Methods) stage(ctx context.Context, r io.Reader) (blob.Body, *message.Message, error) {
	limits := mailflow.ContentLimits{Size: m.o.MessageBytesMax, Hops: math.MaxInt} // it goes nowhere
	body, parsed, err := mailflow.Arrive(ctx, m.house.Bodies, nil, r, limits)
	switch {
	case errors.Is(err, blob.ErrTooLarge):
		err = jmap.NewSetError(jmap.SetTooLarge, "the message would have more than %d octets", m.o.MessageBytesMax)
	case errors.Is(err, message.ErrHeaderTooLarge):
		err = jmap.NewSetError(jmap.SetTooLarge, "the header of the message is too large")
	case errors.Is(err, blob.ErrFull):
		err = fmt.Errorf("stage a message: %w", mailstore.ErrFull)
	}
	return body, parsed, err
}

// enter puts messages into their mailboxes, each as a whole or not at all, several in one
// commit. What became of each is in it.
func (m *Methods) enter(ctx context.Context, u *access.User, a *access.Account, list []*arriving) {
	for len(list) > 0 {
		n := min(len(list), arriveAtOnce)
		group := list[:n]
		list = list[n:]
		err := m.commitArriving(ctx, a, group)
		if err == nil {
			continue
		}
		for _, one := range group {
			if one.err == nil && n > 1 {
				err = m.commitArriving(ctx, a, []*arriving{one})
			}
			if one.err == nil {
				one.err = err
			}
		}
	}
}

// commitArriving enters some messages in one commit.
func (m *Methods) commitArriving(ctx context.Context, a *access.Account, group []*arriving) error {
	var err error
	for range limitTries {
		err = m.house.Committer.Commit(ctx, func(ctx context.Context, unit *mailflow.Unit) error {
			for _, one := range group {
				if one.err != nil {
					continue
				}
				before := one.err
				within, err := one.within(ctx)
				if err != nil {
					return err
				}
				one.added, one.err = a.PrepareAppend(within, unit, one.in, one.boxes[0], one.boxes[1:]...)
				if errors.Is(one.err, mailstore.ErrTooLarge) && len(group) > 1 {
					one.err = before
					return mailstore.ErrTooLarge
				}
				if one.err == nil && one.upload != nil {
					m.guardUpload(unit, one.upload)
				}
			}
			return nil
		})
		if !errors.Is(err, kv.ErrLimit) {
			break // who was first past a quota may have left room in a larger lease
		}
	}
	return commitError(err)
}

// limitTries is how often a commit is prepared that others leave no room for.
const limitTries = 100

// commitError puts the error of a commit into the closed set of the mail store.
func commitError(err error) error {
	for kind, as := range map[error]error{kv.ErrLimit: mailstore.ErrOverQuota, kv.ErrFull: mailstore.ErrFull, kv.ErrTooLarge: mailstore.ErrTooLarge, kv.ErrConflict: mailstore.ErrTemporary} {
		if errors.Is(err, kind) {
			return fmt.Errorf("%w: %w", as, err)
		}
	}
	return err
}

// arrived finishes what enter did: the user's own \Seen, and those who want to know of new
// messages.
func (m *Methods) arrived(ctx context.Context, u *access.User, a *access.Account, list []*arriving, cause Cause) error {
	uids := map[mailstore.MailboxID]imap.UIDSet{}
	seen := map[mailstore.MailboxID]imap.UIDSet{}
	add := func(to map[mailstore.MailboxID]imap.UIDSet, box mailstore.MailboxID, uid uint32) {
		set := to[box]
		set.Add(uid)
		to[box] = set
	}
	for _, one := range list {
		if one.err != nil {
			m.house.Bodies.Discard(one.in.Body)
			continue
		}
		for _, added := range one.added {
			add(uids, added.Mailbox, added.UID)
			if one.seen {
				add(seen, added.Mailbox, added.UID)
			}
		}
	}
	for box, set := range seen {
		change := mailstore.FlagChange{Mode: mailstore.FlagsAdd, Flags: mailstore.Seen, Reader: u.ID}
		if _, err := a.StoreFlags(ctx, box, set, change); err != nil {
			return err
		}
	}
	for box, set := range uids {
		m.changed(ctx, u, a, box, cause)(ctx, set)
	}
	return nil
}

// changed is Options.Changed, never nil.
func (m *Methods) changed(ctx context.Context, u *access.User, a *access.Account, box mailstore.MailboxID, cause Cause) func(context.Context, imap.UIDSet) {
	if m.o.Changed != nil {
		if f := m.o.Changed(ctx, u, a.Account, box, cause); f != nil {
			return f
		}
	}
	return func(context.Context, imap.UIDSet) {}
}

// object is what is told of a message that was made (RFC 8621, 4.6 to 4.8).
func (one *arriving) object() jmap.Object {
	first := one.added[0]
	return jmap.Object{"id": jmap.ID(mailstore.FormatEmailID(first.ID)), "blobId": messageBlob(first.ID),
		"threadId": mailstore.FormatThreadID(first.Thread), "size": one.in.Body.Size}
}

// destination is where a new message is to go, with what keywords, received when.
type destination struct {
	boxes    []mailstore.MailboxID
	flags    mailstore.Flags
	keywords []string
	received time.Time   // zero: not given
	rights   imap.Rights // to all the mailboxes
	snoozed  *snooze.Snoozed
	waits    bool // in Snoozed
}

// takeDestination reads mailboxIds, keywords and receivedAt of a message to be made.
func (m *Methods) takeDestination(ctx context.Context, c *jmap.Call, a *access.Account, o jmap.Properties) (*destination, error) {
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return nil, err
	}
	d := &destination{rights: imap.RightsAll}
	var invalid []string
	raw, _ := given(o, "mailboxIds")
	ids, ok := readSet(raw)
	if !ok || len(ids) == 0 {
		invalid = append(invalid, "mailboxIds")
	}
	for _, id := range ids {
		box, found := visible(all, c, jmap.ID(id))
		if !found {
			invalid = append(invalid, "mailboxIds")
			break
		}
		d.rights &= box.Rights
		d.waits = d.waits || box.Role == imap.AttrSnoozed
		if !slices.Contains(d.boxes, box.ID) { // by its id and by a creation id
			d.boxes = append(d.boxes, box.ID)
		}
	}
	if raw, there := given(o, "keywords"); there {
		names, ok := readSet(raw)
		if d.flags, d.keywords, ok = splitKeywords(names, ok); !ok {
			invalid = append(invalid, "keywords")
		}
	}
	if raw, there := given(o, "receivedAt"); there {
		if d.received, ok = readUTCDate(raw); !ok {
			invalid = append(invalid, "receivedAt")
		}
	}
	if len(invalid) > 0 {
		return nil, jmap.InvalidProperties(invalid, "mailboxIds must name some mailboxes that are there, keywords be a set of keywords, receivedAt a UTCDate")
	}
	if len(d.keywords) > keywordsMax {
		return nil, errTooManyKeywords
	}
	return d, d.allowed()
}

// allowed tells whether the user may put the message there.
func (d *destination) allowed() error {
	need := imap.RightInsert
	if d.flags&mailstore.Seen != 0 {
		need |= imap.RightSeen
	}
	if d.flags&^mailstore.Seen != 0 || len(d.keywords) > 0 {
		need |= imap.RightWrite
	}
	if !d.rights.Has(need) {
		return jmap.NewSetError(jmap.SetForbidden, "you may not put such messages into all of these mailboxes")
	}
	return nil
}

// arriving makes of a body what enters the mailboxes.
func (d *destination) arriving(creation jmap.ID, a *access.Account, body blob.Body, parsed *message.Message, received time.Time) *arriving {
	if !d.received.IsZero() {
		received = d.received
	}
	one := &arriving{creation: creation, boxes: d.boxes, snoozed: d.snoozed, tellSnoozed: d.waits,
		in: &mailstore.Incoming{Body: body, Message: parsed, Flags: d.flags, Keywords: d.keywords, InternalDate: received}}
	if !a.Own && d.flags&mailstore.Seen != 0 {
		one.seen = true
		one.in.Flags &^= mailstore.Seen
	}
	return one
}
