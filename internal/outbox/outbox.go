// Package outbox keeps, in the account of who sent it, what becomes of mail that was sent:
// a submission for each mail that is followed, and for mail that still waits an entry in
// the mailbox Scheduled, where it can be taken back by any client.
//
// The main type is [Store]. A submission has the id of its mail in transit. It is made in
// the commit that takes the mail ([Store.PrepareSubmission]), changed in the commits of the
// queue (Store is a mailflow.Tracker), and the entry in Scheduled comes and goes with them:
//
//	submitted   queue item, submission, link and entry in Scheduled are one commit
//	recalled    the entry leaves Scheduled by a client's hand: the item goes in that commit
//	released    the item's time has come: the entry goes in the commit that lets the mail go
//
// The last two change the same item, so of them exactly one is done, whatever crashes when.
// The package keeps identities too, the addresses that an account sends with. It sends
// nothing and speaks no protocol.
//
// RFC 8621 (6 identities, 7 submissions), RFC 4865 (mail that is held), RFC 3464 and 8098
// (what reports tell).
package outbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/objects"
)

// Errors; test with errors.Is.
var (
	ErrNotPending = errors.New("outbox: the mail is on its way, or was taken back")
	ErrTooLarge   = errors.New("outbox: more recipients than a submission can have")
	ErrUndo       = errors.New("outbox: sending can be undone for 0 to 300 seconds")
)

// UndoMax is how long mail may wait for its sender to change his mind.
const UndoMax = 5 * time.Minute

// Store keeps what was sent. All methods may be called at once.
type Store struct {
	Committer *mailflow.Committer
	Mail      *mailstore.Store
	Objects   *objects.Store
	Directory *directory.Store
	Queue     mailflow.Canceller
	Log       *slog.Logger
}

// The keys, in the account's space, beside its objects:
//
//	U u               for how long sending can be undone
//	U l MESSAGE MAIL  the message waits, as that mail
//	U w MAIL          the message that waits as this mail
//	U i HASH MAIL     Message-ID of a submission, for the reports about it
//	U d ADDRESS       the identity that was made for an address
const (
	keyOutbox = 'U'

	partUndo     = 'u'
	partLink     = 'l'
	partWaits    = 'w'
	partID       = 'i'
	partIdentity = 'd'
)

// format1 is the first octet of every value of these keys.
const format1 = 1

func key(part byte, rest ...byte) []byte { return append([]byte{keyOutbox, part}, rest...) }

func linkPrefix(m mailstore.MessageID) []byte {
	return binary.BigEndian.AppendUint64(key(partLink), uint64(m))
}

func linkKey(m mailstore.MessageID, mail mailflow.ID) []byte {
	return binary.BigEndian.AppendUint64(linkPrefix(m), uint64(mail))
}

func waitsKey(mail mailflow.ID) []byte {
	return binary.BigEndian.AppendUint64(key(partWaits), uint64(mail))
}

// batch is the unit's batch for an account, which must live.
func batch(u *mailflow.Unit, id mailstore.AccountID) *kv.Batch {
	space, lives := mailstore.Guest(id)
	b := u.Batch(space)
	b.Guards = append(b.Guards, lives)
	return b
}

// snapshot opens an account's space; mailstore.ErrNoAccount.
func (s *Store) snapshot(ctx context.Context, id mailstore.AccountID) (kv.Snapshot, error) {
	space, _ := mailstore.Guest(id)
	snap, err := s.Committer.Engine.Snapshot(ctx, space)
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	if err := mailstore.Lives(snap); err != nil {
		return nil, errors.Join(err, snap.Close())
	}
	return snap, nil
}

// Undo is for how long mail of an account waits at the doors of submission; 0: not at all.
func (s *Store) Undo(ctx context.Context, id mailstore.AccountID) (time.Duration, error) {
	snap, err := s.snapshot(ctx, id)
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	v, err := snap.Get(key(partUndo))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the time to undo: %w", err)
	}
	if len(v) < 2 || v[0] != format1 {
		return 0, fmt.Errorf("%w: time to undo", mailstore.ErrDamaged)
	}
	seconds, n := binary.Uvarint(v[1:])
	if n != len(v)-1 || seconds > uint64(UndoMax/time.Second) {
		return 0, fmt.Errorf("%w: time to undo", mailstore.ErrDamaged)
	}
	return time.Duration(seconds) * time.Second, nil
}

// SetUndo sets for how long mail waits, in whole seconds; ErrUndo. The mailbox in which it
// does is made, so that it can be seen from the first mail on.
func (s *Store) SetUndo(ctx context.Context, id mailstore.AccountID, d time.Duration) error {
	if err := s.MayWait(ctx, id, d); err != nil {
		return err
	}
	return s.Committer.Commit(ctx, func(_ context.Context, u *mailflow.Unit) error {
		s.PrepareUndo(u, id, d)
		return nil
	})
}

// MayWait makes an account ready for mail that waits: ErrUndo where it cannot wait for so
// long, else the mailbox in which it does is there.
func (s *Store) MayWait(ctx context.Context, id mailstore.AccountID, d time.Duration) error {
	if d < 0 || d > UndoMax || d%time.Second != 0 {
		return ErrUndo
	}
	if d == 0 {
		return nil
	}
	a, err := s.Mail.Account(ctx, id)
	if err != nil {
		return err
	}
	_, err = s.Scheduled(ctx, a)
	return err
}

// PrepareUndo sets within a unit for how long mail waits; MayWait has been asked.
func (s *Store) PrepareUndo(u *mailflow.Unit, id mailstore.AccountID, d time.Duration) {
	b := batch(u, id)
	v := binary.AppendUvarint([]byte{format1}, uint64(d/time.Second))
	b.Puts = append(b.Puts, kv.Put{Key: key(partUndo), Value: v})
}
