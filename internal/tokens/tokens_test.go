package tokens

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	home = netip.MustParseAddr("192.0.2.1")
	away = netip.MustParseAddr("2001:db8::1")
)

const alice, bob AccountID = 4711 << 22, 4712 << 22

// inBubble runs f with a store under virtual time, some years after the ids' epoch.
func inBubble(t *testing.T, f func(t *testing.T, s *Store)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(30 * 365 * 24 * time.Hour)
		engine := memkv.New()
		t.Cleanup(func() { engine.Close() })
		clock := hlc.NewClock(1)
		t.Cleanup(func() { clock.Close() })
		f(t, &Store{Committer: &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, nil, clock)}, Clock: clock})
	})
}

func start(t *testing.T, s *Store, n Session) (string, Session) {
	t.Helper()
	token, session, err := s.StartSession(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal(), session
}

func TestSession(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		token, session := start(t, s, Session{Account: alice, Client: "Firefox", Address: home, How: "password+code"})
		found, err := s.Session(t.Context(), token, home)
		if err != nil || found != session || found.Account != alice || found.How != "password+code" || !found.IsFresh(time.Now()) {
			t.Fatalf("%+v\nnot %+v (%v)", found, session, err)
		}
		time.Sleep(FreshFor)
		if found, _ = s.Session(t.Context(), token, away); found.IsFresh(time.Now()) {
			t.Error("fresh after its time")
		}
		if err := s.Renew(t.Context(), alice, session.ID); err != nil {
			t.Fatal(err)
		}
		found, err = s.Session(t.Context(), token, home)
		if err != nil || !found.IsFresh(time.Now()) || found.Address != away || time.Since(found.Used) > touchAfter {
			t.Errorf("renewed: %+v %v", found, err)
		}
		list, err := s.Sessions(t.Context(), alice)
		if err != nil || len(list) != 1 || list[0].ID != session.ID {
			t.Errorf("%+v %v", list, err)
		}
		if list, err := s.Sessions(t.Context(), bob); err != nil || len(list) != 0 {
			t.Errorf("of another: %+v %v", list, err)
		}
		if err := s.EndSession(t.Context(), bob, session.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("ended by another: %v", err)
		}
		if err := s.EndSession(t.Context(), alice, session.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Session(t.Context(), token, home); !errors.Is(err, ErrNotFound) {
			t.Errorf("ended: %v", err)
		}
	})
}

