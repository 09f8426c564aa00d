package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// ItemID names an item: the mail, and which of its groups of recipients.
type ItemID struct {
	Mail  mailflow.ID
	Group uint32
}

// String gives the mail's id, with ".N" behind it for all groups but the first.
func (id ItemID) String() string {
	if id.Group == 0 {
		return id.Mail.String()
	}
	return id.Mail.String() + "." + strconv.FormatUint(uint64(id.Group), 10)
}

// ParseItemID reads what String prints.
func ParseItemID(s string) (id ItemID, err error) {
	mail, group, has := strings.Cut(s, ".")
	if id.Mail, err = hlc.Parse(mail); err != nil {
		return ItemID{}, fmt.Errorf("queue id %q: %w", s, err)
	}
	if has {
		n, err := strconv.ParseUint(group, 10, 32)
		if err != nil {
			return ItemID{}, fmt.Errorf("queue id %q: no group %q", s, group)
		}
		id.Group = uint32(n)
	}
	return id, nil
}

// item is some recipients of one mail that share a next hop.
type item struct {
	id       ItemID
	revision uint64 // counts the changes
	hop      mailflow.NextHop
	mail     mailflow.Mail     // the recipients are those left
	last     []mailflow.Status // of each recipient; Action 0: not tried yet
	attempts int
	due      time.Time
	lastTry  time.Time
	warnAt   time.Time // zero: never
	expires  time.Time
	warned   bool
	held     bool
	failures int // deliveries in a row that settled nothing
}

// shardCount is the number of spaces of the queue.
const shardCount = 256

// spacePrefix begins the names of the queue's spaces: "q/00" to "q/ff".
const spacePrefix kv.Space = "q/"

var spaceNames = func() (names [shardCount]kv.Space) {
	for i := range names {
		names[i] = kv.Space(fmt.Sprintf("%s%02x", spacePrefix, i))
	}
	return names
}()

// spaceOf gives the space of a mail. Multiplication mixes the counter within one
// millisecond with the time above it.
func spaceOf(id mailflow.ID) kv.Space {
	const mix = 0x9e3779b97f4a7c15 // 2⁶⁴ divided by the golden ratio
	return spaceNames[uint64(id)*mix>>56]
}

// Keys of a shard.
const (
	keyItem = 'i' // i MAIL GROUP → item
	keyDue  = 'd' // d DUE MAIL GROUP → summary
)

// lengthKey is the counter of the items in a shard.
var lengthKey = []byte("n")

// dueHeld stands for the due time of what an administrator holds: after all times.
const dueHeld = math.MaxInt64

func itemKey(id ItemID) []byte {
	k := make([]byte, 0, 13)
	k = append(k, keyItem)
	k = binary.BigEndian.AppendUint64(k, uint64(id.Mail))
	return binary.BigEndian.AppendUint32(k, id.Group)
}

func (it *item) dueKey() []byte {
	due := int64(dueHeld)
	if !it.held {
		due = it.due.UnixMilli()
	}
	return appendDueKey(make([]byte, 0, 21), due, it.id)
}

func appendDueKey(k []byte, due int64, id ItemID) []byte {
	k = append(k, keyDue)
	k = binary.BigEndian.AppendUint64(k, uint64(max(due, 0)))
	k = binary.BigEndian.AppendUint64(k, uint64(id.Mail))
	return binary.BigEndian.AppendUint32(k, id.Group)
}

func parseDueKey(k []byte) (due int64, id ItemID, ok bool) {
	if len(k) != 21 || k[0] != keyDue {
		return 0, id, false
	}
	due = int64(binary.BigEndian.Uint64(k[1:]))
	return due, ItemID{hlc.ID(binary.BigEndian.Uint64(k[9:])), binary.BigEndian.Uint32(k[17:])}, true
}

func parseItemKey(k []byte) (id ItemID, ok bool) {
	if len(k) != 13 || k[0] != keyItem {
		return id, false
	}
	return ItemID{hlc.ID(binary.BigEndian.Uint64(k[1:])), binary.BigEndian.Uint32(k[9:])}, true
}

// holder is the name under which the item keeps the body.
func (it *item) holder() string {
	return "q/" + it.id.Mail.String() + "/" + strconv.FormatUint(uint64(it.id.Group), 10)
}

// formatVersion is the first octet of items and summaries.
const formatVersion = 1

var errFormat = errors.New("queue: stored record is damaged")

// summary is the value under the due key: what scheduling needs, and a revision that
// guards every change of the item.
type summary struct {
	revision uint64
	hop      mailflow.NextHop
	priority int
	sender   uint64    // whose mail it is, for fairness
	actAt    time.Time // when it is late or given up, whether tried or not
}

func (it *item) summary() summary {
	s := summary{revision: it.revision, hop: it.hop, priority: it.mail.Priority, sender: senderOf(&it.mail), actAt: it.expires}
	if !it.warned && !it.warnAt.IsZero() {
		s.actAt = earlier(s.actAt, it.warnAt)
	}
	return s
}

