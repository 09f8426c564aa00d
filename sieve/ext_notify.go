package sieve

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"postroad/address"
	"postroad/message"
)

// notifyCommand is notify (RFC 5435, 3) with the method mailto (RFC 5436).
type notifyCommand struct {
	from       *text
	importance *text
	options    []text
	message    *text
	method     text
	fcc        *targetCommand
}

var notifyTags = slices.Concat([]tagRule{
	{name: "from", value: kindString}, {name: "importance", value: kindString},
	{name: "options", value: kindStrings}, {name: "message", value: kindString},
}, fccTags)

func compileNotify(c *compiler, u *usage) command {
	n := &notifyCommand{method: c.string(u.args[0]), importance: c.tagText(u, "importance"), message: c.tagText(u, "message")}
	n.from, n.fcc = c.fromTag(u), c.fcc(u)
	if t := u.tag("options"); t != nil {
		n.options = c.texts(t.value)
		for i, o := range n.options {
			if o.isConstant() && !isNotifyOption(o.constant) {
				c.fault(t.value.strings[i].at.errorf("%q is no option such as \"name=value\"", o.constant))
			}
		}
	}
	if n.importance != nil && n.importance.isConstant() && importance(n.importance.constant) == 0 {
		c.fault(u.tag("importance").value.at.errorf(":importance takes \"1\", \"2\" or \"3\""))
	}
	// Other methods than those known are errors when they are come to only, so that a script
	// may ask first (RFC 5435, 3.2; RFC 8580, 6.1).
	if n.method.isConstant() && isMailto(n.method.constant) {
		if _, fault := parseMailto(n.method.constant); fault != "" {
			c.fault(u.args[0].at.errorf("%s", fault))
		}
	}
	return n
}

// importance reads a value of :importance, 0 for what is none.
func importance(s string) int {
	if len(s) == 1 && s[0] >= '1' && s[0] <= '3' {
		return int(s[0] - '0')
	}
	return 0
}

// isNotifyOption tells whether s is "name=value" (RFC 5435, 3.5).
func isNotifyOption(s string) bool {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" || value == "" || strings.ContainsAny(value, "\r\n\x00") {
		return false
	}
	for i := range len(name) {
		c := name[i]
		word := c != '_' && isAlpha(c) || isDigit(c)
		if !word && (i == 0 || c != '.' && c != '-' && c != '_') {
			return false
		}
	}
	return true
}

func (n *notifyCommand) execute(r *run) (flow, error) {
	method, err := n.method.expand(r)
	if err != nil {
		return flowStop, err
	}
	m, fault := parseMailto(method)
	if fault != "" {
		return flowStop, r.failf("%s", fault)
	}
	if err := r.count(); err != nil {
		return flowStop, err
	}
	a, err := n.action(r, m)
	if err != nil {
		return flowStop, err
	}
	a.Method = method
	h, err := r.doc.top()
	if err != nil {
		return flowStop, err
	}
	for i := range h.fields { // RFC 5436, 2.7: no notifications of what programs sent
		if f := &h.fields[i]; f.Is("Auto-Submitted") && automatic(f) != "" {
			r.explain("notify is silent: the message was submitted automatically")
			return flowNext, nil
		}
	}
	return flowNext, r.notify(a)
}

// notify notes a notification; of those to the same addresses only the first is sent (RFC
// 5436, 2.7).
func (r *run) notify(a *Notify) error {
	for _, other := range r.outcome.actions {
		if o, ok := other.(*Notify); ok && slices.EqualFunc(o.Recipients, a.Recipients, address.Address.Equal) {
			r.explain("notify is silent: the address gets a notification already")
			return nil
		}
	}
	if r.outcome.notifies++; r.outcome.notifies > r.limits.Notifications {
		return r.failf("the script sends more than %d notifications", r.limits.Notifications)
	}
	r.explain("notify %q", shown(a.Method))
	r.outcome.actions = append(r.outcome.actions, a)
	return nil
}

