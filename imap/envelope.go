package imap

import (
	"strconv"

	"postroad/message"
)

// The renderings below are made once, when a message is stored, and sent as they are in
// every mode: IMAP4rev1, IMAP4rev2 and UTF8=ACCEPT. What is not ASCII stands in literals,
// which all of them allow.

// AppendEnvelope appends a message's ENVELOPE (RFC 9051, 7.5.2).
func AppendEnvelope(dst []byte, m *message.Message) []byte {
	dst = append(dst, '(')
	dst = appendField(dst, m, message.FieldDate, m.RawDate)
	dst = append(dst, ' ')
	dst = appendField(dst, m, message.FieldSubject, m.RawSubject)
	sender, replyTo := m.Sender, m.ReplyTo
	// RFC 9051, 7.5.2: absent or empty, they are the same as From.
	if len(sender) == 0 {
		sender = m.From
	}
	if len(replyTo) == 0 {
		replyTo = m.From
	}
	for _, l := range [...]message.AddressList{m.From, sender, replyTo, m.To, m.Cc, m.Bcc} {
		dst = append(dst, ' ')
		dst = appendAddresses(dst, l)
	}
	dst = append(dst, ' ')
	dst = appendField(dst, m, message.FieldInReplyTo, m.RawInReplyTo)
	dst = append(dst, ' ')
	dst = appendField(dst, m, message.FieldMessageID, m.MessageID)
	return append(dst, ')')
}

// appendField appends a field's text, or NIL when the message has not the field.
func appendField(dst []byte, m *message.Message, f message.FieldSet, text string) []byte {
	if !m.Fields.Has(f) {
		return append(dst, "NIL"...)
	}
	return AppendString(dst, text)
}

func appendAddresses(dst []byte, l message.AddressList) []byte {
	if len(l) == 0 {
		return append(dst, "NIL"...)
	}
	dst = append(dst, '(')
	for i := range l {
		dst = appendAddress(dst, &l[i])
	}
	return append(dst, ')')
}

func appendAddress(dst []byte, a *message.Mailbox) []byte {
	switch a.Kind {
	case message.KindGroupStart:
		dst = append(dst, "(NIL NIL "...)
		dst = AppendString(dst, a.RawName)
		return append(dst, " NIL)"...)
	case message.KindGroupEnd:
		return append(dst, "(NIL NIL NIL NIL)"...)
	}
	dst = append(dst, '(')
	dst = appendNString(dst, a.RawName)
	dst = append(dst, ' ')
	dst = appendNString(dst, a.Route)
	dst = append(dst, ' ')
	dst = AppendString(dst, a.Local)
	dst = append(dst, ' ')
	dst = AppendString(dst, a.Host) // never NIL: that would be a group
	return append(dst, ')')
}

// appendNString appends a string, NIL when it is empty.
func appendNString(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "NIL"...)
	}
	return AppendString(dst, s)
}

// AppendBodyStructure appends the structure of a part and all below it: BODYSTRUCTURE,
// or BODY without the extension data (RFC 9051, 7.5.2).
func AppendBodyStructure(dst []byte, p *message.Part, extended bool) []byte {
	dst = append(dst, '(')
	if len(p.Children) > 0 {
		for _, c := range p.Children {
			dst = AppendBodyStructure(dst, c, extended)
		}
		dst = append(dst, ' ')
		dst = appendUpper(dst, p.Subtype)
		if extended {
			dst = append(dst, ' ')
			dst = appendParams(dst, p.Params)
			dst = appendExtension(dst, p)
		}
		return append(dst, ')')
	}
	dst = appendBasic(dst, p)
	switch {
	case p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global"):
		dst = append(dst, ' ')
		if p.Message != nil {
			dst = AppendEnvelope(dst, p.Message)
			dst = append(dst, ' ')
			dst = AppendBodyStructure(dst, p.Message.Root, extended)
		} else {
			// It is encoded, or too deep: the syntax still wants an envelope and a body.
			dst = append(dst, `(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 0 0)`...)
		}
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.Lines, 10)
	case p.Type == "text":
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.Lines, 10)
	}
	if extended {
		dst = append(dst, ' ')
		dst = appendNString(dst, p.MD5)
		dst = appendExtension(dst, p)
	}
	return append(dst, ')')
}

// appendBasic appends type, subtype and the body fields of a part that is no multipart.
func appendBasic(dst []byte, p *message.Part) []byte {
	dst = appendUpper(dst, p.Type)
	dst = append(dst, ' ')
	dst = appendUpper(dst, p.Subtype)
	dst = append(dst, ' ')
	dst = appendParams(dst, p.Params)
	dst = append(dst, ' ')
	dst = appendNString(dst, p.ID)
	dst = append(dst, ' ')
	dst = appendNString(dst, p.Description)
	dst = append(dst, ' ')
	dst = appendUpper(dst, p.Encoding)
	dst = append(dst, ' ')
	return strconv.AppendInt(dst, p.Body.Size(), 10)
}

// appendExtension appends disposition, language and location.
func appendExtension(dst []byte, p *message.Part) []byte {
	dst = append(dst, ' ')
	if p.Disposition == "" {
		dst = append(dst, "NIL"...)
	} else {
		dst = append(dst, '(')
		dst = AppendString(dst, p.Disposition)
		dst = append(dst, ' ')
		dst = appendParams(dst, p.DispParams)
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	switch len(p.Language) {
	case 0:
		dst = append(dst, "NIL"...)
	case 1:
		dst = AppendString(dst, p.Language[0])
	default:
		for i, l := range p.Language {
			dst = append(dst, "( "[min(i, 1)])
			dst = AppendString(dst, l)
		}
		dst = append(dst, ')')
	}
	dst = append(dst, ' ')
	return appendNString(dst, p.Location)
}

// appendParams appends parameters. A value that is not ASCII goes in the form of RFC 2231,
// "name*" "utf-8”%C3%A4": clients of IMAP4rev1 know it from servers that pass parameters on
// as they stood. RFC 9051, 7.5.2, would rather have UTF-8 under the name with "*", which
// would need a form of its own in storage.
func appendParams(dst []byte, params message.Params) []byte {
	if len(params) == 0 {
		return append(dst, "NIL"...)
	}
	for i := range params {
		p := &params[i]
		dst = append(dst, "( "[min(i, 1)])
		if isASCII(p.Value) {
			dst = AppendString(dst, p.Name)
			dst = append(dst, ' ')
			dst = AppendString(dst, p.Value)
			continue
		}
		dst = AppendString(dst, p.Name+"*")
		dst = append(dst, ' ')
		dst = AppendString(dst, percentEncoded(p.Value))
	}
	return append(dst, ')')
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// percentEncoded is an extended-other-value in UTF-8 (RFC 2231, 7).
func percentEncoded(s string) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s)+32)
	out = append(out, "utf-8''"...)
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || upper(c) >= 'A' && upper(c) <= 'Z' || c == '.' || c == '-' || c == '_' {
			out = append(out, c)
			continue
		}
		out = append(out, '%', hex[c>>4], hex[c&15])
	}
	return string(out)
}

// appendUpper appends a token in upper case, as the RFC writes types and encodings.
func appendUpper(dst []byte, s string) []byte {
	start := len(dst)
	dst = AppendString(dst, s)
	for i := start; i < len(dst); i++ {
		dst[i] = upper(dst[i])
	}
	return dst
}
