package directory

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"postroad/internal/kv"
)

// Limits of second factors.
const (
	PasskeysMax     = 20   // of one account
	PasskeyIDMax    = 1023 // octets (WebAuthn, 4: credential id)
	PasskeyKeyMax   = 2048 // octets of a public key: the longest of RSA, and more
	TransportsMax   = 8    // of one passkey, each of at most 20 octets
	RecoveryCodes   = 10   // made at once
	recoveryLetters = 16   // of base 32: 80 bits, so that a plain hash keeps them
)

// Factors are what an account proves itself with beside its password.
type Factors struct {
	TOTP     time.Time // when it was set up; zero: there is none
	Passkeys []Passkey
	Recovery int // recovery codes that are left
}

// Second tells whether the password alone is not enough.
func (f *Factors) Second() bool { return !f.TOTP.IsZero() || len(f.Passkeys) > 0 }

// Passkey is a WebAuthn credential.
type Passkey struct {
	ID         []byte
	PublicKey  []byte // COSE
	Name       string // which its user gave
	Flags      byte   // of the authenticator's data when it was made
	SignCount  uint32
	Transports []string
	AAGUID     []byte // which product it is, where it tells
	Created    time.Time
	Used       time.Time // zero: never
}

func (r *secretsRecord) second() bool { return r.TOTP != nil || len(r.Passkeys) > 0 }

// Factors returns the second factors of an account.
func (s *Store) Factors(ctx context.Context, id AccountID) (Factors, error) {
	org, err := s.accountOrg(ctx, id)
	if err != nil {
		return Factors{}, err
	}
	r, err := lookup[secretsRecord](ctx, s.cached(orgSpace(org)), secretsKey(id))
	if err != nil || r == nil || !r.second() {
		return Factors{}, err
	}
	uses, err := s.uses(ctx, org, id)
	if err != nil {
		return Factors{}, err
	}
	f := Factors{Recovery: len(r.Recovery)}
	if r.TOTP != nil {
		f.TOTP = r.TOTP.Created
	}
	for _, p := range r.Passkeys {
		use := uses.Passkeys[hex.EncodeToString(p.ID)]
		f.Passkeys = append(f.Passkeys, Passkey{ID: p.ID, PublicKey: p.Key, Name: p.Name, Flags: p.Flags, SignCount: use.Count,
			Transports: p.Transports, AAGUID: p.AAGUID, Created: p.Created, Used: use.Used})
	}
	return f, nil
}

// uses reads what the cache does not hold.
func (s *Store) uses(ctx context.Context, org string, id AccountID) (*usesRecord, error) {
	snap, err := s.Engine.Snapshot(ctx, orgSpace(org))
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	defer snap.Close()
	raw, err := snap.Get([]byte(usesKey(id)))
	if errors.Is(err, kv.ErrNotFound) {
		return new(usesRecord), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the directory: %w", err)
	}
	return decode[usesRecord](raw)
}

// SetTOTP keeps the secret of an authenticator, in place of any other, once its user has
// proved with a code that it works. With the first second factor it returns recovery codes,
// which are never shown again. ErrCredentials: the code is wrong.
func (s *Store) SetTOTP(ctx context.Context, id AccountID, secret []byte, code string) (recovery []string, err error) {
	start := time.Now()
	if len(secret) != totpSecretSize {
		return nil, fmt.Errorf("%w: a secret of %d octets", ErrInvalid, len(secret))
	}
	code, _ = totpForm(code)
	step, ok := matchTOTP(secret, code, start)
	if !ok {
		return nil, s.fail(ctx, start, ErrCredentials)
	}
	err = s.changeFactors(ctx, id, func(e *editor, r *secretsRecord, uses *usesRecord) error {
		recovery = r.firstFactor()
		r.TOTP = &totpRecord{Secret: secret, Created: now()}
		uses.Step = step
		return nil
	})
	return recovery, err
}

// RemoveTOTP takes the authenticator away. ErrNotFound: there is none.
func (s *Store) RemoveTOTP(ctx context.Context, id AccountID) error {
	return s.changeFactors(ctx, id, func(e *editor, r *secretsRecord, uses *usesRecord) error {
		if r.TOTP == nil {
			return fmt.Errorf("%w: this account has no authenticator", ErrNotFound)
		}
		r.TOTP, uses.Step = nil, 0
		r.lastFactor()
		return nil
	})
}

