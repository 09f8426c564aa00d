package events

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/message"
	"postroad/sieve"
	"postroad/smtp"
)

// writtenMax bounds what scripts write, in octets, above the size of the message.
const writtenMax = 2 << 20

// event is one message that something has happened to.
type event struct {
	watch   *Watch
	uid     uint32
	cause   string
	flags   []string // as they are now
	changed []string // of Flag
	now     time.Time
	body    blob.Body
	message *message.Message
	reader  blob.Reader
	tree    *mailstore.Tree
}

// flagsOf are the flags of a message as words.
func flagsOf(r *mailstore.Row, s *mailstore.Snapshot) []string {
	return strings.Fields(string(r.Flags.Append(nil, s.Keywords())))
}

// difference is what is in one of two lists of flags only. Flags have no case (RFC 9051,
// 2.3.2).
func difference(a, b []string) []string {
	var out []string
	for _, lists := range [][2][]string{{a, b}, {b, a}} {
		for _, f := range lists[0] {
			if !slices.ContainsFunc(lists[1], func(g string) bool { return imap.EqualFold(f, g) }) {
				out = append(out, f)
			}
		}
	}
	return out
}

// perform does what the script says. What is sent goes first, then what is filed, then the
// message's flags: with an error, or a crash, between them the message has not been marked
// \Deleted. set is the flags that a keep gave it.
func (e *event) perform(ctx context.Context, o *rules.Outcome) (set []string, err error) {
	var keep *sieve.Keep
	for _, a := range o.Actions {
		switch a := a.(type) {
		case *sieve.Keep:
			keep = a
		case *sieve.FileInto:
			err = e.file(ctx, a)
		case *sieve.Redirect:
			err = e.redirect(ctx, a)
		case *sieve.Notify:
			err = e.notify(ctx, a)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := e.remember(ctx, o.Marks); err != nil {
		return nil, err
	}
	switch {
	case keep == nil: // RFC 6785, 3.3 to 3.5; it is the owner's to expunge (2.2.4)
		return nil, e.store(ctx, mailstore.FlagsAdd, []string{string(imap.FlagDeleted)})
	case keep.SetFlags:
		return append([]string{}, keep.Flags...), e.store(ctx, mailstore.FlagsReplace, keep.Flags)
	}
	return nil, nil
}

// store changes the message's flags.
func (e *event) store(ctx context.Context, mode mailstore.StoreMode, flags []string) error {
	c := mailstore.FlagChange{Mode: mode}
	c.Flags, c.Keywords = rules.Flags(flags)
	_, err := e.watch.account.StoreFlags(ctx, e.watch.mailbox, one(e.uid), c)
	return err
}

func one(uid uint32) imap.UIDSet { return imap.UIDSet{{First: uid, Last: uid}} }

// remember keeps what the script marked.
func (e *event) remember(ctx context.Context, marks []sieve.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	until, known := map[string]time.Time{}, map[string]bool{}
	for _, m := range marks {
		until[m.Key] = e.now.Add(m.For)
		known[m.Key] = true // what the script did is done
	}
	return e.watch.events.o.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		return e.watch.account.PrepareRemember(ctx, u, e.now, until, known)
	})
}

// place finds or makes a mailbox. Where there is none the script fails, and the message is
// left as it is.
func (e *event) place(ctx context.Context, t *sieve.Target) (*mailstore.Mailbox, error) {
	m, tree, err := rules.Place(ctx, e.watch.account, e.tree, t)
	if err != nil {
		return nil, err
	}
	e.tree = tree
	if m == nil {
		return nil, fmt.Errorf("file into %q: %w", t.Mailbox, mailstore.ErrNoMailbox)
	}
	return m, nil
}

