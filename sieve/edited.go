package sieve

import (
	"fmt"
	"io"

	"postroad/message"
)

// Edited is a message as a script changed it: pieces of the original with new octets
// between them. Nothing of the original is copied. It is immutable.
type Edited struct {
	original io.ReaderAt
	pieces   []Piece
	starts   []int64 // of each piece in the edited message
	size     int64
}

// Piece is a range of octets of the original, or, with a Text that is not nil, new octets.
type Piece struct {
	Original message.Span
	Text     []byte
}

// Size is the length of the piece in octets.
func (p *Piece) Size() int64 {
	if p.Text != nil {
		return int64(len(p.Text))
	}
	return p.Original.Size()
}

// newEdited puts pieces together; empty ones are dropped, neighbours in the original
// joined.
func newEdited(original io.ReaderAt, pieces []Piece) *Edited {
	e := &Edited{original: original}
	for _, p := range pieces {
		if p.Size() <= 0 {
			continue
		}
		if n := len(e.pieces) - 1; n >= 0 && p.Text == nil && e.pieces[n].Text == nil && e.pieces[n].Original.End == p.Original.Start {
			e.pieces[n].Original.End = p.Original.End
		} else {
			e.pieces = append(e.pieces, p)
			e.starts = append(e.starts, e.size)
		}
		e.size += p.Size()
	}
	return e
}

// Pieces returns what the message is made of, in order.
func (e *Edited) Pieces() []Piece { return append([]Piece(nil), e.pieces...) }

// Size is the length of the edited message in octets.
func (e *Edited) Size() int64 { return e.size }

// Reader returns the octets of the edited message. The original ([Input.Body]) is read as
// it is needed.
func (e *Edited) Reader() io.Reader { return io.NewSectionReader(e, 0, e.size) }

// ReadAt implements io.ReaderAt on the octets of the edited message.
func (e *Edited) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("sieve: negative offset %d", off)
	}
	for i := e.find(off); i < len(e.pieces) && n < len(b); i++ {
		p := &e.pieces[i]
		skip := off + int64(n) - e.starts[i]
		want := min(int64(len(b)-n), p.Size()-skip)
		if p.Text != nil {
			n += copy(b[n:], p.Text[skip:])
			continue
		}
		got, err := e.original.ReadAt(b[n:n+int(want)], p.Original.Start+skip)
		n += got
		if int64(got) < want {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// find returns the piece with the offset.
func (e *Edited) find(off int64) int {
	low, high := 0, len(e.pieces)
	for low < high {
		mid := (low + high) / 2
		if e.starts[mid]+e.pieces[mid].Size() <= off {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// slice returns the pieces of a range of the edited message.
func (e *Edited) slice(from, to int64) []Piece {
	var list []Piece
	for i := e.find(from); i < len(e.pieces) && e.starts[i] < to; i++ {
		p := e.pieces[i]
		start := max(from-e.starts[i], 0)
		end := min(to-e.starts[i], p.Size())
		if p.Text != nil {
			p.Text = p.Text[start:end]
		} else {
			p.Original = message.Span{Start: p.Original.Start + start, End: p.Original.Start + end}
		}
		list = append(list, p)
	}
	return list
}
