package directory

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/kv/memkv"
	"postroad/sasl"
)

var (
	home = netip.MustParseAddr("192.0.2.1")
	away = netip.MustParseAddr("2001:db8::1")
)

// inBubble runs f with a directory with alice, under virtual time.
func inBubble(t *testing.T, f func(t *testing.T, s *Store, alice Account), change ...func(*Options)) {
	synctest.Test(t, func(t *testing.T) {
		e := memkv.New()
		t.Cleanup(func() { e.Close() })
		s := opened(t, e, change...)
		addDomain(t, s, Domain{Name: "example.test", Separator: "+"})
		f(t, s, addAccount(t, s, "correct horse", "alice@example.test", "a@example.test"))
	})
}

func login(s *Store, user, password string, from netip.Addr) (Principal, time.Duration, error) {
	start := time.Now()
	p, err := s.Authenticate(context.Background(), Credentials{Login: user, Password: password, Client: from})
	return p, time.Since(start), err
}

func TestAuthenticate(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		off := addAccount(t, s, "correct horse", "off@example.test")
		none := addAccount(t, s, "", "none@example.test")
		if _, err := s.ChangeAccount(t.Context(), off.ID, func(a *Account) error { a.Disabled = true; return nil }); err != nil {
			t.Fatal(err)
		}
		addExpander(t, s, Alias, "info@example.test", "alice@example.test")
		for _, test := range []struct {
			name, user, password string
			good                 bool
		}{
			{"right", "alice@example.test", "correct horse", true},
			{"again", "alice@example.test", "correct horse", true},
			{"in capitals", "ALICE@EXAMPLE.TEST", "correct horse", true},
			{"by another address", "a@example.test", "correct horse", true},
			{"wrong", "alice@example.test", "Correct horse", false},
			{"empty", "alice@example.test", "", false},
			{"endless", "alice@example.test", strings.Repeat("x", PasswordMax+1), false},
			{"unknown", "bob@example.test", "correct horse", false},
			{"foreign", "alice@example.org", "correct horse", false},
			{"no address", "alice", "correct horse", false},
			{"alias", "info@example.test", "correct horse", false},
			{"sub-address", "alice+x@example.test", "correct horse", false},
			{"disabled", "off@example.test", "correct horse", false},
			{"without a password", none.Login.String(), "", false},
		} {
			p, took, err := login(s, test.user, test.password, home)
			switch {
			case test.good && (err != nil || p.ID != alice.ID || p.Login != alice.Login || took != 0):
				t.Errorf("%s: %v %v after %v", test.name, p, err, took)
			case !test.good && (!errors.Is(err, ErrCredentials) || took != FailureDelay):
				t.Errorf("%s: %v after %v", test.name, err, took)
			}
		}
	})
}

func TestPasswordChange(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		user := "alice@example.test"
		if _, _, err := login(s, user, "correct horse", home); err != nil {
			t.Fatal(err)
		}
		if err := s.SetPassword(t.Context(), alice.ID, "battery staple"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := login(s, user, "correct horse", home); !errors.Is(err, ErrCredentials) {
			t.Errorf("the old password, remembered: %v", err)
		}
		if _, _, err := login(s, user, "battery staple", home); err != nil {
			t.Error(err)
		}
		for _, p := range []string{"", "short", "line\nend x", strings.Repeat("x", PasswordMax+1), "\xff\xff\xff\xff\xff\xff\xff\xff"} {
			if err := s.SetPassword(t.Context(), alice.ID, p); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", p, err)
			}
		}
		if err := s.SetPassword(t.Context(), 1, "battery staple"); !errors.Is(err, ErrNotFound) {
			t.Errorf("nobody's: %v", err)
		}
	})
}

func TestImportedHashes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		user := "alice@example.test"
		for i, h := range geheim {
			if testing.Short() && i%6 != 0 {
				continue // TestSchemes has them all; each of these costs four hashes
			}
			if err := s.SetHash(t.Context(), alice.ID, h.hash); err != nil {
				t.Fatal(h.name, err)
			}
			if _, _, err := login(s, user, "falsch", home); !errors.Is(err, ErrCredentials) {
				t.Errorf("%s: %v", h.name, err)
			}
			if _, _, err := login(s, user, "geheim", home); err != nil {
				t.Errorf("%s: %v", h.name, err)
			}
			who, err := s.candidate(t.Context(), user)
			if err != nil {
				t.Fatal(err)
			}
			v, err := parseHash(who.secrets.Hash)
			if err != nil || !v.current() || !v.verify([]byte("geheim")) {
				t.Errorf("%s: not hashed anew: %s", h.name, who.secrets.Hash)
			}
			if _, _, err := login(s, user, "geheim", home); err != nil {
				t.Errorf("%s, hashed anew: %v", h.name, err)
			}
		}
		if err := s.SetHash(t.Context(), alice.ID, "{PLAIN}correct horse"); err != nil {
			t.Fatal(err)
		}
		if who, _ := s.candidate(t.Context(), user); !strings.HasPrefix(who.secrets.Hash, argonPrefix) {
			t.Errorf("a plain password was kept: %s", who.secrets.Hash)
		}
	})
}

