package imapd

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"postroad/internal/mailstore"
)

// TestFetchOfManyHeadersHoldsOne: a client that asks for a large header very often, and
// does not read on, does not make the server hold it as often.
func TestFetchOfManyHeadersHoldsOne(t *testing.T) {
	const sections, headerOctets, heldMax = 400, 400 << 10, 50 << 20
	h := newHouse(t, mailstore.Quota{}, nil)
	k := h.client(t)
	field := "X-Long: " + strings.Repeat("x", 990) + "\r\n"
	text := strings.Repeat(field, headerOctets/len(field)) + "\r\nbody\r\n"
	fmt.Fprintf(k.c, "a APPEND INBOX {%d+}\r\n%s\r\n", len(text), text)
	for !strings.HasPrefix(k.line(), "a OK") {
	}
	k.send("b SELECT INBOX")
	for !strings.HasPrefix(k.line(), "b OK") {
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	k.send("c FETCH 1 (" + strings.Repeat(" BODY.PEEK[HEADER.FIELDS.NOT (A)]", sections)[1:] + ")")
	if _, err := io.CopyN(io.Discard, k.r, headerOctets); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > heldMax {
		t.Errorf("%d octets are held for a response of %d", held, sections*headerOctets)
	}
	k.c.SetReadDeadline(time.Now().Add(time.Minute)) // 80 MB, under the race detector too
	left, err := io.CopyN(io.Discard, k.r, (sections-1)*headerOctets/2)
	if err != nil {
		t.Errorf("the response ended after %d octets: %v", left, err)
	}
}
