package sasl

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// The channel binding types that are served.
const (
	bindingExporter = "tls-exporter"         // RFC 9266
	bindingEndPoint = "tls-server-end-point" // RFC 5929, 4
)

// exporterLabel and exporterSize are those of RFC 9266, 2.
const (
	exporterLabel = "EXPORTER-Channel-Binding"
	exporterSize  = 32
)

// Bindings is the TLS layer under a connection, to which a mechanism can bind. Both ends
// of a connection without a man in the middle have the same.
type Bindings struct {
	state tls.ConnectionState
	leaf  []byte // the server's certificate, DER; nil: not known
}

// errNoBinding is for a type that this connection has not.
var errNoBinding = errors.New("no such channel binding")

// available tells whether there is anything to bind to.
func (b *Bindings) available() bool {
	if b == nil {
		return false
	}
	_, err := b.data(bindingExporter)
	return err == nil || b.leaf != nil
}

// data returns the channel binding of a type.
func (b *Bindings) data(kind string) ([]byte, error) {
	if b == nil {
		return nil, errNoBinding
	}
	switch {
	case kind == bindingExporter:
		// RFC 9266, 4.2: below TLS 1.3 only with the extended master secret, which
		// crypto/tls checks here. Before TLS 1.2 there is none of it.
		if b.state.Version < tls.VersionTLS12 {
			return nil, errNoBinding
		}
		return b.state.ExportKeyingMaterial(exporterLabel, nil, exporterSize)
	case kind == bindingEndPoint && b.leaf != nil:
		return endPoint(b.leaf)
	}
	return nil, errNoBinding
}

// endPoint hashes a certificate with the hash of its signature, SHA-256 in place of MD5
// and SHA-1 (RFC 5929, 4.1).
func endPoint(der []byte) ([]byte, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the server's certificate: %w", err)
	}
	h := crypto.SHA256
	switch c.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		h = crypto.SHA512
	case x509.PureEd25519, x509.UnknownSignatureAlgorithm:
		// RFC 5929, 4.1: without exactly one hash function the type is undefined.
		return nil, errNoBinding
	}
	d := h.New()
	d.Write(der)
	return d.Sum(nil), nil
}

// ClientBindings returns the bindings of a client's connection after the handshake.
func ClientBindings(c *tls.Conn) *Bindings {
	b := &Bindings{state: c.ConnectionState()}
	if len(b.state.PeerCertificates) > 0 {
		b.leaf = b.state.PeerCertificates[0].Raw
	}
	return b
}

// chosenKey finds the place in a handshake's context where the certificate goes.
type chosenKey struct{}

// ServerConfig returns a copy of c whose handshakes by ServerHandshake know which
// certificate they showed, resumed ones too. Make it once for each listener.
func ServerConfig(c *tls.Config) *tls.Config {
	c = c.Clone()
	inner := c.GetConfigForClient
	outer := c
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		use := outer
		var chosen *tls.Config
		if inner != nil {
			other, err := inner(hello)
			if err != nil {
				return nil, err
			}
			if other != nil {
				use, chosen = other, other
			}
		}
		if leaf, ok := hello.Context().Value(chosenKey{}).(*[]byte); ok {
			*leaf = leafFor(use, hello)
		}
		return chosen, nil
	}
	return c
}

// leafFor tells which certificate crypto/tls will show: what GetCertificate returns,
// else the first that the client supports, else the first.
func leafFor(c *tls.Config, hello *tls.ClientHelloInfo) []byte {
	if c.GetCertificate != nil && (len(c.Certificates) == 0 || hello.ServerName != "") {
		if cert, err := c.GetCertificate(hello); err == nil && cert != nil && len(cert.Certificate) > 0 {
			return cert.Certificate[0]
		}
	}
	for i := range c.Certificates {
		if len(c.Certificates) == 1 || hello.SupportsCertificate(&c.Certificates[i]) == nil {
			return c.Certificates[i].Certificate[0]
		}
	}
	if len(c.Certificates) > 0 {
		return c.Certificates[0].Certificate[0]
	}
	return nil
}

// ServerHandshake runs the handshake of a connection made with a ServerConfig and returns
// its bindings.
func ServerHandshake(ctx context.Context, c *tls.Conn) (*Bindings, error) {
	var leaf []byte
	if err := c.HandshakeContext(context.WithValue(ctx, chosenKey{}, &leaf)); err != nil {
		return nil, err
	}
	return &Bindings{state: c.ConnectionState(), leaf: leaf}, nil
}