func TestAppPasswords(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		user := "alice@example.test"
		phone := must(t, func() (string, error) { return s.AddAppPassword(t.Context(), alice.ID, "phone") })
		laptop := must(t, func() (string, error) { return s.AddAppPassword(t.Context(), alice.ID, "laptop") })
		if len(phone) != appLen+5 || phone == laptop {
			t.Fatalf("%q %q", phone, laptop)
		}
		for p, app := range map[string]string{phone: "phone", strings.ReplaceAll(phone, "-", ""): "phone",
			strings.ToUpper(laptop): "laptop", "correct horse": ""} {
			got, _, err := login(s, user, p, home)
			if err != nil || got.App != app {
				t.Errorf("%q: %q %v", p, got.App, err)
			}
		}
		if _, err := s.AddAppPassword(t.Context(), alice.ID, "phone"); !errors.Is(err, ErrExists) {
			t.Errorf("the same name: %v", err)
		}
		if err := s.RevokeAppPassword(t.Context(), alice.ID, "phone"); err != nil {
			t.Fatal(err)
		}
		if _, took, err := login(s, user, phone, home); !errors.Is(err, ErrCredentials) || took != FailureDelay {
			t.Errorf("revoked: %v after %v", err, took)
		}
		if got, _, err := login(s, user, laptop, home); err != nil || got.App != "laptop" {
			t.Errorf("%q %v", got.App, err)
		}
		if err := s.RevokeAppPassword(t.Context(), alice.ID, "phone"); !errors.Is(err, ErrNotFound) {
			t.Errorf("revoked twice: %v", err)
		}
		list := must(t, func() ([]AppPassword, error) { return s.AppPasswords(t.Context(), alice.ID) })
		if len(list) != 1 || list[0].Name != "laptop" {
			t.Error(list)
		}
	})
}

// exchange runs SCRAM-SHA-256 between our client and the directory.
func exchange(s *Store, user, password string, from netip.Addr) (any, error) {
	server, err := sasl.NewServer(sasl.ScramSHA256, &sasl.Options{Backend: s.SASL(from), Secret: s.Secret()})
	if err != nil {
		return nil, err
	}
	client, err := sasl.NewClient(sasl.ScramSHA256, sasl.Credentials{User: user, Password: password}, nil, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Start()
	for err == nil {
		var challenge []byte
		var done bool
		if challenge, done, err = server.Next(context.Background(), response); err != nil || done {
			break
		}
		response, err = client.Next(challenge)
	}
	return server.Identity(), err
}

func TestSCRAM(t *testing.T) {
	test := func(t *testing.T, s *Store, alice Account, human bool) {
		app := must(t, func() (string, error) { return s.AddAppPassword(t.Context(), alice.ID, "phone") })
		for _, test := range []struct {
			user, password, app string
			good                bool
		}{
			{"alice@example.test", app, "phone", true},
			{"alice@example.test", "correct horse", "", human},
			{"alice@example.test", "wrong", "", false},
			{"bob@example.test", app, "", false},
		} {
			start := time.Now()
			id, err := exchange(s, test.user, test.password, home)
			p, _ := id.(Principal)
			switch {
			case test.good && (err != nil || p.ID != alice.ID || p.App != test.app):
				t.Errorf("%v: %v %v", test, p, err)
			case !test.good && (!errors.Is(err, sasl.ErrCredentials) || time.Since(start) != FailureDelay):
				t.Errorf("%v: %v after %v", test, err, time.Since(start))
			}
		}
	}
	t.Run("app passwords only", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *Store, alice Account) { test(t, s, alice, false) })
	})
	t.Run("human passwords too", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *Store, alice Account) { test(t, s, alice, true) },
			func(o *Options) { o.ScramForPasswords = true })
	})
	t.Run("an imported verifier", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *Store, alice Account) {
			if err := s.SetHash(t.Context(), alice.ID, scramOfGeheim()); err != nil {
				t.Fatal(err)
			}
			if _, err := exchange(s, "alice@example.test", "geheim", home); err != nil {
				t.Error(err)
			}
			app := must(t, func() (string, error) { return s.AddAppPassword(t.Context(), alice.ID, "x") })
			if _, err := exchange(s, "alice@example.test", app, home); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestSASLPassword(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		b := s.SASL(home)
		for _, test := range []struct {
			authzid, user string
			good          bool
		}{
			{"", "alice@example.test", true}, {"Alice@example.test", "alice@example.test", true},
			{"bob@example.test", "alice@example.test", false}, {"x", "alice@example.test", false},
		} {
			id, err := b.Password(t.Context(), test.authzid, test.user, "correct horse")
			if p, _ := id.(Principal); (err == nil) != test.good || test.good && p.ID != alice.ID || err != nil && !errors.Is(err, sasl.ErrCredentials) {
				t.Errorf("%v: %v %v", test, id, err)
			}
		}
	})
}

