package imapd

import (
	"strings"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

// What was expunged or deleted is below mailstore.RecoverableRoot, a second personal
// namespace (RFC 2342) that LIST shows only when a pattern begins with it, or its mailbox
// is subscribed: a client that keeps a copy of everything shall not copy that too. COPY and
// MOVE bring messages back; EXPUNGE there is for good.

// errRecoverable refuses to put anything where only what was deleted comes to.
var errRecoverable = imap.No(imap.CodeCannot, "Messages come there by being deleted")

// destination tells whether messages may be put into a mailbox.
func destination(m *mailstore.Mailbox) error {
	if m.Recovery != nil {
		return errRecoverable
	}
	return nil
}

// belowRecoverable tells whether a name is of what was deleted.
func belowRecoverable(name string) bool {
	return name == mailstore.RecoverableRoot || strings.HasPrefix(name, mailstore.RecoverableRoot+mailstore.Separator)
}

// asksForRecoverable tells whether a LIST pattern is about what was deleted.
func asksForRecoverable(patterns []string) bool {
	for _, p := range patterns {
		if strings.HasPrefix(p, mailstore.RecoverableRoot) {
			return true
		}
	}
	return false
}

// listRecoverable lists what was deleted.
func listRecoverable(w *imapserver.ListWriter, tree *mailstore.Tree, subscribed map[string]bool) {
	if len(tree.Recoverable()) == 0 {
		return
	}
	w.Mailbox(imapserver.MailboxInfo{Name: mailstore.RecoverableRoot, Delimiter: delimiter, Attributes: []imap.MailboxAttr{imap.AttrNoselect}})
	for _, m := range tree.Recoverable() {
		w.Mailbox(imapserver.MailboxInfo{Name: m.Name, Delimiter: delimiter, Subscribed: subscribed[m.Name]})
	}
}