// TestSessionTokens: what is not exactly the token is none.
func TestSessionTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		token, session := start(t, s, Session{Account: alice})
		other, _ := start(t, s, Session{Account: bob})
		flipped := []byte(token)
		flipped[len(flipped)-1] ^= 1 // 'a' and '`', '2' and '3': another letter, or none
		for name, text := range map[string]string{
			"empty": "", "short": token[:len(token)-1], "long": token + "a", "other secret": string(flipped),
			"other kind": "pra_" + token[4:], "in capitals": strings.ToUpper(token), "no such kind": "prz_" + token[4:],
			"another's account": "prs_" + bob.String() + token[4+idLen:], "another's secret": token[:4+2*idLen] + other[4+2*idLen:],
			"zero ids": "prs_" + strings.Repeat("0", 2*idLen) + token[4+2*idLen:], "the id alone": session.ID.String(),
		} {
			if _, err := s.Session(t.Context(), text, home); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestSessionAges walks through the ends of sessions.
func TestSessionAges(t *testing.T) {
	day := 24 * time.Hour
	for _, test := range []struct {
		name       string
		remembered bool
		step       time.Duration // between uses
		lasts      time.Duration // of step at the least, and less than one more
	}{
		{"idle", false, SessionIdle, 0}, {"used", false, SessionIdle - time.Hour, SessionMax - 12*time.Hour},
		{"remembered idle", true, RememberedIdle, 0}, {"remembered used", true, 10 * day, RememberedMax - 10*day},
	} {
		inBubble(t, func(t *testing.T, s *Store) {
			token, _ := start(t, s, Session{Account: alice, Remembered: test.remembered})
			var lasted time.Duration
			for begin := time.Now(); ; lasted = time.Since(begin) {
				time.Sleep(test.step)
				if _, err := s.Session(t.Context(), token, home); err != nil {
					break
				}
			}
			if lasted < test.lasts || lasted >= test.lasts+test.step {
				t.Errorf("%s: lasted %v", test.name, lasted)
			}
		})
	}
}

// TestWrongClock: what was written under a clock that was ahead does not count, and is
// there again when the time comes.
func TestWrongClock(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	year := 365 * 24 * time.Hour
	for _, test := range []struct {
		name        string
		span        span
		alive, over bool
	}{
		{"now", span{at, at.Add(year), at, year}, true, false},
		{"a little ahead", span{at.Add(time.Minute), at.Add(year), at.Add(time.Minute), year}, true, false},
		{"a year ahead", span{at.Add(year), at.Add(2 * year), at.Add(year), year}, false, false},
		{"used a year ahead", span{at, at.Add(2 * year), at.Add(year), year}, true, false},
		{"expired", span{at.Add(-year), at, at, year}, false, true},
		{"idle", span{at.Add(-year), at.Add(year), at.Add(-year), year}, false, true},
	} {
		if test.span.alive(at) != test.alive || test.span.over(at) != test.over {
			t.Errorf("%s: alive %v, over %v", test.name, test.span.alive(at), test.span.over(at))
		}
	}
	s := Session{Fresh: at.Add(year)}
	if s.IsFresh(at) {
		t.Error("a proof of next year's is fresh")
	}
}

func TestSessionsMax(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		first, _ := start(t, s, Session{Account: alice})
		second, _ := start(t, s, Session{Account: alice})
		time.Sleep(touchAfter)
		if _, err := s.Session(t.Context(), first, home); err != nil { // now the second is the one unused the longest
			t.Fatal(err)
		}
		var last Session
		for range SessionsMax - 1 {
			_, last = start(t, s, Session{Account: alice})
		}
		list, err := s.Sessions(t.Context(), alice)
		if err != nil || len(list) != SessionsMax {
			t.Errorf("%d sessions (%v)", len(list), err)
		}
		if _, err := s.Session(t.Context(), first, home); err != nil {
			t.Errorf("the used one: %v", err)
		}
		if _, err := s.Session(t.Context(), second, home); !errors.Is(err, ErrNotFound) {
			t.Errorf("the unused one: %v", err)
		}
		if err := s.EndSessions(t.Context(), alice, last.ID); err != nil {
			t.Fatal(err)
		}
		if list, _ := s.Sessions(t.Context(), alice); len(list) != 1 || list[0].ID != last.ID {
			t.Errorf("all others ended: %+v", list)
		}
	})
}

// offer is what alice agreed to.
func offer() Offer {
	return Offer{Grant{Account: alice, Client: "c1", Name: "Mail for phones", Scopes: []string{"mail", "contacts"}, Offline: true},
		"https://app.example.test/cb", "challenge"}
}

