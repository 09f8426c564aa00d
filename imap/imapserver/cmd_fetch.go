package imapserver

import (
	"strings"

	"postroad/imap"
)

// fetchSectionsMax bounds the sections of one FETCH.
const fetchSectionsMax = 1000

// cmdFetch is FETCH (RFC 9051, 6.4.5), with CHANGEDSINCE and VANISHED (RFC 7162, 3.1.4 and
// 3.2.6) and PARTIAL (RFC 9394, 3.3).
func (c *Conn) cmdFetch(cmd *command) error {
	o := FetchOptions{UID: cmd.uid}
	cmd.SP()
	set := cmd.NumSet(cmd.uid)
	cmd.SP()
	cmd.fetchItems(&o)
	changedSince := false
	var window imap.Window
	if !cmd.Done() {
		cmd.SP()
		cmd.List(func() {
			switch cmd.Keyword() {
			case "CHANGEDSINCE":
				cmd.SP()
				changedSince, o.ChangedSince = true, cmd.Number64()
			case "VANISHED":
				o.Vanished = true
			case "PARTIAL":
				cmd.SP()
				window = cmd.Window()
			default:
				cmd.Fail("unknown modifier")
			}
		})
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if o.Vanished && (!cmd.uid || !changedSince || !c.qresync) {
		return imap.Bad("VANISHED needs UID FETCH, CHANGEDSINCE and QRESYNC") // RFC 7162, 3.2.6
	}
	if !window.IsZero() && (!cmd.uid || o.Vanished) {
		return imap.Bad("PARTIAL needs UID FETCH, without VANISHED") // RFC 9394, 3.3
	}
	if err := c.resolve(&set); err != nil {
		return err
	}
	if err := c.fetchWindow(&set, window); err != nil {
		return err
	}
	if err := c.fetchModSeq(&o, changedSince); err != nil {
		return err
	}
	for _, s := range o.Sections {
		o.SetSeen = o.SetSeen || s.SetsSeen() && !c.readOnly
	}
	if o.SetSeen && c.condStore {
		o.ModSeq = true // RFC 7162, 3.2.4: with every change of flags that is told
	}
	w := &FetchWriter{c: c, uid: o.UID}
	if err := c.session.Fetch(c.ctx, w, set, o); err != nil {
		return w.abandon(err)
	}
	return c.ok(cmd, "")
}

// fetchWindow leaves of a set the messages that are in the window (RFC 9394, 3.3).
func (c *Conn) fetchWindow(set *imap.NumSet, window imap.Window) error {
	if window.IsZero() {
		return nil
	}
	d, err := c.session.Search(c.ctx, &imap.SearchKey{Op: imap.SearchNumbers, Set: *set},
		SearchOptions{UID: true, Need: NeedWindow, Window: window})
	if err != nil {
		return err
	}
	*set = imap.NumSetUID(searchResult(true, d).in(window).asSet())
	return nil
}

// fetchModSeq enables CONDSTORE if the command uses it (RFC 7162, 3.1).
func (c *Conn) fetchModSeq(o *FetchOptions, changedSince bool) error {
	if changedSince || o.ModSeq {
		if c.noModSeq {
			return imap.Bad("The mailbox keeps no mod-sequences")
		}
		o.ModSeq = true // RFC 7162, 3.1.4.1
		if err := c.wantModSeqs(); err != nil {
			return err
		}
	}
	// RFC 7162, 3.2.4, and RFC 9051, 7.5.2: FETCH responses have the UID.
	if c.qresync {
		o.UID = true
	}
	return nil
}

// fetchItems reads a macro, an item or a list of items.
func (cmd *command) fetchItems(o *FetchOptions) {
	if cmd.Next('(') {
		cmd.List(func() { cmd.fetchItem(o, false) })
		return
	}
	cmd.fetchItem(o, true)
}

// fetchItem reads one item; macros stand alone (RFC 9051, 6.4.5).
func (cmd *command) fetchItem(o *FetchOptions, alone bool) {
	word := cmd.Word(".", "a FETCH item")
	switch name := strings.ToUpper(word); {
	case alone && cmd.fetchMacro(o, name):
	case cmd.fetchPlain(o, name):
	default:
		cmd.fetchSection(o, name)
	}
}

func (cmd *command) fetchMacro(o *FetchOptions, name string) bool {
	switch name {
	case "FULL":
		o.Body = true
		fallthrough
	case "ALL":
		o.Envelope = true
		fallthrough
	case "FAST":
		o.Flags, o.InternalDate, o.Size = true, true, true
		return true
	}
	return false
}

// fetchPlain sets an item that has no section.
func (cmd *command) fetchPlain(o *FetchOptions, name string) bool {
	switch name {
	case "UID":
		o.UID = true
	case "FLAGS":
		o.Flags = true
	case "INTERNALDATE":
		o.InternalDate = true
	case "RFC822.SIZE":
		o.Size = true
	case "ENVELOPE":
		o.Envelope = true
	case "BODYSTRUCTURE":
		o.BodyStructure = true
	case "MODSEQ":
		o.ModSeq = true
	case "SAVEDATE":
		o.SaveDate = true
	case "EMAILID":
		o.EmailID = true
	case "THREADID":
		o.ThreadID = true
	case "BODY":
		if cmd.Next('[') {
			return false
		}
		o.Body = true
	default:
		return false
	}
	return true
}

// fetchSection reads an item that names octets of the message.
func (cmd *command) fetchSection(o *FetchOptions, name string) {
	s := &imap.Section{}
	switch name {
	case "BODY":
	case "BODY.PEEK":
		s.Peek = true
	case "BINARY":
		s.Item = imap.ItemBinary
	case "BINARY.PEEK":
		s.Item, s.Peek = imap.ItemBinary, true
	case "BINARY.SIZE":
		s.Item = imap.ItemBinarySize
	case "RFC822":
		s.Item = imap.ItemRFC822
	case "RFC822.HEADER":
		s.Item, s.Specifier = imap.ItemRFC822Header, imap.Header
	case "RFC822.TEXT":
		s.Item, s.Specifier = imap.ItemRFC822Text, imap.Text
	default:
		cmd.Fail("unknown FETCH item")
		return
	}
	if s.Item <= imap.ItemBinarySize {
		cmd.Section(s)
	}
	if o.Sections = append(o.Sections, s); len(o.Sections) > fetchSectionsMax {
		cmd.Fail("too many sections")
	}
}
