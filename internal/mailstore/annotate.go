package mailstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
)

// Annotations (RFC 5464) are values with a name, of a mailbox or of the account as a whole
// (mailbox 0). Names begin with /shared/ for all readers, /private/ for one: those are
// kept under the reader, who need not be the account's owner. They stay with a mailbox that
// is renamed, or deleted and brought back, and go when it is purged.

// keyAnnotation begins the key: n MAILBOX READER NAME. The reader of shared ones is 0.
const keyAnnotation = 'n'

// annotationBytesKey names the counter of octets in names and values.
var annotationBytesKey = []byte{'M'}

// Limits of annotations.
const (
	AnnotationNameBytes   = 256      // octets in a name; RFC 5464 names no limit
	AnnotationValueBytes  = 32 << 10 // octets in a value; RFC 5464, 4.1: at least 1,024
	AnnotationsMax        = 100      // of a mailbox, shared or of one reader; RFC 5464, 4.1: at least 10
	AnnotationsBytesTotal = 4 << 20  // octets in an account
)

// The names with a meaning to us.
const (
	EntrySpecialUse = "/private/specialuse"               // of the owner: the mailbox's special use (RFC 6154, 5.4)
	EntryRetention  = "/shared/vendor/postroad/retention" // a Retention
	sharedPrefix    = "/shared/"
	privatePrefix   = "/private/"
)

// Annotation is one of them. A nil value takes it away.
type Annotation struct {
	Name  string
	Value []byte
}

// annotationKey names an annotation; name as a whole says whether it is shared.
func annotationKey(mailbox MailboxID, reader AccountID, name string) ([]byte, error) {
	if strings.HasPrefix(name, sharedPrefix) {
		reader = 0
	} else if !strings.HasPrefix(name, privatePrefix) || reader == 0 {
		return nil, fmt.Errorf("%w: annotation %q", ErrName, name)
	}
	if len(name) > AnnotationNameBytes {
		return nil, fmt.Errorf("%w: name of an annotation of %d octets", ErrTooLarge, len(name))
	}
	return append(key(keyAnnotation, mailbox, reader), name...), nil
}