func agree(t *testing.T, s *Store, o Offer) string {
	t.Helper()
	code, err := s.NewGrant(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return code.Reveal()
}

func fine(Offer) error { return nil }

func exchange(t *testing.T, s *Store, o Offer) Tokens {
	t.Helper()
	tokens, err := s.Exchange(t.Context(), agree(t, s, o), fine)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func allScopes(Grant) ([]string, error) { return nil, nil }

// works tells whether an access token does.
func works(t *testing.T, s *Store, token Token) bool {
	t.Helper()
	_, err := s.Access(t.Context(), token.Reveal(), home)
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	return err == nil
}

func TestExchange(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		code := agree(t, s, offer())
		if list, _ := s.Grants(t.Context(), alice); len(list) != 0 {
			t.Errorf("listed before it was taken: %+v", list)
		}
		var shown Offer
		tokens, err := s.Exchange(t.Context(), code, func(o Offer) error { shown = o; return nil })
		if err != nil || shown.Redirect != offer().Redirect || shown.Challenge != "challenge" || shown.Client != "c1" {
			t.Fatalf("%+v %v", shown, err)
		}
		a, err := s.Access(t.Context(), tokens.Access.Reveal(), home)
		if err != nil || a.Account != alice || !slices.Equal(a.Scopes, offer().Scopes) || a.Client != "c1" {
			t.Errorf("%+v %v", a, err)
		}
		if _, err := s.Access(t.Context(), tokens.Refresh.Reveal(), home); !errors.Is(err, ErrNotFound) {
			t.Errorf("a refresh token as access token: %v", err)
		}
		if _, err := s.RenewGrant(t.Context(), tokens.Access.Reveal(), allScopes); !errors.Is(err, ErrNotFound) {
			t.Errorf("an access token as refresh token: %v", err)
		}
		list, err := s.Grants(t.Context(), alice)
		if err != nil || len(list) != 1 || list[0].Name != "Mail for phones" || list[0].Address != home {
			t.Errorf("%+v %v", list, err)
		}
		if _, err := s.Exchange(t.Context(), code, fine); !errors.Is(err, ErrReused) {
			t.Errorf("the code again: %v", err)
		}
		if works(t, s, tokens.Access) {
			t.Error("the access token lives after its code came twice")
		}
		if _, err := s.RenewGrant(t.Context(), tokens.Refresh.Reveal(), allScopes); !errors.Is(err, ErrNotFound) {
			t.Errorf("the refresh token after its code came twice: %v", err)
		}
	})
}

// TestExchangeFails: a code that is shown wrongly, or late, is used up.
func TestExchangeFails(t *testing.T) {
	wrong := errors.New("wrong verifier")
	for _, test := range []struct {
		name string
		wait time.Duration
		err  error
		want error
	}{{"late", CodeLife, nil, ErrNotFound}, {"in time", CodeLife - time.Second, nil, nil}, {"refused", 0, wrong, wrong}} {
		inBubble(t, func(t *testing.T, s *Store) {
			code := agree(t, s, offer())
			time.Sleep(test.wait)
			if _, err := s.Exchange(t.Context(), code, func(Offer) error { return test.err }); !errors.Is(err, test.want) {
				t.Errorf("%s: %v", test.name, err)
			}
			if _, err := s.Exchange(t.Context(), code, fine); err == nil {
				t.Errorf("%s: taken at the second try", test.name)
			}
		})
	}
}

func TestRotation(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		first := exchange(t, s, offer())
		time.Sleep(time.Hour)
		if works(t, s, first.Access) {
			t.Error("an access token lives beyond its time")
		}
		second, err := s.RenewGrant(t.Context(), first.Refresh.Reveal(), func(g Grant) ([]string, error) { return []string{"mail"}, nil })
		if err != nil || !slices.Equal(second.Scopes, []string{"mail"}) {
			t.Fatal(second, err)
		}
		if a, err := s.Access(t.Context(), second.Access.Reveal(), home); err != nil || !slices.Equal(a.Scopes, []string{"mail"}) {
			t.Errorf("narrowed: %+v %v", a, err)
		}
		time.Sleep(retryFor - 2*time.Second)
		if _, err := s.RenewGrant(t.Context(), first.Refresh.Reveal(), allScopes); err != nil {
			t.Fatalf("the answer was lost: %v", err)
		}
		time.Sleep(time.Second)
		retry, err := s.RenewGrant(t.Context(), first.Refresh.Reveal(), allScopes)
		if err != nil || !slices.Equal(retry.Scopes, offer().Scopes) {
			t.Fatalf("the answer was lost twice: %v", err)
		}
		time.Sleep(time.Hour)
		third, err := s.RenewGrant(t.Context(), retry.Refresh.Reveal(), allScopes)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryFor)
		if _, err := s.RenewGrant(t.Context(), first.Refresh.Reveal(), allScopes); !errors.Is(err, ErrReused) {
			t.Errorf("one from long ago: %v", err)
		}
		if works(t, s, third.Access) {
			t.Error("the grant lives after its refresh token came twice")
		}
		if _, err := s.RenewGrant(t.Context(), third.Refresh.Reveal(), allScopes); !errors.Is(err, ErrNotFound) {
			t.Errorf("the newest after that: %v", err)
		}
	})
}

