package mailstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/message"
)

// A thread is named after its first message. A message joins the thread of one that it
// refers to, or that refers to it, if both have the same base subject (RFC 8621, 3). What
// it refers to is remembered with it, so that siblings find each other, and a parent that
// comes late finds its children. A message that refers to two threads shows that they are
// one: the younger joins the older (joined.go). What is told of a message as its thread in
// IMAP never changes (RFC 8474, 5.2).

// threading is where a message belongs.
type threading struct {
	thread ThreadID
	hashes []uint64 // written with this message: the sweep takes them away
}

// thread finds the thread of a message and adds what makes others find it.
func (w *work) thread(id MessageID, m *message.Message) (threading, error) {
	base := baseSubject(m.Subject)
	b := w.quiet()
	t := threading{}
	var roots []ThreadID
	for _, ref := range threadIDs(m) {
		h := threadHash(ref, base)
		if slices.Contains(t.hashes, h) {
			continue
		}
		k := hashKey(h)
		v, found, err := w.threadValue(b, k)
		if err != nil {
			return t, err
		}
		if !found {
			t.hashes = append(t.hashes, h)
			b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: k})
			continue
		}
		r := newReader(v)
		known := r.id()
		if err := r.err("thread of a Message-ID"); err != nil {
			return t, err
		}
		if known, err = w.root(known); err != nil {
			return t, err
		}
		if !slices.Contains(roots, known) {
			roots = append(roots, known)
		}
	}
	if t.thread = id; len(roots) > 0 {
		t.thread = w.join(roots)
		b = w.quiet()
	}
	value := binary.BigEndian.AppendUint64([]byte{format1}, uint64(t.thread))
	for _, h := range t.hashes {
		b.Puts = append(b.Puts, kv.Put{Key: hashKey(h), Value: value})
	}
	if t.thread != id {
		b.Puts = append(b.Puts, kv.Put{Key: key(keyMember, t.thread, id), Value: []byte{format1, memberLives}})
	}
	return t, nil
}

// threadValue reads the value of an i or q key, one that this unit is about to write included.
func (w *work) threadValue(b *kv.Batch, k []byte) ([]byte, bool, error) {
	if p := pending(b, k); p != nil {
		return p.Value, true, nil
	}
	return get(w.snap, k)
}

// The octet behind the format of an r value.
const (
	memberLives = 'l'
	memberDead  = 'd' // then the hashes it wrote, to be taken away with the thread
	memberJoins = 'j' // it is the name of a thread that joined
)

// threadIDs are the Message-IDs that decide on the thread, the most telling one first.
func threadIDs(m *message.Message) []string {
	ids := make([]string, 0, referencesMax)
	add := func(s string) {
		if s != "" && len(ids) < referencesMax {
			ids = append(ids, s)
		}
	}
	add(m.MessageID)
	for _, s := range m.InReplyTo[:min(len(m.InReplyTo), 2)] {
		add(s)
	}
	for i := len(m.References) - 1; i >= 0; i-- {
		add(m.References[i])
	}
	return ids
}

// threadHash folds a Message-ID and a base subject into 64 bits. Whoever makes two fold
// alike only puts his own message into a thread.
func threadHash(id, base string) uint64 {
	h := sha256.Sum256([]byte(id + "\x00" + base))
	return binary.BigEndian.Uint64(h[:])
}

// hashKey names a hash's i key.
func hashKey(h uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyMessageID}, h) }

// replyMarks are what mail programs put before a subject, in lower case, without colon.
var replyMarks = []string{"re", "fw", "fwd", "aw", "wg", "sv", "vs", "vb", "antw", "antwort", "tr", "rv",
	"res", "enc", "rif", "ref", "odp", "pd", "ynt", "ilt", "doorst", "vl", "回复", "转发", "答复"}

// subjectMax bounds what threading looks at of a subject, in octets.
const subjectMax = 1000

// baseSubject is the subject without reply and forward marks, list tags and blanks, in
// lower case: as RFC 5256, 2.1, means it, with the marks of more languages.
func baseSubject(s string) string {
	s = strings.ToLower(strings.Join(strings.Fields(cutText(s, subjectMax)), " "))
	s = cutText(s, subjectMax) // some letters take more octets in lower case
	for {
		t := strings.TrimSpace(strings.TrimSuffix(s, "(fwd)"))
		t = trimTag(trimMark(t))
		if strings.HasPrefix(t, "[fwd:") && strings.HasSuffix(t, "]") {
			t = t[len("[fwd:") : len(t)-1]
		}
		if t == s {
			return s
		}
		s = t
	}
}

// trimMark cuts one "re:", "re[2]:" or "aw (3):" off.
func trimMark(s string) string {
	before, after, found := strings.Cut(s, ":")
	if !found {
		if before, after, found = strings.Cut(s, "："); !found {
			return s
		}
	}
	if i := strings.IndexAny(before, "[("); i >= 0 {
		before = before[:i]
	}
	if len(before) > 16 || !slices.Contains(replyMarks, strings.TrimSpace(before)) {
		return s
	}
	return strings.TrimSpace(after)
}

// trimTag cuts a "[list]" off that is not the whole subject.
func trimTag(s string) string {
	if !strings.HasPrefix(s, "[") || strings.HasPrefix(s, "[fwd:") {
		return s
	}
	i := strings.IndexByte(s, ']')
	if i < 0 || i > 64 || strings.IndexByte(s[1:i], '[') >= 0 {
		return s
	}
	if rest := strings.TrimSpace(s[i+1:]); rest != "" && utf8.ValidString(rest) {
		return rest
	}
	return s
}

// Thread returns the messages of a conversation that are in some mailbox, oldest first: of
// the thread, of those that joined it and of the one it joined.
func (a *Account) Thread(ctx context.Context, id ThreadID) ([]MessageID, error) {
	w, err := a.beginSweep(ctx, new(mailflow.Unit))
	if err != nil {
		return nil, err
	}
	defer w.close()
	f, err := readFamily(w.snap, id)
	if err != nil {
		return nil, storageError("read a thread", err)
	}
	members := f.members()
	var live []MessageID
	for _, m := range members {
		if m.dead {
			continue
		}
		at, err := w.locations(m.id)
		if err != nil {
			return nil, storageError("read a thread", err)
		}
		if len(at) > 0 {
			live = append(live, m.id)
		}
	}
	slices.Sort(live)
	return live, nil
}

// member is one message of a thread.
type member struct {
	id     MessageID
	dead   bool
	joins  bool // id names a thread that joined, not a member
	hashes []uint64
}

// threadMembers reads the members of a thread, the one it is named after included while
// it has no r key of its own.
func threadMembers(snap kv.Snapshot, id ThreadID) ([]member, error) {
	var all []member
	root := false
	for e, err := range snap.Scan(kv.Prefix(key(keyMember, id))) {
		if err != nil {
			return nil, fmt.Errorf("scan a thread: %w", err)
		}
		r := newReader(e.Value)
		kind := r.octet()
		m := member{dead: kind == memberDead, joins: kind == memberJoins}
		for len(r.b) > 0 {
			m.hashes = append(m.hashes, r.uint64())
		}
		k := reader{b: e.Key[9:]}
		m.id = k.id()
		if r.bad || k.bad {
			return nil, fmt.Errorf("%w: member of thread %s", ErrDamaged, id)
		}
		root = root || m.id == id && !m.joins
		all = append(all, m)
	}
	if !root {
		all = append(all, member{id: id})
	}
	return all, nil
}
