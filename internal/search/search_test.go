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
