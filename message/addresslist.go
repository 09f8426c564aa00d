package message

import (
	"bytes"
	"strings"

	"postroad/address"
)

// MailboxKind says what an entry of an address list is.
type MailboxKind uint8

// The kinds. A group is its start, its mailboxes and its end (RFC 5322, 3.4).
const (
	KindMailbox    MailboxKind = iota
	KindGroupStart             // Name is the group's
	KindGroupEnd
)

// Mailbox is one entry of an address list, as ENVELOPE needs it (RFC 9051, 7.5.2). For
// ENVELOPE, Kind decides which of its strings are NIL: a KindMailbox has a host, even if
// Host is empty because the sender gave none.
type Mailbox struct {
	Kind    MailboxKind
	Name    string // display name, decoded; of a mailbox without one the comment behind it
	RawName string // the same without quotes, encoded words as they stand
	Route   string // obsolete source route, "@a,@b"
	Local   string // without quotes
	Host    string // as given; with brackets when it is a literal
}

// AddressList is the value of an address field, groups included.
type AddressList []Mailbox

// Mailboxes returns the entries that are mailboxes.
func (l AddressList) Mailboxes() AddressList {
	n := 0
	for i := range l {
		if l[i].Kind == KindMailbox {
			n++
		}
	}
	if n == len(l) {
		return l
	}
	out := make(AddressList, 0, n)
	for i := range l {
		if l[i].Kind == KindMailbox {
			out = append(out, l[i])
		}
	}
	return out
}

// Address returns the mailbox as SMTP means it; the error is that of address.Parse.
func (m Mailbox) Address() (address.Address, error) {
	return address.Parse(m.AddrSpec())
}

// AddrSpec returns local part and host with an @ between, the local part quoted where it
// needs to be.
func (m Mailbox) AddrSpec() string {
	local := quoteLocal(m.Local)
	if m.Host == "" {
		return local
	}
	return local + "@" + m.Host
}

// ParseAddressList reads an unfolded address field. It takes what programs write besides
// RFC 5322: missing quotes, semicolons between addresses, comments for names, octets above
// 127. What has no @ is given as a local part without host.
func ParseAddressList(s string) AddressList {
	l, _ := parseAddressList(s, AddressesMax)
	return l
}

// angleMax bounds what is searched for the end of <…>, in octets.
const angleMax = 2048

// listParser reads one list. Each octet is looked at a bounded number of times.
type listParser struct {
	s       string
	i       int
	list    AddressList
	most    int
	inGroup bool
	strict  bool // no defect met yet

	phrase    []byte  // words read and not yet given a meaning, a space where there was white space
	lastWord  int     // where the last word of phrase starts
	lastPlain bool    // the last word was no quoted string
	gap       bool    // white space since
	comment   string  // last one
	spec      Mailbox // local part, host and route, when hasSpec
	hasSpec   bool
}

// parseAddressList returns the entries, at most most; ok is false when the text was not by
// the grammar or the limit.
func parseAddressList(s string, most int) (list AddressList, ok bool) {
	var phrase [64]byte
	p := listParser{s: s, most: most, strict: true, phrase: phrase[:0]}
	if n := strings.Count(s, "@"); n > 0 {
		p.list = make(AddressList, 0, min(n, most, 64))
	}
	for p.i < len(p.s) {
		p.step()
	}
	p.endEntry()
	if p.inGroup {
		p.strict = false
		p.endGroup()
	}
	return p.list, p.strict
}

// step reads one token.
func (p *listParser) step() {
	c := p.s[p.i]
	switch c {
	case ' ', '\t':
		p.gap = true
		p.i++
	case ',':
		p.i++
		p.endEntry()
	case ';':
		p.i++
		p.endEntry()
		if p.inGroup {
			p.endGroup()
		} else {
			p.strict = false
		}
	case ':':
		p.i++
		p.beginGroup()
	case '(':
		n := commentLength(p.s[p.i:])
		p.comment = unescape(strings.Trim(p.s[p.i+1:p.i+n], " \t)"))
		p.i += n
		p.gap = true
	case '"':
		t := tokens{s: p.s, i: p.i}
		p.word(t.quoted(), false)
		p.i = t.i
	case '<':
		p.angle()
	case '@':
		p.atSign()
	default:
		start := p.i
		for p.i < len(p.s) && strings.IndexByte(" \t,;:(\"<@", p.s[p.i]) < 0 {
			p.i++
		}
		p.word(p.s[start:p.i], true)
	}
}

// word adds a word to the phrase.
func (p *listParser) word(w string, plain bool) {
	n := len(p.phrase)
	joined := n > 0 && plain && p.lastPlain && (p.phrase[n-1] == '.' || strings.HasPrefix(w, ".")) // a . b, obsolete
	switch {
	case n == 0, joined && !p.gap:
	case joined && p.specAhead():
	case p.gap:
		p.phrase = append(p.phrase, ' ')
		p.lastWord = n + 1
	}
	p.phrase = append(p.phrase, w...)
	p.lastPlain, p.gap = plain, false
}

// specAhead tells whether the text up to the next separator has an @, so that white space
// around dots belongs to a local part. It looks at few octets.
func (p *listParser) specAhead() bool {
	ahead := p.s[p.i:min(len(p.s), p.i+address.LocalMax)]
	i := strings.IndexAny(ahead, "@,;<")
	return i >= 0 && ahead[i] == '@'
}

