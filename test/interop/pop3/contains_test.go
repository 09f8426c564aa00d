package pop3

import (
	"bytes"
	"strings"
)

// contains looks for text with either kind of line end.
func contains(b []byte, text string) bool {
	return bytes.Contains([]byte(strings.ReplaceAll(string(b), "\r\n", "\n")), []byte(text))
}
