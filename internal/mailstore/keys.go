package mailstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
)

// The keys of an account's space. The first octet of a key says what it is about, the
// first octet of a value is its format. Numbers are big endian, so that keys order as
// they do.
//
//	a                    account: quota
//	t                    stamp of the tree: version of its last change, last UIDVALIDITY
//	b MAILBOX            mailbox: parent, name, UIDVALIDITY, role
//	s NAME               a subscribed name
//	h MAILBOX            HIGHESTMODSEQ: written in each commit that touches the mailbox
//	w MAILBOX            table of keywords, only ever growing
//	e MAILBOX UID        entries: a block of messages from UID on, as they were added;
//	                     never changed, only packed into fewer blocks
//	f MAILBOX CHUNK      state: what became of the 256 UIDs of a chunk since: flags, gone
//	l MESSAGE            list record: what listing and searching need
//	m MESSAGE            message record: body, structure
//	o MESSAGE MAILBOX UID  entry of a message, beside its first one, which l names
//	c MODSEQ N           change log
//	i HASH               Message-ID and subject → thread
//	r THREAD MESSAGE     members of a thread, beside the one it is named after; threads
//	                     that joined it, by the message they are named after
//	J THREAD             the thread that this one joined
//	g MODSEQ N           expunged entries to be swept
//	d MAILBOX UID        the block's o keys are still to be written
//	p ID                 messages staged for one APPEND that no entry names yet
//	y ID N               blocks staged for one COPY
//	R k HASH             what rules remember, until when: see memory.go
//	R x TIME HASH        the same in the order in which it is forgotten
//	S …                  Sieve scripts, which are internal/scripts's: see Guest
//	O …                  objects that are not mail: internal/objects
//	U …                  what waits to be sent: internal/outbox
//	Z …                  what comes back later: internal/snooze
//	x …                  full-text index: internal/search
//	k MESSAGE            sort keys: a block of messages from MESSAGE on, see sortkeys.go
//	n MAILBOX READER NAME  annotation: see annotate.go
//	q                    lease of the organisation's quota: see pool.go
//	W                    part of the quota that was warned of: see warn.go
//	u MAILBOX            recoverable mailbox: see recoverable.go
//	A                    scope in which the account shares mailboxes
//	A MAILBOX            access control list
//	v MAILBOX READER     HIGHESTMODSEQ of a reader's own \Seen in another one's mailbox
//	v MAILBOX READER N   his \Seen of the 1024 UIDs of a chunk
//
// A message is in a mailbox when the mailbox has its b, some block of e has the UID, and
// f does not say that it is gone. Flags are those of the block unless f has others. Who
// changes or removes an entry, or copies from it, guards its chunk of f; a chunk once
// written is never deleted while the mailbox is there, so that one absent has nothing
// expunged. Deliveries touch no f: they never conflict.
//
// Counters: n u x z MAILBOX (messages, unseen, deleted, octets), Q and N (quota: octets,
// entries), M (octets of annotations). Sequences: MAILBOX (UIDs).
const (
	keyAccount      = 'a'
	keyTree         = 't'
	keyMailbox      = 'b'
	keySubscription = 's'
	keyHighest      = 'h'
	keyKeywords     = 'w'
	keyEntry        = 'e'
	keyState        = 'f'
	keyList         = 'l'
	keyMessage      = 'm'
	keyEntryOf      = 'o'
	keyChange       = 'c'
	keyMessageID    = 'i'
	keyMember       = 'r'
	keyJoined       = 'J'
	keyGarbage      = 'g'
	keyTodo         = 'd'
	keyPending      = 'p'
	keyStaged       = 'y'
	keyMemory       = 'R'
	keySort         = 'k'
	keyACL          = 'A'
	keySeen         = 'v'
)

const (
	countMessages = 'n'
	countUnseen   = 'u'
	countDeleted  = 'x'
	countOctets   = 'z'
)

var (
	quotaBytesKey    = []byte{'Q'}
	quotaMessagesKey = []byte{'N'}
	accountKey       = []byte{keyAccount}
	treeKey          = []byte{keyTree}
)

