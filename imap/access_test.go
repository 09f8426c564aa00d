package imap

import (
	"reflect"
	"strings"
	"testing"
)

func TestRights(t *testing.T) {
	for _, test := range []struct {
		text, printed string
		want          Rights
	}{
		{"", "", RightsNone},
		{"lr", "lr", RightLookup | RightRead},
		{"rwipslxetad", "lrswipxtecda", RightsAll &^ RightCreate},
		{"c", "kxc", RightCreate | RightDelete},
		{"d", "ted", RightDeleteMsgs | RightExpunge},
		{"k", "kc", RightCreate},
		{"x", "xc", RightDelete},
		{"t", "td", RightDeleteMsgs},
		{"lrswida", "lrswiteda", RightLookup | RightRead | RightSeen | RightWrite | RightInsert | RightDeleteMsgs | RightExpunge | RightAdminister},
		{"lrswipkxtecda", "lrswipkxtecda", RightsAll},
		{"aacall", "lkxca", RightLookup | RightCreate | RightDelete | RightAdminister},
	} {
		got, err := ParseRights(test.text)
		if err != nil || got != test.want || got.String() != test.printed {
			t.Errorf("%q: %s, %v", test.text, got, err)
		}
		if again, err := ParseRights(got.String()); err != nil || !again.Has(got) {
			t.Errorf("%q: %s came back as %s, %v", test.text, got, again, err)
		}
	}
	for _, bad := range []string{"L", "lrQ", "q", "0", "l r", "+l", "\x00", "é"} {
		if r, err := ParseRights(bad); err == nil {
			t.Errorf("%q was taken for %s", bad, r)
		}
	}
	if !RightsAll.Has(RightRead|RightExpunge) || RightRead.Has(RightRead|RightExpunge) {
		t.Error("Has")
	}
}

func TestRightsChange(t *testing.T) {
	before := RightLookup | RightRead
	for _, test := range []struct{ text, want string }{
		{"+cda", "lrkxtecda"}, {"-r", "l"}, {"-d", "lr"}, {"s", "s"}, {"", ""}, {"+", "lr"}, {"-", "lr"}, {"-lr", ""},
	} {
		op, r, err := ParseRightsChange(test.text)
		if got := before.Change(op, r); err != nil || got.String() != test.want {
			t.Errorf("%q: %s, %v", test.text, got, err)
		}
	}
	for _, bad := range []string{"++l", "+-l", " l", "-q", "l+"} {
		if _, _, err := ParseRightsChange(bad); err == nil {
			t.Errorf("%q was taken for a change", bad)
		}
	}
}

// TestFormatListRights has the examples of RFC 4314, 2.1.1, with "c" for k and x.
func TestFormatListRights(t *testing.T) {
	for _, test := range []struct {
		required string
		tied     string
		want     string
	}{
		{"", "lr s w i p k x t", "| lr s w i p k x t c d"},
		{"", "lr s w i p k x te", "| lr s w i p k x te c d"},
		{"", "lr s w i p k xte", "| lr s w i p k xtecd"},
		{"", "lr swte i p k x", "| lr swted i p k x c"},
		{"la", "r swikxte", "la| r swikxtecd"},
		{"lrswipkxtea", "", "lrswipkxteacd|"},
		{"k", "x", "k| x c"},
		{"kx", "lr", "kxc| lr"},
		{"", "l r", "| l r"},
		{"", "kl x", "| lkc x"},
	} {
		required, err := ParseRights(test.required)
		if err != nil {
			t.Fatal(err)
		}
		var tied []Rights
		for _, w := range strings.Fields(test.tied) {
			r, err := ParseRights(w)
			if err != nil {
				t.Fatal(err)
			}
			tied = append(tied, r)
		}
		words := FormatListRights(required, tied)
		got := words[0] + "|"
		if len(words) > 1 {
			got += " " + strings.Join(words[1:], " ")
		}
		if got != test.want {
			t.Errorf("%s and %s: %s, want %s", test.required, test.tied, got, test.want)
		}
	}
}

