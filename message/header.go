package message

import (
	"strings"
	"time"
	"unicode/utf8"
)

const (
	nameMax   = 32 // octets of the longest field name that is looked at
	entryCost = 32 // octets that an entry of an address list counts besides its text
)

// endHeader takes what head has gathered as the header of the part at the top of the stack,
// whose body starts at offset end, and begins what the Content-Type says.
func (p *Parser) endHeader(end int64) {
	p.inHeader = false
	e := &p.stack[len(p.stack)-1]
	part := e.part
	part.Header.End, part.Body = end, Span{end, end}
	e.lines = p.lf
	h := headerReader{parser: p, part: part, message: e.message}
	if !utf8.Valid(p.head) {
		p.message.Defects |= DefectHeaderEightBit
	}
	for i, mark := range p.marks {
		field := p.head[mark.start:]
		if i+1 < len(p.marks) {
			field = p.head[mark.start:p.marks[i+1].start]
		}
		if mark.name == 0 {
			p.message.Defects |= DefectHeaderJunk
			continue
		}
		h.field(field[:mark.name], trimEOL(field[mark.value:]))
	}
	h.finish(e.parent)
	p.beginBody(part)
}

// beginBody begins to look for delimiters, or an inner message, or the text for the preview.
func (p *Parser) beginBody(part *Part) {
	deep := len(p.stack) >= p.limits.Depth
	encoded := part.Encoding != "7bit" && part.Encoding != "8bit" && part.Encoding != "binary"
	switch {
	case part.Type == "multipart":
		if encoded { // RFC 2045, 6.4; what is inside is read as it stands
			p.message.Defects |= DefectEncoding
		}
		boundary := part.Params.Get("boundary")
		switch {
		case deep:
			p.message.Defects |= DefectDepth
			part.opaque()
		case boundary == "" || len(boundary) > boundaryMax:
			p.makeLeaf(part)
		default:
			p.activate(boundary)
			return
		}
	case part.Type == "message" && (part.Subtype == "rfc822" || part.Subtype == "global"):
		switch {
		case encoded:
			p.message.Defects |= DefectEncoding
			part.opaque()
		case deep:
			p.message.Defects |= DefectDepth
			part.opaque()
		case p.parts >= p.limits.Parts:
			p.message.Defects |= DefectParts
			part.opaque()
		default:
			part.Message = &Message{Root: &Part{}}
			p.push(part.Message.Root, part.Message, part)
			return
		}
	case encoded && !part.KnownEncoding():
		p.message.Defects |= DefectEncoding
	}
	p.beginCapture(part)
}

// opaque makes a leaf of a part that is not looked into.
func (p *Part) opaque() { p.Type, p.Subtype = "application", "octet-stream" }

// headerReader takes one header block apart, field by field.
type headerReader struct {
	parser  *Parser
	part    *Part
	message *Message // nil for the header of a MIME part
	seen    contentSet
}

// contentSet remembers which of a part's fields were there: the first one counts.
type contentSet uint8

const (
	seenType contentSet = 1 << iota
	seenEncoding
	seenDisposition
	seenLanguage
)

// field looks at one field.
func (h *headerReader) field(given, value []byte) {
	if len(given) > nameMax {
		return
	}
	var buf [nameMax]byte
	name := buf[:len(given)]
	for i, c := range given {
		name[i] = lower(c)
	}
	if len(name) > len("content-") && string(name[:8]) == "content-" {
		h.contentField(string(name[8:]), value)
	} else if h.message != nil {
		h.messageField(string(name), value)
	}
}

