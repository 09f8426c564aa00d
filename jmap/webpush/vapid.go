package webpush

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"time"
)

// tokenLife is how long a token holds. RFC 8292, 2: a day at the most.
const tokenLife = 12 * time.Hour

// coordinateSize is a number of P-256, in octets.
const coordinateSize = 32

// ErrKey is a key of ours that cannot be read.
var ErrKey = errors.New("webpush: no private key of P-256")

// Key is what a server signs with (RFC 8292).
type Key struct{ private *ecdsa.PrivateKey }

// NewKey makes a key.
func NewKey() (*Key, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &Key{k}, err
}

// ParseKey reads what Bytes wrote. ErrKey.
func ParseKey(raw []byte) (*Key, error) {
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, ErrKey
	}
	return &Key{k}, nil
}

// Bytes is the private key, to be kept secret.
func (k *Key) Bytes() ([]byte, error) { return k.private.Bytes() }

// Public is the public key as browsers want it (RFC 8292, 3.2): base64url of the point.
func (k *Key) Public() (string, error) {
	point, err := k.private.PublicKey.Bytes()
	return base64.RawURLEncoding.EncodeToString(point), err
}

// credentials are what Authorization has (RFC 8292, 2 and 3).
func (k *Key) credentials(to *url.URL, subject string, now time.Time) (string, error) {
	claims, err := json.Marshal(struct {
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
		Subject  string `json:"sub,omitempty"`
	}{to.Scheme + "://" + to.Host, now.Add(tokenLife).Unix(), subject})
	if err != nil {
		return "", err
	}
	public, err := k.Public()
	if err != nil {
		return "", err
	}
	e := base64.RawURLEncoding
	signed := e.EncodeToString([]byte(`{"typ":"JWT","alg":"ES256"}`)) + "." + e.EncodeToString(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 2*coordinateSize) // RFC 7518, 3.4
	r.FillBytes(signature[:coordinateSize])
	s.FillBytes(signature[coordinateSize:])
	return "vapid t=" + signed + "." + e.EncodeToString(signature) + ", k=" + public, nil
}