func TestMetadataName(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"/shared/comment", "/shared/comment"},
		{"/Private/COMMENT", "/private/comment"},
		{"/shared/vendor/x/y", "/shared/vendor/x/y"},
		{"/private/a b/c", "/private/a b/c"},
		{"/shared/" + strings.Repeat("x", MetadataNameBytesMax-8), "/shared/" + strings.Repeat("x", MetadataNameBytesMax-8)},
	} {
		if got, err := ParseMetadataName(test.text); err != nil || got != test.want {
			t.Errorf("%q: %q, %v", test.text, got, err)
		}
	}
	for _, bad := range []string{
		"", "/", "comment", "/comment", "/shared", "/private/", "/shared//comment", "/shared/comment/", "/shared/a*", "/shared/%",
		"/shared/é", "/shared/a\x00", "/shared/a\x19", "/shared/a\x7f", "/shared/vendor", "/shared/vendor/x", "/private/vendor/x/",
		"/sharedcomment/x", "shared/comment", "/shared/" + strings.Repeat("x", MetadataNameBytesMax-7),
	} {
		if got, err := ParseMetadataName(bad); err == nil {
			t.Errorf("%q was taken for %q", bad, got)
		}
	}
	for _, test := range []struct {
		text string
		ok   bool
	}{
		{"/shared", true}, {"/private/vendor", true}, {"/Private/Vendor/x", true}, {"/shared/comment", true},
		{"/", false}, {"/other", false}, {"/shared/", false}, {"/shared/*", false}, {`""`, false},
		{"/shared/" + strings.Repeat("x", MetadataNameBytesMax-7), false},
	} {
		d := NewDecoder([]byte(test.text))
		got := d.MetadataParent()
		d.End()
		if d.OK() != test.ok || test.ok && got != strings.ToLower(test.text) {
			t.Errorf("%s to look below: %q, %v", test.text, got, d.Err())
		}
	}
}

func TestMetadataMatches(t *testing.T) {
	for _, test := range []struct {
		named, entry string
		depth        MetadataDepth
		want         bool
	}{
		{"/shared/a", "/shared/a", MetadataDepth0, true},
		{"/shared/a", "/shared/a/b", MetadataDepth0, false},
		{"/shared/a", "/shared/a/b", MetadataDepth1, true},
		{"/shared/a", "/shared/a/b/c", MetadataDepth1, false},
		{"/shared/a", "/shared/a/b/c", MetadataDepthInfinity, true},
		{"/shared/a", "/shared/ab", MetadataDepthInfinity, false},
		{"/shared/a", "/shared", MetadataDepthInfinity, false},
		{"/shared/a", "/private/a", MetadataDepthInfinity, false},
	} {
		if got := MetadataMatches(test.named, test.entry, test.depth); got != test.want {
			t.Errorf("%+v", test)
		}
	}
}

func TestMetadataValue(t *testing.T) {
	for _, test := range []struct {
		text string
		want []byte
	}{
		{"NIL", nil}, {`""`, []byte{}}, {`"NIL"`, []byte("NIL")}, {"~{3}\r\na\x00b", []byte("a\x00b")}, {"~{0+}\r\n", []byte{}},
		{"{2}\r\nab", []byte("ab")},
	} {
		d := NewDecoder([]byte(test.text))
		got := d.MetadataValue()
		d.End()
		if d.Err() != nil || (got == nil) != (test.want == nil) || string(got) != string(test.want) {
			t.Errorf("%q: %q, %v", test.text, got, d.Err())
		}
	}
	for _, bad := range []string{"", "atom", "{3}\r\na\x00b", "~", `~"a"`, "~{4}\r\nabc", "5"} {
		d := NewDecoder([]byte(bad))
		d.MetadataValue()
		d.End()
		if d.OK() {
			t.Errorf("%q was taken for a value", bad)
		}
	}
}

func TestQuotaLimits(t *testing.T) {
	for _, test := range []struct {
		text string
		want []QuotaLimit
	}{
		{"()", []QuotaLimit{}},
		{"(STORAGE 512)", []QuotaLimit{{QuotaStorage, 512}}},
		{"(storage 0 Message 9223372036854775807)", []QuotaLimit{{QuotaStorage, 0}, {QuotaMessage, 1<<63 - 1}}},
		{"(ANNOTATION-STORAGE 1 MAILBOX 2 X-OTHER 3)", []QuotaLimit{{QuotaAnnotationStorage, 1}, {QuotaMailbox, 2}, {"X-OTHER", 3}}},
	} {
		d := NewDecoder([]byte(test.text))
		got := d.QuotaLimits()
		d.End()
		if d.Err() != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v, %v", test.text, got, d.Err())
		}
	}
	for _, bad := range []string{"", "(STORAGE)", "(STORAGE 1", "(STORAGE x)", "(STORAGE 1 storage 2)", "(STORAGE 9223372036854775808)", "(1 2 3)"} {
		d := NewDecoder([]byte(bad))
		d.QuotaLimits()
		d.End()
		if d.OK() {
			t.Errorf("%s was taken for limits", bad)
		}
	}
	for _, test := range []struct{ octets, units uint64 }{{0, 0}, {1, 1}, {1024, 1}, {1025, 2}, {1<<64 - 1, 1 << 54}} {
		if got := StorageUnits(test.octets); got != test.units {
			t.Errorf("%d octets are %d units", test.octets, got)
		}
	}
	if got := QuotaMessage.Capability(); got != "QUOTA=RES-MESSAGE" {
		t.Error(got)
	}
}

