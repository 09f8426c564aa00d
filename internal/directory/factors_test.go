package directory

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/sasl"
)

// TestHOTP has the values of RFC 4226, appendix D.
func TestHOTP(t *testing.T) {
	secret := []byte("12345678901234567890")
	want := []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"}
	for counter, code := range want {
		if got := codeOf(secret, int64(counter)); got != code {
			t.Errorf("%d: %s, not %s", counter, got, code)
		}
	}
}

// TestTOTP has the values of RFC 6238, appendix B for SHA-1, which are of eight digits.
func TestTOTP(t *testing.T) {
	secret := []byte("12345678901234567890")
	for unix, code := range map[int64]string{59: "94287082", 1111111109: "07081804", 1111111111: "14050471",
		1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130"} {
		at := time.Unix(unix, 0)
		if got := fmt.Sprintf("%08d", hotp(secret, stepAt(at))%100_000_000); got != code {
			t.Errorf("at %d: %s, not %s", unix, got, code)
		}
		if got := TOTPCode(secret, at); got != code[2:] {
			t.Errorf("at %d: %s, not %s", unix, got, code[2:])
		}
	}
	url := TOTPURL("mail.example.test", "alice smith@example.test", secret)
	want := "otpauth://totp/mail.example.test:alice%20smith@example.test?algorithm=SHA1&digits=6&issuer=mail.example.test&period=30&secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	if url != want {
		t.Errorf("%s\nnot %s", url, want)
	}
}

// withTOTP gives alice an authenticator and returns its secret and the recovery codes.
func withTOTP(t *testing.T, s *Store, id AccountID) ([]byte, []string) {
	t.Helper()
	secret := NewTOTP()
	codes, err := s.SetTOTP(t.Context(), id, secret, TOTPCode(secret, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * totpStep) // past the code that was used
	return secret, codes
}

// TestCodes: which codes are taken, and that none is taken twice.
func TestCodes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		secret, recovery := withTOTP(t, s, alice.ID)
		if len(recovery) != RecoveryCodes {
			t.Fatalf("%d recovery codes", len(recovery))
		}
		now := time.Now()
		ahead := TOTPCode(secret, now.Add(totpStep))
		for _, test := range []struct {
			name, code string
			good       bool
		}{
			{"of two steps ago", TOTPCode(secret, now.Add(-2*totpStep)), false},
			{"of the step before", TOTPCode(secret, now.Add(-totpStep)), true},
			{"replayed", TOTPCode(secret, now.Add(-totpStep)), false},
			{"of the next step, with a space", ahead[:3] + " " + ahead[3:], true},
			{"of now, older than one used", TOTPCode(secret, now), false},
			{"recovery", recovery[0], true},
			{"recovery again", recovery[0], false},
			{"recovery in capitals without hyphens", strings.ToUpper(strings.ReplaceAll(recovery[1], "-", "")), true},
			{"empty", "", false},
			{"letters", "abcdef", false},
			{"endless", strings.Repeat("1", 100_000), false},
		} {
			start := time.Now()
			err := s.CheckCode(t.Context(), alice.ID, test.code, home)
			took := time.Since(start)
			if test.good && (err != nil || took != 0) || !test.good && (!errors.Is(err, ErrCredentials) || took != FailureDelay) {
				t.Errorf("%s: %v after %v", test.name, err, took)
			}
		}
		if f, err := s.Factors(t.Context(), alice.ID); err != nil || f.Recovery != RecoveryCodes-2 || f.TOTP.IsZero() {
			t.Errorf("%+v %v", f, err)
		}
	})
}

