package imapserver

import (
	"slices"

	"postroad/imap"
)

// cmdCancelUpdate is CANCELUPDATE (RFC 5267, 4.3.5).
func (c *Conn) cmdCancelUpdate(cmd *command) error {
	var tags []string
	unknown := false
	for cmd.SP(); cmd.OK(); cmd.SP() {
		tag := cmd.AString()
		if c.findContext(tag) == nil {
			unknown = true
		} else if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
		if cmd.Done() {
			break
		}
	}
	if err := cmd.args(); err != nil {
		return err
	}
	if len(tags) > 0 {
		if err := c.session.(ContextSearcher).CancelUpdate(c.ctx, tags); err != nil {
			return err
		}
		c.contexts = slices.DeleteFunc(c.contexts, func(s searchContext) bool { return slices.Contains(tags, s.tag) })
	}
	if unknown {
		return imap.No(imap.CodeNonExistent, "No search with that tag is kept up to date")
	}
	return c.ok(cmd, "")
}