// file makes a new message, separate from the original (RFC 6785, 3.3): a copy, with the
// flags that the script gives it.
func (e *event) file(ctx context.Context, f *sieve.FileInto) error {
	to, err := e.place(ctx, &f.Target)
	if err != nil {
		return err
	}
	a := e.watch.account
	if f.Message != nil {
		return e.append(ctx, f.Message.Reader(), f.Message.Size(), to.ID, f.Flags)
	}
	copied, err := a.Copy(ctx, e.watch.mailbox, one(e.uid), to.ID)
	if err != nil || len(copied.Dest) == 0 {
		return err
	}
	c := mailstore.FlagChange{Mode: mailstore.FlagsReplace}
	c.Flags, c.Keywords = rules.Flags(f.Flags)
	_, err = a.StoreFlags(ctx, to.ID, copied.Dest, c)
	return err
}

// append puts what the script wrote into a mailbox.
func (e *event) append(ctx context.Context, r io.Reader, size int64, to mailstore.MailboxID, flags []string) error {
	body, m, err := e.write(ctx, r, size)
	if err != nil {
		return err
	}
	defer e.watch.events.o.Bodies.Discard(body) // one that a commit took is left alone
	in := &mailstore.Incoming{Body: body, Message: m, InternalDate: e.now}
	in.Flags, in.Keywords = rules.Flags(flags)
	_, err = e.watch.account.Append(ctx, to, in)
	return err
}

func (e *event) write(ctx context.Context, r io.Reader, size int64) (blob.Body, *message.Message, error) {
	return mailflow.Arrive(ctx, e.watch.events.o.Bodies, nil, r, mailflow.ContentLimits{Size: size + writtenMax})
}

// redirect sends the message on, from the owner of the mailbox (RFC 6785, 3.4).
func (e *event) redirect(ctx context.Context, a *sieve.Redirect) error {
	owner, err := e.watch.events.o.Owner(ctx, e.watch.account.ID())
	if err != nil {
		return err
	}
	m := &mailflow.Mail{}
	if len(owner.Addresses) > 0 {
		m.ReturnPath = owner.Addresses[0]
	}
	rules.Redirect(m, a, 0, e.now)
	if a.Message != nil {
		return e.send(ctx, m, a.Message.Reader(), a.Message.Size())
	}
	return e.send(ctx, m, io.NewSectionReader(e.reader, 0, e.reader.Size()), e.reader.Size())
}

// notify sends a notification, and keeps a copy where the script wants one (RFC 8580).
func (e *event) notify(ctx context.Context, n *sieve.Notify) error {
	text, err := n.Compose(message.NewMessageID(e.watch.events.o.Host), e.now)
	if err != nil {
		return fmt.Errorf("write a notification: %w", err)
	}
	m := &mailflow.Mail{ReturnPath: n.ReturnPath}
	for _, to := range n.Recipients {
		m.Recipients = append(m.Recipients, mailflow.Recipient{Address: to, Notify: smtp.NotifyNever})
	}
	if err := e.send(ctx, m, bytes.NewReader(text), int64(len(text))); err != nil || n.Fcc == nil {
		return err
	}
	to, err := e.place(ctx, n.Fcc)
	if err != nil {
		return err
	}
	return e.append(ctx, bytes.NewReader(text), int64(len(text)), to.ID, n.Fcc.Flags)
}

// send submits a mail.
func (e *event) send(ctx context.Context, m *mailflow.Mail, r io.Reader, size int64) error {
	o := &e.watch.events.o
	var err error
	if m.Body, m.Message, err = e.write(ctx, r, size); err != nil {
		return err
	}
	defer o.Bodies.Discard(m.Body) // one that a commit took is left alone
	m.Received, m.EightBit = e.now, m.Message.EightBit
	m.SMTPUTF8 = slices.ContainsFunc(m.Recipients, func(r mailflow.Recipient) bool { return r.Address.NeedsUTF8() }) || m.ReturnPath.NeedsUTF8()
	m.Origin = mailflow.Origin{Protocol: "sieve", Helo: o.Host, Account: e.watch.account.ID()}
	_, err = o.Submitter.Submit(ctx, m, mailflow.SubmitOptions{})
	return err
}
