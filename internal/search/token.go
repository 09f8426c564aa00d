package search

import (
	"io"
	"unicode/utf8"
)

// A run of letters longer than windowRunes is taken as windows of that length, each half
// a window behind the one before: every part of it of up to provenRunes lies in one.
const (
	windowRunes = 32
	windowStep  = windowRunes / 2
	provenRunes = windowRunes - windowStep + 1
	termMax     = windowRunes * utf8.UTFMax // octets of the longest term
)

// A term as the tokenizer gives it; text is valid until the next one only.
type token struct {
	text       []byte // folded
	start, end int64  // offsets in the text as it was given
	gap        uint8  // before it
}

// tokenizer cuts a text into terms. Words are runs of letters, marks and digits; of
// scripts without spaces it gives each two neighbours, and a lone rune as it is. Feed it
// whole runes.
type tokenizer struct {
	emit func(token)

	at    int64 // offset of the next octet
	class class // of the run under way
	run   []byte
	start int64 // of the run, or the window
	end   int64
	runes int
	gap   uint8 // before the next token
	apart byte  // the last octet between runs, 0 for what is not ASCII
	ended int64 // 1 more than where the run before ended; 0: there is none

	// Of the run, in a window: where rune windowStep begins.
	half      int
	halfStart int64
	previous  int // unbound: where the last rune begins in run
}

// feed takes a piece of text.
func (t *tokenizer) feed(text []byte) {
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			if f := asciiTable[c]; f == 0 {
				if t.runes > 0 {
					t.endRun()
				}
				t.apart = c
				t.at++
				i++
				continue
			} else if t.class == letter && t.runes > 0 && t.runes < windowRunes && t.runes != windowStep {
				t.run = append(t.run, f)
				t.runes++
				t.at++
				t.end = t.at
				i++
				continue
			}
		}
		r, size := utf8.DecodeRune(text[i:])
		t.rune(foldRune(r), int64(size))
		i += size
	}
}

// rune takes one folded rune that has size octets in the text.
func (t *tokenizer) rune(r rune, size int64) {
	c := classOf(r)
	if t.runes > 0 && c != t.class {
		t.endRun()
	}
	if c == apart {
		t.apart = 0
		t.at += size
		return
	}
	if t.runes == 0 {
		t.class, t.start = c, t.at
		t.gap = t.gapBefore()
	}
	if c == unbound {
		t.pair(r, size)
		return
	}
	switch t.runes {
	case windowStep:
		t.half, t.halfStart = len(t.run), t.at
	case windowRunes:
		t.give(t.end)
		t.run = t.run[:copy(t.run, t.run[t.half:])]
		t.start, t.runes = t.halfStart, windowStep
		t.half, t.halfStart = len(t.run), t.at
	}
	t.run = utf8.AppendRune(t.run, r)
	t.runes++
	t.at += size
	t.end = t.at
}

// pair takes a rune of a script without spaces.
func (t *tokenizer) pair(r rune, size int64) {
	if t.runes >= 2 {
		t.run = t.run[:copy(t.run, t.run[t.previous:])]
	}
	t.previous = len(t.run)
	t.run = utf8.AppendRune(t.run, r)
	t.runes++
	t.at += size
	if t.runes >= 2 {
		t.give(t.at)
		t.start = t.at - size
	}
	t.end = t.at
}

// endRun gives what is left of the run.
func (t *tokenizer) endRun() {
	if t.class == letter || t.runes == 1 {
		t.give(t.end)
	}
	t.run, t.runes = t.run[:0], 0
	t.ended = t.end + 1
}

// give gives what there is of the run as a token.
func (t *tokenizer) give(end int64) {
	t.emit(token{t.run, t.start, end, t.gap})
	t.gap = gapNone
}

// gapBefore is the gap between the run that begins and the one before.
func (t *tokenizer) gapBefore() uint8 {
	if t.ended == 0 {
		return gapOther
	}
	switch t.at + 1 - t.ended {
	case 0:
		return gapNone
	case 1:
		return gapOf[t.apart]
	}
	return gapOther
}

// finish ends the text.
func (t *tokenizer) finish() {
	if t.runes > 0 {
		t.endRun()
	}
	t.ended = 0
}

// chunkOctets is how much of a text is taken at a time.
const chunkOctets = 16 << 10

// read feeds a text to its end, at most limit octets of it: ErrTooLong above. chunk is
// room for chunkOctets.
func (t *tokenizer) read(r io.Reader, chunk []byte, limit *int64) error {
	kept := 0 // octets of chunk that begin a rune
	for {
		n, err := r.Read(chunk[kept:])
		if *limit -= int64(n); *limit < 0 {
			return ErrTooLong
		}
		have := chunk[:kept+n]
		whole := len(have)
		if err == nil {
			whole -= Partial(have)
		}
		t.feed(have[:whole])
		if err == io.EOF {
			t.finish()
			return nil
		}
		if err != nil {
			return err
		}
		kept = copy(chunk, have[whole:])
	}
}

// Partial is the number of octets at the end of b that begin a rune and do not end it.
func Partial(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if utf8.FullRune(b[len(b)-i:]) {
				return 0
			}
			return i
		}
	}
	return 0
}
