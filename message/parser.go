package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// ErrHeaderTooLarge says that the top header is over Limits.HeaderOctets or HeaderFields.
// SMTP refuses such mail with 554: what is not parsed could hide a second From.
var ErrHeaderTooLarge = errors.New("header block is over the limits")

// Bounds within the parser, in octets.
const (
	lineMax        = 998               // RFC 5322, 2.1.1, without CRLF
	delimiterMax   = boundaryMax + 256 // a line longer than this is no delimiter
	partHeaderMax  = 256 << 10         // kept of the header of a part below the root
	nestingMax     = 400               // highest Limits.Depth, for the recursion of what walks the tree
	linearOpenMax  = 8                 // open boundaries up to which they are compared one by one
	parserHeadSize = 4 << 10           // first size of the header buffer
)

// Parser takes a message apart while it arrives. It is an io.Writer: Write any chunks,
// then Close. Write never fails and keeps nothing of the body but the beginning of the
// first text for the preview. A parser is used by one goroutine.
//
// Its states: in a header lines are gathered until the empty line, a delimiter of an open
// multipart, or a line that is no field; in a body lines are only counted, and those that
// begin with "-" compared with the open boundaries. A line that belongs to a header or may
// be a delimiter waits in pending when the end of a chunk cuts it; of any other cut line
// the rest is passed over (midLine).
type Parser struct {
	limits  Limits
	message *Message
	stack   []entity         // from the top message down to the part being read
	open    map[string]int32 // boundary → index in stack of its innermost multipart, when many are open
	opened  int              // multiparts on the stack whose close delimiter has not come
	parts   int
	budget  int    // octets of text that may still be kept
	off     int64  // offset of the next octet to be processed
	pending []byte // start of a line that is not complete, at off

	buffers  *buffers
	inHeader bool
	head     []byte      // header block being gathered
	marks    []fieldMark // where its fields are
	headFull bool        // it is over its limit; the rest is not kept

	midLine    bool
	lineLength int64 // octets before off of the line that midLine passes over
	lastCR     bool  // the last of them is CR
	eol        int64 // octets of the line end before the present line
	emptyLine  bool  // the line before the present one had no octets but its end

	cr, lf, crlf  int64
	scan          scanState
	lastOctet     byte
	capture       *capture // where octets of the body go, for the preview
	text, html    capture
	failed, ended bool
}

// entity is a part whose end has not come yet.
type entity struct {
	part     *Part
	message  *Message // for which part is the root
	boundary string   // of a multipart whose close delimiter has not come
	shadowed int32    // what open had for the same boundary before, -1: nothing
	lines    int64    // lf at the start of the body
	parent   *Part    // the multipart or message around it
}

// fieldMark is where a field starts in the header block, and the lengths of its name and of
// what stands before its value. A name of no length is that of a line that is no field.
type fieldMark struct{ start, name, value int32 }

// scanState remembers what was seen already, so that the search for it ends.
type scanState struct{ eightBit, nul, longLine bool }

// buffers are what one parser after another uses.
type buffers struct {
	head, text []byte
	marks      []fieldMark
}

var bufferPool = sync.Pool{New: func() any {
	return &buffers{head: make([]byte, 0, parserHeadSize), text: make([]byte, 0, textWindow)}
}}

// NewParser returns a parser for one message.
func NewParser(l Limits) *Parser {
	p := &Parser{limits: l.withDefaults()}
	p.budget = p.limits.Summary
	p.buffers = bufferPool.Get().(*buffers)
	p.head, p.marks = p.buffers.head[:0], p.buffers.marks[:0]
	p.stack = make([]entity, 0, 4)
	p.message = &Message{Root: &Part{}}
	p.push(p.message.Root, p.message, nil)
	return p
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, def, max int) {
		if *v <= 0 {
			*v = def
		}
		*v = min(*v, max)
	}
	const most = 1 << 30
	set(&l.HeaderOctets, HeaderOctetsMax, most)
	set(&l.HeaderFields, HeaderFieldsMax, most)
	set(&l.Depth, DepthMax, nestingMax)
	set(&l.Parts, PartsMax, most)
	set(&l.Params, ParamsMax, most)
	set(&l.Summary, SummaryMax, most)
	return l
}

