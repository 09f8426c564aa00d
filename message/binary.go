package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrFormat is wrapped by the errors of Decode and Find: what they were given is not what
// AppendBinary wrote.
var ErrFormat = errors.New("message: stored structure is damaged")

// The stored form is
//
//	octet    binaryVersion
//	uvarint  octets of the offsets
//	offsets  the tree of parts: what Find needs
//	details  the summary of the message, then type, parameters … of each part in the same
//	         order, an inner message's summary before its parts
//
// Numbers are uvarints, texts have their length before them.
const binaryVersion = 1

// The octet before each part in the tree of offsets: an encoding and two flags.
const (
	partEncoding  = 0x07
	partMultipart = 0x08 // the number of children follows
	partMessage   = 0x10 // the root of the inner message follows
)

// storedEncodings are the encodings by their number in the tree; others have number 0 and
// their name is in the details.
var storedEncodings = [...]string{"", "7bit", "8bit", "binary", "base64", "quoted-printable"}

// depthMax bounds the recursion of the readers.
const depthMax = nestingMax + 2

// AppendBinary appends the stored form of the message's structure and summary to dst.
func (m *Message) AppendBinary(dst []byte) []byte {
	dst = append(dst, binaryVersion)
	var offsets [256]byte
	tree := m.Root.appendOffsets(offsets[:0], 0)
	dst = binary.AppendUvarint(dst, uint64(len(tree)))
	dst = append(dst, tree...)
	dst = m.appendSummary(dst)
	return m.Root.appendDetails(dst)
}

// appendOffsets writes a part relative to the start of what it lies in.
func (p *Part) appendOffsets(dst []byte, base int64) []byte {
	kind := byte(0)
	for i, e := range storedEncodings {
		if e == p.Encoding {
			kind = byte(i)
		}
	}
	if len(p.Children) > 0 {
		kind |= partMultipart
	}
	if p.Message != nil {
		kind |= partMessage
	}
	dst = append(dst, kind)
	dst = binary.AppendUvarint(dst, uint64(p.Header.Start-base))
	dst = binary.AppendUvarint(dst, uint64(p.Header.Size()))
	dst = binary.AppendUvarint(dst, uint64(p.Body.Size()))
	dst = binary.AppendUvarint(dst, uint64(p.Lines))
	if len(p.Children) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(p.Children)))
		for _, c := range p.Children {
			dst = c.appendOffsets(dst, p.Body.Start)
		}
	}
	if p.Message != nil {
		dst = p.Message.Root.appendOffsets(dst, p.Body.Start)
	}
	return dst
}

func (p *Part) appendDetails(dst []byte) []byte {
	dst = appendString(dst, p.Type)
	dst = appendString(dst, p.Subtype)
	dst = appendParams(dst, p.Params)
	if known := encodingNumber(p.Encoding); known == 0 {
		dst = appendString(dst, p.Encoding)
	}
	for _, s := range [...]string{p.ID, p.Description, p.MD5, p.Location, p.Disposition} {
		dst = appendString(dst, s)
	}
	dst = appendParams(dst, p.DispParams)
	dst = appendStrings(dst, p.Language)
	for _, c := range p.Children {
		dst = c.appendDetails(dst)
	}
	if p.Message != nil {
		dst = p.Message.appendSummary(dst)
		dst = p.Message.Root.appendDetails(dst)
	}
	return dst
}

func encodingNumber(s string) int {
	for i, e := range storedEncodings {
		if e == s && i > 0 {
			return i
		}
	}
	return 0
}

// The flags of a summary.
const (
	summaryEightBit = 1 << iota
	summaryAttachment
	summaryList
	summaryDate
	summarySubject // Subject is not what RawSubject is
)

func (m *Message) appendSummary(dst []byte) []byte {
	flags := byte(0)
	set := func(c bool, f byte) {
		if c {
			flags |= f
		}
	}
	set(m.EightBit, summaryEightBit)
	set(m.HasAttachment, summaryAttachment)
	set(m.List, summaryList)
	set(!m.Date.IsZero(), summaryDate)
	set(m.Subject != m.RawSubject, summarySubject)
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(m.Size))
	dst = binary.AppendUvarint(dst, uint64(m.Defects))
	dst = binary.AppendUvarint(dst, uint64(m.Fields))
	dst = binary.AppendUvarint(dst, uint64(m.Received))
	if flags&summaryDate != 0 {
		_, zone := m.Date.Zone()
		dst = binary.AppendVarint(dst, m.Date.Unix())
		dst = binary.AppendVarint(dst, int64(zone/60))
	}
	dst = appendString(dst, m.RawSubject)
	if flags&summarySubject != 0 {
		dst = appendString(dst, m.Subject)
	}
	for _, s := range [...]string{m.RawDate, m.MessageID, m.RawInReplyTo, m.AutoSubmitted, m.Precedence, m.ListID, m.Preview} {
		dst = appendString(dst, s)
	}
	dst = appendStrings(dst, m.InReplyTo)
	dst = appendStrings(dst, m.References)
	for _, l := range [...]AddressList{m.From, m.Sender, m.ReplyTo, m.To, m.Cc, m.Bcc} {
		dst = appendAddresses(dst, l)
	}
	return dst
}

