package managesieve

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// readerOf reads octets as they come in pieces.
func readerOf(r io.Reader) *reader { return &reader{more: r.Read} }

// TestCommandsReadBack: whatever strings a command has, as quoted strings or literals, and
// however its octets come, they are read as they were written, and the next command too.
func TestCommandsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })), 0, argumentsMax).Draw(t, "strings")
		wire := []byte("PutScript")
		for _, s := range texts {
			wire = append(append(wire, ' '), clientString(s)...)
		}
		wire = append(wire, "\r\nNOOP\r\n"...)
		var in io.Reader = bytes.NewReader(wire)
		if rapid.Bool().Draw(t, "in pieces") {
			in = iotest.OneByteReader(in)
		}
		r := readerOf(in)
		keyword, args, err := r.readCommand(0, func(string, int) int64 { return 0 })
		if err != nil || keyword != "PUTSCRIPT" || len(args) != len(texts) {
			t.Fatalf("%q: %q, %d arguments, %v", wire, keyword, len(args), err)
		}
		for i, a := range args {
			if string(a.text) != texts[i] || a.number || a.huge {
				t.Fatalf("%q: argument %d is %q", wire, i, a.text)
			}
		}
		if keyword, _, err := r.readCommand(0, nil); err != nil || keyword != "NOOP" {
			t.Fatalf("%q: then %q, %v", wire, keyword, err)
		}
	})
}

// clientString writes a string as a client does.
func clientString(s string) []byte {
	return bytes.Replace(appendString(nil, s), []byte("}\r\n"), []byte("+}\r\n"), b2i(!quotable(s)))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestAppendString(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"plain", "main_script", `"main_script"`},
		{"empty", "", `""`},
		{"specials", `a"b\c`, `"a\"b\\c"`},
		{"lines", "a\r\nb", "{4}\r\na\r\nb"},
		{"NUL", "\x00", "{1}\r\n\x00"},
		{"not UTF-8", "\xff", "{1}\r\n\xff"},
		{"other controls", "\t\x7f", "\"\t\x7f\""},
		{"longest", strings.Repeat("x", QuotedMax), `"` + strings.Repeat("x", QuotedMax) + `"`},
		{"too long", strings.Repeat("x", QuotedMax+1), "{1025}\r\n" + strings.Repeat("x", QuotedMax+1)},
		{"too long by what is put before specials", strings.Repeat(`"`, QuotedMax), "{1024}\r\n" + strings.Repeat(`"`, QuotedMax)},
	} {
		if got := string(appendString(nil, test.in)); got != test.want {
			t.Errorf("%s: %.60q, want %.60q", test.name, got, test.want)
		}
	}
}

func TestCleanName(t *testing.T) {
	for _, test := range []struct {
		name, in, want string
		bad            bool
	}{
		{name: "plain", in: "main script", want: "main script"},
		{name: "slash and quote", in: `a/"b\`, want: `a/"b\`},
		{name: "composed", in: "gru\u0308n", want: "grün"},
		{name: "128 of the longest characters", in: strings.Repeat("😀", 128), want: strings.Repeat("😀", 128)},
		{name: "513 octets", in: strings.Repeat("x", 513), bad: true},
		{name: "grows to more", in: strings.Repeat("\u0958", 170), bad: true},
		{name: "empty", bad: true},
		{name: "not UTF-8", in: "a\xffb", bad: true},
		{name: "LF", in: "a\nb", bad: true},
		{name: "DELETE", in: "a\x7f", bad: true},
		{name: "C1", in: "a\u0085", bad: true},
		{name: "line separator", in: "a\u2028b", bad: true},
		{name: "paragraph separator", in: "a\u2029b", bad: true},
		{name: "byte order mark", in: "\ufeffa", bad: true},
	} {
		got, err := CleanName(test.in)
		if (err != nil) != test.bad || got != test.want || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%s: %q, %v", test.name, got, err)
		}
	}
}

// FuzzCleanName: a clean name is clean.
func FuzzCleanName(f *testing.F) {
	f.Add("main")
	f.Add("u\u0308\u0323")
	f.Fuzz(func(t *testing.T, s string) {
		clean, err := CleanName(s)
		if err != nil {
			return
		}
		if again, err := CleanName(clean); err != nil || again != clean {
			t.Errorf("%q becomes %q becomes %q, %v", s, clean, again, err)
		}
	})
}
