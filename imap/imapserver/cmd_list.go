package imapserver

import (
	"cmp"
	"slices"
	"strings"

	"postroad/imap"
)

// Limits of one LIST: its patterns, and their octets with the reference before each. They
// bound the time that matching takes.
const (
	listPatternsMax     = 100
	listPatternBytesMax = 4 << 10
)

// list is a LIST or LSUB command (RFC 9051, 6.3.9; RFC 5258; RFC 3501, 6.3.9).
type list struct {
	lsub       bool
	extended   bool // RFC 5258: selection options, several patterns or RETURN
	reference  string
	patterns   []string
	subscribed bool // selection
	recursive  bool
	special    bool
	returnSubs bool
	status     imap.StatusItems
	myRights   bool
	metadata   *metadataRequest
}

// listed is a mailbox on its way into the response.
type listed struct {
	MailboxInfo
	matches  bool // a pattern
	selected bool // by the selection options
	children bool // there are names below it
	below    bool // of which some are selected
}

// cmdList is LIST.
func (c *Conn) cmdList(cmd *command) error {
	l := &list{}
	cmd.SP()
	if cmd.Next('(') {
		l.extended = true
		cmd.List(func() { l.selection(cmd) })
		cmd.SP()
	}
	if l.recursive && !l.subscribed {
		// RFC 5258, 3.1: RECURSIVEMATCH needs something to match.
		cmd.Fail("RECURSIVEMATCH stands alone")
	}
	l.reference = cmd.Mailbox()
	cmd.SP()
	if cmd.Next('(') {
		l.extended = true
		cmd.List(func() {
			if l.patterns = append(l.patterns, cmd.ListMailbox()); len(l.patterns) > listPatternsMax {
				cmd.Fail("too many patterns")
			}
		})
	} else {
		l.patterns = []string{cmd.ListMailbox()}
	}
	if !cmd.Done() {
		l.extended = true
		cmd.SP()
		if !cmd.SkipWord("RETURN") {
			cmd.Fail("expected RETURN")
		}
		cmd.SP()
		cmd.List(func() { c.listReturns(cmd, l) })
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if l.status&imap.StatusHighestModSeq != 0 {
		if err := c.wantModSeqs(); err != nil {
			return err
		}
	}
	return c.list(cmd, l)
}

// cmdLsub is LSUB, which IMAP4rev2 has no more.
func (c *Conn) cmdLsub(cmd *command) error {
	l := &list{lsub: true, subscribed: true}
	cmd.SP()
	l.reference = cmd.Mailbox()
	cmd.SP()
	l.patterns = []string{cmd.ListMailbox()}
	if err := cmd.args(); err != nil {
		return err
	}
	return c.list(cmd, l)
}

// selection reads a selection option (RFC 5258, 3.1; RFC 6154, 4).
func (l *list) selection(cmd *command) {
	switch cmd.Keyword() {
	case "SUBSCRIBED":
		l.subscribed = true
	case "RECURSIVEMATCH":
		l.recursive = true
	case "SPECIAL-USE":
		l.special = true
	case "REMOTE": // there are no remote mailboxes here
	default:
		cmd.Fail("unknown selection option")
	}
}

// listReturns reads a return option (RFC 5258, 3.2; RFC 5819; RFC 6154, 4; RFC 8440; RFC
// 9590). Children and special uses are always returned.
func (c *Conn) listReturns(cmd *command, l *list) {
	switch word := cmd.Keyword(); {
	case word == "SUBSCRIBED":
		l.returnSubs = true
	case word == "CHILDREN", word == "SPECIAL-USE":
	case word == "STATUS":
		cmd.SP()
		l.status = cmd.statusItems()
	case word == "MYRIGHTS" && c.extends&extACL != 0:
		l.myRights = true
	case word == "METADATA" && c.extends&extMetadata != 0:
		cmd.SP()
		l.metadata = cmd.metadataRequest()
	default:
		cmd.Fail("unknown return option")
	}
}

func (c *Conn) list(cmd *command, l *list) error {
	if !l.extended && !l.lsub && l.patterns[0] == "" {
		// RFC 9051, 6.3.9: an empty name asks for the delimiter.
		delimiter, err := c.hierarchy()
		if err != nil {
			return err
		}
		c.text("* LIST ")
		c.listName([]imap.MailboxAttr{imap.AttrNoselect}, delimiter, "")
		c.text("\r\n")
		return c.ok(cmd, "")
	}
	o := ListOptions{Subscribed: l.subscribed}
	octets := 0
	for _, p := range l.patterns {
		o.Patterns = append(o.Patterns, l.reference+p)
		octets += len(l.reference) + len(p)
	}
	if octets > listPatternBytesMax {
		return imap.No(imap.CodeLimit, "Patterns too long")
	}
	w := &ListWriter{}
	if err := c.session.List(c.ctx, w, o); err != nil {
		return err
	}
	for _, m := range l.choose(w.mailboxes, o.Patterns) {
		if err := c.listLine(l, m); err != nil {
			return err
		}
	}
	return c.ok(cmd, "")
}

// choose returns the mailboxes to tell, in the order of the hierarchy.
func (l *list) choose(mailboxes []MailboxInfo, patterns []string) []*listed {
	all := make(map[string]*listed, len(mailboxes))
	for _, m := range mailboxes {
		all[m.Name] = &listed{MailboxInfo: m}
	}
	for _, m := range mailboxes {
		l.mark(all, m, patterns)
	}
	var out []*listed
	for _, m := range all {
		if m.matches && (m.selected || m.below && (l.recursive || l.lsub && endsWithPercent(patterns))) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *listed) int {
		if d := cmp.Compare(b2i(b.Name == imap.Inbox), b2i(a.Name == imap.Inbox)); d != 0 {
			return d
		}
		return cmp.Compare(hierarchyKey(a.Name, a.Delimiter), hierarchyKey(b.Name, b.Delimiter))
	})
	return out
}

