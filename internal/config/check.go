package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"postroad/address"
)

// unixPrefix starts a listener on a Unix socket.
const unixPrefix = "unix:"

// keyError is a value that will not do.
type keyError struct {
	key, text string
}

func (e *keyError) Error() string { return e.key + ": " + e.text }

func bad(key, format string, args ...any) error { return &keyError{key, fmt.Sprintf(format, args...)} }

// check finds values that are of the right type and wrong nevertheless.
func (c *Config) check() error {
	if c.Hostname != "" {
		if d, err := address.ParseDomain(c.Hostname); err != nil || strings.HasPrefix(d, "[") {
			return bad("hostname", "%q is no host name", c.Hostname)
		}
	}
	if c.DataDirectory == "" {
		return bad("data_directory", "is empty")
	}
	for _, f := range []func() error{c.checkListen, c.checkTLS, c.checkOrigin, c.checkOIDC, c.checkDNS, c.checkRoutes, c.checkNumbers, c.checkWarnings, c.checkLog} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkWarnings() error {
	for _, p := range c.Limits.QuotaWarnings {
		if p < 1 || p > 100 {
			return bad("limits.quota_warnings", "%d is no percentage from 1 to 100", p)
		}
	}
	return nil
}

// checkOrigin wants scheme and host, and nothing behind them.
func (c *Config) checkOrigin() error {
	if c.Login.Origin == "" {
		return nil
	}
	u, err := url.Parse(c.Login.Origin)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != c.Login.Origin {
		return bad("login.origin", `%q is not "https://" and a host without a path`, c.Login.Origin)
	}
	return nil
}

func (c *Config) checkOIDC() error {
	o := &c.Login.OIDC
	u, err := url.Parse(o.Issuer)
	switch {
	case o.Issuer == "" && (o.Client != "" || !o.Secret.IsZero()):
		return bad("login.oidc.issuer", "is empty, while client or secret is set")
	case o.Issuer == "":
		return nil
	case err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return bad("login.oidc.issuer", "%q is no https URL without query and fragment", o.Issuer)
	case o.Client == "":
		return bad("login.oidc.client", "is empty; the provider gave one when postroad was registered there")
	case o.Claim == "":
		return bad("login.oidc.claim", "is empty; \"email\" is usual")
	}
	return nil
}

func (c *Config) checkListen() error {
	for _, l := range c.Listen.all() {
		for _, a := range l.addresses {
			if path, ok := strings.CutPrefix(a, unixPrefix); ok {
				if l.key != "listen.lmtp" || !filepath.IsAbs(path) {
					return bad(l.key, "%q: only LMTP listens on a Unix socket, with an absolute path", a)
				}
				continue
			}
			host, port, err := net.SplitHostPort(a)
			if err != nil || !validPort(port) {
				return bad(l.key, "%q is not host:port", a)
			}
			if _, err := netip.ParseAddr(host); host != "" && host != "localhost" && err != nil {
				return bad(l.key, "%q: the host must be an IP address, localhost, or empty for all", a)
			}
			if ip, err := netip.ParseAddr(host); l.key == "listen.http" && host != "localhost" && (err != nil || !ip.IsLoopback()) {
				return bad(l.key, "%q: without TLS only on a loopback address; use listen.https", a)
			}
		}
	}
	return nil
}

func validPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// door is one list of listeners with its key.
type door struct {
	key       string
	addresses []string
}

func (l *Listen) all() []door {
	return []door{
		{"listen.smtp", l.SMTP}, {"listen.submission", l.Submission}, {"listen.submissions", l.Submissions},
		{"listen.lmtp", l.LMTP}, {"listen.imap", l.IMAP}, {"listen.imaps", l.IMAPS},
		{"listen.pop3", l.POP3}, {"listen.pop3s", l.POP3S}, {"listen.sieve", l.Sieve},
		{"listen.https", l.HTTPS}, {"listen.http", l.HTTP}, {"listen.metrics", l.Metrics},
	}
}

func (c *Config) checkTLS() error {
	for _, p := range c.TLS.Certificates {
		if p.Certificate == "" || p.Key == "" {
			return bad("tls.certificate", "needs both certificate and key")
		}
	}
	if v := c.TLS.MinVersion; v != "1.2" && v != "1.3" {
		return bad("tls.min_version", "%q is neither 1.2 nor 1.3", v)
	}
	return nil
}

func (c *Config) checkDNS() error {
	for _, s := range c.DNS.Servers {
		if _, err := netip.ParseAddr(s); err == nil {
			continue
		}
		if _, err := netip.ParseAddrPort(s); err != nil {
			return bad("dns.servers", "%q is neither an IP address nor address:port", s)
		}
	}
	return nil
}

func (c *Config) checkRoutes() error {
	for _, r := range c.Routes {
		name := strings.TrimPrefix(strings.TrimPrefix(r.Domain, "*"), ".")
		if _, err := address.ParseDomain(name); r.Domain != "*" && err != nil {
			return bad("route.domain", "%q is neither a domain nor *.domain nor *", r.Domain)
		}
		if _, err := address.ParseDomain(r.Host); err != nil {
			if _, err := netip.ParseAddr(r.Host); err != nil {
				return bad("route.host", "%q is no host", r.Host)
			}
		}
		if r.Transport != "smtp" && r.Transport != "lmtp" {
			return bad("route.transport", "%q is neither smtp nor lmtp", r.Transport)
		}
		switch r.TLS {
		case "", "encrypt", "verify":
		case "may":
			if r.ImplicitTLS {
				return bad("route.tls", "is \"may\", and implicit_tls demands TLS")
			}
		default:
			return bad("route.tls", "%q is not may, encrypt or verify", r.TLS)
		}
		if r.Username != "" && r.TLS != "" && r.TLS != "verify" {
			return bad("route.tls", "with a user name it is \"verify\": a password is given to no other host")
		}
		if !r.Password.IsZero() && r.PasswordFile != "" {
			return bad("route.password_file", "there is a password already")
		}
	}
	return nil
}

func (c *Config) checkNumbers() error {
	q, l := &c.Queue, &c.Limits
	for _, n := range []struct {
		key        string
		value, min int64
	}{
		{"dns.timeout", int64(c.DNS.Timeout), 1},
		{"queue.retry_min", int64(q.RetryMin), 1},
		{"queue.retry_max", int64(q.RetryMax), int64(q.RetryMin)},
		{"queue.expire", int64(q.Expire), 1},
		{"queue.destination_connections", int64(q.DestinationConnections), 1},
		{"queue.connections", int64(q.Connections), 1},
		{"limits.message", int64(l.Message), 64 << 10}, // RFC 5321, 4.5.3.1.7
		{"limits.recipients", int64(l.Recipients), 100},
		{"limits.session_messages", int64(l.SessionMessages), 1},
		{"limits.session_bytes", int64(l.SessionBytes), int64(l.Message)},
		{"limits.header", int64(l.Header), 16 << 10},
		{"limits.header_fields", int64(l.HeaderFields), 100},
		{"limits.hops", int64(l.Hops), 100}, // RFC 5321, 6.3
		{"limits.connections", int64(l.Connections), 1},
		{"limits.address_connections", int64(l.AddressConnections), 1},
		{"limits.user_connections", int64(l.UserConnections), 1},
		{"limits.bad_commands", int64(l.BadCommands), 1},
		{"limits.smtp_timeout", int64(l.SMTPTimeout), 1},
		{"limits.imap_login_timeout", int64(l.IMAPLoginTimeout), int64(time.Second)},
		{"limits.imap_idle_timeout", int64(l.IMAPIdleTimeout), int64(30 * time.Minute)}, // RFC 9051, 5.4
		{"limits.quota", int64(l.Quota), 0},
		{"limits.disk_reserve", int64(l.DiskReserve), 0},
	} {
		if n.value < n.min {
			return bad(n.key, "is too small")
		}
	}
	return nil
}

func (c *Config) checkLog() error {
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		return bad("log.level", "%q is not debug, info, warn or error", c.Log.Level)
	}
	if f := c.Log.Format; f != "text" && f != "json" {
		return bad("log.format", "%q is neither text nor json", f)
	}
	return nil
}
