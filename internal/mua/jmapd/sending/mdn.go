package sending

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/outbox"
	"postroad/jmap"
	"postroad/message"
	"postroad/report"
	"postroad/smtp"
)

// capabilityMail must be used beside that of MDNs (RFC 9007, 2.1).
const capabilityMail = "urn:ietf:params:jmap:mail"

// mdnSent is the keyword of messages about which a receipt was sent (RFC 3503).
const mdnSent = "$mdnsent"

// Limits of what a client says in a receipt.
const (
	mdnsMax         = 100 // receipts in one call
	extensionsMax   = 20
	mdnTextMax      = 64 << 10 // octets of the text for people
	mdnFieldMax     = 500      // octets of one field
	mdnReceiversMax = 10       // addresses in Disposition-Notification-To that are written to
)

// mdnMethods are those of MDN that send (RFC 9007, 2.1).
func (m *Methods) mdnMethods() []jmap.Method {
	return []jmap.Method{{Name: "MDN/send", Capability: CapabilityMDN, Do: m.sendMDNs}}
}

// mdnArg is MDN (RFC 9007, 2) as a client gives it. The sample of section 3.1 says extension
// where section 2 says extensionFields; both are taken.
type mdnArg struct {
	ForEmailID      *jmap.ID          `json:"forEmailId"`
	Subject         *string           `json:"subject"`
	TextBody        *string           `json:"textBody"`
	IncludeOriginal *bool             `json:"includeOriginalMessage"`
	ReportingUA     *string           `json:"reportingUA"`
	Disposition     *dispositionArg   `json:"disposition"`
	FinalRecipient  *string           `json:"finalRecipient"`
	ExtensionFields map[string]string `json:"extensionFields"`
	Extension       map[string]string `json:"extension"`
}

type dispositionArg struct {
	ActionMode  string `json:"actionMode"`
	SendingMode string `json:"sendingMode"`
	Type        string `json:"type"`
}

// mdnSend are the arguments of MDN/send.
type mdnSend struct {
	AccountID  jmap.ID                     `json:"accountId"`
	IdentityID jmap.ID                     `json:"identityId"`
	Send       map[jmap.ID]json.RawMessage `json:"send"`
	OnSuccess  map[jmap.ID]jmap.Properties `json:"onSuccessUpdateEmail"`
}

// mdnSending is one call of MDN/send.
type mdnSending struct {
	*Methods
	account  *access.Account
	who      directory.Principal
	identity *outbox.Identity
}

// sendMDNs answers MDN/send.
func (m *Methods) sendMDNs(ctx context.Context, c *jmap.Call) (any, error) {
	if !c.Using(capabilityMail) {
		return nil, jmap.ErrUnknownMethod
	}
	args, err := readSend(c)
	if err != nil {
		return nil, err
	}
	w, err := m.beginMDNs(ctx, c, args)
	if err != nil {
		return nil, err
	}
	sent, notSent, after := map[jmap.ID]jmap.Object{}, map[jmap.ID]*jmap.SetError{}, &afterwards{update: args.OnSuccess, patches: map[string]jmap.Properties{}}
	for id, raw := range args.Send {
		email, o, err := w.send(ctx, c, raw)
		told, err := setError(err)
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			notSent[id] = told
		default:
			sent[id] = o
			after.done("#"+id, email)
		}
	}
	r := map[string]any{"accountId": args.AccountID, "sent": nil, "notSent": nil}
	if len(sent) > 0 {
		r["sent"] = sent
	}
	if len(notSent) > 0 {
		r["notSent"] = notSent
	}
	return r, m.afterwards(ctx, c, w.account, after)
}

// readSend reads the arguments. A call that would not set the keyword is refused as a whole
// (RFC 9007, 2.1).
func readSend(c *jmap.Call) (*mdnSend, error) {
	args := new(mdnSend)
	d := json.NewDecoder(bytes.NewReader(c.Args))
	d.DisallowUnknownFields()
	if err := d.Decode(args); err != nil {
		return nil, jmap.InvalidArguments("accountId, identityId, send and onSuccessUpdateEmail: unknown or of the wrong type")
	}
	if len(args.Send) > mdnsMax {
		return nil, jmap.ErrRequestTooLarge.With("more than %d receipts", mdnsMax)
	}
	for id := range args.Send {
		if !id.Valid() {
			return nil, jmap.InvalidArguments("send: %q is no id", id)
		}
		if !setsSent(args.OnSuccess["#"+id]) {
			return nil, jmap.InvalidArguments("onSuccessUpdateEmail: #%s must set the keyword %s", id, mdnSent)
		}
	}
	return args, nil
}

