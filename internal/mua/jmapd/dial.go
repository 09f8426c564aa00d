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

	"postroad/internal/mua/reach"
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

// pushClient is an HTTP client that goes to the open Internet only. The address is looked at
// when it is connected to, so that no second answer of a resolver can be another one.
func pushClient(allowed []netip.Prefix, roots *tls.Config) *http.Client {
	dialer := &net.Dialer{Timeout: pushDialTimeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !reach.May(to.Addr(), allowed) {
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