// action makes the notification (RFC 5436, 2.7).
func (n *notifyCommand) action(r *run, m *mailto) (*Notify, error) {
	a := &Notify{Recipients: m.recipients(), To: m.to, Cc: m.cc, Body: m.body, Header: m.header, Importance: 2, Owner: r.in.address()}
	if n.importance != nil {
		s, err := n.importance.expand(r)
		if err != nil {
			return nil, err
		}
		if a.Importance = importance(s); a.Importance == 0 {
			return nil, r.failf(":importance takes \"1\", \"2\" or \"3\"")
		}
	}
	options, err := expandAll(r, n.options)
	if err != nil {
		return nil, err
	}
	for _, o := range options {
		if !isNotifyOption(o) {
			return nil, r.failf("%q is no option such as \"name=value\"", shown(o))
		}
	}
	if err := n.sender(r, a); err != nil {
		return nil, err
	}
	h, err := r.doc.top()
	if err != nil {
		return nil, err
	}
	if _, ids := replyTo(h); ids != nil {
		a.References = ids
	}
	a.Subject = m.subject
	if n.message != nil {
		if a.Subject, err = n.message.expand(r); err != nil {
			return nil, err
		}
	} else if f := h.first("Subject"); f != nil && !m.hasSubject {
		a.Subject = f.value()
	}
	a.Subject = oneLine(a.Subject)
	if n.fcc != nil {
		to, _, err := n.fcc.in(r)
		if err != nil {
			return nil, err
		}
		a.Fcc = &to
	}
	return a, nil
}

// sender fills From and the return path. A :from that is not the owner's is passed over
// (RFC 5435, 3.3).
func (n *notifyCommand) sender(r *run, a *Notify) error {
	a.ReturnPath = r.in.address()
	if n.from != nil {
		s, err := n.from.expand(r)
		if err != nil {
			return err
		}
		list, ok := mailboxList(s)
		if !ok {
			return r.failf("%q is no list of mail addresses", shown(s))
		}
		if own, err := list[0].Address(); err == nil && len(list) == 1 && r.in.ownerIs(own) {
			a.From, a.ReturnPath = list, own
		}
	}
	if a.From == nil && !a.ReturnPath.IsNull() {
		a.From = message.AddressList{{Name: r.in.Owner.Name, Local: a.ReturnPath.Local, Host: a.ReturnPath.Domain}}
	}
	if r.in.Envelope.ReturnPath.IsNull() && r.in.Event == nil {
		a.ReturnPath = address.Address{}
	}
	return nil
}

// mailto is a URI of the method (RFC 6068).
type mailto struct {
	to, cc, bcc message.AddressList
	subject     string
	hasSubject  bool
	body        string
	header      []HeaderField
}

// recipients are all addresses of the URI, each once.
func (m *mailto) recipients() []address.Address {
	var list []address.Address
	for _, l := range []message.AddressList{m.to, m.cc, m.bcc} {
		for _, b := range l {
			if a, err := b.Address(); err == nil && !slices.ContainsFunc(list, a.Equal) {
				list = append(list, a)
			}
		}
	}
	return list
}

// Bounds of a mailto URI.
const (
	mailtoOctetsMax     = 64 << 10
	mailtoRecipientsMax = 10
	mailtoFieldsMax     = 20
)

// unsafeFields of a URI are passed over (RFC 5436, 2.7); so are those of MIME, which would
// not fit the body, and trace fields.
var unsafeFields = []string{
	"from", "auto-submitted", "received", "message-id", "date", "sender", "return-path", "reply-to",
	"mime-version", "resent-from", "resent-to", "resent-date", "dkim-signature", "apparently-to", "references",
}

// isMailto tells whether the method is the one there is.
func isMailto(uri string) bool {
	scheme, _, ok := strings.Cut(uri, ":")
	return ok && strings.EqualFold(scheme, "mailto")
}

// parseMailto reads the method of notify. fault says what is wrong.
func parseMailto(uri string) (m *mailto, fault string) {
	_, rest, _ := strings.Cut(uri, ":")
	if !isMailto(uri) {
		return nil, "notifications go by \"mailto:\" only"
	}
	if len(uri) > mailtoOctetsMax {
		return nil, "the URI is too long"
	}
	wrong := strconv.Quote(shown(uri)) + " is no mailto URI"
	to, query, hasQuery := strings.Cut(rest, "?")
	m = &mailto{}
	if to != "" && !m.addresses(&m.to, to, true) {
		return nil, wrong
	}
	if hasQuery {
		for pair := range strings.SplitSeq(query, "&") {
			if !m.field(pair) {
				return nil, wrong
			}
		}
	}
	switch n := len(m.recipients()); {
	case n == 0:
		return nil, "the mailto URI names no recipient"
	case n > mailtoRecipientsMax:
		return nil, "the mailto URI names more than " + strconv.Itoa(mailtoRecipientsMax) + " recipients"
	case len(m.header) > mailtoFieldsMax:
		return nil, "the mailto URI has too many header fields"
	}
	return m, ""
}

