package sieve

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"postroad/address"
	"postroad/message"
)

// vacationCommand is vacation (RFC 5230), with :seconds (RFC 6131) and :fcc (RFC 8580).
type vacationCommand struct {
	interval  time.Duration
	subject   *text
	from      *text
	addresses []text
	mime      bool
	handle    *text
	identity  string // of the arguments as written, for the memory (RFC 5230, 4.2)
	reason    text
	fcc       *targetCommand
}

var vacationTags = slices.Concat([]tagRule{
	{name: "days", value: kindNumber, group: "interval"},
	{name: "seconds", extension: extVacationSeconds, value: kindNumber, group: "interval"},
	{name: "subject", value: kindString}, {name: "from", value: kindString},
	{name: "addresses", value: kindStrings}, {name: "mime"}, {name: "handle", value: kindString},
}, fccTags)

func compileVacation(c *compiler, u *usage) command {
	c.script.needs.Memory = true
	v := &vacationCommand{interval: VacationDefault, mime: u.has("mime"), reason: c.string(u.args[0])}
	v.subject, v.from, v.handle = c.tagText(u, "subject"), c.fromTag(u), c.tagText(u, "handle")
	if t := u.tag("addresses"); t != nil {
		v.addresses = c.texts(t.value)
	}
	if t := u.group("interval"); t != nil {
		v.interval = vacationInterval(t.rule.name, t.value.number)
	}
	v.fcc = c.fcc(u)
	identity := []string{"vacation", strconv.FormatBool(v.mime), u.args[0].strings[0].value}
	for _, name := range []string{"subject", "from"} {
		t := u.tag(name)
		identity = append(identity, strconv.FormatBool(t != nil))
		if t != nil {
			identity = append(identity, t.value.strings[0].value)
		}
	}
	v.identity = memoryKey(identity...)
	if v.mime && v.reason.isConstant() {
		if fault := mimeFault(v.reason.constant); fault != "" {
			c.fault(u.args[0].at.errorf("%s", fault))
		}
	}
	return v
}

// vacationInterval bounds the interval (RFC 5230, 4.1; RFC 6131, 2: 0 seconds answer each
// message).
func vacationInterval(unit string, n uint64) time.Duration {
	if unit == "seconds" {
		return seconds(n, VacationMax)
	}
	return max(seconds(min(n, uint64(VacationMax/(24*time.Hour)))*86400, VacationMax), VacationMin)
}

// mimeFault says what is wrong with the header of a MIME entity: 8-bit text is not allowed
// in it (RFC 5230, 5), nor what is not MIME's.
func mimeFault(s string) string {
	block := []byte(s)
	block = block[:message.HeaderEnd(block)]
	for _, b := range block {
		if b >= 0x80 {
			return "the header of the MIME entity has characters that are not ASCII"
		}
	}
	for f := range message.Fields(block) {
		f := field{Field: f}
		if !isMIMEField(&f) {
			return "the MIME entity has a header field that is not of MIME"
		}
	}
	return ""
}

func (v *vacationCommand) execute(r *run) (flow, error) {
	if r.in.Event != nil {
		return flowStop, r.inapplicable("vacation")
	}
	if err := r.conflict("vacation"); err != nil {
		return flowStop, err
	}
	if r.outcome.vacation { // RFC 5230, 4.7
		return flowStop, r.failf("\"vacation\" is executed twice")
	}
	r.outcome.vacation = true
	if err := r.count(); err != nil {
		return flowStop, err
	}
	a, err := v.action(r)
	if err != nil {
		return flowStop, err
	}
	why, err := v.silent(r)
	if err != nil {
		return flowStop, err
	}
	if why == "" && v.interval > 0 {
		seen, err := r.seen(a.Key)
		if err != nil {
			return flowStop, err
		}
		if seen {
			why = "the sender was answered already"
		}
	}
	if why != "" {
		r.explain("vacation is silent: %s", why)
		return flowNext, nil
	}
	r.explain("vacation answers %s", a.To)
	r.outcome.actions = append(r.outcome.actions, a)
	if v.interval > 0 {
		return flowNext, r.mark(a.Key, v.interval)
	}
	return flowNext, nil
}

