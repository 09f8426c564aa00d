package jmapd

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// Limits of a request to a push service, which is wherever a user says.
const (
	pushTimeout       = 30 * time.Second // all of it
	pushDialTimeout   = 10 * time.Second
	pushHeaderMax     = 16 << 10 // octets of the answer's header
	pushBodyMax       = 4 << 10  // octets of the answer's body, which are thrown away
	pushIdle          = 90 * time.Second
	pushConnsPerHost  = 8
	pushIdlePerHost   = 2
	pushIdleAll       = 64
	httpsPort         = 443
	unprivilegedPorts = 1024
)

// reserved are networks beside those that netip knows, which are of no use on the open
// Internet or lead to another address within (RFC 6890).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

// mayReach tells whether an address is one of the open Internet, or of the networks allowed
// besides.
func mayReach(a netip.Addr, allowed []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	for _, p := range allowed {
		if p.Contains(a) {
			return true
		}
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// pushClient is an HTTP client that goes to the open Internet only. The address is looked at
// when it is connected to, so that no second answer of a resolver can be another one.
func pushClient(allowed []netip.Prefix, roots *tls.Config) *http.Client {
	dialer := &net.Dialer{Timeout: pushDialTimeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !mayReach(to.Addr(), allowed) {
			return fmt.Errorf("push to %s: the address is not of the open Internet", to.Addr())
		}
		if to.Port() != httpsPort && to.Port() < unprivilegedPorts {
			return fmt.Errorf("push to port %d: another service's", to.Port())
		}
		return nil
	}}
	return &http.Client{
		Timeout: pushTimeout,
		Transport: &http.Transport{
			Proxy: nil, DialContext: dialer.DialContext, TLSClientConfig: roots, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: pushDialTimeout, ResponseHeaderTimeout: pushTimeout, MaxResponseHeaderBytes: pushHeaderMax,
			IdleConnTimeout: pushIdle, MaxIdleConns: pushIdleAll, MaxIdleConnsPerHost: pushIdlePerHost, MaxConnsPerHost: pushConnsPerHost,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
