package sieve

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"postroad/message"
)

// loopCommand is foreverypart (RFC 5703, 3): the outermost goes over all parts of the
// message, the whole among them; one within another over the parts of the current part.
type loopCommand struct {
	id    int
	block []statement
}

func compileForEveryPart(c *compiler, u *usage) command {
	c.script.needs.Structure = true
	c.loopSum++
	name := loopName{id: c.loopSum}
	if t := u.tag("name"); t != nil {
		name.name = c.constant(t.value.strings[0], "the name of a loop")
	}
	c.loops = append(c.loops, name)
	l := &loopCommand{id: name.id, block: c.block(u.node.block, false)}
	c.loops = c.loops[:len(c.loops)-1]
	return l
}

func (l *loopCommand) execute(r *run) (flow, error) {
	f := r.frame
	outerPart, outerLoop, encloses := f.part, f.inLoop, r.encloses
	defer func() {
		f.inLoop = outerLoop
		if f.part = outerPart; r.encloses != encloses {
			f.part = nil // it is in another place now
		}
	}()
	top := f.current()
	m, err := r.doc.structure()
	if err != nil {
		return flowStop, err
	}
	path := top
	if outerLoop {
		path = nextPath(m.Root, top, top, false)
	}
	f.inLoop = true
	for path != nil || !outerLoop && len(top) == 0 {
		f.part = path
		if err := r.step(); err != nil {
			return flowStop, err
		}
		before := r.doc.message
		r.depth++
		flow, err := r.block(l.block)
		r.depth--
		switch {
		case err != nil:
			return flowStop, err
		case flow == flowBreak && r.breaking == l.id:
			return flowNext, nil
		case flow != flowNext:
			return flow, nil
		}
		if r.encloses != encloses { // the parts of before are those of an inner message
			return flowNext, nil
		}
		if m, err = r.doc.structure(); err != nil {
			return flowStop, err
		}
		// What was replaced has no parts to go into (RFC 5703, 5).
		if path = nextPath(m.Root, top, path, m != before); path == nil {
			return flowNext, nil
		}
	}
	return flowNext, nil
}

// breakCommand is break (RFC 5703, 3).
type breakCommand struct{ id int }

func compileBreak(c *compiler, u *usage) command {
	name, named := "", u.tag("name")
	if named != nil {
		name = c.constant(named.value.strings[0], "the name of a loop")
	}
	for i := len(c.loops) - 1; i >= 0; i-- {
		if named == nil || c.loops[i].name == name {
			return &breakCommand{c.loops[i].id}
		}
	}
	if named != nil {
		c.fault(u.node.at.errorf("there is no loop %q around this break", name))
	} else {
		c.fault(u.node.at.errorf("there is no loop around this break"))
	}
	return nil
}

func (b *breakCommand) execute(r *run) (flow, error) {
	r.breaking = b.id
	return flowBreak, nil
}

// extractCommand is extracttext (RFC 5703, 7).
type extractCommand struct {
	variable variable
	first    int // characters; 0: all
	modify   []modifier
}

var extractTags = append([]tagRule{{name: "first", value: kindNumber}}, modifierTags...)

func compileExtractText(c *compiler, u *usage) command {
	c.script.needs.Body, c.script.needs.Structure = true, true
	c.need(extVariables, u.node.at, "the command \"extracttext\"")
	if len(c.loops) == 0 {
		c.fault(u.node.at.errorf("\"extracttext\" must stand within \"foreverypart\""))
	}
	e := &extractCommand{modify: c.modifiers(u)}
	if t := u.tag("first"); t != nil {
		if e.first = int(min(t.value.number, 1<<30)); e.first == 0 {
			c.fault(t.value.at.errorf(":first takes at least 1"))
		}
	}
	l := u.args[0].strings[0]
	c.constant(l, "the name of a variable")
	v, ok := c.variable(l)
	if !ok {
		return nil
	}
	if !v.global {
		c.set[v.name] = l.at
	}
	e.variable = v
	return e
}

func (e *extractCommand) execute(r *run) (flow, error) {
	p, err := r.view(r.frame.current())
	if err != nil {
		return flowStop, err
	}
	s := ""
	if !p.Multipart() && p.Message == nil && p.KnownEncoding() {
		most := int64(min(r.limits.BodyOctets, max(r.limits.VariableOctets, e.first*utf8.UTFMax)))
		b, err := io.ReadAll(io.LimitReader(p.Text(r.doc.src), most))
		if err != nil {
			return flowStop, fmt.Errorf("sieve: read part: %w", err)
		}
		s = firstCharacters(string(b), e.first)
	}
	if err := r.work(len(s)); err != nil {
		return flowStop, err
	}
	return flowNext, r.store(e.variable, r.modified(s, e.modify))
}

