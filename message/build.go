package message

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Widths of lines in what is written, in octets without CRLF (RFC 5322, 2.1.1).
const (
	foldWidth  = 78
	tokenMax   = 900 // longer words are encoded, so that a line can end within them
	wordMax    = 62  // of an encoded word; RFC 2047, 2, allows 75, but a field's name stands before the first
	base64Line = 57  // octets that make a line of 76 (RFC 2045, 6.8)
	quotedLine = 76  // RFC 2045, 6.7, 5
)

// Header is a header block under composition. What is given to its methods can never begin
// a field of its own: line ends become spaces.
type Header struct {
	UTF8 bool // write UTF-8 as it is (RFC 6532) instead of encoded words
	b    []byte
}

// Bytes returns the fields written so far, each with its CRLF, without the empty line.
func (h *Header) Bytes() []byte { return h.b }

// Add writes a structured field whose value is ASCII and right already. It is folded at
// white space.
func (h *Header) Add(name, value string) {
	h.b = appendField(h.b, name, value)
}

// AddRaw writes a field with a value that is as it is to stand behind the colon, folded
// already. It returns false, and writes nothing, where that would not be one field: a line
// end that no white space follows, a line of nothing but white space, a zero octet, a name
// that is none, octets that are not UTF-8.
func (h *Header) AddRaw(name, value string) bool {
	field := name + ":" + value + "\r\n"
	if found, _ := splitName([]byte(field)); name == "" || string(found) != name || !utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0 {
		return false
	}
	for i, line := range strings.Split(value, "\r\n") {
		if i > 0 && (line == "" || !isWSP(line[0]) || isBlank(line)) || strings.ContainsAny(line, "\r\n") {
			return false
		}
	}
	h.b = append(h.b, field...)
	return true
}

// AddFields writes fields that another Header has gathered.
func (h *Header) AddFields(more *Header) { h.b = append(h.b, more.b...) }

// AddText writes an unstructured field (RFC 5322, 2.2.1), such as Subject.
func (h *Header) AddText(name, text string) {
	if !h.UTF8 {
		text = EncodeWords(text)
	}
	h.Add(name, text)
}

// AddDate writes a date-time field.
func (h *Header) AddDate(name string, t time.Time) { h.Add(name, FormatDate(t)) }

// AddAddresses writes an address field; an empty list writes nothing. Hosts that are not
// ASCII are written as they are: SMTPUTF8 alone can carry them.
func (h *Header) AddAddresses(name string, l AddressList) {
	if len(l) == 0 {
		return
	}
	var b strings.Builder
	for i, a := range l {
		if i > 0 && a.Kind != KindGroupEnd && l[i-1].Kind != KindGroupStart {
			b.WriteString(", ")
		}
		switch a.Kind {
		case KindGroupStart:
			b.WriteString(h.phrase(a.Name) + ": ")
		case KindGroupEnd:
			b.WriteString(";")
		default:
			b.WriteString(h.mailbox(a))
		}
	}
	h.Add(name, b.String())
}

func (h *Header) mailbox(a Mailbox) string {
	if a.Name == "" {
		return a.AddrSpec()
	}
	return h.phrase(a.Name) + " <" + a.AddrSpec() + ">"
}

// phrase returns a display name as atoms, a quoted string or encoded words.
func (h *Header) phrase(s string) string {
	s = oneLine(s)
	if !h.UTF8 && needsEncoding(s) {
		return encodeWords(s)
	}
	for i := range len(s) {
		if c := s[i]; c != ' ' && c < utf8.RuneSelf && (!isToken(s[i:i+1]) || c == '.') {
			return quoteString(s)
		}
	}
	if s == "" || s[0] == ' ' || s[len(s)-1] == ' ' || strings.Contains(s, "  ") {
		return quoteString(s)
	}
	return s
}

// quoteString returns s as a quoted string (RFC 5322, 3.2.4).
func quoteString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// AddParams writes a field with parameters, such as Content-Type. Values that are not
// ASCII, or too long for a line, are written as RFC 2231 has it.
func (h *Header) AddParams(name, value string, params Params) {
	var b strings.Builder
	b.WriteString(oneLine(value))
	for _, p := range params {
		appendParam(&b, p)
	}
	h.Add(name, b.String())
}

func appendParam(b *strings.Builder, p Param) {
	value := oneLine(p.Value)
	if isASCIIText(value) && len(value) <= foldWidth-len(p.Name)-6 {
		if isToken(value) {
			fmt.Fprintf(b, "; %s=%s", p.Name, value)
		} else {
			fmt.Fprintf(b, "; %s=%s", p.Name, quoteString(value))
		}
		return
	}
	text := "utf-8''" + percentEncode(strings.ToValidUTF8(value, "\uFFFD"))
	room := foldWidth - len(p.Name) - 10
	if len(text) <= room {
		fmt.Fprintf(b, "; %s*=%s", p.Name, text)
		return
	}
	for n := 0; text != ""; n++ {
		cut := min(len(text), max(room, 20))
		for cut < len(text) && (text[cut-1] == '%' || text[cut-2] == '%') { // no cut within an ext-octet
			cut--
		}
		fmt.Fprintf(b, "; %s*%d*=%s", p.Name, n, text[:cut])
		text = text[cut:]
	}
}

