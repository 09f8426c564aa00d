package imapserver

import (
	"strconv"

	"postroad/imap"
)

// savedRangesMax bounds a saved search result, in ranges of 8 octets. A result above it is
// not saved: NO [NOTSAVED] (RFC 5182, 2.1).
const savedRangesMax = 64 * 1024

// search is a SEARCH command's result options (RFC 4731, 3.1; RFC 5182).
type search struct {
	extended bool // ESEARCH is the answer
	min      bool
	max      bool
	all      bool
	count    bool
	save     bool
}

// cmdSearch is SEARCH (RFC 9051, 6.4.4).
func (c *Conn) cmdSearch(cmd *command) error {
	s := search{extended: c.rev2}
	cmd.SP()
	if cmd.SkipWord("RETURN") {
		s.extended = true
		cmd.SP()
		cmd.List(func() { s.option(cmd) })
		cmd.SP()
	}
	if !s.min && !s.max && !s.count && !s.save {
		s.all = true // RFC 4731, 3.1: nothing named is ALL
	}
	key, err := cmd.SearchProgram()
	if e := cmd.args(); e != nil && err == nil {
		return e
	}
	if err != nil {
		c.notSaved(s)
		return imap.No("BADCHARSET (UTF-8 US-ASCII)", "Charset not known")
	}
	modSeq := key.HasModSeq()
	if modSeq {
		if c.noModSeq {
			return imap.Bad("The mailbox keeps no mod-sequences")
		}
		if err := c.wantModSeqs(); err != nil {
			return err
		}
	}
	key.Walk(func(k *imap.SearchKey) {
		if k.Op == imap.SearchNumbers {
			c.settle(&k.Set)
		}
	})
	d, err := c.session.Search(c.ctx, &key, SearchOptions{UID: cmd.uid, Need: s.need()})
	if err != nil {
		c.notSaved(s)
		return err
	}
	if s.save {
		if err := c.saveResult(s, d); err != nil {
			return err
		}
	}
	c.searchResult(cmd, s, d, modSeq)
	return c.ok(cmd, "")
}

// option reads a result option.
func (s *search) option(cmd *command) {
	switch cmd.Keyword() {
	case "MIN":
		s.min = true
	case "MAX":
		s.max = true
	case "ALL":
		s.all = true
	case "COUNT":
		s.count = true
	case "SAVE":
		s.save = true
	default:
		cmd.Fail("unknown result option")
	}
}

// need says what of the result is wanted.
func (s *search) need() SearchNeed {
	var n SearchNeed
	if s.min {
		n |= NeedMin
	}
	if s.max {
		n |= NeedMax
	}
	if s.count {
		n |= NeedCount
	}
	if s.all || s.saveAll() {
		n |= NeedAll
	}
	return n
}

// saveAll tells whether SAVE means the whole result and not only MIN and MAX (RFC 5182,
// 2.4).
func (s *search) saveAll() bool { return s.save && (s.all || s.count || !s.min && !s.max) }

// notSaved empties the saved result after a SEARCH with SAVE was refused (RFC 5182, 2.1).
func (c *Conn) notSaved(s search) {
	if s.save {
		c.saved = nil
	}
}

func (c *Conn) saveResult(s search, d *SearchData) error {
	c.saved = nil
	if s.saveAll() {
		if len(d.UIDs) > savedRangesMax {
			return imap.No(imap.CodeNotSaved, "The result is too large to be saved")
		}
		c.saved = append(c.saved, d.UIDs...)
		return nil
	}
	if len(d.UIDs) > 0 && s.min {
		c.saved.Add(d.UIDs.Min())
	}
	if len(d.UIDs) > 0 && s.max {
		c.saved.Add(d.UIDs.Max())
	}
	return nil
}

// searchResult writes SEARCH or ESEARCH.
func (c *Conn) searchResult(cmd *command, s search, d *SearchData, modSeq bool) {
	found := d.UIDs
	if !cmd.uid {
		found = imap.UIDSet(d.Seqs)
	}
	if s.extended {
		c.esearch(cmd, s, d, found, modSeq)
		return
	}
	c.text("* SEARCH")
	for n := range found.All() {
		c.out = strconv.AppendUint(append(c.out, ' '), uint64(n), 10)
		if c.spill() != nil {
			return
		}
	}
	if modSeq && len(found) > 0 {
		c.text(" (MODSEQ ", strconv.FormatUint(d.ModSeq, 10), ")") // RFC 7162, 3.1.5
	}
	c.text("\r\n")
}

func (c *Conn) esearch(cmd *command, s search, d *SearchData, found imap.UIDSet, modSeq bool) {
	if !s.min && !s.max && !s.all && !s.count {
		return // SAVE alone has no response (RFC 5182, 2.1)
	}
	c.text("* ESEARCH (TAG ")
	c.out = imap.AppendString(c.out, cmd.tag)
	c.text(")")
	if cmd.uid {
		c.text(" UID")
	}
	number := func(word string, n uint64) {
		c.text(" ", word, " ", strconv.FormatUint(n, 10))
	}
	if len(found) > 0 {
		if s.min {
			number("MIN", uint64(found.Min()))
		}
		if s.max {
			number("MAX", uint64(found.Max()))
		}
		if s.all {
			c.text(" ALL ")
			c.out = found.Append(c.out)
		}
	}
	if s.count {
		number("COUNT", found.Count())
	}
	if modSeq && len(found) > 0 {
		// RFC 4731, 3.2: of MIN and MAX alone it is that of the messages returned.
		n := d.ModSeq
		switch {
		case s.all || s.count:
		case s.min && s.max:
			n = max(d.MinModSeq, d.MaxModSeq)
		case s.min:
			n = d.MinModSeq
		case s.max:
			n = d.MaxModSeq
		}
		number("MODSEQ", n)
	}
	c.text("\r\n")
}
