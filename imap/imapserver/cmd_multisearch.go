package imapserver

import (
	"cmp"

	"postroad/imap"
)

// cmdESearch is ESEARCH, which searches other mailboxes than the selected one (RFC 7377).
func (c *Conn) cmdESearch(cmd *command) error {
	s := &search{extended: true}
	cmd.SP()
	sources := []SearchSource{{Kind: SourceSelected}}
	if cmd.SkipWord("IN") {
		cmd.SP()
		sources = cmd.searchSources()
		cmd.SP()
	}
	c.returnOptions(cmd, s)
	key, err := c.readKey(cmd, s, cmd.SearchProgram)
	if err != nil {
		return err
	}
	onlySelected, withSelected := true, false
	for _, source := range sources {
		onlySelected = onlySelected && source.Kind == SourceSelected
		withSelected = withSelected || source.Kind == SourceSelected
	}
	switch { // RFC 7377, 2.2
	case (withSelected || s.update) && c.state != selected:
		return imap.Bad("No mailbox is selected")
	case s.save && !onlySelected:
		return imap.Bad("SAVE is for the selected mailbox only")
	case onlySelected:
		return c.searchSelected(cmd, s, key)
	}
	return c.multiSearch(cmd, s, sources, key)
}

// searchSelected searches the selected mailbox as ESEARCH does it.
func (c *Conn) searchSelected(cmd *command, s *search, key *imap.SearchKey) error {
	if err := c.settleKey(s, key); err != nil {
		return err
	}
	o, refused, err := c.searchOptions(cmd, s)
	if err != nil {
		return err
	}
	o.UID = true
	d, err := c.session.Search(c.ctx, key, o)
	if err != nil {
		c.notSaved(s)
		return err
	}
	if err := c.saveSet(s, d); err != nil {
		return err
	}
	w := &MultiSearchWriter{c: c, cmd: cmd, search: s}
	if err := w.Result(c.mailbox, c.validity, d); err != nil {
		return err
	}
	c.updating(cmd, s, o, cmp.Or(refused, d.NoUpdate))
	return c.ok(cmd, "")
}

// multiSearch searches many mailboxes.
func (c *Conn) multiSearch(cmd *command, s *search, sources []SearchSource, key *imap.SearchKey) error {
	saved := false
	key.Walk(func(k *imap.SearchKey) { saved = saved || k.Op == imap.SearchNumbers && k.Set.Saved })
	if saved {
		return imap.Bad(`"$" is of the selected mailbox only`)
	}
	if s.modSeq {
		if err := c.wantModSeqs(); err != nil {
			return err
		}
	}
	o := SearchOptions{UID: true, Need: s.need(), Window: s.window, Context: s.context}
	w := &MultiSearchWriter{c: c, cmd: cmd, search: s}
	if err := c.session.(MultiSearcher).MultiSearch(c.ctx, w, sources, key, o); err != nil {
		return err
	}
	// RFC 7377, 2.2: updates are of the selected mailbox only.
	c.updating(cmd, s, o, "Many mailboxes are not kept up to date")
	return c.ok(cmd, "")
}

// searchSources reads the source options (esearch-source-opts of RFC 7377, 4). There are no
// scope options yet.
func (cmd *command) searchSources() []SearchSource {
	var sources []SearchSource
	names := 0
	cmd.List(func() {
		source := SearchSource{}
		switch word := cmd.Keyword(); word {
		case "SELECTED":
		case "INBOXES":
			source.Kind = SourceInboxes
		case "PERSONAL":
			source.Kind = SourcePersonal
		case "SUBSCRIBED":
			source.Kind = SourceSubscribed
		case "SUBTREE":
			source.Kind = SourceSubtree
		case "SUBTREE-ONE":
			source.Kind = SourceSubtreeOne
		case "MAILBOXES":
			source.Kind = SourceMailboxes
		default:
			cmd.Fail("unknown source option")
		}
		if source.Kind >= SourceSubtree {
			cmd.SP()
			source.Mailboxes = cmd.mailboxes()
		}
		sources = append(sources, source)
		if names += 1 + len(source.Mailboxes); names > MultiSearchMailboxesMax {
			cmd.Fail("too many mailboxes")
		}
	})
	if len(sources) == 0 {
		cmd.Fail("expected a source option")
	}
	return sources
}

// mailboxes reads a mailbox name or several in parentheses (one-or-more-mailbox of RFC 5465,
// 8).
func (cmd *command) mailboxes() []string {
	if !cmd.Next('(') {
		return []string{cmd.Mailbox()}
	}
	var names []string
	cmd.List(func() { names = append(names, cmd.Mailbox()) })
	if len(names) == 0 {
		cmd.Fail("expected a mailbox name")
	}
	return names
}