// TestThiefIsFound: whoever is quicker with a stolen refresh token, within retryFor or not,
// the other's next try ends the grant.
func TestThiefIsFound(t *testing.T) {
	for _, wait := range []time.Duration{time.Second, time.Hour} {
		inBubble(t, func(t *testing.T, s *Store) {
			stolen := exchange(t, s, offer()).Refresh.Reveal()
			owner, err := s.RenewGrant(t.Context(), stolen, allScopes)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(wait)
			thief, err := s.RenewGrant(t.Context(), stolen, allScopes)
			if err == nil { // within retryFor
				time.Sleep(time.Hour)
				if _, err = s.RenewGrant(t.Context(), owner.Refresh.Reveal(), allScopes); !errors.Is(err, ErrReused) {
					t.Errorf("after %v: the owner's: %v", wait, err)
				}
				if _, err := s.RenewGrant(t.Context(), thief.Refresh.Reveal(), allScopes); !errors.Is(err, ErrNotFound) {
					t.Errorf("after %v: the thief's: %v", wait, err)
				}
			} else if !errors.Is(err, ErrReused) {
				t.Errorf("after %v: %v", wait, err)
			}
			if list, _ := s.Grants(t.Context(), alice); len(list) != 0 {
				t.Errorf("after %v: %+v", wait, list)
			}
		})
	}
}

// TestForgedFamily: who knows the ids but not the family's secret ends nothing.
func TestForgedFamily(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		tokens := exchange(t, s, offer())
		p, _ := parse(tokens.Refresh.Reveal())
		p.family = newSecret()
		if _, err := s.RenewGrant(t.Context(), p.token().Reveal(), allScopes); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v", err)
		}
		if err := s.Revoke(t.Context(), p.token().Reveal(), "c1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("revoke: %v", err)
		}
		if !works(t, s, tokens.Access) {
			t.Error("a forged token ended the grant")
		}
	})
}

func TestRevoke(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		one, two := exchange(t, s, offer()), exchange(t, s, offer())
		for _, text := range []string{"", "x", one.Access.Reveal() + "a"} {
			if err := s.Revoke(t.Context(), text, "c1"); !errors.Is(err, ErrNotFound) {
				t.Errorf("%q: %v", text, err)
			}
		}
		if err := s.Revoke(t.Context(), one.Access.Reveal(), "c2"); !errors.Is(err, ErrNotFound) || !works(t, s, one.Access) {
			t.Errorf("by another client: %v", err)
		}
		if err := s.Revoke(t.Context(), one.Access.Reveal(), "c1"); err != nil || works(t, s, one.Access) {
			t.Errorf("an access token: %v", err)
		}
		again, err := s.RenewGrant(t.Context(), one.Refresh.Reveal(), allScopes)
		if err != nil || !works(t, s, again.Access) {
			t.Fatalf("the grant went with its access token: %v", err)
		}
		if err := s.Revoke(t.Context(), again.Refresh.Reveal(), "c1"); err != nil || works(t, s, again.Access) {
			t.Errorf("a refresh token: %v", err)
		}
		if !works(t, s, two.Access) {
			t.Error("another grant went too")
		}
		if err := s.EndGrant(t.Context(), alice, two.ID); err != nil || works(t, s, two.Access) {
			t.Errorf("by its user: %v", err)
		}
		three := exchange(t, s, offer())
		if err := s.EndGrants(t.Context(), alice); err != nil || works(t, s, three.Access) {
			t.Errorf("all: %v", err)
		}
	})
}

