package sieve

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"postroad/address"
	"postroad/message"
)

// keepCommand is keep (RFC 5228, 4.3).
type keepCommand struct{ flags []text }

func compileKeep(c *compiler, u *usage) command { return &keepCommand{c.flagTag(u)} }

func (k *keepCommand) execute(r *run) (flow, error) {
	flags, set, err := r.flagsFor(k.flags)
	if err != nil {
		return flowStop, err
	}
	if err := r.delivering("keep"); err != nil {
		return flowStop, err
	}
	r.explain("keep")
	r.outcome.cancelled = true // what is explicit takes the place of what is implicit
	r.keep(&Keep{Flags: flags, SetFlags: set, Message: r.stored()})
	return flowNext, nil
}

// delivering checks that an action that delivers may be taken.
func (r *run) delivering(name string) error {
	if err := r.conflict(name); err != nil {
		return err
	}
	return r.count()
}

// keep notes a keep, or lets it become one with what files into INBOX already (RFC 5228,
// 2.10.3).
func (r *run) keep(k *Keep) {
	for _, a := range r.outcome.actions {
		switch a := a.(type) {
		case *Keep:
			a.Message = k.Message
			if k.SetFlags { // RFC 5232, 3: the last list wins
				a.Flags, a.SetFlags = k.Flags, true
			}
			return
		case *FileInto:
			if r.in.Event == nil && a.isInbox() {
				a.Message = k.Message
				if k.SetFlags {
					a.Flags = k.Flags
				}
				return
			}
		}
	}
	r.outcome.actions = append(r.outcome.actions, k)
}

// isInbox tells whether the target is the main mailbox by its name.
func (t *Target) isInbox() bool {
	return t.ID == "" && t.SpecialUse == "" && strings.EqualFold(t.Mailbox, "INBOX")
}

// sameAs tells whether two targets have the same names.
func (t *Target) sameAs(o *Target) bool {
	return t.ID == o.ID && strings.EqualFold(t.SpecialUse, o.SpecialUse) &&
		(t.Mailbox == o.Mailbox || strings.EqualFold(t.Mailbox, "INBOX") && strings.EqualFold(o.Mailbox, "INBOX"))
}

// targetCommand is what names a mailbox: of fileinto, and of :fcc.
type targetCommand struct {
	mailbox    text
	id         *text
	specialUse *text
	create     bool
	flags      []text
}

// targetTags are the arguments of a target.
var targetTags = []tagRule{
	{name: "flags", extension: extFlags, value: kindStrings},
	{name: "create", extension: extMailbox},
	{name: "mailboxid", extension: extMailboxID, value: kindString},
	{name: "specialuse", extension: extSpecialUse, value: kindString},
}

func (c *compiler) target(u *usage, mailbox *argument) targetCommand {
	t := targetCommand{mailbox: c.string(mailbox), create: u.has("create"), flags: c.flagTag(u)}
	if tag := u.tag("mailboxid"); tag != nil {
		s := c.string(tag.value)
		t.id = &s
	}
	if tag := u.tag("specialuse"); tag != nil {
		s := c.string(tag.value)
		t.specialUse = &s
		if s.isConstant() && !isSpecialUse(s.constant) {
			c.fault(tag.value.at.errorf("%q is no special use such as \"\\\\Archive\"", s.constant))
		}
	}
	if t.mailbox.isConstant() && !isMailboxName(t.mailbox.constant) {
		c.fault(mailbox.at.errorf("%q is no name of a mailbox", t.mailbox.constant))
	}
	return t
}

// isSpecialUse tells whether s is a use-attr (RFC 6154, 6).
func isSpecialUse(s string) bool {
	return len(s) > 1 && len(s) <= FlagOctetsMax && s[0] == '\\' && isAtom(s[1:])
}

// mailboxNameMax bounds a name of a mailbox, in octets.
const mailboxNameMax = 1024

// isMailboxName tells whether s can name a mailbox.
func isMailboxName(s string) bool {
	if s == "" || len(s) > mailboxNameMax || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, unicode.IsControl) < 0
}

// in returns the target in this run.
func (t *targetCommand) in(r *run) (to Target, set bool, err error) {
	to.Create = t.create
	if to.Mailbox, err = t.mailbox.expand(r); err != nil {
		return to, false, err
	}
	if !isMailboxName(to.Mailbox) {
		return to, false, r.failf("%q is no name of a mailbox", shown(to.Mailbox))
	}
	if t.id != nil {
		if to.ID, err = t.id.expand(r); err != nil {
			return to, false, err
		}
	}
	if t.specialUse != nil {
		if to.SpecialUse, err = t.specialUse.expand(r); err != nil {
			return to, false, err
		}
		if !isSpecialUse(to.SpecialUse) {
			return to, false, r.failf("%q is no special use such as \"\\\\Archive\"", shown(to.SpecialUse))
		}
	}
	to.Flags, set, err = r.flagsFor(t.flags)
	return to, set, err
}

// fileIntoCommand is fileinto (RFC 5228, 4.1).
type fileIntoCommand struct {
	target targetCommand
	copy   bool
}

var copyTags = []tagRule{{name: "copy", extension: extCopy}}

func compileFileInto(c *compiler, u *usage) command {
	return &fileIntoCommand{c.target(u, u.args[0]), u.has("copy")}
}