// firstCharacters cuts s to n characters, and takes off one cut in two at its end.
func firstCharacters(s string, n int) string {
	if n > 0 {
		for i := range s {
			if n == 0 {
				return s[:i]
			}
			n--
		}
	}
	if r, size := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size == 1 {
		for i := len(s) - 1; i >= 0 && i >= len(s)-utf8.UTFMax; i-- {
			if utf8.RuneStart(s[i]) {
				return s[:i]
			}
		}
	}
	return s
}

// replaceCommand is replace (RFC 5703, 5).
type replaceCommand struct {
	mime    bool
	subject *text
	from    *text
	text    text
}

var replaceTags = []tagRule{{name: "mime"}, {name: "subject", value: kindString}, {name: "from", value: kindString}}

func compileReplace(c *compiler, u *usage) command {
	c.script.needs.Structure, c.script.needs.Edits = true, true
	p := &replaceCommand{mime: u.has("mime"), text: c.string(u.args[0])}
	p.subject, p.from = c.tagText(u, "subject"), c.fromTag(u)
	if p.mime && (p.subject != nil || p.from != nil) {
		c.fault(u.node.at.errorf("\":mime\" excludes \":subject\" and \":from\""))
	}
	return p
}

// fromTag compiles :from, which must be a list of addresses.
func (c *compiler) fromTag(u *usage) *text {
	s := c.tagText(u, "from")
	if s != nil && s.isConstant() {
		if _, ok := mailboxList(s.constant); !ok {
			c.fault(u.tag("from").value.at.errorf("%q is no list of mail addresses", s.constant))
		}
	}
	return s
}

// mailboxList reads a mailbox-list (RFC 5322, 3.4).
func mailboxList(s string) (message.AddressList, bool) {
	list := message.ParseAddressList(s)
	for _, m := range list {
		if _, err := m.Address(); err != nil || m.Kind != message.KindMailbox || m.Host == "" {
			return nil, false
		}
	}
	return list, len(list) > 0 && !strings.ContainsAny(s, "\r\n\x00")
}

func (p *replaceCommand) execute(r *run) (flow, error) {
	s, err := p.text.expand(r)
	if err != nil {
		return flowStop, err
	}
	subject, from := "", ""
	if p.subject != nil {
		if subject, err = p.subject.expand(r); err != nil {
			return flowStop, err
		}
	}
	if p.from != nil {
		if from, err = p.from.expand(r); err != nil {
			return flowStop, err
		}
		if _, ok := mailboxList(from); !ok {
			return flowStop, r.failf("%q is no list of mail addresses", shown(from))
		}
	}
	if err := r.count(); err != nil {
		return flowStop, err
	}
	if err := r.doc.flush(); err != nil {
		return flowStop, err
	}
	path := r.frame.current()
	part, err := r.view(path)
	if err != nil {
		return flowStop, err
	}
	r.explain("replace a part of %d octets", part.Whole().Size())
	// Each change has the message parsed anew.
	if err := r.work(int(r.doc.message.Size / parseShare)); err != nil {
		return flowStop, err
	}
	if part == r.doc.message.Root {
		return flowNext, r.replaceMessage(s, p, subject, from)
	}
	return flowNext, r.replacePart(part, s, p.mime)
}

// parseShare is how many octets parsed cost as much as one compared.
const parseShare = 16

// replacePart puts an entity in the place of a part.
func (r *run) replacePart(part *message.Part, s string, mime bool) error {
	entity, err := entityOf(s, mime)
	if err != nil {
		return err
	}
	w := r.doc.whole()
	at := part.Whole()
	pieces := append(w.slice(0, at.Start), Piece{Text: entity})
	r.doc.become(newEdited(r.doc.original, append(pieces, w.slice(at.End, w.Size())...)))
	return nil
}

// entityOf makes the MIME entity of a replacement.
func entityOf(s string, mime bool) ([]byte, error) {
	if mime {
		return []byte(s), nil
	}
	e := &message.Entity{Type: "text", Subtype: "plain", Body: strings.NewReader(s)}
	rd, err := e.Reader()
	if err != nil {
		return nil, fmt.Errorf("sieve: write a part: %w", err)
	}
	b, err := io.ReadAll(rd)
	return trimLineEnd(b, s), err
}

// trimLineEnd takes off the line end that the builder put behind a text without one: the
// delimiter that follows has its own.
func trimLineEnd(b []byte, s string) []byte {
	if !strings.HasSuffix(s, "\n") && len(b) > 2 && string(b[len(b)-2:]) == "\r\n" {
		return b[:len(b)-2]
	}
	return b
}

