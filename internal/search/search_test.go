package search

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/message"
)

// fixture is the index of one account, with the mail it is of.
type fixture struct {
	testing.TB
	x    *Index
	ids  []MessageID
	mail map[MessageID][]byte
}

func newFixture(t testing.TB, e kv.Engine) *fixture {
	t.Cleanup(func() { e.Close() })
	return &fixture{TB: t, x: &Index{Engine: e, Space: "a/1", Clock: hlc.NewClock(1)}, mail: map[MessageID][]byte{}}
}

// deliver stores messages as a delivery does, all in one commit.
func (f *fixture) deliver(messages ...string) {
	f.Helper()
	b := kv.Batch{Space: f.x.Space}
	for _, text := range messages {
		id := f.x.Clock.Next()
		raw := []byte(text)
		m, err := message.Parse(bytes.NewReader(raw), message.Limits{})
		must(f, err)
		r, err := NewRecord(m, bytes.NewReader(raw))
		must(f, err)
		Prepare(&b, id, r)
		f.ids = append(f.ids, id)
		f.mail[id] = raw
	}
	_, err := f.x.Engine.Commit(f.Context(), b)
	must(f, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settle merges all there is.
func (f *fixture) settle() {
	f.Helper()
	for {
		n, _, err := f.x.Fold(context.Background())
		must(f, err)
		if n == 0 {
			break
		}
	}
	for more := true; more; {
		var err error
		more, err = f.x.Merge(context.Background())
		must(f, err)
	}
}

// scan is the truth: whether a text of the fields has the needle.
func (f *fixture) scan(id MessageID, fields Fields, needle string) bool {
	f.Helper()
	want := AppendFolded(nil, []byte(needle))
	has := false
	raw := f.mail[id]
	m, err := message.Parse(bytes.NewReader(raw), message.Limits{})
	must(f, err)
	must(f, EachText(m, bytes.NewReader(raw), fields, func(_ Field, r io.Reader) error {
		text, err := io.ReadAll(r)
		has = has || bytes.Contains(AppendFolded(nil, text), want)
		return err
	}))
	return has
}

// compare holds what the index says of a needle against the truth, and returns how many
// messages are to be looked into that have it not.
func (f *fixture) compare(fields Fields, needle string) (needless int) {
	f.Helper()
	found, err := f.x.Find(context.Background(), []*Needle{NewNeedle(fields, needle)}, nil)
	must(f, err)
	for _, id := range f.ids {
		want, got := f.scan(id, fields, needle), found.State(found.Place(id), 0)
		switch {
		case want && got == No:
			f.Fatalf("message %s has %q, the index says no: %q", id, needle, f.mail[id])
		case !want && got == Yes:
			f.Fatalf("message %s has no %q, the index says yes: %q", id, needle, f.mail[id])
		case !want && got == Maybe:
			needless++
		}
	}
	return needless
}

func letterTo(i int, text string) string {
	return fmt.Sprintf("From: Ann <ann%d@example.org>\r\nSubject: Letter %d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n", i, i, text)
}

func TestNeedles(t *testing.T) {
	texts := []string{"The quick brown fox", "a FOXGLOVE, o'clock", "naïve café ÉTÉ", "日本語のテキスト 検索", "ภาษาไทย", "한국어 검색",
		"x" + strings.Repeat("abcdefghij", 12) + "y", "ﬁne ＷＩＤＥ ß", "don't foo.bar@example.com", "e\u0301 combining", "İstanbul ıx ſ K",
		"a漢b 漢 字", "\xff\xfe broken \xc3", "under_score 12345 v1.2.3", "Слово и дело", "ab", "a b"}
	needles := []string{"fox", "quick brown", "ck br", "glove", "o'clock", "é", "e", "café", "cafe", "日本", "本", "本語の", "テキスト 検", "ไทย", "어 검", "검색",
		strings.Repeat("abcdefghij", 3), "jabcdefghijab", "xabc", "ijy", strings.Repeat("abcdefghij", 12) + "y\r\n", "ﬁ", "fi", "wide", "ＷＩ", "ß", "ẞ", "bar@exa", "\u0301", "ı", "i", "s k", "ſ",
		"漢", "a漢", "漢b", "a漢b", "漢 字", "\ufffd", "broken", "_", " ", "", "r_s", "1.2", "34", "СЛОВО", "дел", "letter 1", "subject: letter", "a b", "ab", "b", "@example.org>"}
	f := newFixture(t, memkv.New())
	for i, text := range texts {
		f.deliver(letterTo(i, text))
	}
	check := func(t *testing.T) {
		for _, n := range needles {
			for _, fields := range []Fields{FieldsOf(FieldBody), FieldsOf(FieldHeader, FieldBody), FieldsOf(FieldSubject)} {
				f.compare(fields, n)
			}
		}
	}
	t.Run("records", check)
	f.settle()
	t.Run("segment", check)
	for i, text := range texts {
		f.deliver(letterTo(100+i, text+" again"))
	}
	t.Run("both", check)
}

// sum is what Check must find of a message.
func (f *fixture) sum(id MessageID) uint64 {
	f.Helper()
	m, err := message.Parse(bytes.NewReader(f.mail[id]), message.Limits{})
	must(f, err)
	n, err := Sum(m, bytes.NewReader(f.mail[id]))
	must(f, err)
	return n
}

// TestLongTexts holds that a text over the bound is unknown until it is completed, and one
// over all bounds stays one to be looked into.
func TestLongTexts(t *testing.T) {
	f := newFixture(t, memkv.New())
	var long strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&long, "word%dx ", i)
		if i%10 == 9 {
			long.WriteString("\r\n")
		}
	}
	f.deliver(letterTo(1, long.String()), letterTo(2, "short"))
	state := func(needle string) (Place, State) {
		found, err := f.x.Find(t.Context(), []*Needle{NewNeedle(FieldsOf(FieldBody), needle)}, nil)
		must(t, err)
		p := found.Place(f.ids[0])
		return p, found.State(p, 0)
	}
	if p, s := state("word59999x"); !p.Unknown() || s != Maybe {
		t.Fatalf("not complete: %+v %d", p, s)
	}
	n, waiting, err := f.x.Fold(t.Context())
	if err != nil || n != 1 || waiting != 1 {
		t.Fatalf("folded %d, %d wait: %v", n, waiting, err)
	}
	raw := f.mail[f.ids[0]]
	m, err := message.Parse(bytes.NewReader(raw), message.Limits{})
	must(t, err)
	must(t, f.x.Complete(t.Context(), f.ids[0], m, bytes.NewReader(raw)))
	for range 2 {
		if _, s := state("word59999x"); s != Yes {
			t.Fatalf("complete: %d", s)
		}
		if _, s := state("word60000x"); s != No {
			t.Fatalf("not in it: %d", s)
		}
		f.settle()
	}
}

