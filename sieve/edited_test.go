package sieve

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"postroad/message"
)

// TestEditedAgainstModel: pieces read as the octets they stand for, from any place, and
// sliced.
func TestEditedAgainstModel(t *testing.T) {
	original := []byte("0123456789abcdefghijklmnopqrstuvwxyz")
	rapid.Check(t, func(t *rapid.T) {
		var pieces []Piece
		var want []byte
		for range rapid.IntRange(0, 6).Draw(t, "pieces") {
			if rapid.Bool().Draw(t, "new") {
				text := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "text")
				pieces = append(pieces, Piece{Text: append([]byte{}, text...)})
				want = append(want, text...)
				continue
			}
			from := rapid.IntRange(0, len(original)).Draw(t, "from")
			to := rapid.IntRange(from, len(original)).Draw(t, "to")
			pieces = append(pieces, Piece{Original: message.Span{Start: int64(from), End: int64(to)}})
			want = append(want, original[from:to]...)
		}
		e := newEdited(bytes.NewReader(original), pieces)
		if e.Size() != int64(len(want)) {
			t.Fatalf("size %d, want %d", e.Size(), len(want))
		}
		if err := iotest.TestReader(e.Reader(), want); err != nil {
			t.Fatal(err)
		}
		from := rapid.IntRange(0, len(want)).Draw(t, "slice from")
		to := rapid.IntRange(from, len(want)).Draw(t, "slice to")
		got, err := io.ReadAll(newEdited(bytes.NewReader(original), e.slice(int64(from), int64(to))).Reader())
		if err != nil || !bytes.Equal(got, want[from:to]) {
			t.Fatalf("slice %d to %d: %q, %v, want %q", from, to, got, err, want[from:to])
		}
	})
}

func TestEditedOfAShortOriginal(t *testing.T) {
	e := newEdited(bytes.NewReader([]byte("abc")), []Piece{{Original: message.Span{Start: 0, End: 5}}, {Text: []byte("x")}})
	if _, err := io.ReadAll(e.Reader()); err != io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
	}
	if _, err := e.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset is taken")
	}
}
