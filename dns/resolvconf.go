package dns

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// resolvConfMax is how much of resolv.conf is read, in octets.
const resolvConfMax = 64 << 10

// resolvConf is what resolv.conf(5) says that matters here.
type resolvConf struct {
	servers []netip.AddrPort
	trustAD bool // "options trust-ad"
}

func readResolvConf(path string) (resolvConf, error) {
	f, err := os.Open(path)
	if err != nil {
		return resolvConf{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, resolvConfMax))
	if err != nil {
		return resolvConf{}, err
	}
	c := parseResolvConf(string(text))
	if len(c.servers) == 0 {
		// What libc does without a nameserver line.
		c.servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	return c, nil
}

// parseResolvConf passes over what it does not know, as libc does. Beyond libc's syntax a
// server may have a port: "nameserver 127.0.0.1:5353", "nameserver [::1]:5353".
func parseResolvConf(text string) (c resolvConf) {
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if s, err := ParseServer(words[1]); err == nil && len(c.servers) < serversMax {
				c.servers = append(c.servers, s)
			}
		case "options":
			for _, w := range words[1:] {
				c.trustAD = c.trustAD || w == "trust-ad"
			}
		}
	}
	return c
}

// ParseServer reads "address", "address:port" or "[address]:port"; the port is 53 when
// none is given.
func ParseServer(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return ap, fmt.Errorf("name server %q: %w", s, err)
	}
	return ap, nil
}
