// Package remote carries mail to other servers, by SMTP and LMTP.
//
// The main type is [Transport], a mailflow.Transport: it finds the hosts of a next hop,
// keeps connections and uses them again, and says for each recipient what became of it.
// It tries each recipient at several hosts, but never twice after a server may have taken
// the message; trying again later is the queue's business. It converts no content. TLS is
// used where it is offered and proves nothing (RFC 7435): what demands more (DANE,
// MTA-STS) has its place in tlsPolicy.
//
// RFC 5321 (4.5.4, 5), RFC 2033, RFC 3207, RFC 7505 (null MX), RFC 2852 (4.1.4), RFC 3461
// (5.2), RFC 4954.
package remote

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"postroad/dns"
	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/sasl"
	"postroad/smtp"
	"postroad/smtp/smtpclient"
)

// Options of a Transport. Resolver, Bodies and Hostname are needed.
type Options struct {
	Resolver dns.Resolver
	Bodies   Bodies
	Hostname string // for EHLO

	// OwnNames are the names under which we are an exchanger ourselves: an MX list is cut
	// at the first of them (RFC 5321, 5.1). Hostname is always one.
	OwnNames []string
	// Listeners are our own addresses for SMTP and LMTP; nothing is ever sent there. An
	// unspecified address stands for all of this machine.
	Listeners []netip.AddrPort
	// AllowLoopback lets hosts found by MX have loopback addresses. For test set-ups.
	AllowLoopback bool

	Port     uint16     // of SMTP, 0: 25
	LMTPPort uint16     // 0: 24
	Source4  netip.Addr // to connect from, not valid: any
	Source6  netip.Addr

	Relays map[string]Relay // by NextHop.Relay
	TLS    TLSOptions

	ConnectTimeout time.Duration      // 0: ConnectTimeoutDefault
	Timeouts       smtpclient.Options // only the durations are used
	IdleMax        int                // idle connections kept in all; 0: IdleMaxDefault
	IdleHopMax     int                // and for one next hop; 0: IdleHopMaxDefault
	IdleTimeout    time.Duration      // 0: IdleTimeoutDefault
	ReuseTimeout   time.Duration      // age at which a connection is not used again; 0: ReuseTimeoutDefault
	ReuseMax       int                // messages over one connection; 0: ReuseMaxDefault

	// Dial connects, nil: the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  *slog.Logger // nil: slog.Default
}

// Relay is what is known and demanded of a relay host that the configuration names.
type Relay struct {
	// Credentials to log in with, User "": no log-in. With them TLS is demanded as by
	// TLSVerify, but for AnyCertificate.
	Credentials    sasl.Credentials
	AnyCertificate bool // give the password to whoever answers
	TLS            TLSLevel
	ImplicitTLS    bool // TLS from the first octet, which is demanded then (RFC 8314, 3.3)
}

// TLSLevel is what is demanded of TLS.
type TLSLevel uint8

// The levels.
const (
	TLSMay     TLSLevel = iota // used where it is offered, proves nothing (RFC 7435)
	TLSEncrypt                 // no mail without it
	TLSVerify                  // nor where the certificate is not valid for the host's name
)

// TLSOptions say how STARTTLS is used.
type TLSOptions struct {
	Off bool // never
	// NoFallback lets mail wait where the handshake fails, instead of sending it in the
	// clear as to a server that does not offer TLS.
	NoFallback bool
	Roots      *x509.CertPool // for relay hosts whose certificate counts, nil: the system's
}

// Bodies opens bodies; *blob.Bodies is one.
type Bodies interface {
	Open(ctx context.Context, b blob.Body) (blob.Reader, error)
}

// Defaults and limits.
const (
	ConnectTimeoutDefault = 30 * time.Second
	IdleMaxDefault        = 500
	IdleHopMaxDefault     = 20
	IdleTimeoutDefault    = 15 * time.Second
	ReuseTimeoutDefault   = 5 * time.Minute
	ReuseMaxDefault       = 1000

	portSMTP  = 25
	portLMTP  = 24
	portSMTPS = 465 // TLS from the first octet (RFC 8314)

	hostsMax     = 20 // exchangers considered of a domain
	addressesMax = 10 // addresses tried per delivery; RFC 5321, 5.1: at least two
	sessionsMax  = 3  // servers that are asked about one recipient per delivery
	resendMax    = 50 // transactions over one connection when it takes few recipients at once
)

// lmtp is mailflow.NextHop.Transport for LMTP.
const lmtp = "lmtp"

// Transport implements mailflow.Transport for SMTP and LMTP.
type Transport struct {
	options   Options
	log       *slog.Logger
	own       map[string]bool
	localIPs  map[netip.Addr]bool
	pool      pool
	handshake smtpclient.Options
}

// New checks the options and makes a Transport.
func New(o Options) (*Transport, error) {
	if o.Resolver == nil || o.Bodies == nil || o.Hostname == "" {
		return nil, errors.New("remote: an option is missing")
	}
	setDefault(&o.Port, portSMTP)
	setDefault(&o.LMTPPort, portLMTP)
	setDefault(&o.ConnectTimeout, ConnectTimeoutDefault)
	setDefault(&o.IdleMax, IdleMaxDefault)
	setDefault(&o.IdleHopMax, IdleHopMaxDefault)
	setDefault(&o.IdleTimeout, IdleTimeoutDefault)
	setDefault(&o.ReuseTimeout, ReuseTimeoutDefault)
	setDefault(&o.ReuseMax, ReuseMaxDefault)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	t := &Transport{options: o, log: o.Log, own: make(map[string]bool), handshake: o.Timeouts}
	t.handshake.Hostname, t.handshake.LMTP = o.Hostname, false
	for _, name := range append(o.OwnNames, o.Hostname) {
		if n, ok := dns.Normalize(name); ok {
			t.own[n] = true
		}
	}
	t.localIPs = localAddresses()
	t.pool.init(&t.options)
	return t, nil
}

