package config

import (
	"net/netip"

	"postroad/internal/telemetry"
)

// Config is everything that boots a node. What changes while it runs (domains, accounts,
// aliases) is in the directory, not here.
type Config struct {
	// Name of this host as other servers see it: in greetings, Received fields and
	// Message-IDs. It should have an address record, and a reverse one that leads back.
	// Empty: what the system says.
	Hostname string `toml:"hostname"`

	// Directory that holds everything: keys, bodies, certificates, the administration
	// socket. One process at a time uses it.
	DataDirectory string `toml:"data_directory"`

	// User to serve as when started by root. Root only binds the ports.
	User string `toml:"user"`

	// Where to listen, each a list of "host:port" or ":port"; an empty list turns a door
	// off. LMTP also takes "unix:/path".
	Listen Listen `toml:"listen"`

	// Certificates and versions of TLS.
	TLS TLS `toml:"tls"`

	// How names are looked up.
	DNS DNS `toml:"dns"`

	// Who is trusted with what.
	Trust Trust `toml:"trust"`

	// How users prove who they are.
	Login Login `toml:"login"`

	// Next hops that are not found by MX records, the first that matches wins:
	// [[route]] tables.
	Routes []Route `toml:"route"`

	// How mail waits for other servers.
	Queue Queue `toml:"queue"`

	// What one message, session or user may use.
	Limits Limits `toml:"limits"`

	// For how long deleted mail can be brought back, and what is deleted by itself.
	Keep Keep `toml:"keep"`

	// What is written to standard error.
	Log Log `toml:"log"`
}

// Listen has the doors.
type Listen struct {
	// SMTP for other servers (RFC 5321), port 25.
	SMTP []string `toml:"smtp"`
	// Submission for mail programs, TLS by STARTTLS (RFC 6409), port 587.
	Submission []string `toml:"submission"`
	// Submission over TLS from the first octet (RFC 8314), port 465.
	Submissions []string `toml:"submissions"`
	// LMTP (RFC 2033) for an MTA in front of this one. Who can connect can deliver, so
	// only to loopback or a Unix socket.
	LMTP []string `toml:"lmtp"`
	// IMAP, TLS by STARTTLS (RFC 9051), port 143.
	IMAP []string `toml:"imap"`
	// IMAP over TLS from the first octet, port 993.
	IMAPS []string `toml:"imaps"`
	// POP3, TLS by STLS (RFC 1939), port 110.
	POP3 []string `toml:"pop3"`
	// POP3 over TLS from the first octet, port 995.
	POP3S []string `toml:"pop3s"`
	// ManageSieve, by which users change their filters, TLS by STARTTLS (RFC 5804), port 4190.
	Sieve []string `toml:"sieve"`
	// HTTPS: JMAP (RFC 8620), by HTTP/1.1 and HTTP/2, port 443.
	HTTPS []string `toml:"https"`
	// The same without TLS, only on loopback addresses: for a reverse proxy on this machine,
	// which trust.proxy must name for its X-Forwarded-For, -Proto and -Host to count.
	HTTP []string `toml:"http"`
	// Metrics for Prometheus over HTTP, /metrics. Off unless set; it has no log-in.
	Metrics []string `toml:"metrics"`
}

// TLS has the certificates.
type TLS struct {
	// Pairs of PEM files, read again when they change: [[tls.certificate]] tables. The
	// one whose names match what the client asks for is used, else the first. Without any,
	// a self-signed certificate is made and kept in the data directory.
	Certificates []Certificate `toml:"certificate"`
	// Least version of TLS for mail programs, "1.2" or "1.3". Port 25 always takes 1.2.
	MinVersion string `toml:"min_version"`
}

// Certificate is one pair of files.
type Certificate struct {
	// Certificate and intermediates, PEM.
	Certificate string `toml:"certificate"`
	// Private key, PEM.
	Key string `toml:"key"`
}

// DNS has the resolvers.
type DNS struct {
	// Resolvers as "address" or "address:port". Empty: those of /etc/resolv.conf.
	Servers []string `toml:"servers"`
	// Wait for the first try of a question; it doubles with each further one.
	Timeout Duration `toml:"timeout"`
	// Whether to believe the resolvers' AD bit (DNSSEC): true only where nobody sits
	// between them and this host.
	TrustAD bool `toml:"trust_ad"`
}

