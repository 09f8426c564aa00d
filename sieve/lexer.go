package sieve

import (
	"math"
	"strings"
	"unicode/utf8"
)

// tokenKind is what a token is; punctuation is its own octet.
type tokenKind byte

const (
	tokenEnd        tokenKind = 0
	tokenIdentifier tokenKind = 'a'
	tokenTag        tokenKind = ':'
	tokenNumber     tokenKind = '0'
	tokenString     tokenKind = '"'
)

// token is one word of a script (RFC 5228, 8.1).
type token struct {
	kind   tokenKind
	at     position
	text   string // of an identifier or tag, in lower case and without colon; of a string
	number uint64
}

// lexer cuts a script into tokens. It reads octets; a text is checked for UTF-8 as it is
// passed.
type lexer struct {
	src       []byte
	i         int
	line      int
	lineStart int
}

func newLexer(src []byte) *lexer { return &lexer{src: src, line: 1} }

func (l *lexer) at() position { return position{l.line, l.i - l.lineStart + 1} }

// peek returns the octet n places ahead, 0 at the end.
func (l *lexer) peek(n int) byte {
	if l.i+n < len(l.src) {
		return l.src[l.i+n]
	}
	return 0
}

// newline notes that the octet before i was an LF.
func (l *lexer) newline() {
	l.line++
	l.lineStart = l.i
}

// next returns the next token.
func (l *lexer) next() (token, *Error) {
	if err := l.skip(); err != nil {
		return token{}, err
	}
	t := token{at: l.at()}
	if l.i >= len(l.src) {
		return t, nil
	}
	switch c := l.src[l.i]; {
	case isAlpha(c):
		t.kind, t.text = tokenIdentifier, strings.ToLower(l.word())
		if t.text == "text" && l.peek(0) == ':' {
			l.i++
			return l.multiline(t)
		}
	case c == ':' && isAlpha(l.peek(1)):
		l.i++
		t.kind, t.text = tokenTag, strings.ToLower(l.word())
	case isDigit(c):
		return l.numeral(t)
	case c == '"':
		return l.quoted(t)
	case strings.IndexByte("{}[](),;", c) >= 0:
		l.i++
		t.kind = tokenKind(c)
	default:
		l.i++
		return t, t.at.errorf("%s has no meaning here", printable(c))
	}
	return t, nil
}

