package imapserver

import (
	"cmp"
	"strconv"

	"postroad/imap"
)

// savedRangesMax bounds a saved search result, in ranges of 8 octets. A result above it is
// not saved: NO [NOTSAVED] (RFC 5182, 2.1).
const savedRangesMax = 64 * 1024

// search is the result options of a searching command (RFC 4731, 3.1; RFC 5182; RFC 5267;
// RFC 6203; RFC 9394), and what its key asks for.
type search struct {
	extended  bool // ESEARCH is the answer
	min       bool
	max       bool
	all       bool
	count     bool
	save      bool
	relevancy bool
	context   bool
	update    bool
	window    imap.Window
	modSeq    bool // the key looks at mod-sequences
}

// cmdSearch is SEARCH (RFC 9051, 6.4.4).
func (c *Conn) cmdSearch(cmd *command) error {
	s := &search{extended: c.rev2}
	cmd.SP()
	c.returnOptions(cmd, s)
	key, err := c.searchKey(cmd, s, cmd.SearchProgram)
	if err != nil {
		return err
	}
	o, refused, err := c.searchOptions(cmd, s)
	if err != nil {
		return err
	}
	d, err := c.session.Search(c.ctx, key, o)
	if err != nil {
		c.notSaved(s)
		return err
	}
	if err := c.saveSet(s, d); err != nil {
		return err
	}
	r := searchResult(cmd.uid, d)
	if s.extended {
		c.esearch(cmd, s, r, nil)
	} else {
		c.plainResult("* SEARCH", s, r)
	}
	c.updating(cmd, s, o, cmp.Or(refused, d.NoUpdate))
	return c.ok(cmd, "")
}

// returnOptions reads RETURN and result options, if they come next, and the space behind
// them.
func (c *Conn) returnOptions(cmd *command, s *search) {
	if cmd.SkipWord("RETURN") {
		s.extended = true
		cmd.SP()
		cmd.List(func() { c.returnOption(cmd, s) })
		cmd.SP()
	}
	if s.all && !s.window.IsZero() {
		cmd.Fail("ALL and PARTIAL exclude each other") // RFC 9394, 3.1
	}
	if !s.answers() && !s.save && !s.update {
		s.all = true // RFC 4731, 3.1: nothing named is ALL
	}
}

// answers tells whether an option asks for something of the result.
func (s *search) answers() bool {
	return s.min || s.max || s.all || s.count || s.relevancy || !s.window.IsZero()
}

// returnOption reads a result option.
func (c *Conn) returnOption(cmd *command, s *search) {
	switch word := cmd.Keyword(); {
	case word == "MIN":
		s.min = true
	case word == "MAX":
		s.max = true
	case word == "ALL":
		s.all = true
	case word == "COUNT":
		s.count = true
	case word == "SAVE":
		s.save = true
	case word == "PARTIAL":
		if !s.window.IsZero() {
			cmd.Fail("PARTIAL comes twice")
		}
		cmd.SP()
		s.window = cmd.Window()
	case word == "RELEVANCY" && c.extends&extFuzzy != 0:
		s.relevancy = true
	case word == "CONTEXT" && c.extends&extContext != 0:
		s.context = true
	case word == "UPDATE" && c.extends&extContext != 0:
		s.update = true
	default:
		cmd.Fail("unknown result option")
	}
}

// searchKey reads the search program that ends a command and gets it ready for a search of
// the selected mailbox.
func (c *Conn) searchKey(cmd *command, s *search, read func() (imap.SearchKey, error)) (*imap.SearchKey, error) {
	key, err := c.readKey(cmd, s, read)
	if err != nil {
		return nil, err
	}
	return key, c.settleKey(s, key)
}

// readKey reads a search program and refuses what the session does not know.
func (c *Conn) readKey(cmd *command, s *search, read func() (imap.SearchKey, error)) (*imap.SearchKey, error) {
	key, err := read()
	if e := cmd.args(); e != nil && err == nil {
		return nil, e
	}
	if err != nil {
		c.notSaved(s)
		return nil, imap.No("BADCHARSET (UTF-8 US-ASCII)", "Charset not known")
	}
	fuzzy := key.HasFuzzy()
	switch {
	case fuzzy && c.extends&extFuzzy == 0:
		return nil, imap.Bad("There is no search key FUZZY")
	case s.relevancy && !fuzzy:
		return nil, imap.Bad("RELEVANCY needs a search key FUZZY") // RFC 6203, 4
	}
	s.modSeq = key.HasModSeq()
	return &key, nil
}