// mark matches one mailbox and tells its parents, making those that are missing.
func (l *list) mark(all map[string]*listed, m MailboxInfo, patterns []string) {
	e := all[m.Name]
	nonExistent := slices.Contains(m.Attributes, imap.AttrNonExistent)
	_, _, special := specialUse(m.Attributes)
	e.matches = matchAny(patterns, m.Name, m.Delimiter)
	e.selected = (!l.subscribed || m.Subscribed) && (!l.special || special) && (l.subscribed || !nonExistent)
	if m.Delimiter == 0 {
		return
	}
	for name := m.Name; ; {
		i := strings.LastIndex(name, string(m.Delimiter))
		if i <= 0 {
			return
		}
		name = name[:i]
		parent := all[name]
		if parent == nil {
			// RFC 9051, 6.3.9: "%" at the end lists levels that are no mailboxes themselves.
			parent = &listed{MailboxInfo: MailboxInfo{Name: name, Delimiter: m.Delimiter,
				Attributes: []imap.MailboxAttr{imap.AttrNonExistent}}}
			parent.matches = matchAny(patterns, name, m.Delimiter)
			all[name] = parent
		}
		parent.children = parent.children || !nonExistent
		parent.below = parent.below || e.selected
		if !l.subscribed && !l.special && e.selected && endsWithPercent(patterns) {
			parent.selected = true
		}
	}
}

func specialUse(attrs []imap.MailboxAttr) (int, imap.MailboxAttr, bool) {
	for i, a := range attrs {
		if u, ok := imap.SpecialUse(a); ok {
			return i, u, true
		}
	}
	return 0, "", false
}

func matchAny(patterns []string, name string, delimiter rune) bool {
	for _, p := range patterns {
		if imap.MatchMailbox(p, name, delimiter) {
			return true
		}
	}
	return false
}

func endsWithPercent(patterns []string) bool {
	for _, p := range patterns {
		if strings.HasSuffix(p, "%") {
			return true
		}
	}
	return false
}

// hierarchyKey sorts a name before those below it and after those below its elder
// siblings.
func hierarchyKey(name string, delimiter rune) string {
	if delimiter == 0 {
		return name
	}
	return strings.ReplaceAll(name, string(delimiter), "\x00")
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// listLine writes the response for one mailbox, and those of RETURN.
func (c *Conn) listLine(l *list, m *listed) error {
	attrs := c.listAttributes(l, m)
	if l.lsub {
		c.text("* LSUB ")
	} else {
		c.text("* LIST ")
	}
	c.listName(attrs, m.Delimiter, m.Name)
	if l.recursive && m.below {
		c.text(` ("CHILDINFO" ("SUBSCRIBED"))`) // RFC 5258, 4
	}
	c.text("\r\n")
	if m.selected && !slices.Contains(m.Attributes, imap.AttrNonExistent) {
		c.listMore(l, m)
	}
	return c.spill()
}

// listMore writes what else is asked for of a mailbox. Where that fails it is left out, and
// the LIST goes on (RFC 5819, 2; RFC 8440, 3; RFC 9590, 3).
func (c *Conn) listMore(l *list, m *listed) {
	passOver := func(err error) {
		if err != nil && c.err == nil {
			c.toAnswer("LIST RETURN", err)
		}
	}
	if l.status != 0 && !slices.Contains(m.Attributes, imap.AttrNoselect) {
		passOver(c.status(m.Name, l.status))
	}
	if l.myRights {
		passOver(c.myRights(m.Name))
	}
	if l.metadata != nil {
		_, err := c.metadata(m.Name, l.metadata)
		passOver(err)
	}
}

// listAttributes returns what a mailbox's line tells besides its name.
func (c *Conn) listAttributes(l *list, m *listed) []imap.MailboxAttr {
	var attrs []imap.MailboxAttr
	for _, a := range m.Attributes {
		if a == imap.AttrNonExistent && !l.extended && !c.rev2 {
			a = imap.AttrNoselect // all that a client without RFC 5258 knows
		}
		if !slices.Contains(attrs, a) {
			attrs = append(attrs, a)
		}
	}
	if l.lsub {
		if !m.selected && !slices.Contains(attrs, imap.AttrNoselect) {
			attrs = append(attrs, imap.AttrNoselect) // RFC 3501, 6.3.9: not subscribed, names below are
		}
		return attrs
	}
	if m.Subscribed && (l.subscribed || l.returnSubs) {
		attrs = append(attrs, imap.AttrSubscribed)
	}
	switch {
	case slices.Contains(attrs, imap.AttrNoinferiors): // says it already (RFC 5258, 4)
	case m.children:
		attrs = append(attrs, imap.AttrHasChildren)
	default:
		attrs = append(attrs, imap.AttrHasNoChildren)
	}
	return attrs
}

// listName writes attributes, delimiter and name.
func (c *Conn) listName(attrs []imap.MailboxAttr, delimiter rune, name string) {
	c.text("(")
	for i, a := range attrs {
		if i > 0 {
			c.text(" ")
		}
		c.text(string(a))
	}
	c.text(") ")
	c.quotedDelimiter(delimiter)
	c.text(" ")
	c.out = imap.AppendMailbox(c.out, name, c.utf8)
}