// addresses adds the addresses of a part of the URI.
func (m *mailto) addresses(list *message.AddressList, s string, encoded bool) bool {
	if encoded {
		for part := range strings.SplitSeq(s, ",") {
			decoded, ok := percentDecode(part)
			if !ok || !m.addresses(list, decoded, false) {
				return false
			}
		}
		return true
	}
	l, ok := mailboxList(s)
	*list = append(*list, l...)
	return ok
}

// field reads "name=value" of the query (RFC 6068, 2: hfield).
func (m *mailto) field(pair string) bool {
	name, value, ok := strings.Cut(pair, "=")
	if !ok {
		return false
	}
	name, ok1 := percentDecode(name)
	value, ok2 := percentDecode(value)
	if !ok1 || !ok2 || !isFieldName(name) {
		return false
	}
	lower := strings.ToLower(name)
	switch {
	case lower == "to" || lower == "cc" || lower == "bcc":
		list := map[string]*message.AddressList{"to": &m.to, "cc": &m.cc, "bcc": &m.bcc}[lower]
		return value == "" || m.addresses(list, value, false)
	case lower == "subject":
		m.subject, m.hasSubject = oneLine(value), true
	case lower == "body":
		m.body = value
	case slices.Contains(unsafeFields, lower), strings.HasPrefix(lower, "content-"):
	default:
		m.header = append(m.header, HeaderField{Name: strings.ToUpper(name[:1]) + name[1:], Text: oneLine(value)})
	}
	return true
}

// percentDecode undoes %xx; ok is false for what is malformed or no UTF-8.
func percentDecode(s string) (string, bool) {
	if strings.ContainsAny(s, " \t\r\n\"<>") {
		return "", false
	}
	if !strings.Contains(s, "%") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+3 > len(s) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil || n == 0 {
			return "", false
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), utf8.Valid(b)
}

// validMethod is valid_notify_method (RFC 5435, 4).
type validMethod struct{ methods []text }

func compileValidMethod(c *compiler, u *usage) test { return &validMethod{c.texts(u.args[0])} }

func (t *validMethod) evaluate(r *run) (bool, error) {
	methods, err := expandAll(r, t.methods)
	if err != nil {
		return false, err
	}
	for _, m := range methods {
		if err := r.work(parseCost * len(m)); err != nil {
			return false, err
		}
		if _, fault := parseMailto(m); fault != "" {
			r.explain("%s", fault)
			return false, nil
		}
	}
	return true, nil
}

// methodCapability is notify_method_capability (RFC 5435, 5).
type methodCapability struct {
	method, capability text
	match              *matcher
}

func compileMethodCapability(c *compiler, u *usage) test {
	return &methodCapability{c.string(u.args[0]), c.string(u.args[1]), c.matcher(u, u.args[2])}
}

func (t *methodCapability) evaluate(r *run) (bool, error) {
	method, err := t.method.expand(r)
	if err != nil {
		return false, err
	}
	capability, err := t.capability.expand(r)
	if err != nil {
		return false, err
	}
	if err := r.work(parseCost * len(method)); err != nil {
		return false, err
	}
	scheme, _, _ := strings.Cut(method, ":")
	switch strings.ToLower(capability) {
	case "online": // nobody knows whether a mail address is being read (RFC 5436, 2.2)
		if _, fault := parseMailto(method); fault != "" {
			return false, nil
		}
		return t.match.any(r, []string{"maybe"})
	case "fcc": // RFC 8580, 6.1: the scheme alone will do
		if r.uses(extFcc) && strings.EqualFold(scheme, "mailto") {
			return t.match.any(r, []string{"yes"})
		}
	}
	return false, nil
}
