package mailstore

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"postroad/imap"
)

// CleanName returns the name in the form in which it is kept: NFC (RFC 5198, 3), INBOX in
// capitals also as first level, no separator at the end (RFC 9051, 6.3.4: it only says
// that names are to follow below). ErrName when it is none.
func CleanName(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", fmt.Errorf("%w: not UTF-8", ErrName)
	}
	if len(name) > 2*NameBytesMax {
		return "", fmt.Errorf("%w: too long", ErrName)
	}
	name = strings.TrimSuffix(norm.NFC.String(name), Separator)
	levels := strings.Split(name, Separator)
	if len(name) > NameBytesMax || len(levels) > DepthMax {
		return "", fmt.Errorf("%w: too long", ErrName)
	}
	for _, l := range levels {
		if err := checkLevel(l); err != nil {
			return "", err
		}
	}
	if imap.EqualFold(levels[0], imap.Inbox) {
		name = imap.Inbox + name[len(imap.Inbox):]
	}
	return name, nil
}

// checkLevel refuses what cannot be one level of a name. The wildcards of LIST are
// refused because nobody could list such a name alone (RFC 9051, 5.1).
func checkLevel(l string) error {
	switch {
	case l == "":
		return fmt.Errorf("%w: an empty level", ErrName)
	case len(l) > LevelBytesMax:
		return fmt.Errorf("%w: a level over %d octets", ErrName, LevelBytesMax)
	case strings.ContainsAny(l, "*%"):
		return fmt.Errorf("%w: a wildcard", ErrName)
	}
	for _, r := range l {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return fmt.Errorf("%w: a control character", ErrName) // RFC 5198, 2
		}
	}
	return nil
}

// splitName cuts the last level off.
func splitName(name string) (parent, level string) {
	if i := strings.LastIndex(name, Separator); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}
