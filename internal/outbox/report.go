package outbox

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/message"
	"postroad/report"
)

// indexKey is the key under which reports find the submission; nil: it has no Message-ID.
func (sub *Submission) indexKey() []byte {
	if sub.MessageID == "" {
		return nil
	}
	return binary.BigEndian.AppendUint64(indexPrefix(sub.MessageID), uint64(sub.ID))
}

func indexPrefix(messageID string) []byte {
	h := sha256.Sum256([]byte(messageID))
	return key(partID, h[:16]...)
}

// index lets reports find a submission by its Message-ID.
func (s *Store) index(b *kv.Batch, sub *Submission) {
	if k := sub.indexKey(); k != nil {
		b.Puts = append(b.Puts, kv.Put{Key: k, Value: []byte{format1}})
	}
}

// envelopeLetter is before the id of a submission where it is an ENVID (RFC 8621, 7).
const envelopeLetter = "S"

// EnvelopeID is the ENVID of a mail that has a submission: what reports about it name.
func EnvelopeID(id mailflow.ID) string { return envelopeLetter + id.String() }

// sameMessageMax is how many submissions of one message a receipt is for.
const sameMessageMax = 20

// PrepareReport adds to the unit what a message that is filed in an account tells of mail
// that was sent from there: a delivery status notification or a read receipt. Anything
// else, and what cannot be read, is passed over.
func (s *Store) PrepareReport(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, id mailstore.MessageID, m *message.Message, body io.ReaderAt) error {
	if m.Root.Type != "multipart" || m.Root.Subtype != "report" {
		return nil
	}
	if d, err := report.Find(m, body); err == nil {
		return s.dsn(ctx, u, account, id, d)
	}
	if d, err := report.FindMDN(m, body); err == nil {
		return s.mdn(ctx, u, account, id, d)
	}
	return nil
}

// dsn takes over what a notification says of recipients (RFC 8621, 7).
func (s *Store) dsn(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, id mailstore.MessageID, d *report.DSN) error {
	text, ours := strings.CutPrefix(d.EnvelopeID, envelopeLetter)
	of, err := hlc.Parse(text)
	if !ours || err != nil {
		return nil
	}
	return s.change(ctx, u, account, of, func(sub *Submission) error {
		if len(sub.DSNs) < reportsMax {
			sub.DSNs = append(sub.DSNs, id)
		}
		for i := range d.Recipients {
			r := &d.Recipients[i]
			to := sub.recipient(r.Original, r.Final)
			if to == nil || to.Delivered == Yes || to.Delivered == No {
				continue
			}
			switch r.Action {
			case report.Delivered:
				to.Delivered = Yes
			case report.Failed:
				to.Delivered = No
			}
			if r.Diagnostic != "" {
				to.Reply = r.Diagnostic
			}
		}
		return nil
	})
}

// recipient finds whom a report is about, nil when it is nobody of the envelope.
func (sub *Submission) recipient(names ...report.TypedAddress) *Recipient {
	for _, n := range names {
		for i := range sub.To {
			if n.Address != "" && strings.EqualFold(sub.To[i].Email, n.Address) {
				return &sub.To[i]
			}
		}
	}
	return nil
}

// mdn takes over that a recipient has seen the message.
func (s *Store) mdn(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, id mailstore.MessageID, d *report.MDN) error {
	if d.OriginalMessageID == "" {
		return nil
	}
	all, err := s.byMessageID(ctx, account, d.OriginalMessageID)
	if err != nil {
		return err
	}
	for _, of := range all {
		err := s.change(ctx, u, account, of, func(sub *Submission) error {
			to := sub.recipient(d.Original, d.Final)
			if to == nil {
				return nil // somebody whom a list or a forward gave it to
			}
			if len(sub.MDNs) < reportsMax {
				sub.MDNs = append(sub.MDNs, id)
			}
			to.Displayed = to.Displayed || d.Disposition.Type == report.Displayed
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// byMessageID finds the submissions of a message.
func (s *Store) byMessageID(ctx context.Context, account mailstore.AccountID, messageID string) ([]mailflow.ID, error) {
	snap, err := s.snapshot(ctx, account)
	if errors.Is(err, mailstore.ErrNoAccount) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	r := kv.Prefix(indexPrefix(messageID))
	r.Limit = sameMessageMax
	var all []mailflow.ID
	for e, err := range snap.Scan(r) {
		if err != nil {
			return nil, fmt.Errorf("find submissions by Message-ID: %w", err)
		}
		if len(e.Key) == 2+16+8 {
			all = append(all, hlc.ID(binary.BigEndian.Uint64(e.Key[18:])))
		}
	}
	return all, nil
}
