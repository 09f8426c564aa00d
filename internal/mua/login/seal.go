package login

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// errTicket is a ticket that is none, not for this, or too old.
var errTicket = errors.New("login: the ticket is not valid any more")

// clockSkew is what the clocks of two nodes may differ.
const clockSkew = time.Minute

// derive makes a key for one purpose of the installation's secret.
func derive(secret []byte, purpose string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("postroad " + purpose))
	return h.Sum(nil)
}

func newSeals(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealed is what a ticket has around its value.
type sealed struct {
	Made  int64           `json:"m"` // seconds
	Until int64           `json:"u"`
	Value json.RawMessage `json:"v"`
}

// seal makes a ticket: a value that only we can read and nobody can change, for a purpose and
// a time.
func (g *Gate) seal(purpose string, life time.Duration, v any) (string, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("seal %s: %w", purpose, err)
	}
	now := time.Now()
	text, err := json.Marshal(sealed{now.Unix(), now.Add(life).Unix(), value})
	if err != nil {
		return "", fmt.Errorf("seal %s: %w", purpose, err)
	}
	return base64.RawURLEncoding.EncodeToString(g.seals.Seal(nil, nil, text, []byte(purpose))), nil
}

// open reads a ticket; errTicket.
func (g *Gate) open(purpose, ticket string, v any) error {
	if len(ticket) > ticketMax {
		return errTicket
	}
	raw, err := base64.RawURLEncoding.DecodeString(ticket)
	if err != nil {
		return errTicket
	}
	text, err := g.seals.Open(nil, nil, raw, []byte(purpose))
	if err != nil {
		return errTicket
	}
	var s sealed
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("open %s: %w", purpose, err)
	}
	now := time.Now()
	if now.Unix() >= s.Until || now.Add(clockSkew).Unix() < s.Made {
		return errTicket
	}
	if err := json.Unmarshal(s.Value, v); err != nil {
		return fmt.Errorf("open %s: %w", purpose, err)
	}
	return nil
}
