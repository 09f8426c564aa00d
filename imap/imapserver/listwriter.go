package imapserver

import "postroad/imap"

// MailboxInfo is a mailbox as a session gives it to List.
type MailboxInfo struct {
	Name      string
	Delimiter rune // 0: no hierarchy
	// Attributes are AttrNoselect, AttrNonExistent, AttrNoinferiors and special uses, as they
	// apply. Children and subscription are not among them.
	Attributes []imap.MailboxAttr
	Subscribed bool
}

// ListWriter takes the mailboxes of an account. It is valid until List returns.
type ListWriter struct{ mailboxes []MailboxInfo }

// Mailbox adds a mailbox, or a subscribed name without one.
func (w *ListWriter) Mailbox(m MailboxInfo) { w.mailboxes = append(w.mailboxes, m) }