// TestQueries holds index semantics against texts, in records, in a segment, and judged by
// the text alone.
func TestQueries(t *testing.T) {
	letters := []string{
		"From: Ann Runner <ann@example.org>\r\nSubject: Running the café\r\n\r\nThe children were happily singing in the houses\r\n",
		"From: Bob <bob.foo@example.org>\r\nSubject: Die Häuser\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nWir gehen nicht in die Häuser, und das ist gut mit dir. Straße\r\n",
		"Subject: Other\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n東京都の全文検索 ＷＩＤＥ letters, foo.bar@example.com\r\n",
		"Subject: Nothing\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee\r\n--b\r\nContent-Type: application/pdf; name=\"Rechnung 2026.pdf\"\r\n\r\nx\r\n--b--\r\n",
	}
	cases := []struct{ query, want string }{
		{"run", "0"}, {"house", "0"}, {"haus", "1"}, {"CAFE", "0"}, {"café", "0"}, {"child*", "0"}, {"-sings", "123"}, {"NOT sings", "123"},
		{"sings OR 東京", "02"}, {"東京", "2"}, {"京都の", "2"}, {"検", "2"}, {"wide", "2"}, {"strasse", "1"}, {`"happily singing"`, "0"}, {`"singing happily"`, ""},
		{"foo.bar@example.com", "2"}, {"bar.foo", ""}, {"example.org", "01"}, {"from:ann", "0"}, {"from:(ann)", "0"}, {"subject:haus", "1"}, {"file:rechnung", "3"}, {"2026", "3"},
		{"", "0123"}, {"(house OR haus) -gehen", "0"}, {"singing houses", "0"}, {"singing gehen", ""}, {"runn", ""},
	}
	f := newFixture(t, memkv.New())
	f.deliver(letters...)
	check := func(t *testing.T) {
		for _, c := range cases {
			q := ParseQuery(c.query)
			found, err := f.x.Find(t.Context(), nil, []*Query{q})
			must(t, err)
			got, judged := "", ""
			for i, id := range f.ids {
				raw := f.mail[id]
				m, err := message.Parse(bytes.NewReader(raw), message.Limits{})
				must(t, err)
				fits, score, err := q.Judge(func(fields Fields, do func(Field, io.Reader) error) error {
					return EachText(m, bytes.NewReader(raw), fields, do)
				})
				must(t, err)
				if fits {
					judged += fmt.Sprint(i)
				}
				p := found.Place(id)
				s := found.State(p, 0)
				if s == Yes || s == Maybe && fits {
					got += fmt.Sprint(i)
				}
				if s == Yes && (found.Score(p, 0) < 1 || found.Score(p, 0) > 100 || score < 1 || score > 100) {
					t.Errorf("%q: scores %d and %d", c.query, found.Score(p, 0), score)
				}
			}
			if got != c.want || judged != c.want {
				t.Errorf("%q: the index finds %q, the texts %q, not %q", c.query, got, judged, c.want)
			}
		}
	}
	t.Run("records", check)
	// A segment's languages are those of its mail; here they are few letters of many.
	f.settle()
	var languages languages
	must(t, f.x.snapshot(t.Context(), func(snap kv.Snapshot) error {
		all, _, err := readManifest(snap)
		languages = all[0].languages
		return err
	}))
	if languages&2 == 0 {
		t.Errorf("German was not seen: %b", languages)
	}
}

func TestSnippets(t *testing.T) {
	text := "The children of the house were happily singing; 東京都の検索. " + strings.Repeat("more ", 50)
	for _, c := range []struct{ query, want string }{
		{"houses", "The children of the [house] were happily singing; 東京都の検索."}, {`"the house"`, "The children of [the house] were happily singing; 東京都の検索."},
		{"東京都", "[東京都]"}, {"-children sing", "[singing]"}, {"nothing", "The children of the house"},
	} {
		s, marks := ParseQuery(c.query).Snippet(FieldBody, []byte(text), 90)
		out, last := "", 0
		for _, m := range marks {
			out += s[last:m.Start] + "[" + s[m.Start:m.End] + "]"
			last = m.End
		}
		if out += s[last:]; !strings.Contains(out, c.want) {
			t.Errorf("%q: %q", c.query, out)
		}
	}
}
