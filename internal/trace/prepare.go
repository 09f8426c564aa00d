package trace

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// shards is the number of trace spaces, "t/0" to "t/f".
const shards = 16

// The keys in a trace space. Ids order by time, so that old mail lies in front.
//
//	'e' id time random part → events of one unit: see record.go
//	'd' id random           → digest: 4 octets for each term by which the mail is found
//
// The digest is not an index: finding a mail scans the digests, newest first, at some 60 ns
// each, which people who ask can wait for; an index of its terms would cost each delivery
// three more puts.
const (
	keyEvents = 'e'
	keyDigest = 'd'

	// keyRoom holds the longest key.
	keyRoom = 1 + 8 + 8 + 4 + 1

	hashSize = 4
	// digestMax is how many terms one digest holds.
	digestMax = 4096
	// partsMax is how many records the events of one unit may fill; the last octet of a key.
	partsMax = 256
)

// spaces are the names of the trace spaces.
var spaces = [shards]kv.Space{
	"t/0", "t/1", "t/2", "t/3", "t/4", "t/5", "t/6", "t/7",
	"t/8", "t/9", "t/a", "t/b", "t/c", "t/d", "t/e", "t/f",
}

// space is where the trace of a mail is. The low bits of its id are the node's, the next
// ones count within a millisecond.
func space(id mailflow.ID) kv.Space {
	return spaces[(id>>10^id>>22)%shards]
}

// prefix is what the keys of a kind of a mail start with.
func prefix(kind byte, id mailflow.ID) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, keyRoom), kind), uint64(id))
}

// Prepare adds events to the unit, in the order given. Events of one unit gather in one
// record for each mail, however often Prepare is called. A zero Time is set to now.
func Prepare(u *mailflow.Unit, events ...Event) {
	for i := range events {
		e := &events[i]
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		b := u.Quiet(space(e.Mail))
		for _, part := range e.encode() {
			appendEvents(b, e, part)
		}
		// Later units tell nothing new to find a mail by, except where it went on to.
		if e.Kind == Accepted || e.Kind == Routed || e.Kind == Delivered || e.Kind == Expired {
			appendDigest(b, e)
		}
	}
}

// last finds the newest put of the batch with a kind of key of a mail.
func last(b *kv.Batch, kind byte, id mailflow.ID) *kv.Put {
	for i := len(b.Puts) - 1; i >= 0; i-- {
		key := b.Puts[i].Key
		if of, ok := idOf(key); ok && of == id && key[0] == kind {
			return &b.Puts[i]
		}
	}
	return nil
}

// appendEvents adds an event to the unit's record, or begins the next one.
func appendEvents(b *kv.Batch, e *Event, part []byte) {
	p := last(b, keyEvents, e.Mail)
	switch {
	case p == nil:
		key := prefix(keyEvents, e.Mail)
		key = binary.BigEndian.AppendUint64(key, uint64(e.Time.UnixMicro()))
		key = binary.BigEndian.AppendUint32(key, rand.Uint32()) // two units may have the same instant
		value := append(make([]byte, 0, 512), recordFormat)
		b.Puts = append(b.Puts, kv.Put{Key: append(key, 0), Value: append(value, part...)})
	case len(p.Value)+len(part) <= recordMax:
		p.Value = append(p.Value, part...)
	default:
		key := bytes.Clone(p.Key)
		if key[len(key)-1] == partsMax-1 {
			return // thousands of events in one commit: what follows would not help anybody
		}
		key[len(key)-1]++
		b.Puts = append(b.Puts, kv.Put{Key: key, Value: append([]byte{recordFormat}, part...)})
	}
}

// appendDigest adds the terms of an event to the mail's digest in the unit.
func appendDigest(b *kv.Batch, e *Event) {
	p := last(b, keyDigest, e.Mail)
	if p == nil {
		key := binary.BigEndian.AppendUint32(prefix(keyDigest, e.Mail), rand.Uint32())
		b.Puts = append(b.Puts, kv.Put{Key: key})
		p = &b.Puts[len(b.Puts)-1]
	}
	for term := range e.terms() {
		hash := hashOf(term)
		if len(p.Value) < digestMax*hashSize && !holds(p.Value, hash) {
			p.Value = append(p.Value, hash[:]...)
		}
	}
}

// terms yields what the mail of the event can be found by, folded.
func (e *Event) terms() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, s := range [...]string{e.MessageID, e.Sender} {
			if s != "" && !yield(fold(s)) {
				return
			}
		}
		for _, s := range e.Recipients {
			if s != "" && !yield(fold(s)) {
				return
			}
		}
	}
}

// fold makes a Message-ID or an address comparable: without angle brackets and in lower
// case, local part included, since nobody remembers it.
func fold(s string) string {
	s = strings.TrimSpace(s)
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		s = strings.TrimSuffix(inner, ">")
	}
	return strings.ToLower(s[:min(len(s), addressMax)])
}

// hashOf is how a folded term stands in a digest: its FNV-1a hash.
func hashOf(term string) [hashSize]byte {
	const offset, prime = 2166136261, 16777619
	h := uint32(offset)
	for i := range len(term) {
		h = (h ^ uint32(term[i])) * prime
	}
	var b [hashSize]byte
	binary.BigEndian.PutUint32(b[:], h)
	return b
}

// holds tells whether the digest has the hash.
func holds(digest []byte, hash [hashSize]byte) bool {
	for ; len(digest) >= hashSize; digest = digest[hashSize:] {
		if [hashSize]byte(digest) == hash {
			return true
		}
	}
	return false
}
