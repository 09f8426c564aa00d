package mailstore

import (
	"context"
	"fmt"
	"io"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/message"
)

// Mail goes from one account to another as new messages there: with records, thread and a
// link to the body of their own, paid by that account. Within an account COPY only makes
// entries (copy.go).

// acrossMax is how many messages one COPY between accounts takes: what is parsed of them is
// held until the commit.
const acrossMax = 10_000

// acrossStep is how many messages one commit of a MOVE between accounts takes: within
// kv.BatchKeysMax with the most references each.
const acrossStep = 8

// Transfer is a COPY or MOVE between mailboxes of two accounts, or of one that belongs to
// neither to who does it.
type Transfer struct {
	From   *Account
	Source MailboxID
	UIDs   imap.UIDSet // those that are not there are passed over
	To     *Account
	Dest   MailboxID

	Reader AccountID // who does it; his \Seen goes along
	Keep   Flags     // flags that do not go along; [KeywordFlags] for all keywords
}

// source is the entry that an Incoming is made of.
type source struct {
	account *Account
	mailbox MailboxID
	uid     uint32
}

// guard guards that the entry is live until the commit, so that the body is not collected
// before it has its new link. ErrNoMessage.
func (s *source) guard(ctx context.Context, u *mailflow.Unit) error {
	snap, err := s.account.snapshot(ctx)
	if err != nil {
		return err
	}
	defer snap.Close()
	chunks, err := readChunks(snap, s.mailbox, imap.UIDSet{{First: s.uid, Last: s.uid}}, 1)
	if err != nil {
		return err
	}
	if !chunks[0].slot(s.uid).live() {
		return fmt.Errorf("UID %d: %w", s.uid, ErrNoMessage)
	}
	b := u.Quiet(s.account.space)
	b.Guards = append(b.Guards, chunks[0].guard(),
		kv.Guard{Kind: kv.GuardPresent, Key: key(keyMailbox, s.mailbox)})
	return nil
}

// Copy copies all messages or none (RFC 9051, 6.4.7). ErrNoMessage when one was expunged
// meanwhile, ErrLimit above 10,000 messages.
func (t *Transfer) Copy(ctx context.Context) (*Copied, error) {
	in, uids, err := t.read(ctx, t.UIDs)
	if err != nil {
		return nil, err
	}
	out, err := t.copied(ctx)
	if err != nil || len(in) == 0 {
		return out, err
	}
	seen := t.withoutSeen(in)
	added, err := t.To.Append(ctx, t.Dest, in...)
	if err != nil {
		return nil, err
	}
	for i, a := range added {
		out.Source.Add(uids[i])
		out.Dest.Add(a.UID)
		out.ModSeq = a.ModSeq
	}
	return out, t.see(ctx, added, seen)
}

// Move moves messages; each is in exactly one of the two mailboxes at every moment
// (RFC 9051, 6.4.8). The result is right for what was done also beside an error.
func (t *Transfer) Move(ctx context.Context) (*Copied, error) {
	out, err := t.copied(ctx)
	if err != nil {
		return nil, err
	}
	view, err := t.From.ViewAs(ctx, t.Source, t.Reader)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	now, err := view.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var step imap.UIDSet
	for uid := range t.UIDs.Intersect(now.UIDs(0, now.Len())).All() {
		if step.Add(uid); step.Count() < acrossStep {
			continue
		}
		if err := t.moveStep(ctx, step, out); err != nil {
			return out, err
		}
		step = nil
	}
	return out, t.moveStep(ctx, step, out)
}

