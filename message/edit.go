package message

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// EditHeader returns r with its header block replaced by what edit makes of it, once, when
// the first octet is read. The body behind it is passed through. edit gets the block with
// its empty line, if there is one; it may change and keep it. A block of more than most
// octets is ErrHeaderTooLarge; that and an error of edit are returned by Read.
//
// A header that ends without an empty line, with the end of r or before a line that is no
// field, is given as far as it goes: [Parser] sees it the same way.
func EditHeader(r io.Reader, most int, edit func(block []byte) ([]byte, error)) io.Reader {
	return &headerEditor{r: r, most: most, edit: edit}
}

type headerEditor struct {
	r    io.Reader
	most int
	edit func([]byte) ([]byte, error)
	head []byte // of what edit made, and the body's first octets, still to be read
	done bool
	err  error
}

// Read implements io.Reader.
func (e *headerEditor) Read(p []byte) (int, error) {
	if !e.done {
		e.done = true
		e.err = e.readHeader()
	}
	if len(e.head) > 0 {
		n := copy(p, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	if e.err != nil {
		return 0, e.err
	}
	return e.r.Read(p)
}

// readHeader reads to the end of the header and edits it. The error io.EOF says that there
// is no body behind head.
func (e *headerEditor) readHeader() error {
	const chunk = 4 << 10
	var b []byte
	end, checked := 0, 0
	var err error
	for found := false; !found && err == nil; {
		if len(b) > e.most {
			if isHeaderLine(b[end:]) {
				return ErrHeaderTooLarge
			}
			break // a body of one endless line
		}
		b = slices.Grow(b, chunk)
		var n int
		n, err = e.r.Read(b[len(b) : len(b)+chunk])
		b = b[:len(b)+n]
		end, found = headerEnd(b, checked, err != nil)
		checked = end
	}
	if err != nil && err != io.EOF {
		return err
	}
	if end > e.most {
		return ErrHeaderTooLarge
	}
	head, editErr := e.edit(b[:end:end])
	if editErr != nil {
		return editErr
	}
	e.head = append(head[:len(head):len(head)], b[end:]...)
	return err
}

// headerEnd looks for the end of the header block in b from the line start at from. Not
// found, it returns the start of the last line, which may go on.
func headerEnd(b []byte, from int, all bool) (end int, found bool) {
	for i := from; i < len(b); {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 && !all {
			return i, false
		}
		line := b[i:]
		if n >= 0 {
			line = b[i : i+n+1]
		}
		if len(trimEOL(line)) == 0 {
			return i + len(line), true
		}
		if !isHeaderLine(line) {
			return i, true
		}
		i += len(line)
	}
	return len(b), all
}

// HeaderEnd returns the length of the header block at the start of b, the empty line
// included.
func HeaderEnd(b []byte) int {
	end, _ := headerEnd(b, 0, true)
	return end
}

// RemoveFields returns the block without the fields of these names. It overwrites block.
func RemoveFields(block []byte, names ...string) []byte {
	out, at := block[:0], 0
	for f := range Fields(block) {
		if f.Name != nil && slices.ContainsFunc(names, f.Is) {
			out = append(out, block[at:f.Start]...)
			at = f.End
		}
	}
	return append(out, block[at:]...)
}

// InsertFields returns the block with the fields, each with its CRLF, at its end: before
// the empty line.
func InsertFields(block, fields []byte) []byte {
	end := len(block)
	if end > 0 && block[end-1] != '\n' { // the message ends within its header
		block = append(block, "\r\n"...)
		end += 2
	} else if bytes.HasSuffix(block, []byte("\n\r\n")) || len(block) == 2 && string(block) == "\r\n" {
		end -= 2
	} else if bytes.HasSuffix(block, []byte("\n\n")) || string(block) == "\n" {
		end--
	}
	return slices.Insert(block, end, fields...)
}

// Prepended is a message with header fields put before it, none of its octets copied. Its
// structure is that of the message after [Message.Shift] by len(fields).
type Prepended struct {
	fields []byte
	r      io.ReaderAt
}

// Prepend puts whole fields, each with its CRLF, before the message r.
func Prepend(fields []byte, r io.ReaderAt) *Prepended { return &Prepended{fields, r} }

// ReadAt implements io.ReaderAt.
func (p *Prepended) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("message: negative offset %d", off)
	}
	if off < int64(len(p.fields)) {
		n = copy(b, p.fields[off:])
		if n == len(b) {
			return n, nil
		}
		off = int64(len(p.fields))
	}
	m, err := p.r.ReadAt(b[n:], off-int64(len(p.fields)))
	return n + m, err
}
