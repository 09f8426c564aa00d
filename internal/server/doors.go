package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"context"

	"postroad/imap/imapserver"
	"postroad/internal/mda/imapd"
	"postroad/message"
	"postroad/sasl"
	"postroad/smtp"
	"postroad/smtp/smtpserver"
)

// holdMax is FUTURERELEASE's longest time (RFC 4865, 4: told to the client).
const holdMax = 365 * 24 * time.Hour

// door makes the protocol server of a listener.
func (s *Server) door(l Listener) (running, error) {
	switch l.Door {
	case DoorSMTP, DoorLMTP, DoorSubmission, DoorSubmissions:
		return s.smtpDoor(l)
	case DoorIMAP, DoorIMAPS:
		return s.imapDoor(l)
	case DoorPOP3, DoorPOP3S:
		return s.pop3Door(l)
	case DoorMetrics:
		return s.metricsDoor(l)
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

// messageLimits bound what is parsed of a message.
func (s *Server) messageLimits() message.Limits {
	return message.Limits{HeaderOctets: int(s.config.Limits.Header)}
}

// logins makes the backend of log-ins from an address, counted by the limiter.
func (s *Server) logins(client netip.Addr) sasl.Backend {
	return s.limiter.watch(s.Directory.SASL(client), client)
}

// closeAfter makes a shutdown of a server that has Shutdown and Close.
func serving(l Listener, serve func(net.Listener) error, shutdown func(context.Context) error, closed error) running {
	return running{door: l.Door, serve: serve, shutdown: shutdown, closed: closed, ls: Listeners{l}}
}