// AddPasskey keeps a passkey whose registration the caller has verified. With the first
// second factor it returns recovery codes, which are never shown again.
func (s *Store) AddPasskey(ctx context.Context, id AccountID, p Passkey) (recovery []string, err error) {
	if err := checkPasskey(&p); err != nil {
		return nil, err
	}
	err = s.changeFactors(ctx, id, func(e *editor, r *secretsRecord, uses *usesRecord) error {
		switch {
		case len(r.Passkeys) >= PasskeysMax:
			return fmt.Errorf("%w: more than %d passkeys; remove one first", ErrInvalid, PasskeysMax)
		case r.passkey(p.ID) >= 0:
			return fmt.Errorf("%w: this passkey", ErrExists)
		}
		recovery = r.firstFactor()
		r.Passkeys = append(r.Passkeys, passkeyRecord{ID: p.ID, Key: p.PublicKey, Name: p.Name, Flags: p.Flags,
			Transports: p.Transports, AAGUID: p.AAGUID, Created: now()})
		uses.Passkeys[hex.EncodeToString(p.ID)] = passkeyUse{Count: p.SignCount}
		return nil
	})
	return recovery, err
}

func checkPasskey(p *Passkey) error {
	long := func(t string) bool { return len(t) > 20 }
	switch {
	case len(p.ID) == 0 || len(p.ID) > PasskeyIDMax || len(p.PublicKey) == 0 || len(p.PublicKey) > PasskeyKeyMax || len(p.AAGUID) > 16:
		return fmt.Errorf("%w: a passkey with parts of unusual size", ErrInvalid)
	case len(p.Transports) > TransportsMax || slices.ContainsFunc(p.Transports, long):
		return fmt.Errorf("%w: transports of a passkey", ErrInvalid)
	}
	return checkCredentialName(p.Name)
}

// checkCredentialName holds what a user calls a credential to what can be shown.
func checkCredentialName(name string) error {
	if name == "" || len(name) > NameMax || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w: a name has 1 to %d octets and no control characters", ErrInvalid, NameMax)
	}
	return nil
}

// RenamePasskey gives a passkey another name. ErrNotFound.
func (s *Store) RenamePasskey(ctx context.Context, id AccountID, passkey []byte, name string) error {
	if err := checkCredentialName(name); err != nil {
		return err
	}
	return s.changeFactors(ctx, id, func(e *editor, r *secretsRecord, uses *usesRecord) error {
		n := r.passkey(passkey)
		if n < 0 {
			return fmt.Errorf("%w: passkey", ErrNotFound)
		}
		r.Passkeys[n].Name = name
		return nil
	})
}

// RemovePasskey takes a passkey away. ErrNotFound.
func (s *Store) RemovePasskey(ctx context.Context, id AccountID, passkey []byte) error {
	return s.changeFactors(ctx, id, func(e *editor, r *secretsRecord, uses *usesRecord) error {
		n := r.passkey(passkey)
		if n < 0 {
			return fmt.Errorf("%w: passkey", ErrNotFound)
		}
		r.Passkeys = slices.Delete(r.Passkeys, n, n+1)
		delete(uses.Passkeys, hex.EncodeToString(passkey))
		r.lastFactor()
		return nil
	})
}

// passkey returns a passkey's place, -1 for none.
func (r *secretsRecord) passkey(id []byte) int {
	return slices.IndexFunc(r.Passkeys, func(p passkeyRecord) bool { return bytes.Equal(p.ID, id) })
}

// NewRecovery makes recovery codes in place of those there were.
func (s *Store) NewRecovery(ctx context.Context, id AccountID) (codes []string, err error) {
	err = s.changeFactors(ctx, id, func(e *editor, r *secretsRecord, uses *usesRecord) error {
		if !r.second() {
			return fmt.Errorf("%w: recovery codes without a second factor", ErrInvalid)
		}
		codes = r.newRecovery()
		return nil
	})
	return codes, err
}

// firstFactor makes recovery codes when the account gets its first second factor.
func (r *secretsRecord) firstFactor() []string {
	if r.second() {
		return nil
	}
	return r.newRecovery()
}

// lastFactor drops the recovery codes with the last second factor: they stand for it.
func (r *secretsRecord) lastFactor() {
	if !r.second() {
		r.Recovery = nil
	}
}

func (r *secretsRecord) newRecovery() []string {
	r.Recovery = nil
	var shown []string
	for range RecoveryCodes {
		letters := strings.ToLower(rand.Text())[:recoveryLetters]
		hash := sha256.Sum256([]byte(letters))
		r.Recovery = append(r.Recovery, hash[:])
		shown = append(shown, letters[:4]+"-"+letters[4:8]+"-"+letters[8:12]+"-"+letters[12:])
	}
	return shown
}

// recoveryForm returns the letters of what may be a recovery code.
func recoveryForm(code string) (string, bool) {
	if len(code) > 2*recoveryLetters {
		return "", false
	}
	code = strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code))
	return code, len(code) == recoveryLetters && strings.Trim(code, appDigits) == ""
}

