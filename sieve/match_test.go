package sieve

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// slowGlob is the plain model of :matches: what each wildcard matches, as little as can be
// from left to right.
func slowGlob(pattern, value string) ([]string, bool) {
	if pattern == "" {
		return nil, value == ""
	}
	switch pattern[0] {
	case '*':
		for i := 0; i <= len(value); i++ {
			if rest, ok := slowGlob(pattern[1:], value[i:]); ok {
				return append([]string{value[:i]}, rest...), true
			}
		}
		return nil, false
	case '?':
		if value == "" {
			return nil, false
		}
		rest, ok := slowGlob(pattern[1:], value[1:])
		return append([]string{value[:1]}, rest...), ok
	case '\\':
		if len(pattern) > 1 {
			pattern = pattern[1:]
		}
	}
	if value == "" || value[0] != pattern[0] {
		return nil, false
	}
	return slowGlob(pattern[1:], value[1:])
}

func TestGlobAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune(`ab*?\`)), 0, 10, -1).Draw(t, "pattern")
		value := rapid.StringOfN(rapid.SampledFrom([]rune(`ab*`)), 0, 12, -1).Draw(t, "value")
		want, ok := slowGlob(pattern, value)
		work := 0
		spans, matched := newGlob(pattern, false).match(value, nil, &work, 1<<30)
		if matched != ok {
			t.Fatalf("%q matches %q: %v", value, pattern, matched)
		}
		if !ok {
			return
		}
		if len(spans) != len(want) {
			t.Fatalf("%d wildcards, want %d", len(spans), len(want))
		}
		for i, s := range spans {
			if value[s.start:s.end] != want[i] {
				t.Fatalf("wildcard %d is %q, want %q", i+1, value[s.start:s.end], want[i])
			}
		}
	})
}

func TestRegexTranslation(t *testing.T) {
	for _, test := range []struct {
		pattern, value string
		want           bool
	}{
		{`^a$`, "a", true}, {`^a$`, "b\na\nb", false}, {`a.b`, "a\nb", true},
		{`[[:digit:]]+x`, "12x", true}, {`[^[:space:]]`, " ", false}, {`[[.-.]x]`, "-", true}, {`[[=a=]]`, "a", true},
		{`[a\]`, `\`, true}, {`[a\]b]`, `\b]`, true}, {`[^]a]`, "]", false}, {`[]a]`, "]", true}, {`[a^]`, "^", true}, {`[[]`, "[", true},
		{`\.`, ".", true}, {`\.`, "a", false}, {`\*\+\?\(\)\[\]\{\}\|\^\$\\`, `*+?()[]{}|^$\`, true}, {`\_`, "_", true},
		{`a{2}`, "aa", true}, {`^a{2,3}$`, "aaaa", false}, {`^a{2,}$`, "aaaa", true}, {`a{x`, "a{x", true}, {`a{}`, "a{}", true},
		{`(a|b)c`, "bc", true}, {`É`, "é", true}, {`a|b`, "xb", true}, {`()`, "", true},
	} {
		re, err := compileRegex(test.pattern, asciiCasemap, RegexOctetsMax)
		if err != nil {
			t.Errorf("%s: %v", test.pattern, err)
		} else if re.MatchString(test.value) != test.want {
			t.Errorf("%s matches %q: %v (%s)", test.pattern, test.value, !test.want, re)
		}
	}
	for _, bad := range []string{`(`, `)`, `[`, `[]`, `[[:x:]]`, `[[.a`, `\d`, `\1`, `\`, `(?:a)`, `a**`, `*a`, `a{3,2}`, `a{256}`, `x{200}{200}`, `(x{30}){30}(y{30}){30}(z{30}){30}`} {
		if re, err := compileRegex(bad, octet, RegexOctetsMax); err == nil {
			t.Errorf("%s is taken as %s", bad, re)
		}
	}
}

// TestRegexLongest: the longest match is taken, not the first alternative.
func TestRegexLongest(t *testing.T) {
	re, err := compileRegex(`a|ab|abc`, octet, RegexOctetsMax)
	if err != nil || re.FindString("abcd") != "abc" {
		t.Errorf("%q, %v", re.FindString("abcd"), err)
	}
}

// TestQuoteRegex: what :quoteregex makes matches the text and nothing else.
func TestQuoteRegex(t *testing.T) {
	r := &run{limits: Limits{}.filled()}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[!-~]{0,12}`).Draw(t, "text")
		re, err := compileRegex("^"+modifiers["quoteregex"](r, s)+"$", octet, RegexOctetsMax)
		if err != nil || !re.MatchString(s) || re.MatchString(s+"x") {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func TestComparators(t *testing.T) {
	for _, test := range []struct {
		c    comparator
		a, b string
		want int
	}{
		{octet, "a", "B", 1}, {asciiCasemap, "a", "B", -1}, {asciiCasemap, "_", "a", 1}, {asciiCasemap, "[", "a", 1},
		{asciiNumeric, "10", "9", 1}, {asciiNumeric, "010x", "10", 0}, {asciiNumeric, "x", "10", 1}, {asciiNumeric, "x", "", 0},
		{asciiNumeric, "0", "00", 0}, {asciiNumeric, "-1", "5", 1}, {unicodeCasemap, "é", "É", 0},
		{unicodeCasemap, "e\u0301", "É", 0}, {unicodeCasemap, "a\xff", "A\xff", 0},
	} {
		got := test.c.order(test.c.fold(test.a), test.c.fold(test.b))
		if got > 0 && test.want <= 0 || got < 0 && test.want >= 0 || got == 0 && test.want != 0 {
			t.Errorf("comparator %d: %q to %q is %d", test.c, test.a, test.b, got)
		}
	}
}

// TestUnicodeOffsets: each octet of a folded text is known to come from a place in it.
func TestUnicodeOffsets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		folded, at := unicodeFoldOffsets(s, true)
		if len(at) != len(folded)+1 || at[len(at)-1] != len(s) {
			t.Fatalf("%d offsets for %d octets", len(at), len(folded))
		}
		for i := 1; i < len(at); i++ {
			if at[i] < at[i-1] {
				t.Fatal("the offsets go back")
			}
		}
	})
}

// TestSearchAgainstContains: a stream is searched as a string is, wherever the key lies.
func TestSearchAgainstContains(t *testing.T) {
	r := &run{in: &Input{}, limits: Limits{}.filled(), frame: &frame{}, ctx: t.Context()}
	for _, at := range []int{0, 1, searchChunk - 3, searchChunk - 1, searchChunk, searchChunk + 1, 3*searchChunk - 2} {
		for _, key := range []string{"needle", "N", "needle" + strings.Repeat("x", 100)} {
			text := strings.Repeat("é.", at)[:at] + strings.ToUpper(key) + "tail"
			m := &matcher{kind: matchContains, keys: []matchKey{{text: text0("absent")}, {text: text0(key)}}}
			for i := range m.keys {
				if err := m.prepare(&m.keys[i], m.keys[i].text.constant, 0); err != nil {
					t.Fatal(err)
				}
			}
			if ok, err := r.search(strings.NewReader(text), m); !ok || err != nil {
				t.Errorf("%q at %d: %v, %v", key, at, ok, err)
			}
			if ok, err := r.search(strings.NewReader(strings.Repeat("é.", at)), m); ok || err != nil {
				t.Errorf("%q not there: %v, %v", key, ok, err)
			}
		}
	}
}

func text0(s string) text { return text{constant: s} }

func TestRegexIsLinear(t *testing.T) {
	re, err := compileRegex(`(a|aa)+$`, octet, RegexOctetsMax)
	if err != nil {
		t.Fatal(err)
	}
	if re.MatchString(strings.Repeat("a", 50_000) + "b") {
		t.Error("it matches")
	}
}