// The octet before each entry of an address list: its kind and which texts follow.
const (
	entryKind  = 0x03
	entryName  = 0x04 // RawName
	entryOther = 0x08 // Name is not what RawName is
	entryRoute = 0x10
)

func appendAddresses(dst []byte, l AddressList) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(l)))
	for i := range l {
		a := &l[i]
		head := byte(a.Kind)
		if a.RawName != "" {
			head |= entryName
		}
		if a.Name != a.RawName {
			head |= entryOther
		}
		if a.Route != "" {
			head |= entryRoute
		}
		dst = append(dst, head)
		if a.RawName != "" {
			dst = appendString(dst, a.RawName)
		}
		if a.Name != a.RawName {
			dst = appendString(dst, a.Name)
		}
		if a.Route != "" {
			dst = appendString(dst, a.Route)
		}
		if a.Kind == KindMailbox {
			dst = appendString(dst, a.Local)
			dst = appendString(dst, a.Host)
		}
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendStrings(dst []byte, l []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(l)))
	for _, s := range l {
		dst = appendString(dst, s)
	}
	return dst
}

func appendParams(dst []byte, l Params) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(l)))
	for _, p := range l {
		dst = appendString(dst, p.Name)
		dst = appendString(dst, p.Value)
	}
	return dst
}

// Decode reads what AppendBinary wrote. Each length is checked; the error wraps ErrFormat.
func Decode(b []byte) (*Message, error) {
	tree, details, err := splitStored(b)
	if err != nil {
		return nil, err
	}
	t := offsetReader{b: tree}
	root := t.part(0, 0)
	d := detailReader{s: string(details)}
	m := &Message{Root: root}
	if !t.bad {
		d.summary(m)
		d.part(root)
	}
	if t.bad || len(t.b) != 0 || d.bad || len(d.s) != 0 {
		return nil, fmt.Errorf("%w: truncated or too long", ErrFormat)
	}
	return m, nil
}

// splitStored checks the version and cuts offsets from details.
func splitStored(b []byte) (tree, details []byte, err error) {
	if len(b) == 0 || b[0] != binaryVersion {
		return nil, nil, fmt.Errorf("%w: not version %d", ErrFormat, binaryVersion)
	}
	n, used := binary.Uvarint(b[1:])
	if used <= 0 || n > uint64(len(b)-1-used) {
		return nil, nil, fmt.Errorf("%w: length of the offsets", ErrFormat)
	}
	b = b[1+used:]
	return b[:n], b[n:], nil
}

// offsetReader reads the tree of offsets. After an error bad is set and all is zero.
type offsetReader struct {
	b   []byte
	bad bool
}

func (r *offsetReader) octet() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// number reads an offset or a size.
func (r *offsetReader) number() int64 {
	n, used := binary.Uvarint(r.b)
	if used <= 0 || n > 1<<48 {
		r.bad = true
		r.b = nil
		return 0
	}
	r.b = r.b[used:]
	return int64(n)
}

