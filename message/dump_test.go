package message

import (
	"fmt"
	"strings"
	"time"
)

// dump prints structure and summary for golden files, and to compare messages.
func dump(m *Message) string {
	var b strings.Builder
	dumpMessage(&b, m, "")
	return b.String()
}

func dumpMessage(b *strings.Builder, m *Message, indent string) {
	p := func(name, format string, args ...any) {
		fmt.Fprintf(b, "%s%s: "+format+"\n", append([]any{indent, name}, args...)...)
	}
	p("size", "%d", m.Size)
	if m.Defects != 0 {
		p("defects", "%s", defectNames(m.Defects))
	}
	if m.EightBit {
		p("eight-bit", "yes")
	}
	p("fields", "%b", m.Fields)
	for _, l := range []struct {
		name string
		list AddressList
	}{{"from", m.From}, {"sender", m.Sender}, {"reply-to", m.ReplyTo}, {"to", m.To}, {"cc", m.Cc}, {"bcc", m.Bcc}} {
		for _, a := range l.list {
			switch a.Kind {
			case KindGroupStart:
				p(l.name, "group %q raw %q", a.Name, a.RawName)
			case KindGroupEnd:
				p(l.name, "end of group")
			default:
				p(l.name, "%q raw %q route %q local %q host %q", a.Name, a.RawName, a.Route, a.Local, a.Host)
			}
		}
	}
	if m.Fields.Has(FieldDate) {
		p("date", "%s raw %q", m.Date.Format(time.RFC3339), m.RawDate)
	}
	if m.Fields.Has(FieldSubject) {
		p("subject", "%q raw %q", m.Subject, m.RawSubject)
	}
	for _, s := range []struct{ name, value string }{{"message-id", m.MessageID}, {"in-reply-to", m.RawInReplyTo},
		{"auto-submitted", m.AutoSubmitted}, {"precedence", m.Precedence}, {"list-id", m.ListID}, {"preview", m.Preview}} {
		if s.value != "" {
			p(s.name, "%q", s.value)
		}
	}
	if m.InReplyTo != nil {
		p("in-reply-to-ids", "%q", m.InReplyTo)
	}
	if m.References != nil {
		p("references", "%q", m.References)
	}
	if m.Received != 0 || m.List || m.HasAttachment {
		p("other", "received %d list %v attachment %v", m.Received, m.List, m.HasAttachment)
	}
	dumpPart(b, m.Root, indent)
}

func dumpPart(b *strings.Builder, p *Part, indent string) {
	fmt.Fprintf(b, "%spart %s header %d-%d body %d-%d lines %d %s", indent, p.MediaType(),
		p.Header.Start, p.Header.End, p.Body.Start, p.Body.End, p.Lines, p.Encoding)
	for _, q := range p.Params {
		fmt.Fprintf(b, " %s=%q", q.Name, q.Value)
	}
	if p.Disposition != "" {
		fmt.Fprintf(b, " disposition %s", p.Disposition)
	}
	for _, q := range p.DispParams {
		fmt.Fprintf(b, " %s=%q", q.Name, q.Value)
	}
	for _, s := range []struct{ name, value string }{{"id", p.ID}, {"description", p.Description}, {"md5", p.MD5}, {"location", p.Location}} {
		if s.value != "" {
			fmt.Fprintf(b, " %s %q", s.name, s.value)
		}
	}
	if p.Language != nil {
		fmt.Fprintf(b, " language %q", p.Language)
	}
	b.WriteByte('\n')
	for _, c := range p.Children {
		dumpPart(b, c, indent+"  ")
	}
	if p.Message != nil {
		dumpMessage(b, p.Message, indent+"  | ")
	}
}

var defectWords = []string{"bare-lf", "bare-cr", "nul", "long-line", "header-eight-bit", "header-end", "header-junk",
	"header-limit", "repeated-field", "address", "date", "content-type", "params", "boundary", "multipart-end",
	"encoding", "depth", "parts", "summary"}

func defectNames(d Defects) string {
	var words []string
	for i, w := range defectWords {
		if d&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}