func TestLimitsOfGrants(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		kept := exchange(t, s, offer())
		for range AccessMax {
			time.Sleep(retryFor)
			next, err := s.RenewGrant(t.Context(), kept.Refresh.Reveal(), allScopes)
			if err != nil {
				t.Fatal(err)
			}
			kept.Refresh = next.Refresh
		}
		if works(t, s, kept.Access) {
			t.Error("more access tokens than AccessMax")
		}
		for range GrantsMax {
			exchange(t, s, offer())
		}
		if list, err := s.Grants(t.Context(), alice); err != nil || len(list) != GrantsMax {
			t.Errorf("%d grants (%v)", len(list), err)
		}
		for name, change := range map[string]func(*Offer){
			"no scope": func(o *Offer) { o.Scopes = nil }, "no challenge": func(o *Offer) { o.Challenge = "" }, "no client": func(o *Offer) { o.Client = "" },
			"too many scopes": func(o *Offer) { o.Scopes = make([]string, ScopesMax+1) }, "long redirect": func(o *Offer) { o.Redirect = strings.Repeat("x", redirectMax+1) },
		} {
			o := offer()
			change(&o)
			if _, err := s.NewGrant(t.Context(), o); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		for _, step := range []struct {
			account AccountID
			name    string
			want    error
		}{{alice, "a", nil}, {alice, "a", ErrReused}, {bob, "a", nil}, {alice, "b", nil}, {alice, "a", ErrReused}} {
			if err := s.Once(t.Context(), step.account, step.name, time.Now().Add(time.Minute)); !errors.Is(err, step.want) {
				t.Errorf("%v %s: %v", step.account, step.name, err)
			}
		}
	})
}

// TestSweep: what is over goes, and nothing else; an account that is no more leaves nothing.
func TestSweep(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		start(t, s, Session{Account: alice})
		lives, _ := start(t, s, Session{Account: alice, Remembered: true})
		agree(t, s, offer())
		online := offer()
		online.Offline = false
		exchange(t, s, online)
		kept := exchange(t, s, offer())
		if err := s.Once(t.Context(), alice, "x", time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		start(t, s, Session{Account: bob})
		time.Sleep(SessionIdle)
		exists := func(_ context.Context, id AccountID) (bool, error) { return id == alice, nil }
		n, err := s.Sweep(t.Context(), exists)
		if err != nil || n != (Swept{Accounts: 2, Ended: 3, Gone: 1}) {
			t.Errorf("%+v %v", n, err)
		}
		if n, err := s.Sweep(t.Context(), exists); err != nil || n != (Swept{Accounts: 1}) {
			t.Errorf("again: %+v %v", n, err)
		}
		if _, err := s.Session(t.Context(), lives, home); err != nil {
			t.Errorf("a session that lives: %v", err)
		}
		if _, err := s.RenewGrant(t.Context(), kept.Refresh.Reveal(), allScopes); err != nil {
			t.Errorf("a grant that lives: %v", err)
		}
		var keys []string
		if err := s.view(t.Context(), space(alice), func(snap kv.Snapshot) error {
			for e := range snap.Scan(kv.Range{}) {
				keys = append(keys, string(e.Key[:1]))
			}
			return nil
		}); err != nil || strings.Join(keys, "") != "gsu" {
			t.Errorf("keys %v (%v)", keys, err)
		}
	})
}

