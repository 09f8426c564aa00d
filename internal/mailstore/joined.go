package mailstore

import (
	"encoding/binary"
	"fmt"
	"slices"

	"postroad/internal/kv"
)

// Two threads turn out to be one when a message comes that refers to both (RFC 8621, 3):
// the missing parent of one, say, which answers the other. Then the younger thread joins
// the older: two keys and a change record in that message's commit, however many messages
// there are. What IMAP tells of them as THREADID stays, as RFC 8474, 5.2, wants; the
// conversation as a whole is what Account.Thread gives.
//
// docs/decisions/0006-threads-join.md says why messages are not put into another thread.

// familyMax is how many threads of one conversation are looked at. Beyond it a message
// joins the first of those it refers to, and no others are joined.
const familyMax = 64

// root is threadRoot, with what this unit is about to write.
func (w *work) root(id ThreadID) (ThreadID, error) {
	b := w.quiet()
	return threadRoot(id, func(k []byte) ([]byte, bool, error) { return w.threadValue(b, k) })
}

// threadRoot follows a thread to the oldest that it has come to belong to. Each joined an
// older one, so there is an end.
func threadRoot(id ThreadID, read func(k []byte) ([]byte, bool, error)) (ThreadID, error) {
	for range familyMax {
		v, found, err := read(key(keyJoined, id))
		if err != nil || !found {
			return id, err
		}
		r := newReader(v)
		to := r.id()
		if to >= id {
			r.fail()
		}
		if err := r.err("thread that joined"); err != nil {
			return 0, err
		}
		id = to
	}
	return id, nil
}

// join makes several threads one, and returns its name.
func (w *work) join(roots []ThreadID) ThreadID {
	oldest := slices.Min(roots)
	for _, id := range roots {
		if id == oldest {
			continue
		}
		k := key(keyJoined, id)
		b := w.batch()
		if pending(b, k) != nil {
			continue // by another message of this commit
		}
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: k})
		b.Puts = append(b.Puts, kv.Put{Key: k, Value: binary.BigEndian.AppendUint64([]byte{format1}, uint64(oldest))},
			kv.Put{Key: key(keyMember, oldest, id), Value: []byte{format1, memberJoins}})
		logJoined(b, id, oldest)
	}
	return oldest
}

// family is the threads of one conversation, the one that the others joined first.
type family struct{ threads []threadOf }

type threadOf struct {
	id      ThreadID
	members []member
}

func (f *family) root() ThreadID { return f.threads[0].id }

// members are the messages of all of them.
func (f *family) members() []member {
	var all []member
	for i := range f.threads {
		for _, m := range f.threads[i].members {
			if !m.joins {
				all = append(all, m)
			}
		}
	}
	return all
}

// readFamily reads the conversation that a thread belongs to.
func readFamily(snap kv.Snapshot, id ThreadID) (*family, error) {
	root, err := threadRoot(id, func(k []byte) ([]byte, bool, error) { return get(snap, k) })
	if err != nil {
		return nil, fmt.Errorf("thread %s: %w", id, err)
	}
	f := &family{threads: []threadOf{{id: root}}}
	for i := 0; i < len(f.threads); i++ {
		members, err := threadMembers(snap, f.threads[i].id)
		if err != nil {
			return nil, err
		}
		f.threads[i].members = members
		for _, m := range members {
			if m.joins && len(f.threads) < familyMax {
				f.threads = append(f.threads, threadOf{id: m.id})
			}
		}
	}
	return f, nil
}