// settleKey puts for the sets of a search program what they stand for in the selected
// mailbox, and has mod-sequences told if the program asks for them.
func (c *Conn) settleKey(s *search, key *imap.SearchKey) error {
	if s.modSeq {
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
	return nil
}

// searchOptions returns what the session is asked for. refused says why the result cannot be
// kept up to date.
func (c *Conn) searchOptions(cmd *command, s *search) (o SearchOptions, refused string, err error) {
	o = SearchOptions{UID: cmd.uid, Need: s.need(), Window: s.window, Context: s.context}
	if !s.update {
		return o, "", nil
	}
	if c.findContext(cmd.tag) != nil {
		return o, "", imap.Bad("The tag is that of a search which is kept up to date") // RFC 5267, 4.3
	}
	if len(c.contexts) >= ContextsMax {
		return o, "Too many contexts", nil
	}
	o.Update = cmd.tag
	return o, "", nil
}

// need says what of the result is wanted.
func (s *search) need() SearchNeed {
	var n SearchNeed
	for _, want := range []struct {
		on   bool
		need SearchNeed
	}{
		{s.min, NeedMin}, {s.max, NeedMax}, {s.count, NeedCount}, {s.all || s.saveAll(), NeedAll},
		{!s.window.IsZero(), NeedWindow}, {s.relevancy, NeedRelevancy},
	} {
		if want.on {
			n |= want.need
		}
	}
	return n
}

// saveAll tells whether SAVE means the whole result and not only what MIN, MAX and PARTIAL
// return (RFC 5182, 2.4; RFC 9394, 3.2).
func (s *search) saveAll() bool {
	return s.save && (s.all || s.count || !s.min && !s.max && s.window.IsZero())
}

// notSaved empties the saved result after a SEARCH with SAVE was refused (RFC 5182, 2.1).
func (c *Conn) notSaved(s *search) {
	if s.save {
		c.saved = nil
	}
}

// saveSet saves the result of a search, if SAVE asks for it.
func (c *Conn) saveSet(s *search, d *SearchData) error {
	if !s.save {
		return nil
	}
	return c.saveResult(s, searchResult(true, d))
}

// saveResult saves what the options mean of a result of UIDs.
func (c *Conn) saveResult(s *search, r *result) error {
	c.saved = nil
	var saved imap.UIDSet
	switch {
	case s.saveAll():
		saved = r.asSet()
	case !s.window.IsZero():
		saved = r.in(s.window).asSet()
	}
	if r.count() > 0 && s.min {
		saved.Add(r.first())
	}
	if r.count() > 0 && s.max {
		saved.Add(r.last())
	}
	if len(saved) > savedRangesMax {
		return imap.No(imap.CodeNotSaved, "The result is too large to be saved")
	}
	c.saved = saved
	return nil
}

// plainResult writes SEARCH or SORT without result options.
func (c *Conn) plainResult(name string, s *search, r *result) {
	c.text(name)
	for n := range r.all() {
		c.out = strconv.AppendUint(append(c.out, ' '), uint64(n), 10)
		if c.spill() != nil {
			return
		}
	}
	if s.modSeq && r.count() > 0 {
		c.text(" (MODSEQ ", strconv.FormatUint(r.modSeq, 10), ")") // RFC 7162, 3.1.5 and 3.1.9
	}
	c.text("\r\n")
}

// esearch writes an ESEARCH response, of a mailbox that is not the selected one with its
// name.
func (c *Conn) esearch(cmd *command, s *search, r *result, of *correlator) {
	if !s.answers() {
		return // SAVE alone has no response (RFC 5182, 2.1), nor has UPDATE
	}
	c.text("* ESEARCH (TAG ")
	c.out = imap.AppendString(c.out, cmd.tag)
	if of != nil {
		c.text(" MAILBOX ")
		c.out = imap.AppendMailbox(c.out, of.mailbox, c.utf8)
		c.text(" UIDVALIDITY ", strconv.FormatUint(uint64(of.uidValidity), 10))
	}
	c.text(")")
	if cmd.uid || of != nil {
		c.text(" UID")
	}
	number := func(word string, n uint64) {
		c.text(" ", word, " ", strconv.FormatUint(n, 10))
	}
	if s.min && r.count() > 0 {
		number("MIN", uint64(r.first()))
	}
	if s.max && r.count() > 0 {
		number("MAX", uint64(r.last()))
	}
	if s.all && r.count() > 0 {
		c.text(" ALL ")
		c.resultSet(r)
	}
	shown := r
	if !s.window.IsZero() {
		shown = r.in(s.window)
		c.text(" PARTIAL (", s.window.String(), " ")
		c.resultSet(shown)
		c.text(")")
	}
	if s.count {
		number("COUNT", r.count())
	}
	if s.relevancy {
		c.relevancy(shown)
	}
	if s.modSeq && r.count() > 0 {
		number("MODSEQ", s.highest(r))
	}
	c.text("\r\n")
}

// highest is the mod-sequence that ESEARCH tells: of MIN and MAX alone it is that of the
// messages returned (RFC 4731, 3.2).
func (s *search) highest(r *result) uint64 {
	switch {
	case s.all || s.count || !s.window.IsZero():
	case s.min && s.max:
		return max(r.firstModSeq, r.lastModSeq)
	case s.min:
		return r.firstModSeq
	case s.max:
		return r.lastModSeq
	}
	return r.modSeq
}

// relevancy writes the scores of the messages shown (RFC 6203, 4).
func (c *Conn) relevancy(r *result) {
	c.text(" RELEVANCY (")
	for i, score := range r.relevancy {
		if i > 0 {
			c.out = append(c.out, ' ')
		}
		c.out = strconv.AppendUint(c.out, uint64(min(max(score, 1), 100)), 10)
		if c.spill() != nil {
			return
		}
	}
	c.text(")")
}

// updating notes that a result is kept up to date, or tells why it is not (RFC 5267, 4.3.1).
func (c *Conn) updating(cmd *command, s *search, o SearchOptions, refused string) {
	if !s.update {
		return
	}
	if refused != "" {
		c.untagged(imap.NO, imap.Code(imap.AppendString([]byte("NOUPDATE "), cmd.tag)), refused)
		return
	}
	c.contexts = append(c.contexts, searchContext{cmd.tag, o.UID})
}
