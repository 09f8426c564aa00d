package smtpserver

import (
	"context"
	"syscall"
	"time"
)

// listen finds out whether the client talks before it was greeted, as programs do that
// only send spam. Without a delay it costs one system call.
func (c *Conn) listen(ctx context.Context) error {
	if d := c.server.options.GreetingDelay; d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return errShutdown
		}
	}
	c.early = len(c.in.pending()) > 0 || c.hasInput()
	if c.early && c.server.options.RefuseEarly {
		c.quit, c.hangup = true, true
		return earlyTalker
	}
	return nil
}

// hasInput peeks at the socket without waiting.
func (c *Conn) hasInput() bool {
	s, ok := c.raw.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	var one [1]byte
	n := 0
	err = raw.Control(func(fd uintptr) {
		// Its error is that there is nothing to read; n is not above 0 then.
		n, _, _ = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}
