package email

import (
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"time"

	"postroad/internal/blob"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
	"postroad/message"
)

// imported is the response of Email/import.
type imported struct {
	AccountID  jmap.ID                    `json:"accountId"`
	OldState   string                     `json:"oldState"`
	NewState   string                     `json:"newState"`
	Created    map[jmap.ID]jmap.Object    `json:"created"`
	NotCreated map[jmap.ID]*jmap.SetError `json:"notCreated"`
}

// importEmails is Email/import (RFC 8621, 4.8). An upload's octets are not written again:
// the message holds on to them too.
func (m *Methods) importEmails(ctx context.Context, c *jmap.Call) (any, error) {
	var args jmap.Properties
	if err := readArguments(c, &args, "accountId", "ifInState", "emails"); err != nil {
		return nil, err
	}
	a, id, err := m.accountOf(ctx, c, args, "accountId")
	if err != nil {
		return nil, err
	}
	var wanted *string
	if err := argument(args, "ifInState", &wanted); err != nil {
		return nil, jmap.InvalidArguments("%s", err)
	}
	list, err := inOrder("emails", args["emails"])
	if err != nil {
		return nil, err
	}
	if len(list) > jmap.DefaultLimits.ObjectsInSet {
		return nil, jmap.ErrRequestTooLarge.With("more than %d messages", jmap.DefaultLimits.ObjectsInSet)
	}
	r := &imported{AccountID: id}
	if r.OldState, err = m.stateBefore(ctx, a, wanted); err != nil {
		return nil, err
	}
	if err := m.importAll(ctx, c, a, list, r); err != nil {
		return nil, methodError(err)
	}
	r.NewState, err = m.emailState(ctx, a)
	return r, methodError(err)
}

// importAll imports messages.
func (m *Methods) importAll(ctx context.Context, c *jmap.Call, a *access.Account, list []jmap.Creation, r *imported) error {
	var all []*arriving
	for _, made := range list {
		one, err := m.importEmail(ctx, c, a, made)
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
	m.enter(ctx, access.Of(c), a, all)
	if err := m.arrived(ctx, access.Of(c), a, all, CauseAppend); err != nil {
		return err
	}
	for _, one := range all {
		if e := one.setError(); e != nil {
			r.NotCreated = with(r.NotCreated, one.creation, e)
			continue
		}
		r.Created = with(r.Created, one.creation, one.object())
		c.Created(one.creation, jmap.ID(mailstore.FormatEmailID(one.added[0].ID)))
	}
	return nil
}

// importEmail prepares one message.
func (m *Methods) importEmail(ctx context.Context, c *jmap.Call, a *access.Account, made jmap.Creation) (*arriving, error) {
	o := maps.Clone(made.Object)
	d, err := m.takeDestination(ctx, c, a, o)
	if err != nil {
		return nil, err
	}
	var id jmap.ID
	if argument(o, "blobId", &id) != nil || id == "" {
		return nil, jmap.InvalidProperties([]string{"blobId"}, "no blobId")
	}
	delete(o, "blobId")
	for name := range o {
		return nil, jmap.InvalidProperties([]string{name}, "no property of an import")
	}
	id, known := c.Resolve(id)
	if !known {
		return nil, jmap.InvalidProperties([]string{"blobId"}, "no such blob")
	}
	octets, err := m.openBlob(ctx, access.Of(c), a, id)
	if errors.Is(err, jmap.ErrBlobNotFound) {
		return nil, jmap.InvalidProperties([]string{"blobId"}, "no such blob")
	}
	if err != nil {
		return nil, err
	}
	defer octets.Close()
	if octets.size > m.o.MessageBytesMax {
		return nil, jmap.NewSetError(jmap.SetTooLarge, "a message has at most %d octets", m.o.MessageBytesMax)
	}
	body, parsed, err := m.importBody(ctx, octets)
	if err != nil {
		return nil, err
	}
	received, err := receivedAt(parsed, octets)
	if err != nil {
		return nil, err
	}
	one := d.arriving(made.ID, a, body, parsed, received)
	one.upload = octets.upload
	return one, nil
}

// importBody parses a message, and makes a body of it where it is no upload.
func (m *Methods) importBody(ctx context.Context, o *octets) (blob.Body, *message.Message, error) {
	parsed, err := parseMessage(o)
	if errors.Is(err, errNoMessage) || errors.Is(err, message.ErrHeaderTooLarge) {
		return blob.Body{}, nil, jmap.NewSetError("invalidEmail", "%s", err)
	}
	if err != nil || o.upload != nil {
		if o.upload != nil {
			return o.upload.body, parsed, err
		}
		return blob.Body{}, nil, err
	}
	return m.stage(ctx, o.reader())
}

// receivedAt is the time in the most recent Received field, else now (RFC 8621, 4.8).
func receivedAt(m *message.Message, r io.ReaderAt) (time.Time, error) {
	if m.Received == 0 {
		return time.Now(), nil
	}
	block, err := io.ReadAll(io.LimitReader(m.Root.HeaderReader(r), partHeaderMax))
	if err != nil {
		return time.Time{}, err
	}
	for f := range message.Fields(block) {
		if !f.Is("Received") {
			continue
		}
		value := f.Unfolded()
		if t, ok := message.ParseDate(value[strings.LastIndexByte(value, ';')+1:]); ok && t.Unix() > 0 {
			return t, nil
		}
		break
	}
	return time.Now(), nil
}

// setError is what is told of a message that could not be entered; nil where it was.
func (one *arriving) setError() *jmap.SetError {
	if one.err == nil {
		return nil
	}
	switch {
	case errors.Is(one.err, mailstore.ErrLimit):
		return errTooManyKeywords
	case errors.Is(one.err, mailstore.ErrTooLarge) && len(one.boxes) > 1:
		return errTooManyMailboxes
	}
	if e := setError(one.err); e != nil {
		return e
	}
	return failed(one.err)
}
