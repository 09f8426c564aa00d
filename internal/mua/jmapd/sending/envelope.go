package sending

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/outbox"
	"postroad/jmap"
	"postroad/message"
	"postroad/smtp"
)

// envelopeArg is Envelope (RFC 8621, 7) as a client gives it.
type envelopeArg struct {
	MailFrom *addressArg  `json:"mailFrom"`
	RcptTo   []addressArg `json:"rcptTo"`
}

// addressArg is Address.
type addressArg struct {
	Email      *string            `json:"email"`
	Parameters map[string]*string `json:"parameters"`
}

// parametersMax is how many parameters an address may have.
const parametersMax = 16

// envelopeOf is the envelope of a submission as clients see it.
func envelopeOf(s *outbox.Submission) jmap.Object {
	one := func(a *outbox.Address) jmap.Object {
		o := jmap.Object{"email": a.Email, "parameters": nil}
		if a.Parameters != nil {
			o["parameters"] = a.Parameters
		}
		return o
	}
	to := []jmap.Object{}
	for i := range s.To {
		to = append(to, one(&s.To[i].Address))
	}
	return jmap.Object{"mailFrom": one(&s.From), "rcptTo": to}
}

// readEnvelope reads the envelope that a client gives; nil: none.
func readEnvelope(v json.RawMessage) (*envelopeArg, error) {
	if isNull(v) {
		return nil, nil
	}
	bad := func(format string, a ...any) error {
		return jmap.InvalidProperties([]string{"envelope"}, "envelope: "+format, a...)
	}
	e := new(envelopeArg)
	d := json.NewDecoder(bytes.NewReader(v))
	d.DisallowUnknownFields()
	if d.Decode(e) != nil || e.MailFrom == nil || e.MailFrom.Email == nil {
		return nil, bad("needs mailFrom and rcptTo, each with an email")
	}
	for i := range e.RcptTo {
		if e.RcptTo[i].Email == nil {
			return nil, bad("rcptTo: an address without email")
		}
		if len(e.RcptTo[i].Parameters) > parametersMax {
			return nil, bad("rcptTo: more than %d parameters", parametersMax)
		}
	}
	if len(e.MailFrom.Parameters) > parametersMax {
		return nil, bad("mailFrom: more than %d parameters", parametersMax)
	}
	return e, nil
}

// derive makes the envelope that a message stands for (RFC 8621, 7).
func (m *Methods) derive(ctx context.Context, who directory.Principal, identity *outbox.Identity, msg *message.Message) (*envelopeArg, error) {
	from, name := msg.Sender.Mailboxes(), "sender"
	if len(from) == 0 {
		from, name = msg.From.Mailboxes(), "from"
	}
	if len(from) != 1 {
		return nil, invalidEmail([]string{name}, "the envelope can only be made of one address in Sender or From")
	}
	a, err := from[0].Address()
	if err != nil {
		return nil, invalidEmail([]string{name}, "%s has no valid address", name)
	}
	if !identity.Matches(a) {
		if a, err = address.Parse(identity.Email); err != nil || a.Local == outbox.AnyLocal {
			return nil, jmap.NewSetError(forbiddenMailFrom, "the identity is not for %s", from[0].AddrSpec())
		}
	}
	right, err := m.house.Directory.MaySendAs(ctx, who, a)
	if err != nil {
		return nil, err
	}
	if right == directory.SendOnBehalf {
		a = who.Login // what fails comes back to who has sent it
	}
	e := &envelopeArg{MailFrom: &addressArg{Email: text(a.String())}}
	seen := map[string]bool{}
	for _, l := range []message.AddressList{msg.To, msg.Cc, msg.Bcc} {
		for _, b := range l.Mailboxes() {
			spec := b.AddrSpec()
			k := spec
			if a, err := b.Address(); err == nil {
				spec, k = a.String(), a.Key()
			}
			if !seen[k] {
				seen[k] = true
				e.RcptTo = append(e.RcptTo, addressArg{Email: &spec})
			}
		}
	}
	return e, nil
}

func text(s string) *string { return &s }

