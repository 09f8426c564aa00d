// Package certs has the certificates that the doors show: files of one's own, read again
// when they change, and a self-signed one where there are none.
//
// The main type is [Manager]. The package fetches no certificates from anybody.
//
// RFC 8446 (TLS 1.3), RFC 9325 (recommendations for TLS), RFC 6066, 3 (server name),
// RFC 8314 (TLS for mail programs).
package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Files name one certificate on disk, both PEM.
type Files struct{ Certificate, Key string }

// Options say where certificates come from.
type Options struct {
	Files     []Files      // of one's own, the first is for clients that name no host
	Directory string       // where the self-signed one is kept when there are no Files
	Names     []string     // host names of the self-signed one, the first is its subject
	Log       *slog.Logger // nil: none
}

// CheckInterval is how often files are looked at for changes.
const CheckInterval = 10 * time.Second

// Manager picks a certificate by the name the client asks for. Its methods may be called
// at once.
type Manager struct {
	files      []Files
	log        *slog.Logger
	selfSigned bool

	mu      sync.RWMutex
	loaded  []loaded                    // in the order of files, guarded by mu
	byName  map[string]*tls.Certificate // exact names and "*.domain", guarded by mu
	general *tls.Certificate            // guarded by mu
}

// loaded is a certificate with what tells whether its files changed.
type loaded struct {
	certificate *tls.Certificate
	stamp       string
}

// New loads the certificates; a pair that cannot be loaded is an error. Run keeps them up
// to date.
func New(o Options) (*Manager, error) {
	m := &Manager{files: o.Files, log: o.Log}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if len(m.files) == 0 {
		own := Files{filepath.Join(o.Directory, "selfsigned.crt"), filepath.Join(o.Directory, "selfsigned.key")}
		if err := ensureSelfSigned(own, o.Names, time.Now()); err != nil {
			return nil, fmt.Errorf("make a self-signed certificate: %w", err)
		}
		m.files, m.selfSigned = []Files{own}, true
	}
	m.loaded = make([]loaded, len(m.files))
	if _, err := m.reload(); err != nil {
		return nil, err
	}
	return m, nil
}

// SelfSigned tells whether the certificate is one that no client knows.
func (m *Manager) SelfSigned() bool { return m.selfSigned }

// File is the name of the first certificate's file, for those who are to trust it.
func (m *Manager) File() string { return m.files[0].Certificate }

// Run looks for changed files until ctx is done. A pair that is broken or half written
// is reported, and the one before stays in use.
func (m *Manager) Run(ctx context.Context) error {
	tick := time.NewTicker(CheckInterval)
	defer tick.Stop()
	reported := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		changed, err := m.reload()
		if err != nil && err.Error() != reported {
			m.log.Error("certificates: the new one is not used", "error", err)
			reported = err.Error()
		}
		if err == nil {
			reported = ""
		}
		if changed {
			m.log.Info("certificates: loaded anew")
		}
	}
}

// reload loads what changed. All pairs are tried, the errors joined.
func (m *Manager) reload() (changed bool, err error) {
	m.mu.RLock()
	next := append([]loaded(nil), m.loaded...)
	m.mu.RUnlock()
	for i, f := range m.files {
		stamp, e := f.stamp()
		if e == nil && stamp == next[i].stamp {
			continue
		}
		var c tls.Certificate
		if e == nil {
			c, e = tls.LoadX509KeyPair(f.Certificate, f.Key)
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("load certificate %s: %w", f.Certificate, e))
			continue
		}
		next[i], changed = loaded{&c, stamp}, true
	}
	if changed {
		m.use(next)
	}
	return changed, err
}

// use puts certificates into force.
func (m *Manager) use(next []loaded) {
	byName := map[string]*tls.Certificate{}
	for _, l := range next {
		if l.certificate == nil {
			continue
		}
		names := l.certificate.Leaf.DNSNames
		if len(names) == 0 {
			names = []string{l.certificate.Leaf.Subject.CommonName}
		}
		for _, n := range names {
			if n = foldName(n); byName[n] == nil {
				byName[n] = l.certificate
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loaded, m.byName, m.general = next, byName, next[0].certificate
}

// stamp changes when one of the files does.
func (f Files) stamp() (string, error) {
	var b strings.Builder
	for _, name := range []string{f.Certificate, f.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%d %d\n", info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}

func foldName(n string) string { return strings.TrimSuffix(strings.ToLower(n), ".") }

// GetCertificate is for tls.Config: the certificate with the name that the client asks
// for, one with a wildcard for it, else the first. Mail programs are shown a wrong name
// rather than no certificate, and say so to their user.
func (m *Manager) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := foldName(hello.ServerName) // Outlook sends the final dot
	m.mu.RLock()
	defer m.mu.RUnlock()
	if c := m.byName[name]; c != nil {
		return c, nil
	}
	if _, domain, ok := strings.Cut(name, "."); ok {
		if c := m.byName["*."+domain]; c != nil {
			return c, nil
		}
	}
	return m.general, nil
}

// Client returns the TLS configuration of the doors for mail programs, with least
// version v (tls.VersionTLS12 or 13).
func (m *Manager) Client(v uint16) *tls.Config {
	// RFC 9325, 4.2: forward secrecy and AEAD only; Go's own choice for TLS 1.2 has CBC
	// suites at its end, so they are named here.
	return &tls.Config{
		GetCertificate: m.GetCertificate,
		MinVersion:     v,
		CipherSuites:   modernSuites,
	}
}

// Server returns the TLS configuration of port 25. There, TLS is better than none
// (RFC 7435), so the older suites of TLS 1.2 are taken too.
func (m *Manager) Server() *tls.Config {
	return &tls.Config{GetCertificate: m.GetCertificate, MinVersion: tls.VersionTLS12}
}

var modernSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}
