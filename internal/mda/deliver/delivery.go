package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/internal/trace"
	"postroad/message"
	"postroad/sieve"
	"postroad/smtp"
)

const (
	// redirectedFor is how long a message that was redirected to an address is not
	// redirected there again: that is how loops between two forwarders end.
	redirectedFor = 12 * time.Hour
	// failureToldFor is how long the owner of a script is not told again of the same fault.
	failureToldFor = 7 * 24 * time.Hour
	// writtenMax bounds what rules write, in octets, above the size of the message.
	writtenMax = 2 << 20
)

// delivery is what becomes of the mail in one account.
type delivery struct {
	*round
	filing  *filing
	account *mailstore.Account
	tree    *mailstore.Tree
	closers []io.Closer

	copies   []copyOf
	again    bool // a redirect was left out
	remember map[string]time.Time
}

// copyOf is the mail as it goes into mailboxes: all that get it in the same form.
type copyOf struct {
	message *sieve.Edited // nil: as it came
	written *written      // an answer to be kept instead of the mail; nil: none
	flags   []string
	boxes   []mailstore.MailboxID
}

// written is a message that rules wrote, staged.
type written struct {
	body   blob.Body
	parsed *message.Message
}

// rejection is a mail that its recipient's rules refuse (RFC 5429, 2.1 and 2.2).
type rejection struct{ text string }

func (r *rejection) Error() string { return "refused by the recipient's rules: " + r.text }

// reply is the reason as far as a reply may carry it: ASCII in lines of moderate length
// (RFC 5429, 2.1.1).
func (r *rejection) reply() *smtp.Error {
	const most = 400 // octets of text
	text := make([]byte, 0, most)
	for _, c := range []byte(r.text) {
		switch {
		case c == '\r' || c == '\n' || c == '\t' || c == ' ':
			if n := len(text); n > 0 && text[n-1] != ' ' {
				text = append(text, ' ')
			}
		case c < ' ' || c > '~':
			return smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "The recipient does not take this message")
		default:
			text = append(text, c)
		}
		if len(text) == most {
			break
		}
	}
	if len(bytes.TrimSpace(text)) == 0 {
		text = []byte("The recipient does not take this message")
	}
	return smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, string(bytes.TrimSpace(text)))
}

// perform takes each action into the delivery; what it sends goes into the unit.
func (d *delivery) perform(ctx context.Context, o *rules.Outcome) error {
	d.remember = map[string]time.Time{}
	for _, a := range o.Actions {
		if err := d.act(ctx, a); err != nil {
			return err
		}
	}
	if d.again && len(d.copies) == 0 {
		if err := d.keep(ctx, &sieve.Keep{Implicit: true}); err != nil {
			return err
		}
	}
	for _, m := range o.Marks {
		d.remember[m.Key] = d.now.Add(m.For)
	}
	for i := range o.Failures {
		if err := d.tell(ctx, &o.Failures[i]); err != nil {
			return err
		}
	}
	if len(d.remember) > 0 {
		if err := d.account.PrepareRemember(ctx, d.u, d.now, d.remember, o.Known); err != nil {
			return err
		}
	}
	d.explain(o)
	return d.stage(ctx)
}

// act takes one action.
func (d *delivery) act(ctx context.Context, a sieve.Action) error {
	switch a := a.(type) {
	case *sieve.Keep:
		return d.keep(ctx, a)
	case *sieve.FileInto:
		id, err := d.target(ctx, &a.Target)
		if err != nil {
			return err
		}
		d.into(id, a.Flags, a.Message)
	case *sieve.Redirect:
		return d.redirect(ctx, a)
	case *sieve.Reject:
		return &rejection{a.Text}
	case *sieve.Vacation:
		return d.answer(ctx, a)
	case *sieve.Notify:
		return d.notify(ctx, a)
	}
	return nil // Discard
}

// close gives back what reading the message took.
func (d *delivery) close() {
	for _, c := range d.closers {
		c.Close() // read only: nothing is lost
	}
}

// keep files where mail goes that no rule files.
func (d *delivery) keep(ctx context.Context, k *sieve.Keep) error {
	boxes, err := d.folders(ctx)
	for _, id := range boxes {
		d.into(id, k.Flags, k.Message)
	}
	return err
}

// into files into a mailbox, once in each form (RFC 5228, 2.10.3).
func (d *delivery) into(id mailstore.MailboxID, flags []string, m *sieve.Edited) {
	for i := range d.copies {
		c := &d.copies[i]
		if c.written != nil || c.message != m || !slices.Equal(c.flags, flags) {
			continue
		}
		if !slices.Contains(c.boxes, id) {
			c.boxes = append(c.boxes, id)
		}
		return
	}
	d.copies = append(d.copies, copyOf{message: m, flags: flags, boxes: []mailstore.MailboxID{id}})
}

// target finds the mailbox of fileinto, or makes it; INBOX where it is not there and may not
// be made, so that nothing is lost over a name.
func (d *delivery) target(ctx context.Context, t *sieve.Target) (mailstore.MailboxID, error) {
	m, tree, err := rules.Place(ctx, d.account, d.tree, t)
	if err != nil {
		return 0, err
	}
	d.tree = tree
	if m == nil {
		d.o.Log.Info("a rule files into a mailbox that is not there", "account", d.filing.id, "mailbox", t.Mailbox)
		return d.tree.Inbox().ID, nil
	}
	return m.ID, nil
}