// setsSent tells whether a patch sets the keyword.
func setsSent(patch jmap.Properties) bool {
	if sameJSON(patch["keywords/"+mdnSent], true) {
		return true
	}
	var all map[string]bool
	return json.Unmarshal(patch["keywords"], &all) == nil && all[mdnSent]
}

// beginMDNs finds account and identity: what is not there is an invalid argument here.
func (m *Methods) beginMDNs(ctx context.Context, c *jmap.Call, args *mdnSend) (*mdnSending, error) {
	a, who, all, _, err := m.identities(ctx, c, args.AccountID)
	if errors.Is(err, jmap.ErrAccountNotFound) {
		return nil, jmap.InvalidArguments("accountId: no such account")
	}
	if err != nil {
		return nil, err
	}
	id, _ := c.Resolve(args.IdentityID)
	if n, ok := access.ParseID(letterIdentity, id); ok {
		if i := find(all, n); i != nil {
			return &mdnSending{m, a, who, i}, nil
		}
	}
	return nil, jmap.InvalidArguments("identityId: no such identity")
}

// send sends one receipt and returns what the client did not set.
func (w *mdnSending) send(ctx context.Context, c *jmap.Call, raw json.RawMessage) (string, jmap.Object, error) {
	arg, err := readMDN(raw)
	if err != nil {
		return "", nil, err
	}
	id, _ := json.Marshal(*arg.ForEmailID)
	d, err := w.draftOf(ctx, c, w.account, id)
	var told *jmap.SetError
	if errors.As(err, &told) && told.Type == "invalidProperties" {
		err = jmap.NewSetError(jmap.SetNotFound, "no such message")
	}
	if err != nil {
		return "", nil, err
	}
	body, err := w.account.Open(ctx, d.record.Body)
	if err != nil {
		return "", nil, err
	}
	defer body.Close()
	asked, err := readAsked(d, body)
	if err != nil {
		return "", nil, err
	}
	if len(asked.to) == 0 {
		return "", nil, jmap.NewSetError(jmap.SetNotFound, "nobody has asked for a receipt of that message")
	}
	final, from, err := w.recipient(ctx, arg, d)
	if err != nil {
		return "", nil, err
	}
	r := w.receipt(arg, d, asked, final, from)
	if arg.IncludeOriginal != nil && *arg.IncludeOriginal {
		r.Original = io.NewSectionReader(body, 0, body.Size())
		r.OriginalUTF8, r.OriginalEight = asked.utf8, d.message.EightBit
	}
	if err := w.submit(ctx, d, r); err != nil {
		return "", nil, err
	}
	return d.email, w.unset(raw, r), nil
}

// readMDN reads an MDN and holds it against RFC 9007, 2.
func readMDN(raw json.RawMessage) (*mdnArg, error) {
	arg := new(mdnArg)
	var given jmap.Properties
	if json.Unmarshal(raw, &given) != nil || given == nil {
		return nil, jmap.InvalidProperties(nil, "no object")
	}
	for _, name := range []string{"mdnGateway", "originalRecipient", "originalMessageId", "error"} {
		if !isNull(given[name]) {
			return nil, serverSet(name)
		}
		delete(given, name)
	}
	known := members("forEmailId", "subject", "textBody", "includeOriginalMessage", "reportingUA", "disposition", "finalRecipient", "extensionFields", "extension")
	for name, v := range given {
		one, err := json.Marshal(map[string]json.RawMessage{name: v})
		if err != nil || !known(name) || json.Unmarshal(one, arg) != nil {
			return nil, jmap.InvalidProperties([]string{name}, "%s: unknown or of the wrong type", name)
		}
	}
	if arg.ForEmailID == nil {
		return nil, jmap.InvalidProperties([]string{"forEmailId"}, "forEmailId: missing")
	}
	if arg.ExtensionFields == nil {
		arg.ExtensionFields = arg.Extension
	}
	return arg, arg.check()
}

