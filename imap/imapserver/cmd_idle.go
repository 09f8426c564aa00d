package imapserver

import (
	"strings"

	"postroad/imap"
)

// cmdIdle is IDLE (RFC 2177; RFC 9051, 6.3.13). The connection's one goroutine waits for
// the client or for wake.
func (c *Conn) cmdIdle(cmd *command) error {
	if err := cmd.args(); err != nil {
		return err
	}
	c.text("+ idling\r\n")
	err := c.idle()
	// A wake that came too late must not be taken for one of the next IDLE's.
	c.woken.Store(false)
	if err != nil {
		return err
	}
	c.in.line = c.in.line[:0]
	if err := c.in.readLine(c.limit()); err != nil {
		return err
	}
	if !strings.EqualFold(strings.TrimSuffix(string(c.in.line), "\r\n"), "DONE") {
		return imap.Bad("Expected DONE")
	}
	return c.ok(cmd, "")
}

// idle tells what happens until the client sends something.
func (c *Conn) idle() error {
	stop := c.session.Watch(c.wake)
	defer stop()
	for {
		if c.state == selected {
			c.begin()
			if err := c.poll(true); err != nil {
				return err
			}
		}
		ready, err := c.in.wait(c.server.timeoutAfter)
		if err != nil || ready {
			c.begin()
			return err
		}
	}
}
