package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	selfSignedAge   = 397 * 24 * time.Hour // what clients accept of any certificate
	selfSignedRenew = 30 * 24 * time.Hour  // so long before its end a new one is made at start
)

// ensureSelfSigned makes the pair unless there is one for these names that lasts.
func ensureSelfSigned(f Files, names []string, now time.Time) error {
	if len(names) == 0 {
		return errors.New("no names to make it for")
	}
	c, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
	switch {
	case err == nil && now.Add(selfSignedRenew).Before(c.Leaf.NotAfter) && coversAll(c.Leaf, names):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the one that is there: %w", err)
	}
	certificate, key, err := makeSelfSigned(names, now)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.Certificate), 0o700); err != nil {
		return err
	}
	if err := writeWhole(f.Key, key, 0o600); err != nil {
		return err
	}
	return writeWhole(f.Certificate, certificate, 0o644)
}

func coversAll(c *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return c.VerifyHostname(n) != nil })
}

// writeWhole writes a file beside its place and renames it there: a reader never sees a
// half.
func writeWhole(name string, data []byte, mode fs.FileMode) error {
	tmp := name + ".new"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// makeSelfSigned makes a certificate for host names and addresses, and its key, both PEM.
func makeSelfSigned(names []string, now time.Time) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    now.Add(-time.Hour), // for clocks that are slow
		NotAfter:     now.Add(selfSignedAge),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// As its own issuer it can be put among a client's trusted ones.
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