func scramOfGeheim() string {
	for _, h := range geheim {
		if h.name == "scram" {
			return h.hash
		}
	}
	panic("no such hash")
}

func TestThrottle(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store, alice Account) {
		user := "alice@example.test"
		// A verifier that is quick to check: hundreds of guesses follow.
		if err := s.SetHash(t.Context(), alice.ID, scramOfGeheim()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := login(s, user, "geheim", home); err != nil {
			t.Fatal(err)
		}
		// One network tries and is held up, also for what would be right, for others too.
		limited := 0
		for range networkBurst + 20 {
			if _, took, err := login(s, user, "guess", away); errors.Is(err, ErrThrottled) {
				limited++
				if took != FailureDelay {
					t.Fatalf("told after %v", took)
				}
			}
		}
		if limited < 10 {
			t.Errorf("only %d tries were refused", limited)
		}
		if _, _, err := login(s, user, "geheim", away); !errors.Is(err, ErrThrottled) {
			t.Errorf("the right one from there: %v", err)
		}
		if _, _, err := login(s, user, "geheim", netip.MustParseAddr("2001:db8::ffff")); !errors.Is(err, ErrThrottled) {
			t.Errorf("from the same /64: %v", err)
		}
		// Many networks try: the user's bucket fills, but not for where the user is.
		for i := range userBurst * 2 {
			login(s, user, "guess", netip.AddrFrom4([4]byte{198, 51, byte(i), 1}))
		}
		if _, _, err := login(s, user, "guess", netip.MustParseAddr("203.0.113.5")); !errors.Is(err, ErrThrottled) {
			t.Errorf("from one more network: %v", err)
		}
		for range networkBurst * 3 {
			if _, _, err := login(s, user, "typo", home); !errors.Is(err, ErrCredentials) {
				t.Fatalf("at home: %v", err)
			}
		}
		if _, _, err := login(s, user, "geheim", home); err != nil {
			t.Errorf("at home: %v", err)
		}
		// It passes.
		time.Sleep(userBurst * userRefill)
		if _, _, err := login(s, user, "geheim", away); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle()
	now, name := time.Now(), strings.Repeat("x", 100_000)
	for i := range bucketsMax + 1000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		th.failed(a, name, now)
	}
	if n := len(th.networks.byKey); n != bucketsMax || th.networks.order.Len() != n {
		t.Errorf("%d buckets", n)
	}
	for key := range th.users.byKey {
		if len(key) > loginKeyMax {
			t.Errorf("a user bucket with a key of %d octets", len(key))
		}
	}
}

func TestVerifiedCacheForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newVerifiedCache()
		r := &secretsRecord{Hash: "h"}
		k := c.key(1, r, "p")
		c.put(k, "app")
		if app, ok := c.get(k); !ok || app != "app" {
			t.Error("not remembered")
		}
		for _, other := range []verifiedKey{c.key(2, r, "p"), c.key(1, r, "q"), c.key(1, &secretsRecord{Hash: "i"}, "p"),
			c.key(1, &secretsRecord{Hash: "h", Apps: []appRecord{{Key: sasl.Key{StoredKey: []byte("k")}}}}, "p")} {
			if _, ok := c.get(other); ok {
				t.Error("found for something else")
			}
		}
		time.Sleep(verifiedAge)
		if _, ok := c.get(k); ok {
			t.Error("remembered for too long")
		}
		for i := range 2 * verifiedMax {
			c.put(c.key(AccountID(i), r, "p"), "")
		}
		if len(c.entries) > verifiedMax {
			t.Errorf("%d entries", len(c.entries))
		}
	})
}
