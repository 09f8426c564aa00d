package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/objects"
)

// UndoStatus is whether a submission can be taken back (RFC 8621, 7).
type UndoStatus string

// The values.
const (
	Pending  UndoStatus = "pending"
	Final    UndoStatus = "final"
	Canceled UndoStatus = "canceled"
)

// Delivered is what is known of a recipient (RFC 8621, 7, DeliveryStatus).
type Delivered string

// The values.
const (
	Queued  Delivered = "queued"
	Yes     Delivered = "yes"
	No      Delivered = "no"
	Unknown Delivered = "unknown"
)

// Address is one of an envelope, with its parameters as the client gave them.
type Address struct {
	Email      string             `json:"a"`
	Parameters map[string]*string `json:"p,omitempty"` // nil: none were given
}

// Recipient is one of the envelope, and what became of the mail for it.
type Recipient struct {
	Address
	Delivered Delivered `json:"d"`
	Displayed bool      `json:"s,omitempty"`
	Reply     string    `json:"-"`           // of SMTP, in one line
	ReplyAt   int       `json:"r,omitempty"` // while it is stored: its place among all replies, from 1
}

// Submission is one mail that was sent, as its sender may look at it.
type Submission struct {
	ID         mailflow.ID `json:"-"` // of the mail in transit
	Identity   hlc.ID      `json:"i,omitempty"`
	Email      string      `json:"e"` // id of the message, as the client has it
	Thread     string      `json:"t"`
	From       Address     `json:"f"`
	To         []Recipient `json:"to"`
	SendAt     time.Time   `json:"at"`
	Undo       UndoStatus  `json:"u"`
	MessageID  string      `json:"m,omitempty"`
	DSNs, MDNs []mailstore.MessageID

	Replies []string `json:"re,omitempty"` // while it is stored

	object *objects.Object
}

// Limits of what is stored of one submission.
const (
	reportsMax = 100  // reports of each sort that are named
	replyMax   = 512  // octets of an SMTP reply, where there is room
	replyLess  = 64   // where there is not
	replyRoom  = 8000 // octets that are left for replies when a submission is made
)

// encode writes the record, within objects.ValueMax. Where replies are too long they are
// cut: they tell a person why.
func (s *Submission) encode() ([]byte, error) {
	for _, most := range []int{replyMax, replyLess, 0} {
		stored := *s
		stored.To, stored.Replies = slices.Clone(s.To), nil
		places := map[string]int{}
		for i := range stored.To {
			reply := cut(stored.To[i].Reply, most)
			if reply == "" {
				stored.To[i].ReplyAt = 0
				continue
			}
			if places[reply] == 0 {
				stored.Replies = append(stored.Replies, reply)
				places[reply] = len(stored.Replies)
			}
			stored.To[i].ReplyAt = places[reply]
		}
		v, err := json.Marshal(&stored)
		if err != nil || len(v) < objects.ValueMax {
			return append([]byte{format1}, v...), err
		}
	}
	return nil, ErrTooLarge
}

