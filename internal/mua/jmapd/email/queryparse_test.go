package email

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"postroad/imap"
	"postroad/internal/search"
	"postroad/jmap"
)

// outline writes a filter so that it can be compared.
func (n *filterNode) outline() string {
	switch n.op {
	case opAnd, opOr, opNot:
		var kids []string
		for _, k := range n.kids {
			kids = append(kids, k.outline())
		}
		return []string{"and", "or", "not"}[n.op] + "(" + strings.Join(kids, " ") + ")"
	case opText, opHeader:
		return fmt.Sprint("text", n.text.number)
	}
	return fmt.Sprint("condition", n.op)
}

func TestQueryText(t *testing.T) {
	for _, c := range []struct{ name, text, want, fits, not string }{
		{"nothing", "  ", "and()", "anything", ""},
		{"a word", "bus", "and(text0)", "two buses", "business"},
		{"two words", "red bus", "and(text0 text1)", "a bus that is red", "a red car"},
		{"a phrase", `"red bus"`, "and(text0)", "a red bus", "a bus that is red"},
		{"a phrase in single quotes", `'red bus' stop`, "and(text0 text1)", "stop the red bus", "stop the bus, red"},
		{"escaped quotes", `"say \"hello\" \\ now"`, "and(text0)", `he did say "hello" \ now`, "hello now say"},
		{"an apostrophe", "don't go", "and(text0 text1)", "we don't go", "we go"},
		{"an apostrophe in a phrase", "'we don't go'", "and(text0)", "we don't go", "go we don't"},
		{"a quote that nothing matches", `"red bus`, "and(text0 text1)", "bus, red", "red"},
		{"not", "red NOT bus", "and(text0 not(text1))", "red car", "red bus"},
		{"not at the end", "red NOT", "and(text0 text1)", "red not", "red"},
		{"the beginning of a word", "comp*", "and(text0)", "competition", "camp"},
		{"other fields' names mean nothing", "from:x", "and(text0)", "from x", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &emailFilter{}
			n := f.addText(search.Everywhere, "", c.text)
			if got := n.outline(); got != c.want {
				t.Errorf("read as %s, want %s", got, c.want)
			}
			if !f.fits(n, c.fits) {
				t.Errorf("%q does not fit", c.fits)
			}
			if c.not != "" && f.fits(n, c.not) {
				t.Errorf("%q fits", c.not)
			}
		})
	}
}

// fits decides about a text by marks, which are there where a query fits.
func (f *emailFilter) fits(n *filterNode, text string) bool {
	switch n.op {
	case opNot:
		return !f.fits(n.kids[0], text)
	case opText:
		return len(n.text.query.Marks(search.FieldSubject, []byte(text))) > 0
	}
	for _, k := range n.kids {
		if !f.fits(k, text) {
			return false
		}
	}
	return true
}

func TestRights(t *testing.T) {
	for _, c := range []struct{ name, before, give, want string }{
		{"reader", "", `{"mayReadItems": true}`, "lr"},
		{"who adds may look it up", "", `{"mayAddItems": true}`, "li"},
		{"nobody", "lrswi", `{}`, ""},
		{"letters that mean nothing alone stay", "lrt", `{"mayReadItems": true}`, "lrt"},
		{"looks up only", "l", `{"mayReadItems": false, "mayAddItems": true}`, "li"},
		{"all", "", `{"mayReadItems": true, "mayAddItems": true, "mayRemoveItems": true, "maySetSeen": true, "maySetKeywords": true, "mayCreateChild": true, "mayRename": true, "mayDelete": true, "maySubmit": true, "mayShare": true}`, "lrswipkxtea"},
		{"one of two", "", `{"mayRename": true}`, "error"},
		{"none there is", "", `{"mayFly": true}`, "error"},
		{"no object", "", `7`, "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := imap.ParseRights(c.before)
			must(t, err)
			got, e := parseRights(json.RawMessage(c.give), before)
			if e != nil {
				if c.want != "error" {
					t.Fatal(e)
				}
				return
			}
			want, err := imap.ParseRights(c.want)
			if err != nil || got != want {
				t.Errorf("got %v, want %v (%v)", got, want, err)
			}
		})
	}
}

func TestPreview(t *testing.T) {
	long := strings.Repeat("wörd & <tag> ", 400)
	for _, c := range []struct{ name, text, query, begins, has string }{
		{"short", "a <b> & needle here", "needle", "a &lt;b&gt; &amp; <mark>needle</mark> here", "here"},
		{"far in", long + "needle " + long, "needle", "…", "<mark>needle</mark>"},
		{"beyond a piece", strings.Repeat("x ", snippetPart) + "needle", "needle", "…", "<mark>needle</mark>"},
		{"lines", "one\r\n\r\n  two\tneedle", "needle", "one two <mark>", "<mark>needle</mark>"},
		{"longer than a preview", strings.Repeat("needle ", 16) + "end", `"` + strings.TrimSpace(strings.Repeat("needle ", 16)) + `"`, "<mark>needle", "</mark>"},
		{"nothing", "hay", "needle", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &emailFilter{}
			f.root = filterNode{op: opAnd, kids: []*filterNode{f.addText(search.Everywhere, "", c.query)}}
			left := snippetTextMax
			got, err := findPreview(strings.NewReader(c.text), f.wanted(), &left)
			if err != nil || !strings.HasPrefix(got, c.begins) || !strings.Contains(got, c.has) || len(got) > previewMax {
				t.Errorf("%d octets: %q %v", len(got), got, err)
			}
		})
	}
}

// FuzzEmailQuery reads filters, orders and texts of any sort, and makes previews with them.
func FuzzEmailQuery(f *testing.F) {
	f.Add(`{"text": "a \"b c\" NOT 'd'", "after": "2026-12-01T10:00:00Z"}`, `[{"property": "size"}]`, "some a b c text")
	f.Add(`{"operator": "NOT", "conditions": [{"header": ["X-Y", "z*"]}, {"hasKeyword": "$seen"}]}`, `[{"property": "hasKeyword", "keyword": "x"}]`, "\xff<&")
	f.Add(`{"inMailbox": "F1", "minSize": 1e30, "inMailboxOtherThan": [null]}`, `[{"collation": 1}]`, "")
	f.Fuzz(func(t *testing.T, filter, sort, text string) {
		given, err := jmap.ParseFilter(json.RawMessage(filter))
		if err != nil {
			return
		}
		q, err := parseEmailFilter(given)
		if err != nil {
			return
		}
		var by []jmap.Comparator
		if json.Unmarshal([]byte(sort), &by) == nil {
			_, _ = parseEmailSort(by) // which must not panic
		}
		left := snippetTextMax
		got, err := findPreview(strings.NewReader(text), q.wanted(), &left)
		if err != nil || len(got) > previewMax || !utf8.ValidString(got) {
			t.Errorf("preview of %d octets %q: %v", len(got), got, err)
		}
		if strings.Count(got, "<") != strings.Count(got, "<mark>")+strings.Count(got, "</mark>") || strings.Count(got, "<mark>") != strings.Count(got, "</mark>") {
			t.Errorf("preview with other tags: %q", got)
		}
	})
}
