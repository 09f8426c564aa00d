// Package route finds where a recipient's mail goes: into a mailbox of ours, or to a next
// hop outside.
//
// The main type is [Router]. It looks nothing up in the DNS (that is the transport's
// business) and expands no aliases (that is the deliverer's).
//
// RFC 5321 (3.6, 5.1), RFC 6409.
package route

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// Names of transports in mailflow.NextHop.
const (
	SMTP = "smtp"
	LMTP = "lmtp"
)

// socketPrefix marks a next hop that is a local socket: "lmtp:unix:/run/dovecot/lmtp".
const socketPrefix = "unix:"

// Resolver is the part of a directory.Directory that routing needs.
type Resolver interface {
	Resolve(ctx context.Context, a address.Address) (directory.Target, error)
}

// Options of a Router. Next hops are written as ParseNextHop reads them.
type Options struct {
	Directory Resolver
	// RelayHost gets all mail that is not ours and has no next hop; "": each domain's MX.
	RelayHost string
	// RelayName is NextHop.Name for RelayHost.
	RelayName string
	// NextHops has a next hop for a domain, or with a leading dot for all domains below
	// it; the longest match wins. It wins over the directory too: a domain that is ours
	// but whose mailboxes lie elsewhere is named here.
	NextHops map[string]NextHop
}

// NextHop is one entry of Options.NextHops.
type NextHop struct {
	Hop  string // see ParseNextHop
	Name string // for mailflow.NextHop.Relay, "": nothing is said of the host
}

// Route is where one recipient's mail goes.
type Route struct {
	Local bool             // to mailflow.Local, which also answers for addresses that do not exist
	Hop   mailflow.NextHop // when it is not local
}

// Router answers for recipients. It may be used by many goroutines at once.
type Router struct {
	directory Resolver
	relay     *mailflow.NextHop
	hops      map[string]mailflow.NextHop // domain or ".domain", U-labels, lower case
}

// New checks the options and makes a Router.
func New(o Options) (*Router, error) {
	r := &Router{directory: o.Directory, hops: make(map[string]mailflow.NextHop, len(o.NextHops))}
	if o.RelayHost != "" {
		hop, err := ParseNextHop(o.RelayHost)
		if err != nil {
			return nil, fmt.Errorf("relay host: %w", err)
		}
		hop.Relay = o.RelayName
		r.relay = &hop
	}
	for domain, next := range o.NextHops {
		name, below := strings.CutPrefix(domain, ".")
		d, err := address.ParseDomain(name)
		if err != nil {
			return nil, fmt.Errorf("next hop for %q: %w", domain, err)
		}
		hop, err := ParseNextHop(next.Hop)
		if err != nil {
			return nil, fmt.Errorf("next hop for %q: %w", domain, err)
		}
		hop.Relay = next.Name
		if below {
			d = "." + d
		}
		r.hops[d] = hop
	}
	return r, nil
}

// Route finds the way for a recipient. A *smtp.Error is for good (there is no way); any
// other error is ours and temporary.
func (r *Router) Route(ctx context.Context, a address.Address) (Route, error) {
	if a.IsNull() {
		return Route{}, smtp.NewError(553, smtp.EnhancedCode{5, 1, 3}, "The null path is no recipient")
	}
	if hop, ok := r.nextHop(a.Domain); ok {
		return Route{Hop: hop}, nil
	}
	target, err := r.directory.Resolve(ctx, a)
	if err != nil {
		return Route{}, fmt.Errorf("route %s: %w", a, err)
	}
	if target.Kind != directory.NotLocal {
		return Route{Local: true}, nil
	}
	if r.relay != nil {
		return Route{Hop: *r.relay}, nil
	}
	if a.Domain == "" {
		return Route{}, smtp.NewError(550, smtp.EnhancedCode{5, 1, 2}, "The address has no domain")
	}
	hop := mailflow.NextHop{Transport: SMTP, Domain: a.Domain}
	if a.IsLiteral() {
		if _, ok := address.LiteralIP(a.Domain); !ok {
			return Route{}, smtp.NewError(550, smtp.EnhancedCode{5, 1, 2}, "The address literal cannot be used")
		}
		hop.NoMX = true
	}
	return Route{Hop: hop}, nil
}

