package mailstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/message"
)

// Want says which fields of a Record are read; fewer are faster.
type Want uint8

// What a Record may have. Row is always there.
const (
	WantEnvelope  Want = 1 << iota // Envelope, Thread, Sent, and the texts Subject to Bcc
	WantStructure                  // Body, BodyStructure, Structure, Preview, Thread
)

// Record is what is stored of a message. Slices are valid until the next step of the loop
// only.
type Record struct {
	Index int
	Row
	Missing bool // expunged and swept since the snapshot: only Index and Row are there

	Thread   ThreadID
	Envelope []byte // as FETCH ENVELOPE sends it
	Sent     int64  // Date field, seconds since 1970 UTC; 0: none
	SentZone int16  // its zone, minutes east

	// Decoded, as SEARCH compares them; addresses as "name <local@domain>, …".
	Subject, From, To, Cc, Bcc []byte
	Truncated                  bool // one of the texts is not whole: see Structure

	Body          blob.Body
	BodyStructure []byte // as FETCH BODYSTRUCTURE sends it
	Structure     []byte // of message.AppendBinary: for message.Find and message.Decode
	Preview       string
}

// recordMax bounds the part of a value of l or m that depends on the message, in octets.
// What is larger is made anew from the body by each read: only hostile mail has it.
const recordMax = 56 << 10

// textMax bounds each decoded text of a list record, in octets.
const textMax = 1 << 10

// The bits of the octet that tells how a record is.
const (
	recordTruncated = 1 << iota // texts are cut
	recordDerived               // the large part is to be made from the body
)

// The list record: format, home (mailbox and UID of the first entry), thread, bits, size,
// internal date, sent, zone, five texts, ENVELOPE.
const (
	listHomeUIDOffset = 9
	listHeadLen       = 1 + 8 + 4
)

// appendList writes the list record of a message. The UID of its home is filled in later.
func appendList(dst []byte, home MailboxID, thread ThreadID, in *Incoming) []byte {
	m := in.Message
	dst = append(dst, format1)
	dst = binary.BigEndian.AppendUint64(dst, uint64(home))
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(thread))
	bits := len(dst)
	dst = append(dst, 0)
	dst = binary.AppendUvarint(dst, uint64(in.Body.Size))
	dst = binary.AppendVarint(dst, in.InternalDate.Unix())
	var sent int64
	var zone int
	if !m.Date.IsZero() {
		_, zone = m.Date.Zone()
		sent = m.Date.Unix()
	}
	dst = binary.AppendVarint(dst, sent)
	dst = binary.AppendVarint(dst, int64(zone/60))
	texts := [...][]byte{[]byte(m.Subject), addressText(m.From), addressText(m.To), addressText(m.Cc), addressText(m.Bcc)}
	for _, t := range texts {
		if len(t) > textMax {
			t = t[:textMax]
			dst[bits] |= recordTruncated
		}
		dst = appendText(dst, t)
	}
	before := len(dst)
	dst = imap.AppendEnvelope(dst, m)
	if len(dst)-before > recordMax {
		dst = dst[:before]
		dst[bits] |= recordDerived
	}
	return dst
}

// addressText is an address list as SEARCH compares it; it stops soon above textMax.
func addressText(l message.AddressList) []byte {
	var t []byte
	for i := range l {
		if len(t) > textMax {
			break
		}
		if len(t) > 0 {
			t = append(t, ", "...)
		}
		t = append(t, l[i].Name...)
		if l[i].Kind == message.KindMailbox {
			t = append(t, " <"...)
			t = append(t, l[i].Local...)
			t = append(t, '@')
			t = append(t, l[i].Host...)
			t = append(t, '>')
		}
	}
	return t
}

// readList reads a list record into r; slices stay in v. derived tells that ENVELOPE is
// not there.
func (r *Record) readList(v []byte) (home Location, derived bool, err error) {
	d := newReader(v)
	home.Mailbox, home.UID = d.id(), d.uint32()
	r.Thread = d.id()
	bits := d.octet()
	d.uvarint() // size and internal date are in the row
	d.varint()
	r.Sent, r.SentZone = d.varint(), int16(d.varint())
	r.Subject, r.From, r.To, r.Cc, r.Bcc = d.text(), d.text(), d.text(), d.text(), d.text()
	r.Truncated = bits&recordTruncated != 0
	r.Envelope = d.b
	return home, bits&recordDerived != 0, d.err("list record")
}

