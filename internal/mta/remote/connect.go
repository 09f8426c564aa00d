package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"postroad/internal/mailflow"
	"postroad/smtp"
	"postroad/smtp/smtpclient"
)

// policy is what is demanded of the connection to a host.
type policy struct {
	off      bool // no TLS
	implicit bool // from the first octet
	require  bool // no mail without TLS
	verify   bool // with a certificate for the host's name
	fallback bool // where the handshake fails, in the clear
}

// tlsPolicy decides how a host is spoken to. Without any policy of the domain TLS is
// opportunistic (RFC 7435); DANE (RFC 7672) and MTA-STS (RFC 8461) are to decide here,
// before what the configuration says about all.
func (t *Transport) tlsPolicy(hop mailflow.NextHop, h *host) policy {
	o := &t.options.TLS
	implicit := hop.Port == portSMTPS
	if r, ok := t.options.Relays[hop.Relay]; ok && h.socket == "" {
		login := r.Credentials.User != ""
		implicit = implicit || r.ImplicitTLS
		if login || r.ImplicitTLS || r.TLS >= TLSEncrypt {
			return policy{implicit: implicit, require: true, verify: r.TLS == TLSVerify || login && !r.AnyCertificate}
		}
	}
	return policy{off: o.Off || h.socket != "" || hop.Transport == lmtp && isLoopback(h), implicit: implicit, fallback: !o.NoFallback}
}

func isLoopback(h *host) bool { return h.addr.IsValid() && h.addr.IsLoopback() }

// config is the TLS configuration for a host. Where the certificate proves nothing, old
// versions are better than clear text.
func (t *Transport) tlsConfig(h *host, p policy) *tls.Config {
	c := &tls.Config{ServerName: h.name, RootCAs: t.options.TLS.Roots}
	if h.addr.IsValid() {
		c.ServerName = h.addr.String()
	}
	if !p.verify {
		c.InsecureSkipVerify = true
		c.MinVersion = tls.VersionTLS10
	}
	return c
}

// conn is a connection that messages can be sent over.
type conn struct {
	client  *smtpclient.Client
	hop     mailflow.NextHop
	host    string
	addr    netip.AddrPort
	tls     string // version and cipher
	opened  time.Time
	idle    time.Time // since
	reused  bool
	sent    int
	expires *time.Timer // while idle
}

// connect opens a connection, with TLS and log-in as the policy has it. The error is a
// *refusal.
func (t *Transport) connect(ctx context.Context, hop mailflow.NextHop, h *host, addr netip.AddrPort) (*conn, error) {
	p := t.tlsPolicy(hop, h)
	c, err := t.open(ctx, hop, h, addr, p)
	if err == nil {
		return c, nil
	}
	var failed *handshakeError
	if errors.As(err, &failed) && p.fallback && !p.implicit && !errors.Is(err, smtpclient.ErrInjected) && ctx.Err() == nil {
		// Once more, as to a server that does not offer TLS.
		t.log.Info("TLS failed, sending in the clear", "host", h.name, "address", addr, "err", err)
		p.off = true
		if c, err = t.open(ctx, hop, h, addr, p); err == nil {
			return c, nil
		}
	}
	return nil, refused(h, addr, err)
}

// handshakeError says that TLS failed after it was begun.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// open is one try of connect.
func (t *Transport) open(ctx context.Context, hop mailflow.NextHop, h *host, addr netip.AddrPort, p policy) (*conn, error) {
	nc, err := t.dial(ctx, h, addr)
	if err != nil {
		return nil, err
	}
	if p.implicit {
		tc := tls.Client(nc, t.tlsConfig(h, p))
		tc.SetDeadline(time.Now().Add(t.options.ConnectTimeout))
		if err := tc.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, &handshakeError{fmt.Errorf("TLS handshake: %w", err)}
		}
		nc = tc
	}
	o := t.handshake
	o.LMTP = hop.Transport == lmtp
	client, err := smtpclient.New(ctx, nc, o)
	if err != nil {
		return nil, err
	}
	c := &conn{client: client, hop: hop, host: h.name, addr: addr, opened: time.Now()}
	if err := t.secure(ctx, c, h, p); err != nil {
		client.Close()
		return nil, err
	}
	return c, nil
}

// secure starts TLS where it is offered and logs in where the hop asks for it.
func (t *Transport) secure(ctx context.Context, c *conn, h *host, p policy) error {
	if !p.off && !p.implicit && c.client.Capabilities().Extensions.Has(smtp.StartTLS) {
		err := c.client.StartTLS(ctx, t.tlsConfig(h, p))
		var refused *smtp.Error
		switch {
		case err == nil:
		case errors.As(err, &refused) && c.client.TLS() == nil && p.fallback:
			// The server went back on its offer; the connection goes on in the clear.
		case errors.As(err, &refused):
			return err
		default:
			return &handshakeError{err}
		}
	}
	if state := c.client.TLS(); state != nil {
		c.tls = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
	} else if p.require {
		return failure(451, smtp.EnhancedCode{4, 7, 5}, "The host "+h.name+" offers no TLS")
	}
	if c.hop.Relay == "" {
		return nil
	}
	relay, ok := t.options.Relays[c.hop.Relay]
	if !ok {
		// The mail has waited while the configuration changed: what is demanded of this host
		// is not known any more.
		return failure(451, smtp.EnhancedCode{4, 7, 8}, "The relay host "+h.name+" is no longer configured")
	}
	if relay.Credentials.User == "" {
		return nil
	}
	if err := c.client.Auth(ctx, relay.Credentials); err != nil {
		// Whatever the server says: it refuses us and not the mail.
		return failure(451, smtp.EnhancedCode{4, 7, 8}, "Log-in at "+h.name+" failed: "+err.Error())
	}
	return nil
}

// dial connects from the configured source address.
func (t *Transport) dial(ctx context.Context, h *host, addr netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.options.ConnectTimeout)
	defer cancel()
	network, target := "tcp", addr.String()
	if h.socket != "" {
		network, target = "unix", h.socket
	}
	if t.options.Dial != nil {
		return t.options.Dial(ctx, network, target)
	}
	var d net.Dialer
	source := t.options.Source4
	if addr.Addr().Is6() {
		source = t.options.Source6
	}
	if source.IsValid() && network == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return d.DialContext(ctx, network, target)
}

// refused makes a refusal of why a connection did not come about.
func refused(h *host, addr netip.AddrPort, err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	var e *smtp.Error
	if errors.As(err, &e) {
		r := &refusal{reply: e.Reply, host: h.name, addr: addr, parent: err}
		if e.Reply.Code == 220 || e.Reply.Code/100 < 4 {
			r.reply = smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 5, 0}, Lines: []string{"The host " + h.name + " greeted with " + e.Reply.String()}}
		}
		return r
	}
	where := h.name
	if addr.IsValid() {
		where += " [" + addr.String() + "]"
	}
	code := smtp.EnhancedCode{4, 4, 1}
	var tlsFailed *handshakeError
	switch {
	case errors.Is(err, smtpclient.ErrInjected):
		code = smtp.EnhancedCode{4, 7, 0}
	case errors.As(err, &tlsFailed):
		code = smtp.EnhancedCode{4, 7, 5}
	}
	r = failure(451, code, "Connection to "+where+" failed: "+strings.TrimPrefix(err.Error(), "smtpclient: "))
	r.parent = err
	return r
}