// TestCodesAreFew: nobody guesses codes at will, and no good log-in of a network's makes it
// free to.
func TestCodesAreFew(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		secret, _ := withTOTP(t, s, alice.ID)
		if err := s.CheckCode(t.Context(), alice.ID, TOTPCode(secret, time.Now()), home); err != nil {
			t.Fatal(err)
		}
		tries := 0
		for ; tries < 100; tries++ {
			if err := s.CheckCode(t.Context(), alice.ID, "00000x", home); errors.Is(err, ErrThrottled) {
				break
			}
		}
		if tries < codeBurst || tries > codeBurst+1 { // a little runs out while they are made
			t.Errorf("%d tries", tries)
		}
		if err := s.CheckCode(t.Context(), alice.ID, TOTPCode(secret, time.Now()), home); !errors.Is(err, ErrThrottled) {
			t.Errorf("a right code while throttled: %v", err)
		}
		if _, err := s.AddPasskey(t.Context(), alice.ID, Passkey{ID: []byte{1}, PublicKey: []byte("key"), Name: "x"}); err != nil {
			t.Fatal(err)
		}
		if err := s.UsePasskey(t.Context(), alice.ID, []byte{1}, 1, home); err != nil {
			t.Errorf("a passkey meanwhile: %v", err)
		}
		time.Sleep(2 * codeRefill)
		if err := s.CheckCode(t.Context(), alice.ID, TOTPCode(secret, time.Now()), home); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

// TestClockWasAhead: a step written under a wrong clock shuts nobody out.
func TestClockWasAhead(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name       string
		step, last int64
		want       bool
	}{
		{"first", 0, -1, false}, {"the same", 0, 0, true}, {"older than the last", -1, 0, true}, {"newer", 1, 0, false},
		{"last within the skew", 0, 1, true}, {"last of a clock that was a year ahead", 0, 365 * 2880, false},
	} {
		if got := replayed(stepAt(now)+test.step, stepAt(now)+test.last, now); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestPasswordAlone: with a second factor the human password opens no mail program's door,
// and what it answers is what a wrong one answers.
func TestPasswordAlone(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		inBubble(t, func(t *testing.T, s *Store, alice Account) {
			user := alice.Login.String()
			if err := s.SetPassword(t.Context(), alice.ID, "correct horse"); err != nil { // with its SCRAM key
				t.Fatal(err)
			}
			if _, _, err := login(s, user, "correct horse", home); err != nil {
				t.Fatal(err) // now remembered
			}
			app, err := s.AddAppPassword(t.Context(), alice.ID, "phone")
			if err != nil {
				t.Fatal(err)
			}
			withTOTP(t, s, alice.ID)
			for _, from := range []string{"first", "remembered"} {
				p, took, err := login(s, user, "correct horse", home)
				if allowed && (err != nil || p.Second) || !allowed && (!errors.Is(err, ErrCredentials) || took != FailureDelay) {
					t.Errorf("%s: %+v %v after %v", from, p, err, took)
				}
			}
			if p, _, err := login(s, user, app, home); err != nil || p.App != "phone" || p.Second {
				t.Errorf("app password: %+v %v", p, err)
			}
			for password, good := range map[string]bool{app: true, "correct horse": allowed} {
				id, err := scramLogin(t.Context(), s, user, password)
				if (err == nil) != good {
					t.Errorf("SCRAM: %v %v (good: %v)", id, err, good)
				}
			}
			person, err := s.Authenticate(t.Context(), Credentials{Login: user, Password: "correct horse", Client: home, Person: true})
			if err != nil || !person.Second {
				t.Errorf("a person: %+v %v", person, err)
			}
			if err := s.RemoveTOTP(t.Context(), alice.ID); err != nil {
				t.Fatal(err)
			}
			if _, _, err := login(s, user, "correct horse", home); err != nil {
				t.Errorf("without the second factor: %v", err)
			}
		}, func(o *Options) { o.PasswordAlone, o.ScramForPasswords = allowed, true })
	}
}

// scramLogin runs SCRAM-SHA-256 between our two ends.
func scramLogin(ctx context.Context, s *Store, user, password string) (any, error) {
	server, err := sasl.NewServer(sasl.ScramSHA256, &sasl.Options{Backend: s.SASL(home), Secret: s.Secret()})
	if err != nil {
		return nil, err
	}
	client, err := sasl.NewClient(sasl.ScramSHA256, sasl.Credentials{User: user, Password: password}, nil, nil)
	if err != nil {
		return nil, err
	}
	message, err := client.Start()
	for done := false; err == nil && !done; {
		var challenge []byte
		if challenge, done, err = server.Next(ctx, message); err == nil && len(challenge) > 0 {
			message, err = client.Next(challenge)
		}
	}
	if err != nil {
		return nil, err
	}
	return server.Identity(), nil
}

// TestSecondFactorIsNotTrust: the password alone does not make a network known, or its
// owner could guess on without limits.
func TestSecondFactorIsNotTrust(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		secret, _ := withTOTP(t, s, alice.ID)
		known := func() bool { return s.throttle.isTrusted(networkOf(away), time.Now()) }
		if _, err := s.Authenticate(t.Context(), Credentials{Login: alice.Login.String(), Password: "correct horse", Client: away, Person: true}); err != nil || known() {
			t.Errorf("after the password: %v, known %v", err, known())
		}
		if err := s.CheckCode(t.Context(), alice.ID, TOTPCode(secret, time.Now()), away); err != nil || !known() {
			t.Errorf("after the code: %v, known %v", err, known())
		}
	})
}

