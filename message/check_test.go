package message

import (
	"bytes"
	"testing"
)

func mustParse(t testing.TB, b []byte) *Message {
	t.Helper()
	p := NewParser(Limits{})
	p.Write(b)
	m, err := p.Close()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkTree holds a structure to what every one must be.
func checkTree(t testing.TB, m *Message, size int64) {
	t.Helper()
	if m.Size != size || m.Root.Header.Start != 0 || m.Root.Body.End != size {
		t.Fatalf("size %d, root %v %v, want all of %d", m.Size, m.Root.Header, m.Root.Body, size)
	}
	checkPart(t, m.Root, Span{0, size})
}

func checkPart(t testing.TB, p *Part, within Span) {
	t.Helper()
	if p.Header.Start < within.Start || p.Header.End < p.Header.Start || p.Body.Start != p.Header.End ||
		p.Body.End < p.Body.Start || p.Body.End > within.End {
		t.Fatalf("part %s: header %v body %v within %v", p.MediaType(), p.Header, p.Body, within)
	}
	if p.Type == "" || p.Subtype == "" || p.Encoding == "" || p.Lines < 0 {
		t.Fatalf("part %v: %q/%q %q, %d lines", p.Header, p.Type, p.Subtype, p.Encoding, p.Lines)
	}
	if (p.Type == "multipart") != (len(p.Children) > 0) {
		t.Fatalf("part %v: %s with %d children", p.Header, p.MediaType(), len(p.Children))
	}
	inner := p.Type == "message" && (p.Subtype == "rfc822" || p.Subtype == "global")
	if inner != (p.Message != nil) {
		t.Fatalf("part %v: %s, inner message %v", p.Header, p.MediaType(), p.Message != nil)
	}
	at := p.Body.Start
	for _, c := range p.Children {
		checkPart(t, c, Span{at, p.Body.End})
		at = c.Body.End
	}
	if p.Message != nil {
		if p.Message.Root.Whole() != p.Body || p.Message.Size != p.Body.Size() {
			t.Fatalf("part %v: inner message %v size %d", p.Body, p.Message.Root.Whole(), p.Message.Size)
		}
		checkPart(t, p.Message.Root, p.Body)
	}
}

// checkStored sends a message through its stored form, and compares Find with Part for
// the parts on the first levels.
func checkStored(t testing.TB, m *Message) {
	t.Helper()
	b := m.AppendBinary(nil)
	back, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := dump(back), dump(m); got != want {
		t.Fatalf("after decoding:\n%s\nwant:\n%s", got, want)
	}
	if again := back.AppendBinary(nil); !bytes.Equal(again, b) {
		t.Fatal("the stored form of what was decoded is another one")
	}
	checkFind(t, m, b, nil)
}

func checkFind(t testing.TB, m *Message, stored []byte, path []int) {
	t.Helper()
	p := m.Part(path...)
	s, ok, err := Find(stored, path...)
	if err != nil {
		t.Fatal(err)
	}
	if ok != (p != nil) {
		t.Fatalf("Find %v: %v, Part: %v", path, ok, p)
	}
	if p == nil {
		return
	}
	if s.Header != p.Header || s.Body != p.Body || s.Lines != p.Lines || s.Multipart != p.Multipart() || s.Message != (p.Message != nil) {
		t.Fatalf("Find %v: %+v, Part: %+v", path, s, p)
	}
	if p.Message != nil && (s.InnerHeader != p.Message.Root.Header || s.InnerBody != p.Message.Root.Body) {
		t.Fatalf("Find %v: %+v, inner message %+v", path, s, p.Message.Root)
	}
	if len(path) < 4 {
		for n := range min(len(p.Children)+2, 6) {
			checkFind(t, m, stored, append(path[:len(path):len(path)], n))
		}
	}
}