// skip passes over white space and comments (RFC 5228, 2.2 and 2.3).
func (l *lexer) skip() *Error {
	for l.i < len(l.src) {
		switch c := l.src[l.i]; {
		case c == ' ' || c == '\t':
			l.i++
		case c == '\n' || c == '\r' && l.peek(1) == '\n':
			l.lineEnd()
		case c == '#':
			if err := l.hashComment(); err != nil {
				return err
			}
		case c == '/' && l.peek(1) == '*':
			if err := l.bracketComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// lineEnd passes over CRLF or LF.
func (l *lexer) lineEnd() {
	if l.src[l.i] == '\r' {
		l.i++
	}
	l.i++
	l.newline()
}

// character passes over one character of a comment or string, which must be UTF-8 and no
// NUL (RFC 5228, 8.1). Line ends are counted.
func (l *lexer) character() *Error {
	c := l.src[l.i]
	switch {
	case c == '\n' || c == '\r' && l.peek(1) == '\n':
		l.lineEnd()
	case c == '\r':
		err := l.at().errorf("a carriage return stands without its line feed")
		l.i++
		return err
	case c == 0:
		err := l.at().errorf("a script must not contain NUL")
		l.i++
		return err
	case c < utf8.RuneSelf:
		l.i++
	default:
		r, n := utf8.DecodeRune(l.src[l.i:])
		if r == utf8.RuneError && n <= 1 {
			err := l.at().errorf("this is not UTF-8")
			l.i++
			return err
		}
		l.i += n
	}
	return nil
}

// hashComment passes over a comment up to, not over, the end of the line.
func (l *lexer) hashComment() *Error {
	for l.i < len(l.src) && l.src[l.i] != '\n' && !(l.src[l.i] == '\r' && l.peek(1) == '\n') {
		if err := l.character(); err != nil {
			return err
		}
	}
	return nil
}

func (l *lexer) bracketComment() *Error {
	start := l.at()
	l.i += 2
	for l.i < len(l.src) {
		if l.src[l.i] == '*' && l.peek(1) == '/' {
			l.i += 2
			return nil
		}
		if err := l.character(); err != nil {
			return err
		}
	}
	return start.errorf("the comment that starts here has no end")
}

// word returns the identifier that starts here.
func (l *lexer) word() string {
	start := l.i
	for l.i < len(l.src) && (isAlpha(l.src[l.i]) || isDigit(l.src[l.i])) {
		l.i++
	}
	return string(l.src[start:l.i])
}

// numeral reads a number with its quantifier (RFC 5228, 2.4.1).
func (l *lexer) numeral(t token) (token, *Error) {
	t.kind = tokenNumber
	over := false
	for isDigit(l.peek(0)) {
		d := uint64(l.src[l.i] - '0')
		over = over || t.number > (math.MaxInt64-d)/10
		if !over {
			t.number = t.number*10 + d
		}
		l.i++
	}
	shift := 0
	switch l.peek(0) {
	case 'K', 'k':
		shift = 10
	case 'M', 'm':
		shift = 20
	case 'G', 'g':
		shift = 30
	}
	if shift > 0 {
		l.i++
		over = over || t.number > math.MaxInt64>>shift
		t.number <<= shift
	}
	if isAlpha(l.peek(0)) || isDigit(l.peek(0)) {
		return t, l.at().errorf("%s may not follow a number; the quantifiers are K, M and G", printable(l.peek(0)))
	}
	if over {
		return t, t.at.errorf("the number is too large")
	}
	return t, nil
}

// quoted reads a quoted string (RFC 5228, 2.4.2). Line ends in it become CRLF.
func (l *lexer) quoted(t token) (token, *Error) {
	t.kind = tokenString
	l.i++
	var b strings.Builder
	for l.i < len(l.src) {
		c := l.src[l.i]
		if c == '"' {
			l.i++
			t.text = b.String()
			return t, nil
		}
		if c == '\\' && l.i+1 < len(l.src) {
			l.i++ // RFC 5228, 2.4.2: a backslash before any other character stands for nothing
		}
		start := l.i
		if err := l.character(); err != nil {
			return t, err
		}
		if l.src[l.i-1] == '\n' {
			b.WriteString("\r\n")
		} else {
			b.Write(l.src[start:l.i])
		}
	}
	return t, t.at.errorf("the string that starts here has no end")
}

// multiline reads what follows "text:" (RFC 5228, 2.4.2, multi-line).
func (l *lexer) multiline(t token) (token, *Error) {
	t.kind = tokenString
	for l.peek(0) == ' ' || l.peek(0) == '\t' {
		l.i++
	}
	if l.peek(0) == '#' {
		if err := l.hashComment(); err != nil {
			return t, err
		}
	}
	if c := l.peek(0); c != '\n' && !(c == '\r' && l.peek(1) == '\n') {
		return t, l.at().errorf("the line must end behind \"text:\"")
	}
	l.lineEnd()
	var b strings.Builder
	for l.i < len(l.src) {
		if l.src[l.i] == '.' {
			switch c := l.peek(1); {
			case c == '\n' || c == '\r' && l.peek(2) == '\n':
				l.i++
				l.lineEnd()
				t.text = b.String()
				return t, nil
			case l.i+1 == len(l.src):
				l.i++
				t.text = b.String()
				return t, nil
			case c == '.':
				l.i++
			}
		}
		if err := l.textLine(&b); err != nil {
			return t, err
		}
	}
	return t, t.at.errorf("the text that starts here has no end: a line with a dot alone")
}

// textLine copies one line with its end.
func (l *lexer) textLine(b *strings.Builder) *Error {
	for l.i < len(l.src) {
		start := l.i
		if err := l.character(); err != nil {
			return err
		}
		if l.src[l.i-1] == '\n' {
			b.WriteString("\r\n")
			return nil
		}
		b.Write(l.src[start:l.i])
	}
	return nil
}

func isAlpha(c byte) bool { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// printable names an octet in an error.
func printable(c byte) string {
	if c > ' ' && c < 0x7f {
		return "\"" + string(rune(c)) + "\""
	}
	const digits = "0123456789ABCDEF"
	return "the octet " + string([]byte{digits[c>>4], digits[c&15]}) + " (hexadecimal)"
}