// check holds the values against what RFC 8098 lets them be.
func (arg *mdnArg) check() error {
	d := arg.Disposition
	if d == nil || d.ActionMode != report.ManualAction && d.ActionMode != report.AutomaticAction ||
		d.SendingMode != report.SentManually && d.SendingMode != report.SentAutomatically ||
		d.Type != report.Displayed && d.Type != report.Deleted && d.Type != report.Dispatched && d.Type != report.Processed {
		return jmap.InvalidProperties([]string{"disposition"}, "disposition: a value that RFC 9007 does not know")
	}
	for name, v := range map[string]*string{"subject": arg.Subject, "reportingUA": arg.ReportingUA, "finalRecipient": arg.FinalRecipient} {
		if v != nil && len(*v) > mdnFieldMax {
			return jmap.InvalidProperties([]string{name}, "%s: more than %d octets", name, mdnFieldMax)
		}
	}
	if arg.TextBody != nil && len(*arg.TextBody) > mdnTextMax {
		return jmap.NewSetError(jmap.SetTooLarge, "textBody: more than %d octets", mdnTextMax)
	}
	if len(arg.ExtensionFields) > extensionsMax {
		return jmap.InvalidProperties([]string{"extensionFields"}, "more than %d extension fields", extensionsMax)
	}
	for name, v := range arg.ExtensionFields {
		if !report.IsExtensionField(name) || len(v) > mdnFieldMax {
			return jmap.InvalidProperties([]string{"extensionFields"}, "%.40q is no extension field", name)
		}
	}
	return nil
}

// asked is who asked for a receipt, and how the sender had named the recipient.
type asked struct {
	to       message.AddressList
	original report.TypedAddress
	utf8     bool // the header has octets above 127
}

// readAsked reads the header fields of the request (RFC 8098, 2.1 and 2.3).
func readAsked(d *draft, body io.ReaderAt) (*asked, error) {
	block, err := io.ReadAll(d.message.Root.HeaderReader(body))
	if err != nil {
		return nil, fmt.Errorf("read the header of a message: %w", err)
	}
	out := new(asked)
	for _, c := range block {
		out.utf8 = out.utf8 || c >= 0x80
	}
	for f := range message.Fields(block) {
		switch {
		case f.Is("Disposition-Notification-To"):
			for _, b := range message.ParseAddressList(f.Unfolded()).Mailboxes() {
				if _, err := b.Address(); err == nil && len(out.to) < mdnReceiversMax {
					out.to = append(out.to, b)
				}
			}
		case f.Is("Original-Recipient"):
			out.original = report.ParseTypedAddress(f.Unfolded())
		}
	}
	return out, nil
}

// recipient is for whom the receipt is: the identity's address, or the one that the client
// names and may use.
func (w *mdnSending) recipient(ctx context.Context, arg *mdnArg, d *draft) (report.TypedAddress, address.Address, error) {
	none := report.TypedAddress{}
	text := w.identity.Email
	if arg.FinalRecipient != nil {
		t := report.ParseTypedAddress(*arg.FinalRecipient)
		if t.Address == "" {
			t = report.TypedAddress{Type: "rfc822", Address: strings.TrimSpace(*arg.FinalRecipient)}
		}
		text = t.Address
	} else if strings.HasPrefix(text, outbox.AnyLocal+"@") {
		for _, l := range []message.AddressList{d.message.To, d.message.Cc} {
			for _, b := range l.Mailboxes() {
				if a, err := b.Address(); err == nil && w.identity.Matches(a) {
					text = a.String()
				}
			}
		}
	}
	a, err := address.Parse(text)
	if err != nil {
		return none, a, jmap.NewSetError(forbiddenFrom, "%.100q is no address of yours", text)
	}
	right, err := w.house.Directory.MaySendAs(ctx, w.who, a)
	if err != nil {
		return none, a, err
	}
	if right < directory.SendAs {
		return none, a, jmap.NewSetError(forbiddenFrom, "you may not send from %s", a)
	}
	return report.NewTypedAddress(a), a, nil
}