func TestPasskeys(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		key := Passkey{ID: []byte{1, 2}, PublicKey: []byte("key"), Name: "laptop", SignCount: 5, Transports: []string{"usb"}}
		recovery, err := s.AddPasskey(t.Context(), alice.ID, key)
		if err != nil || len(recovery) != RecoveryCodes {
			t.Fatal(recovery, err)
		}
		if _, err := s.AddPasskey(t.Context(), alice.ID, key); !errors.Is(err, ErrExists) {
			t.Errorf("twice: %v", err)
		}
		if _, _, err := login(s, alice.Login.String(), "correct horse", home); !errors.Is(err, ErrCredentials) {
			t.Errorf("the password alone: %v", err)
		}
		for _, use := range []struct {
			count uint32
			good  bool
		}{{6, true}, {6, false}, {5, false}, {0, false}, {7, true}} {
			if err := s.UsePasskey(t.Context(), alice.ID, key.ID, use.count, home); (err == nil) != use.good {
				t.Errorf("count %d: %v", use.count, err)
			}
		}
		if err := s.UsePasskey(t.Context(), alice.ID, []byte{9}, 1, home); !errors.Is(err, ErrCredentials) {
			t.Errorf("nobody's: %v", err)
		}
		if err := s.RenamePasskey(t.Context(), alice.ID, key.ID, "key ring"); err != nil {
			t.Error(err)
		}
		f, err := s.Factors(t.Context(), alice.ID)
		if err != nil || len(f.Passkeys) != 1 || f.Passkeys[0].Name != "key ring" || f.Passkeys[0].SignCount != 7 || f.Passkeys[0].Used.IsZero() {
			t.Errorf("%+v %v", f, err)
		}
		for n := 1; n < PasskeysMax; n++ {
			if _, err := s.AddPasskey(t.Context(), alice.ID, Passkey{ID: []byte{3, byte(n)}, PublicKey: []byte("key"), Name: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		for name, p := range map[string]Passkey{
			"one too many": {ID: []byte{4}, PublicKey: []byte("key"), Name: "x"}, "no key": {ID: []byte{4}, Name: "x"},
			"control": {ID: []byte{4}, PublicKey: []byte("key"), Name: "a\nb"}, "no name": {ID: []byte{4}, PublicKey: []byte("key")},
			"long id": {ID: make([]byte, PasskeyIDMax+1), PublicKey: []byte("key"), Name: "x"},
		} {
			if _, err := s.AddPasskey(t.Context(), alice.ID, p); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		f, _ = s.Factors(t.Context(), alice.ID)
		for _, p := range f.Passkeys {
			if err := s.RemovePasskey(t.Context(), alice.ID, p.ID); err != nil {
				t.Error(err)
			}
		}
		if f, err := s.Factors(t.Context(), alice.ID); err != nil || f.Second() || f.Recovery != 0 {
			t.Errorf("after all went: %+v %v", f, err)
		}
		if _, _, err := login(s, alice.Login.String(), "correct horse", home); err != nil {
			t.Errorf("the password alone, at last: %v", err)
		}
		if err := s.RemovePasskey(t.Context(), alice.ID, key.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("again: %v", err)
		}
		if _, err := s.NewRecovery(t.Context(), alice.ID); !errors.Is(err, ErrInvalid) {
			t.Errorf("recovery codes for nothing: %v", err)
		}
	})
}

// TestUsesAreQuiet: a code used does not drop the organisation's cache, and what it wrote is
// seen at once all the same.
func TestUsesAreQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		secret, _ := withTOTP(t, s, alice.ID)
		before, err := s.Engine.Versions(t.Context(), orgSpace(alice.Org))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CheckCode(t.Context(), alice.ID, TOTPCode(secret, time.Now()), home); err != nil {
			t.Fatal(err)
		}
		after, err := s.Engine.Versions(t.Context(), orgSpace(alice.Org))
		if err != nil || after[0] != before[0] {
			t.Errorf("version %d, then %d (%v)", before[0], after[0], err)
		}
	})
}

// TestSecondFactorOfNobody: an account that is off, or gone.
func TestSecondFactorOfNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		secret, recovery := withTOTP(t, s, alice.ID)
		off := func(d bool) {
			if _, err := s.ChangeAccount(t.Context(), alice.ID, func(a *Account) error { a.Disabled = d; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		off(true)
		for _, code := range []string{TOTPCode(secret, time.Now()), recovery[0]} {
			if err := s.CheckCode(t.Context(), alice.ID, code, home); !errors.Is(err, ErrCredentials) {
				t.Errorf("disabled: %v", err)
			}
		}
		off(false)
		if err := s.CheckCode(t.Context(), alice.ID, recovery[0], home); err != nil {
			t.Errorf("not used up while disabled: %v", err)
		}
		if err := s.RemoveAccount(t.Context(), alice.ID); err != nil {
			t.Fatal(err)
		}
		if err := s.CheckCode(t.Context(), alice.ID, recovery[1], home); !errors.Is(err, ErrCredentials) {
			t.Errorf("gone: %v", err)
		}
		left := 0
		snap, err := s.Engine.Snapshot(t.Context(), orgSpace(alice.Org))
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Close()
		if _, err := snap.Get([]byte(usesKey(alice.ID))); err == nil {
			left++
		}
		if left > 0 {
			t.Errorf("uses of account %s are left: %s", alice.ID, hex.EncodeToString([]byte(usesKey(alice.ID))))
		}
	})
}

func TestMayTry(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		tries := 0
		for ; tries < 1000 && s.MayTry(away); tries++ {
			s.TryFailed(away)
		}
		if tries != networkBurst || !s.MayTry(home) {
			t.Errorf("%d tries, another network may: %v", tries, s.MayTry(home))
		}
		time.Sleep(networkRefill)
		if !s.MayTry(away) {
			t.Error("for ever")
		}
	})
}
