package imapserver

import "postroad/imap"

// cmdEnable is ENABLE (RFC 9051, 6.3.1). What is not known is passed over.
func (c *Conn) cmdEnable(cmd *command) error {
	var asked []string
	for !cmd.Done() {
		cmd.SP()
		asked = append(asked, cmd.Keyword())
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if len(asked) == 0 {
		return imap.Bad("Syntax error: expected a capability")
	}
	c.text("* ENABLED")
	hadCondStore := c.condStore
	for _, word := range asked {
		cap, new := c.enable(word)
		if cap == imap.CapCondStore {
			new = !hadCondStore // though QRESYNC, named before it, has put it in force
		}
		if new {
			c.text(" ", string(cap))
		}
	}
	c.text("\r\n")
	return c.ok(cmd, "")
}

// enable puts an extension in force and tells whether it was not so before.
func (c *Conn) enable(word string) (cap imap.Capability, new bool) {
	set := func(cap imap.Capability, to ...*bool) (imap.Capability, bool) {
		new := !*to[0]
		for _, b := range to {
			*b = true
		}
		return cap, new
	}
	switch word {
	case "CONDSTORE":
		return set(imap.CapCondStore, &c.condStore)
	case "QRESYNC":
		return set(imap.CapQResync, &c.qresync, &c.condStore) // RFC 7162, 3.2.3
	case "UTF8=ACCEPT":
		return set(imap.CapUTF8Accept, &c.utf8)
	case "IMAP4REV2":
		return set(imap.CapIMAP4rev2, &c.rev2, &c.utf8) // RFC 9051, 5.1 and 4.3: names and strings are UTF-8
	}
	return "", false
}

// wantModSeqs is called for every command that enables CONDSTORE by being used (RFC 7162,
// 3.1). The first one while a mailbox is selected is told its highest mod-sequence.
func (c *Conn) wantModSeqs() error {
	if c.condStore {
		return nil
	}
	c.condStore = true
	if c.state != selected || c.noModSeq {
		return nil
	}
	d, err := c.session.Status(c.ctx, c.mailbox, imap.StatusHighestModSeq)
	if err != nil {
		return err
	}
	c.untagged(imap.OK, numberCode("HIGHESTMODSEQ", d.HighestModSeq), "Highest mod-sequence")
	return nil
}
