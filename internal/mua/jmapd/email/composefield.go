package email

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"postroad/message"
)

// fieldValuesMax is how many fields of a name one property makes.
const fieldValuesMax = 100

// write adds the fields that a property stands for to a header.
func (h *headerProperty) write(to *message.Header, raw json.RawMessage) error {
	values := []json.RawMessage{raw}
	if h.all {
		values = nil
		if err := json.Unmarshal(raw, &values); err != nil || len(values) > fieldValuesMax {
			return fmt.Errorf("not a list of at most %d values", fieldValuesMax)
		}
	}
	for _, v := range values {
		if err := h.form.write(to, h.name, v); err != nil {
			return err
		}
	}
	return nil
}

// write adds one field.
func (f form) write(to *message.Header, name string, raw json.RawMessage) error {
	switch f {
	case formAddresses:
		var list []emailAddress
		if json.Unmarshal(raw, &list) != nil {
			return errors.New("not a list of EmailAddress")
		}
		return writeAddresses(to, name, []addressGroup{{Addresses: list}})
	case formGroupedAddresses:
		var list []addressGroup
		if json.Unmarshal(raw, &list) != nil {
			return errors.New("not a list of EmailAddressGroup")
		}
		return writeAddresses(to, name, list)
	case formMessageIDs, formURLs:
		var list []string
		if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
			return errors.New("not a list of Strings")
		}
		return f.writeList(to, name, list)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return errors.New("no String")
	}
	switch f {
	case formText:
		to.AddText(name, s)
	case formDate:
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || t.Year() < 1900 {
			return errors.New("no Date")
		}
		to.AddDate(name, t)
	default:
		if !to.AddRaw(name, s) {
			return errors.New("not the value of one field: a line end needs white space behind it")
		}
	}
	return nil
}

// writeList writes msg-ids or URLs, which must come back as they are.
func (f form) writeList(to *message.Header, name string, list []string) error {
	separator := " "
	if f == formURLs {
		separator = ", "
	}
	value := "<" + strings.Join(list, ">"+separator+"<") + ">"
	read := message.ParseMessageIDs
	if f == formURLs {
		read = message.ParseURLs
	}
	if !slices.Equal(read(value), list) {
		return errors.New("not what can stand in angle brackets")
	}
	to.Add(name, value)
	return nil
}

// writeAddresses writes an address field. It is read again: an address that would come out
// as another one, or as two, is refused.
func writeAddresses(to *message.Header, name string, groups []addressGroup) error {
	var list message.AddressList
	for _, g := range groups {
		if g.Name != nil {
			list = append(list, message.Mailbox{Kind: message.KindGroupStart, Name: norm.NFC.String(*g.Name)})
		}
		for _, a := range g.Addresses {
			m, ok := mailbox(a)
			if !ok {
				return fmt.Errorf("%q is no address", a.Email)
			}
			list = append(list, m)
		}
		if g.Name != nil {
			list = append(list, message.Mailbox{Kind: message.KindGroupEnd})
		}
	}
	if len(list) > message.AddressesMax {
		return fmt.Errorf("more than %d addresses", message.AddressesMax)
	}
	if len(list) == 0 {
		if !to.AddRaw(name, "") {
			return errors.New("no name of a field")
		}
		return nil
	}
	var h message.Header
	h.AddAddresses(name, list)
	var back message.AddressList
	for f := range message.Fields(h.Bytes()) {
		back = append(back, message.ParseAddressList(f.Unfolded())...)
	}
	if len(back) != len(list) {
		return errors.New("an address cannot be written so that it is read as one")
	}
	for i := range back {
		if back[i].Kind != list[i].Kind || back[i].AddrSpec() != list[i].AddrSpec() {
			return fmt.Errorf("%q is no address", list[i].AddrSpec())
		}
	}
	to.AddFields(&h)
	return nil
}

// mailbox reads an address that a client gives. It need not be one yet: drafts have what
// the user has typed so far. But it must not be several.
func mailbox(a emailAddress) (m message.Mailbox, ok bool) {
	if a.Name != nil {
		m.Name = norm.NFC.String(*a.Name)
	}
	email := strings.TrimSpace(a.Email)
	if read := message.ParseAddressList(email); len(read) == 1 && read[0].Kind == message.KindMailbox && read[0].Name == "" && read[0].Host != "" {
		m.Local, m.Host = read[0].Local, read[0].Host
		return m, true
	}
	m.Local = email
	if i := strings.LastIndexByte(email, '@'); i >= 0 {
		m.Local, m.Host = email[:i], email[i+1:]
	}
	return m, !strings.ContainsAny(email, ",;:<>") && !strings.Contains(m.Local, "@")
}