// Parse reads a whole message from r.
func Parse(r io.Reader, l Limits) (*Message, error) {
	p := NewParser(l)
	if _, err := io.Copy(p, r); err != nil {
		return nil, err
	}
	return p.Close()
}

// Write takes the next octets of the message. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	if len(b) > 0 && !p.failed {
		p.lastOctet = b[len(b)-1]
		p.scanOctets(b)
		p.feed(b)
	}
	return len(b), nil
}

// feed processes octets in the state that the ones before left.
func (p *Parser) feed(b []byte) {
	for len(b) > 0 && !p.failed {
		var used int
		switch {
		case p.midLine:
			used = p.skipLine(b)
		case len(p.pending) > 0:
			used = p.continueLine(b)
		case p.inHeader:
			used = p.headerLine(b)
		default:
			used = p.bodyLines(b)
		}
		b = b[used:]
	}
}

// scanOctets looks for octets that matter wherever they stand.
func (p *Parser) scanOctets(b []byte) {
	p.cr += int64(bytes.Count(b, crBytes))
	if !p.scan.nul && bytes.IndexByte(b, 0) >= 0 {
		p.scan.nul = true
	}
	if !p.scan.eightBit && hasEightBit(b) {
		p.scan.eightBit = true
	}
}

var crBytes = []byte{'\r'}

