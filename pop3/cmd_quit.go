package pop3

import "context"

// doQuit is QUIT (RFC 1939, 4 and 6). In the TRANSACTION state it enters the UPDATE
// state: the marked messages are removed, durably before the answer, and the lock ends.
func (c *Conn) doQuit(ctx context.Context, args []byte) error {
	if !c.noArguments(args) {
		return nil
	}
	c.quit = true
	var marked []int
	for i, d := range c.deleted {
		if d {
			marked = append(marked, i)
		}
	}
	if len(marked) > 0 {
		if err := c.maildrop.Update(ctx, marked); err != nil {
			c.fail(err)
			return nil
		}
	}
	// The lock ends before the answer: a client that comes back at once finds it open.
	if c.maildrop != nil {
		m := c.maildrop
		c.maildrop, c.deleted = nil, nil
		m.Close()
	}
	c.ok("Goodbye")
	return nil
}