// cut shortens s to most octets without breaking a character.
func cut(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

func decode(o *objects.Object) (*Submission, error) {
	s := &Submission{ID: o.ID, object: o}
	if len(o.Value) == 0 || o.Value[0] != format1 || json.Unmarshal(o.Value[1:], s) != nil {
		return nil, fmt.Errorf("%w: submission %s", mailstore.ErrDamaged, o.ID)
	}
	for i := range s.To {
		switch n := s.To[i].ReplyAt; {
		case n < 0 || n > len(s.Replies):
			return nil, fmt.Errorf("%w: submission %s", mailstore.ErrDamaged, o.ID)
		case n > 0:
			s.To[i].Reply = s.Replies[n-1]
		}
	}
	s.Replies = nil
	return s, nil
}

// Object is the submission as it is stored, to be destroyed.
func (s *Submission) Object() *objects.Object { return s.object }

// Decode reads submissions from their objects.
func Decode(list []*objects.Object) ([]*Submission, error) {
	all := make([]*Submission, len(list))
	for i, o := range list {
		var err error
		if all[i], err = decode(o); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Submission reads one; objects.ErrNotFound.
func (s *Store) Submission(ctx context.Context, account mailstore.AccountID, id mailflow.ID) (*Submission, error) {
	o, err := s.Objects.One(ctx, account, objects.Submission, id)
	if err != nil {
		return nil, err
	}
	return decode(o)
}

// Fits tells whether a submission can be stored, with what will be known of its recipients.
func (s *Submission) Fits() error {
	v, err := s.encode()
	if err == nil && len(v)+replyRoom > objects.ValueMax {
		err = ErrTooLarge
	}
	return err
}

// PrepareSubmission makes the submission of a mail within the unit that takes it, when the
// statuses of its recipients are known. Pending says that it waits; then message is shown
// in Scheduled and linked.
func (s *Store) PrepareSubmission(ctx context.Context, u *mailflow.Unit, account *mailstore.Account, sub *Submission, m *mailflow.Mail, statuses []mailflow.Status) error {
	made := *sub
	made.ID, made.To = m.ID, slices.Clone(sub.To)
	made.SendAt, made.Undo = m.Received, Final
	if m.HoldUntil.After(m.Received) {
		made.SendAt, made.Undo = m.HoldUntil, Pending
	}
	made.SendAt = made.SendAt.UTC().Truncate(time.Second)
	if m.Message != nil {
		made.MessageID = m.Message.MessageID
	}
	made.told(m, statuses)
	v, err := made.encode()
	if err != nil {
		return err
	}
	if err := s.Objects.PrepareCreate(u, account.ID(), objects.Submission, m.ID, v); err != nil {
		return err
	}
	b := batch(u, account.ID())
	s.index(b, &made)
	return s.forgetOld(ctx, u, account.ID())
}

// KeptFor is how long a submission is kept whose mail is settled (RFC 8621, 7: a server may
// destroy it at any time after that). forgottenAtOnce go with each new one.
const (
	KeptFor         = 180 * 24 * time.Hour
	forgottenAtOnce = 2
)

// forgetOld takes the oldest submissions away when they are too old.
func (s *Store) forgetOld(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID) error {
	list, _, err := s.Objects.All(ctx, account, objects.Submission, 0, forgottenAtOnce)
	if err != nil {
		return err
	}
	for _, o := range list {
		sub, err := decode(o)
		if err != nil || sub.Undo == Pending || time.Since(sub.SendAt) < KeptFor {
			continue
		}
		if err := s.PrepareDestroy(ctx, u, account, sub); err != nil {
			return err
		}
	}
	return nil
}

// change changes a submission within the unit, if it is there. That it is not, or that the
// account is gone, is no error: nobody asks any more. A damaged one is logged.
func (s *Store) change(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, id mailflow.ID, f func(*Submission) error) error {
	o, err := s.Objects.Within(ctx, u, account, objects.Submission, id)
	switch {
	case errors.Is(err, objects.ErrNotFound), errors.Is(err, mailstore.ErrNoAccount):
		return nil
	case errors.Is(err, objects.ErrDamaged):
		s.Log.Error("a submission cannot be read", "account", account, "id", id, "error", err)
		return nil
	case err != nil:
		return err
	}
	sub, err := decode(o)
	if err != nil {
		s.Log.Error("a submission cannot be read", "account", account, "id", id, "error", err)
		return nil
	}
	if err := f(sub); err != nil {
		return err
	}
	v, err := sub.encode()
	if err != nil {
		return err
	}
	return s.Objects.PrepareUpdate(u, account, objects.Submission, o, v)
}

// PrepareDestroy forgets a submission within the unit: what it stands for goes on (RFC
// 8621, 7.5).
func (s *Store) PrepareDestroy(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, sub *Submission) error {
	if err := s.Objects.PrepareDestroy(ctx, u, account, objects.Submission, sub.object); err != nil {
		return err
	}
	b := batch(u, account)
	if k := sub.indexKey(); k != nil {
		b.Deletes = append(b.Deletes, k)
	}
	return nil
}