// The message record: format, thread, body, bits, hashes of threading, preview,
// BODYSTRUCTURE, structure.

// appendMessage writes the message record.
func appendMessage(dst []byte, thread ThreadID, hashes []uint64, in *Incoming) []byte {
	dst = append(dst, format1)
	dst = binary.BigEndian.AppendUint64(dst, uint64(thread))
	dst = in.Body.AppendBinary(dst)
	bits := len(dst)
	dst = append(dst, 0)
	dst = binary.AppendUvarint(dst, uint64(len(hashes)))
	for _, h := range hashes {
		dst = binary.BigEndian.AppendUint64(dst, h)
	}
	dst = appendText(dst, in.Message.Preview)
	before := len(dst)
	dst = appendText(dst, imap.AppendBodyStructure(nil, in.Message.Root, true))
	dst = in.Message.AppendBinary(dst)
	if len(dst)-before > recordMax {
		dst = dst[:before]
		dst[bits] |= recordDerived
	}
	return dst
}

// readMessage reads a message record into r; slices stay in v.
func (r *Record) readMessage(v []byte) (hashes []uint64, derived bool, err error) {
	d := newReader(v)
	r.Thread = d.id()
	if d.bad {
		return nil, false, d.err("message record")
	}
	if r.Body, d.b, err = blob.DecodeBody(d.b); err != nil {
		return nil, false, fmt.Errorf("%w: message record: %w", ErrDamaged, err)
	}
	bits := d.octet()
	for n := d.count(2 * referencesMax); n > 0; n-- {
		hashes = append(hashes, d.uint64())
	}
	r.Preview = string(d.text())
	if bits&recordDerived == 0 {
		r.BodyStructure, r.Structure = d.text(), d.b
	}
	return hashes, bits&recordDerived != 0, d.err("message record")
}

// derive makes the large parts of a record from the body.
func (a *Account) derive(ctx context.Context, r *Record, want Want) error {
	body, err := a.Open(ctx, r.Body)
	if err != nil {
		return err
	}
	defer body.Close()
	m, err := message.Parse(io.NewSectionReader(body, 0, body.Size()), message.Limits{})
	if err != nil {
		return fmt.Errorf("%w: parse message %s again: %w", ErrDamaged, r.ID, err)
	}
	if want&WantEnvelope != 0 {
		r.Envelope = imap.AppendEnvelope(nil, m)
	}
	if want&WantStructure != 0 {
		r.BodyStructure, r.Structure = imap.AppendBodyStructure(nil, m.Root, true), m.AppendBinary(nil)
	}
	return nil
}

// Open opens the octets of a message.
func (a *Account) Open(ctx context.Context, b blob.Body) (blob.Reader, error) {
	r, err := a.store.o.Committer.Bodies.Open(ctx, b)
	if err != nil {
		return nil, storageError("open a message", err)
	}
	return r, nil
}

// readRecord reads what is wanted of one message. The slices belong to r. It tells whether
// large parts are to be derived.
func readRecord(snap kv.Snapshot, r *Record, want Want) (derived bool, err error) {
	if want&WantEnvelope != 0 {
		v, found, err := get(snap, key(keyList, r.ID))
		if err != nil {
			return false, err
		}
		if !found {
			r.Missing = true
			return false, nil
		}
		if _, derived, err = r.readList(v); err != nil {
			return false, fmt.Errorf("message %s: %w", r.ID, err)
		}
	}
	if want&WantStructure == 0 && !derived {
		return false, nil
	}
	v, found, err := get(snap, key(keyMessage, r.ID))
	if err != nil {
		return false, err
	}
	if !found {
		r.Missing = true
		return false, nil
	}
	envelope := derived
	if _, derived, err = r.readMessage(v); err != nil {
		return false, fmt.Errorf("message %s: %w", r.ID, err)
	}
	return derived && want&WantStructure != 0 || envelope, nil
}
