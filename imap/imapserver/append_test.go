package imapserver

import (
	"log/slog"
	"strings"
	"testing"
)

// TestAppendBrokenOff: of a client that goes away before the end of APPEND nothing is kept,
// though the octets of a message were all there (RFC 3502: all or none).
func TestAppendBrokenOff(t *testing.T) {
	for name, said := range map[string]string{
		"before the line's end":   "a1 APPEND INBOX {5+}\r\nhello",
		"within the line's end":   "a1 APPEND INBOX {5+}\r\nhello\r",
		"before a second message": "a1 APPEND INBOX {5+}\r\nhello (\\Seen)",
		"in a second message":     "a1 APPEND INBOX {5+}\r\nhello {5+}\r\nwor",
		"after a second message":  "a1 APPEND INBOX {5+}\r\nhello {5+}\r\nworld",
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			store := newFakeStore()
			w := newWire(t, store, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			w.logIn()
			w.send(said)
			w.close()
			if n := len(store.mailboxes["INBOX"].messages); n != 0 {
				t.Errorf("%d messages are kept", n)
			}
			if strings.Contains(log.String(), "panic") {
				t.Error(log.String())
			}
		})
	}
}