// Annotations returns the annotations of a mailbox that a reader sees, in the order of their
// names. ErrNoMailbox.
func (a *Account) Annotations(ctx context.Context, mailbox MailboxID, reader AccountID) ([]Annotation, error) {
	w, err := a.begin(ctx, new(mailflow.Unit))
	if err != nil {
		return nil, err
	}
	defer w.close()
	m := w.tree.ID(mailbox)
	if mailbox != 0 && m == nil {
		return nil, fmt.Errorf("annotations of mailbox %s: %w", mailbox, ErrNoMailbox)
	}
	var all []Annotation
	for _, of := range []AccountID{reader, 0} {
		some, err := scanAnnotations(w.snap, mailbox, of)
		if err != nil {
			return nil, storageError("read annotations", err)
		}
		all = append(all, some...)
	}
	if m != nil && m.Role != "" && reader == a.id {
		all = append(all, Annotation{EntrySpecialUse, []byte(m.Role)})
	}
	slices.SortFunc(all, func(a, b Annotation) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// scanAnnotations reads those of one reader.
func scanAnnotations(snap kv.Snapshot, mailbox MailboxID, reader AccountID) (all []Annotation, err error) {
	prefix := key(keyAnnotation, mailbox, reader)
	for e, err := range snap.Scan(kv.Prefix(prefix)) {
		if err != nil {
			return nil, fmt.Errorf("scan annotations: %w", err)
		}
		if len(e.Value) == 0 || e.Value[0] != format1 {
			return nil, fmt.Errorf("%w: annotation", ErrDamaged)
		}
		all = append(all, Annotation{string(e.Key[len(prefix):]), append([]byte{}, e.Value[1:]...)})
	}
	return all, nil
}

// Annotate sets annotations of a mailbox as a reader, all or none. ErrNoMailbox; ErrName for
// a name that is neither shared nor private; ErrTooLarge; ErrLimit for too many; ErrUse for a
// special use or a retention that is none; ErrOverQuota for too much in the account.
func (a *Account) Annotate(ctx context.Context, mailbox MailboxID, reader AccountID, set []Annotation) error {
	return a.changeTree(ctx, "annotate", func(g *grow) error {
		if mailbox != 0 {
			if m, err := g.mailbox(mailbox); err != nil {
				return err
			} else if m.Recovery != nil {
				return ErrNoMailbox
			}
		}
		for i := range set {
			if err := g.annotate(mailbox, reader, &set[i]); err != nil {
				return err
			}
		}
		return g.countAnnotations(mailbox, reader)
	})
}

// annotate sets one.
func (g *grow) annotate(mailbox MailboxID, reader AccountID, n *Annotation) error {
	k, err := annotationKey(mailbox, reader, n.Name)
	if err != nil {
		return err
	}
	if len(n.Value) > AnnotationValueBytes {
		return fmt.Errorf("%w: value of an annotation of %d octets", ErrTooLarge, len(n.Value))
	}
	switch {
	case n.Name == EntrySpecialUse && mailbox != 0 && reader == g.a.id:
		changed := *g.tree.ID(mailbox)
		return g.role(&changed, imap.MailboxAttr(n.Value))
	case n.Name == EntryRetention && n.Value != nil:
		if _, err := ParseRetention(string(n.Value)); err != nil {
			return err
		}
	}
	if n.Name == EntryRetention {
		if err := g.due(); err != nil {
			return err
		}
	}
	old, found, err := get(g.snap, k)
	if err != nil {
		return err
	}
	b := g.quiet()
	b.Guards = append(b.Guards, guardValue(k, old, found))
	var octets int64
	if found {
		octets = -int64(len(n.Name) + len(old) - 1)
	}
	if n.Value == nil {
		b.Deletes = append(b.Deletes, k)
	} else {
		octets += int64(len(n.Name) + len(n.Value))
		b.Puts = append(b.Puts, kv.Put{Key: k, Value: append([]byte{format1}, n.Value...)})
	}
	b.Adds = append(b.Adds, kv.Add{Key: annotationBytesKey, N: octets, Limit: AnnotationsBytesTotal})
	return nil
}

// countAnnotations refuses more than a mailbox may have. The stamp of the tree, which
// changeTree guards, keeps others from adding some meanwhile.
func (g *grow) countAnnotations(mailbox MailboxID, reader AccountID) error {
	b := g.quiet()
	for _, of := range []AccountID{reader, 0} {
		prefix := key(keyAnnotation, mailbox, of)
		all, err := scanAnnotations(g.snap, mailbox, of)
		if err != nil {
			return err
		}
		names := map[string]bool{}
		for i := range all {
			names[all[i].Name] = true
		}
		for _, k := range b.Deletes {
			delete(names, strings.TrimPrefix(string(k), string(prefix)))
		}
		grown := false
		for i := range b.Puts {
			if name, ok := strings.CutPrefix(string(b.Puts[i].Key), string(prefix)); ok {
				grown = grown || !names[name]
				names[name] = true
			}
		}
		if grown && len(names) > AnnotationsMax {
			return fmt.Errorf("%w: %d annotations", ErrLimit, AnnotationsMax)
		}
	}
	return nil
}

// dropAnnotations takes away those of a mailbox that is gone for good.
func dropAnnotations(snap kv.Snapshot, b *kv.Batch, mailbox MailboxID) error {
	r := kv.Prefix(key(keyAnnotation, mailbox))
	var octets int64
	for e, err := range snap.Scan(r) {
		if err != nil {
			return fmt.Errorf("scan annotations: %w", err)
		}
		octets += int64(len(e.Key) - 17 + len(e.Value) - 1)
	}
	if octets > 0 {
		b.Ranges = append(b.Ranges, r)
		b.Adds = append(b.Adds, kv.Add{Key: annotationBytesKey, N: -octets})
	}
	return nil
}

// annotations verifies the counter of octets.
func (c *check) annotations() error {
	var octets int64
	err := c.each(keyAnnotation, func(k, v []byte) error {
		if len(k) <= 17 || len(v) == 0 || v[0] != format1 {
			return fmt.Errorf("%w: annotation", ErrDamaged)
		}
		octets += int64(len(k) - 17 + len(v) - 1)
		if m := MailboxID(binary.BigEndian.Uint64(k[1:])); m != 0 && c.tree.ID(m) == nil && !c.leftovers {
			c.report(m, 0, 0, "annotations of a mailbox that is not there")
		}
		return nil
	})
	if err != nil {
		return err
	}
	counted, err := c.snap.Counter(annotationBytesKey)
	if err == nil && counted != octets {
		c.report(0, 0, 0, "annotations have %d octets, their counter says %d", octets, counted)
	}
	return err
}
