package sending

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/outbox"
	"postroad/jmap"
	"postroad/message"
	"postroad/smtp"
)

// invalidEmail says which properties of a message keep it from being sent (RFC 8621, 7.5).
func invalidEmail(properties []string, format string, a ...any) *jmap.SetError {
	told := jmap.NewSetError("invalidEmail", format, a...)
	told.Properties = properties
	return told
}

// draft is a message that is to be sent.
type draft struct {
	id      mailstore.MessageID
	email   string // its id, as the client has it
	record  *mailstore.Record
	message *message.Message
}

// create sends a message: all is checked first, then one commit takes the mail and makes
// the submission.
func (m *Methods) create(ctx context.Context, c *jmap.Call, a *access.Account, p jmap.Properties) (*outbox.Submission, error) {
	for name := range p {
		switch name {
		case "emailId", "identityId", "envelope":
		case "id", "threadId", "sendAt", "undoStatus", "deliveryStatus", "dsnBlobIds", "mdnBlobIds":
			return nil, serverSet(name)
		default:
			return nil, jmap.InvalidProperties([]string{name}, "%s: no such property", name)
		}
	}
	who, err := m.principal(ctx, a)
	if err != nil {
		return nil, err
	}
	identity, err := m.identityOf(ctx, c, who, p["identityId"])
	if err != nil {
		return nil, err
	}
	d, err := m.draftOf(ctx, c, a, p["emailId"])
	if err != nil {
		return nil, err
	}
	given, err := readEnvelope(p["envelope"])
	if err != nil {
		return nil, err
	}
	if err := m.checkFrom(ctx, who, d.message); err != nil {
		return nil, err
	}
	if given == nil {
		if given, err = m.derive(ctx, who, identity, d.message); err != nil {
			return nil, err
		}
	}
	e, s, err := m.envelope(ctx, who, given)
	if err != nil {
		return nil, err
	}
	s.Identity, s.Email, s.Thread = identity.ID, d.email, d.thread()
	return m.submit(ctx, who, a, d, e, s)
}

// thread is the conversation of the message as a whole, as the client knows it.
func (d *draft) thread() string {
	if id, err := mailstore.ParseEmailID(d.email); err == nil && id.Joined != 0 {
		return mailstore.FormatThreadID(id.Joined)
	}
	return mailstore.FormatThreadID(d.record.Thread)
}

// reference reads an id, or a reference to what was created before.
func reference(c *jmap.Call, name string, v json.RawMessage) (jmap.ID, error) {
	var id jmap.ID
	if isNull(v) || json.Unmarshal(v, &id) != nil {
		return "", jmap.InvalidProperties([]string{name}, "%s: no id", name)
	}
	id, ok := c.Resolve(id)
	if !ok {
		return "", jmap.InvalidProperties([]string{name}, "%s: nothing was created under that id", name)
	}
	return id, nil
}

// identityOf finds the identity that a submission names.
func (m *Methods) identityOf(ctx context.Context, c *jmap.Call, who directory.Principal, v json.RawMessage) (*outbox.Identity, error) {
	id, err := reference(c, "identityId", v)
	if err != nil {
		return nil, err
	}
	all, _, err := m.o.Outbox.Identities(ctx, who)
	if err != nil {
		return nil, err
	}
	if n, ok := access.ParseID(letterIdentity, id); ok {
		if i := find(all, n); i != nil {
			return i, nil
		}
	}
	return nil, jmap.InvalidProperties([]string{"identityId"}, "no such identity")
}

// draftOf finds the message that a submission names.
func (m *Methods) draftOf(ctx context.Context, c *jmap.Call, a *access.Account, v json.RawMessage) (*draft, error) {
	id, err := reference(c, "emailId", v)
	if err != nil {
		return nil, err
	}
	missing := jmap.InvalidProperties([]string{"emailId"}, "no such message")
	of, err := mailstore.ParseEmailID(string(id))
	if err != nil {
		return nil, missing
	}
	if _, err = a.Locations(ctx, of.Message); errors.Is(err, mailstore.ErrNoMessage) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	d := &draft{id: of.Message, email: string(id)}
	if d.record, err = a.Record(ctx, of.Message, mailstore.WantEnvelope|mailstore.WantStructure); err != nil {
		if errors.Is(err, mailstore.ErrNoMessage) {
			err = missing
		}
		return nil, err
	}
	if d.record.Body.Size > m.o.MessageBytesMax {
		return nil, m.tooLarge()
	}
	d.message, err = message.Decode(d.record.Structure)
	return d, err
}

func (m *Methods) tooLarge() error {
	told := jmap.NewSetError(jmap.SetTooLarge, "messages of more than %d octets are not sent", m.o.MessageBytesMax)
	told.Extra = map[string]any{"maxSize": m.o.MessageBytesMax}
	return told
}