// envelope checks an envelope and makes it what the door takes, and the submission that is
// kept of it.
func (m *Methods) envelope(ctx context.Context, who directory.Principal, given *envelopeArg) (*mailflow.Envelope, *outbox.Submission, error) {
	e := &mailflow.Envelope{Origin: mailflow.Origin{Protocol: "submission"}, Trace: smtp.Trace{With: "HTTP"}}
	s := &outbox.Submission{From: outbox.Address{Email: *given.MailFrom.Email, Parameters: given.MailFrom.Parameters}}
	if err := m.mailFrom(ctx, who, given.MailFrom, e); err != nil {
		return nil, nil, err
	}
	switch n := len(given.RcptTo); {
	case n == 0:
		return nil, nil, jmap.NewSetError("noRecipients", "the message has no recipients")
	case n > m.o.RecipientsMax:
		return nil, nil, tooManyRecipients(m.o.RecipientsMax)
	}
	var invalid []string
	seen := map[string]bool{}
	for i := range given.RcptTo {
		to := &given.RcptTo[i]
		r, err := m.rcptTo(ctx, to)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case r == nil:
			invalid = append(invalid, *to.Email)
			continue
		case seen[r.Address.Key()]:
			continue
		}
		seen[r.Address.Key()] = true
		e.Recipients = append(e.Recipients, *r)
		e.Params.SMTPUTF8 = e.Params.SMTPUTF8 || r.Address.NeedsUTF8()
		s.To = append(s.To, outbox.Recipient{Address: outbox.Address{Email: r.Address.String(), Parameters: to.Parameters}, Delivered: outbox.Queued})
	}
	if len(invalid) > 0 {
		told := jmap.NewSetError("invalidRecipients", "nobody can be written to at: %s", strings.Join(invalid, ", "))
		told.Extra = map[string]any{"invalidRecipients": invalid}
		return nil, nil, told
	}
	if s.Fits() != nil {
		return nil, nil, tooManyRecipients(min(m.o.RecipientsMax, recipientsSure))
	}
	return e, s, nil
}

// recipientsSure is how many recipients a submission has room for, however long they are.
const recipientsSure = 50

func tooManyRecipients(most int) error {
	told := jmap.NewSetError("tooManyRecipients", "at most %d recipients", most)
	told.Extra = map[string]any{"maxRecipients": most}
	return told
}

const forbiddenMailFrom = "forbiddenMailFrom"

// mailFrom takes the return path with its parameters.
func (m *Methods) mailFrom(ctx context.Context, who directory.Principal, given *addressArg, e *mailflow.Envelope) error {
	forbidden := jmap.NewSetError(forbiddenMailFrom, "you may not send from %q", *given.Email)
	if *given.Email != "" {
		a, err := address.Parse(*given.Email)
		if err != nil {
			return forbidden
		}
		right, err := m.house.Directory.MaySendAs(ctx, who, a)
		if err != nil {
			return err
		}
		if right < directory.SendAs {
			return forbidden
		}
		e.ReturnPath = a
	}
	var err error
	if e.Params, err = smtp.ParseMailParams(parameters(given.Parameters), m.o.Extensions|smtp.Size|smtp.EightBitMIME|smtp.Auth); err != nil {
		return jmap.InvalidProperties([]string{"envelope"}, "envelope: mailFrom: %s", err)
	}
	e.Params.SMTPUTF8 = e.Params.SMTPUTF8 || e.ReturnPath.NeedsUTF8()
	return nil
}

// rcptTo takes a recipient with its parameters; nil when there is nobody at the address.
func (m *Methods) rcptTo(ctx context.Context, given *addressArg) (*mailflow.Recipient, error) {
	a, err := address.Parse(*given.Email)
	if err != nil {
		return nil, nil
	}
	t, err := m.house.Directory.Resolve(ctx, a)
	if err != nil {
		return nil, err
	}
	if t.Kind != directory.NotLocal && t.Refusal() != nil {
		return nil, nil
	}
	p, err := smtp.ParseRcptParams(parameters(given.Parameters), m.o.Extensions)
	if err != nil {
		return nil, jmap.InvalidProperties([]string{"envelope"}, "envelope: rcptTo: %s: %s", *given.Email, err)
	}
	return &mailflow.Recipient{Address: a, Notify: p.Notify, Original: p.Original}, nil
}

// encoded are the parameters whose values are xtext in SMTP, as they are not in JMAP.
var encoded = []string{"ENVID", "AUTH", "ORCPT"}

// parameters writes parameters as SMTP has them. What cannot be one becomes something that
// its reader refuses.
func parameters(p map[string]*string) string {
	var parts []string
	for name, v := range p {
		name = strings.ToUpper(name)
		switch {
		case strings.ContainsAny(name, " ="):
			parts = append(parts, "?")
		case v == nil:
			parts = append(parts, name)
		case name == "ORCPT":
			kind, a, _ := strings.Cut(*v, ";")
			parts = append(parts, fmt.Sprintf("%s=%s;%s", name, clean(kind), smtp.AppendXtext(nil, a)))
		case slices.Contains(encoded, name):
			parts = append(parts, name+"="+string(smtp.AppendXtext(nil, *v)))
		default:
			parts = append(parts, name+"="+clean(*v))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// clean makes of a value that would be several parameters one that is none.
func clean(v string) string {
	if strings.ContainsAny(v, " =\t\r\n") {
		return "?=?"
	}
	return v
}
