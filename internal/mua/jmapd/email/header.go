package email

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"postroad/jmap"
	"postroad/message"
)

// form is how the value of a header field is given (RFC 8621, 4.1.2).
type form uint8

const (
	formRaw form = iota
	formText
	formAddresses
	formGroupedAddresses
	formMessageIDs
	formDate
	formURLs
)

// formNames are the names of the forms in a property.
var formNames = map[string]form{
	"asRaw": formRaw, "asText": formText, "asAddresses": formAddresses, "asGroupedAddresses": formGroupedAddresses,
	"asMessageIds": formMessageIDs, "asDate": formDate, "asURLs": formURLs,
}

// fieldForms has the fields that RFC 5322 and RFC 2369 define, in lower case, and the one
// parsed form that each may have besides Raw (RFC 8621, 4.1.2.2 to 4.1.2.7). Addresses
// stands for GroupedAddresses too. A field that is not here may have any form.
var fieldForms = map[string]form{
	"date": formDate, "resent-date": formDate,
	"from": formAddresses, "sender": formAddresses, "reply-to": formAddresses, "to": formAddresses, "cc": formAddresses, "bcc": formAddresses,
	"resent-from": formAddresses, "resent-sender": formAddresses, "resent-reply-to": formAddresses,
	"resent-to": formAddresses, "resent-cc": formAddresses, "resent-bcc": formAddresses,
	"message-id": formMessageIDs, "in-reply-to": formMessageIDs, "references": formMessageIDs, "resent-message-id": formMessageIDs,
	"subject": formText, "comments": formText, "keywords": formText,
	"return-path": formRaw, "received": formRaw,
	"list-help": formURLs, "list-unsubscribe": formURLs, "list-subscribe": formURLs, "list-post": formURLs, "list-owner": formURLs, "list-archive": formURLs,
}

// allows tells whether a field may be given in a form.
func (f form) allows(name string) bool {
	if f == formGroupedAddresses {
		f = formAddresses
	}
	only, known := fieldForms[strings.ToLower(name)]
	return f == formRaw || !known || only == f
}

// headerProperty is "header:NAME:asFORM:all" (RFC 8621, 4.1.3).
type headerProperty struct {
	name string // of the field, as given
	form form
	all  bool
}

// parseHeaderProperty reads the name of a property that begins with "header:". ok is false
// for what is malformed and for a form that the field may not have.
func parseHeaderProperty(property string) (h headerProperty, ok bool) {
	rest, ok := strings.CutPrefix(property, "header:")
	if !ok {
		return h, false
	}
	parts := strings.Split(rest, ":")
	h.name = parts[0]
	if !isFieldName(h.name) {
		return h, false
	}
	parts = parts[1:]
	if len(parts) > 0 && strings.HasPrefix(parts[0], "as") {
		if h.form, ok = formNames[parts[0]]; !ok {
			return h, false
		}
		parts = parts[1:]
	}
	if len(parts) > 0 && parts[0] == "all" {
		h.all, parts = true, parts[1:]
	}
	return h, len(parts) == 0 && h.form.allows(h.name)
}

// fieldNameMax bounds the name of a field that is asked for or made, in octets.
const fieldNameMax = 250

// isFieldName tells whether s can be the name of a field (RFC 5322, 3.6.8).
func isFieldName(s string) bool {
	for i := range len(s) {
		if s[i] < 33 || s[i] > 126 || s[i] == ':' {
			return false
		}
	}
	return s != "" && len(s) <= fieldNameMax
}

// value gives what the property asks for of a header block.
func (h *headerProperty) value(block []byte) any {
	all := []any{}
	var last any
	for f := range message.Fields(block) {
		if !f.Is(h.name) {
			continue
		}
		v := h.form.value(f)
		last = v
		if h.all {
			all = append(all, v)
		}
	}
	if h.all {
		return all
	}
	return last
}

// value gives a field in a form; nil where it cannot be read so.
func (f form) value(field message.Field) any {
	switch f {
	case formText:
		return message.HeaderText(field.Unfolded())
	case formAddresses:
		return addresses(message.ParseAddressList(field.Unfolded()))
	case formGroupedAddresses:
		return groups(message.ParseAddressList(field.Unfolded()))
	case formMessageIDs:
		return listOrNull(message.ParseMessageIDs(field.Unfolded()))
	case formDate:
		t, _ := message.ParseDate(field.Unfolded())
		return date(t)
	case formURLs:
		return listOrNull(message.ParseURLs(field.Unfolded()))
	}
	return message.HeaderRaw(field.Value)
}

// emailHeader is EmailHeader.
type emailHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// headers lists all fields of a block (RFC 8621, 4.1.3).
func headers(block []byte) []emailHeader {
	list := []emailHeader{}
	for f := range message.Fields(block) {
		if f.Name != nil {
			list = append(list, emailHeader{string(f.Name), message.HeaderRaw(f.Value)})
		}
	}
	return list
}