func (f *fileIntoCommand) execute(r *run) (flow, error) {
	to, set, err := f.target.in(r)
	if err != nil {
		return flowStop, err
	}
	if err := r.delivering("fileinto"); err != nil {
		return flowStop, err
	}
	r.explain("fileinto %q", to.Mailbox)
	if !f.copy {
		r.outcome.cancelled = true
	}
	r.fileInto(&FileInto{Target: to, Copy: f.copy, Message: r.doc.edited()}, set)
	return flowNext, nil
}

// fileInto notes a fileinto, or lets it become one with an earlier one of the same mailbox
// (RFC 5228, 2.10.3; RFC 5293, 7: changes of the header make no difference).
func (r *run) fileInto(f *FileInto, set bool) {
	for _, a := range r.outcome.actions {
		switch a := a.(type) {
		case *FileInto:
			if a.sameAs(&f.Target) {
				a.Message, a.Create, a.Copy = f.Message, a.Create || f.Create, a.Copy && f.Copy
				if set {
					a.Flags = f.Flags
				}
				return
			}
		case *Keep:
			if r.in.Event == nil && f.isInbox() {
				a.Message = f.Message
				if set {
					a.Flags, a.SetFlags = f.Flags, true
				}
				return
			}
		}
	}
	r.outcome.actions = append(r.outcome.actions, f)
}

// redirectCommand is redirect (RFC 5228, 4.2).
type redirectCommand struct {
	address text
	copy    bool
	sending sending
}

func compileRedirect(c *compiler, u *usage) command {
	d := &redirectCommand{address: c.string(u.args[0]), copy: u.has("copy"), sending: c.sending(u)}
	if d.address.isConstant() {
		if _, ok := oneAddress(d.address.constant); !ok {
			c.fault(u.args[0].at.errorf("%q is no mail address", d.address.constant))
		}
	}
	return d
}

// oneAddress reads a sieve-address (RFC 5228, 2.4.2.3).
func oneAddress(s string) (address.Address, bool) {
	list := message.ParseAddressList(s)
	if len(list) != 1 || list[0].Kind != message.KindMailbox || list[0].Host == "" || strings.ContainsAny(s, "\r\n\x00") {
		return address.Address{}, false
	}
	a, err := list[0].Address()
	return a, err == nil
}

func (d *redirectCommand) execute(r *run) (flow, error) {
	s, err := d.address.expand(r)
	if err != nil {
		return flowStop, err
	}
	to, ok := oneAddress(s)
	if !ok {
		return flowStop, r.failf("%q is no mail address", shown(s))
	}
	if err := r.delivering("redirect"); err != nil {
		return flowStop, err
	}
	action := &Redirect{Address: to, Copy: d.copy, Message: r.outgoing()}
	if err := d.sending.in(r, action); err != nil {
		return flowStop, err
	}
	r.explain("redirect %q", to.String())
	if !d.copy {
		r.outcome.cancelled = true
	}
	return flowNext, r.redirect(action)
}

// redirect notes a redirect; one to the same address takes the place of an earlier one.
func (r *run) redirect(action *Redirect) error {
	for i, a := range r.outcome.actions {
		if old, ok := a.(*Redirect); ok && old.Address.Equal(action.Address) {
			action.Copy = action.Copy && old.Copy
			r.outcome.actions[i] = action
			return nil
		}
	}
	if r.outcome.redirects++; r.outcome.redirects > r.limits.Redirects {
		return r.failf("the script redirects to more than %d addresses", r.limits.Redirects)
	}
	r.outcome.actions = append(r.outcome.actions, action)
	return nil
}

// outgoing is the message as redirect sends it: not enclosed (RFC 5703, 6).
func (r *run) outgoing() *Edited {
	if r.encloses > 0 {
		return r.sent
	}
	return r.doc.edited()
}

// discardCommand is discard (RFC 5228, 4.4): it only cancels the implicit keep.
type discardCommand struct{}

func compileDiscard(*compiler, *usage) command { return discardCommand{} }

func (discardCommand) execute(r *run) (flow, error) {
	if err := r.count(); err != nil {
		return flowStop, err
	}
	r.explain("discard")
	r.outcome.cancelled = true
	return flowNext, nil
}

// rejectCommand is reject and ereject (RFC 5429).
type rejectCommand struct {
	text     text
	extended bool
}

func compileReject(c *compiler, u *usage) command {
	return &rejectCommand{c.string(u.args[0]), u.node.name == "ereject"}
}

func (j *rejectCommand) execute(r *run) (flow, error) {
	name := "reject"
	if j.extended {
		name = "ereject"
	}
	if r.in.Event != nil {
		return flowStop, r.inapplicable(name)
	}
	s, err := j.text.expand(r)
	if err != nil {
		return flowStop, err
	}
	if err := r.delivering(name); err != nil {
		return flowStop, err
	}
	if r.outcome.vacation {
		return flowStop, r.failf("%q cannot be used together with \"vacation\"", name)
	}
	if r.goesSomewhere() {
		return flowStop, r.failf("%q cannot be used when the message was kept, filed or redirected", name)
	}
	r.explain("%s %q", name, shown(s))
	r.outcome.cancelled = true
	r.outcome.actions = append(r.outcome.actions, &Reject{Text: strings.TrimRight(s, "\r\n"), Extended: j.extended})
	return flowNext, nil
}

// inapplicable is the error of an action that is for deliveries only (RFC 6785, 3.11).
func (r *run) inapplicable(name string) error {
	return r.failf("%q can only be used when a message is delivered", name)
}