func setDefault[T uint16 | int | time.Duration](p *T, value T) {
	if *p == 0 {
		*p = value
	}
}

// localAddresses are those of this machine's interfaces, as far as they can be read.
func localAddresses() map[netip.Addr]bool {
	ips := make(map[netip.Addr]bool)
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ips // then only loopback is known as ours
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			ips[p.Addr().Unmap()] = true
		}
	}
	return ips
}

// Close ends the idle connections. Deliveries must have ended.
func (t *Transport) Close() error {
	t.pool.close()
	return nil
}

// Deliver implements mailflow.Transport: over a connection that is open already, else at
// the hosts of the next hop in their order, until each recipient has an answer that
// another host would not change.
func (t *Transport) Deliver(ctx context.Context, m *mailflow.Mail, hop mailflow.NextHop) []mailflow.Status {
	d := &delivery{t: t, mail: m, hop: hop, statuses: make([]mailflow.Status, len(m.Recipients))}
	d.left = make([]int, len(m.Recipients))
	for i := range d.left {
		d.left[i] = i
	}
	d.reuse(ctx)
	if len(d.left) > 0 {
		d.visit(ctx)
	}
	return d.statuses
}

// delivery is one mail on its way to one next hop.
type delivery struct {
	t        *Transport
	mail     *mailflow.Mail
	hop      mailflow.NextHop
	statuses []mailflow.Status
	left     []int // recipients without an answer that stands
	sessions int   // servers that were asked
	asked    []netip.AddrPort
	tried    int // addresses
}

// reuse sends over an idle connection of the next hop. One that turns out to be dead
// costs nothing.
func (d *delivery) reuse(ctx context.Context) {
	for ctx.Err() == nil {
		c := d.t.pool.take(d.hop)
		if c == nil {
			return
		}
		if !c.alive(ctx) {
			c.end()
			continue
		}
		if d.send(ctx, c) || len(d.left) == 0 {
			return
		}
	}
}

// visit goes through the hosts of the next hop. A recipient that one puts off gets
// another chance at the next (RFC 5321, 5.1).
func (d *delivery) visit(ctx context.Context) {
	hosts, err := d.t.hosts(ctx, d.hop)
	if err != nil {
		d.settle(err)
		return
	}
	var last *refusal
	for i := range hosts {
		addrs, err := d.t.addresses(ctx, d.hop, &hosts[i])
		if err != nil {
			last = worse(last, err)
			if errors.Is(err, errLoop) {
				break
			}
			continue
		}
		for _, addr := range addrs {
			if d.sessions >= sessionsMax || d.tried >= addressesMax || len(d.left) == 0 || ctx.Err() != nil {
				d.settle(last)
				return
			}
			if addr.IsValid() && slices.Contains(d.asked, addr) {
				continue
			}
			d.tried++
			c, err := d.t.connect(ctx, d.hop, &hosts[i], addr)
			if err != nil {
				d.t.log.Debug("connect", "id", d.mail.ID, "host", hosts[i].name, "address", addr, "err", err)
				last = worse(last, err)
				continue
			}
			d.send(ctx, c)
		}
	}
	d.settle(last)
}

// settle gives a status to all recipients that were never answered; those that a server
// put off keep what it said.
func (d *delivery) settle(err error) {
	s := statusOf(err)
	for _, i := range d.left {
		if d.statuses[i].Action == 0 {
			d.statuses[i] = s
		}
	}
	d.left = nil
}

// refusal is a reason why a host, or all hosts, cannot be used.
type refusal struct {
	reply  smtp.Reply
	host   string // whose reply it is, empty: ours
	addr   netip.AddrPort
	parent error
}

func (r *refusal) Error() string { return r.reply.String() }
func (r *refusal) Unwrap() error { return r.parent }

// failure is a refusal of our own making.
func failure(code int, e smtp.EnhancedCode, text string) *refusal {
	return &refusal{reply: smtp.Reply{Code: code, Enhanced: e, Lines: []string{text}}}
}

// statusOf makes a status of why no host could be used.
func statusOf(err error) mailflow.Status {
	var r *refusal
	if !errors.As(err, &r) || r == nil {
		r = failure(451, smtp.EnhancedCode{4, 4, 1}, "No host could be reached")
	}
	s := mailflow.Status{Action: mailflow.Delayed, Reply: r.reply, RemoteMTA: r.host, RemoteAddr: r.addr, LocalMTA: r.host == "", At: time.Now()}
	if r.reply.Permanent() {
		s.Action = mailflow.Failed
	}
	return s
}

// worse keeps, of what several hosts gave, what may change: only when all refuse for good
// is the mail refused for good.
func worse(last *refusal, err error) *refusal {
	var r *refusal
	if !errors.As(err, &r) {
		r = failure(451, smtp.EnhancedCode{4, 4, 1}, err.Error())
	}
	if last != nil && r.reply.Permanent() && !last.reply.Permanent() {
		return last
	}
	return r
}
