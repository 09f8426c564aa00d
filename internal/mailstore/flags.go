package mailstore

import (
	"postroad/imap"
)

// Flags are the flags of one entry as bits: system flags in the low octet, above it the
// keywords of the mailbox by their place in its table ([Snapshot.Keywords]).
type Flags uint64

// The system flags (RFC 9051, 2.3.2).
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft

	keywordShift       = 8
	System       Flags = 1<<keywordShift - 1
	KeywordFlags       = ^System // all keywords
)

// Keyword is the bit of the keyword at place i of a mailbox's table.
func Keyword(i int) Flags { return 1 << (keywordShift + i) }

var systemFlags = [...]imap.Flag{imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft}

// ParseFlags splits a flag list into system flags and keywords. \Recent and flags that
// are not known are left out.
func ParseFlags(list []imap.Flag) (system Flags, keywords []string) {
next:
	for _, f := range list {
		for i, s := range systemFlags {
			if imap.EqualFold(string(f), string(s)) {
				system |= 1 << i
				continue next
			}
		}
		if !f.IsSystem() {
			keywords = append(keywords, string(f))
		}
	}
	return system, keywords
}

// Append appends the flags as IMAP writes them, without parentheses: `\Seen $Forwarded`.
func (f Flags) Append(dst []byte, keywords []string) []byte {
	from := len(dst)
	for i, s := range systemFlags {
		if f&(1<<i) != 0 {
			dst = appendWord(dst, from, string(s))
		}
	}
	for i, k := range keywords {
		if f&Keyword(i) != 0 {
			dst = appendWord(dst, from, k)
		}
	}
	return dst
}

func appendWord(dst []byte, from int, word string) []byte {
	if len(dst) > from {
		dst = append(dst, ' ')
	}
	return append(dst, word...)
}
