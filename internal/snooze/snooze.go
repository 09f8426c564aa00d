// Package snooze lets messages come back: one that is in the mailbox Snoozed goes, at its
// hour, to the end of another mailbox, where it is new to every client.
//
// The main type is [Store]. A message is snoozed by being put into a mailbox with the
// special use \Snoozed, by any client, and is so no more when it leaves it: what is kept of
// it comes and goes in the commit that moves it ([Store.Passing]). Who knows when it is to
// come back says so with [Until]; else it is at [MorningHour] o'clock. A due index, in a
// space of its own in the order of time, is what [Store.Run] sweeps; the commit that brings
// a message back takes its record away, so that it comes back once.
//
// The property snoozed of Cyrus (https://cyrusimap.org/ns/jmap/mail).
package snooze

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
)

// MorningHour is when a message comes back that was moved into Snoozed without a date: the
// next time that it is so late in the zone of its owner, an hour from now at least.
const MorningHour = 8

// DaysMax is for how long a message can be snoozed: ten years.
const DaysMax = 3653

// ErrUntil says that a message cannot come back then.
var ErrUntil = errors.New("snooze: the date is too far away")

// ErrNotSnoozed is for a message that is not in Snoozed.
var ErrNotSnoozed = errors.New("snooze: the message is not snoozed")

// Store keeps when messages come back. All methods may be called at once.
type Store struct {
	Committer *mailflow.Committer
	Mail      *mailstore.Store
	// Zone is where an account's mornings are; nil: where the server is.
	Zone func(ctx context.Context, id mailstore.AccountID) (*time.Location, error)
	Log  *slog.Logger

	wake chan struct{}
}

// New returns a Store without zones.
func New(c *mailflow.Committer, mail *mailstore.Store, log *slog.Logger) *Store {
	return &Store{Committer: c, Mail: mail, Log: log, wake: make(chan struct{}, 1)}
}

// Snoozed is when and how a message comes back.
type Snoozed struct {
	Until    time.Time           `json:"u"`           // to the second
	MoveTo   mailstore.MailboxID `json:"m,omitempty"` // 0, or one that is gone then: INBOX
	Keywords map[string]bool     `json:"k,omitempty"` // as JMAP has them: set or taken away then
}

// The keys, in the account's space:
//
//	Z MESSAGE  when and how it comes back
//
// and in the space "snooze": TIME ACCOUNT MESSAGE, with the time in seconds.
const keySnooze = 'Z'

// dueSpace is the space of the due index.
const dueSpace kv.Space = "snooze"

const format1 = 1

func recordKey(m mailstore.MessageID) []byte {
	return binary.BigEndian.AppendUint64([]byte{keySnooze}, uint64(m))
}

func dueKey(at time.Time, a mailstore.AccountID, m mailstore.MessageID) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(max(at.Unix(), 0)))
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, uint64(a)), uint64(m))
}

// due is an entry of the due index.
type due struct {
	at      time.Time
	account mailstore.AccountID
	message mailstore.MessageID
}

func (d *due) key() []byte { return dueKey(d.at, d.account, d.message) }

func parseDue(k []byte) (due, bool) {
	if len(k) != 3*8 {
		return due{}, false
	}
	return due{time.Unix(int64(binary.BigEndian.Uint64(k)), 0), hlc.ID(binary.BigEndian.Uint64(k[8:])), hlc.ID(binary.BigEndian.Uint64(k[16:]))}, true
}

// untilKey is the context's key for what Until says.
type untilKey struct{}

// NewMessage stands for the messages that a call makes, whose ids nobody knows before.
const NewMessage mailstore.MessageID = 0

// Until says of messages that are about to be moved into Snoozed, or touched there, in a call
// with the returned context, when they come back. ErrUntil.
func Until(ctx context.Context, of map[mailstore.MessageID]Snoozed) (context.Context, error) {
	for _, s := range of {
		if err := s.check(); err != nil {
			return nil, err
		}
	}
	return context.WithValue(ctx, untilKey{}, of), nil
}

func (s *Snoozed) check() error {
	if time.Until(s.Until) > DaysMax*24*time.Hour || s.Until.Unix() < 0 {
		return ErrUntil
	}
	return nil
}

// Of reads when messages come back; those that are not snoozed are left out.
func (s *Store) Of(ctx context.Context, account mailstore.AccountID, ids ...mailstore.MessageID) (map[mailstore.MessageID]Snoozed, error) {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	all := map[mailstore.MessageID]Snoozed{}
	for _, id := range ids {
		r, raw, err := read(snap, id)
		if err != nil {
			return nil, err
		}
		if raw != nil {
			all[id] = *r
		}
	}
	return all, nil
}

// snapshot opens an account's space; mailstore.ErrNoAccount.
func (s *Store) snapshot(ctx context.Context, id mailstore.AccountID) (kv.Snapshot, error) {
	space, _ := mailstore.Guest(id)
	snap, err := s.Committer.Engine.Snapshot(ctx, space)
	if err != nil {
		return nil, fmt.Errorf("read snoozed messages: %w", err)
	}
	if err := mailstore.Lives(snap); err != nil {
		return nil, errors.Join(err, snap.Close())
	}
	return snap, nil
}

// read reads a record; raw is nil when there is none.
func read(snap kv.Snapshot, id mailstore.MessageID) (s *Snoozed, raw []byte, err error) {
	raw, err = snap.Get(recordKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read a snoozed message: %w", err)
	}
	s = new(Snoozed)
	if len(raw) == 0 || raw[0] != format1 || json.Unmarshal(raw[1:], s) != nil {
		return nil, nil, fmt.Errorf("%w: snoozed message %s", mailstore.ErrDamaged, id)
	}
	return s, append([]byte(nil), raw...), nil
}

