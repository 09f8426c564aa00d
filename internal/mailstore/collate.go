package mailstore

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// casemap prepares a text for the collation i;unicode-casemap (RFC 5051, 2): title case,
// then fully decomposed. Prepared texts compare by octets. RFC 5256, 7, wants SORT and
// THREAD to collate so.
func casemap(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFKD.String(strings.Map(unicode.ToTitle, s))
		}
	}
	return strings.ToUpper(s)
}

// sortSubject is the base subject of RFC 5256, 2.1, which all servers "MUST use exactly",
// and whether what was taken off tells of a reply or a forward. Unlike baseSubject, which
// decides on threads across mailboxes, it knows the words re, fw and fwd only. The text is
// decoded; the work is linear in its length.
func sortSubject(s string) (base string, reply bool) {
	s = oneSpace(s)
	for {
		var again bool
		s, again = trimTrailers(s)
		reply = reply || again
		s, again = trimLeaders(s)
		reply = reply || again
		if len(s) < len("[fwd:]") || !strings.EqualFold(s[:len("[fwd:")], "[fwd:") || s[len(s)-1] != ']' {
			return s, reply
		}
		s, reply = s[len("[fwd:"):len(s)-1], true // step 6
	}
}

// oneSpace is step 1: tabs and what is left of folding become spaces, several of them one.
func oneSpace(s string) string {
	blank := func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
	fine := true
	for i := 0; i < len(s) && fine; i++ {
		fine = !blank(s[i]) || s[i] == ' ' && (i == 0 || s[i-1] != ' ')
	}
	if fine {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		switch {
		case !blank(s[i]):
			out = append(out, s[i])
		case len(out) == 0 || out[len(out)-1] != ' ':
			out = append(out, ' ')
		}
	}
	return string(out)
}

// trimTrailers is step 2: subj-trailer = "(fwd)" / WSP.
func trimTrailers(s string) (rest string, forward bool) {
	for {
		s = strings.TrimRight(s, " ")
		if n := len(s) - len("(fwd)"); n < 0 || !strings.EqualFold(s[n:], "(fwd)") {
			return s, forward
		}
		s, forward = s[:len(s)-len("(fwd)")], true
	}
}

// trimLeaders is steps 3 to 5: subj-leader = (*subj-blob subj-refwd) / WSP, and blobs that
// something follows.
func trimLeaders(s string) (rest string, reply bool) {
	for {
		s = strings.TrimLeft(s, " ")
		last, end := 0, 0 // where the last of the blobs in front begins and ends
		for n := blob1(s); n > 0; n = blob1(s[end:]) {
			last, end = end, end+n
		}
		n := refwd(s[end:])
		if n > 0 {
			s, reply = s[end+n:], true
			continue
		}
		if end == len(s) {
			end = last // the last blob is the subject if nothing else is
		}
		// No refwd stands behind any of these blobs, so they go one by one.
		return s[end:], reply
	}
}

// blob1 is the length of the subj-blob at the start of s, 0 for none: "[" *BLOBCHAR "]" *WSP.
func blob1(s string) int {
	if s == "" || s[0] != '[' {
		return 0
	}
	i := strings.IndexAny(s[1:], "[]") + 1
	if i == 0 || s[i] != ']' {
		return 0
	}
	for i++; i < len(s) && s[i] == ' '; i++ {
	}
	return i
}

// refwd is the length of the subj-refwd at the start of s, 0 for none:
// ("re" / ("fw" ["d"])) *WSP [subj-blob] ":".
func refwd(s string) int {
	n := 0
	for _, word := range [...]string{"re", "fwd", "fw"} {
		if len(s) > len(word) && strings.EqualFold(s[:len(word)], word) {
			n = len(word)
			break
		}
	}
	if n == 0 {
		return 0
	}
	for n < len(s) && s[n] == ' ' {
		n++
	}
	n += blob1(s[n:])
	if n == len(s) || s[n] != ':' {
		return 0
	}
	return n + 1
}

// normalMessageID is a msg-id without the quotes that its local part may have, so that
// different spellings of one compare alike (RFC 5256, 3, THREAD); empty where s is none.
func normalMessageID(s string) string {
	if len(s) < 3 || s[0] != '<' || s[len(s)-1] != '>' {
		return ""
	}
	s = s[1 : len(s)-1]
	if s[0] != '"' {
		return s
	}
	out := make([]byte, 0, len(s))
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"' && (i == 0 || quoted):
			quoted = i == 0
		case s[i] == '\\' && quoted && i+1 < len(s):
			i++
			out = append(out, s[i])
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}
