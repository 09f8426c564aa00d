package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"postroad/imap/imapserver"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
	"postroad/internal/mda/imapd"
	"postroad/internal/mda/lmtpd"
	"postroad/internal/mda/pop3d"
	"postroad/internal/mta/intake"
	"postroad/internal/mta/submit"
	"postroad/message"
	"postroad/pop3"
	"postroad/sasl"
	"postroad/smtp/smtpserver"
)

// door makes the protocol server of a listener.
func (s *Server) door(l Listener) (running, error) {
	switch l.Door {
	case DoorSMTP:
		return s.smtpDoor(l), nil
	case DoorSubmission, DoorSubmissions:
		return s.submissionDoor(l), nil
	case DoorLMTP:
		return s.lmtpDoor(l), nil
	case DoorIMAP, DoorIMAPS:
		return s.imapDoor(l), nil
	case DoorPOP3, DoorPOP3S:
		return s.pop3Door(l), nil
	case DoorSieve:
		return s.sieveDoor(l), nil
	case DoorHTTPS, DoorHTTP:
		return s.httpDoor(l), nil
	case DoorMetrics:
		return s.metricsDoor(l), nil
	}
	return running{}, fmt.Errorf("nothing is known to be spoken there")
}

// insecureAuth tells whether passwords may come without TLS.
func (s *Server) insecureAuth(l *Listener) bool { return s.config.Login.WithoutTLS || l.Loopback() }

// clientTLS is the TLS of doors for mail programs.
func (s *Server) clientTLS() *tls.Config {
	if s.config.TLS.MinVersion == "1.3" {
		return s.Certs.Client(tls.VersionTLS13)
	}
	return s.Certs.Client(tls.VersionTLS12)
}

// smtpOptions are what the doors of SMTP, submission and LMTP have in common.
func (s *Server) smtpOptions(p smtpserver.Protocol) smtpserver.Options {
	l := &s.config.Limits
	return smtpserver.Options{
		Protocol: p, Hostname: hostname(s.config),
		SizeMax: int64(l.Message), RcptMax: l.Recipients, MailMax: l.SessionMessages, OctetsMax: int64(l.SessionBytes),
		BadCommandsMax: l.BadCommands, Timeout: l.SMTPTimeout.Std(), ConnsMax: l.Connections,
		ConnsPerClient: l.AddressConnections, Logger: s.log, Panicked: s.panicked,
	}
}

// contentLimits bound messages at all doors.
func (s *Server) contentLimits() mailflow.ContentLimits {
	l := &s.config.Limits
	return mailflow.ContentLimits{
		Size: int64(l.Message), Hops: l.Hops,
		Header: message.Limits{HeaderOctets: int(l.Header), HeaderFields: l.HeaderFields},
	}
}

// smtpRunning serves a listener with a server of package smtpserver.
func smtpRunning(l Listener, o smtpserver.Options) running {
	server := smtpserver.New(o)
	return running{door: l.Door, serve: server.Serve, shutdown: server.Shutdown, closed: smtpserver.ErrClosed, listener: l}
}

func (s *Server) smtpDoor(l Listener) running {
	o := s.smtpOptions(smtpserver.SMTP)
	o.TLS = s.Certs.Server()
	o.Extensions = intake.Extensions
	o.Proxies, o.XClients = s.config.Trust.Proxy, s.config.Trust.XCLIENT
	o.NewSession = intake.New(intake.Options{
		Hostname: o.Hostname, Directory: s.Directory, Submitter: s.Queue, Bodies: s.Bodies, Clock: s.Clock, Full: s.full, MayPost: s.mayPost,
		RejectFull: s.config.Limits.RejectFull, Relays: s.config.Trust.Relay, Limits: s.contentLimits(), Logger: s.log,
	}).NewSession
	return smtpRunning(l, o)
}

func (s *Server) submissionDoor(l Listener) running {
	o := s.smtpOptions(smtpserver.Submission)
	o.TLS = s.clientTLS()
	o.ImplicitTLS = l.Door == DoorSubmissions
	o.Extensions, o.HoldMax = submit.Extensions, submit.HoldMax
	o.Proxies, o.XClients = s.config.Trust.Proxy, s.config.Trust.XCLIENT
	o.RequireAuth, o.InsecureAuth = true, s.insecureAuth(&l)
	o.RequireTLS = !o.InsecureAuth
	o.Auth = &sasl.Options{Secret: s.scramSecret()}
	o.AuthBackend = s.Directory.SASL
	o.NewSession = submit.New(submit.Options{
		Hostname: o.Hostname, Directory: s.Directory, Submitter: s.Queue, Bodies: s.Bodies, Clock: s.Clock,
		Limits: s.contentLimits(), Logger: s.log,
	}).NewSession
	return smtpRunning(l, o)
}