func TestClients(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		app, secret, err := s.AddClient(t.Context(), Client{ID: "phone-app", Name: "Phone", Redirects: []string{"https://app.example.test/cb"}})
		if err != nil || !secret.IsZero() || app.Inspects {
			t.Fatal(app, err)
		}
		proxy, secret, err := s.AddClient(t.Context(), Client{Name: "Proxy", Inspects: true})
		if err != nil || secret.IsZero() || proxy.ID == "" {
			t.Fatal(proxy, err)
		}
		if err := s.Inspector(t.Context(), proxy.ID, secret.Reveal()); err != nil {
			t.Error(err)
		}
		for _, c := range [][2]string{{proxy.ID, "x"}, {proxy.ID, ""}, {app.ID, ""}, {app.ID, secret.Reveal()}, {"nobody", "x"}, {"", ""}} {
			if err := s.Inspector(t.Context(), c[0], c[1]); !errors.Is(err, ErrNotFound) {
				t.Errorf("%q: %v", c, err)
			}
		}
		for name, c := range map[string]Client{"there": {ID: "phone-app", Name: "x"}, "id": {ID: "Phone/App", Name: "x"}, "no name": {ID: "x"},
			"redirects": {ID: "x", Name: "x", Redirects: make([]string, RedirectsMax+1)}} {
			if _, _, err := s.AddClient(t.Context(), c); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if list, err := s.Clients(t.Context()); err != nil || len(list) != 2 {
			t.Errorf("%+v %v", list, err)
		}
		if err := s.RemoveClient(t.Context(), app.ID); err != nil {
			t.Error(err)
		}
		if _, err := s.Client(t.Context(), app.ID); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if err := s.RemoveClient(t.Context(), app.ID); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	})
}

// TestNothingShows: neither what is stored nor what is logged has a secret.
func TestNothingShows(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		var log bytes.Buffer
		s.Log = slog.New(slog.NewTextHandler(&log, nil))
		session, _ := start(t, s, Session{Account: alice})
		code := agree(t, s, offer())
		tokens, err := s.Exchange(t.Context(), code, fine)
		if err != nil {
			t.Fatal(err)
		}
		var stored bytes.Buffer
		if err := s.view(t.Context(), space(alice), func(snap kv.Snapshot) error {
			for e := range snap.Scan(kv.Range{}) {
				stored.Write(e.Key)
				stored.Write(e.Value)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Exchange(t.Context(), code, fine); !errors.Is(err, ErrReused) { // which is logged
			t.Fatal(err)
		}
		j, err := json.Marshal(tokens)
		if err != nil {
			t.Fatal(err)
		}
		printed := fmt.Sprintf("%v %+v %#v %s", tokens, tokens, tokens, tokens.Access)
		for _, text := range []string{session, code, tokens.Access.Reveal(), tokens.Refresh.Reveal()} {
			secret := text[len(text)-secretLen:]
			for name, where := range map[string]string{"store": stored.String(), "log": log.String(), "JSON": string(j), "fmt": printed} {
				if strings.Contains(where, secret) {
					t.Errorf("a secret in %s", name)
				}
			}
		}
		if log.Len() == 0 {
			t.Error("a code that came twice was not logged")
		}
	})
}

func FuzzParse(f *testing.F) {
	p := parsed{kind: kindRefresh, account: alice, id: 7, family: newSecret(), secret: newSecret()}
	for _, k := range []kind{kindSession, kindCode, kindAccess, kindRefresh} {
		p.kind = k
		if k != kindRefresh {
			p.family = ""
		} else {
			p.family = newSecret()
		}
		f.Add(p.token().Reveal())
	}
	f.Add("")
	f.Add("prs_")
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := parse(text); ok && p.token().Reveal() != text {
			t.Errorf("%q reads as %+v", text, p)
		}
	})
}

// TestRetryEnds: tries do not make the time for tries longer.
func TestRetryEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		first := exchange(t, s, offer()).Refresh.Reveal()
		if _, err := s.RenewGrant(t.Context(), first, allScopes); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retryFor - time.Second)
		if _, err := s.RenewGrant(t.Context(), first, allScopes); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := s.RenewGrant(t.Context(), first, allScopes); !errors.Is(err, ErrReused) {
			t.Errorf("%v", err)
		}
	})
}
