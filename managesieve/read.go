package managesieve

import (
	"bytes"
	"errors"
	"slices"
)

// Limits of what is read.
const (
	// LineMax is the longest line, in octets with its CRLF, and before the log-in the
	// longest command with its literals.
	LineMax = 8 << 10
	// skipMax is how many octets of what is refused are read over, so that the connection
	// can go on; before the log-in it is skipMaxEarly.
	skipMax      = 16 << 20
	skipMaxEarly = 64 << 10
	inSize       = 512     // octets read from the client at a time
	literalStep  = 4 << 10 // memory for a literal comes as its octets do
)

// reader takes the client's octets apart: lines and literals.
type reader struct {
	more func(p []byte) (int, error) // waits for the client
	in   [inSize]byte
	r, w int    // in[r:w] is to be read
	line []byte // the present one
	skip int64  // octets that may still be read over in this command
}

// Faults of a line. The connection ends: a literal may follow where it cannot be seen.
var (
	errLineLong = &syntaxError{text: "The line is too long", fatal: true}
	errLineEnd  = &syntaxError{text: "Lines end in CRLF", fatal: true}
	errSkip     = &syntaxError{text: "Far too much for one command", fatal: true}
)

// pending tells whether the client sent more than what was read.
func (r *reader) pending() bool { return r.r < r.w }

// fill waits for octets where none are pending.
func (r *reader) fill() error {
	for !r.pending() {
		n, err := r.more(r.in[:])
		if err != nil {
			return err
		}
		r.r, r.w = 0, n // a TLS layer may have read what is not for us
	}
	return nil
}

// readLine reads a line of at most most octets with its CRLF, and returns it without;
// valid until the next one.
func (r *reader) readLine(most int) ([]byte, error) {
	r.line = r.line[:0]
	if cap(r.line) > inSize {
		r.line = nil // of a long command
	}
	for {
		if err := r.fill(); err != nil {
			return nil, err
		}
		p := r.in[r.r:r.w]
		end := bytes.IndexByte(p, '\n')
		if end >= 0 {
			p = p[:end+1]
		}
		if len(r.line)+len(p) > most {
			return nil, errLineLong
		}
		r.r += len(p)
		r.line = append(r.line, p...)
		if end < 0 {
			continue
		}
		line, ok := bytes.CutSuffix(r.line, []byte("\r\n"))
		if !ok {
			return nil, errLineEnd
		}
		return line, nil
	}
}

// readLiteral reads n octets.
func (r *reader) readLiteral(n int64) ([]byte, error) {
	text := []byte{}
	for left := n; left > 0; left = n - int64(len(text)) {
		have := len(text)
		if r.pending() {
			took := int(min(left, int64(r.w-r.r)))
			text = append(text, r.in[r.r:r.r+took]...)
			r.r += took
			continue
		}
		text = slices.Grow(text, int(min(left, int64(max(literalStep, have)))))
		room := text[have:min(int64(cap(text)), n)]
		took, err := r.more(room)
		if err != nil {
			return nil, err
		}
		text = text[:have+took]
	}
	return text, nil
}

// readOver skips n octets.
func (r *reader) readOver(n int64) error {
	if r.skip -= n; r.skip < 0 {
		return errSkip
	}
	for n > 0 {
		if err := r.fill(); err != nil {
			return err
		}
		took := min(n, int64(r.w-r.r))
		r.r += int(took)
		n -= took
	}
	return nil
}

// readCommand reads a command with its literals. roomFor tells how many octets a literal of
// the command may have, as its argument i; one that has more is read over and huge. After a
// *syntaxError that is not fatal the next command can be read.
func (r *reader) readCommand(skip int64, roomFor func(keyword string, i int) int64) (keyword string, args []argument, err error) {
	r.skip = skip
	line, err := r.readLine(LineMax)
	if err != nil {
		return "", nil, err
	}
	name, _, _ := bytes.Cut(line, []byte{' '})
	keyword, ok := keywordOf(name)
	if !ok {
		return "", nil, r.resume(line, &syntaxError{text: "Unknown command"})
	}
	rest, room := line[len(name):], int64(LineMax-len(line))
	for {
		var literal int64
		args, literal, err = parseArguments(rest, args)
		if err != nil {
			return keyword, nil, r.resume(rest, err)
		}
		if literal == noLiteral {
			return keyword, args, nil
		}
		a := argument{}
		if literal > min(room, LineMax) && literal > roomFor(keyword, len(args)) {
			a.huge = true
			err = r.readOver(literal)
		} else {
			a.text, err = r.readLiteral(literal)
			room -= literal
		}
		if err == nil {
			args = append(args, a)
			rest, err = r.readLine(LineMax)
			room -= int64(len(rest))
		}
		if err != nil {
			return keyword, nil, err
		}
	}
}

// resume reads over what belongs to a command that is wrong: the literal that its line
// announces, the line behind that, and so on.
func (r *reader) resume(line []byte, wrong error) error {
	var e *syntaxError
	for !errors.As(wrong, &e) || !e.fatal {
		literal, err := trailingLiteral(line)
		if err != nil {
			return err
		}
		if literal == noLiteral {
			break
		}
		if err := r.readOver(literal); err != nil {
			return err
		}
		if line, err = r.readLine(LineMax); err != nil {
			return err
		}
		if err := r.count(line); err != nil {
			return err
		}
	}
	return wrong
}

// count takes a line off what may be read over.
func (r *reader) count(line []byte) error {
	if r.skip -= int64(len(line)) + 1; r.skip < 0 {
		return errSkip
	}
	return nil
}

// keywordOf is a command's name in capitals; it is the same in any case (RFC 5804, 4).
func keywordOf(name []byte) (string, bool) {
	var word [keywordMax]byte
	if len(name) > keywordMax {
		return "", false
	}
	for i, b := range name {
		if 'a' <= b && b <= 'z' {
			b -= 'a' - 'A'
		}
		if b < 'A' || b > 'Z' {
			return "", false
		}
		word[i] = b
	}
	return string(word[:len(name)]), true
}