// contentField looks at the fields of RFC 2045, 2183, 3282, 2557 and 1864.
func (h *headerReader) contentField(name string, value []byte) {
	part := h.part
	switch name {
	case "type":
		if h.first(seenType) {
			h.contentType(value)
		}
	case "transfer-encoding":
		if h.first(seenEncoding) {
			part.Encoding = h.lowerToken(value)
		}
	case "disposition":
		if h.first(seenDisposition) {
			s := &tokens{s: h.keep(value)}
			part.Disposition = strings.ToLower(s.until("; \t("))
			part.DispParams = h.params(s)
		}
	case "id":
		h.once(&part.ID, value)
	case "description":
		h.once(&part.Description, value)
	case "md5":
		h.once(&part.MD5, value)
	case "location":
		h.once(&part.Location, value)
	case "language":
		if h.first(seenLanguage) {
			for tag := range strings.SplitSeq(h.keep(value), ",") {
				tag = strings.TrimSpace(stripComments(tag))
				if tag != "" && len(part.Language) < ParamsMax {
					part.Language = append(part.Language, tag)
				}
			}
		}
	}
}

// first tells whether a field of the part comes for the first time.
func (h *headerReader) first(s contentSet) bool {
	if h.seen&s != 0 {
		h.parser.message.Defects |= DefectRepeatedField
		return false
	}
	h.seen |= s
	return true
}

// once keeps a text unless there is one.
func (h *headerReader) once(to *string, value []byte) {
	if *to == "" {
		*to = h.keep(value)
	}
}

// keep returns the unfolded value as long as the budget for texts lasts.
func (h *headerReader) keep(value []byte) string {
	if !h.parser.charge(len(value)) {
		return ""
	}
	return unfold(value)
}

func (p *Parser) charge(n int) bool {
	if n > p.budget {
		p.message.Defects |= DefectSummary
		return false
	}
	p.budget -= n
	return true
}

// lowerToken reads a single token such as an encoding's name.
func (h *headerReader) lowerToken(value []byte) string {
	s := tokens{s: h.keep(value)}
	return internLower(s.until("; \t("))
}

// contentType reads type, subtype and parameters. What is not readable is text/plain
// (RFC 2045, 5.2).
func (h *headerReader) contentType(value []byte) {
	s := &tokens{s: h.keep(value)}
	media := s.until("; \t(")
	typ, subtype, ok := strings.Cut(media, "/")
	if !ok || !isToken(typ) || !isToken(subtype) {
		h.parser.message.Defects |= DefectContentType
		typ, subtype = "text", "plain"
	}
	h.part.Type, h.part.Subtype = internLower(typ), internLower(subtype)
	h.part.Params = h.params(s)
}

func (h *headerReader) params(s *tokens) Params {
	params, ok := s.params(h.parser.limits.Params)
	if !ok {
		h.parser.message.Defects |= DefectParams
	}
	return params
}

// internLower returns s in lower case, without an allocation for the common words.
func internLower(s string) string {
	for _, w := range commonWords {
		if len(w) == len(s) && strings.EqualFold(w, s) {
			return w
		}
	}
	return strings.ToLower(s)
}

var commonWords = [...]string{"text", "plain", "html", "7bit", "8bit", "base64", "quoted-printable",
	"multipart", "alternative", "mixed", "related", "application", "image"}

// finish sets what the header does not say.
func (h *headerReader) finish(parent *Part) {
	part := h.part
	if part.Encoding == "" {
		part.Encoding = "7bit" // RFC 2045, 6.1
	}
	if part.Type == "" {
		part.Type, part.Subtype = "text", "plain" // RFC 2045, 5.2
		if parent != nil && parent.Type == "multipart" && parent.Subtype == "digest" && h.message == nil {
			part.Type, part.Subtype = "message", "rfc822" // RFC 2046, 5.1.5
		}
	}
}

