package admin

import (
	"context"
	"errors"
	"slices"
	"time"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
	"postroad/message"
)

// SieveReplayMax is how many messages a replay looks at, the newest.
const SieveReplayMax = 20_000

// SieveReplay is the argument of sieve.replay.
type SieveReplay struct {
	Account string        `json:"account"`
	Within  time.Duration `json:"within"`           // nanoseconds back from now
	Script  []byte        `json:"script,omitempty"` // nil: all that run for the account
}

// SieveReplayed is what scripts would have done with mail that has arrived.
type SieveReplayed struct {
	Messages []SieveReplayedMessage `json:"messages"`       // the oldest first
	More     bool                   `json:"more,omitempty"` // there were older ones
}

// SieveReplayedMessage is one of the messages.
type SieveReplayedMessage struct {
	Arrived time.Time     `json:"arrived"`
	Mailbox string        `json:"mailbox"` // where it is now
	From    string        `json:"from"`    // the return path
	Subject string        `json:"subject"`
	Actions []SieveAction `json:"actions"`
	Faults  []string      `json:"faults,omitempty"`
}

// place is where a message of a replay is.
type place struct {
	snapshot *mailstore.Snapshot
	mailbox  string
	row      mailstore.Row
}

// marks are what a replay remembers: it begins with nothing, so that what was answered when
// the mail came is answered here too, once.
type marks map[string]time.Time

// at is marks at one moment; it implements sieve.Memory.
type at struct {
	marks
	now time.Time
}

// Seen implements sieve.Memory.
func (m at) Seen(_ context.Context, key string) (bool, error) { return m.marks[key].After(m.now), nil }

// sieveReplay tells what scripts would have done with the mail of the last days, as if it
// came again in the order in which it came. It changes nothing.
func (v *Verbs) sieveReplay(ctx context.Context, in SieveReplay, progress func(Progress)) (*SieveReplayed, error) {
	if in.Within <= 0 {
		return nil, invalid("how far back?")
	}
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	r, err := v.rehearsal(ctx, &a, in.Script)
	if err != nil {
		return nil, err
	}
	places, err := r.arrived(ctx, time.Now().Add(-in.Within))
	if err != nil {
		return nil, err
	}
	out := &SieveReplayed{Messages: []SieveReplayedMessage{}}
	if len(places) > SieveReplayMax {
		places, out.More = places[len(places)-SieveReplayMax:], true
	}
	seen := marks{}
	for i := range places {
		progress(Progress{"messages", int64(i), int64(len(places))})
		m, err := r.again(ctx, &a, &places[i], seen)
		if errors.Is(err, mailstore.ErrNoMessage) { // expunged meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		out.Messages = append(out.Messages, *m)
	}
	return out, nil
}

// arrived finds the mail that came since a time, each message once, the oldest first. What
// the owner has written did not arrive.
func (r *rehearsal) arrived(ctx context.Context, since time.Time) ([]place, error) {
	var all []place
	once := map[mailstore.MessageID]bool{}
	for _, m := range r.tree.All() {
		if m.Role == imap.AttrSent || m.Role == imap.AttrDrafts {
			continue
		}
		s, err := r.snapshot(ctx, m.ID)
		if errors.Is(err, mailstore.ErrNoMailbox) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, row := range s.Rows(0, s.Len()) {
			if row.InternalDate >= since.Unix() && !once[row.ID] {
				once[row.ID] = true
				all = append(all, place{s, m.Name, row})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b place) int {
		return time.Unix(a.row.InternalDate, 0).Compare(time.Unix(b.row.InternalDate, 0))
	})
	return all, nil
}

// snapshot reads one mailbox.
func (r *rehearsal) snapshot(ctx context.Context, id mailstore.MailboxID) (*mailstore.Snapshot, error) {
	view, err := r.mail0.Account.View(ctx, id)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return view.Snapshot(ctx)
}

// again runs the scripts on one message that has arrived.
func (r *rehearsal) again(ctx context.Context, a *directory.Account, p *place, seen marks) (*SieveReplayedMessage, error) {
	record, err := p.snapshot.Record(ctx, p.row.UID, mailstore.WantStructure)
	if err != nil {
		return nil, err
	}
	if record.Missing {
		return nil, mailstore.ErrNoMessage
	}
	parsed, err := message.Decode(record.Structure)
	if err != nil {
		return nil, err
	}
	body, err := r.mail0.Account.Open(ctx, record.Body)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	t := &trial{body: body, message: parsed}
	if t.env.ReturnPath, err = returnPath(body, parsed); err != nil {
		return nil, err
	}
	t.env.Recipient = recipientOf(a, parsed)
	m := r.mail(t, time.Unix(p.row.InternalDate, 0))
	m.Memory = at{seen, m.Now}
	outcome, err := r.run(ctx, m)
	if err != nil {
		return nil, err
	}
	for _, mark := range outcome.Marks {
		seen[mark.Key] = m.Now.Add(mark.For)
	}
	return &SieveReplayedMessage{Arrived: m.Now, Mailbox: p.mailbox, From: t.env.ReturnPath.String(), Subject: parsed.Subject,
		Actions: describe(outcome.Actions, inTree(r.tree)), Faults: faultsOf(outcome)}, nil
}

// recipientOf guesses which address of the account the mail was for: the one that it names.
func recipientOf(a *directory.Account, m *message.Message) address.Address {
	for _, list := range []message.AddressList{m.To, m.Cc} {
		for _, box := range list.Mailboxes() {
			to, err := box.Address()
			if err == nil && slices.ContainsFunc(a.Addresses, to.Equal) {
				return to
			}
		}
	}
	return a.Login
}