// replaceMessage puts an entity in the place of the whole body and keeps the header but
// for what describes the body (RFC 5703, 5).
func (r *run) replaceMessage(s string, p *replaceCommand, subject, from string) error {
	entity, err := entityOf(s, p.mime)
	if err != nil {
		return err
	}
	v, err := r.doc.top()
	if err != nil {
		return err
	}
	var h message.Header
	var kept []byte
	for i := range v.fields {
		f := &v.fields[i]
		raw := v.block[f.Start:f.End]
		switch {
		case isMIMEField(f):
			continue
		case f.Is("Subject") && p.subject != nil, f.Is("From") && p.from != nil:
			raw = append([]byte("Original-"), raw...)
		}
		kept = append(kept, raw...)
	}
	if p.subject != nil {
		h.AddText("Subject", subject)
	}
	if p.from != nil {
		list, _ := mailboxList(from)
		h.AddAddresses("From", list)
	}
	h.Add("MIME-Version", "1.0")
	head := append(kept, h.Bytes()...)
	r.doc.become(newEdited(r.doc.original, []Piece{{Text: head}, {Text: entity}}))
	return nil
}

// isMIMEField tells whether a field describes the body.
func isMIMEField(f *field) bool {
	const prefix = "content-"
	return f.Is("MIME-Version") || len(f.Name) > len(prefix) && strings.EqualFold(string(f.Name[:len(prefix)]), prefix)
}

// encloseCommand is enclose (RFC 5703, 6).
type encloseCommand struct {
	subject *text
	headers []text
	text    text
}

var encloseTags = []tagRule{{name: "subject", value: kindString}, {name: "headers", value: kindStrings}}

func compileEnclose(c *compiler, u *usage) command {
	c.script.needs.Edits, c.script.needs.Structure = true, true
	e := &encloseCommand{subject: c.tagText(u, "subject"), text: c.string(u.args[0])}
	if t := u.tag("headers"); t != nil {
		e.headers = c.texts(t.value)
	}
	return e
}

func (e *encloseCommand) execute(r *run) (flow, error) {
	s, err := e.text.expand(r)
	if err != nil {
		return flowStop, err
	}
	names, err := expandAll(r, e.headers)
	if err != nil {
		return flowStop, err
	}
	if err := r.count(); err != nil {
		return flowStop, err
	}
	if r.encloses == 0 {
		r.sent = r.doc.edited()
	}
	if err := r.doc.flush(); err != nil {
		return flowStop, err
	}
	if err := r.work(int(r.doc.message.Size / parseShare)); err != nil {
		return flowStop, err
	}
	head, err := e.header(r, names)
	if err != nil {
		return flowStop, err
	}
	text, err := entityOf(s, false)
	if err != nil {
		return flowStop, err
	}
	boundary := "=_" + memoryKey("enclose", string(head), s)[:32]
	encoding := ""
	if r.doc.message.EightBit {
		encoding = "Content-Transfer-Encoding: 8bit\r\n"
	}
	w := r.doc.whole()
	pieces := []Piece{
		{Text: head},
		{Text: []byte("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"" + boundary + "\"\r\n" + encoding + "\r\n")},
		{Text: []byte("--" + boundary + "\r\n")}, {Text: text},
		{Text: []byte("\r\n--" + boundary + "\r\nContent-Type: message/rfc822\r\n" + encoding + "\r\n")},
	}
	pieces = append(pieces, w.slice(0, w.Size())...)
	pieces = append(pieces, Piece{Text: []byte("\r\n--" + boundary + "--\r\n")})
	r.explain("enclose the message")
	r.doc.become(newEdited(r.doc.original, pieces))
	r.encloses++
	for _, f := range r.frames { // all look at the new message from here on
		f.root, f.part = nil, nil
	}
	return flowNext, nil
}

// header writes the header of the new message: what is to be copied, then Date, From and
// Subject where these are not.
func (e *encloseCommand) header(r *run, names []string) ([]byte, error) {
	v, err := r.doc.top()
	if err != nil {
		return nil, err
	}
	var copied []byte
	have := map[string]bool{}
	var subject *field
	for i := range v.fields {
		f := &v.fields[i]
		if f.Is("Subject") && subject == nil {
			subject = f
		}
		for _, name := range names {
			if f.Name != nil && f.Is(name) && !isMIMEField(f) {
				copied = append(copied, v.block[f.Start:f.End]...)
				have[strings.ToLower(name)] = true
				break
			}
		}
	}
	var h message.Header
	if !have["date"] {
		h.AddDate("Date", r.now)
	}
	if a := r.in.address(); !have["from"] && !a.IsNull() {
		h.AddAddresses("From", message.AddressList{{Name: r.in.Owner.Name, Local: a.Local, Host: a.Domain}})
	}
	switch {
	case e.subject != nil:
		s, err := e.subject.expand(r)
		if err != nil {
			return nil, err
		}
		h.AddText("Subject", s)
		if have["subject"] {
			copied = message.RemoveFields(copied, "Subject")
		}
	case subject != nil && !have["subject"]:
		h.AddText("Subject", subject.value())
	}
	return append(copied, h.Bytes()...), nil
}
