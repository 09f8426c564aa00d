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

// allowRecoverable tells whether a command may be used on what was deleted.
func allowRecoverable(c command) error {
	switch c {
	case cmdInsert, cmdSetACL, cmdDeleteACL, cmdSetMetadata:
		return errRecoverable
	case cmdDelete:
		return imap.No(imap.CodeCannot, "What was deleted goes by itself")
	}
	return nil
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

// listRecoverable lists what was deleted, and takes its names out of the subscribed ones
// that are left.
func listRecoverable(w *imapserver.ListWriter, tree *mailstore.Tree, subscribed map[string]bool) {
	if len(tree.Recoverable()) == 0 {
		return
	}
	w.Mailbox(imapserver.MailboxInfo{Name: mailstore.RecoverableRoot, Delimiter: delimiter, Attributes: []imap.MailboxAttr{imap.AttrNoselect}})
	for _, m := range tree.Recoverable() {
		w.Mailbox(imapserver.MailboxInfo{Name: m.Name, Delimiter: delimiter, Subscribed: subscribed[m.Name]})
		delete(subscribed, m.Name)
	}
}