// action makes the answer, whether it is to be sent or not: what is wrong with it is an
// error in any case.
func (v *vacationCommand) action(r *run) (*Vacation, error) {
	a := &Vacation{To: r.in.Envelope.ReturnPath, MIME: v.mime, Interval: v.interval}
	var err error
	if a.Text, err = v.reason.expand(r); err != nil {
		return nil, err
	}
	if v.mime {
		if fault := mimeFault(a.Text); fault != "" {
			return nil, r.failf("%s", fault)
		}
	}
	who := v.identity
	if v.handle != nil {
		if a.Handle, err = v.handle.expand(r); err != nil {
			return nil, err
		}
		who = "handle:" + a.Handle
	}
	a.Key = memoryKey("vacation", who, a.To.Key())
	if a.From, err = v.sender(r); err != nil {
		return nil, err
	}
	h, err := r.doc.top()
	if err != nil {
		return nil, err
	}
	if a.Subject, err = v.subjectIn(r, h); err != nil {
		return nil, err
	}
	a.InReplyTo, a.References = replyTo(h)
	if v.fcc != nil {
		to, _, err := v.fcc.in(r)
		if err != nil {
			return nil, err
		}
		a.Fcc = &to
	}
	return a, nil
}

// sender is :from where that is the owner's to use, else the owner's address that the
// message was sent to, or the first (RFC 5230, 4.3 and 5.4).
func (v *vacationCommand) sender(r *run) (message.AddressList, error) {
	if v.from != nil {
		s, err := v.from.expand(r)
		if err != nil {
			return nil, err
		}
		list, ok := mailboxList(s)
		if !ok {
			return nil, r.failf("%q is no list of mail addresses", shown(s))
		}
		return list, nil
	}
	return r.writer()
}

// writer is the owner as the author of a message.
func (r *run) writer() (message.AddressList, error) {
	own, err := r.addressee(nil)
	if err != nil {
		return nil, err
	}
	if own.IsNull() {
		own = r.in.address()
	}
	if own.IsNull() {
		return nil, nil
	}
	return message.AddressList{{Name: r.in.Owner.Name, Local: own.Local, Host: own.Domain}}, nil
}

// addresseeFields are where the owner must be named for an answer (RFC 5230, 4.5).
var addresseeFields = []string{"To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"}

// addressee returns the address of the owner, or of the further ones, that the message
// names as a recipient; null for none.
func (r *run) addressee(further []address.Address) (address.Address, error) {
	h, err := r.doc.top()
	if err != nil {
		return address.Address{}, err
	}
	for i := range h.fields {
		f := &h.fields[i]
		if !slices.ContainsFunc(addresseeFields, f.Is) {
			continue
		}
		list := f.list()
		if err := r.work(len(list) * (1 + len(further)) * stepOctets); err != nil {
			return address.Address{}, err
		}
		for _, m := range list {
			a := address.Address{Local: m.Local, Domain: strings.ToLower(m.Host)}
			if m.Kind != message.KindMailbox || m.Host == "" {
				continue
			}
			if r.in.ownerIs(a) || slices.ContainsFunc(further, a.Equal) {
				return a, nil
			}
		}
	}
	return address.Address{}, nil
}

// subjectIn is the subject of the answer (RFC 5230, 5.3).
func (v *vacationCommand) subjectIn(r *run, h *headerView) (string, error) {
	if v.subject != nil {
		s, err := v.subject.expand(r)
		return oneLine(s), err
	}
	if f := h.first("Subject"); f != nil {
		return "Auto: " + f.value(), nil
	}
	return "Automated reply", nil
}