// Set changes when a message comes back that is in Snoozed. ErrNotSnoozed, ErrUntil.
func (s *Store) Set(ctx context.Context, account mailstore.AccountID, id mailstore.MessageID, n Snoozed) error {
	if err := n.check(); err != nil {
		return err
	}
	return s.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := s.snapshot(ctx, account)
		if err != nil {
			return err
		}
		defer snap.Close()
		old, raw, err := read(snap, id)
		if err != nil {
			return err
		}
		if raw == nil {
			return ErrNotSnoozed
		}
		return s.put(u, account, id, &n, old, raw)
	})
}

// put writes a record and its entry in the due index, in place of the old one.
func (s *Store) put(u *mailflow.Unit, account mailstore.AccountID, id mailstore.MessageID, n, old *Snoozed, raw []byte) error {
	kept := *n
	kept.Until = kept.Until.UTC().Truncate(time.Second)
	v, err := json.Marshal(&kept)
	if err != nil {
		return fmt.Errorf("encode a snoozed message: %w", err)
	}
	space, lives := mailstore.Guest(account)
	b := u.Batch(space) // the message is another one for who reads the property
	b.Guards = append(b.Guards, lives, guard(recordKey(id), raw))
	b.Puts = append(b.Puts, kv.Put{Key: recordKey(id), Value: append([]byte{format1}, v...)})
	d := u.Quiet(dueSpace)
	if old != nil && !old.Until.Equal(kept.Until) {
		d.Deletes = append(d.Deletes, dueKey(old.Until, account, id))
	}
	d.Puts = append(d.Puts, kv.Put{Key: dueKey(kept.Until, account, id), Value: []byte{format1}})
	u.After(dueSpace, func(kv.Result) { s.signal() })
	return nil
}

// drop takes a record and its entry in the due index away.
func (s *Store) drop(u *mailflow.Unit, account mailstore.AccountID, id mailstore.MessageID, old *Snoozed, raw []byte) {
	space, _ := mailstore.Guest(account)
	b := u.Batch(space)
	b.Guards = append(b.Guards, guard(recordKey(id), raw))
	b.Deletes = append(b.Deletes, recordKey(id))
	d := u.Quiet(dueSpace)
	d.Deletes = append(d.Deletes, dueKey(old.Until, account, id))
}

// guard guards that a key is as it was read.
func guard(k, raw []byte) kv.Guard {
	if raw == nil {
		return kv.Guard{Kind: kv.GuardAbsent, Key: k}
	}
	return kv.Guard{Kind: kv.GuardEquals, Key: k, Value: raw}
}

// Mailbox finds or makes the mailbox of snoozed messages.
func (s *Store) Mailbox(ctx context.Context, a *mailstore.Account) (*mailstore.Mailbox, error) {
	m, err := a.WithRole(ctx, imap.AttrSnoozed, "Snoozed")
	if err != nil {
		return nil, fmt.Errorf("mailbox of snoozed messages: %w", err)
	}
	return m, nil
}

// Passing is for mailstore.Options, of messages that go into Snoozed or leave it.
func (s *Store) Passing(ctx context.Context, u *mailflow.Unit, p *mailstore.Passing) error {
	in := p.To != nil && p.To.Role == imap.AttrSnoozed
	out := p.From != nil && p.From.Role == imap.AttrSnoozed
	if !in && !out {
		return nil
	}
	snap, err := s.snapshot(ctx, p.Account.ID())
	if err != nil {
		return err
	}
	defer snap.Close()
	said, _ := ctx.Value(untilKey{}).(map[mailstore.MessageID]Snoozed)
	for _, id := range p.Messages {
		old, raw, err := read(snap, id)
		if err != nil {
			return err
		}
		n, given := said[id]
		if !given && p.From == nil && raw == nil {
			n, given = said[NewMessage]
		}
		switch {
		case !in && raw != nil:
			s.drop(u, p.Account.ID(), id, old, raw)
		case in && (given || raw == nil):
			if !given {
				if n, err = s.morning(ctx, p.Account.ID()); err != nil {
					return err
				}
			}
			if err := s.put(u, p.Account.ID(), id, &n, old, raw); err != nil {
				return err
			}
		}
	}
	return nil
}

// morning is when a message comes back of which nobody said when: unread, in INBOX.
func (s *Store) morning(ctx context.Context, account mailstore.AccountID) (Snoozed, error) {
	zone := time.Local
	if s.Zone != nil {
		z, err := s.Zone(ctx, account)
		if err != nil {
			return Snoozed{}, err
		}
		zone = z
	}
	earliest := time.Now().In(zone).Add(time.Hour)
	at := time.Date(earliest.Year(), earliest.Month(), earliest.Day(), MorningHour, 0, 0, 0, zone)
	if at.Before(earliest) {
		at = time.Date(earliest.Year(), earliest.Month(), earliest.Day()+1, MorningHour, 0, 0, 0, zone)
	}
	return Snoozed{Until: at, Keywords: map[string]bool{"$seen": false}}, nil
}

// systemFlags are the keywords of JMAP that are system flags of IMAP (RFC 8621, 4.1.1).
var systemFlags = map[string]mailstore.Flags{"$seen": mailstore.Seen, "$answered": mailstore.Answered,
	"$flagged": mailstore.Flagged, "$draft": mailstore.Draft}

// keywords puts what is to be set and taken away into a pass.
func (s *Snoozed) keywords(p *mailstore.Pass) {
	for name, set := range s.Keywords {
		flag := systemFlags[strings.ToLower(name)]
		switch {
		case set && flag != 0:
			p.Add |= flag
		case set:
			p.Keywords = append(p.Keywords, name)
		case flag != 0:
			p.Remove |= flag
		default:
			p.Drop = append(p.Drop, name)
		}
	}
}