// checkFrom finds out whether the user may send a message with what its header says of who
// it is from.
func (m *Methods) checkFrom(ctx context.Context, who directory.Principal, msg *message.Message) error {
	from := msg.From.Mailboxes()
	if len(from) == 0 {
		return invalidEmail([]string{"from"}, "the message does not say who it is from")
	}
	if len(msg.Sender.Mailboxes()) > 1 {
		return invalidEmail([]string{"sender"}, "Sender has more than one address")
	}
	for _, f := range from {
		a, err := f.Address()
		if err != nil {
			return invalidEmail([]string{"from"}, "From has an address that is not valid: %.100q", f.AddrSpec())
		}
		right, err := m.house.Directory.MaySendAs(ctx, who, a)
		if err != nil {
			return err
		}
		if right == directory.SendNot {
			return jmap.NewSetError(forbiddenFrom, "you may not send from %s", a)
		}
	}
	return nil
}

// submit gives the message to the door. The submission, and where it waits its entry in
// Scheduled, are part of the commit that takes the mail.
func (m *Methods) submit(ctx context.Context, who directory.Principal, a *access.Account, d *draft, e *mailflow.Envelope, s *outbox.Submission) (*outbox.Submission, error) {
	var scheduled mailstore.MailboxID
	if e.Params.HoldFor > 0 || !e.Params.HoldUntil.IsZero() {
		box, err := m.o.Outbox.Scheduled(ctx, a.Account)
		if err != nil {
			return nil, err
		}
		scheduled = box.ID
	}
	body, err := a.Open(ctx, d.record.Body)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	also := func(ctx context.Context, u *mailflow.Unit, mail *mailflow.Mail, statuses []mailflow.Status) error {
		if err := m.o.Outbox.PrepareSubmission(ctx, u, a.Account, s, mail, statuses); err != nil || scheduled == 0 || !mail.HoldUntil.After(mail.Received) {
			return err
		}
		return m.o.Outbox.PrepareShow(ctx, u, a.Account, scheduled, d.id, mail.ID)
	}
	id, _, err := m.o.Submitter.Submit(ctx, who, *e, io.NewSectionReader(body, 0, body.Size()), mailflow.SubmitOptions{Also: also})
	if err != nil {
		return nil, m.refusal(err)
	}
	return m.o.Outbox.Submission(ctx, a.ID(), id)
}

// refusal turns what the door says into the error of a submission. What was checked before
// comes here only where it has changed since.
func (m *Methods) refusal(err error) error {
	var refused *smtp.Error
	switch {
	case errors.Is(err, outbox.ErrTooLarge):
		return tooManyRecipients(recipientsSure)
	case errors.Is(err, mailstore.ErrNoMessage):
		return jmap.InvalidProperties([]string{"emailId"}, "no such message")
	}
	if !errors.As(err, &refused) || refused.Temporary() && refused.Reply.Enhanced != (smtp.EnhancedCode{4, 5, 3}) {
		return err
	}
	say := refused.Reply.String()
	switch refused.Reply.Enhanced {
	case smtp.EnhancedCode{5, 3, 4}:
		return m.tooLarge()
	case smtp.EnhancedCode{4, 5, 3}:
		return tooManyRecipients(m.o.RecipientsMax)
	case smtp.EnhancedCode{5, 6, 0}, smtp.EnhancedCode{5, 4, 6}:
		return invalidEmail([]string{"headers"}, "%s", say)
	case smtp.EnhancedCode{5, 5, 4}:
		return jmap.InvalidProperties([]string{"envelope"}, "envelope: %s", say)
	case smtp.EnhancedCode{5, 7, 1}:
		return jmap.NewSetError(forbiddenFrom, "%s", say)
	case smtp.EnhancedCode{5, 1, 1}, smtp.EnhancedCode{5, 1, 2}, smtp.EnhancedCode{5, 2, 1}, smtp.EnhancedCode{5, 2, 2}:
		told := jmap.NewSetError("invalidRecipients", "%s", say)
		told.Extra = map[string]any{"invalidRecipients": []string{}}
		return told
	}
	return jmap.NewSetError("forbiddenToSend", "%s", say)
}

// sameJSON tells whether a value that a client gave is what we would have written.
func sameJSON(v json.RawMessage, is any) bool {
	ours, err := json.Marshal(is)
	var a, b any
	if err != nil || len(v) == 0 || json.Unmarshal(v, &a) != nil || json.Unmarshal(ours, &b) != nil {
		return false
	}
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// readArgument reads an argument beside the standard ones.
func readArgument(extra jmap.Properties, name string, into any) error {
	v := extra[name]
	if isNull(v) {
		return nil
	}
	if json.Unmarshal(v, into) != nil {
		return jmap.InvalidArguments("%s: of the wrong type", name)
	}
	return nil
}
