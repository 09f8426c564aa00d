package imapserver

import (
	"strconv"

	"postroad/imap"
)

// searchContext is a search result that is kept up to date (RFC 5267, 4.3).
type searchContext struct {
	tag string
	uid bool // the client is told UIDs
}

// findContext returns the context of a tag, nil if there is none.
func (c *Conn) findContext(tag string) *searchContext {
	for i := range c.contexts {
		if c.contexts[i].tag == tag {
			return &c.contexts[i]
		}
	}
	return nil
}

// contextUpdate gathers changes of one result that can be told in one response.
type contextUpdate struct {
	context *searchContext // nil: nothing is gathered
	remove  bool
	first   uint32      // the position of the first message; 0: mailbox order
	set     imap.UIDSet // at position 0
	ordered []uint32    // at another, in order
}

// ContextAdd tells that a message has come into the result of the search with this tag, at
// a position as [ContextSearcher] says. A tag that the client has cancelled is passed over.
func (w *UpdateWriter) ContextAdd(tag string, position, seq, uid uint32) {
	w.contextChange(tag, false, position, seq, uid)
}

// ContextRemove tells that a message has left the result of the search with this tag.
func (w *UpdateWriter) ContextRemove(tag string, position, seq, uid uint32) {
	w.contextChange(tag, true, position, seq, uid)
}

func (w *UpdateWriter) contextChange(tag string, remove bool, position, seq, uid uint32) {
	context := w.c.findContext(tag)
	if context == nil {
		return
	}
	if len(w.gone) > 0 {
		w.flush() // sequence numbers of what follows are those after it
	}
	u := &w.context
	if u.context != context || u.remove != remove || !u.continues(position) {
		w.flushContext()
		*u = contextUpdate{context: context, remove: remove, first: position, set: u.set[:0], ordered: u.ordered[:0]}
	}
	n := seq
	if context.uid {
		n = uid
	}
	if position == 0 {
		u.set.Add(n)
	} else {
		u.ordered = append(u.ordered, n)
	}
	if len(u.set)+len(u.ordered) >= contextRangesMax {
		w.flushContext()
	}
}

// contextRangesMax bounds what one response tells, to keep lines short.
const contextRangesMax = 500

// continues tells whether a message at a position can stand in one set with those gathered:
// what is put in follows the last one, what is taken out stood behind it, at the same place
// by now (RFC 5267, 4.3.3 and 4.3.4).
func (u *contextUpdate) continues(position uint32) bool {
	switch {
	case position == 0 || u.first == 0:
		return position == u.first
	case u.remove:
		return position == u.first
	}
	return position == u.first+uint32(len(u.ordered))
}

// flushContext writes what ContextAdd or ContextRemove has gathered.
func (w *UpdateWriter) flushContext() {
	u := &w.context
	if u.context == nil {
		return
	}
	c := w.c
	c.text("* ESEARCH (TAG ")
	c.out = imap.AppendString(c.out, u.context.tag)
	c.text(")")
	if u.context.uid {
		c.text(" UID")
	}
	if u.remove {
		c.text(" REMOVEFROM (")
	} else {
		c.text(" ADDTO (")
	}
	c.out = append(strconv.AppendUint(c.out, uint64(u.first), 10), ' ')
	if u.first == 0 {
		c.out = u.set.Append(c.out)
	} else {
		c.out = imap.AppendOrdered(c.out, u.ordered)
	}
	c.text(")\r\n")
	*u = contextUpdate{set: u.set[:0], ordered: u.ordered[:0]}
	_ = c.spill() // an error is kept and ends the command
}