// nextHop finds the configured hop of a domain: its own, else that of the nearest domain
// above it.
func (r *Router) nextHop(domain string) (mailflow.NextHop, bool) {
	if len(r.hops) == 0 || domain == "" {
		return mailflow.NextHop{}, false
	}
	if hop, ok := r.hops[domain]; ok {
		return hop, true
	}
	for i := 0; i < len(domain); i++ {
		if domain[i] == '.' {
			if hop, ok := r.hops[domain[i:]]; ok {
				return hop, true
			}
		}
	}
	return mailflow.NextHop{}, false
}

// ParseNextHop reads a next hop as the configuration has it:
//
//	example.net              the MX of example.net
//	example.net:587          the same on another port
//	[mail.example.net]       this host, without a look-up of MX
//	[192.0.2.1]:2525         this address
//	[2001:db8::1]            (also [IPv6:2001:db8::1])
//	lmtp:[127.0.0.1]:24      by LMTP; LMTP never looks up MX
//	lmtp:unix:/run/lmtp      by LMTP over a local socket
//	smtp:…                   what stands without a prefix too
func ParseNextHop(s string) (mailflow.NextHop, error) {
	hop := mailflow.NextHop{Transport: SMTP}
	rest := s
	if after, ok := strings.CutPrefix(rest, LMTP+":"); ok {
		hop.Transport, hop.NoMX, rest = LMTP, true, after
	} else {
		rest = strings.TrimPrefix(rest, SMTP+":")
	}
	if strings.HasPrefix(rest, socketPrefix+"/") {
		hop.Domain, hop.NoMX = rest, true
		return hop, nil
	}
	host, port := rest, ""
	if strings.HasPrefix(rest, "[") {
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return hop, fmt.Errorf("next hop %q: no closing bracket", s)
		}
		host, port = rest[1:end], rest[end+1:]
		hop.NoMX = true
		if port != "" && port[0] != ':' {
			return hop, fmt.Errorf("next hop %q: %q behind the bracket", s, port)
		}
	} else if i := strings.IndexByte(rest, ':'); i >= 0 {
		host, port = rest[:i], rest[i:]
	}
	if port != "" {
		n, err := strconv.ParseUint(port[1:], 10, 16)
		if err != nil || n == 0 {
			return hop, fmt.Errorf("next hop %q: %q is no port", s, port[1:])
		}
		hop.Port = uint16(n)
	}
	if hop.NoMX {
		if ip, err := netip.ParseAddr(strings.TrimPrefix(host, "IPv6:")); err == nil {
			hop.Domain = formatLiteral(ip)
			return hop, nil
		}
	}
	domain, err := address.ParseDomain(host)
	if err != nil || strings.HasPrefix(domain, "[") {
		return hop, fmt.Errorf("next hop %q: %q is no host", s, host)
	}
	hop.Domain = domain
	return hop, nil
}

// formatLiteral prints an address literal (RFC 5321, 4.1.3).
func formatLiteral(ip netip.Addr) string {
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}

// Format prints a next hop so that ParseNextHop reads it again; the name is left out.
func Format(h mailflow.NextHop) string {
	s := h.Domain
	if h.NoMX && h.Transport == SMTP && !strings.HasPrefix(s, "[") && !strings.HasPrefix(s, socketPrefix) {
		s = "[" + s + "]"
	}
	if h.Port != 0 {
		s += ":" + strconv.Itoa(int(h.Port))
	}
	if h.Transport != SMTP {
		s = h.Transport + ":" + s
	}
	return s
}
