package smtpserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
)

// The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt has it.
const (
	proxyLineMax   = 107 // octets of a version 1 header
	proxyHeadSize  = 16  // octets of a version 2 header before the addresses
	proxyAddrsMax  = 4 << 10
	proxyVersion2  = 2
	proxyLocal     = 0
	proxyProxy     = 1
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
	proxyIPv4Addrs = 12 // octets: two addresses, two ports
	proxyIPv6Addrs = 36
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var errProxy = errors.New("malformed PROXY header")

// readProxy reads the header that a trusted peer sends before anything else, and takes
// the client's address from it.
func (c *Conn) readProxy() error {
	for len(c.in.pending()) < proxyHeadSize && !bytes.HasSuffix(c.in.pending(), []byte("\r\n")) ||
		bytes.HasPrefix(proxySignature, c.in.pending()) {
		if err := c.fillProxy(); err != nil {
			return err
		}
	}
	if bytes.HasPrefix(c.in.pending(), proxySignature) {
		return c.readProxy2()
	}
	return c.readProxy1()
}

// fillProxy reads under the deadline that open has set.
func (c *Conn) fillProxy() error {
	in := &c.in
	if in.w == len(in.buf) {
		in.grow()
	}
	n, err := c.raw.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// readProxy1 is "PROXY TCP4 source destination port port CRLF", or "PROXY UNKNOWN…".
func (c *Conn) readProxy1() error {
	end := bytes.Index(c.in.pending(), []byte("\r\n"))
	for end < 0 {
		if len(c.in.pending()) >= proxyLineMax {
			return errProxy
		}
		if err := c.fillProxy(); err != nil {
			return err
		}
		end = bytes.Index(c.in.pending(), []byte("\r\n"))
	}
	line := string(c.in.pending()[:end])
	c.in.r += end + 2
	f := strings.Split(line, " ")
	if end+2 > proxyLineMax || len(f) < 2 || f[0] != "PROXY" {
		return errProxy
	}
	if f[1] == "UNKNOWN" {
		return nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return errProxy
	}
	a, err := netip.ParseAddr(f[2])
	if err != nil || a.Is4() != (f[1] == "TCP4") {
		return errProxy
	}
	client, ok := xclientPort(f[4], a.Unmap())
	if !ok {
		return errProxy
	}
	c.client = client
	return nil
}

// readProxy2 is the binary header.
func (c *Conn) readProxy2() error {
	if err := c.needProxy(proxyHeadSize); err != nil {
		return err
	}
	head := c.in.pending()
	command, family := head[12], head[13]
	size := int(binary.BigEndian.Uint16(head[14:]))
	if command>>4 != proxyVersion2 || size > proxyAddrsMax {
		return errProxy
	}
	if err := c.needProxy(proxyHeadSize + size); err != nil {
		return err
	}
	addrs := c.in.pending()[proxyHeadSize:][:size]
	c.in.r += proxyHeadSize + size
	switch {
	case command&15 == proxyLocal:
		return nil
	case command&15 != proxyProxy:
		return errProxy
	case family == proxyTCP4 && size >= proxyIPv4Addrs:
		a, _ := netip.AddrFromSlice(addrs[:4])
		c.client = netip.AddrPortFrom(a, binary.BigEndian.Uint16(addrs[8:]))
	case family == proxyTCP6 && size >= proxyIPv6Addrs:
		a, _ := netip.AddrFromSlice(addrs[:16])
		c.client = netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(addrs[32:]))
	}
	return nil
}

// needProxy reads until n octets are buffered.
func (c *Conn) needProxy(n int) error {
	for len(c.in.pending()) < n {
		if err := c.fillProxy(); err != nil {
			return err
		}
	}
	return nil
}
