package directory

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What every authenticator program understands: RFC 6238 with its defaults.
const (
	totpDigits     = 6
	totpModulus    = 1_000_000
	totpStep       = 30 * time.Second // RFC 6238, 5.2
	totpSkew       = 1                // steps that the two clocks may be apart, each way (RFC 6238, 5.2)
	totpSecretSize = 20               // octets: the length of SHA-1 (RFC 4226, 4, R6: 160 bits)
)

// NewTOTP makes a secret for an authenticator. Nothing is kept of it before SetTOTP.
func NewTOTP() []byte {
	secret := make([]byte, totpSecretSize)
	rand.Read(secret)
	return secret
}

// TOTPText is the secret as people type it into an authenticator.
func TOTPText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// TOTPURL is what an authenticator reads as a QR code: the otpauth form that all of them
// share, with the issuer in both places where they look for it.
func TOTPURL(issuer, login string, secret []byte) string {
	q := url.Values{"secret": {TOTPText(secret)}, "issuer": {issuer}, "algorithm": {"SHA1"},
		"digits": {strconv.Itoa(totpDigits)}, "period": {strconv.Itoa(int(totpStep / time.Second))}}
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + login,
		RawQuery: strings.ReplaceAll(q.Encode(), "+", "%20")}
	return u.String()
}

// hotp is the value of RFC 4226, 5.3 before it is cut to some digits.
func hotp(secret []byte, counter int64) uint32 {
	mac := hmac.New(sha1.New, secret)
	var c [8]byte
	binary.BigEndian.PutUint64(c[:], uint64(counter))
	mac.Write(c[:])
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0x0f
	return binary.BigEndian.Uint32(sum[at:at+4]) & 0x7fffffff
}

// stepAt is the number of the time step (RFC 6238, 4.2).
func stepAt(t time.Time) int64 { return t.Unix() / int64(totpStep/time.Second) }

// TOTPCode is the code that an authenticator shows at a time.
func TOTPCode(secret []byte, at time.Time) string { return codeOf(secret, stepAt(at)) }

func codeOf(secret []byte, step int64) string {
	return fmt.Sprintf("%0*d", totpDigits, hotp(secret, step)%totpModulus)
}

// totpForm takes out the space that authenticators show in a code, and tells whether it is one.
func totpForm(code string) (string, bool) {
	code = strings.ReplaceAll(code, " ", "")
	return code, len(code) == totpDigits && strings.Trim(code, "0123456789") == ""
}

// matchTOTP returns the step whose code this is. All are compared, whichever matches.
func matchTOTP(secret []byte, code string, at time.Time) (step int64, ok bool) {
	now := stepAt(at)
	for s := now - totpSkew; s <= now+totpSkew; s++ {
		if subtle.ConstantTimeCompare([]byte(codeOf(secret, s)), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// replayed tells whether a code's step was used, or one after it (RFC 6238, 5.2). A step
// that lies ahead of any code that would be taken now was written under a clock that was
// wrong: it counts for nothing, or the user would wait for that time to come.
func replayed(step, last int64, at time.Time) bool {
	return step <= last && last <= stepAt(at)+totpSkew
}
