// Package webpush makes the requests by which an application server hands a message to a
// push service (RFC 8030): encrypted for the one browser that asked for it (RFC 8291) and
// signed with the server's own key (VAPID, RFC 8292).
//
// The main type is [Message]. The package sends nothing: where a request goes, whom a name
// leads to and what is done with the answer is the caller's.
//
// RFC 8030, 8188, 8291, 8292.
package webpush

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Sizes, in octets.
const (
	bodyMax    = 4096 // what every push service takes (RFC 8030, 7.2)
	saltSize   = 16
	publicSize = 65 // a P-256 point, uncompressed
	authSize   = 16
	headerSize = saltSize + 4 + 1 + publicSize
	tagSize    = 16

	// PlainMax is the longest text that can be encrypted (RFC 8291, 4).
	PlainMax = bodyMax - headerSize - tagSize - 1
)

// Errors; test with errors.Is.
var (
	ErrKeys    = errors.New("webpush: the keys of a subscription are a P-256 point and 16 octets")
	ErrTooLong = fmt.Errorf("webpush: the text has more than %d octets", PlainMax)
)

// Keys are those of a subscription (RFC 8291, 3.1, 3.2).
type Keys struct {
	public *ecdh.PublicKey
	auth   []byte
}

// ParseKeys reads keys as browsers give them: base64url, with or without padding. ErrKeys.
func ParseKeys(p256dh, auth string) (*Keys, error) {
	point, err1 := decode(p256dh)
	secret, err2 := decode(auth)
	if err1 != nil || err2 != nil || len(secret) != authSize {
		return nil, ErrKeys
	}
	public, err := ecdh.P256().NewPublicKey(point)
	if err != nil || len(point) != publicSize {
		return nil, ErrKeys
	}
	return &Keys{public, secret}, nil
}

// decode reads base64url; padding may be there.
func decode(s string) ([]byte, error) {
	for i := 0; i < 2 && len(s) > 0 && s[len(s)-1] == '='; i++ {
		s = s[:len(s)-1]
	}
	return base64.RawURLEncoding.DecodeString(s)
}

// Encrypt encrypts a text for the subscription, with fresh keys each time. ErrTooLong.
func (k *Keys) Encrypt(plain []byte) ([]byte, error) {
	ephemeral, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return k.encrypt(plain, ephemeral, salt)
}

// encrypt is Encrypt with a sender's key and a salt (RFC 8291, 3.4; RFC 8188, 2): one record.
func (k *Keys) encrypt(plain []byte, sender *ecdh.PrivateKey, salt []byte) ([]byte, error) {
	if len(plain) > PlainMax {
		return nil, ErrTooLong
	}
	shared, err := sender.ECDH(k.public)
	if err != nil {
		return nil, ErrKeys
	}
	from := sender.PublicKey().Bytes()
	info := append(append([]byte("WebPush: info\x00"), k.public.Bytes()...), from...)
	secret, err := hkdf.Key(sha256.New, shared, k.auth, string(info), sha256.Size)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, secret, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, headerSize+len(plain)+1+tagSize)
	out = append(out, salt...)
	out = binary.BigEndian.AppendUint32(out, bodyMax)
	out = append(append(out, publicSize), from...)
	record := append(bytes.Clone(plain), 2) // RFC 8188, 2: the delimiter of the last record
	return seal.Seal(out, nonce, record, nil), nil
}

// Urgency is how soon a message must be there (RFC 8030, 5.3).
type Urgency string

// The urgencies.
const (
	VeryLow Urgency = "very-low"
	Low     Urgency = "low"
	Normal  Urgency = "normal"
	High    Urgency = "high"
)

// Message is one push message.
type Message struct {
	Endpoint string // the subscription's URL
	Keys     *Keys  // nil: the body goes as it is
	Body     []byte
	Type     string        // media type of the body
	TTL      time.Duration // how long it is worth delivering (RFC 8030, 5.2)
	Urgency  Urgency       // empty: not said
	Topic    string        // takes the place of one with the same topic (RFC 8030, 5.4); empty: none
	Key      *Key          // who we are; nil: not said
	Subject  string        // how to reach us: mailto: or https: (RFC 8292, 2.1)
}

// Request makes the request that hands the message over. now is for the signature.
func (m *Message) Request(ctx context.Context, now time.Time) (*http.Request, error) {
	body := m.Body
	if m.Keys != nil {
		var err error
		if body, err = m.Keys.Encrypt(m.Body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", m.Type)
	r.Header.Set("TTL", strconv.FormatInt(int64(m.TTL/time.Second), 10))
	if m.Keys != nil {
		r.Header.Set("Content-Encoding", "aes128gcm")
	}
	if m.Urgency != "" {
		r.Header.Set("Urgency", string(m.Urgency))
	}
	if m.Topic != "" {
		r.Header.Set("Topic", m.Topic)
	}
	if m.Key != nil {
		credentials, err := m.Key.credentials(r.URL, m.Subject, now)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", credentials)
	}
	return r, nil
}