// redirect sends the mail on (RFC 5228, 4.2), as it is but for what rules changed.
func (d *delivery) redirect(ctx context.Context, a *sieve.Redirect) error {
	mark := redirectMark(d.m.Message.MessageID, a.Address)
	if d.m.Message.MessageID != "" {
		again, err := d.account.Remembers(ctx, mark, d.now)
		if err != nil {
			return err
		}
		if again {
			// Its first copy may be the one that came back from where it was sent, so this one
			// is not dropped as well.
			d.o.Log.Info("not redirected again: it was before, and is kept", "id", d.m.ID, "account", d.filing.id)
			d.again = true
			return nil
		}
		d.remember[mark] = d.now.Add(redirectedFor)
	}
	m := *d.m
	m.ID, m.HoldUntil = 0, time.Time{}
	rcpt := mailflow.Recipient{Address: a.Address, Notify: withoutSuccess(d.m.Recipients[d.filing.rcpt].Notify)}
	if a.Notify != "" {
		rcpt.Notify, _ = smtp.ParseDSNNotify(a.Notify) // sieve has checked it
	}
	switch a.Return {
	case "FULL":
		m.Return = smtp.ReturnFull
	case "HDRS":
		m.Return = smtp.ReturnHeaders
	}
	if by := a.DeliverBy; by != nil {
		m.DeliverBy = &smtp.DeliverBy{Within: by.By.Sub(d.now), Return: by.Return, Trace: by.Trace}
	}
	if a.FromOwner && !m.ReturnPath.IsNull() {
		m.ReturnPath = d.filing.address
	}
	m.Recipients = []mailflow.Recipient{rcpt}
	if a.Message != nil {
		w, err := d.write(ctx, a.Message.Reader(), a.Message.Size())
		if err != nil {
			return err
		}
		m.Body, m.Message = w.body, w.parsed
		m.EightBit = m.EightBit || w.parsed.EightBit
	}
	d.u.Onward(&m)
	return nil
}

// redirectMark is what is remembered of a redirected message.
func redirectMark(messageID string, to address.Address) string {
	h := sha256.Sum256([]byte(messageID + "\x00" + to.ASCII()))
	return "redirect " + hex.EncodeToString(h[:16])
}

// write stages a message for the unit.
func (d *delivery) write(ctx context.Context, r io.Reader, size int64) (*written, error) {
	body, m, err := mailflow.Arrive(ctx, d.o.Bodies, nil, r, mailflow.ContentLimits{Size: size + writtenMax})
	if err != nil {
		return nil, fmt.Errorf("stage what a rule wrote: %w", err)
	}
	d.u.Made(body)
	return &written{body, m}, nil
}

// stage writes the changed forms of the mail.
func (d *delivery) stage(ctx context.Context) error {
	for i := range d.copies {
		c := &d.copies[i]
		if c.message == nil {
			continue
		}
		w, err := d.write(ctx, c.message.Reader(), c.message.Size())
		if err != nil {
			return err
		}
		c.written = w
	}
	return nil
}

// append puts all copies into their mailboxes.
func (d *delivery) append(ctx context.Context) error {
	for i := range d.copies {
		c := &d.copies[i]
		in := &mailstore.Incoming{Body: d.m.Body, Message: d.m.Message, InternalDate: d.m.Received}
		if c.written != nil {
			in.Body, in.Message = c.written.body, c.written.parsed
		}
		if in.InternalDate.IsZero() {
			in.InternalDate = d.now
		}
		flags := make([]imap.Flag, len(c.flags))
		for k, f := range c.flags {
			flags[k] = imap.Flag(f)
		}
		in.Flags, in.Keywords = mailstore.ParseFlags(flags)
		added, err := d.account.PrepareAppend(ctx, d.u, in, c.boxes[0], c.boxes[1:]...)
		if errors.Is(err, mailstore.ErrNoMailbox) && !d.filing.public {
			// Deleted since: the unit's guard would not have held.
			added, err = d.account.PrepareAppend(ctx, d.u, in, d.tree.Inbox().ID)
		}
		if err != nil {
			return err
		}
		if c.written == nil && i == d.reported() {
			if err := d.report(ctx, added[0].ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// reported is the copy by whose id a report is named: the first of the mail as it came.
func (d *delivery) reported() int {
	return slices.IndexFunc(d.copies, func(c copyOf) bool { return c.written == nil })
}

// report tells what a report says of mail that the account has sent.
func (d *delivery) report(ctx context.Context, id mailstore.MessageID) error {
	if d.o.Reports == nil {
		return nil
	}
	body := &lazyBody{ctx: ctx, bodies: d.o.Bodies, body: d.m.Body}
	d.closers = append(d.closers, body)
	return d.o.Reports(ctx, d.u, d.filing.id, id, d.m.Message, body)
}

// explain tells the timeline what rules did.
func (d *delivery) explain(o *rules.Outcome) {
	var boxes []string
	for i := range d.copies {
		for _, id := range d.copies[i].boxes {
			if m := d.tree.ID(id); m != nil {
				boxes = append(boxes, m.Name)
			}
		}
	}
	trace.Prepare(d.u, filedEvents(d, o, boxes)...)
}

// filedEvents are one event a mailbox, and one for what rules sent or dropped.
func filedEvents(d *delivery, o *rules.Outcome, boxes []string) []trace.Event {
	event := trace.Event{Time: d.now, Mail: d.m.ID, Kind: trace.Filed}
	event.Account, event.Rule = d.filing.id, o.Rules
	var events []trace.Event
	for _, name := range boxes {
		event.Mailbox = name
		events = append(events, event)
	}
	event.Mailbox = ""
	for _, a := range o.Actions {
		switch a := a.(type) {
		case *sieve.Redirect:
			event.Text = "redirected to " + a.Address.String()
		case *sieve.Vacation:
			event.Text = "answered " + a.To.String()
		case *sieve.Notify:
			event.Text = "notified by " + a.Method
		case *sieve.Discard:
			event.Text = "discarded"
		default:
			continue
		}
		events = append(events, event)
	}
	return events
}
