package message

import "fmt"

// Section is what Find reads of one part.
type Section struct {
	Header, Body Span
	Lines        int64  // in Body
	Encoding     string // as in Part; empty for one that is not known
	Multipart    bool
	Message      bool // the part has an inner message …
	InnerHeader  Span // … whose header and body these are: HEADER and TEXT of the part
	InnerBody    Span
}

// Find reads the offsets of the part that IMAP numbers path (as Message.Part does; the
// empty path is the whole message) from what AppendBinary wrote. It allocates nothing and
// leaves the details alone. ok is false when there is no such part.
func Find(stored []byte, path ...int) (s Section, ok bool, err error) {
	tree, _, err := splitStored(stored)
	if err != nil {
		return Section{}, false, err
	}
	r := offsetReader{b: tree}
	ok = r.find(path, &s)
	if r.bad {
		return Section{}, false, fmt.Errorf("%w: offsets", ErrFormat)
	}
	return s, ok, nil
}

// find walks down the path. At each step the node's head has been read and what is below
// it comes next.
func (r *offsetReader) find(path []int, s *Section) bool {
	kind, children := r.section(0, s)
	for i, n := range path {
		if i > 0 && kind&partMessage != 0 {
			kind, children = r.section(s.Body.Start, s)
		} else if i > 0 && children == 0 {
			return false
		}
		if children == 0 {
			if n != 1 {
				return false
			}
			continue
		}
		if n < 1 || n > children {
			return false
		}
		for range n - 1 {
			r.skip(0)
		}
		kind, children = r.section(s.Body.Start, s)
		if r.bad {
			return false
		}
	}
	if kind&partMessage != 0 {
		var inner Section
		r.section(s.Body.Start, &inner)
		s.Message, s.InnerHeader, s.InnerBody = true, inner.Header, inner.Body
	}
	return !r.bad
}

// section reads the head of a node.
func (r *offsetReader) section(base int64, s *Section) (kind byte, children int) {
	kind, children = r.head(base, &s.Header, &s.Body, &s.Lines)
	s.Encoding = storedEncodings[kind&partEncoding]
	s.Multipart = children > 0
	return kind, children
}

// skip passes over a node and all below it.
func (r *offsetReader) skip(depth int) {
	var s Section
	if depth > depthMax {
		r.bad = true
	}
	if r.bad {
		return
	}
	kind, children := r.section(0, &s)
	for range children {
		r.skip(depth + 1)
	}
	if kind&partMessage != 0 {
		r.skip(depth + 1)
	}
}