// messageField looks at the fields of a message's summary.
func (h *headerReader) messageField(name string, value []byte) {
	m := h.message
	switch name {
	case "from":
		h.addresses(FieldFrom, &m.From, value, false)
	case "sender":
		h.addresses(FieldSender, &m.Sender, value, false)
	case "reply-to":
		h.addresses(FieldReplyTo, &m.ReplyTo, value, false)
	case "to":
		h.addresses(FieldTo, &m.To, value, true)
	case "cc":
		h.addresses(FieldCc, &m.Cc, value, true)
	case "bcc":
		h.addresses(FieldBcc, &m.Bcc, value, true)
	case "date":
		if h.firstOf(FieldDate) {
			h.date(value)
		}
	case "subject":
		if h.firstOf(FieldSubject) {
			m.RawSubject = h.keep(value)
			m.Subject = oneLine(DecodeWords(m.RawSubject))
		}
	case "message-id":
		if h.firstOf(FieldMessageID) {
			m.MessageID = h.keep(value)
			if ids := messageIDs(m.MessageID); len(ids) > 0 {
				m.MessageID = ids[0]
			}
		}
	case "in-reply-to":
		if h.firstOf(FieldInReplyTo) {
			m.RawInReplyTo = h.keep(value)
			m.InReplyTo = messageIDs(m.RawInReplyTo)
		}
	case "references":
		if h.firstOf(FieldReferences) {
			m.References = messageIDs(h.keep(value))
		}
	case "return-path":
		m.Fields |= FieldReturnPath
	case "mime-version":
		m.Fields |= FieldMIMEVersion
	case "received":
		m.Received++
	default:
		h.automaticField(name, value)
	}
}

// automaticField looks at the fields that decide on automatic answers (RFC 3834, 5230).
func (h *headerReader) automaticField(name string, value []byte) {
	m := h.message
	switch {
	case name == "auto-submitted":
		if m.AutoSubmitted == "" {
			m.AutoSubmitted = h.lowerToken(value)
		}
	case name == "precedence":
		if m.Precedence == "" {
			m.Precedence = h.lowerToken(value)
		}
	case strings.HasPrefix(name, "list-"):
		m.List = true
		if name == "list-id" && m.ListID == "" {
			m.ListID = listID(h.keep(value))
		}
	}
}

// listID returns what stands between the last angle brackets (RFC 2919, 3).
func listID(s string) string {
	if i := strings.LastIndexByte(s, '<'); i >= 0 {
		if j := strings.IndexByte(s[i:], '>'); j > 0 {
			return strings.TrimSpace(s[i+1 : i+j])
		}
	}
	return strings.TrimSpace(s)
}

// firstOf notes that a field is there; it may stand only once (RFC 5322, 3.6).
func (h *headerReader) firstOf(f FieldSet) bool {
	if h.message.Fields.Has(f) {
		h.parser.message.Defects |= DefectRepeatedField
		return false
	}
	h.message.Fields |= f
	return true
}

// addresses reads an address field. Of an originator only the first field counts; repeated
// destinations, which some programs write, are joined.
func (h *headerReader) addresses(f FieldSet, to *AddressList, value []byte, join bool) {
	if !h.firstOf(f) && !join {
		return
	}
	list, ok := parseAddressList(h.keep(value), AddressesMax-len(*to))
	if !ok {
		h.parser.message.Defects |= DefectAddress
	}
	if !h.parser.charge(len(list) * entryCost) {
		return
	}
	if *to == nil {
		*to = list
	} else {
		*to = append(*to, list...)
	}
}

func (h *headerReader) date(value []byte) {
	m := h.message
	m.RawDate = h.keep(value)
	t, ok := ParseDate(m.RawDate)
	if !ok {
		h.parser.message.Defects |= DefectDate
		t = time.Time{}
	}
	m.Date = t
}

// messageIDs returns the msg-ids in s with their angle brackets (RFC 5322, 3.6.4): of more
// than ReferencesMax the first, which names the thread, and the newest.
func messageIDs(s string) []string {
	var ids []string
	for {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			return ids
		}
		s = s[i:]
		j := strings.IndexByte(s, '>')
		if j < 0 {
			return ids
		}
		id := s[:j+1]
		if k := strings.LastIndexByte(id, '<'); k > 0 {
			id = id[k:]
		}
		s = s[j+1:]
		id = strings.Map(dropSpace, id) // folded within, by programs that break lines anywhere
		if len(id) == len("<>") {
			continue
		}
		if len(ids) == ReferencesMax {
			copy(ids[1:], ids[2:])
			ids = ids[:ReferencesMax-1]
		}
		if ids == nil {
			ids = make([]string, 0, 1+min(strings.Count(s, "<"), ReferencesMax-1))
		}
		ids = append(ids, id)
	}
}

func dropSpace(r rune) rune {
	if r == ' ' || r == '\t' {
		return -1
	}
	return r
}
