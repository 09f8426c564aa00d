package imapserver

import (
	"strings"

	"postroad/imap"
)

// cmdStore is STORE (RFC 9051, 6.4.6), with UNCHANGEDSINCE (RFC 7162, 3.1.3).
func (c *Conn) cmdStore(cmd *command) error {
	o := StoreOptions{UID: cmd.uid}
	cmd.SP()
	set := cmd.NumSet(cmd.uid)
	cmd.SP()
	if cmd.Next('(') {
		cmd.List(func() {
			if cmd.Keyword() != "UNCHANGEDSINCE" {
				cmd.Fail("unknown modifier")
			}
			cmd.SP()
			o.HasUnchangedSince, o.UnchangedSince = true, cmd.Number64()
		})
		cmd.SP()
	}
	silent := cmd.storeFlags(&o)
	if err := cmd.args(); err != nil {
		return err
	}
	if c.readOnly {
		return errReadOnly
	}
	if err := c.resolve(&set); err != nil {
		return err
	}
	if o.HasUnchangedSince {
		if c.noModSeq {
			return imap.Bad("The mailbox keeps no mod-sequences") // RFC 7162, 3.1.2.2
		}
		if err := c.wantModSeqs(); err != nil {
			return err
		}
	}
	w := &UpdateWriter{c: c, uid: cmd.uid, silent: silent}
	d, err := c.session.Store(c.ctx, w, set, o)
	w.flush()
	if err != nil {
		return err
	}
	if d != nil && len(d.Modified) > 0 {
		return c.ok(cmd, imap.Code("MODIFIED "+d.Modified.String()))
	}
	return c.ok(cmd, "")
}

// storeFlags reads [+-]FLAGS[.SILENT] and flags, in parentheses or not.
func (cmd *command) storeFlags(o *StoreOptions) (silent bool) {
	switch {
	case cmd.Skip('+'):
		o.Op = StoreAdd
	case cmd.Skip('-'):
		o.Op = StoreRemove
	}
	word := cmd.Keyword()
	word, silent = strings.CutSuffix(word, ".SILENT")
	if word != "FLAGS" {
		cmd.Fail("expected FLAGS")
	}
	cmd.SP()
	if cmd.Next('(') {
		o.Flags = cmd.FlagList()
	} else {
		o.Flags = []imap.Flag{cmd.Flag()}
		for cmd.Skip(' ') {
			o.Flags = append(o.Flags, cmd.Flag())
		}
	}
	for _, f := range o.Flags {
		// RFC 3501, 2.3.2: \Recent cannot be altered by clients; flags beginning with a
		// backslash are only those defined.
		if f.IsSystem() && !settable(f) {
			cmd.Fail("no such flag")
		}
	}
	return silent
}

// settable tells whether a client may set a system flag.
func settable(f imap.Flag) bool {
	switch f {
	case imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft:
		return true
	}
	return false
}
