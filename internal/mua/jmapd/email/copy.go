package email

import (
	"context"
	"errors"
	"io"
	"maps"
	"time"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// copyEmails is Email/copy (RFC 8621, 4.7). The copy is a message of its own in the other
// account, paid by that.
func (m *Methods) copyEmails(ctx context.Context, c *jmap.Call, args *jmap.CopyArgs) (*jmap.CopyResult, error) {
	from, err := m.house.Account(ctx, c, args.FromAccountID)
	if errors.Is(err, jmap.ErrAccountNotFound) {
		return nil, jmap.ErrFromAccountNotFound
	}
	if err != nil {
		return nil, methodError(err)
	}
	to, err := m.house.Account(ctx, c, args.AccountID)
	if err != nil {
		return nil, methodError(err)
	}
	if _, err := m.stateBefore(ctx, from, args.IfFromInState); err != nil {
		return nil, err
	}
	r := &jmap.CopyResult{}
	if r.OldState, err = m.stateBefore(ctx, to, args.IfInState); err != nil {
		return nil, err
	}
	if err := m.copyAll(ctx, c, from, to, args.Create, r); err != nil {
		return nil, methodError(err)
	}
	r.NewState, err = m.emailState(ctx, to)
	return r, methodError(err)
}

// copyAll copies messages.
func (m *Methods) copyAll(ctx context.Context, c *jmap.Call, from, to *access.Account, list []jmap.Creation, r *jmap.CopyResult) error {
	source, err := from.Emails(ctx, from.Reader)
	if err != nil {
		return err
	}
	var all []*arriving
	for _, made := range list {
		one, err := m.copyEmail(ctx, c, from, to, source, made)
		if err == nil {
			all = append(all, one)
			continue
		}
		e := setError(err)
		if e == nil {
			m.drop(all)
			return err
		}
		r.NotCreated = with(r.NotCreated, made.ID, e)
	}
	m.enter(ctx, access.Of(c), to, all)
	if err := m.arrived(ctx, access.Of(c), to, all, CauseCopy); err != nil {
		return err
	}
	for _, one := range all {
		if e := one.setError(); e != nil {
			r.NotCreated = with(r.NotCreated, one.creation, e)
			continue
		}
		r.Created = with(r.Created, one.creation, one.object())
	}
	return nil
}

// copyEmail prepares one copy. What is not given is as it is with the original (RFC 8620,
// 5.4), as far as the user may set that in the mailboxes it goes to.
func (m *Methods) copyEmail(ctx context.Context, c *jmap.Call, from, to *access.Account, source *mailstore.Emails, made jmap.Creation) (*arriving, error) {
	o := maps.Clone(made.Object)
	var id jmap.ID
	if argument(o, "id", &id) != nil || id == "" {
		return nil, jmap.InvalidProperties([]string{"id"}, "no id of a message")
	}
	delete(o, "id")
	_, keywords := o["keywords"]
	d, err := m.takeDestination(ctx, c, to, o)
	if err != nil {
		return nil, err
	}
	for name := range o {
		return nil, jmap.InvalidProperties([]string{name}, "only mailboxIds, keywords and receivedAt can be set")
	}
	id, known := c.Resolve(id)
	p, found := place(source, id)
	if !known || !found {
		return nil, jmap.NewSetError(jmap.SetNotFound, "no such message")
	}
	email := source.Email(p)
	if !keywords {
		d.inherit(email)
	}
	record, err := from.Record(ctx, email.ID.Message, mailstore.WantStructure)
	if err != nil {
		return nil, err
	}
	octets, err := from.Open(ctx, record.Body)
	if err != nil {
		return nil, err
	}
	defer octets.Close()
	body, parsed, err := m.stage(ctx, io.NewSectionReader(octets, 0, octets.Size()))
	if err != nil {
		return nil, err
	}
	return d.arriving(made.ID, to, body, parsed, time.Unix(email.Received, 0)), nil
}

// inherit takes the keywords of an original, those that the user may set.
func (d *destination) inherit(e mailstore.Email) {
	if d.rights.Has(imap.RightSeen) {
		d.flags |= e.Flags & mailstore.Seen
	}
	if d.rights.Has(imap.RightWrite) {
		d.flags |= e.Flags &^ mailstore.Seen
		d.keywords = e.Keywords
	}
}
