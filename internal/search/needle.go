package search

import (
	"bytes"
	"unicode/utf8"
)

// Needle is a text that is looked for as it stands, without regard to case (RFC 9051,
// 6.4.4), in texts of some fields.
type Needle struct {
	fields Fields
	pieces []piece
	proven bool // the pieces side by side are all of the needle
	row    row
}

// piece is a part of a needle that must be in a term.
type piece struct {
	text        []byte
	left, right bool // the term begins, ends with it
}

// piecesMost bounds the pieces of a needle; with fewer there are only more candidates.
const piecesMost = 12

// NewNeedle takes a needle apart. One with nothing to be found by the index makes every
// message a candidate.
func NewNeedle(fields Fields, text string) *Needle {
	n := &Needle{fields: fields, proven: true}
	folded := AppendFolded(nil, []byte(text))
	if bytes.ContainsRune(folded, utf8.RuneError) {
		return n // texts are cut at what cannot be decoded, also in the middle of a word
	}
	end := 0 // of the run before
	for at := 0; at < len(folded); {
		r, size := utf8.DecodeRune(folded[at:])
		c := classOf(r)
		if c == apart {
			at += size
			continue
		}
		if len(n.pieces) >= piecesMost {
			n.proven = false
			break
		}
		from := at
		for at < len(folded) {
			r, size := utf8.DecodeRune(folded[at:])
			if classOf(r) != c {
				break
			}
			at += size
		}
		n.row.gap(len(n.pieces), folded[end:from], end == 0)
		n.run(c, folded[from:at], from > 0, at < len(folded))
		end = at
	}
	n.proven = n.proven && end == len(folded)
	n.row.count = len(n.pieces)
	return n
}

// run adds the pieces of a run of one class; left and right tell that the needle goes on
// there, so that a term ends.
func (n *Needle) run(c class, run []byte, left, right bool) {
	runes := utf8.RuneCount(run)
	if c == letter {
		if runes > provenRunes {
			n.row.broken = n.row.broken || right // what follows stands behind another term
			n.proven, right = false, false
			run = run[:runeOffset(run, provenRunes)]
		}
		n.pieces = append(n.pieces, piece{run, left, right})
		return
	}
	if runes == 1 {
		n.pieces = append(n.pieces, piece{run, left, right})
		return
	}
	for i := 0; i+1 < runes; i++ {
		if len(n.pieces) >= piecesMost {
			n.proven = false
			break
		}
		if i > 0 {
			n.row.gap(len(n.pieces), nil, false)
		}
		from := runeOffset(run, i)
		pair := run[from : from+runeOffset(run[from:], 2)]
		n.pieces = append(n.pieces, piece{pair, true, true})
	}
}

// runeOffset is where rune n begins.
func runeOffset(b []byte, n int) int {
	at := 0
	for range n {
		_, size := utf8.DecodeRune(b[at:])
		at += size
	}
	return at
}

// wanted makes the terms that a piece is found in.
func (p *piece) wanted(fields Fields) *wanted {
	w := &wanted{fields: fields}
	ascii := isASCII(p.text)
	switch {
	case p.left && p.right:
		w.from = appendTermKey(nil, p.text)
		w.match = func(_ Field, key, _, _ []byte) (match, more bool) { return bytes.Equal(key, w.from), false }
	case p.left && ascii:
		w.from = p.text
		w.match = func(_ Field, key, _, term []byte) (match, more bool) {
			return bytes.HasPrefix(term, p.text), bytes.HasPrefix(key, p.text)
		}
	case p.left:
		w.match = func(_ Field, _, _, term []byte) (match, more bool) { return bytes.HasPrefix(term, p.text), true }
	case p.right:
		w.match = func(_ Field, _, _, term []byte) (match, more bool) { return bytes.HasSuffix(term, p.text), true }
	default:
		w.within = p.text
		w.match = func(_ Field, _, _, term []byte) (match, more bool) { return bytes.Contains(term, p.text), true }
	}
	return w
}

// wanted are terms that are looked for in some fields.
type wanted struct {
	fields Fields
	from   []byte // where in the dictionary they begin; nil: all of it is read
	within []byte // what they have within; nil: see match
	inRow  bool   // it matters where they stand
	// match tells whether a term is one, and whether others may follow in the dictionary.
	match func(f Field, key, plain, term []byte) (match, more bool)
}

// finding is what one Find looks for.
type finding struct {
	wanted  []*wanted
	rows    []row
	needles []boundNeedle
	queries []*boundQuery
}

type boundNeedle struct {
	*Needle
	first int // of its pieces in wanted
	row   int // among rows, −1: it does not matter where the pieces stand
}

func (f *finding) addNeedle(n *Needle) {
	b := boundNeedle{n, len(f.wanted), -1}
	for i := range n.pieces {
		f.wanted = append(f.wanted, n.pieces[i].wanted(n.fields))
	}
	if n.row.matters() {
		b.row = f.addRow(n.row, b.first, n.fields)
	}
	f.needles = append(f.needles, b)
}