// senderOf gives one number for all mail of one sender: the account, else the return
// path (FNV-1a: it is stored, so it must be the same after a restart).
func senderOf(m *mailflow.Mail) uint64 {
	if m.Origin.Account != 0 {
		return uint64(m.Origin.Account)
	}
	const offset, prime = 0xcbf29ce484222325, 0x100000001b3
	h := uint64(offset)
	for _, part := range [...]string{m.ReturnPath.Local, "@", m.ReturnPath.Domain} {
		for i := range len(part) {
			h = (h ^ uint64(part[i])) * prime
		}
	}
	return h
}

func (s *summary) append(b []byte) []byte {
	b = append(b, formatVersion)
	b = binary.AppendUvarint(b, s.revision)
	b = appendHop(b, s.hop)
	b = binary.AppendVarint(b, int64(s.priority))
	b = binary.BigEndian.AppendUint64(b, s.sender)
	return appendTime(b, s.actAt)
}

func decodeSummary(b []byte) (s summary, err error) {
	d := decoder{b: b}
	d.version()
	s.revision = d.uvarint()
	s.hop = d.hop()
	s.priority = int(d.varint())
	s.sender = d.uint64()
	s.actAt = d.time()
	return s, d.end()
}

// The flags of an item.
const (
	flagHeld = 1 << iota
	flagWarned
	flagEightBit
	flagUTF8
	flagDeliverBy
	flagByReturn
	flagByTrace
	flagTracked
)

// How long the texts of a status may be on disk: the first that fits the value.
var statusTextMax = [...]int{512, 128, 0}

// encode gives the record, within kv.ValueMax.
func (it *item) encode() []byte {
	for _, textMax := range statusTextMax {
		if b := it.append(make([]byte, 0, 512), textMax); len(b) <= kv.ValueMax || textMax == 0 {
			return b
		}
	}
	return nil
}

func (it *item) append(b []byte, textMax int) []byte {
	m := &it.mail
	flags := flag(it.held, flagHeld) | flag(it.warned, flagWarned) | flag(m.EightBit, flagEightBit) | flag(m.SMTPUTF8, flagUTF8) | flag(m.Tracked, flagTracked)
	if by := m.DeliverBy; by != nil {
		flags |= flagDeliverBy | flag(by.Return, flagByReturn) | flag(by.Trace, flagByTrace)
	}
	b = append(b, formatVersion)
	b = binary.AppendUvarint(b, flags)
	b = binary.AppendUvarint(b, it.revision)
	b = appendHop(b, it.hop)
	b = binary.AppendUvarint(b, uint64(it.attempts))
	b = binary.AppendUvarint(b, uint64(it.failures))
	for _, t := range []time.Time{it.due, it.lastTry, it.warnAt, it.expires, m.Received, m.HoldUntil} {
		b = appendTime(b, t)
	}
	b = m.Body.AppendBinary(b)
	b = appendAddress(b, m.ReturnPath)
	b = append(b, byte(m.Return))
	b = appendString(b, m.EnvID)
	b = binary.AppendVarint(b, int64(m.Priority))
	if m.DeliverBy != nil {
		b = binary.AppendVarint(b, int64(m.DeliverBy.Within))
	}
	b = appendString(b, m.Origin.Protocol)
	b = appendAddrPort(b, m.Origin.Client)
	b = appendString(b, m.Origin.Helo)
	b = appendString(b, m.Origin.TLS)
	b = binary.AppendUvarint(b, uint64(m.Origin.Account))
	b = binary.AppendUvarint(b, uint64(len(m.Recipients)))
	for i := range m.Recipients {
		b = appendRecipient(b, &m.Recipients[i])
		b = appendStatus(b, &it.last[i], textMax)
	}
	return b
}

func flag(on bool, f uint64) uint64 {
	if on {
		return f
	}
	return 0
}

func appendRecipient(b []byte, r *mailflow.Recipient) []byte {
	b = appendAddress(b, r.Address)
	b = append(b, byte(r.Notify))
	return appendString(b, r.Original)
}

// appendStatus cuts the texts: they tell a person why, and are no record of the dialogue.
func appendStatus(b []byte, s *mailflow.Status, textMax int) []byte {
	b = append(b, byte(s.Action))
	if s.Action == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(max(s.Reply.Code, 0)))
	for _, n := range s.Reply.Enhanced {
		b = binary.AppendUvarint(b, uint64(max(n, 0)))
	}
	b = appendString(b, cut(strings.Join(s.Reply.Lines, "\n"), textMax))
	b = appendString(b, cut(s.RemoteMTA, min(textMax, 255)))
	b = append(b, byte(flag(s.LocalMTA, 1)|flag(s.PassedOn, 2)))
	b = appendTime(b, s.At)
	b = appendAddrPort(b, s.RemoteAddr)
	return appendString(b, cut(s.TLS, min(textMax, 64)))
}