// moveStep moves some messages in one commit.
func (t *Transfer) moveStep(ctx context.Context, uids imap.UIDSet, out *Copied) error {
	in, order, err := t.read(ctx, uids)
	if err != nil || len(in) == 0 {
		return err
	}
	seen := t.withoutSeen(in)
	var added []*Appended
	var went []bool
	err = t.To.commit(ctx, "move", func(ctx context.Context, u *mailflow.Unit) error {
		added, went = nil, nil
		gone, err := t.From.PrepareExpunge(ctx, u, t.Source, uids, true)
		if err != nil {
			return err
		}
		for i := range in {
			if !gone.UIDs.Contains(order[i]) {
				continue
			}
			in[i].source = nil // the expunge guards it, and takes it away
			a, err := t.To.PrepareAppend(ctx, u, in[i], t.Dest)
			if err != nil {
				return err
			}
			added = append(added, a...)
		}
		for i := range in {
			went = append(went, gone.UIDs.Contains(order[i]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	var wasSeen []bool
	k := 0
	for i := range in {
		if !went[i] {
			continue
		}
		out.Source.Add(order[i])
		out.Dest.Add(added[k].UID)
		out.ModSeq = added[k].ModSeq
		if seen != nil {
			wasSeen = append(wasSeen, seen[i])
		}
		k++
	}
	return t.see(ctx, added, wasSeen)
}

// copied begins the result.
func (t *Transfer) copied(ctx context.Context) (*Copied, error) {
	tree, err := t.To.Tree(ctx)
	if err != nil {
		return nil, err
	}
	m := tree.ID(t.Dest)
	if m == nil {
		return nil, fmt.Errorf("destination %s: %w", t.Dest, ErrNoMailbox)
	}
	return &Copied{UIDValidity: m.UIDValidity}, nil
}

// read makes what is to be appended, and the UIDs that it has now.
func (t *Transfer) read(ctx context.Context, uids imap.UIDSet) (in []*Incoming, order []uint32, err error) {
	view, err := t.From.ViewAs(ctx, t.Source, t.Reader)
	if err != nil {
		return nil, nil, err
	}
	defer view.Close()
	now, err := view.Snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	for r, err := range now.Records(ctx, uids, WantStructure) {
		switch {
		case err != nil:
			return nil, nil, err
		case r.Missing:
			return nil, nil, fmt.Errorf("UID %d: %w", r.UID, ErrNoMessage)
		case len(in) == acrossMax:
			return nil, nil, fmt.Errorf("%w: more than %d messages", ErrLimit, acrossMax)
		}
		m, err := t.message(ctx, r, now.keywords)
		if err != nil {
			return nil, nil, err
		}
		in, order = append(in, m), append(order, r.UID)
	}
	return in, order, nil
}

// message parses one message anew: its records are made for the account it goes to.
func (t *Transfer) message(ctx context.Context, r *Record, table []string) (*Incoming, error) {
	body, err := t.From.Open(ctx, r.Body)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	parsed, err := message.Parse(io.NewSectionReader(body, 0, body.Size()), message.Limits{})
	if err != nil {
		return nil, fmt.Errorf("%w: parse message %s again: %w", ErrDamaged, r.ID, err)
	}
	in := &Incoming{Body: r.Body, Message: parsed, Flags: r.Flags & System &^ t.Keep, InternalDate: time.Unix(r.InternalDate, 0),
		source: &source{t.From, t.Source, r.UID}}
	if t.Keep&KeywordFlags == 0 {
		for i, k := range table {
			if r.Flags&Keyword(i) != 0 {
				in.Keywords = append(in.Keywords, k)
			}
		}
	}
	return in, nil
}

// withoutSeen takes \Seen off messages that are to lie in somebody else's mailbox, and
// tells which ones had it.
func (t *Transfer) withoutSeen(in []*Incoming) []bool {
	if t.Reader == 0 || t.Reader == t.To.id {
		return nil
	}
	seen := make([]bool, len(in))
	for i, m := range in {
		seen[i] = m.Flags&Seen != 0
		m.Flags &^= Seen
	}
	return seen
}

// see gives the reader his \Seen of the new messages.
func (t *Transfer) see(ctx context.Context, added []*Appended, seen []bool) error {
	var uids imap.UIDSet
	for i := range seen {
		if seen[i] {
			uids.Add(added[i].UID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	_, err := t.To.StoreFlags(ctx, t.Dest, uids, FlagChange{Mode: FlagsAdd, Flags: Seen, Reader: t.Reader})
	return err
}
