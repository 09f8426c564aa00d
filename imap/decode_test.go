package imap

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDecodeDateTime(t *testing.T) {
	west := time.FixedZone("", -8*3600)
	for _, test := range []struct {
		text string
		want time.Time
	}{
		{`" 7-Feb-1994 22:43:04 -0800"`, time.Date(1994, 2, 7, 22, 43, 4, 0, west)},
		{`"17-Jul-1996 02:44:25 -0700"`, time.Date(1996, 7, 17, 2, 44, 25, 0, time.FixedZone("", -7*3600))},
		{`"29-feb-2024 23:59:60 +0530"`, time.Date(2024, 2, 29, 23, 59, 59, 0, time.FixedZone("", 5*3600+1800))},
		{`"7-Feb-1994 22:43:04 -0800"`, time.Date(1994, 2, 7, 22, 43, 4, 0, west)},
	} {
		d := NewDecoder([]byte(test.text))
		got := d.DateTime()
		d.End()
		if d.Err() != nil || !got.Equal(test.want) {
			t.Errorf("%s: %v, %v", test.text, got, d.Err())
		}
		if d := NewDecoder(AppendDateTime(nil, got)); !d.DateTime().Equal(got) || d.Err() != nil {
			t.Errorf("%s printed %s", test.text, AppendDateTime(nil, got))
		}
	}
	for _, bad := range []string{
		`"30-Feb-1994 22:43:04 -0800"`, `"01-Foo-1994 22:43:04 -0800"`, `"01-Jan-94 22:43:04 -0800"`,
		`"01-Jan-1994 24:00:00 -0800"`, `"01-Jan-1994 22:43:04"`, `"01-Jan-1994 22:43:04 -0860"`, `01-Jan-1994 22:43:04 -0800`,
		`"00-Jan-1994 22:43:04 -0800"`, `"01-Jan-1994 22:43:61 +0000"`,
	} {
		d := NewDecoder([]byte(bad))
		d.DateTime()
		d.End()
		if d.OK() {
			t.Errorf("%s was taken for a date", bad)
		}
	}
	if got := string(AppendDate(nil, time.Date(1994, 2, 1, 5, 0, 0, 0, west))); got != "1-Feb-1994" {
		t.Error(got)
	}
}

func TestDecodeStrings(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`atom`, "atom"},
		{`a]b`, "a]b"},
		{`"quoted \"\\ string"`, `quoted "\ string`},
		{`""`, ""},
		{"{5}\r\na\r\nbc", "a\r\nbc"},
		{"{2+}\r\n\"\\", `"\`},
		{"{0}\r\n", ""},
		{`"größe"`, "größe"},
	} {
		d := NewDecoder([]byte(test.text))
		got := d.AString()
		d.End()
		if d.Err() != nil || got != test.want {
			t.Errorf("%q: %q, %v", test.text, got, d.Err())
		}
	}
	for _, bad := range []string{
		"", " ", `"open`, `"a\b"`, "\"a\rb\"", "{5}\r\nabc", "{5}abcde", "{x}\r\n", "{1}\r\n\x00", "a(b", `"a` + "\xff" + `"`,
		"{99999999999999999999}\r\n", "a\x7f", "ü",
	} {
		d := NewDecoder([]byte(bad))
		d.AString()
		d.End()
		if d.OK() {
			t.Errorf("%q was taken for a string", bad)
		}
	}
}

// TestAppendString reads back what was written.
func TestAppendString(t *testing.T) {
	for _, test := range []struct{ s, want string }{
		{"plain", `"plain"`},
		{`a"\b`, `"a\"\\b"`},
		{"a\x00b", "{2}\r\nab"},
		{"tab\tbed", "\"tab\tbed\""},
		{"line\r\nend", "{9}\r\nline\r\nend"},
		{"ü", "{2}\r\nü"},
		{strings.Repeat("x", quotedMax+1), "{901}\r\n" + strings.Repeat("x", quotedMax+1)},
	} {
		if got := string(AppendString(nil, test.s)); got != test.want {
			t.Errorf("%q: %q, want %q", test.s, got, test.want)
		}
	}
	if got := string(AppendAString(nil, "NIL")); got != `"NIL"` {
		t.Error(got)
	}
	if got := string(AppendUTF8String(nil, `"ü"`)); got != `"\"ü\""` {
		t.Error(got)
	}
}

