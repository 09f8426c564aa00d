// Package trace keeps the timeline of each message: what happened to it, when and why,
// from the door in to every mailbox and every attempt outside.
//
// The main type is [Event]. Whoever does something with a mail prepares its events into the
// same mailflow.Unit as the deed ([Prepare]), so that there is never one without the other;
// [Find] reads timelines by queue id, Message-ID or address, [Trim] forgets old ones. What
// was refused from strangers is not kept here, it is logged.
//
// A delivery costs two small puts, whatever number of packages add events: one record with
// all events of the unit, and a digest by which the mail is found. Both are quiet and
// blind, so that no two units wait for each other over their traces.
package trace

import (
	"fmt"
	"strings"
	"time"

	"postroad/internal/mailflow"
)

// Kind is what happened.
type Kind uint8

// The kinds of events; the comments name the details that each has. Their numbers are
// stored and never change.
const (
	Accepted  Kind = iota + 1 // MessageID, Sender, Recipients, Protocol, Client, Account, TLS, Size
	Judged                    // Check, Verdict, Text: the reason
	Routed                    // Recipients, Transport, NextHop
	Queued                    // Recipients, NextTry
	Delivered                 // Recipients, Account, Mailbox, UID
	Filed                     // Account, Rule, Mailbox, Text
	Attempt                   // Recipients, RemoteMTA, Reply, TLS, Text
	Delayed                   // Recipients, Reply, NextTry
	Bounced                   // Recipients, Related: the notification's mail
	Failed                    // Recipients, RemoteMTA, Reply
	Relayed                   // Recipients, RemoteMTA, Reply, TLS
	Held                      // Text: why
	Released                  // Text
	Cancelled                 // Recipients, Text: by whom
	Expired                   // Recipients and Account: whose; Mailbox, Rule, Text: which messages
)

// kindNames are what Kind.String prints.
var kindNames = [...]string{
	Accepted: "accepted", Judged: "judged", Routed: "routed", Queued: "queued",
	Delivered: "delivered", Filed: "filed", Attempt: "attempt", Delayed: "delayed",
	Bounced: "bounced", Failed: "failed", Relayed: "relayed", Held: "held",
	Released: "released", Cancelled: "cancelled", Expired: "expired",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Event is one thing that happened to a mail.
type Event struct {
	Time time.Time // to the microsecond
	Mail mailflow.ID
	Kind Kind
	Detail
}

// Detail is what there is to say about an event; each kind uses some of the fields. Texts
// are cut at textMax octets.
type Detail struct {
	MessageID  string   // with or without angle brackets
	Sender     string   // return path, empty for notifications
	Recipients []string // whom the event is about

	Protocol string // of the door: "smtp", "submission", "lmtp" …
	Client   string // address of the peer
	TLS      string // version and cipher
	Size     int64  // octets

	Check   string // name of a check
	Verdict string // what it found

	Transport string // "smtp", "lmtp", "local"
	NextHop   string

	Account mailflow.AccountID
	Mailbox string
	UID     uint32
	Rule    string // that filed it

	RemoteMTA string
	Reply     string // code, enhanced code and text
	NextTry   time.Time

	Related mailflow.ID // another mail
	Text    string      // a reason, for people
}

// String gives the event in one line, without its mail: time, kind, details.
func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Kind)
	for tag, name := range tagNames {
		if name == "" {
			continue
		}
		if text := e.text(uint64(tag)); text != nil && *text != "" {
			fmt.Fprintf(&b, " %s=%q", name, *text)
		}
		n := e.number(uint64(tag))
		switch {
		case n == 0:
		case tag == tagAccount || tag == tagRelated:
			fmt.Fprintf(&b, " %s=%s", name, mailflow.ID(n))
		default:
			fmt.Fprintf(&b, " %s=%d", name, n)
		}
	}
	if len(e.Recipients) > 0 {
		fmt.Fprintf(&b, " recipients=%q", strings.Join(e.Recipients, ","))
	}
	if !e.NextTry.IsZero() {
		fmt.Fprintf(&b, " next-try=%s", e.NextTry.UTC().Format(time.RFC3339))
	}
	return b.String()
}

// Timeline is all that is known of a mail, in the order it happened.
type Timeline struct {
	Mail   mailflow.ID
	Events []Event
}