// first returns the first field of a name, nil for none.
func (v *headerView) first(name string) *field {
	for i := range v.fields {
		if v.fields[i].Is(name) {
			return &v.fields[i]
		}
	}
	return nil
}

// replyTo makes In-Reply-To and References (RFC 5322, 3.6.4).
func replyTo(h *headerView) (inReplyTo string, references []string) {
	f := h.first("Message-ID")
	if f == nil {
		return "", nil
	}
	ids := messageIDs(f)
	if len(ids) == 0 {
		return "", nil
	}
	inReplyTo = ids[0]
	if f := h.first("References"); f != nil {
		references = messageIDs(f)
	} else if f := h.first("In-Reply-To"); f != nil {
		if ids := messageIDs(f); len(ids) == 1 {
			references = ids
		}
	}
	if n := len(references); n >= message.ReferencesMax {
		references = append(references[:1:1], references[n-message.ReferencesMax+2:]...)
	}
	return inReplyTo, append(references, inReplyTo)
}

// messageIDs finds the msg-ids of a field: ASCII between angle brackets, without spaces.
func messageIDs(f *field) []string {
	var ids []string
	s := f.Unfolded()
	for {
		start := strings.IndexByte(s, '<')
		if start < 0 {
			return ids
		}
		end := strings.IndexByte(s[start:], '>')
		if end < 0 {
			return ids
		}
		if id := s[start : start+end+1]; end > 1 && isFieldName(strings.ReplaceAll(id, ":", "")) {
			ids = append(ids, id)
		}
		s = s[start+end+1:]
	}
}

// silent says why there must be no answer; empty: there may (RFC 5230, 4.5 and 4.6; RFC
// 3834, 2).
func (v *vacationCommand) silent(r *run) (string, error) {
	to := r.in.Envelope.ReturnPath
	switch {
	case to.IsNull():
		return "the return path is null", nil
	case isAutomaton(to.Local):
		return "the sender is a program", nil
	case r.in.ownerIs(to):
		return "the message is from the owner", nil
	}
	h, err := r.doc.top()
	if err != nil {
		return "", err
	}
	for i := range h.fields {
		if why := automatic(&h.fields[i]); why != "" {
			return why, nil
		}
	}
	words, err := expandAll(r, v.addresses)
	if err != nil {
		return "", err
	}
	var further []address.Address
	for _, s := range words {
		if a, ok := oneAddress(s); ok {
			further = append(further, a)
		}
	}
	if slices.ContainsFunc(further, to.Equal) {
		return "the message is from the owner", nil
	}
	own, err := r.addressee(further)
	if err == nil && own.IsNull() {
		return "the message does not name the owner as a recipient", nil
	}
	return "", err
}

// isAutomaton tells whether a local part is one that programs write from (RFC 5230, 4.6).
func isAutomaton(local string) bool {
	l := strings.ToLower(local)
	switch l {
	case "mailer-daemon", "listserv", "majordomo", "mailman", "noreply", "no-reply", "donotreply", "do-not-reply":
		return true
	}
	return strings.HasPrefix(l, "owner-") || strings.HasSuffix(l, "-request") || strings.HasSuffix(l, "-owner") ||
		strings.HasSuffix(l, "-bounces")
}

// automatic says why a field forbids an answer.
func automatic(f *field) string {
	switch {
	case f.Is("Auto-Submitted"):
		word, _ := message.ParseParams(f.Unfolded())
		if word != "" && !strings.EqualFold(word, "no") {
			return "the message was submitted automatically"
		}
	case f.Is("Precedence"):
		switch strings.ToLower(strings.TrimSpace(f.Unfolded())) {
		case "bulk", "junk", "list":
			return "the message is sent in bulk"
		}
	case f.Is("List-Id"), f.Is("List-Help"), f.Is("List-Subscribe"), f.Is("List-Unsubscribe"),
		f.Is("List-Post"), f.Is("List-Owner"), f.Is("List-Archive"):
		return "the message is from a mailing list"
	}
	return ""
}