// count reads how many of something follow, each at least size octets long.
func (r *offsetReader) count(size int) int {
	n := r.number()
	if n > int64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

// storedPartMin is the least length of a part in the tree, in octets.
const storedPartMin = 5

// part reads the part that lies in what starts at base.
func (r *offsetReader) part(base int64, depth int) *Part {
	if depth > depthMax {
		r.bad = true
		return nil
	}
	p := new(Part)
	kind, n := r.head(base, &p.Header, &p.Body, &p.Lines)
	p.Encoding = storedEncodings[kind&partEncoding]
	if n > 0 {
		p.Children = make([]*Part, 0, min(n, 64))
	}
	for range n {
		c := r.part(p.Body.Start, depth+1)
		if r.bad {
			return nil
		}
		p.Children = append(p.Children, c)
	}
	if kind&partMessage != 0 {
		p.Message = &Message{Root: r.part(p.Body.Start, depth+1)}
	}
	if r.bad {
		return nil
	}
	return p
}

// head reads one node without what is below it; children is the number of its children.
func (r *offsetReader) head(base int64, header, body *Span, lines *int64) (kind byte, children int) {
	kind = r.octet()
	header.Start = base + r.number()
	header.End = header.Start + r.number()
	body.Start = header.End
	body.End = body.Start + r.number()
	*lines = r.number()
	if int(kind&partEncoding) >= len(storedEncodings) || kind&^(partEncoding|partMultipart|partMessage) != 0 {
		r.bad = true
		return 0, 0
	}
	if kind&partMultipart != 0 {
		if children = r.count(storedPartMin); children == 0 {
			r.bad = true
		}
	}
	if r.bad {
		return 0, 0
	}
	return kind, children
}

// detailReader reads the details; the strings it gives share one copy of them.
type detailReader struct {
	s   string
	bad bool
}

func (r *detailReader) number() uint64 {
	var n uint64
	for i := 0; i < len(r.s) && i < binary.MaxVarintLen64; i++ {
		c := r.s[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.s = r.s[i+1:]
			return n
		}
	}
	r.bad = true
	r.s = ""
	return 0
}

func (r *detailReader) signed() int64 {
	n := r.number()
	return int64(n>>1) ^ -int64(n&1)
}

func (r *detailReader) octet() byte {
	if r.s == "" {
		r.bad = true
		return 0
	}
	c := r.s[0]
	r.s = r.s[1:]
	return c
}

func (r *detailReader) string() string {
	n := r.number()
	if n > uint64(len(r.s)) {
		r.bad = true
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

// count reads how many of something follow, each at least size octets long.
func (r *detailReader) count(size int) int {
	n := r.number()
	if n > uint64(len(r.s)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *detailReader) strings() []string {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	l := make([]string, n)
	for i := range l {
		l[i] = r.string()
	}
	return l
}

func (r *detailReader) params() Params {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	l := make(Params, n)
	for i := range l {
		l[i] = Param{r.string(), r.string()}
	}
	return l
}

// part fills in the details of p and of what is below it, as far as the tree goes.
func (r *detailReader) part(p *Part) {
	p.Type, p.Subtype = r.string(), r.string()
	p.Params = r.params()
	if p.Encoding == "" {
		p.Encoding = r.string()
	}
	for _, s := range [...]*string{&p.ID, &p.Description, &p.MD5, &p.Location, &p.Disposition} {
		*s = r.string()
	}
	p.DispParams = r.params()
	p.Language = r.strings()
	for _, c := range p.Children {
		if r.bad {
			return
		}
		r.part(c)
	}
	if p.Message != nil && !r.bad {
		r.summary(p.Message)
		r.part(p.Message.Root)
	}
}

func (r *detailReader) summary(m *Message) {
	flags := r.octet()
	m.EightBit = flags&summaryEightBit != 0
	m.HasAttachment = flags&summaryAttachment != 0
	m.List = flags&summaryList != 0
	m.Size = int64(r.number())
	m.Defects = Defects(r.number())
	m.Fields = FieldSet(r.number())
	m.Received = int(r.number())
	if flags&summaryDate != 0 {
		seconds, zone := r.signed(), r.signed()
		if zone < -24*60 || zone > 24*60 {
			r.bad = true
			return
		}
		m.Date = time.Unix(seconds, 0).In(fixedZone(int(zone) * 60))
	}
	m.RawSubject = r.string()
	m.Subject = m.RawSubject
	if flags&summarySubject != 0 {
		m.Subject = r.string()
	}
	for _, s := range [...]*string{&m.RawDate, &m.MessageID, &m.RawInReplyTo, &m.AutoSubmitted, &m.Precedence, &m.ListID, &m.Preview} {
		*s = r.string()
	}
	m.InReplyTo, m.References = r.strings(), r.strings()
	for _, l := range [...]*AddressList{&m.From, &m.Sender, &m.ReplyTo, &m.To, &m.Cc, &m.Bcc} {
		*l = r.addresses()
	}
}

func (r *detailReader) addresses() AddressList {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	l := make(AddressList, n)
	for i := range l {
		a := &l[i]
		head := r.octet()
		a.Kind = MailboxKind(head & entryKind)
		if head&entryName != 0 {
			a.RawName = r.string()
		}
		a.Name = a.RawName
		if head&entryOther != 0 {
			a.Name = r.string()
		}
		if head&entryRoute != 0 {
			a.Route = r.string()
		}
		if a.Kind == KindMailbox {
			a.Local, a.Host = r.string(), r.string()
		}
	}
	return l
}
