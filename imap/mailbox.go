package imap

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MailboxBytesMax bounds a mailbox name, in octets of UTF-8. RFC 9051 names no limit.
const MailboxBytesMax = 1024

// Inbox is the one name that is compared without case (RFC 9051, 5.1).
const Inbox = "INBOX"

// ErrMailboxName says that something cannot be a mailbox name.
var ErrMailboxName = errors.New("imap: not a mailbox name")

// utf7 is base64 with "," for "/" and no padding (RFC 3501, 5.1.3).
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// CanonicalMailbox returns "INBOX" for a name that is INBOX in any case, else the name.
func CanonicalMailbox(name string) string {
	if EqualFold(name, Inbox) {
		return Inbox
	}
	return name
}

// DecodeMailbox returns the name, in UTF-8, that the wire has: modified UTF-7 (RFC 3501,
// 5.1.3), or UTF-8 after ENABLE UTF8=ACCEPT or IMAP4rev2. Names with control characters,
// of invalid or needlessly encoded UTF-7, or too long are refused (RFC 9051, 5.1: two
// encodings of one name would be two mailboxes).
func DecodeMailbox(wire string, utf8Mode bool) (string, error) {
	name := wire
	if !utf8Mode {
		var err error
		if name, err = decodeUTF7(wire); err != nil {
			return "", err
		}
	}
	if len(name) > MailboxBytesMax || !isText(name) {
		return "", ErrMailboxName
	}
	return CanonicalMailbox(name), nil
}

// isText tells whether s is UTF-8 without control characters (RFC 5198, 2; RFC 9051, 5.1).
func isText(s string) bool {
	for i, r := range s {
		switch {
		case r < 0x20, r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029:
			return false
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
	}
	return true
}

// decodeUTF7 decodes modified UTF-7.
func decodeUTF7(s string) (string, error) {
	if len(s) > 4*MailboxBytesMax {
		return "", ErrMailboxName
	}
	if strings.IndexByte(s, '&') < 0 {
		for i := range len(s) {
			if s[i] >= 0x7f {
				return "", ErrMailboxName
			}
		}
		return s, nil
	}
	var out []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x7f {
			return "", ErrMailboxName
		}
		if c != '&' {
			out = append(out, c)
			continue
		}
		end := strings.IndexByte(s[i:], '-')
		if end < 0 {
			return "", ErrMailboxName
		}
		shifted := s[i+1 : i+end]
		i += end
		if shifted == "" {
			out = append(out, '&')
			continue
		}
		// A second shift right behind the first could have been part of it.
		if strings.HasPrefix(s[i+1:], "&") && !strings.HasPrefix(s[i+1:], "&-") {
			return "", ErrMailboxName
		}
		var err error
		if out, err = appendShifted(out, shifted); err != nil {
			return "", err
		}
	}
	return string(out), nil
}

// appendShifted appends the text of one base64 run: UTF-16, big end first.
func appendShifted(out []byte, shifted string) ([]byte, error) {
	if strings.ContainsAny(shifted, "\r\n") { // which Go's base64 passes over
		return nil, ErrMailboxName
	}
	b, err := utf7.DecodeString(shifted)
	if err != nil || len(b)%2 != 0 {
		return nil, ErrMailboxName
	}
	for i := 0; i < len(b); i += 2 {
		r := rune(b[i])<<8 | rune(b[i+1])
		switch {
		case r >= 0x20 && r < 0x7f: // stands for itself (RFC 3501, 5.1.3)
			return nil, ErrMailboxName
		case utf16.IsSurrogate(r):
			if i+3 >= len(b) {
				return nil, ErrMailboxName
			}
			i += 2
			r = utf16.DecodeRune(r, rune(b[i])<<8|rune(b[i+1]))
			if r == utf8.RuneError {
				return nil, ErrMailboxName
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// EncodeMailbox returns the name as modified UTF-7, or as it is in UTF-8 mode.
func EncodeMailbox(name string, utf8Mode bool) string {
	plain := true
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c >= 0x7f || c == '&' {
			plain = false
			break
		}
	}
	if utf8Mode || plain {
		return name
	}
	var out, run []byte
	flush := func() {
		if len(run) > 0 {
			out = append(out, '&')
			out = utf7.AppendEncode(out, run)
			out = append(out, '-')
			run = run[:0]
		}
	}
	for _, r := range name {
		if r >= 0x20 && r < 0x7f {
			flush()
			out = append(out, byte(r))
			if r == '&' {
				out = append(out, '-')
			}
			continue
		}
		if a, b := utf16.EncodeRune(r); a != utf8.RuneError {
			run = append(run, byte(a>>8), byte(a), byte(b>>8), byte(b))
		} else {
			run = append(run, byte(r>>8), byte(r))
		}
	}
	flush()
	return string(out)
}

// AppendMailbox appends a mailbox name as an argument or in a response.
func AppendMailbox(dst []byte, name string, utf8Mode bool) []byte {
	if utf8Mode {
		for i := range len(name) {
			if name[i] >= 0x80 {
				return AppendUTF8String(dst, name)
			}
		}
	}
	return AppendAString(dst, EncodeMailbox(name, utf8Mode))
}

// MatchMailbox tells whether a name matches a LIST pattern: "*" is anything, "%" anything
// without the delimiter (RFC 9051, 6.3.9). INBOX at the start is matched without case.
// It takes time proportional to the lengths' product at most.
func MatchMailbox(pattern, name string, delimiter rune) bool {
	if EqualFold(name, Inbox) {
		name = Inbox
		if len(pattern) >= len(Inbox) && EqualFold(pattern[:len(Inbox)], Inbox) {
			pattern = Inbox + pattern[len(Inbox):]
		} else if matchFolded(pattern, name) {
			return true
		}
	}
	// reach[i]: the pattern read so far matches name[:i].
	reach := make([]bool, len(name)+1)
	reach[0] = true
	d := string(delimiter)
	if delimiter == 0 {
		d = ""
	}
	for p := range len(pattern) {
		c := pattern[p]
		if c != '*' && c != '%' {
			live := false
			for i := len(name); i > 0; i-- {
				reach[i] = reach[i-1] && name[i-1] == c
				live = live || reach[i]
			}
			if reach[0] = false; !live {
				return false
			}
			continue
		}
		for i := 1; i <= len(name); i++ {
			if reach[i-1] && (c == '*' || d == "" || !strings.HasPrefix(name[i-1:], d)) {
				reach[i] = true
			}
		}
	}
	return reach[len(name)]
}

// matchFolded matches a pattern such as "in%" against INBOX without case.
func matchFolded(pattern, name string) bool {
	up := make([]byte, len(pattern))
	for i := range len(pattern) {
		up[i] = upper(pattern[i])
	}
	if i := strings.IndexAny(pattern, "*%"); i < 0 || string(up) == pattern {
		return false
	}
	return MatchMailbox(string(up), name, 0)
}
