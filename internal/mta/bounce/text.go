package bounce

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postroad/internal/mailflow"
	"postroad/message"
	"postroad/smtp"
)

// Limits of strangers' words in the text, in octets.
const (
	quoteMax   = 1000 // of a server's reply
	subjectMax = 120  // of the message's subject
	textWidth  = 72   // characters in a line
)

// texts writes the part for people: who, why, and what they can do.
type texts struct {
	host       string
	original   *message.Message
	kind       mailflow.Action
	lost       bool // the notice goes to the postmaster: nobody else can be told
	retryUntil time.Time
}

func (t *texts) subject() string {
	s := map[mailflow.Action]string{
		mailflow.Failed:  "Not delivered",
		mailflow.Delayed: "Delayed, still trying",
		mailflow.Relayed: "Delivered",
	}[t.kind]
	if t.lost {
		s = "Not delivered and not returnable"
	}
	if about := clean(t.original.Subject, subjectMax); about != "" {
		s += ": " + about
	}
	return s
}

// text returns the whole of the first part.
func (t *texts) text(outcomes []outcome) string {
	var b strings.Builder
	write := func(indent, s string) { writeWrapped(&b, indent, s) }
	write("", t.opening())
	for _, o := range outcomes {
		b.WriteByte('\n')
		fmt.Fprintf(&b, "  %s\n", clean(o.recipient.Address.String(), quoteMax))
		write("    ", t.explain(o.status))
		t.quoteReply(&b, o.status)
	}
	b.WriteByte('\n')
	write("", t.closing())
	fmt.Fprintf(&b, "\n-- \nThe mail system at %s\n", t.host)
	return b.String()
}

// opening says which mail this is about and what became of it.
func (t *texts) opening() string {
	what := "Your message"
	if t.lost {
		what = "A message without return path, so that its sender cannot be told,"
	}
	if s := clean(t.original.Subject, subjectMax); s != "" {
		what += ` "` + s + `"`
	}
	if !t.original.Date.IsZero() {
		what += " of " + t.original.Date.Format("2 January 2006, 15:04 -0700")
	}
	switch t.kind {
	case mailflow.Failed:
		return what + " could not be delivered to:"
	case mailflow.Delayed:
		return what + " could not be delivered yet to:"
	}
	return what + " was delivered, as you asked to be told, to:"
}

// closing says what happens next.
func (t *texts) closing() string {
	switch {
	case t.kind == mailflow.Delayed && !t.retryUntil.IsZero():
		return "You need not do anything, and need not send it again: we keep trying until " +
			t.retryUntil.UTC().Format("2 January 2006, 15:04 MST") + " and tell you if that fails."
	case t.kind == mailflow.Delayed:
		return "You need not do anything, and need not send it again: we keep trying, and tell you if that fails."
	case t.kind == mailflow.Failed:
		return "We have stopped trying. Recipients that are not named here are not affected. " +
			"The details for your administrator and what we can return of the message are attached."
	}
	return "Delivered means that a mail system took it, not that somebody has read it."
}

// explain says in plain words what happened to one recipient.
func (t *texts) explain(s *mailflow.Status) string {
	switch s.Action {
	case mailflow.Delivered:
		return "It is in the mailbox."
	case mailflow.Relayed:
		server := "the next mail system"
		if s.RemoteMTA != "" {
			server = clean(s.RemoteMTA, quoteMax)
		}
		return "It was handed to " + server + ", which may not tell you more."
	case mailflow.Expanded:
		return "It was sent on to the members of this list or alias."
	}
	return reason(enhanced(s), s)
}

// reason puts an enhanced status code into words, with what the sender can do about it.
func reason(code smtp.EnhancedCode, s *mailflow.Status) string {
	temporary := s.Reply.Temporary()
	for _, r := range reasons {
		if r.subject == code[1] && (r.detail == code[2] || r.detail < 0) {
			if temporary && r.temporary != "" {
				return r.temporary
			}
			return r.text
		}
	}
	if temporary {
		return "The mail system there could not take the message."
	}
	return "The mail system there refused the message."
}

