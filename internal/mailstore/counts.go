package mailstore

// recount counts all mailboxes anew.
func (e *Emails) recount() {
	for i := range e.boxes {
		e.boxes[i].counts = Counts{}
	}
	var thread []uint32
	for _, chunk := range e.threads.chunks {
		for _, p := range chunk {
			if len(thread) > 0 && e.Thread(int(thread[0])) != e.Thread(int(p)) {
				e.countThread(e, thread, 1)
				thread = thread[:0]
			}
			thread = append(thread, p)
		}
	}
	e.countThread(e, thread, 1)
}

// countInto adds what a conversation of e gives to the counts of another Emails, which has
// the same mailboxes by the same numbers, or fewer.
func (e *Emails) countInto(to *Emails, id ThreadID, n int) {
	members := e.ThreadMembers(id)
	places := make([]uint32, len(members))
	for i, p := range members {
		places[i] = uint32(p)
	}
	e.countThread(to, places, n)
}

// countThread adds what one conversation, whose messages are given, gives to the counts of
// the mailboxes of an Emails, n times.
//
// A thread is unread in a mailbox when it has a message there and one, in whatever mailbox,
// that is unread; but what is in Trash only counts for Trash only, and for Trash counts what
// is in it only (RFC 8621, 2, unreadThreads).
func (e *Emails) countThread(to *Emails, places []uint32, n int) {
	if len(places) == 0 {
		return
	}
	var in, of []uint16 // mailboxes of the thread, of one message
	unread, unreadTrash := false, false
	for _, p := range places {
		of = of[:0]
		trashed := false
		for at := range e.entries(p) {
			if !contains(of, at.box) {
				of = append(of, at.box)
				trashed = trashed || e.boxes[at.box].snapshot.mailbox == e.trash
			}
		}
		isUnread := e.bits(p)&(bitSeen|bitDraft) == 0
		for _, box := range of {
			c := &to.boxes[box].counts
			if c.Emails += n; isUnread {
				c.UnreadEmails += n
			}
			if !contains(in, box) {
				in = append(in, box)
			}
		}
		if isUnread && trashed {
			unreadTrash = true
		}
		if isUnread && (!trashed || len(of) > 1) {
			unread = true
		}
	}
	for _, box := range in {
		c := &to.boxes[box].counts
		c.Threads += n
		if e.boxes[box].snapshot.mailbox == e.trash && unreadTrash || e.boxes[box].snapshot.mailbox != e.trash && unread {
			c.UnreadThreads += n
		}
	}
}
