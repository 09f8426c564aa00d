package imapserver

import (
	"cmp"
	"slices"

	"postroad/imap"
)

// cmdSort is SORT (RFC 5256, 3; RFC 5267, 3), with DISPLAYFROM and DISPLAYTO (RFC 5957) and
// RELEVANCY (RFC 6203, 6).
func (c *Conn) cmdSort(cmd *command) error {
	s := &search{}
	cmd.SP()
	c.returnOptions(cmd, s)
	keys := cmd.SortKeys()
	cmd.SP()
	key, err := c.searchKey(cmd, s, cmd.CharsetProgram)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(keys, func(k imap.SortKey) bool { return k.By == imap.SortRelevancy }) && !key.HasFuzzy() {
		return imap.Bad("RELEVANCY needs a search key FUZZY") // RFC 6203, 6
	}
	o, refused, err := c.searchOptions(cmd, s)
	if err != nil {
		return err
	}
	d, err := c.session.(Orderer).Sort(c.ctx, keys, key, o)
	if err != nil {
		c.notSaved(s)
		return err
	}
	if s.save {
		if err := c.saveResult(s, sortResult(true, d)); err != nil {
			return err
		}
	}
	r := sortResult(cmd.uid, d)
	if s.extended {
		c.esearch(cmd, s, r, nil)
	} else {
		c.plainResult("* SORT", s, r)
	}
	c.updating(cmd, s, o, cmp.Or(refused, d.NoUpdate))
	return c.ok(cmd, "")
}
