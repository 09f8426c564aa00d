package managesieve

import (
	"errors"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// NameMax is the longest script name, in octets: 128 characters fit however long they are
// (RFC 5804, 1.6).
const NameMax = 512

// ErrName is what CleanName finds wrong.
var ErrName = errors.New("managesieve: not a script name")

// CleanName returns a script name in Net-Unicode (RFC 5804, 1.6; RFC 5198, 2): UTF-8 in
// normalization form C, so that one name typed on two machines is one script. Names that
// are empty, over NameMax or have controls, line or paragraph separators or a byte order
// mark are ErrName.
func CleanName(s string) (string, error) {
	if s == "" || len(s) > NameMax || !utf8.ValidString(s) {
		return "", ErrName
	}
	for _, r := range s {
		switch {
		case r < 0x20, r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029, r == 0xfeff:
			return "", ErrName
		}
	}
	if s = norm.NFC.String(s); len(s) > NameMax {
		return "", ErrName // some characters grow
	}
	return s, nil
}
