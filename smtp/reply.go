// Package smtp has the words of SMTP, submission and LMTP that client and server share:
// replies, enhanced status codes, parameters of MAIL and RCPT.
//
// The main type is [Reply]. The server is in smtpserver, the client in smtpclient.
//
// RFC 5321, 2033, 2034, 3463, 6409; for the parameters RFC 1870, 2852, 3030, 3461, 4865,
// 4954, 6152, 6531, 6710, 9422.
package smtp

import (
	"errors"
	"strconv"
	"strings"
)

// EnhancedCode is class, subject and detail (RFC 3463, 2). The zero value is none.
type EnhancedCode [3]int

// Reply is a server's answer to one command (RFC 5321, 4.2).
type Reply struct {
	Code     int          // 200 to 599
	Enhanced EnhancedCode // printed at the start of each line where the code has one
	Lines    []string     // text without code, CR or LF; at least one line, may be empty
}

// Limits of replies.
const (
	// ReplyLineMax is the longest reply line taken, in octets with its CRLF. RFC 5321,
	// 4.5.3.1.5 asks for 512; servers send more.
	ReplyLineMax = 4 << 10
	// ReplyLinesMax is the number of lines taken in one reply.
	ReplyLinesMax = 100
	// replyTextMax is what one line of ours holds at the most, in octets: with code,
	// enhanced code and CRLF within the 512 of RFC 5321, 4.5.3.1.5.
	replyTextMax = 480
)

// Temporary tells whether the reply is 4yz: the client may try again later.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent tells whether the reply is 5yz.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// Success tells whether the reply is 2yz.
func (r Reply) Success() bool { return r.Code/100 == 2 }

// IsZero tells whether there is no enhanced code.
func (c EnhancedCode) IsZero() bool { return c == EnhancedCode{} }

// String returns "5.1.1", or nothing for the zero code.
func (c EnhancedCode) String() string {
	if c.IsZero() {
		return ""
	}
	return string(c.appendTo(nil))
}

func (c EnhancedCode) appendTo(b []byte) []byte {
	b = strconv.AppendInt(b, int64(c[0]), 10)
	b = strconv.AppendInt(append(b, '.'), int64(c[1]), 10)
	return strconv.AppendInt(append(b, '.'), int64(c[2]), 10)
}

// ParseEnhancedCode reads an enhanced code at the start of s (RFC 2034, 4) and returns
// what stands behind it and one space. Without one, ok is false and rest is s.
func ParseEnhancedCode(s string) (c EnhancedCode, rest string, ok bool) {
	in := s
	for i := range c {
		n := 0
		for n < len(in) && n < 3 && '0' <= in[n] && in[n] <= '9' {
			c[i] = c[i]*10 + int(in[n]-'0')
			n++
		}
		// RFC 3463, 2: no leading zeros.
		if n == 0 || n > 1 && in[0] == '0' {
			return EnhancedCode{}, s, false
		}
		in = in[n:]
		if i < 2 {
			if in == "" || in[0] != '.' {
				return EnhancedCode{}, s, false
			}
			in = in[1:]
		}
	}
	if c[0] != 2 && c[0] != 4 && c[0] != 5 || in != "" && in[0] != ' ' {
		return EnhancedCode{}, s, false
	}
	return c, strings.TrimPrefix(in, " "), true
}

// AppendTo appends the reply as it goes over the wire. Control characters become spaces
// and over-long lines are cut, so that no text can make a second reply.
func (r Reply) AppendTo(b []byte) []byte {
	if len(r.Lines) == 0 {
		return r.appendLine(b, "", true)
	}
	for i, text := range r.Lines {
		b = r.appendLine(b, text, i == len(r.Lines)-1)
	}
	return b
}

func (r Reply) appendLine(b []byte, text string, last bool) []byte {
	b = strconv.AppendInt(b, int64(r.Code), 10)
	if last {
		b = append(b, ' ')
	} else {
		b = append(b, '-')
	}
	if !r.Enhanced.IsZero() {
		b = append(r.Enhanced.appendTo(b), ' ')
	}
	for i := range min(len(text), replyTextMax) {
		if c := text[i]; c < ' ' || c == 0x7f {
			b = append(b, ' ')
		} else {
			b = append(b, c)
		}
	}
	return append(b, '\r', '\n')
}

// Errors of replies that cannot be read.
var (
	ErrReplySyntax  = errors.New("smtp: malformed reply")
	ErrReplyTooLong = errors.New("smtp: reply too long")
)

// ReplyParser puts a reply together from its lines. The zero value is ready; after a last
// line it is ready again.
type ReplyParser struct {
	reply Reply
}

// Add takes one line without its line end, and tells whether it was the last.
func (p *ReplyParser) Add(line string) (r Reply, done bool, err error) {
	if len(line)+2 > ReplyLineMax || len(p.reply.Lines) == ReplyLinesMax {
		return Reply{}, false, ErrReplyTooLong
	}
	if len(line) < 3 || !isDigits(line[:3], 3) || line[0] < '2' || line[0] > '5' {
		return Reply{}, false, ErrReplySyntax
	}
	code, err := strconv.Atoi(line[:3])
	if err != nil || p.reply.Code != 0 && p.reply.Code != code {
		return Reply{}, false, ErrReplySyntax
	}
	text := line[3:]
	last := text == "" || text[0] == ' '
	if !last && text[0] != '-' {
		return Reply{}, false, ErrReplySyntax
	}
	if text != "" {
		text = text[1:]
	}
	p.add(code, text)
	if !last {
		return Reply{}, false, nil
	}
	r, p.reply = p.reply, Reply{}
	return r, true, nil
}

// add takes the text of one line; the enhanced code, if it is that of the reply, is taken
// from it.
func (p *ReplyParser) add(code int, text string) {
	text = printable(text)
	first := p.reply.Code == 0
	p.reply.Code = code
	c, rest, ok := ParseEnhancedCode(text)
	if ok && c[0] == code/100 && (first || c == p.reply.Enhanced) {
		p.reply.Enhanced = c
		text = rest
	}
	p.reply.Lines = append(p.reply.Lines, text)
}

// printable returns s with spaces for control characters, which no reply should have and
// no log should get.
func printable(s string) string {
	if isPrintable(s) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