// percentEncode writes RFC 2231, 7: attribute-char and ext-octet.
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if isToken(s[i:i+1]) && s[i] != '*' && s[i] != '\'' && s[i] != '%' {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// appendField writes name and value, folded before words that would pass foldWidth.
func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ':')
	width := len(name) + 1
	for word := range strings.SplitSeq(strings.TrimSpace(oneLine(value)), " ") {
		if width+1+len(word) > foldWidth && width > len(name)+1 && word != "" {
			dst = append(dst, "\r\n"...)
			width = 0
		}
		dst = append(dst, ' ')
		dst = append(dst, word...)
		width += 1 + len(word)
	}
	return append(bytes.TrimRight(dst, " "), "\r\n"...)
}

// oneLine turns control characters into spaces.
func oneLine(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return cleanWord(s)
		}
	}
	return s
}

func isASCIIText(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// EncodeWords returns text for a header: as it is where that is ASCII, else with encoded
// words (RFC 2047) from the first to the last word that needs it.
func EncodeWords(text string) string {
	text = oneLine(text)
	words := strings.Split(text, " ")
	first, last := -1, -1
	for i, w := range words {
		if needsEncoding(w) {
			last = i
			if first < 0 {
				first = i
			}
		}
	}
	if first < 0 {
		return text
	}
	words[first] = encodeWords(strings.Join(words[first:last+1], " "))
	return strings.Join(append(words[:first+1], words[last+1:]...), " ")
}

// needsEncoding tells whether a word cannot stand in a header as it is.
func needsEncoding(s string) bool {
	return !isASCIIText(s) || strings.Contains(s, "=?") || len(s) > tokenMax && !strings.Contains(s[:tokenMax], " ")
}

// encodeWords returns all of s as encoded words with spaces between, in the shorter of the
// two encodings. No character is cut (RFC 2047, 5).
func encodeWords(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	plain := 0
	for i := range len(s) {
		if isQSafe(s[i]) || s[i] == ' ' {
			plain++
		}
	}
	quoted := plain+3*(len(s)-plain) <= (len(s)+2)/3*4
	prefix := "=?utf-8?B?"
	if quoted {
		prefix = "=?utf-8?Q?"
	}
	room := wordMax - len(prefix) - len("?=")
	var out strings.Builder
	for s != "" {
		n, used := 0, 0
		for n < len(s) {
			_, size := utf8.DecodeRuneInString(s[n:])
			cost := 0
			if quoted {
				for _, c := range []byte(s[n : n+size]) {
					cost += qCost(c)
				}
				if used+cost > room {
					break
				}
			} else if (n+size+2)/3*4 > room {
				break
			}
			used += cost
			n += size
		}
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(prefix)
		if quoted {
			writeQ(&out, s[:n])
		} else {
			out.WriteString(base64Std(s[:n]))
		}
		out.WriteString("?=")
		s = s[n:]
	}
	return out.String()
}

// isQSafe is what RFC 2047, 5, 3, lets stand in a phrase, and so everywhere.
func isQSafe(c byte) bool {
	return isNameOctet(c) || c == '!' || c == '*' || c == '+' || c == '-' || c == '/'
}

func qCost(c byte) int {
	if isQSafe(c) || c == ' ' {
		return 1
	}
	return 3
}

func writeQ(b *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('_')
		case isQSafe(c):
			b.WriteByte(c)
		default:
			fmt.Fprintf(b, "=%02X", c)
		}
	}
}

// NewMessageID returns a msg-id, with its angle brackets, that nobody has used yet.
func NewMessageID(host string) string {
	var b [15]byte
	rand.Read(b[:]) // never fails
	return "<" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:])) + "@" + host + ">"
}

// Entity is a message or a part under composition: a leaf with a Body, or a multipart with
// Parts. MIME-Version is for the caller to add to the header of the message.
type Entity struct {
	Header        Header // its other fields
	Type, Subtype string // text/plain when empty
	Params        Params // charset and boundary are added where they are missing
	Disposition   string
	DispParams    Params

	// Encoding is chosen when it is empty: what a text needs, nothing for messages,
	// base64 for the rest. A Body that cannot seek counts as text with 8-bit characters.
	Encoding string
	Body     io.Reader
	Parts    []*Entity

	// Verbatim keeps the line ends of a text as they are, with base64 where they are not
	// CRLF. A text without it gets CRLF.
	Verbatim bool
}