// cut shortens s to max octets without breaking a character.
func cut(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && s[max]&0xc0 == 0x80 {
		max--
	}
	return s[:max]
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendAddress(b []byte, a address.Address) []byte {
	return appendString(appendString(b, a.Local), a.Domain)
}

func appendHop(b []byte, h mailflow.NextHop) []byte {
	b = appendString(appendString(b, h.Transport), h.Domain)
	b = binary.AppendUvarint(b, uint64(h.Port)<<1|flag(h.NoMX, 1))
	return appendString(b, h.Relay)
}

// appendTime writes milliseconds; the zero time is 0.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixMilli())
}

func appendAddrPort(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, 0)
	}
	enc, err := a.MarshalBinary()
	if err != nil || len(enc) > 127 { // a zone name of absurd length
		return append(b, 0)
	}
	return append(append(b, byte(len(enc))), enc...)
}

func decodeItem(id ItemID, b []byte) (*item, error) {
	d := decoder{b: b}
	d.version()
	it := &item{id: id}
	m := &it.mail
	m.ID = id.Mail
	flags := d.uvarint()
	it.held, it.warned = flags&flagHeld != 0, flags&flagWarned != 0
	m.EightBit, m.SMTPUTF8 = flags&flagEightBit != 0, flags&flagUTF8 != 0
	m.Tracked = flags&flagTracked != 0
	it.revision = d.uvarint()
	it.hop = d.hop()
	it.attempts, it.failures = d.int(), d.int()
	for _, t := range []*time.Time{&it.due, &it.lastTry, &it.warnAt, &it.expires, &m.Received, &m.HoldUntil} {
		*t = d.time()
	}
	m.Body = d.body()
	m.ReturnPath = d.address()
	m.Return = smtp.DSNReturn(d.byte())
	m.EnvID = d.string()
	m.Priority = int(d.varint())
	if flags&flagDeliverBy != 0 {
		m.DeliverBy = &smtp.DeliverBy{Within: time.Duration(d.varint()), Return: flags&flagByReturn != 0, Trace: flags&flagByTrace != 0}
	}
	m.Origin = mailflow.Origin{Protocol: d.string(), Client: d.addrPort(), Helo: d.string(), TLS: d.string()}
	m.Origin.Account = hlc.ID(d.uvarint())
	n := d.int()
	if n > len(d.b) {
		return nil, errFormat
	}
	m.Recipients = make([]mailflow.Recipient, n)
	it.last = make([]mailflow.Status, n)
	for i := range n {
		m.Recipients[i] = mailflow.Recipient{Address: d.address(), Notify: smtp.DSNNotify(d.byte()), Original: d.string()}
		it.last[i] = d.status()
	}
	return it, d.end()
}

// decoder reads records; after the first error everything is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() { d.b, d.err = nil, errFormat }

func (d *decoder) end() error {
	if d.err == nil && len(d.b) != 0 {
		d.fail()
	}
	return d.err
}

func (d *decoder) version() {
	if d.byte() != formatVersion {
		d.fail()
	}
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int {
	v := d.uvarint()
	if v > math.MaxInt32 {
		d.fail()
		return 0
	}
	return int(v)
}

func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) address() address.Address {
	local := d.string()
	return address.Address{Local: local, Domain: d.string()}
}

func (d *decoder) hop() (h mailflow.NextHop) {
	h.Transport, h.Domain = d.string(), d.string()
	port := d.uvarint()
	h.Port, h.NoMX = uint16(port>>1), port&1 != 0
	h.Relay = d.string()
	return h
}

func (d *decoder) time() time.Time {
	if ms := d.varint(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

func (d *decoder) addrPort() (a netip.AddrPort) {
	n := int(d.byte())
	if n > len(d.b) {
		d.fail()
		return a
	}
	if n > 0 && a.UnmarshalBinary(d.b[:n]) != nil {
		d.fail()
		return netip.AddrPort{}
	}
	d.b = d.b[n:]
	return a
}

func (d *decoder) body() blob.Body {
	if d.err != nil {
		return blob.Body{}
	}
	body, rest, err := blob.DecodeBody(d.b)
	if err != nil {
		d.fail()
		return blob.Body{}
	}
	d.b = rest
	return body
}

func (d *decoder) status() (s mailflow.Status) {
	if s.Action = mailflow.Action(d.byte()); s.Action == 0 {
		return s
	}
	s.Reply.Code = d.int()
	for i := range s.Reply.Enhanced {
		s.Reply.Enhanced[i] = d.int()
	}
	s.Reply.Lines = strings.Split(d.string(), "\n")
	s.RemoteMTA = d.string()
	flags := d.byte()
	s.LocalMTA, s.PassedOn = flags&1 != 0, flags&2 != 0
	s.At = d.time()
	s.RemoteAddr = d.addrPort()
	s.TLS = d.string()
	return s
}
