package admin

import (
	"fmt"
	"strings"

	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/sieve"
)

// SieveAction is one thing that scripts want done with a message.
type SieveAction struct {
	Action  string   `json:"action"` // "keep", "fileinto", "redirect", "discard", "reject", "vacation", "notify"
	Mailbox string   `json:"mailbox,omitempty"`
	Missing bool     `json:"missing,omitempty"` // there is no such mailbox
	Create  bool     `json:"create,omitempty"`  // it is made where it is missing
	Flags   []string `json:"flags,omitempty"`
	Edited  bool     `json:"edited,omitempty"` // the message is changed
	To      string   `json:"to,omitempty"`
	Text    string   `json:"text,omitempty"` // why it is rejected, the subject of an answer
}

// String is the action in words.
func (a SieveAction) String() string {
	var b strings.Builder
	switch a.Action {
	case "keep":
		b.WriteString("keep")
	case "fileinto":
		fmt.Fprintf(&b, "file into %q", a.Mailbox)
		switch {
		case a.Missing && a.Create:
			b.WriteString(", which is made")
		case a.Missing:
			b.WriteString(", which is not there: INBOX")
		}
	case "redirect":
		b.WriteString("redirect to " + a.To)
	case "discard":
		b.WriteString("discard")
	case "reject":
		fmt.Fprintf(&b, "reject: %s", strings.Join(strings.Fields(a.Text), " "))
	case "vacation":
		fmt.Fprintf(&b, "answer %s: %q", a.To, a.Text)
	case "notify":
		b.WriteString("notify " + a.To)
	}
	if a.Edited {
		b.WriteString(", changed")
	}
	if len(a.Flags) > 0 {
		b.WriteString(", with " + strings.Join(a.Flags, " "))
	}
	return b.String()
}

// mailboxOf finds the mailbox of a target: its name as it is now, false for none.
type mailboxOf func(*sieve.Target) (name string, ok bool)

// inTree looks into an account's mailboxes.
func inTree(t *mailstore.Tree) mailboxOf {
	return func(target *sieve.Target) (string, bool) {
		if m := rules.Find(t, target); m != nil {
			return m.Name, true
		}
		return target.Mailbox, false
	}
}

// describe puts actions into words.
func describe(actions []sieve.Action, find mailboxOf) []SieveAction {
	out := []SieveAction{}
	for _, a := range actions {
		d := SieveAction{}
		switch a := a.(type) {
		case *sieve.Keep:
			d.Action, d.Flags, d.Edited = "keep", a.Flags, a.Message != nil
		case *sieve.FileInto:
			name, ok := find(&a.Target)
			d = SieveAction{Action: "fileinto", Mailbox: name, Missing: !ok, Create: a.Create, Flags: a.Flags, Edited: a.Message != nil}
		case *sieve.Redirect:
			d.Action, d.To, d.Edited = "redirect", a.Address.String(), a.Message != nil
		case *sieve.Discard:
			d.Action = "discard"
		case *sieve.Reject:
			d.Action, d.Text = "reject", a.Text
		case *sieve.Vacation:
			d.Action, d.To, d.Text = "vacation", a.To.String(), a.Subject
		case *sieve.Notify:
			d.Action, d.To, d.Text = "notify", a.Method, a.Subject
		}
		out = append(out, d)
	}
	return out
}
