package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"postroad/address"
	"postroad/dns"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// host is where to connect.
type host struct {
	name   string // of the host, or an address literal
	socket string // path of a local socket
	addr   netip.Addr
	byMX   bool
}

// errLoop marks the end of a list of exchangers at ourselves.
var errLoop = errors.New("remote: mail loops back to myself")

// socketPrefix marks a next hop that is a local socket.
const socketPrefix = "unix:"

// hosts finds the hosts of a next hop in the order in which they are to be tried.
func (t *Transport) hosts(ctx context.Context, hop mailflow.NextHop) ([]host, error) {
	if path, ok := strings.CutPrefix(hop.Domain, socketPrefix); ok {
		return []host{{name: "localhost", socket: path}}, nil
	}
	if ip, ok := address.LiteralIP(hop.Domain); ok {
		return []host{{name: hop.Domain, addr: ip.Unmap()}}, nil
	}
	if hop.NoMX {
		return []host{{name: address.DomainASCII(hop.Domain)}}, nil
	}
	return t.exchangers(ctx, hop.Domain)
}

// exchangers finds the hosts of a domain by RFC 5321, 5.1.
func (t *Transport) exchangers(ctx context.Context, domain string) ([]host, error) {
	mx, _, err := dns.LookupMX(ctx, t.options.Resolver, domain)
	switch {
	case errors.Is(err, dns.ErrNoData):
		// Implicit MX: the domain as its own exchanger, if it has an address.
		name := address.DomainASCII(domain)
		if t.own[name] {
			return nil, loop(domain)
		}
		return []host{{name: name, byMX: true}}, nil
	case errors.Is(err, dns.ErrNXDomain):
		return nil, failure(550, smtp.EnhancedCode{5, 1, 2}, "The domain "+domain+" does not exist")
	case errors.Is(err, dns.ErrName):
		return nil, failure(550, smtp.EnhancedCode{5, 1, 2}, "The domain cannot be looked up")
	case err != nil:
		return nil, failure(451, smtp.EnhancedCode{4, 4, 3}, "The exchangers of "+domain+" cannot be looked up: "+reason(err))
	}
	if len(mx) == 1 && mx[0].Host == "" {
		return nil, failure(556, smtp.EnhancedCode{5, 1, 10}, "The domain "+domain+" takes no mail (null MX)") // RFC 7505, 4
	}
	hosts := t.sortMX(mx)
	if len(hosts) == 0 {
		if slices.ContainsFunc(mx, func(m dns.MX) bool { return t.own[m.Host] }) {
			return nil, loop(domain)
		}
		return nil, failure(550, smtp.EnhancedCode{5, 4, 4}, "The exchangers of "+domain+" cannot be used")
	}
	return hosts, nil
}

func loop(domain string) error {
	r := failure(554, smtp.EnhancedCode{5, 4, 6}, "Mail for "+domain+" loops back to myself")
	r.parent = errLoop
	return r
}

// reason is the kind of a DNS error, without what only we need to know.
func reason(err error) string {
	var e *dns.Error
	if errors.As(err, &e) {
		return e.Kind.Error()
	}
	return "no answer"
}

// sortMX orders exchangers by preference, at random among equals, and cuts the list where
// we stand in it ourselves: handing mail to one no better than us makes a loop.
func (t *Transport) sortMX(mx []dns.MX) []host {
	mx = slices.Clone(mx)
	rand.Shuffle(len(mx), func(i, j int) { mx[i], mx[j] = mx[j], mx[i] })
	slices.SortStableFunc(mx, func(a, b dns.MX) int { return int(a.Preference) - int(b.Preference) })
	var hosts []host
	for i, m := range mx {
		if t.own[m.Host] {
			return slices.DeleteFunc(hosts, func(h host) bool {
				return slices.ContainsFunc(mx[:i], func(o dns.MX) bool { return o.Host == h.name && o.Preference == m.Preference })
			})
		}
		if m.Host == "" || len(hosts) == hostsMax {
			continue // a root among others is no exchanger
		}
		if _, err := netip.ParseAddr(m.Host); err == nil {
			continue // RFC 5321, 2.3.5: a name, not an address
		}
		hosts = append(hosts, host{name: m.Host, byMX: true})
	}
	return hosts
}

