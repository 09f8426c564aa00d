package server

import (
	"context"
	"net"
	"strconv"

	"postroad/internal/mailflow"
	"postroad/internal/mda/rules"
	"postroad/internal/mda/sieved"
	"postroad/internal/scripts"
	"postroad/managesieve"
	"postroad/sieve"
)

// sievePort is that of ManageSieve (RFC 5804, 1.8).
const sievePort = 4190

// SieveOptions are what scripts may use here.
func SieveOptions() sieve.Options { return sieve.Options{} }

// compileSieve tells what is wrong with a script, for who wrote it.
func compileSieve(source []byte) (warnings string, err error) {
	if _, errs := sieve.Compile(source, SieveOptions()); errs != nil {
		return "", errs
	}
	return "", nil
}

// openScripts opens the store of Sieve scripts.
func (s *Store) openScripts(context.Context) error {
	s.Scripts = scripts.New(scripts.Options{
		Committer: s.Committer, Clock: s.Clock, Compile: compileSieve,
		Organisation: func(ctx context.Context, id mailflow.AccountID) (string, error) {
			p, err := s.Directory.Principal(ctx, id)
			return p.Org, err
		},
	})
	s.Rules = rules.New(rules.Options{Scripts: s.Scripts, Owner: s.owner, Compile: SieveOptions(), Environment: map[string]string{
		"name": "postroad", "version": Version(), "host": hostname(s.config), "location": "MDA", "phase": "during",
	}})
	return nil
}

// owner is whose rules an account's are.
func (s *Store) owner(ctx context.Context, id mailflow.AccountID) (sieve.Owner, error) {
	a, err := s.Directory.Account(ctx, id)
	return sieve.Owner{Addresses: a.Addresses, Name: a.Name}, err
}

// sieveServer is the URL of our ManageSieve server (RFC 5804, 3), empty when there is none.
func (s *Server) sieveServer() string {
	for _, l := range s.Listeners {
		if l.Door != DoorSieve {
			continue
		}
		url := "sieve://" + hostname(s.config)
		if at, ok := l.Addr().(*net.TCPAddr); ok && at.Port != sievePort {
			url += ":" + strconv.Itoa(at.Port)
		}
		return url
	}
	return ""
}

func (s *Server) sieveDoor(l Listener) running {
	backend := sieved.New(sieved.Options{Scripts: s.Scripts, SASL: s.Directory.SASL, Secret: s.scramSecret()})
	server := managesieve.New(managesieve.Options{
		Hostname: hostname(s.config), Implementation: "postroad", NewSession: backend.NewSession,
		Extensions: sieve.Extensions(), RedirectsMax: sieve.RedirectsMax, Notify: sieve.NotifyMethods(),
		TLS: s.clientTLS(), InsecureAuth: s.insecureAuth(&l), ScriptMax: scripts.ScriptMax,
		BadCommandsMax: s.config.Limits.BadCommands, ConnsMax: s.config.Limits.Connections,
		ConnsPerClient: s.config.Limits.AddressConnections, Logger: s.log, Panicked: s.panicked,
	})
	return running{door: l.Door, serve: server.Serve, shutdown: server.Shutdown, closed: managesieve.ErrClosed, listener: l}
}
