package imap

import (
	"strings"
	"testing"
)

func TestMailboxName(t *testing.T) {
	for _, test := range []struct{ name, wire string }{
		{"INBOX", "INBOX"},
		{"~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"}, // RFC 3501, 5.1.3
		{"Entwürfe", "Entw&APw-rfe"},
		{"a&b", "a&-b"},
		{"&", "&-"},
		{"😀", "&2D3eAA-"},
		{"ü&", "&APw-&-"},
	} {
		if got := EncodeMailbox(test.name, false); got != test.wire {
			t.Errorf("%s encoded %s, want %s", test.name, got, test.wire)
		}
		if got, err := DecodeMailbox(test.wire, false); err != nil || got != test.name {
			t.Errorf("%s decoded %s, %v, want %s", test.wire, got, err, test.name)
		}
		if got, err := DecodeMailbox(test.name, true); err != nil || got != test.name {
			t.Errorf("%s in UTF-8 decoded %s, %v", test.name, got, err)
		}
	}
	if got, err := DecodeMailbox("inBox", false); err != nil || got != Inbox {
		t.Errorf("%s, %v", got, err)
	}
	for name, bad := range map[string]string{
		"no end":             "a&APw",
		"ASCII encoded":      "&AGE-",
		"two runs for one":   "&APw-&APw-",
		"half a surrogate":   "&2D0-",
		"surrogates swapped": "&3gDYPQ-",
		"octets left over":   "&AP-",
		"bits left over":     "&APx-",
		"eight-bit":          "Entwürfe",
		"control encoded":    "&AAk-",
		"slash of base64":    "&U/BTFw-",
		"too long":           strings.Repeat("a", MailboxBytesMax+1),
	} {
		if got, err := DecodeMailbox(bad, false); err == nil {
			t.Errorf("%s: %q decoded %q", name, bad, got)
		}
	}
	for name, bad := range map[string]string{
		"control": "a\tb", "not UTF-8": "a\xff", "C1 control": "a\u0085b", "line separator": "a\u2028b",
	} {
		if got, err := DecodeMailbox(bad, true); err == nil {
			t.Errorf("%s: %q decoded %q in UTF-8 mode", name, bad, got)
		}
	}
}

func TestMatchMailbox(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b/c", true},
		{"%", "a", true},
		{"%", "a/b", false},
		{"a/%", "a/b", true},
		{"a/%", "a/b/c", false},
		{"a/%/c", "a/b/c", true},
		{"a*c", "a/b/c", true},
		{"a%c", "abc", true},
		{"%/%", "a/b", true},
		{"", "a", false},
		{"", "", true},
		{"inbox", "INBOX", true},
		{"iN*", "INBOX", true},
		{"in%x", "INBOX", true},
		{"inbox/a", "INBOX/a", false}, // only INBOX itself is without case
		{"A", "a", false},
		{"*b", "a/b", true},
		{"%b", "a/b", false},
		{"**%%*", "a/b/c", true},
	} {
		if got := MatchMailbox(test.pattern, test.name, '/'); got != test.want {
			t.Errorf("%q on %q: %v", test.pattern, test.name, got)
		}
	}
	if !MatchMailbox("%", "a/b", 0) {
		t.Error("without hierarchy % is as *")
	}
}

// FuzzMailboxName decodes names and encodes them again.
func FuzzMailboxName(f *testing.F) {
	for _, s := range []string{"INBOX", "&U,BTFw-", "a&-b", "&2D3eAA-", "&APw-&-", "&AGE-", "&", "Entwürfe"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, wire string, utf8Mode bool) {
		name, err := DecodeMailbox(wire, utf8Mode)
		if err != nil {
			return
		}
		if again, err := DecodeMailbox(EncodeMailbox(name, utf8Mode), utf8Mode); err != nil || again != name {
			t.Fatalf("%q decoded %q, encoded and decoded %q, %v", wire, name, again, err)
		}
		if !utf8Mode && !EqualFold(wire, Inbox) && EncodeMailbox(name, false) != wire {
			t.Fatalf("%q and %q are two encodings of one name", wire, EncodeMailbox(name, false))
		}
		d := NewDecoder(AppendMailbox(nil, name, utf8Mode))
		d.SetUTF8(utf8Mode)
		if got := d.Mailbox(); d.Err() != nil || got != name {
			t.Fatalf("%q on the wire reads %q, %v", name, got, d.Err())
		}
		if !MatchMailbox("*", name, '/') {
			t.Fatalf("* does not match %q", name)
		}
	})
}
