package email

import (
	"context"
	"errors"
	"strings"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
	"postroad/message"
	"postroad/report"
)

// CapabilityMDN is that of RFC 9007. It stands for MDN/send too, so who serves that tells of
// it in the session object.
const CapabilityMDN = "urn:ietf:params:jmap:mdn"

// parseMDNs is MDN/parse (RFC 9007, 2.2).
func (m *Methods) parseMDNs(ctx context.Context, c *jmap.Call) (any, error) {
	return m.parseMethod(ctx, c, nil, func(jmap.Properties) (blobParser, error) { return m.parseMDN, nil })
}

// parseMDN makes the object of a read receipt.
func (m *Methods) parseMDN(ctx context.Context, a *access.Account, o *octets, _ jmap.ID) (jmap.Object, error) {
	structure := o.structure
	if structure == nil {
		var err error
		if structure, err = parseMessage(o); err != nil {
			return nil, errNoMessage
		}
	}
	mdn, err := report.FindMDN(structure, o)
	if errors.Is(err, report.ErrNoMDN) {
		return nil, errNoMessage
	}
	if err != nil {
		return nil, err
	}
	out := jmap.Object{
		"subject": textOrNull(message.HeaderText(structure.RawSubject)), "reportingUA": textOrNull(mdn.ReportingUA),
		"mdnGateway": textOrNull(mdn.Gateway), "originalRecipient": typedOrNull(mdn.Original), "finalRecipient": typedOrNull(mdn.Final),
		"originalMessageId": textOrNull(mdn.OriginalMessageID), "error": listOrNull(mdn.Errors), "extensionFields": nil,
		"disposition": map[string]string{"actionMode": mdn.Disposition.ActionMode, "sendingMode": mdn.Disposition.SendingMode, "type": mdn.Disposition.Type},
	}
	out["includeOriginalMessage"] = len(structure.Root.Children) > 2
	if len(mdn.Extensions) > 0 {
		fields := map[string]string{}
		for _, e := range mdn.Extensions {
			fields[e.Name] = e.Value
		}
		out["extensionFields"] = fields
	}
	if out["textBody"], err = mdnText(structure.Root, o); err != nil {
		return nil, err
	}
	out["forEmailId"], err = m.emailOf(ctx, a, mdn.OriginalMessageID)
	return out, err
}

// typedOrNull writes an address as the fields of an MDN have it.
func typedOrNull(t report.TypedAddress) any {
	if t.IsZero() {
		return nil
	}
	return t.String()
}

// mdnTextMax bounds the text for people that is told of a receipt, in octets.
const mdnTextMax = 64 << 10

// mdnText is the first part, what people are to read (RFC 6522, 3).
func mdnText(root *message.Part, o *octets) (any, error) {
	p := root
	for p.Multipart() {
		p = p.Children[0]
	}
	if p.Type != "text" {
		return nil, nil
	}
	text, err := readText(p.Text(o), mdnTextMax)
	if err != nil {
		return nil, err
	}
	return string(cutText(text, mdnTextMax, false)), nil
}

// emailOf finds the one message with a Message-ID; null where there is none, or more than
// one (RFC 9007, 2.2).
func (m *Methods) emailOf(ctx context.Context, a *access.Account, messageID string) (any, error) {
	messageID = strings.Trim(messageID, "<>")
	if messageID == "" {
		return nil, nil
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return nil, err
	}
	places, err := all.WithMessageID(ctx, messageID)
	if errors.Is(err, mailstore.ErrNoMessage) || err == nil && len(places) != 1 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return all.ID(places[0]).String(), nil
}