func TestFuzzyKey(t *testing.T) {
	for _, test := range []struct {
		text  string
		fuzzy bool
	}{
		{`FUZZY (SUBJECT "IMAP break")`, true}, {"FUZZY SUBJECT work FROM user@example.com", true}, {"NOT FUZZY ALL", true},
		{"SUBJECT FUZZY", false}, {"ALL", false},
	} {
		d := NewDecoder([]byte(test.text))
		key, err := d.SearchProgram()
		if err != nil || d.Err() != nil || key.HasFuzzy() != test.fuzzy {
			t.Errorf("%s: %+v, %v, %v", test.text, key, d.Err(), err)
		}
	}
	d := NewDecoder([]byte(strings.Repeat("FUZZY ", SearchDepthMax+1) + "ALL"))
	if _, err := d.SearchProgram(); err != nil || d.OK() {
		t.Error("FUZZY without end was taken")
	}
}

func TestCharsetProgram(t *testing.T) {
	d := NewDecoder([]byte("ISO-8859-1 SUBJECT {1}\r\n\xfc"))
	key, err := d.CharsetProgram()
	if err != nil || d.Err() != nil || key.Text != "ü" {
		t.Errorf("%+v, %v, %v", key, d.Err(), err)
	}
	if _, err := NewDecoder([]byte("NONE ALL")).CharsetProgram(); err != ErrCharset {
		t.Errorf("an unknown charset: %v", err)
	}
	d = NewDecoder([]byte("UTF-8"))
	if _, err := d.CharsetProgram(); err != nil || d.OK() {
		t.Errorf("a charset alone: %v", err)
	}
}

// FuzzParse reads the small words of ACL, QUOTA, METADATA and SORT; what is taken comes back
// the same after it was written.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"lrswipkxtecda", "+cda", "-d", "/shared/comment", "/Private/vendor/x/y", "(STORAGE 10 MESSAGE 5)", "(REVERSE DATE SUBJECT)",
		"1:500", "-1:-100", "~{3}\r\na\x00b", "NIL",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if op, r, err := ParseRightsChange(text); err == nil {
			again, err := ParseRights(r.String())
			if err != nil || again&r != r || op > RightsRemove {
				t.Fatalf("%q: %s came back as %s, %v", text, r, again, err)
			}
		}
		if name, err := ParseMetadataName(text); err == nil {
			if again, err := ParseMetadataName(name); err != nil || again != name || !MetadataMatches(name, name, MetadataDepth0) {
				t.Fatalf("%q: %q came back as %q, %v", text, name, again, err)
			}
			d := NewDecoder(AppendAString(nil, name))
			if again := d.MetadataName(); again != name {
				t.Fatalf("%q: %q was written and read as %q, %v", text, name, again, d.Err())
			}
		}
		d := NewDecoder([]byte(text))
		if keys := d.SortKeys(); d.OK() {
			d := NewDecoder([]byte(FormatSortKeys(keys)))
			if again := d.SortKeys(); !reflect.DeepEqual(keys, again) {
				t.Fatalf("%q: %v came back as %v, %v", text, keys, again, d.Err())
			}
		}
		d = NewDecoder([]byte(text))
		if w := d.Window(); d.OK() {
			if from, to := w.Cut(1 << 40); from >= to && w.First > 0 || to > 1<<40 {
				t.Fatalf("%s: %d to %d", w, from, to)
			}
		}
		NewDecoder([]byte(text)).QuotaLimits()
		NewDecoder([]byte(text)).MetadataValue()
	})
}
