package imapserver

import (
	"strconv"

	"postroad/imap"
)

// qresync is the parameter of SELECT (RFC 7162, 3.2.5).
type qresync struct {
	uidValidity uint32
	modSeq      uint64
	known       imap.UIDSet
	match       *SeqMatch
}

// cmdSelect is SELECT (RFC 9051, 6.3.2).
func (c *Conn) cmdSelect(cmd *command) error { return c.open(cmd, SelectOptions{}) }

// cmdExamine is EXAMINE (RFC 9051, 6.3.3).
func (c *Conn) cmdExamine(cmd *command) error { return c.open(cmd, SelectOptions{ReadOnly: true}) }

func (c *Conn) open(cmd *command, o SelectOptions) error {
	cmd.SP()
	mailbox := cmd.Mailbox()
	var resync *qresync
	if !cmd.Done() {
		cmd.SP()
		cmd.List(func() {
			switch cmd.Keyword() {
			case "CONDSTORE":
				o.CondStore = true
			case "QRESYNC":
				resync = cmd.qresync()
			default:
				cmd.Fail("unknown parameter")
			}
		})
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if resync != nil && !c.qresync {
		return imap.Bad("QRESYNC is not enabled") // RFC 7162, 3.2.5
	}
	if c.state == selected {
		// RFC 9051, 6.3.2: the old mailbox is left even if the new one cannot be opened.
		if err := c.unselect(); err != nil {
			return err
		}
		c.untagged(imap.OK, imap.CodeClosed, "Previous mailbox closed")
	}
	c.condStore = c.condStore || o.CondStore
	o.CondStore = c.condStore
	d, err := c.session.Select(c.ctx, mailbox, o)
	if err != nil {
		return err
	}
	c.state, c.mailbox, c.exists, c.validity, c.saved = selected, d.Mailbox, d.Exists, d.UIDValidity, nil
	c.readOnly, c.noModSeq = o.ReadOnly || d.ReadOnly, d.HighestModSeq == 0
	c.selectData(d)
	if resync != nil && !c.noModSeq && resync.uidValidity == d.UIDValidity {
		if err := c.resync(resync, d); err != nil {
			return err
		}
	}
	code := imap.CodeReadWrite
	if c.readOnly {
		code = imap.CodeReadOnly
	}
	c.done(cmd, code)
	return nil
}

// qresync reads (uidvalidity modseq [known-uids] [(seqs uids)]).
func (cmd *command) qresync() *qresync {
	q := &qresync{}
	cmd.SP()
	cmd.Expect('(')
	q.uidValidity = cmd.NonZero()
	cmd.SP()
	q.modSeq = cmd.Number64()
	if cmd.Skip(' ') {
		if !cmd.Next('(') {
			q.known = cmd.UIDSet()
			if !cmd.Skip(' ') {
				cmd.Expect(')')
				return q
			}
		}
		cmd.Expect('(')
		q.match = &SeqMatch{Seqs: imap.SeqSet(cmd.UIDSet())}
		cmd.SP()
		q.match.UIDs = cmd.UIDSet()
		cmd.Expect(')')
		if q.match.Seqs.Count() != q.match.UIDs.Count() {
			cmd.Fail("the two sets are not of one length")
		}
	}
	cmd.Expect(')')
	return q
}

// numberCode is a response code with a number.
func numberCode(word string, n uint64) imap.Code {
	return imap.Code(word + " " + strconv.FormatUint(n, 10))
}

// selectData writes the responses of SELECT (RFC 9051, 6.3.2; RFC 3501, 6.3.1).
func (c *Conn) selectData(d *SelectData) {
	c.text("* FLAGS ")
	c.out = append(imap.AppendFlags(c.out, d.Flags), "\r\n"...)
	c.text("* OK [PERMANENTFLAGS ")
	permanent := d.PermanentFlags
	if c.readOnly {
		permanent = nil
	}
	c.out = append(imap.AppendFlags(c.out, permanent), "] Flags permitted\r\n"...)
	c.text("* ", strconv.FormatUint(uint64(d.Exists), 10), " EXISTS\r\n")
	if !c.rev2 {
		c.text("* 0 RECENT\r\n")
		if d.Unseen != 0 {
			c.untagged(imap.OK, numberCode("UNSEEN", uint64(d.Unseen)), "First unseen")
		}
	}
	c.untagged(imap.OK, numberCode("UIDVALIDITY", uint64(d.UIDValidity)), "UIDs valid")
	c.untagged(imap.OK, numberCode("UIDNEXT", uint64(d.UIDNext)), "Predicted next UID")
	if d.HighestModSeq != 0 {
		c.untagged(imap.OK, numberCode("HIGHESTMODSEQ", d.HighestModSeq), "Highest mod-sequence")
	} else {
		c.untagged(imap.OK, imap.CodeNoModSeq, "No permanent mod-sequences")
	}
	if d.MailboxID != "" {
		c.untagged(imap.OK, imap.Code("MAILBOXID ("+d.MailboxID+")"), "Mailbox id") // RFC 8474, 4.2
	}
	if c.rev2 {
		c.text("* LIST ")
		c.listName(d.Attributes, d.Delimiter, d.Mailbox)
		c.text("\r\n")
	}
}

// resync tells what has changed since the client last saw the mailbox: the same as UID
// FETCH known (FLAGS) (CHANGEDSINCE modseq VANISHED) (RFC 7162, 3.2.5.1).
func (c *Conn) resync(q *qresync, d *SelectData) error {
	known := q.known
	if known == nil {
		if d.UIDNext <= 1 {
			return nil
		}
		known = imap.UIDSet{{First: 1, Last: d.UIDNext - 1}}
	}
	w := &FetchWriter{c: c, uid: true}
	return w.abandon(c.session.Fetch(c.ctx, w, imap.NumSetUID(known), FetchOptions{
		UID: true, Flags: true, ModSeq: true, ChangedSince: q.modSeq, Vanished: true, Match: q.match,
	}))
}

// unselect leaves the selected mailbox.
func (c *Conn) unselect() error {
	c.state, c.mailbox, c.exists, c.validity, c.saved = authenticated, "", 0, 0, nil
	c.contexts = nil // RFC 5267, 4.3: updates cease
	return c.session.Unselect(c.ctx)
}
