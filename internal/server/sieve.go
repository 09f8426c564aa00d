package server

import (
	"context"
	"errors"
	"unicode/utf8"

	"postroad/internal/mailflow"
	"postroad/internal/mda/sieved"
	"postroad/internal/scripts"
	"postroad/managesieve"
)

// sieveLanguage is the Sieve that scripts may be written in. It is the one place where the
// compiler is joined to the doors and the store of scripts: what is told to clients is what
// it takes.
type sieveLanguage struct {
	compile      func(source []byte) (warnings string, err error)
	extensions   []string // of "require"
	redirectsMax int      // 0: not told
	notify       []string // URI schemes
}

// sieve is the language of this program.
var sieve = sieveLanguage{compile: compileSieve}

// compileSieve checks the one thing that holds for every script (RFC 5228, 2.1).
func compileSieve(source []byte) (warnings string, err error) {
	if !utf8.Valid(source) {
		return "", errors.New("the script is not UTF-8")
	}
	return "", nil
}

// openScripts opens the store of Sieve scripts.
func (s *Store) openScripts(context.Context) error {
	s.Scripts = scripts.New(scripts.Options{
		Committer: s.Committer, Clock: s.Clock, Compile: sieve.compile,
		Organisation: func(ctx context.Context, id mailflow.AccountID) (string, error) {
			p, err := s.Directory.Principal(ctx, id)
			return p.Org, err
		},
	})
	return nil
}

func (s *Server) sieveDoor(l Listener) running {
	backend := sieved.New(sieved.Options{Scripts: s.Scripts, SASL: s.Directory.SASL, Secret: s.scramSecret()})
	server := managesieve.New(managesieve.Options{
		Hostname: hostname(s.config), Implementation: "postroad", NewSession: backend.NewSession,
		Extensions: sieve.extensions, RedirectsMax: sieve.redirectsMax, Notify: sieve.notify,
		TLS: s.clientTLS(), InsecureAuth: s.insecureAuth(&l), ScriptMax: scripts.ScriptMax,
		BadCommandsMax: s.config.Limits.BadCommands, ConnsMax: s.config.Limits.Connections,
		ConnsPerClient: s.config.Limits.AddressConnections, Logger: s.log, Panicked: s.panicked,
	})
	return running{door: l.Door, serve: server.Serve, shutdown: server.Shutdown, closed: managesieve.ErrClosed, listener: l}
}
