package message

// MailboxKind says what an entry of an address list is.
type MailboxKind uint8

// The kinds. A group is its start, its mailboxes and its end (RFC 5322, 3.4).
const (
	KindMailbox    MailboxKind = iota
	KindGroupStart             // Name is the group's
	KindGroupEnd
)

// Mailbox is one entry of an address list, as ENVELOPE needs it (RFC 9051, 7.5.2). For
// ENVELOPE, Kind decides which of its strings are NIL: a KindMailbox has a host, even if
// Host is empty because the sender gave none.
type Mailbox struct {
	Kind    MailboxKind
	Name    string // display name, decoded; of a mailbox without one the comment behind it
	RawName string // the same without quotes, encoded words as they stand
	Route   string // obsolete source route, "@a,@b"
	Local   string // without quotes
	Host    string // as given; with brackets when it is a literal
}

// AddressList is the value of an address field, groups included.
type AddressList []Mailbox

// Mailboxes returns the entries that are mailboxes.
func (l AddressList) Mailboxes() AddressList {
	n := 0
	for i := range l {
		if l[i].Kind == KindMailbox {
			n++
		}
	}
	if n == len(l) {
		return l
	}
	out := make(AddressList, 0, n)
	for i := range l {
		if l[i].Kind == KindMailbox {
			out = append(out, l[i])
		}
	}
	return out
}