// atSign takes the last word as a local part and reads the domain behind it.
func (p *listParser) atSign() {
	p.i++
	for p.i < len(p.s) && isWSP(p.s[p.i]) {
		p.i++
	}
	start := p.i
	if p.i < len(p.s) && p.s[p.i] == '[' {
		if n := strings.IndexAny(p.s[p.i:min(len(p.s), p.i+address.DomainMax)], "],"); n > 0 && p.s[p.i+n] == ']' {
			p.i += n
		}
	}
	p.skipAtoms()
	host := p.s[start:p.i]
	for len(host) < address.DomainMax { // a . b, obsolete (RFC 5322, 4.4)
		next := strings.TrimLeft(p.s[p.i:min(len(p.s), p.i+foldWidth)], " \t")
		if next == "" || host == "" || (next[0] == '.') == strings.HasSuffix(host, ".") {
			break
		}
		p.i = p.i + strings.Index(p.s[p.i:], next[:1])
		more := p.i
		p.skipAtoms()
		if p.i == more {
			break
		}
		host += p.s[more:p.i]
	}
	if p.hasSpec || len(p.phrase) == 0 || host == "" { // a@b@c, @b
		p.strict = false
	}
	if p.hasSpec {
		if len(p.spec.Host) < address.DomainMax {
			p.spec.Host += "@" + host
		}
		return
	}
	p.spec, p.hasSpec = Mailbox{Local: string(p.phrase[p.lastWord:]), Host: host}, true
	p.phrase = bytes.TrimRight(p.phrase[:p.lastWord], " ")
	p.lastWord, p.gap = 0, len(p.phrase) > 0
}

// skipAtoms passes over the octets of a domain.
func (p *listParser) skipAtoms() {
	for p.i < len(p.s) && strings.IndexByte(" \t,;(<\"@", p.s[p.i]) < 0 {
		p.i++
	}
}

// angle reads <route:local@host>.
func (p *listParser) angle() {
	window := p.s[p.i+1 : min(len(p.s), p.i+1+angleMax)]
	end, next := angleEnd(window)
	if next == end {
		p.strict = false // no > at its end
	}
	m := splitSpec(window[:end])
	p.i += 1 + next
	if p.hasSpec { // a@b <a@b>, a@b without quotes meant as the name
		p.strict = false
		p.word(p.spec.Local+"@"+p.spec.Host, true)
	}
	if m.Host == "" && m.Local != "" {
		p.strict = false
	}
	p.spec, p.hasSpec = m, true
}

// angleEnd returns where the address in s ends and where the text behind it starts.
func angleEnd(s string) (end, next int) {
	quoted, route := false, strings.HasPrefix(s, "@")
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '>':
			return i, i + 1
		case c == ':':
			route = false
		case (c == ',' || c == ';') && !route:
			return i, i
		}
	}
	return len(s), len(s)
}

// splitSpec reads what stands between angle brackets.
func splitSpec(s string) (m Mailbox) {
	s = strings.Trim(stripComments(s), " \t")
	if strings.HasPrefix(s, "@") {
		if i := strings.IndexByte(s, ':'); i > 0 {
			m.Route, s = s[:i], strings.TrimLeft(s[i+1:], " \t")
		}
	}
	if strings.HasPrefix(s, `"`) {
		t := tokens{s: s}
		m.Local = t.quoted()
		t.skip()
		if rest := s[t.i:]; strings.HasPrefix(rest, "@") {
			m.Host = strings.TrimSpace(rest[1:])
		} else if i := strings.LastIndexByte(s, '@'); i >= t.i { // "a"b@c
			m.Local, m.Host = unescape(strings.ReplaceAll(s[:i], `"`, "")), s[i+1:]
		}
		return m
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		m.Local, m.Host = strings.TrimSpace(s[:i]), strings.TrimSpace(s[i+1:])
		return m
	}
	m.Local = s
	return m
}

// beginGroup takes the phrase as the name of a group.
func (p *listParser) beginGroup() {
	if p.hasSpec || p.inGroup {
		p.strict = false
		p.endEntry()
		return
	}
	p.add(Mailbox{Kind: KindGroupStart, RawName: string(p.phrase), Name: DecodeWords(string(p.phrase))})
	p.inGroup = true
	p.reset()
}

func (p *listParser) endGroup() {
	p.inGroup = false
	p.add(Mailbox{Kind: KindGroupEnd})
}

// endEntry makes a mailbox of what was read since the last separator. Two separators in a
// row are allowed (RFC 5322, 4.4).
func (p *listParser) endEntry() {
	m := p.spec
	switch {
	case !p.hasSpec && len(p.phrase) == 0:
		p.reset()
		return
	case !p.hasSpec:
		p.strict = false
		m = Mailbox{Local: string(p.phrase)}
	default:
		m.RawName = string(p.phrase)
		if m.RawName == "" {
			m.RawName = p.comment
		}
		m.Name = DecodeWords(m.RawName)
	}
	m.Local, m.Host = repairUTF8(m.Local), repairUTF8(m.Host)
	p.add(m)
	p.reset()
}

func (p *listParser) add(m Mailbox) {
	if len(p.list) >= p.most {
		p.strict = false
		return
	}
	p.list = append(p.list, m)
}

func (p *listParser) reset() {
	p.phrase, p.lastWord, p.gap, p.lastPlain, p.comment = p.phrase[:0], 0, false, false, ""
	p.spec, p.hasSpec = Mailbox{}, false
}

// quoteLocal returns a local part as a dot-atom where it is one, else quoted.
func quoteLocal(local string) string { return address.Address{Local: local}.String() }
