// Package report has the documents with which mail systems tell each other, and people,
// what became of mail.
//
// The main type is [DSN], a delivery status notification: its fields, written by
// [DSN.AppendStatus] and read by [ParseStatus]; a [Notice] is the whole multipart/report
// that carries it, and [Find] takes one out of a message that came in. Who is told of what
// is decided elsewhere, and nothing is sent from here.
//
// RFC 3464, RFC 6522; RFC 6533 for UTF-8 addresses.
package report

import (
	"strings"
	"time"

	"postroad/address"
	"postroad/message"
	"postroad/smtp"
)

// Action is what happened to a recipient (RFC 3464, 2.3.3), in lower case.
type Action string

// The actions of RFC 3464.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed"
	Expanded  Action = "expanded"
)

// DSN is the machine's part of a notification (RFC 3464, 2.1).
type DSN struct {
	EnvelopeID   string // Original-Envelope-Id: ENVID as the client gave it, decoded
	ReportingMTA string // host name
	ReceivedFrom string // name of the host that the mail came from
	Arrival      time.Time
	Recipients   []Recipient
}

// Recipient is what a DSN says of one recipient (RFC 3464, 2.3).
type Recipient struct {
	Original    TypedAddress // ORCPT; zero when it was not given
	Final       TypedAddress
	Action      Action
	Status      smtp.EnhancedCode
	RemoteMTA   string // host name of the server whose words Diagnostic are
	Diagnostic  string // its reply, "550 5.1.1 No such user", UTF-8, on one line
	LastAttempt time.Time
	LogID       string    // Final-Log-Id
	RetryUntil  time.Time // of a delay
}

// TypedAddress is an address with its type (RFC 3464, 2.3.1): "rfc822", "utf-8", or a
// foreign one. Of utf-8 the Address is the plain Unicode form.
type TypedAddress struct{ Type, Address string }

// NewTypedAddress returns an address of ours: type utf-8 where its local part needs it
// (RFC 6533, 3).
func NewTypedAddress(a address.Address) TypedAddress {
	if a.NeedsUTF8() {
		return TypedAddress{"utf-8", a.String()}
	}
	return TypedAddress{"rfc822", a.ASCII()}
}

// ParseTypedAddress reads "type;address", as ORCPT and the fields of a DSN have it. The
// escapes of a utf-8 address are undone.
func ParseTypedAddress(s string) TypedAddress {
	kind, text, ok := strings.Cut(s, ";")
	if !ok {
		return TypedAddress{"rfc822", strings.TrimSpace(s)}
	}
	a := TypedAddress{strings.ToLower(strings.TrimSpace(kind)), strings.TrimSpace(text)}
	if a.Type == "utf-8" {
		a.Address = decodeEmbedded(a.Address)
	}
	return a
}

// IsZero tells whether there is no address.
func (a TypedAddress) IsZero() bool { return a == TypedAddress{} }

// String returns "type; address" in the form that is safe in 7 bits: a utf-8 address with
// its escapes (RFC 6533, 3: utf-8-addr-xtext).
func (a TypedAddress) String() string {
	text := a.Address
	if a.Type == "utf-8" {
		text = encodeEmbedded(text)
	}
	return a.Type + "; " + text
}

// AppendStatus appends the fields as the body of a message/delivery-status part. All of it
// is ASCII.
func (d *DSN) AppendStatus(dst []byte) []byte {
	var h message.Header
	add := func(name, value string) {
		if value != "" {
			h.Add(name, ascii(value))
		}
	}
	addTime := func(name string, t time.Time) {
		if !t.IsZero() {
			h.AddDate(name, t)
		}
	}
	add("Original-Envelope-Id", d.EnvelopeID)
	add("Reporting-MTA", "dns; "+d.ReportingMTA)
	if d.ReceivedFrom != "" {
		add("Received-From-MTA", "dns; "+d.ReceivedFrom)
	}
	addTime("Arrival-Date", d.Arrival)
	dst = append(dst, h.Bytes()...)
	for _, r := range d.Recipients {
		h = message.Header{}
		if !r.Original.IsZero() {
			add("Original-Recipient", r.Original.String())
		}
		add("Final-Recipient", r.Final.String())
		add("Action", string(r.Action))
		add("Status", r.Status.String())
		if r.RemoteMTA != "" {
			add("Remote-MTA", "dns; "+r.RemoteMTA)
		}
		if r.Diagnostic != "" {
			add("Diagnostic-Code", "smtp; "+r.Diagnostic)
		}
		addTime("Last-Attempt-Date", r.LastAttempt)
		add("Final-Log-Id", r.LogID)
		addTime("Will-Retry-Until", r.RetryUntil)
		dst = append(dst, "\r\n"...)
		dst = append(dst, h.Bytes()...)
	}
	return dst
}

// ascii turns what is not ASCII into question marks: a foreign server's words in 7 bits.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, s)
}