// changeFactors lets f change the second factors of an account and what goes with each use.
func (s *Store) changeFactors(ctx context.Context, id AccountID, f func(*editor, *secretsRecord, *usesRecord) error) error {
	return s.editFactors(ctx, id, false, f)
}

// editFactors is changeFactors; while the editor is quiet only the uses are kept, and no
// cache of the organisation is dropped for them.
func (s *Store) editFactors(ctx context.Context, id AccountID, quiet bool, f func(*editor, *secretsRecord, *usesRecord) error) error {
	return s.changeAccount(ctx, id, func(e *editor, _ string) error {
		e.quiet = quiet
		r, uses, err := readFactors(e, id)
		if err != nil {
			return err
		}
		if err := f(e, r, uses); err != nil {
			return err
		}
		if err := e.put(usesKey(id), uses); err != nil || e.quiet {
			return err
		}
		return e.put(secretsKey(id), r)
	})
}

func readFactors(e *editor, id AccountID) (*secretsRecord, *usesRecord, error) {
	if _, err := readAccount(e, id); err != nil {
		return nil, nil, err
	}
	r, err := read[secretsRecord](e, secretsKey(id))
	if err != nil {
		return nil, nil, err
	}
	uses, err := read[usesRecord](e, usesKey(id))
	if err != nil {
		return nil, nil, err
	}
	if r == nil {
		r = new(secretsRecord)
	}
	if uses == nil {
		uses = new(usesRecord)
	}
	if uses.Passkeys == nil {
		uses.Passkeys = map[string]passkeyUse{}
	}
	return r, uses, nil
}

// CheckCode takes a code of an account's authenticator, or a recovery code, of who has shown
// the password before. Each is taken once. The errors are those of Authenticate.
func (s *Store) CheckCode(ctx context.Context, id AccountID, code string, client netip.Addr) error {
	start := time.Now()
	if !s.throttle.tryCode(id, start) {
		return s.fail(ctx, start, ErrThrottled)
	}
	err := s.second(ctx, id, client, func(e *editor, r *secretsRecord, uses *usesRecord, at time.Time) error {
		if digits, ok := totpForm(code); ok && r.TOTP != nil {
			step, ok := matchTOTP(r.TOTP.Secret, digits, at)
			if !ok || replayed(step, uses.Step, at) {
				return ErrCredentials
			}
			uses.Step = step
			return nil
		}
		letters, ok := recoveryForm(code)
		if !ok || !r.takeRecovery(letters) {
			return ErrCredentials
		}
		e.quiet = false
		return nil
	})
	if err == nil {
		s.throttle.rightCode(id, time.Now())
	}
	return err
}

// takeRecovery uses a recovery code up.
func (r *secretsRecord) takeRecovery(letters string) bool {
	hash, found := sha256.Sum256([]byte(letters)), -1
	for i, have := range r.Recovery {
		if subtle.ConstantTimeCompare(have, hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return false
	}
	r.Recovery = slices.Delete(r.Recovery, found, found+1)
	return true
}

// UsePasskey notes that a passkey has signed, which the caller has verified: its counter
// must have grown, unless it does not count (WebAuthn, 7.2, step 22). A counter that did
// not tells of a copy: ErrCredentials, and the log has it.
func (s *Store) UsePasskey(ctx context.Context, id AccountID, passkey []byte, count uint32, client netip.Addr) error {
	return s.second(ctx, id, client, func(e *editor, r *secretsRecord, uses *usesRecord, at time.Time) error {
		if r.passkey(passkey) < 0 {
			return ErrCredentials
		}
		key := hex.EncodeToString(passkey)
		if last := uses.Passkeys[key].Count; count <= last && last > 0 {
			s.Log.Warn("directory: a passkey's counter went back; it may have been copied", "account", id, "count", count, "last", last)
			return ErrCredentials
		}
		uses.Passkeys[key] = passkeyUse{Count: count, Used: at.UTC().Truncate(time.Second)}
		return nil
	})
}

// second runs a check of a second factor. Who guesses at codes does not shut passkeys out:
// nobody guesses at those.
func (s *Store) second(ctx context.Context, id AccountID, client netip.Addr, f func(*editor, *secretsRecord, *usesRecord, time.Time) error) error {
	start := time.Now()
	a, err := s.Account(ctx, id)
	if err == nil && (a.Disabled || a.Public) || errors.Is(err, ErrNotFound) {
		err = ErrCredentials
	}
	if err == nil {
		err = s.editFactors(ctx, id, true, func(e *editor, r *secretsRecord, uses *usesRecord) error { return f(e, r, uses, start) })
	}
	switch {
	case errors.Is(err, ErrCredentials):
		return s.fail(ctx, start, ErrCredentials)
	case err != nil:
		return fmt.Errorf("second factor: %w", err)
	}
	s.throttle.succeeded(client, a.Login.String(), time.Now())
	return nil
}
