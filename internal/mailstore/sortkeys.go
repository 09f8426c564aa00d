package mailstore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/message"
)

// What SORT and THREAD look at is kept as data with the message: each commit of a message
// writes a block of one row under k MESSAGE, and packing makes neighbours one block of up
// to keyBlockRows, whose texts and Message-IDs stand in it once. Rows never change. A
// message without a row (of a store written before there were any) has it made from its
// message record, and the sweep writes it.
//
// docs/decisions/0005-sort-keys.md has the alternatives and what they cost.

// Limits of sort keys.
const (
	keyTextMax    = 500      // octets of a prepared text that are compared; equal up to there is equal
	keyBlockRows  = 512      // rows of a block, at most
	keyBlockBytes = 48 << 10 // octets of a block from which on no row is added; one has 4 KB at most
)

// The columns of texts, all prepared for comparison.
const (
	textSubject = iota // base subject (RFC 5256, 2.1)
	textFrom           // addr-mailbox of the first From address; likewise To, Cc
	textTo
	textCc
	textDisplayFrom // display value of the first From address (RFC 5957, 3); likewise To
	textDisplayTo
	textColumns
)

// keyRow is what is kept of one message.
type keyRow struct {
	id      MessageID
	sent    int64 // Date field, seconds since 1970 UTC; with dated
	dated   bool
	reply   bool     // the subject is that of a reply or a forward
	named   bool     // msgID is there
	msgID   uint64   // hash of the Message-ID
	parents []uint64 // hashes of the references, oldest first (RFC 5256, 3, REFERENCES)
	text    [textColumns]string
}

// sortKeys makes the row of a message.
func sortKeys(id MessageID, m *message.Message) *keyRow {
	r := &keyRow{id: id, dated: !m.Date.IsZero()}
	if r.dated {
		r.sent = m.Date.Unix()
	}
	var base string
	base, r.reply = sortSubject(m.Subject)
	r.text = [textColumns]string{
		textSubject: keyText(base), textFrom: keyText(sortMailbox(m.From)), textTo: keyText(sortMailbox(m.To)), textCc: keyText(sortMailbox(m.Cc)),
		textDisplayFrom: keyText(sortDisplay(m.From)), textDisplayTo: keyText(sortDisplay(m.To)),
	}
	if s := normalMessageID(m.MessageID); s != "" {
		r.msgID, r.named = threadHash(s, ""), true
	}
	for _, s := range m.References {
		if s = normalMessageID(s); s != "" {
			r.parents = append(r.parents, threadHash(s, ""))
		}
	}
	for i := 0; i < len(m.InReplyTo) && len(r.parents) == 0; i++ {
		if s := normalMessageID(m.InReplyTo[i]); s != "" {
			r.parents = []uint64{threadHash(s, "")}
		}
	}
	return r
}

// keyText is a text as it is kept.
func keyText(s string) string {
	// Before it is prepared too: what comes behind could only matter in texts that shrink.
	s = casemap(cutText(s, 4*keyTextMax))
	return cutText(s, keyTextMax)
}

// cutText cuts a text between characters.
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// sortMailbox is the addr-mailbox of the first address (RFC 5256, 3, FROM), which is the
// name of a group that comes first.
func sortMailbox(l message.AddressList) string {
	switch {
	case len(l) == 0:
		return ""
	case l[0].Kind == message.KindMailbox:
		return l[0].Local
	}
	return l[0].Name
}

// sortDisplay is the display value of the first address (RFC 5957, 3).
func sortDisplay(l message.AddressList) string {
	if len(l) == 0 || l[0].Name != "" || l[0].Kind != message.KindMailbox {
		return firstName(l)
	}
	return l[0].Local + "@" + l[0].Host
}

func firstName(l message.AddressList) string {
	if len(l) == 0 {
		return ""
	}
	return l[0].Name
}

// The bits of a row's first octet.
const (
	rowDated = 1 << iota
	rowReply
	rowNamed
)

// keyBlock is a block in the making. A block is its format and its rows. A row is the
// difference of its message id, its bits, the sent date against the id's, the hash of the
// Message-ID, the count and the hashes of the references, and the texts. A hash that
// stands in the block already is its number from the end, from 1 on, else 0 and the hash; a
// text likewise is an odd number, else twice its length and the text.
type keyBlock struct {
	value  []byte
	rows   int
	first  MessageID
	last   MessageID
	hashes places[uint64]
	texts  places[string]
}

// places tells where in a block a hash or a text stands. It looks through a list while
// there are few, as in the one row that a delivery writes.
type places[T comparable] struct {
	list []T
	at   map[T]int
}

// placesListed is how many are looked through.
const placesListed = 12

// back returns how far before the end v stands, from 1 on; 0: nowhere, and then it is put
// there.
func (p *places[T]) back(v T) int {
	at, known := -1, false
	if p.at != nil {
		at, known = p.at[v]
	} else if at = slices.Index(p.list, v); at >= 0 {
		known = true
	}
	if known {
		return len(p.list) - at
	}
	p.list = append(p.list, v)
	switch {
	case p.at != nil:
		p.at[v] = len(p.list) - 1
	case len(p.list) > placesListed:
		p.at = make(map[T]int, 4*placesListed)
		for i, v := range p.list {
			p.at[v] = i
		}
	}
	return 0
}