// emailAddress is EmailAddress (RFC 8621, 4.1.2.3).
type emailAddress struct {
	Name  *string `json:"name"`
	Email string  `json:"email"`
}

// addressGroup is EmailAddressGroup (RFC 8621, 4.1.2.4).
type addressGroup struct {
	Name      *string        `json:"name"`
	Addresses []emailAddress `json:"addresses"`
}

// addresses leaves groups out.
func addresses(l message.AddressList) []emailAddress {
	list := make([]emailAddress, 0, len(l))
	for i := range l {
		if l[i].Kind == message.KindMailbox {
			list = append(list, oneAddress(&l[i]))
		}
	}
	return list
}

func oneAddress(m *message.Mailbox) emailAddress {
	return emailAddress{displayName(m.Name), m.AddrSpec()}
}

// displayName is a name without white space around it; nil where nothing is left.
func displayName(s string) *string {
	if s = strings.TrimSpace(norm.NFC.String(s)); s == "" {
		return nil
	}
	return &s
}

// groups collects addresses that follow each other outside of groups into a group without
// name.
func groups(l message.AddressList) []addressGroup {
	list := []addressGroup{}
	within, loose := false, false
	for i := range l {
		switch m := &l[i]; m.Kind {
		case message.KindGroupStart:
			name := strings.TrimSpace(norm.NFC.String(m.Name))
			list = append(list, addressGroup{Name: &name, Addresses: []emailAddress{}})
			within, loose = true, false
		case message.KindGroupEnd:
			within = false
		default:
			if !within && !loose {
				list = append(list, addressGroup{Addresses: []emailAddress{}})
				loose = true
			}
			g := &list[len(list)-1]
			g.Addresses = append(g.Addresses, oneAddress(m))
		}
	}
	return list
}

// date is a Date (RFC 8620, 1.4), nil for no time.
func date(t time.Time) any {
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	return jmap.FormatDate(t)
}

// listOrNull keeps an empty list from being told as one.
func listOrNull(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

// convenience are the properties that stand for a field in one form (RFC 8621, 4.1.3), in
// the order in which fields are written.
var convenience = []struct {
	property, field string
	form            form
}{
	{"from", "From", formAddresses},
	{"sender", "Sender", formAddresses},
	{"replyTo", "Reply-To", formAddresses},
	{"to", "To", formAddresses},
	{"cc", "Cc", formAddresses},
	{"bcc", "Bcc", formAddresses},
	{"subject", "Subject", formText},
	{"sentAt", "Date", formDate},
	{"messageId", "Message-ID", formMessageIDs},
	{"inReplyTo", "In-Reply-To", formMessageIDs},
	{"references", "References", formMessageIDs},
}

// convenient finds a property that stands for a field.
func convenient(property string) (h headerProperty, ok bool) {
	for _, c := range convenience {
		if c.property == property {
			return headerProperty{name: c.field, form: c.form}, true
		}
	}
	return h, false
}

// summarized gives a convenience property from the summary that is stored with a message.
// ok is false where only the header itself has it right: a field that stands twice (the
// last counts), or one that is not whole in the summary.
func summarized(m *message.Message, property string) (v any, ok bool) {
	const unsure = message.DefectRepeatedField | message.DefectSummary
	if m.Defects&unsure != 0 {
		return nil, false
	}
	list := func(f message.FieldSet, l message.AddressList) (any, bool) {
		if !m.Fields.Has(f) {
			return nil, true
		}
		return addresses(l), true
	}
	switch property {
	case "from":
		return list(message.FieldFrom, m.From)
	case "sender":
		return list(message.FieldSender, m.Sender)
	case "replyTo":
		return list(message.FieldReplyTo, m.ReplyTo)
	case "to":
		return list(message.FieldTo, m.To)
	case "cc":
		return list(message.FieldCc, m.Cc)
	case "bcc":
		return list(message.FieldBcc, m.Bcc)
	case "subject":
		if !m.Fields.Has(message.FieldSubject) {
			return nil, true
		}
		return message.HeaderText(m.RawSubject), true
	case "sentAt":
		return date(m.Date), true
	case "messageId":
		return summarizedIDs([]string{m.MessageID}), true
	case "inReplyTo":
		return listOrNull(message.ParseMessageIDs(m.RawInReplyTo)), true
	case "references":
		return summarizedIDs(slices.Clone(m.References)), true
	}
	return nil, false
}

// summarizedIDs takes the brackets off; what has none is no msg-id.
func summarizedIDs(ids []string) any {
	bare := ids[:0]
	for _, id := range ids {
		if n := len(id); n > 2 && id[0] == '<' && id[n-1] == '>' {
			bare = append(bare, id[1:n-1])
		}
	}
	return listOrNull(bare)
}