func TestDecodeSection(t *testing.T) {
	for _, test := range []struct {
		text string
		want Section
	}{
		{"[]", Section{}},
		{"[TEXT]", Section{Specifier: Text}},
		{"[1.2.3]", Section{Part: []int{1, 2, 3}}},
		{"[4.2.2.1.MIME]<0.5>", Section{Part: []int{4, 2, 2, 1}, Specifier: MIME, Partial: &Partial{0, 5}}},
		{"[HEADER.FIELDS (DATE FROM)]", Section{Specifier: HeaderFields, Fields: []string{"DATE", "FROM"}}},
		{"[3.HEADER.FIELDS.NOT (A)]", Section{Part: []int{3}, Specifier: HeaderFieldsNot, Fields: []string{"A"}}},
	} {
		d := NewDecoder([]byte(test.text))
		var got Section
		d.Section(&got)
		d.End()
		if d.Err() != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v", test.text, got, d.Err())
		}
		if printed := string(got.AppendRequest(nil)); printed != "BODY"+test.text {
			t.Errorf("%s printed %s", test.text, printed)
		}
	}
	for _, bad := range []string{
		"", "[", "[1", "[1.]", "[.1]", "[1..2]", "[0]", "[01]", "[1TEXT]", "[HEADER.FIELDS]", "[HEADER.FIELDS ()]", "[MIME]",
		"[X]", "[]<5>", "[]<5.0>", "[]<.5>", "[" + strings.Repeat("1.", SectionDepthMax+1) + "1]",
	} {
		d := NewDecoder([]byte(bad))
		d.Section(&Section{})
		d.End()
		if d.OK() {
			t.Errorf("%q was taken for a section", bad)
		}
	}
}

func TestSpan(t *testing.T) {
	for _, test := range []struct {
		offset, size uint64
		of           int64
		from, length int64
	}{
		{0, 10, 100, 0, 10}, {90, 20, 100, 90, 10}, {100, 5, 100, 100, 0}, {1 << 62, 1 << 62, 100, 100, 0},
		{5, 1<<63 - 1, 100, 5, 95},
	} {
		s := Section{Partial: &Partial{test.offset, test.size}}
		if from, length := s.Span(test.of); from != test.from || length != test.length {
			t.Errorf("%+v: %d, %d", test, from, length)
		}
	}
}

func TestSearchLimits(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		ok   bool
	}{
		"deep enough": {strings.Repeat("(", SearchDepthMax) + "ALL" + strings.Repeat(")", SearchDepthMax), true},
		"too deep":    {strings.Repeat("(", SearchDepthMax+1) + "ALL" + strings.Repeat(")", SearchDepthMax+1), false},
		"many NOT":    {strings.Repeat("NOT ", SearchDepthMax+1) + "ALL", false},
		"many":        {strings.Repeat("ALL ", SearchKeysMax-1) + "ALL", true},
		"too many":    {strings.Repeat("ALL ", SearchKeysMax) + "ALL", false},
		"OR of one":   {"OR ALL", false},
		"no keys":     {"", false},
	} {
		d := NewDecoder([]byte(test.text))
		_, err := d.SearchProgram()
		d.End()
		if err != nil || d.OK() != test.ok {
			t.Errorf("%s: %v, %v", name, d.Err(), err)
		}
	}
}

// FuzzSearch reads search programs; what it takes is within the limits.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{
		"ALL", "CHARSET UTF-8 SUBJECT {2}\r\n\xc3\xbc", "OR (FROM a TO b) NOT DELETED", `HEADER "X-Y" ""`,
		"1:* UID 3 $", `MODSEQ "/flags/\\Seen" all 5`, "SINCE 1-Feb-1994 SENTON \"1-Jan-2000\"", "OLDER 5 YOUNGER 6",
		"CHARSET ISO-2022-JP TEXT {3+}\r\nabc", "KEYWORD $Junk UNKEYWORD x LARGER 5 SAVEDATESUPPORTED", "((((SEEN))))",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := NewDecoder([]byte(text))
		key, err := d.SearchProgram()
		d.End()
		if err != nil || !d.OK() {
			return
		}
		n := 0
		key.Walk(func(k *SearchKey) {
			n++
			if !strings.HasPrefix(string(k.Flag), `\`) && len(k.Flag) > KeywordBytesMax {
				t.Fatal("keyword too long")
			}
		})
		// NEW, OLD and UN… are several keys of the tree, and the top is one more.
		if n > 6*SearchKeysMax+1 {
			t.Fatalf("%d keys", n)
		}
	})
}
