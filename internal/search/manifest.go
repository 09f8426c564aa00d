package search

import (
	"encoding/binary"
	"fmt"
	"sort"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// Bounds of segments.
const (
	segmentDocsMax   = 64 << 10 // messages of a segment that is merged from others
	segmentsMax      = 1500     // in the manifest, which is one value
	messagesPerPiece = 4096
)

// segment is what the manifest has of one.
type segment struct {
	id        hlc.ID
	docs      int
	languages languages // that a good part of its messages are in
}

// readManifest reads the segments, oldest first, and the value they come from. Those of
// another format are not there: their messages are looked into until Clean has taken them
// away and the back-fill has come by.
func readManifest(snap kv.Snapshot) (all []segment, raw []byte, err error) {
	if raw, err = get(snap, manifestKey); raw == nil || outdated(raw) {
		return nil, raw, err
	}
	r := newReader(raw)
	for n := r.count(len(raw)); n > 0 && !r.bad; n-- {
		id := r.take(8)
		if id == nil {
			break
		}
		s := segment{id: hlc.ID(binary.BigEndian.Uint64(id)), docs: r.count(segmentDocsMax)}
		s.languages = languages(r.uvarint())
		all = append(all, s)
	}
	return all, raw, r.err("list of segments")
}

func appendManifest(dst []byte, all []segment) []byte {
	dst = append(dst, format)
	dst = binary.AppendUvarint(dst, uint64(len(all)))
	for _, s := range all {
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.id))
		dst = binary.AppendUvarint(dst, uint64(s.docs))
		dst = binary.AppendUvarint(dst, uint64(s.languages))
	}
	return dst
}

// readMessages reads the messages of a segment, in order.
func (s *segment) readMessages(snap kv.Snapshot) ([]MessageID, error) {
	all := make([]MessageID, 0, s.docs)
	for e, err := range snap.Scan(kv.Prefix(idKey(keyMessages, s.id))) {
		if err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		r := newReader(e.Value)
		last := MessageID(0)
		for len(r.b) > 0 && len(all) < s.docs {
			last += MessageID(r.uvarint())
			all = append(all, last)
		}
		if err := r.err("messages of a segment"); err != nil {
			return nil, err
		}
	}
	if len(all) != s.docs {
		return nil, fmt.Errorf("%w: segment %s has %d messages, not %d", ErrDamaged, s.id, len(all), s.docs)
	}
	return all, nil
}

// position finds a message in an ordered list, −1 when it is not there.
func position(all []MessageID, id MessageID) int {
	i := sort.Search(len(all), func(i int) bool { return all[i] >= id })
	if i < len(all) && all[i] == id {
		return i
	}
	return -1
}

// ranges are the keys of a segment.
func (s *segment) ranges() []kv.Range {
	var all []kv.Range
	for _, kind := range []byte{keyMessages, keyTerms, keyPostings, keyPlaces} {
		all = append(all, kv.Prefix(idKey(kind, s.id)))
	}
	return all
}
