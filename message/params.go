package message

import (
	"slices"
	"strings"
)

// tokens reads structured field values (RFC 2045, 5.1) from unfolded text, leniently.
type tokens struct {
	s string
	i int
}

// tspecials of RFC 2045, 5.1.
const tspecials = `()<>@,;:\"/[]?=`

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte(tspecials, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}

// skip passes over white space and comments.
func (t *tokens) skip() {
	for t.i < len(t.s) {
		switch {
		case isWSP(t.s[t.i]):
			t.i++
		case t.s[t.i] == '(':
			t.i += commentLength(t.s[t.i:])
		default:
			return
		}
	}
}

// commentLength returns the length of the comment at the start of s (RFC 5322, 3.2.2). One
// without end takes all of s.
func commentLength(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// stripComments returns s without its comments.
func stripComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '(' {
			i += commentLength(s[i:])
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// until returns the text up to one of the stop octets, leading white space and comments
// skipped.
func (t *tokens) until(stop string) string {
	t.skip()
	start := t.i
	for t.i < len(t.s) && strings.IndexByte(stop, t.s[t.i]) < 0 {
		t.i++
	}
	return t.s[start:t.i]
}

// quoted reads the quoted string that starts here. One without end goes to the end of the
// value.
func (t *tokens) quoted() string {
	t.i++
	start := t.i
	plain := true
	for t.i < len(t.s) && t.s[t.i] != '"' {
		if t.s[t.i] == '\\' && t.i+1 < len(t.s) {
			t.i++
			plain = false
		}
		t.i++
	}
	text := t.s[start:min(t.i, len(t.s))]
	t.i = min(t.i+1, len(t.s))
	if plain {
		return text
	}
	return unescape(text)
}

// unescape undoes the quoted pairs of RFC 5322, 3.2.1.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// segment is one attribute=value as it stands (RFC 2231, 3 and 4: name*1*).
type segment struct {
	name     string
	value    string
	number   int  // of a continuation, -1 for a whole value
	extended bool // percent-encoded
}

// params reads the parameters up to the end of the value. ok is false when some were
// dropped or malformed.
func (t *tokens) params(most int) (Params, bool) {
	var buf [8]segment
	segments, ok := buf[:0], true
	for {
		t.skip()
		for t.i < len(t.s) && (t.s[t.i] == ';' || t.s[t.i] == ',') {
			t.i++
			t.skip()
		}
		if t.i >= len(t.s) {
			break
		}
		if len(segments) >= most {
			ok = false
			break
		}
		start := t.i
		name := t.until("=; \t(")
		t.skip()
		if name == "" || t.i >= len(t.s) || t.s[t.i] != '=' {
			ok = false // a word without value
			if t.i == start {
				t.i++
			}
			continue
		}
		t.i++
		segments = append(segments, newSegment(name, t.value(name)))
	}
	if len(segments) == 0 {
		return nil, ok
	}
	return joinSegments(segments), ok
}

// value reads a token or quoted string. File names without quotes often have spaces.
func (t *tokens) value(name string) string {
	t.skip()
	if t.i < len(t.s) && t.s[t.i] == '"' {
		return t.quoted()
	}
	if strings.EqualFold(name, "filename") || strings.EqualFold(name, "name") {
		return strings.TrimSpace(t.until(";"))
	}
	return t.until("; \t")
}

// newSegment takes the asterisks of RFC 2231 off the name.
func newSegment(name, value string) segment {
	s := segment{value: value, number: -1}
	if strings.HasSuffix(name, "*") {
		name = name[:len(name)-1]
		s.extended = true
	}
	if i := strings.LastIndexByte(name, '*'); i > 0 {
		if n, ok := smallNumber(name[i+1:]); ok {
			s.number = n
			name = name[:i]
		}
	}
	s.name = internLowerParam(name)
	return s
}

func internLowerParam(s string) string {
	for _, w := range [...]string{"charset", "boundary", "name", "filename", "format", "type"} {
		if len(w) == len(s) && strings.EqualFold(w, s) {
			return w
		}
	}
	return strings.ToLower(s)
}

// smallNumber reads 0 to 999.
func smallNumber(s string) (int, bool) {
	if len(s) == 0 || len(s) > 3 {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// joinSegments makes the parameters of what was read. A value in the extended form is
// preferred to a plain one of the same name, which is there for old programs; otherwise
// the first counts.
func joinSegments(segments []segment) Params {
	params := make(Params, 0, len(segments))
	for i, s := range segments {
		if slices.ContainsFunc(params, func(p Param) bool { return p.Name == s.name }) {
			continue
		}
		best, continued := i, false
		for j := i; j < len(segments); j++ {
			if segments[j].name != s.name {
				continue
			}
			if segments[j].number >= 0 {
				continued = true
			} else if segments[j].extended && !segments[best].extended {
				best = j
			}
		}
		var value string
		switch {
		case segments[best].number < 0 && (segments[best].extended || !continued):
			value = decodeSegments(segments[best : best+1])
		case continued:
			value = decodeSegments(continuations(segments, s.name))
		}
		params = append(params, Param{s.name, value})
	}
	return params
}

// continuations returns the segments of one value by their numbers, without gaps.
func continuations(segments []segment, name string) []segment {
	var c []segment
	for _, s := range segments {
		if s.name == name && s.number >= 0 {
			c = append(c, s)
		}
	}
	slices.SortStableFunc(c, func(a, b segment) int { return a.number - b.number })
	for i := range c {
		if c[i].number != i {
			return c[:i]
		}
	}
	return c
}

// decodeSegments joins the segments of a value and turns it into UTF-8.
func decodeSegments(c []segment) string {
	if len(c) == 0 {
		return ""
	}
	if len(c) == 1 && !c[0].extended {
		if c[0].name == "boundary" {
			return c[0].value // compared octet by octet, never decoded
		}
		return DecodeWords(c[0].value)
	}
	charset := ""
	if c[0].extended {
		if i := strings.IndexByte(c[0].value, '\''); i >= 0 { // charset'language'text
			if j := strings.IndexByte(c[0].value[i+1:], '\''); j >= 0 {
				charset = c[0].value[:i]
				c[0].value = c[0].value[i+1+j+1:]
			}
		}
	}
	var b []byte
	extended := false
	for _, s := range c {
		if s.extended {
			extended = true
			b = appendPercentDecoded(b, s.value)
		} else {
			b = append(b, s.value...)
		}
	}
	if !extended {
		return DecodeWords(string(b))
	}
	return decodeCharset(b, charset)
}

// appendPercentDecoded undoes RFC 2231, 7: ext-octet. What is no ext-octet stays.
func appendPercentDecoded(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		dst = append(dst, s[i])
	}
	return dst
}

// unhex returns the value of a hexadecimal digit, -1 for other octets.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// ParseParams reads the unfolded value of a field with parameters, such as Content-Type
// (RFC 2045, 5.1): what stands before them, without white space and comments around it,
// and at most ParamsMax parameters. It is as lenient as [Parser].
func ParseParams(value string) (first string, params Params) {
	s := &tokens{s: value}
	first = s.until("; \t(")
	params, _ = s.params(ParamsMax)
	return first, params
}
