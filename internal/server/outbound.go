package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"postroad/address"
	"postroad/dns"
	"postroad/internal/config"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mda/deliver"
	"postroad/internal/mda/rules"
	"postroad/internal/mta/bounce"
	"postroad/internal/mta/queue"
	"postroad/internal/mta/remote"
	"postroad/internal/mta/route"
	"postroad/sasl"
)

// openQueue builds the way out: router, transport, notices, and the queue over them.
func (s *Store) openQueue(context.Context) error {
	c := s.config
	router, err := route.New(s.routes())
	if err != nil {
		return err
	}
	relays, err := relaysOf(c.Routes)
	if err != nil {
		return err
	}
	resolver, err := resolverOf(&c.DNS)
	if err != nil {
		return err
	}
	own := ownAddresses(append(append([]string(nil), c.Listen.SMTP...), c.Listen.LMTP...))
	transport, err := remote.New(remote.Options{
		Resolver: resolver, Bodies: s.Bodies, Hostname: hostname(c), Listeners: own,
		// Who listens on loopback alone is a test set-up, and so are its peers.
		AllowLoopback: len(own) > 0 && allLoopback(own), Relays: relays,
		IdleMax: c.Queue.Connections, IdleHopMax: c.Queue.DestinationConnections, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.closing(transport.Close)
	composer, err := bounce.New(bounce.Options{Host: hostname(c), Bodies: s.Bodies, RetryFor: c.Queue.Expire.Std(), Ours: s.ours})
	if err != nil {
		return err
	}
	warn := c.Queue.WarnAfter.Std()
	if warn == 0 {
		warn = -1
	}
	s.Queue, err = queue.New(queue.Options{
		Committer: s.Committer, Clock: s.Clock, Router: router, Local: s.local(),
		Transports: map[string]mailflow.Transport{route.SMTP: transport, route.LMTP: transport}, Bouncer: composer,
		Schedule: queue.Schedule{RetryFirst: c.Queue.RetryMin.Std(), RetryMax: c.Queue.RetryMax.Std(),
			Expire: c.Queue.Expire.Std(), Warn: warn},
		ActiveMax: c.Queue.Connections, HopsMax: c.Limits.Hops, LaneMax: c.Queue.DestinationConnections, Record: s.record, Log: s.log,
		Tracker: s.Outbox,
	})
	s.Outbox.Queue = s.Queue
	return err
}

// relayName names what a route says of its host, "" where it says nothing. Mail that waits
// keeps the name, so it is made of the host and the user and not of the route's place
// among the others: after a change of the configuration no host gets another's password.
func relayName(r *config.Route) string {
	if r.Username == "" && !r.ImplicitTLS && (r.TLS == "" || r.TLS == "may") {
		return ""
	}
	if r.Username == "" {
		return hopOf(r)
	}
	return r.Username + " at " + hopOf(r)
}

// routes turns the configuration's routes into the router's.
func (s *Store) routes() route.Options {
	o := route.Options{Directory: s.Directory, NextHops: map[string]route.NextHop{}}
	for i := range s.config.Routes {
		r := &s.config.Routes[i]
		hop := route.NextHop{Hop: hopOf(r), Name: relayName(r)}
		domain := strings.TrimPrefix(r.Domain, "*")
		switch _, taken := o.NextHops[domain]; {
		case domain == "" && o.RelayHost == "":
			o.RelayHost, o.RelayName = hop.Hop, hop.Name
		case domain != "" && !taken: // the first that matches wins
			o.NextHops[domain] = hop
		}
	}
	return o
}

// portSubmissions is that of SMTP over TLS from the first octet (RFC 8314, 7.3).
const portSubmissions = 465

// hopOf writes a route's next hop as package route reads it.
func hopOf(r *config.Route) string {
	hop := r.Host
	if !r.MX {
		hop = "[" + hop + "]"
	}
	switch {
	case r.Port != 0:
		hop += ":" + strconv.Itoa(int(r.Port))
	case r.ImplicitTLS && r.Transport != route.LMTP:
		hop += ":" + strconv.Itoa(portSubmissions)
	}
	if r.Transport == route.LMTP {
		hop = route.LMTP + ":" + hop
	}
	return hop
}

// tlsLevels are the values of a route's tls.
var tlsLevels = map[string]remote.TLSLevel{"may": remote.TLSMay, "encrypt": remote.TLSEncrypt, "verify": remote.TLSVerify}

// relaysOf are the log-ins at relay hosts and what is demanded of them, by relayName. Of
// two routes to one host by one user the first counts.
func relaysOf(routes []config.Route) (map[string]remote.Relay, error) {
	all := map[string]remote.Relay{}
	for i := range routes {
		r := &routes[i]
		name := relayName(r)
		if _, taken := all[name]; taken || name == "" {
			continue
		}
		password := r.Password.Reveal()
		if r.PasswordFile != "" {
			text, err := os.ReadFile(r.PasswordFile)
			if err != nil {
				return nil, fmt.Errorf("password of the route %s: %w", r.Domain, err)
			}
			password, _, _ = strings.Cut(string(text), "\n")
			password = strings.TrimSuffix(password, "\r")
		}
		all[name] = remote.Relay{
			Credentials: sasl.Credentials{User: r.Username, Password: password},
			TLS:         tlsLevels[r.TLS], ImplicitTLS: r.ImplicitTLS,
		}
	}
	return all, nil
}

func resolverOf(c *config.DNS) (*dns.Stub, error) {
	o := dns.Options{TrustAD: c.TrustAD, Timeout: c.Timeout.Std()}
	for _, text := range c.Servers {
		a, err := dns.ParseServer(text)
		if err != nil {
			return nil, fmt.Errorf("resolver %q: %w", text, err)
		}
		o.Servers = append(o.Servers, a)
	}
	return dns.NewStub(o)
}

// ownAddresses are the addresses that listeners are at; all addresses of the machine are
// the unspecified one.
func ownAddresses(listen []string) []netip.AddrPort {
	var own []netip.AddrPort
	for _, l := range listen {
		host, portText, err := net.SplitHostPort(l)
		if err != nil {
			continue // a Unix socket: nothing is ever sent there
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil {
			continue
		}
		addr := netip.IPv6Unspecified()
		switch a, err := netip.ParseAddr(host); {
		case err == nil:
			addr = a
		case host == "localhost":
			addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		own = append(own, netip.AddrPortFrom(addr, uint16(port)))
	}
	return own
}

func allLoopback(own []netip.AddrPort) bool {
	for _, a := range own {
		if !a.Addr().IsLoopback() {
			return false
		}
	}
	return true
}

// local is the way into mailboxes.
func (s *Store) local() mailflow.Local { return s.deliverer() }

func (s *Store) deliverer() *deliver.Deliverer {
	return deliver.New(deliver.Options{
		Directory: s.Directory, Store: s.Mail, RejectFull: s.config.Limits.RejectFull, Log: s.log,
		Rules: s.Rules, Annotations: rules.Annotated, Bodies: s.Bodies, Reports: s.Outbox.PrepareReport, Host: hostname(s.config)})
}

// ours tells whether mail for an address ends in mailboxes of ours only.
func (s *Store) ours(ctx context.Context, a address.Address) (bool, error) {
	t, err := s.Directory.Resolve(ctx, a)
	return err == nil && t.Kind != directory.NotLocal && len(t.Outside) == 0, err
}