// hasEightBit tells whether b has octets above 127, eight at a time.
func hasEightBit(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		if (binary.LittleEndian.Uint64(b)|binary.LittleEndian.Uint64(b[8:])|
			binary.LittleEndian.Uint64(b[16:])|binary.LittleEndian.Uint64(b[24:]))&high != 0 {
			return true
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// bodyLines passes over lines of a body. It stops behind a delimiter, and where the end of
// b cuts a line.
func (p *Parser) bodyLines(b []byte) int {
	look := p.opened > 0
	for i := 0; i < len(b); {
		n := bytes.IndexByte(b[i:], '\n')
		if look && b[i] == '-' {
			if n < 0 {
				p.take(b[:i])
				return i + p.hold(b[i:])
			}
			line := b[i : i+n+1]
			if k, last := p.delimiter(line); k >= 0 {
				p.take(b[:i])
				p.atDelimiter(k, last, line)
				return i + n + 1
			}
		}
		if n < 0 {
			p.take(b[:i])
			p.beginMidLine(b[i:])
			return len(b)
		}
		p.endLine(int64(n), n > 0 && b[i+n-1] == '\r')
		i += n + 1
	}
	p.take(b)
	return len(b)
}

// hold keeps the cut line that b is in pending, as much of it as needed to know what it
// is, and returns how much that was.
func (p *Parser) hold(b []byte) int {
	n := min(len(b), p.pendingMax()-len(p.pending))
	p.pending = append(p.pending, b[:n]...)
	if len(p.pending) >= p.pendingMax() {
		p.pendingTooLong()
	}
	return n
}

// pendingMax is how long a pending line may grow before it is known to be no delimiter, or
// too long a field.
func (p *Parser) pendingMax() int {
	if p.inHeader {
		return max(p.headerMax()-len(p.head)+1, delimiterMax)
	}
	return delimiterMax
}

// pendingTooLong decides on a line from its beginning: it is no delimiter.
func (p *Parser) pendingTooLong() {
	line := p.pending
	p.pending = p.pending[:0]
	switch {
	case !p.inHeader:
	case p.addHeaderLine(line): // over the limit by its length
		if p.failed {
			return
		}
	default:
		p.junkEndsHeader()
	}
	p.beginMidLine(line)
}

// beginMidLine passes over the beginning of a line that needs no look. In the header that
// a line without colon has just ended this may be the header of an inner message; the line
// is then passed over as junk of that.
func (p *Parser) beginMidLine(line []byte) {
	p.midLine, p.lineLength = true, int64(len(line))
	p.lastCR = line[len(line)-1] == '\r'
	p.take(line)
}

// continueLine adds to the pending line what b has of it.
func (p *Parser) continueLine(b []byte) int {
	n := bytes.IndexByte(b, '\n')
	if n < 0 || len(p.pending)+n+1 > p.pendingMax() {
		return p.hold(b)
	}
	line := append(p.pending, b[:n+1]...)
	p.pending = line[:0]
	p.feed(line)
	return n + 1
}

// endLine counts a line whose n octets, CR included, stood before its LF.
func (p *Parser) endLine(n int64, cr bool) {
	p.lf++
	p.eol = 1
	if cr {
		p.crlf++
		p.eol = 2
		n--
	}
	p.emptyLine = n == 0
	if n > lineMax {
		p.scan.longLine = true
	}
}

// take moves the offset over octets of a body and gives them to the preview.
func (p *Parser) take(b []byte) {
	p.off += int64(len(b))
	if p.capture != nil && !p.capture.add(b) {
		p.capture = nil
	}
}

// skipLine passes over the rest of a line that needs no look.
func (p *Parser) skipLine(b []byte) int {
	n := bytes.IndexByte(b, '\n')
	if n < 0 {
		p.lineLength += int64(len(b))
		p.lastCR = b[len(b)-1] == '\r'
		p.take(b)
		return len(b)
	}
	cr := p.lastCR
	if n > 0 {
		cr = b[n-1] == '\r'
	}
	p.midLine = false
	p.take(b[:n+1])
	p.endLine(p.lineLength+int64(n), cr)
	return n + 1
}

// headerLine processes the line at the start of b, within a header.
func (p *Parser) headerLine(b []byte) int {
	n := bytes.IndexByte(b, '\n')
	if n < 0 || n+1 > p.pendingMax() {
		return p.hold(b)
	}
	p.wholeHeaderLine(b[:n+1])
	return n + 1
}

// wholeHeaderLine processes one line of a header, of which only the last of the message
// may be without line end.
func (p *Parser) wholeHeaderLine(line []byte) {
	if line[0] == '-' {
		if k, last := p.delimiter(line); k >= 0 {
			p.atDelimiter(k, last, line)
			return
		}
	}
	switch {
	case len(trimEOL(line)) == 0:
		p.off += int64(len(line))
		p.countLine(line)
		p.endHeader(p.off)
	case p.addHeaderLine(line):
		p.off += int64(len(line))
		p.countLine(line)
	default:
		p.junkEndsHeader()
		p.feed(line)
	}
}

// isHeaderLine tells whether a line can stand in a header: a field, the continuation of
// one, or the "From " line of a mailbox file that some programs leave there.
func isHeaderLine(line []byte) bool {
	if isWSP(line[0]) || isFromLine(line) {
		return true
	}
	name, _ := splitName(line)
	return name != nil
}

func isFromLine(line []byte) bool {
	return bytes.HasPrefix(line, fromLine) || bytes.HasPrefix(line, fromLine[1:])
}

var fromLine = []byte(">From ")

// junkEndsHeader ends the header before a line that is no field: what comes is body, as
// Postfix and Sendmail see it too.
func (p *Parser) junkEndsHeader() {
	p.message.Defects |= DefectHeaderEnd
	p.endHeader(p.off)
}

// headerMax is how much of the present header block is kept.
func (p *Parser) headerMax() int {
	if len(p.stack) == 1 {
		return p.limits.HeaderOctets
	}
	return min(p.limits.HeaderOctets, partHeaderMax)
}

// addHeaderLine keeps a line of a header; it returns false for what isHeaderLine refuses.
// Over the limits the message fails, or, below the top, the rest of the header is not
// looked at.
func (p *Parser) addHeaderLine(line []byte) bool {
	mark := fieldMark{start: int32(len(p.head))}
	if !isWSP(line[0]) && !isFromLine(line) {
		name, colon := splitName(line)
		if name == nil {
			return false
		}
		mark.name, mark.value = int32(len(name)), int32(colon+1)
	}
	begins := !isWSP(line[0]) || len(p.marks) == 0
	if len(p.head)+len(line) > p.headerMax() || begins && len(p.marks) >= p.limits.HeaderFields {
		if len(p.stack) == 1 {
			p.failed = true
			return true
		}
		p.headFull = true
		p.message.Defects |= DefectHeaderLimit
	}
	if p.headFull {
		return true
	}
	if begins {
		p.marks = append(p.marks, mark)
	}
	p.head = append(p.head, line...)
	return true
}

// delimiter compares a line with the open boundaries, innermost first. It returns the
// index in the stack of the multipart, -1 when the line is no delimiter, and whether it
// is the close delimiter (RFC 2046, 5.1.1). The line must have nothing behind the
// boundary but white space, so that a boundary that begins with another one's is told
// from it.
func (p *Parser) delimiter(line []byte) (index int, last bool) {
	if p.opened == 0 || len(line) < 3 || len(line) > delimiterMax || line[0] != '-' || line[1] != '-' {
		return -1, false
	}
	rest := bytes.TrimRight(line[2:], " \t\r\n")
	if len(rest) == 0 {
		return -1, false
	}
	inner := rest
	closing := len(rest) > 2 && rest[len(rest)-1] == '-' && rest[len(rest)-2] == '-'
	if closing {
		inner = rest[:len(rest)-2]
	}
	if p.opened > linearOpenMax {
		k, ok := p.open[string(rest)]
		if c, found := p.open[string(inner)]; closing && found && (!ok || c > k) {
			return int(c), true
		}
		if ok {
			return int(k), false
		}
		return -1, false
	}
	for i := len(p.stack) - 1; i >= 0; i-- {
		b := p.stack[i].boundary
		switch {
		case b == "" || len(b) != len(rest) && len(b) != len(inner):
		case string(rest) == b:
			return i, false
		case closing && string(inner) == b:
			return i, true
		}
	}
	return -1, false
}

// atDelimiter ends the parts within the multipart at index and begins its next part, or,
// after the close delimiter, its epilogue. The line starts at off.
func (p *Parser) atDelimiter(index int, last bool, line []byte) {
	if !last && p.parts >= p.limits.Parts {
		p.message.Defects |= DefectParts
		last = true // the rest is epilogue
	}
	p.closeTo(index+1, p.off, false)
	p.capture = nil
	p.off += int64(len(line))
	p.countLine(line)
	if last {
		p.deactivate(index)
		return
	}
	multipart := p.stack[index].part
	part := &Part{}
	multipart.Children = append(multipart.Children, part)
	p.push(part, nil, multipart)
}

// countLine is endLine for a line at hand, which may have no line end.
func (p *Parser) countLine(line []byte) {
	if n := len(line); line[n-1] == '\n' {
		p.endLine(int64(n-1), n > 1 && line[n-2] == '\r')
	}
}

// push begins a part at off, in its header.
func (p *Parser) push(part *Part, m *Message, parent *Part) {
	p.parts++
	part.Header.Start = p.off
	p.stack = append(p.stack, entity{part: part, message: m, parent: parent, shadowed: -1})
	p.inHeader, p.head, p.marks, p.headFull = true, p.head[:0], p.marks[:0], false
}

// closeTo ends the parts from the top of the stack down to index from, before the
// delimiter that starts at offset start, or at the end of the message.
func (p *Parser) closeTo(from int, start int64, atEnd bool) {
	for p.inHeader && len(p.stack) > from { // again when an inner message begins here and ends
		p.message.Defects |= DefectHeaderEnd
		p.endHeader(start)
	}
	for len(p.stack) > from {
		p.pop(start, atEnd)
	}
}

// pop ends the part at the top of the stack. The line end before a delimiter belongs to the
// delimiter (RFC 2046, 5.1.1).
func (p *Parser) pop(start int64, atEnd bool) {
	i := len(p.stack) - 1
	e := &p.stack[i]
	part := e.part
	part.Lines = p.lf - e.lines
	part.Body.End = start
	if !atEnd {
		part.Body.End = max(part.Body.Start, start-p.eol, part.innerEnd())
		if p.emptyLine && part.Lines > 0 {
			part.Lines-- // the line end before the delimiter was a line of its own
		}
	} else if part.Body.Size() > 0 && p.lastOctet != '\n' {
		part.Lines++
	}
	if e.boundary != "" {
		p.message.Defects |= DefectMultipartEnd
		p.deactivate(i)
	}
	if part.Type == "multipart" && len(part.Children) == 0 {
		p.makeLeaf(part)
	}
	if e.message != nil {
		e.message.Size = part.Body.End - part.Header.Start
		e.message.HasAttachment = hasAttachment(part)
	}
	p.stack = p.stack[:i]
}

// innerEnd is where the last part within p ends. That is behind the line end before the
// delimiter when this line end is the empty line of that part's header.
func (p *Part) innerEnd() int64 {
	if p.Message != nil {
		return p.Message.Root.Body.End
	}
	if n := len(p.Children); n > 0 {
		return p.Children[n-1].Body.End
	}
	return 0
}

// makeLeaf turns a multipart in which no delimiter was found into what programs show of
// it: text (RFC 2045, 5.2).
func (p *Parser) makeLeaf(part *Part) {
	p.message.Defects |= DefectBoundary
	part.Type, part.Subtype = "text", "plain"
	part.Params = nil
}

// activate begins to look for the boundary of the multipart at the top of the stack.
func (p *Parser) activate(boundary string) {
	i := len(p.stack) - 1
	e := &p.stack[i]
	e.boundary, e.shadowed = boundary, -1
	p.opened++
	if p.open == nil {
		if p.opened <= linearOpenMax {
			return
		}
		p.open = make(map[string]int32)
		for j := range p.stack[:i] {
			if b := p.stack[j].boundary; b != "" {
				p.register(int32(j), b)
			}
		}
	}
	p.register(int32(i), boundary)
}

func (p *Parser) register(i int32, boundary string) {
	if old, ok := p.open[boundary]; ok {
		p.stack[i].shadowed = old
	}
	p.open[boundary] = i
}

// deactivate ends the search for the boundary of the multipart at index i, which is the
// innermost that has it.
func (p *Parser) deactivate(i int) {
	e := &p.stack[i]
	if e.boundary == "" {
		return
	}
	p.opened--
	if p.open != nil {
		if e.shadowed >= 0 {
			p.open[e.boundary] = e.shadowed
		} else {
			delete(p.open, e.boundary)
		}
	}
	e.boundary = ""
}

// Close ends the message. The only error is ErrHeaderTooLarge; Message is nil then.
func (p *Parser) Close() (*Message, error) {
	if p.ended {
		return nil, errors.New("message: parser closed twice")
	}
	p.ended = true
	defer p.release()
	for len(p.pending) > 0 && !p.failed {
		p.lastLine()
	}
	if p.failed {
		return nil, ErrHeaderTooLarge
	}
	p.closeTo(0, p.off, true)
	m := p.message
	p.setOctetDefects()
	m.Preview = p.preview()
	return m, nil
}

// lastLine processes what is pending as a line without line end. A header that it ends may
// leave it pending in the body.
func (p *Parser) lastLine() {
	line := p.pending
	p.pending = nil
	if p.inHeader {
		p.wholeHeaderLine(line)
		return
	}
	if k, last := p.delimiter(line); k >= 0 {
		p.atDelimiter(k, last, line)
		return
	}
	p.take(line)
}

func (p *Parser) setOctetDefects() {
	m := p.message
	set := func(c bool, d Defects) {
		if c {
			m.Defects |= d
		}
	}
	set(p.lf > p.crlf, DefectBareLF)
	set(p.cr > p.crlf, DefectBareCR)
	set(p.scan.nul, DefectNUL)
	set(p.scan.longLine, DefectLongLine)
	m.EightBit = p.scan.eightBit
}

// release gives the buffers back; a header buffer that a large message made large is left.
func (p *Parser) release() {
	if cap(p.head) <= partHeaderMax {
		p.buffers.head, p.buffers.marks = p.head, p.marks
	}
	bufferPool.Put(p.buffers)
	p.buffers, p.head, p.marks, p.pending, p.stack, p.open = nil, nil, nil, nil, nil, nil
	p.text, p.html, p.capture = capture{}, capture{}, nil
}

// hasAttachment looks through the tree of one message, not into inner ones.
func hasAttachment(root *Part) bool {
	if !root.Multipart() {
		return root.attachment(nil)
	}
	for _, c := range root.Children {
		if c.Multipart() && hasAttachment(c) || !c.Multipart() && c.attachment(root) {
			return true
		}
	}
	return false
}
