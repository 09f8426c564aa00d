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
	credentials, err := credentialsOf(c.Routes)
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
		AllowLoopback: len(own) > 0 && allLoopback(own), Credentials: credentials,
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
		ActiveMax: c.Queue.Connections, LaneMax: c.Queue.DestinationConnections, Record: s.record, Log: s.log,
	})
	return err
}

// authName names the credentials of a route within the transport.
func authName(i int) string { return "route " + strconv.Itoa(i) }

// routes turns the configuration's routes into the router's.
func (s *Store) routes() route.Options {
	o := route.Options{Directory: s.Directory, NextHops: map[string]route.NextHop{}}
	for i := range s.config.Routes {
		r := &s.config.Routes[i]
		hop := route.NextHop{Hop: hopOf(r)}
		if r.Username != "" {
			hop.Auth = authName(i)
		}
		domain := strings.TrimPrefix(r.Domain, "*")
		switch _, taken := o.NextHops[domain]; {
		case domain == "" && o.RelayHost == "":
			o.RelayHost, o.RelayAuth = hop.Hop, hop.Auth
		case domain != "" && !taken: // the first that matches wins
			o.NextHops[domain] = hop
		}
	}
	return o
}

// hopOf writes a route's next hop as package route reads it.
func hopOf(r *config.Route) string {
	hop := r.Host
	if !r.MX {
		hop = "[" + hop + "]"
	}
	if r.Port != 0 {
		hop += ":" + strconv.Itoa(int(r.Port))
	}
	if r.Transport == route.LMTP {
		hop = route.LMTP + ":" + hop
	}
	return hop
}

// credentialsOf are the log-ins at relay hosts, by authName.
func credentialsOf(routes []config.Route) (map[string]remote.Credentials, error) {
	all := map[string]remote.Credentials{}
	for i := range routes {
		r := &routes[i]
		if r.Username == "" {
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
		all[authName(i)] = remote.Credentials{Credentials: sasl.Credentials{User: r.Username, Password: password}}
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
func (s *Store) local() mailflow.Local {
	return deliver.New(deliver.Options{
		Directory: s.Directory, Store: s.Mail, Log: s.log, Rules: s.Rules, Annotations: rules.Annotated, Bodies: s.Bodies, Host: hostname(s.config)})
}

// ours tells whether mail for an address ends in mailboxes of ours only.
func (s *Store) ours(ctx context.Context, a address.Address) (bool, error) {
	t, err := s.Directory.Resolve(ctx, a)
	return err == nil && t.Kind != directory.NotLocal && len(t.Outside) == 0, err
}