// format1 is the first octet of every value that this version writes.
const format1 = 1

// chunkBits: a chunk of f is 256 UIDs.
const (
	chunkBits = 8
	chunkSize = 1 << chunkBits
)

// key builds the key of something named by ids.
func key(kind byte, ids ...hlc.ID) []byte {
	k := make([]byte, 1, 1+8*len(ids)+4)
	k[0] = kind
	for _, id := range ids {
		k = binary.BigEndian.AppendUint64(k, uint64(id))
	}
	return k
}

// numberKey is key with a number of four octets behind it: a UID or a chunk.
func numberKey(kind byte, id hlc.ID, n uint32) []byte {
	return binary.BigEndian.AppendUint32(key(kind, id), n)
}

// numberKeyOffset is where the number stands in it.
const numberKeyOffset = 9

// entryOfKey names an entry under its message.
func entryOfKey(m MessageID, mailbox MailboxID, uid uint32) []byte {
	return binary.BigEndian.AppendUint32(key(keyEntryOf, m, mailbox), uid)
}

// entryOfUIDOffset is where the UID stands in it.
const entryOfUIDOffset = 17

// keyID reads the id behind the first octet of a key.
func keyID(k []byte) (hlc.ID, bool) {
	if len(k) < 9 {
		return 0, false
	}
	return hlc.ID(binary.BigEndian.Uint64(k[1:])), true
}

// keyNumber reads the number at the end of a numberKey.
func keyNumber(k []byte) (uint32, bool) {
	if len(k) != numberKeyOffset+4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(k[numberKeyOffset:]), true
}

// numberRange is the range of the number keys from first to last, both included.
func numberRange(kind byte, id hlc.ID, first, last uint32) kv.Range {
	r := kv.Range{From: numberKey(kind, id, first)}
	if last == ^uint32(0) {
		r.To = kv.Prefix(key(kind, id)).To
	} else {
		r.To = numberKey(kind, id, last+1)
	}
	return r
}

// get reads a value; found is false where there is none.
func get(snap kv.Snapshot, k []byte) (v []byte, found bool, err error) {
	v, err = snap.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read key %q: %w", k, err)
	}
	return v, true, nil
}

// guardValue guards that a key still has what was read: v, or nothing.
func guardValue(k, v []byte, found bool) kv.Guard {
	if !found {
		return kv.Guard{Kind: kv.GuardAbsent, Key: k}
	}
	return kv.Guard{Kind: kv.GuardEquals, Key: k, Value: v}
}

// reader reads the fields of a value; after the first failure all is zero and bad is set.
type reader struct {
	b   []byte
	bad bool
}

// newReader begins a value of format 1.
func newReader(v []byte) *reader {
	r := &reader{b: v}
	if r.octet() != format1 {
		r.bad = true
	}
	return r
}

func (r *reader) octet() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint32() uint32 {
	if len(r.b) < 4 {
		r.fail()
		return 0
	}
	n := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return n
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	n := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return n
}

func (r *reader) id() hlc.ID { return hlc.ID(r.uint64()) }

func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		n := r.b[0]
		r.b = r.b[1:]
		return uint64(n)
	}
	n, w := binary.Uvarint(r.b)
	if w <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[w:]
	return n
}

func (r *reader) varint() int64 {
	n := r.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

// count reads a number that may not be above max.
func (r *reader) count(max int) int {
	n := r.uvarint()
	if n > uint64(max) {
		r.fail()
		return 0
	}
	return int(n)
}

// text reads octets with their length before them, in place.
func (r *reader) text() []byte {
	n := r.count(len(r.b))
	if n > len(r.b) {
		r.fail()
		return nil
	}
	t := r.b[:n:n]
	r.b = r.b[n:]
	return t
}

func (r *reader) fail() { r.b, r.bad = nil, true }

// err tells whether all could be read.
func (r *reader) err(what string) error {
	if r.bad {
		return fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	return nil
}

// appendText appends octets with their length before them.
func appendText[T string | []byte](dst []byte, t T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t)))
	return append(dst, t...)
}