// Trust has networks.
type Trust struct {
	// Networks whose hosts may relay through port 25 without log-in.
	Relay []netip.Prefix `toml:"relay"`
	// Networks of load balancers that begin each connection with the PROXY protocol, and of
	// reverse proxies in front of HTTP, whose X-Forwarded fields are believed.
	Proxy []netip.Prefix `toml:"proxy"`
	// Networks of filters in front that may use XCLIENT.
	XCLIENT []netip.Prefix `toml:"xclient"`
	// Networks where push services may be that are not of the open Internet. Without this
	// no user can have us connect to a private or loopback address.
	Push []netip.Prefix `toml:"push"`
}

// Login has the rules of log-ins.
type Login struct {
	// Keep a SCRAM-SHA-256 verifier of human passwords too, from the next time they are
	// set, and offer SCRAM, so that mail programs can log in without sending them. Without
	// this SCRAM is not offered at all, because programs that see it choose it and try
	// nothing else (Mutt): to an account whose password was set before, SCRAM cannot be
	// answered, so set those passwords again when this is turned on. If the store is stolen
	// such a verifier is quicker to guess at than argon2id. App passwords always have one.
	ScramForPasswords bool `toml:"scram_for_passwords"`
	// How long the answer to a failed log-in takes.
	FailureDelay Duration `toml:"failure_delay"`
	// Allow log-ins without TLS. On doors at loopback addresses they always are.
	WithoutTLS bool `toml:"without_tls"`
	// Let the password alone open IMAP, POP3, submission, ManageSieve and HTTP Basic for an
	// account that has a second factor (authenticator or passkey). Without this such an
	// account uses app passwords or tokens there, and its password is answered like a wrong
	// one: otherwise who learns it has the mail without the second factor.
	PasswordAlone bool `toml:"password_alone"`
	// Where people and programs find the web side, "https://mail.example.org": the issuer of
	// OAuth tokens, and the host that passkeys are for. Empty: https and the hostname. With
	// another host the passkeys of before no longer fit.
	Origin string `toml:"origin"`
	// Do not let programs register themselves for OAuth; the administrator registers them.
	NoRegistration bool `toml:"no_registration"`
	// An OpenID Connect provider whose access tokens open JMAP too.
	OIDC OIDC `toml:"oidc"`
}

// OIDC is an outside provider of log-ins.
type OIDC struct {
	// Its issuer URL, "https://id.example.org"; empty: none. Its metadata is read from
	// there (/.well-known/openid-configuration) at the first token.
	Issuer string `toml:"issuer"`
	// Our client id at the provider. A token that is a JWT must be for it ("aud").
	Client string `toml:"client"`
	// Our secret at the provider, for asking it about tokens (RFC 7662). Without one, or if
	// the provider offers no introspection, tokens must be JWTs, and one that was revoked
	// works until it expires.
	Secret telemetry.Secret `toml:"secret"`
	// The claim that names the account by one of its addresses.
	Claim string `toml:"claim"`
}

// Route sends mail for some domains to a host of one's own choice.
type Route struct {
	// Domain, "*.domain" for all below it, or "*" for everything that is not local.
	Domain string `toml:"domain"`
	// Host name or address to send to.
	Host string `toml:"host"`
	// Port, 0: 25, with LMTP 24, with implicit_tls 465.
	Port uint16 `toml:"port"`
	// "smtp" or "lmtp".
	Transport string `toml:"transport"`
	// Look the host's MX records up instead of going to it directly.
	MX bool `toml:"mx"`
	// What is demanded of TLS: "may" uses it where it is offered, and it proves nothing;
	// with "encrypt" no mail goes without it; with "verify" none to a host whose certificate
	// is not valid for its name either. Empty: "may", and "verify" with a user name, which
	// allows nothing less.
	TLS string `toml:"tls"`
	// Begin with TLS instead of STARTTLS (RFC 8314), as on port 465 always. Then no mail goes
	// without TLS, whatever tls says.
	ImplicitTLS bool `toml:"implicit_tls"`
	// User name to log in with, empty: no log-in.
	Username string `toml:"username"`
	// Password to log in with.
	Password telemetry.Secret `toml:"password"`
	// File that has the password instead, on one line.
	PasswordFile string `toml:"password_file"`
}

