package sieve

import (
	"time"

	"postroad/address"
	"postroad/message"
)

// Result is what a run came to.
type Result struct {
	// Actions are to be done in this order, all or none. With neither [Keep], [FileInto]
	// nor [Redirect] nor [Reject] among them the message is not kept: a [Discard] says so.
	Actions []Action

	// Marks are to be remembered when, and only when, the actions are done.
	Marks []Mark

	// Failure is why the script went wrong; the only action is then the implicit keep of
	// the message as it came (RFC 5228, 2.10.6).
	Failure *Failure

	Steps int // taken, for statistics
}

// Action is one of [Keep], [FileInto], [Redirect], [Discard], [Reject], [Vacation] and
// [Notify], each by pointer.
type Action interface{ action() }

// Keep files into the main mailbox (RFC 5228, 4.3); with an [Event] it leaves the message
// where it is.
type Keep struct {
	Implicit bool
	Flags    []string // to set (RFC 5232); for an Event: all that the message has then
	SetFlags bool     // the script said something of flags; with an Event they are to be stored
	Message  *Edited  // nil: the message as it came
}

// FileInto files into a mailbox (RFC 5228, 4.1).
type FileInto struct {
	Target
	Copy    bool    // with :copy (RFC 3894): the implicit keep stayed
	Message *Edited // nil: the message as it came
}

// Target is a mailbox to file into. Which of its names counts is settled in this order: ID
// if there is such a mailbox, SpecialUse if there is one (the one called Mailbox if it has
// it), Mailbox (RFC 9042, 4; RFC 8579, 4).
type Target struct {
	Mailbox    string   // name, in UTF-8
	ID         string   // object id; empty: not given
	SpecialUse string   // "\\Archive"; empty: not given
	Create     bool     // make the mailbox if it is not there (RFC 5490, 3.2), with its SpecialUse
	Flags      []string // to set
}

// Redirect sends the message to another address (RFC 5228, 4.2).
type Redirect struct {
	Address address.Address
	Copy    bool
	Message *Edited // nil: the message as it came

	// RFC 6009, 6 and 7. With one of them given the return path is to be the owner's
	// address, unless it is empty: FromOwner.
	Notify    string // value of NOTIFY=, such as "NEVER" or "SUCCESS,FAILURE"; empty: not given
	Return    string // "FULL" or "HDRS"; empty: not given
	DeliverBy *DeliverBy
	FromOwner bool
}

// Discard says that the message goes nowhere (RFC 5228, 4.4).
type Discard struct{}

// Reject refuses the message (RFC 5429). No other action than [Notify] is with it.
type Reject struct {
	Text     string // lines end with CRLF; UTF-8
	Extended bool   // ereject: never answered by an MDN where the protocol can refuse it
}

// Vacation answers the sender (RFC 5230). All rules that forbid an answer were applied,
// and the memory was asked. [Vacation.Compose] writes the message; the return path is
// null and NOTIFY=NEVER (RFC 5230, 5.1).
type Vacation struct {
	To         address.Address // the return path of the message
	From       message.AddressList
	Subject    string
	Text       string // with MIME: a whole MIME entity
	MIME       bool
	Handle     string        // as given
	Interval   time.Duration // for which the sender gets no second answer
	Key        string        // in Marks
	InReplyTo  string        // msg-id, empty: none
	References []string
	Fcc        *Target // file a copy of the answer (RFC 8580); nil: no
}

// Notify sends a notification by mail (RFC 5435, RFC 5436). [Notify.Compose] writes it.
type Notify struct {
	Method     string            // the URI as given
	ReturnPath address.Address   // null when the message's own is (RFC 5436, 2.7)
	Recipients []address.Address // of the notification
	From       message.AddressList
	To         message.AddressList
	Cc         message.AddressList
	Subject    string
	Body       string
	Header     []HeaderField // from the URI, safe ones only
	Importance int           // 1 high, 2 normal, 3 low
	Owner      address.Address
	References []string
	Fcc        *Target
}

// HeaderField is a name and a text, not yet encoded.
type HeaderField struct{ Name, Text string }

func (*Keep) action()     {}
func (*FileInto) action() {}
func (*Redirect) action() {}
func (*Discard) action()  {}
func (*Reject) action()   {}
func (*Vacation) action() {}
func (*Notify) action()   {}

// Mark is something to remember for later runs: [Memory] answers with it.
type Mark struct {
	Key string        // a hash in hexadecimal, of its own for vacation and duplicate
	For time.Duration // from now; what is marked already is marked anew
}

// outcome gathers what a script asks for.
type outcome struct {
	actions   []Action
	marks     []Mark
	cancelled bool // the implicit keep is cancelled
	vacation  bool // executed, answered or not
	redirects int
	notifies  int
	count     int // of all actions and edits
}

// count notes one action or edit.
func (r *run) count() error {
	if r.outcome.count++; r.outcome.count > r.limits.Actions {
		return r.failf("the script takes more than %d actions", r.limits.Actions)
	}
	return nil
}

// conflict fails when an action does not go together with what was done (RFC 5429, 2.4).
func (r *run) conflict(name string) error {
	for _, a := range r.outcome.actions {
		if reject, ok := a.(*Reject); ok {
			other := "reject"
			if reject.Extended {
				other = "ereject"
			}
			return r.failf("%q cannot be used together with %q", name, other)
		}
	}
	return nil
}

// finish adds the implicit keep, or after a failure gives nothing else.
func (r *run) finish(failure *Failure) (*Result, error) {
	if failure != nil {
		r.explain("the script fails: %s; the message is kept", failure.Text)
		k := &Keep{Implicit: true}
		if r.in.Event != nil {
			k.Flags = r.in.Event.Flags
		}
		return &Result{Actions: []Action{k}, Failure: failure, Steps: r.steps}, nil
	}
	o := &r.outcome
	if !o.cancelled {
		r.explain("implicit keep")
		r.keep(&Keep{Implicit: true, Flags: r.flags, SetFlags: r.frames[0].script.flags, Message: r.stored()})
	} else if !r.goesSomewhere() {
		o.actions = append(o.actions, &Discard{})
	}
	return &Result{Actions: o.actions, Marks: o.marks, Steps: r.steps}, nil
}

// goesSomewhere tells whether some action keeps, sends or refuses the message.
func (r *run) goesSomewhere() bool {
	for _, a := range r.outcome.actions {
		switch a.(type) {
		case *Keep, *FileInto, *Redirect, *Reject:
			return true
		}
	}
	return false
}

// stored is the message as keep files it; what is stored already cannot change (RFC 6785,
// 3.1).
func (r *run) stored() *Edited {
	if r.in.Event != nil {
		return nil
	}
	return r.doc.edited()
}