// Reader returns the octets of the entity. It reads the Bodies; it can be called once.
func (e *Entity) Reader() (io.Reader, error) {
	if err := e.choose(); err != nil {
		return nil, fmt.Errorf("choose an encoding: %w", err)
	}
	var readers []io.Reader
	e.collect(&readers)
	return io.MultiReader(readers...), nil
}

// WriteTo writes the octets of the entity.
func (e *Entity) WriteTo(w io.Writer) (int64, error) {
	r, err := e.Reader()
	if err != nil {
		return 0, err
	}
	return io.Copy(w, r)
}

// choose sets the encodings, of a multipart from those of its parts (RFC 2045, 6.4).
func (e *Entity) choose() error {
	if e.Type == "" {
		e.Type, e.Subtype = "text", "plain"
	}
	if e.Type != "multipart" {
		return e.chooseLeaf()
	}
	e.Encoding = "7bit"
	for _, p := range e.Parts {
		if err := p.choose(); err != nil {
			return err
		}
		if p.Encoding == "8bit" {
			e.Encoding = "8bit"
		}
	}
	if e.Params.Get("boundary") == "" {
		e.Params = append(e.Params, Param{"boundary", "=_" + strings.Trim(NewMessageID(""), "<@>")})
	}
	return nil
}

func (e *Entity) chooseLeaf() error {
	traits := textTraits{eightBit: true}
	if s, ok := e.Body.(io.ReadSeeker); ok && e.Encoding == "" {
		var err error
		if traits, err = scanText(s); err != nil {
			return err
		}
	}
	if e.Body == nil {
		traits = textTraits{}
	}
	if e.Type == "text" && e.Params.Get("charset") == "" && (e.Subtype == "plain" || e.Subtype == "html") {
		charset := "utf-8"
		if !traits.eightBit {
			charset = "us-ascii"
		}
		e.Params = append(e.Params, Param{"charset", charset})
	}
	switch {
	case e.Encoding != "":
	case e.Type == "message" && traits.eightBit:
		e.Encoding = "8bit"
	case e.Type == "message", e.Type == "text" && e.plain(traits):
		e.Encoding = "7bit"
	case e.Type == "text" && !traits.binary && !e.Verbatim:
		e.Encoding = "quoted-printable"
	default:
		e.Encoding = "base64"
	}
	return nil
}

// plain tells whether a text can stand in a message as it is.
func (e *Entity) plain(t textTraits) bool {
	if !e.Verbatim {
		t.lineEnds = false // they will be CRLF
	}
	return t == textTraits{}
}

// textTraits is what of a text needs an encoding.
type textTraits struct{ eightBit, longLine, binary, lineEnds bool }

// scanText reads a text and rewinds it.
func scanText(s io.ReadSeeker) (t textTraits, err error) {
	start, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return t, err
	}
	buf := make([]byte, decodeChunk)
	width := 0
	cr := false
	for {
		n, err := s.Read(buf)
		for _, c := range buf[:n] {
			width++
			t.lineEnds = t.lineEnds || cr != (c == '\n')
			cr = c == '\r'
			switch {
			case c == '\n':
				width = 0
			case c >= utf8.RuneSelf:
				t.eightBit = true
			case c == 0:
				t.binary = true
			}
			t.longLine = t.longLine || width > lineMax
		}
		if errors.Is(err, io.EOF) {
			t.lineEnds = t.lineEnds || cr
			_, err = s.Seek(start, io.SeekStart)
			return t, err
		}
		if err != nil {
			return t, err
		}
	}
}

// collect appends what the entity is made of.
func (e *Entity) collect(readers *[]io.Reader) {
	add := func(b []byte) { *readers = append(*readers, bytes.NewReader(b)) }
	h := e.Header
	h.b = bytes.Clone(h.b)
	h.AddParams("Content-Type", e.Type+"/"+e.Subtype, e.Params)
	if e.Encoding != "7bit" {
		h.Add("Content-Transfer-Encoding", e.Encoding)
	}
	if e.Disposition != "" {
		h.AddParams("Content-Disposition", e.Disposition, e.DispParams)
	}
	add(append(h.b, "\r\n"...))
	if e.Type != "multipart" {
		if e.Body != nil {
			*readers = append(*readers, newEncoder(e.Body, e.Encoding, e.Type == "text" && !e.Verbatim))
		}
		return
	}
	boundary := e.Params.Get("boundary")
	for i, p := range e.Parts {
		if i > 0 {
			add([]byte("\r\n"))
		}
		add([]byte("--" + boundary + "\r\n"))
		p.collect(readers)
	}
	add([]byte("\r\n--" + boundary + "--\r\n"))
}
