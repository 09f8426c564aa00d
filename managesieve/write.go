package managesieve

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// appendString appends a string: quoted where it can be (RFC 5804, 4), else a literal.
func appendString[T string | []byte](dst []byte, s T) []byte {
	if !quotable(s) {
		dst = append(dst, '{')
		dst = strconv.AppendInt(dst, int64(len(s)), 10)
		dst = append(dst, "}\r\n"...)
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// quotable tells whether s may be a quoted string.
func quotable[T string | []byte](s T) bool {
	size := len(s)
	if size > QuotedMax {
		return false
	}
	for i := range len(s) {
		switch s[i] {
		case 0, '\r', '\n':
			return false
		case '"', '\\':
			size++
		}
	}
	return size <= QuotedMax && utf8.ValidString(string(s))
}

// response adds OK, NO or BYE with what goes with it (RFC 5804, 1.2).
func (c *Conn) response(word, code, text string) {
	b := c.buffer()
	*b = append(*b, word...)
	if code != "" {
		*b = append(*b, " ("...)
		*b = append(*b, code...)
		*b = append(*b, ')')
	}
	if text != "" {
		*b = append(*b, ' ')
		*b = appendString(*b, strings.ToValidUTF8(text, "\uFFFD"))
	}
	*b = append(*b, '\r', '\n')
}

// ok answers OK.
func (c *Conn) ok(text string) { c.response("OK", "", text) }

// okWith answers OK with a code and its string.
func (c *Conn) okWith(code Code, data []byte, text string) {
	var b bytes.Buffer
	b.WriteString(string(code))
	b.WriteByte(' ')
	b.Write(appendString(nil, data))
	c.response("OK", b.String(), text)
}

// no answers NO.
func (c *Conn) no(code Code, text string) { c.response("NO", string(code), text) }

// bye answers BYE and ends the connection (RFC 5804, 1.2).
func (c *Conn) bye(code Code, text string) {
	c.quit = true
	c.response("BYE", string(code), text)
}

// fail answers an error of the session.
func (c *Conn) fail(err error) {
	e, own := answer(err)
	if own {
		c.server.options.Logger.Error("managesieve: session failed", "client", c.client, "error", err)
	}
	if e.Referral != "" {
		c.quit = true
		c.response("BYE", string(CodeReferral)+" "+e.Referral, e.Text)
		return
	}
	c.no(e.Code, e.Text)
}

// misuse answers a command that is wrong in itself or at its place. After too many the
// connection ends.
func (c *Conn) misuse(text string) {
	if c.bad++; c.bad >= c.server.options.BadCommandsMax {
		c.bye("", text+", too many bad commands")
		return
	}
	c.no("", text)
}

// answerOf answers a command that has no data: OK or the error.
func (c *Conn) answerOf(err error, text string) {
	if err != nil {
		c.fail(err)
		return
	}
	c.ok(text)
}
