package sieve

import (
	"strings"
	"time"

	"postroad/address"
	"postroad/message"
)

// addressPart is what of an address is compared (RFC 5228, 2.7.4; RFC 5233).
type addressPart uint8

const (
	partAll addressPart = iota
	partLocalPart
	partDomain
	partUser
	partDetail
)

var addressPartTags = []tagRule{
	{name: "all", group: "part"}, {name: "localpart", group: "part"}, {name: "domain", group: "part"},
	{name: "user", extension: extSubaddress, group: "part"}, {name: "detail", extension: extSubaddress, group: "part"},
}

func addressPartOf(u *usage) addressPart {
	t := u.group("part")
	if t == nil {
		return partAll
	}
	switch t.rule.name {
	case "localpart":
		return partLocalPart
	case "domain":
		return partDomain
	case "user":
		return partUser
	case "detail":
		return partDetail
	}
	return partAll
}

// of returns the part; ok is false when there is none: an address without a separator has
// no detail (RFC 5233, 4).
func (p addressPart) of(local, domain, all, separator string) (value string, ok bool) {
	switch p {
	case partLocalPart:
		return local, true
	case partDomain:
		return domain, true
	case partUser, partDetail:
		user, detail, found := address.Address{Local: local}.SplitDetail(separator)
		if p == partUser {
			return user, true
		}
		return detail, found
	}
	return all, true
}

// addressFields are the header fields with addresses that the test address takes (RFC
// 5228, 5.1).
var addressFields = map[string]bool{
	"from": true, "to": true, "cc": true, "bcc": true, "sender": true, "reply-to": true,
	"resent-from": true, "resent-to": true, "resent-cc": true, "resent-bcc": true, "resent-sender": true,
	"resent-reply-to": true, "return-path": true, "delivered-to": true, "x-original-to": true,
	"envelope-to": true, "x-envelope-to": true, "apparently-to": true, "errors-to": true,
	"disposition-notification-to": true, "return-receipt-to": true, "mail-followup-to": true,
	"mail-reply-to": true, "x-envelope-from": true, "x-beenthere": true, "original-from": true,
	"original-recipient": true, "abuse-reports-to": true, "author": true, "approved": true,
}

// addressTest is address (RFC 5228, 5.1).
type addressTest struct {
	scan  headerScan
	part  addressPart
	match *matcher
}

func compileAddress(c *compiler, u *usage) test {
	t := &addressTest{scan: c.scan(u, u.args[0]), part: addressPartOf(u), match: c.matcher(u, u.args[1])}
	if t.scan.mime { // RFC 5703, 4.2: any field is read as one of addresses
		return t
	}
	for i, name := range t.scan.fixed {
		if !addressFields[strings.ToLower(name)] {
			c.fault(u.args[0].strings[i].at.errorf("the field %q has no addresses; use the test \"header\"", name))
		}
	}
	return t
}

func (t *addressTest) evaluate(r *run) (bool, error) {
	if t.scan.fixed == nil && !t.scan.mime {
		names, err := t.scan.fieldNames(r)
		if err != nil {
			return false, err
		}
		for _, name := range names {
			if !addressFields[strings.ToLower(name)] {
				return false, r.failf("the field %q has no addresses", shown(name))
			}
		}
	}
	separator := r.in.Owner.separator()
	var buf [4]string
	return t.scan.any(r, t.match, func(_ *message.Part, f *field) ([]string, error) {
		list := f.list()
		values := buf[:0]
		for i := range list {
			a := &list[i]
			if a.Kind != message.KindMailbox || a.Local == "" && a.Host == "" {
				continue
			}
			all := ""
			if t.part == partAll {
				all = addressText(a.Local, a.Host)
			}
			if v, ok := t.part.of(a.Local, a.Host, all, separator); ok {
				values = append(values, v)
			}
		}
		return values, r.work(keyCost * len(list))
	})
}

// addressText writes an address for comparison: without quotes (RFC 5228, 2.7.4, compares
// what it means).
func addressText(local, host string) string {
	if host == "" {
		return local
	}
	return local + "@" + host
}

