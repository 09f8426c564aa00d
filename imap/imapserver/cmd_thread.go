package imapserver

import (
	"fmt"

	"postroad/imap"
)

// cmdThread is THREAD (RFC 5256, 3).
func (c *Conn) cmdThread(cmd *command) error {
	cmd.SP()
	algorithm, known := imap.ParseThreadAlgorithm(cmd.Keyword())
	if !known {
		cmd.Fail("unknown threading algorithm")
	}
	cmd.SP()
	key, err := c.searchKey(cmd, &search{}, cmd.CharsetProgram)
	if err != nil {
		return err
	}
	nodes, err := c.session.(Orderer).Thread(c.ctx, algorithm, key, cmd.uid)
	if err != nil {
		return err
	}
	if err := imap.CheckThreads(nodes); err != nil {
		return fmt.Errorf("answer THREAD %s: %w", algorithm, err)
	}
	c.text("* THREAD")
	if len(nodes) > 0 {
		c.text(" ")
	}
	var f imap.ThreadFormat
	for _, n := range nodes {
		c.out = f.Append(c.out, n)
		if err := c.spill(); err != nil {
			return err
		}
	}
	c.text("\r\n")
	return c.ok(cmd, "")
}
