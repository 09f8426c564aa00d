package directory

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"postroad/sasl"
)

// PasswordMin is the shortest human password, in characters (NIST SP 800-63B, 3.1.1).
const PasswordMin = 8

// preparePassword is the one form of a password before it is hashed (RFC 8265, 4.2:
// OpaqueString). What the profile does not take is used as it is: an imported hash may
// have been made of it.
func preparePassword(password string) []byte {
	if p, err := precis.OpaqueString.String(password); err == nil {
		return []byte(p)
	}
	return []byte(password)
}

// SetPassword sets the human password of an account.
func (s *Store) SetPassword(ctx context.Context, id AccountID, password string) error {
	var fresh secretsRecord
	if err := s.putPassword(ctx, &fresh, password); err != nil {
		return err
	}
	return s.changeSecrets(ctx, id, func(r *secretsRecord) error {
		r.Hash, r.Human = fresh.Hash, nil
		if !s.ScramForPasswords {
			return nil
		}
		return r.putHumanKey(preparePassword(password))
	})
}

// SetHash sets an imported hash as human password: crypt(3) ($1$ $5$ $6$ $2a$ $2b$ $2y$
// $argon2id$) or {SCHEME} as LDAP servers and Dovecot write it. At the next log-in it is
// replaced by argon2id.
func (s *Store) SetHash(ctx context.Context, id AccountID, hash string) error {
	var fresh secretsRecord
	if err := s.putHash(ctx, &fresh, hash); err != nil {
		return err
	}
	return s.changeSecrets(ctx, id, func(r *secretsRecord) error {
		r.Hash, r.Human = fresh.Hash, nil
		if len(r.Apps) == 0 && fresh.Human != nil {
			r.Salt, r.Rounds, r.Human = fresh.Salt, fresh.Rounds, fresh.Human
		}
		return nil
	})
}

// putPassword hashes a new password into r.
func (s *Store) putPassword(ctx context.Context, r *secretsRecord, password string) error {
	if n := utf8.RuneCountInString(password); n < PasswordMin || len(password) > PasswordMax || !utf8.ValidString(password) {
		return fmt.Errorf("%w: a password has %d characters to %d octets", ErrInvalid, PasswordMin, PasswordMax)
	}
	if strings.ContainsAny(password, "\x00\r\n") {
		return fmt.Errorf("%w: a password with line ends", ErrInvalid)
	}
	p := preparePassword(password)
	if err := s.bounded(ctx, func() { r.Hash = newArgon(p).String() }); err != nil {
		return err
	}
	if s.ScramForPasswords {
		return r.putHumanKey(p)
	}
	return nil
}

// putHash takes an imported hash into r. A plain password is hashed at once; a SCRAM
// verifier can serve SCRAM as it is.
func (s *Store) putHash(ctx context.Context, r *secretsRecord, hash string) error {
	if p, ok := plainPassword(hash); ok {
		return s.putPassword(ctx, r, p)
	}
	v, err := parseHash(hash)
	if err != nil {
		return err
	}
	r.Hash = hash
	if k, ok := v.(scramHash); ok {
		r.Salt, r.Rounds, r.Human = k.Salt, k.Iterations, &k.Keys[0]
	}
	return nil
}

// putHumanKey keeps a SCRAM key of the human password, salted as the account's others.
func (r *secretsRecord) putHumanKey(password []byte) error {
	k, err := r.key(string(password))
	r.Human = &k
	return err
}

// key derives a key with the account's salt, which it makes when there is none.
func (r *secretsRecord) key(password string) (sasl.Key, error) {
	if len(r.Salt) == 0 {
		r.Salt, r.Rounds = make([]byte, sasl.SaltSize), sasl.Iterations
		rand.Read(r.Salt)
	}
	return sasl.NewKey(password, r.Salt, r.Rounds)
}

// changeSecrets lets f change what an account proves itself with.
func (s *Store) changeSecrets(ctx context.Context, id AccountID, f func(*secretsRecord) error) error {
	return s.changeAccount(ctx, id, func(e *editor, _ string) error {
		if _, err := readAccount(e, id); err != nil {
			return err
		}
		r, err := read[secretsRecord](e, secretsKey(id))
		if err != nil {
			return err
		}
		if r == nil {
			r = new(secretsRecord)
		}
		if err := f(r); err != nil {
			return err
		}
		return e.put(secretsKey(id), r)
	})
}

// An app password is appGroups groups of appGroupLen letters of base 32: 130 bits.
const (
	appDigits   = "abcdefghijklmnopqrstuvwxyz234567"
	appLen      = 26
	appGroupLen = 5
)

// newAppPassword makes one as it is shown: "abcde-fghij-…".
func newAppPassword() string {
	text := strings.ToLower(rand.Text()) // base 32, at least 128 bits
	for len(text) < appLen {
		text += strings.ToLower(rand.Text())
	}
	var groups []string
	for text = text[:appLen]; len(text) > 0; {
		n := min(appGroupLen, len(text))
		groups, text = append(groups, text[:n]), text[n:]
	}
	return strings.Join(groups, "-")
}

// appForm returns the letters of what may be an app password, with or without the
// hyphens and in any case.
func appForm(password string) (string, bool) {
	if len(password) > 2*appLen {
		return "", false
	}
	p := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(password))
	return p, len(p) == appLen && strings.Trim(p, appDigits) == ""
}

// shownForm is the form with hyphens, which is what a SCRAM client derives its key from.
func shownForm(letters string) string {
	var b strings.Builder
	for i, c := range letters {
		if i > 0 && i%appGroupLen == 0 {
			b.WriteByte('-')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// AddAppPassword makes a password for one program, random, and returns it: it is never
// shown again. Only a SCRAM verifier of it is kept.
func (s *Store) AddAppPassword(ctx context.Context, id AccountID, name string) (password string, err error) {
	if name == "" || len(name) > NameMax || !utf8.ValidString(name) {
		return "", fmt.Errorf("%w: name of the app password", ErrInvalid)
	}
	password = newAppPassword()
	err = s.changeSecrets(ctx, id, func(r *secretsRecord) error {
		if len(r.Apps) >= AppsMax {
			return fmt.Errorf("%w: more than %d app passwords", ErrInvalid, AppsMax)
		}
		for _, a := range r.Apps {
			if a.Name == name {
				return fmt.Errorf("%w: app password %q", ErrExists, name)
			}
		}
		k, err := r.key(password)
		if err != nil {
			return err
		}
		r.Apps = append(r.Apps, appRecord{Name: name, Key: k, Created: now()})
		return nil
	})
	if err != nil {
		return "", err
	}
	return password, nil
}

// RevokeAppPassword ends an app password. It is wrong from the next log-in on.
func (s *Store) RevokeAppPassword(ctx context.Context, id AccountID, name string) error {
	return s.changeSecrets(ctx, id, func(r *secretsRecord) error {
		for i, a := range r.Apps {
			if a.Name == name {
				r.Apps = append(r.Apps[:i:i], r.Apps[i+1:]...)
				return nil
			}
		}
		return fmt.Errorf("%w: app password %q", ErrNotFound, name)
	})
}

// AppPasswords lists an account's app passwords.
func (s *Store) AppPasswords(ctx context.Context, id AccountID) ([]AppPassword, error) {
	org, err := s.accountOrg(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := lookup[secretsRecord](ctx, s.cached(orgSpace(org)), secretsKey(id))
	if err != nil || r == nil {
		return nil, err
	}
	all := make([]AppPassword, len(r.Apps))
	for i, a := range r.Apps {
		all[i] = AppPassword{Name: a.Name, Created: a.Created}
	}
	return all, nil
}