// reasons are the codes of RFC 3463 and its registry that senders can do something about;
// detail −1 stands for the rest of a subject. temporary is for replies of class 4.
var reasons = []struct {
	subject, detail int
	text, temporary string
}{
	{1, 1, "There is no such mailbox. Please check the address for typing errors, or ask the recipient for the right one.", "The mail system there does not know this mailbox at present."},
	{1, 2, "The domain behind the @ does not exist or takes no mail. Please check it for typing errors.", "The domain behind the @ could not be looked up."},
	{1, 3, "The address is not well formed. Please check it for typing errors.", ""},
	{1, 6, "The mailbox has moved and left no new address. Please ask the recipient for it.", ""},
	{1, 7, "The mail system there does not accept your own address.", "The mail system there could not check your own address."},
	{1, 8, "The mail system there does not accept your own address: its domain does not exist or takes no mail.", "The mail system there could not look up the domain of your own address."},
	{1, 10, "This domain accepts no mail at all. Please ask the recipient for another address.", ""},
	{1, -1, "The address was not accepted. Please check it for typing errors.", ""},
	{2, 1, "The mailbox is closed or takes no messages now. Please reach the recipient in another way.", "The mailbox takes no messages at present."},
	{2, 2, "The mailbox is full. Please send the message again later, or reach the recipient in another way.", "The mailbox is full."},
	{2, 3, "The message is too large for this mailbox. Please send it without large attachments.", ""},
	{3, 4, "The message is too large for the mail system there. Please send it without large attachments.", ""},
	{3, -1, "The mail system there has a fault.", "The mail system there has a fault or is busy."},
	{4, 1, "The mail system there did not answer.", "The mail system there does not answer."},
	{4, 4, "No mail system was found for this domain. Please check the address for typing errors.", "No mail system could be found for this domain."},
	{4, 6, "The message went round in a circle. Some forwarding leads back to where it came from.", ""},
	{4, 7, "The mail system there could not be reached, or did not take the message, for as long as we keep trying. You may send it again later.", ""},
	{4, -1, "The connection to the mail system there failed.", "The connection to the mail system there failed."},
	{5, -1, "The two mail systems did not understand each other.", ""},
	{6, 7, "The address has letters that the mail systems on the way cannot handle. Please ask the recipient for an address in plain letters.", ""},
	{6, -1, "The message has a form that the mail system there cannot handle.", ""},
	{7, 1, "The recipient's mail system refused the message by its rules. Please reach the recipient in another way, or ask their administrator.", "The recipient's mail system does not take the message now, by its rules."},
	{7, -1, "The recipient's mail system refused the message for reasons of security or policy. Please reach the recipient in another way.", "The recipient's mail system does not take the message now, for reasons of security or policy."},
}

// quoteReply writes the server's own words, marked as a quotation.
func (t *texts) quoteReply(b *strings.Builder, s *mailflow.Status) {
	if s.Reply.Code == 0 || s.Action <= mailflow.Expanded {
		return
	}
	if s.RemoteMTA != "" {
		fmt.Fprintf(b, "    The server %s said:\n", clean(s.RemoteMTA, quoteMax))
	} else {
		b.WriteString("    In the words of our system:\n")
	}
	writeWrapped(b, "      > ", quote(s.Reply.String()))
}

// quote returns a server's reply fit for our text and report.
func quote(s string) string { return clean(s, quoteMax) }

// clean returns a stranger's text on one line, without what shows nothing or turns text
// round, and at most the given octets long.
func clean(s string, most int) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		switch {
		case unicode.IsSpace(r) || unicode.IsControl(r):
			space = true
			continue
		case r == utf8.RuneError || !unicode.IsGraphic(r): // formats such as U+202E among them
			r = '?'
		}
		if space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		space = false
		if b.Len()+utf8.RuneLen(r) > most {
			b.WriteString("...")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// writeWrapped writes s in lines of textWidth characters, each behind the indent.
func writeWrapped(b *strings.Builder, indent, s string) {
	width := 0
	for word := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(word)
		switch {
		case width == 0:
			b.WriteString(indent)
			width = utf8.RuneCountInString(indent)
		case width+1+n > textWidth:
			b.WriteString("\n" + indent)
			width = utf8.RuneCountInString(indent)
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += n
	}
	b.WriteByte('\n')
}