// envelopeTest is envelope (RFC 5228, 5.4; RFC 6009, 4 and 5).
type envelopeTest struct {
	parts []text
	part  addressPart
	given bool // an address part was written
	zone  *text
	match *matcher
}

var envelopeTags = append([]tagRule{{name: "zone", extension: extEnvelopeDeliverBy, value: kindString}}, addressPartTags...)

func compileEnvelope(c *compiler, u *usage) test {
	t := &envelopeTest{parts: c.texts(u.args[0]), part: addressPartOf(u), given: u.group("part") != nil, match: c.matcher(u, u.args[1])}
	if z := u.tag("zone"); z != nil {
		s := c.string(z.value)
		t.zone = &s
		if s.isConstant() {
			if _, ok := parseZone(s.constant); !ok {
				c.fault(z.value.at.errorf("%q is no time zone such as \"+0100\"", s.constant))
			}
		}
	}
	for i, p := range t.parts {
		if !p.isConstant() {
			continue
		}
		at := u.args[0].strings[i].at
		name := strings.ToLower(p.constant)
		e, known := envelopePart(name)
		switch {
		case !known:
			c.missing(at.errorf("the envelope has no part %q", p.constant))
		case e != base:
			c.need(e, at, "the envelope part \""+name+"\"")
			if t.given {
				c.fault(at.errorf("the envelope part %q is no address and has no parts", name))
			}
		}
	}
	return t
}

// envelopePart returns the extension of a part of the envelope.
func envelopePart(name string) (e extension, ok bool) {
	switch name {
	case "from", "to", "auth":
		return base, true
	case "notify", "orcpt", "ret", "envid":
		return extEnvelopeDSN, true
	case "bytimeabsolute", "bytimerelative", "bymode", "bytrace":
		return extEnvelopeDeliverBy, true
	}
	return base, false
}

func (t *envelopeTest) evaluate(r *run) (bool, error) {
	if r.in.Event != nil {
		return false, r.failf("\"envelope\" cannot be used when a mailbox changes: there is no envelope") // RFC 6785, 4.6
	}
	zone := r.now.Location()
	if t.zone != nil {
		s, err := t.zone.expand(r)
		if err != nil {
			return false, err
		}
		z, ok := parseZone(s)
		if !ok {
			return false, r.failf("%q is no time zone such as \"+0100\"", shown(s))
		}
		zone = z
	}
	names, err := expandAll(r, t.parts)
	if err != nil {
		return false, err
	}
	var values []string
	for _, name := range names {
		name = strings.ToLower(name)
		e, ok := envelopePart(name)
		if !ok || !r.uses(e) {
			return false, r.failf("the envelope has no part %q", shown(name))
		}
		if e != base && t.given {
			return false, r.failf("the envelope part %q is no address and has no parts", name)
		}
		values = append(values, t.values(r, name, zone)...)
	}
	return t.match.any(r, values)
}

// values are those of one part of the envelope.
func (t *envelopeTest) values(r *run, name string, zone *time.Location) []string {
	e := &r.in.Envelope
	switch name {
	case "from":
		return t.address(r, e.ReturnPath)
	case "to":
		return t.address(r, e.Recipient)
	case "auth":
		return present(e.Auth)
	case "notify":
		return e.Notify
	case "orcpt":
		return present(e.OriginalRecipient)
	case "ret":
		return present(e.Return)
	case "envid":
		return present(e.ID)
	}
	if e.DeliverBy == nil {
		return nil
	}
	return []string{e.DeliverBy.value(name, r.now, zone)}
}

// present is a list of the value, or none when it is empty.
func present(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// address is an address of the envelope. The null path is the empty string, whatever part
// is asked for (RFC 5228, 5.4).
func (t *envelopeTest) address(r *run, a address.Address) []string {
	if a.IsNull() {
		if t.part == partDetail {
			return nil
		}
		return []string{""}
	}
	if v, ok := t.part.of(a.Local, a.Domain, addressText(a.Local, a.Domain), r.in.Owner.separator()); ok {
		return []string{v}
	}
	return nil
}