// defaultReceipt is said to people where the client says nothing (RFC 8098, 3).
const defaultReceipt = "This is a receipt for the message that you sent.\n\nIt tells that the message was handled as the second part says; there is no\nguarantee that it has been read or understood.\n"

// receipt makes the receipt.
func (w *mdnSending) receipt(arg *mdnArg, d *draft, q *asked, final report.TypedAddress, from address.Address) *report.Receipt {
	r := &report.Receipt{
		MDN: report.MDN{Original: q.original, Final: final, OriginalMessageID: d.message.MessageID,
			Disposition: report.Disposition{ActionMode: arg.Disposition.ActionMode, SendingMode: arg.Disposition.SendingMode, Type: arg.Disposition.Type}},
		From: message.AddressList{{Name: w.identity.Name, Local: from.Local, Host: from.Domain}}, To: q.to,
		Subject: "Receipt: " + d.message.Subject, Date: time.Now(), MessageID: message.NewMessageID(w.house.Host), Text: defaultReceipt,
	}
	if arg.Subject != nil {
		r.Subject = *arg.Subject
	}
	if arg.TextBody != nil {
		r.Text = *arg.TextBody
	}
	if arg.ReportingUA != nil {
		r.ReportingUA = *arg.ReportingUA
	}
	for name, v := range arg.ExtensionFields {
		r.Extensions = append(r.Extensions, message.Param{Name: name, Value: v})
	}
	return r
}

// unset is what the client did not set of the receipt that was sent.
func (w *mdnSending) unset(raw json.RawMessage, r *report.Receipt) jmap.Object {
	o := jmap.Object{"finalRecipient": r.Final.String(), "originalMessageId": nil, "originalRecipient": nil, "subject": r.Subject, "textBody": r.Text,
		"includeOriginalMessage": false, "reportingUA": nil, "extensionFields": nil, "mdnGateway": nil, "error": nil}
	if r.OriginalMessageID != "" {
		o["originalMessageId"] = r.OriginalMessageID
	}
	if !r.MDN.Original.IsZero() {
		o["originalRecipient"] = r.MDN.Original.String()
	}
	var given jmap.Properties
	if json.Unmarshal(raw, &given) == nil {
		for name, v := range given {
			if !isNull(v) {
				delete(o, name)
			}
		}
	}
	return o
}

// submit sends the receipt with the null return path (RFC 8098, 3) and marks the message, in
// one commit: of two at once one is sent.
func (w *mdnSending) submit(ctx context.Context, d *draft, r *report.Receipt) error {
	content, err := r.Reader()
	if err != nil {
		return fmt.Errorf("write a receipt: %w", err)
	}
	e := mailflow.Envelope{Origin: mailflow.Origin{Protocol: "submission"}, Trace: smtp.Trace{With: "HTTP"}}
	for _, b := range r.To {
		if a, err := b.Address(); err == nil {
			e.Recipients = append(e.Recipients, mailflow.Recipient{Address: a, Notify: smtp.NotifyNever})
			e.Params.SMTPUTF8 = e.Params.SMTPUTF8 || a.NeedsUTF8()
		}
	}
	also := func(ctx context.Context, u *mailflow.Unit, _ *mailflow.Mail, _ []mailflow.Status) error {
		return w.mark(ctx, u, d.id)
	}
	_, _, err = w.o.Submitter.Submit(ctx, w.who, e, content, mailflow.SubmitOptions{Also: also})
	var told *jmap.SetError
	if err == nil || errors.As(err, &told) {
		return err
	}
	return w.refusal(err)
}

// mark sets the keyword wherever the message lies; mdnAlreadySent where it has it.
func (w *mdnSending) mark(ctx context.Context, u *mailflow.Unit, id mailstore.MessageID) error {
	all, err := w.account.Locations(ctx, id)
	if err != nil {
		return err
	}
	marked := map[mailstore.MailboxID]bool{}
	for _, l := range all {
		if marked[l.Mailbox] {
			continue // twice in one mailbox: one of them is enough
		}
		marked[l.Mailbox] = true
		has, err := w.account.PrepareKeyword(ctx, u, l, mdnSent)
		if err != nil {
			return err
		}
		if has {
			return jmap.NewSetError("mdnAlreadySent", "a receipt of that message was sent before")
		}
	}
	return nil
}
