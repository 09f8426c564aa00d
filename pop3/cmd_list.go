package pop3

import (
	"bytes"
	"context"
	"strconv"
)

// doStat is STAT (RFC 1939, 5): number and octets of the messages not marked as deleted.
func (c *Conn) doStat(_ context.Context, args []byte) error {
	if !c.noArguments(args) {
		return nil
	}
	n, octets := c.total()
	c.ok(strconv.Itoa(n) + " " + strconv.FormatInt(octets, 10))
	return nil
}

// total counts what is not marked as deleted.
func (c *Conn) total() (n int, octets int64) {
	for i := range c.maildrop.Len() {
		if !c.isDeleted(i) {
			n++
			octets += c.maildrop.Size(i)
		}
	}
	return n, octets
}

// doList is LIST (RFC 1939, 5).
func (c *Conn) doList(_ context.Context, args []byte) error {
	return c.listing(args, func(dst []byte, i int) []byte {
		return strconv.AppendInt(dst, c.maildrop.Size(i), 10)
	})
}

// doUidl is UIDL (RFC 1939, 7).
func (c *Conn) doUidl(_ context.Context, args []byte) error {
	return c.listing(args, c.maildrop.AppendUID)
}

// listing answers with what is told of one message, or of all that are not marked as
// deleted.
func (c *Conn) listing(args []byte, what func(dst []byte, i int) []byte) error {
	if args = bytes.TrimRight(args, " "); len(args) > 0 {
		i, ok := c.message(args)
		if ok {
			c.put("+OK ")
			c.putListing(i, what)
		}
		return nil
	}
	n, octets := c.total()
	c.ok(strconv.Itoa(n) + " messages (" + strconv.FormatInt(octets, 10) + " octets)")
	for i := range c.maildrop.Len() {
		if c.isDeleted(i) {
			continue
		}
		c.putListing(i, what)
		if err := c.relieve(); err != nil {
			return err
		}
	}
	c.put(".\r\n")
	return nil
}

// putListing adds one scan listing or unique-id listing.
func (c *Conn) putListing(i int, what func(dst []byte, i int) []byte) {
	b := c.buffer()
	*b = strconv.AppendInt(*b, int64(i+1), 10)
	*b = append(*b, ' ')
	*b = what(*b, i)
	*b = append(*b, '\r', '\n')
}