// Queue has the times of retries.
type Queue struct {
	// Wait after the first failed try; it doubles with each further one, with jitter.
	RetryMin Duration `toml:"retry_min"`
	// The longest wait.
	RetryMax Duration `toml:"retry_max"`
	// Mail this old is given up and bounced (RFC 5321, 4.5.4.1: four to five days).
	Expire Duration `toml:"expire"`
	// Tell the sender that mail is still waiting after this time, 0: never.
	WarnAfter Duration `toml:"warn_after"`
	// Connections to one destination at a time.
	DestinationConnections int `toml:"destination_connections"`
	// Connections to all destinations at a time.
	Connections int `toml:"connections"`
}

// Limits are those of one message, session, user.
type Limits struct {
	// Octets in a message (SIZE, RFC 1870).
	Message Size `toml:"message"`
	// Recipients of a message; RFC 5321, 4.5.3.1.8 asks for 100 at least.
	Recipients int `toml:"recipients"`
	// Messages in one SMTP session.
	SessionMessages int `toml:"session_messages"`
	// Octets in one SMTP session.
	SessionBytes Size `toml:"session_bytes"`
	// Octets in a message's header; over it the message is refused.
	Header Size `toml:"header"`
	// Fields in a message's header; over it the message is refused.
	HeaderFields int `toml:"header_fields"`
	// Received fields of a message; over it the message is taken for one that goes round in
	// circles and refused (RFC 5321, 6.3: 100 at least).
	Hops int `toml:"hops"`
	// Connections of all clients together.
	Connections int `toml:"connections"`
	// Connections of one address that has not logged in.
	AddressConnections int `toml:"address_connections"`
	// Connections of one user.
	UserConnections int `toml:"user_connections"`
	// Wrong commands after which a session is closed.
	BadCommands int `toml:"bad_commands"`
	// Silence after which an SMTP session is closed (RFC 5321, 4.5.3.2: 5 minutes).
	SMTPTimeout Duration `toml:"smtp_timeout"`
	// Time that an IMAP client has for a command, and for the TLS handshake, before it has
	// logged in.
	IMAPLoginTimeout Duration `toml:"imap_login_timeout"`
	// Silence after which an IMAP session that has logged in is closed, in IDLE too
	// (RFC 9051, 5.4: 30 minutes at least).
	IMAPIdleTimeout Duration `toml:"imap_idle_timeout"`
	// Octets of mail of an account that sets nothing else, 0: no limit.
	Quota Size `toml:"quota"`
	// Parts of a quota, in percent, at which its owner gets a warning into INBOX; an empty
	// list: never.
	QuotaWarnings []int `toml:"quota_warnings"`
	// Refuse mail for a full mailbox for good (552), instead of having it tried again until
	// its sender gives up (452).
	RejectFull bool `toml:"reject_full"`
	// Free space on the disk below which mail is no longer taken.
	DiskReserve Size `toml:"disk_reserve"`
}

// Keep has the rules of what is deleted.
type Keep struct {
	// How long expunged mail and deleted mailboxes can be brought back, by their owner or
	// with "postroad undelete"; 0: not at all. While less than twice limits.disk_reserve is
	// free, what is deleted is not kept.
	Undelete Duration `toml:"undelete"`
	// Octets of an account kept for that, beside its quota; above it the oldest goes first.
	// 0: no bound.
	UndeleteBytes Size `toml:"undelete_bytes"`
	// How long mail stays in mailboxes for junk that have no rule of their own
	// ("postroad retention"); 0: for ever.
	Junk Duration `toml:"junk"`
	// The same for mailboxes for trash.
	Trash Duration `toml:"trash"`
}

// Log has the rules of the log.
type Log struct {
	// "debug", "info", "warn" or "error".
	Level string `toml:"level"`
	// "text" or "json".
	Format string `toml:"format"`
}