// full tells that no row should be added.
func (b *keyBlock) full() bool { return b.rows >= keyBlockRows || len(b.value) >= keyBlockBytes }

// add adds a row, whose id is above those before.
func (b *keyBlock) add(r *keyRow) {
	if b.rows == 0 {
		b.value, b.first = append(make([]byte, 0, 128), format1), r.id
		b.last = r.id
	}
	b.rows++
	v := binary.AppendUvarint(b.value, uint64(r.id-b.last))
	b.last = r.id
	var bits byte
	for i, set := range [...]bool{r.dated, r.reply, r.named} {
		if set {
			bits |= 1 << i
		}
	}
	v = append(v, bits)
	if r.dated {
		v = binary.AppendVarint(v, r.sent-r.id.Time().Unix())
	}
	if r.named {
		v = b.hash(v, r.msgID)
	}
	v = binary.AppendUvarint(v, uint64(len(r.parents)))
	for _, h := range r.parents {
		v = b.hash(v, h)
	}
	for _, t := range r.text {
		v = b.text(v, t)
	}
	b.value = v
}

func (b *keyBlock) hash(v []byte, h uint64) []byte {
	if n := b.hashes.back(h); n > 0 {
		return binary.AppendUvarint(v, uint64(n))
	}
	return binary.BigEndian.AppendUint64(append(v, 0), h)
}

func (b *keyBlock) text(v []byte, t string) []byte {
	if t == "" {
		return append(v, 0)
	}
	if n := b.texts.back(t); n > 0 {
		return binary.AppendUvarint(v, uint64(n)<<1|1)
	}
	v = binary.AppendUvarint(v, uint64(len(t))<<1)
	return append(v, t...)
}

// put is the block's place in a batch.
func (b *keyBlock) put() kv.Put { return kv.Put{Key: key(keySort, b.first), Value: b.value} }

// keyReader reads blocks. Texts are slices of a copy of their block, so that those of one
// block share it.
type keyReader struct {
	hashes []uint64
	texts  []string
	at     [textColumns]int // of the row at hand: which of texts, from 1 on; 0: empty
	row    keyRow           // reused
}

// read calls f for each row of the block under key k. The row is f's until it returns, its
// texts for ever.
func (d *keyReader) read(k, v []byte, f func(*keyRow)) error {
	id, ok := keyID(k)
	if !ok {
		return fmt.Errorf("%w: key of sort keys %q", ErrDamaged, k)
	}
	whole := string(v)
	r := newReader(v)
	d.hashes, d.texts = d.hashes[:0], d.texts[:0]
	row := &d.row
	row.id = id
	for len(r.b) > 0 {
		row.id += hlc.ID(r.uvarint())
		bits := r.octet()
		row.dated, row.reply, row.named = bits&rowDated != 0, bits&rowReply != 0, bits&rowNamed != 0
		row.sent, row.msgID, row.parents = 0, 0, row.parents[:0]
		if row.dated {
			row.sent = row.id.Time().Unix() + r.varint()
		}
		if row.named {
			row.msgID = d.hash(r)
		}
		for n := r.count(message.ReferencesMax); n > 0; n-- {
			row.parents = append(row.parents, d.hash(r))
		}
		for i := range row.text {
			row.text[i] = ""
			if d.at[i] = d.text(r, whole); d.at[i] > 0 {
				row.text[i] = d.texts[d.at[i]-1]
			}
		}
		if r.bad {
			break
		}
		f(row)
	}
	return r.err("sort keys")
}

func (d *keyReader) hash(r *reader) uint64 {
	n := r.uvarint()
	if n == 0 {
		h := r.uint64()
		d.hashes = append(d.hashes, h)
		return h
	}
	if n > uint64(len(d.hashes)) {
		r.fail()
		return 0
	}
	return d.hashes[uint64(len(d.hashes))-n]
}

// text reads a text and returns where it is in texts, from 1 on; 0: it is empty.
func (d *keyReader) text(r *reader, whole string) int {
	n := r.uvarint()
	back := n >> 1
	switch {
	case n == 0:
		return 0
	case n&1 == 1:
		if back == 0 || back > uint64(len(d.texts)) {
			r.fail()
			return 0
		}
		return len(d.texts) - int(back) + 1
	case back > uint64(len(r.b)):
		r.fail()
		return 0
	}
	at := len(whole) - len(r.b)
	r.b = r.b[back:]
	d.texts = append(d.texts, whole[at:at+int(back)])
	return len(d.texts)
}

// recordKeys makes the row of a message from its message record.
func recordKeys(r *Record) (*keyRow, error) {
	m, err := message.Decode(r.Structure)
	if err != nil {
		return nil, fmt.Errorf("%w: message %s: %w", ErrDamaged, r.ID, err)
	}
	return sortKeys(r.ID, m), nil
}