func (s *Server) lmtpDoor(l Listener) running {
	o := s.smtpOptions(smtpserver.LMTP)
	o.TLS = s.Certs.Server()
	o.Extensions = lmtpd.Extensions
	o.ConnsPerClient = -1 // its peers are ours
	o.NewSession = lmtpd.New(lmtpd.Options{
		Hostname: o.Hostname, Directory: s.Directory, Submitter: s.Queue, Bodies: s.Bodies, Clock: s.Clock,
		Peers: s.config.Trust.Relay, Limits: s.contentLimits(), Logger: s.log,
	}).NewSession
	return smtpRunning(l, o)
}

// scramSecret is what makes the doors offer SCRAM: nil, and no offer, unless human
// passwords have verifiers. Programs that see SCRAM choose it and try nothing else when it
// fails (Mutt, and all that use Cyrus SASL), so it is not offered to accounts that
// could not pass it.
func (s *Server) scramSecret() []byte {
	if !s.config.Login.ScramForPasswords {
		return nil
	}
	return s.Directory.Secret()
}

// full answers a sender at RCPT already (RFC 5321, 4.5.3.1.9: 452, or 552 for good).
func (s *Server) full(ctx context.Context, id mailflow.AccountID, size int64) (bool, error) {
	a, err := s.Mail.Account(ctx, id)
	if err != nil {
		return false, err
	}
	err = a.Room(ctx, size, 1)
	if errors.Is(err, mailstore.ErrOverQuota) {
		return true, nil
	}
	return false, err
}

// mayPost answers at RCPT for public mailboxes, to senders from outside.
func (s *Server) mayPost(ctx context.Context, to directory.Destination) (bool, error) {
	return s.deliverer().MayPost(ctx, to, 0)
}

// logins makes the backend of log-ins from an address, counted by the limiter.
func (s *Server) logins(client netip.Addr) sasl.Backend {
	return s.limiter.watch(s.Directory.SASL(client), client)
}

// backends makes what all doors of a protocol share: the count of a user's sessions, the
// locks of maildrops.
func (s *Server) backends() {
	s.imap = imapd.New(imapd.Options{
		Store: s.Mail, Bodies: s.Bodies, Directory: s.Directory, SASL: s.logins, Secret: s.scramSecret(),
		MessageBytesMax: int64(s.config.Limits.Message), MessageLimits: s.contentLimits().Header,
		UserConnectionsMax: s.config.Limits.UserConnections, AdminURI: "mailto:postmaster@" + hostname(s.config), Log: s.log,
		Events: events.New(events.Options{Scripts: s.Scripts, Rules: s.Rules, Submitter: s.Queue, Bodies: s.Bodies,
			Committer: s.Committer, Owner: s.owner, Host: hostname(s.config), Log: s.log}),
	})
	s.pop3 = pop3d.New(pop3d.Options{Store: s.Mail, SASL: s.Directory.SASL, Secret: s.scramSecret()})
}

func (s *Server) imapDoor(l Listener) running {
	server := imapserver.New(imapserver.Options{
		NewSession: s.imap.NewSession, Admit: s.limiter.admit, TLS: s.clientTLS(), InsecureAuth: s.insecureAuth(&l),
		MessageBytesMax: int64(s.config.Limits.Message), SieveServer: s.sieveServer(), Log: s.log,
		LoginTimeout: s.config.Limits.IMAPLoginTimeout.Std(), IdleTimeout: s.config.Limits.IMAPIdleTimeout.Std(),
		ID: []imapserver.Field{{Name: "name", Value: "postroad"}, {Name: "version", Value: Version()}},
	})
	serve := server.Serve
	if l.Door == DoorIMAPS {
		serve = server.ServeTLS
	}
	return running{door: l.Door, serve: serve, shutdown: server.Shutdown, closed: imapserver.ErrServerClosed, listener: l}
}

func (s *Server) pop3Door(l Listener) running {
	server := pop3.New(pop3.Options{
		Hostname: hostname(s.config), Implementation: "postroad " + Version(), NewSession: s.pop3.NewSession,
		TLS: s.clientTLS(), ImplicitTLS: l.Door == DoorPOP3S, InsecureAuth: s.insecureAuth(&l),
		BadCommandsMax: s.config.Limits.BadCommands, ConnsMax: s.config.Limits.Connections,
		ConnsPerClient: s.config.Limits.AddressConnections, Logger: s.log, Panicked: s.panicked,
	})
	return running{door: l.Door, serve: server.Serve, shutdown: server.Shutdown, closed: pop3.ErrClosed, listener: l}
}

// panicked reports a session that panicked: a bug, and the end of that session alone.
func (s *Server) panicked(v any, stack []byte) {
	s.panics.Add(1)
	s.log.Error("a session panicked", "panic", v, "stack", string(stack))
}

// serveListener runs a door until it is shut down.
func (r *running) serveListener() error {
	err := r.serve(r.listener.Listener)
	if errors.Is(err, r.closed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