// addresses finds where to connect to a host: both families, taking turns.
func (t *Transport) addresses(ctx context.Context, hop mailflow.NextHop, h *host) ([]netip.AddrPort, error) {
	port := t.port(hop)
	if h.socket != "" {
		return []netip.AddrPort{{}}, nil
	}
	if h.addr.IsValid() {
		return t.usable(hop, h, []netip.Addr{h.addr}, port)
	}
	found, err := dns.LookupAddrs(ctx, t.options.Resolver, h.name)
	switch {
	case dns.IsTemporary(err):
		return nil, failure(451, smtp.EnhancedCode{4, 4, 3}, "The address of "+h.name+" cannot be looked up: "+reason(err))
	case err != nil && h.byMX && strings.EqualFold(h.name, address.DomainASCII(hop.Domain)):
		return nil, failure(550, smtp.EnhancedCode{5, 1, 2}, "The domain "+hop.Domain+" has neither exchanger nor address")
	case err != nil:
		return nil, failure(550, smtp.EnhancedCode{5, 4, 4}, "The host "+h.name+" has no address")
	}
	return t.usable(hop, h, interleave(found.V6, found.V4), port)
}

// interleave lets two lists take turns, each in random order.
func interleave(a, b []netip.Addr) []netip.Addr {
	a, b = slices.Clone(a), slices.Clone(b)
	shuffle := func(l []netip.Addr) { rand.Shuffle(len(l), func(i, j int) { l[i], l[j] = l[j], l[i] }) }
	shuffle(a)
	shuffle(b)
	all := make([]netip.Addr, 0, len(a)+len(b))
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			all = append(all, a[i])
		}
		if i < len(b) {
			all = append(all, b[i])
		}
	}
	return all
}

func (t *Transport) port(hop mailflow.NextHop) uint16 {
	switch {
	case hop.Port != 0:
		return hop.Port
	case hop.Transport == lmtp:
		return t.options.LMTPPort
	}
	return t.options.Port
}

// usable leaves out addresses that must not be connected to: our own listeners always,
// and for what strangers' MX records name all that is no unicast address outside.
func (t *Transport) usable(hop mailflow.NextHop, h *host, addrs []netip.Addr, port uint16) ([]netip.AddrPort, error) {
	var usable []netip.AddrPort
	for _, a := range addrs {
		a = a.Unmap()
		target := netip.AddrPortFrom(a, port)
		switch {
		case t.isListener(target):
			// Whoever names an address of ours names us (RFC 5321, 5.1).
			return nil, loop(hop.Domain)
		case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		case (h.byMX || !hop.NoMX) && a.IsLoopback() && !t.options.AllowLoopback:
		case h.addr.IsValid() && a.IsLoopback() && !t.options.AllowLoopback && isSenders(hop):
		default:
			usable = append(usable, target)
		}
	}
	if len(usable) == 0 {
		return nil, failure(550, smtp.EnhancedCode{5, 4, 4}, fmt.Sprintf("The host %s has no address that may be used", h.name))
	}
	return usable, nil
}

// isSenders tells whether the next hop is an address literal that may come from the
// recipient's address, not from the configuration: those with a port or an entry of Options.Relays, and
// LMTP, are configured.
func isSenders(hop mailflow.NextHop) bool {
	return hop.Transport != lmtp && hop.Port == 0 && hop.Relay == ""
}

// isListener tells whether a target is one of our own listeners.
func (t *Transport) isListener(target netip.AddrPort) bool {
	for _, l := range t.options.Listeners {
		if l.Port() != target.Port() {
			continue
		}
		own := l.Addr().Unmap()
		if own == target.Addr() {
			return true
		}
		if own.IsUnspecified() && (target.Addr().IsLoopback() || target.Addr().IsUnspecified() || t.localIPs[target.Addr()]) {
			return true
		}
	}
	return false
}
