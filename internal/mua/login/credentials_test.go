package login

import (
	"errors"
	"testing"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/tokens"
)

// TestWhoMay: what programs and people who have not proved themselves lately may do.
func TestWhoMay(t *testing.T) {
	h := newHouse(t)
	ctx, g := t.Context(), h.gate
	changes := map[string]func(*access.User) error{
		"totp":         func(u *access.User) error { _, err := g.TOTPBegin(ctx, u); return err },
		"confirm":      func(u *access.User) error { _, err := g.TOTPConfirm(ctx, u, "", ""); return err },
		"remove totp":  func(u *access.User) error { return g.TOTPRemove(ctx, u) },
		"recovery":     func(u *access.User) error { _, err := g.RecoveryCodes(ctx, u); return err },
		"passkey":      func(u *access.User) error { _, err := g.PasskeyBegin(ctx, u); return err },
		"finish":       func(u *access.User) error { _, _, err := g.PasskeyFinish(ctx, u, "", nil, "x"); return err },
		"rename":       func(u *access.User) error { return g.PasskeyRename(ctx, u, "AA", "x") },
		"remove":       func(u *access.User) error { return g.PasskeyRemove(ctx, u, "AA") },
		"app password": func(u *access.User) error { _, err := g.AddAppPassword(ctx, u, "x"); return err },
		"password":     func(u *access.User) error { return g.SetPassword(ctx, u, "battery staple", false) },
	}
	views := map[string]func(*access.User) error{
		"factors":       func(u *access.User) error { _, err := g.Factors(ctx, u); return err },
		"app passwords": func(u *access.User) error { _, err := g.AppPasswords(ctx, u); return err },
		"revoke app":    func(u *access.User) error { return g.RemoveAppPassword(ctx, u, "x") },
		"sessions":      func(u *access.User) error { _, err := g.Sessions(ctx, u); return err },
		"end session":   func(u *access.User) error { return g.EndSession(ctx, u, "x") },
		"end sessions":  func(u *access.User) error { return g.EndOtherSessions(ctx, u) },
		"grants":        func(u *access.User) error { _, err := g.Grants(ctx, u); return err },
		"end grant":     func(u *access.User) error { return g.EndGrant(ctx, u, "x") },
	}
	for credential, full := range map[string]bool{"session:x": false, "app:phone": true, "token:x": true, "oidc:https://id.example": true} {
		u := h.user(credential, full)
		want, program := ErrStale, credential != "session:x"
		if program {
			want = ErrProgram
		}
		for name, f := range changes {
			if err := f(u); err != error(want) {
				t.Errorf("%s, %s: %v", credential, name, err)
			}
		}
		for name, f := range views {
			if err := f(u); (err == error(ErrProgram)) != program {
				t.Errorf("%s, %s: %v", credential, name, err)
			}
		}
	}
}

func TestTOTPEnrolment(t *testing.T) {
	h := newHouse(t)
	u := h.user("session:x", true)
	e, err := h.gate.TOTPBegin(t.Context(), u)
	if err != nil || len(e.Secret) != 32 || e.URL == "" {
		t.Fatal(e, err)
	}
	if f, _ := h.gate.Factors(t.Context(), u); f.Second() {
		t.Error("set up before it was confirmed")
	}
	if _, err := h.gate.TOTPConfirm(t.Context(), u, e.Ticket, "00000x"); !errors.Is(err, directory.ErrCredentials) {
		t.Errorf("wrong code: %v", err)
	}
	var inside enrolment
	if err := h.gate.open(purposeEnrol, e.Ticket, &inside); err != nil {
		t.Fatal(err)
	}
	code := directory.TOTPCode(inside.Secret, time.Now())
	bob := h.account("bob@example.com")
	other := h.user("session:y", true)
	other.ID = bob.ID
	var refused *Refusal
	if _, err := h.gate.TOTPConfirm(t.Context(), other, e.Ticket, code); !errors.As(err, &refused) {
		t.Errorf("another's ticket: %v", err)
	}
	recovery, err := h.gate.TOTPConfirm(t.Context(), u, e.Ticket, code)
	if err != nil || len(recovery) != directory.RecoveryCodes {
		t.Fatal(recovery, err)
	}
	fresh, err := h.gate.RecoveryCodes(t.Context(), u)
	if err != nil || len(fresh) != directory.RecoveryCodes || fresh[0] == recovery[0] {
		t.Errorf("new recovery codes: %v %v", fresh, err)
	}
	if err := h.gate.TOTPRemove(t.Context(), u); err != nil {
		t.Error(err)
	}
}

// TestPasswordEndsOthers: a new password ends sessions and grants where that is asked for.
func TestPasswordEndsOthers(t *testing.T) {
	for _, end := range []bool{false, true} {
		h := newHouse(t)
		_, mine, err := h.tokens.StartSession(t.Context(), tokens.Session{Account: h.alice.ID})
		if err != nil {
			t.Fatal(err)
		}
		other, _, err := h.tokens.StartSession(t.Context(), tokens.Session{Account: h.alice.ID})
		if err != nil {
			t.Fatal(err)
		}
		token := h.grant(access.ScopeMail).Access
		u := h.user("session:"+mine.ID.String(), true)
		list, err := h.gate.Sessions(t.Context(), u)
		if err != nil || len(list) != 2 || list[0].Current == list[1].Current {
			t.Errorf("%+v %v", list, err)
		}
		grants, err := h.gate.Grants(t.Context(), u)
		if err != nil || len(grants) != 1 || grants[0].Scopes[0] != access.ScopeMail {
			t.Errorf("%+v %v", grants, err)
		}
		if err := h.gate.SetPassword(t.Context(), u, "battery staple", end); err != nil {
			t.Fatal(err)
		}
		_, err1 := h.tokens.Session(t.Context(), other.Reveal(), u.Client)
		_, err2 := h.gate.Bearer(t.Context(), token.Reveal(), u.Client)
		if (err1 != nil) != end || (err2 != nil) != end {
			t.Errorf("end %v: session %v, token %v", end, err1, err2)
		}
		if list, _ := h.gate.Sessions(t.Context(), u); len(list) == 0 || !list[0].Current && len(list) == 1 {
			t.Errorf("own session: %+v", list)
		}
	}
}

// grant gives a program tokens of alice's.
func (h *house) grant(scopes ...string) tokens.Tokens {
	h.t.Helper()
	code, err := h.tokens.NewGrant(h.t.Context(), tokens.Offer{Redirect: "https://app.example/cb", Challenge: "x",
		Grant: tokens.Grant{Account: h.alice.ID, Client: "app", Scopes: scopes, Offline: true}})
	if err != nil {
		h.t.Fatal(err)
	}
	t, err := h.tokens.Exchange(h.t.Context(), code.Reveal(), func(tokens.Offer) error { return nil })
	if err != nil {
		h.t.Fatal(err)
	}
	return t
}

// TestBearer: a token is good for who is there, within its scopes.
func TestBearer(t *testing.T) {
	h := newHouse(t)
	tokens := h.grant(access.ScopeContacts)
	text := tokens.Access.Reveal()
	u, err := h.gate.Bearer(t.Context(), text, netipZero)
	if err != nil || u.ID != h.alice.ID || u.Full || u.May("urn:ietf:params:jmap:mail") || !u.May("urn:ietf:params:jmap:contacts") {
		t.Fatalf("%+v %v", u, err)
	}
	for name, wrong := range map[string]string{"refresh": tokens.Refresh.Reveal(), "cut": text[:len(text)-1], "empty": ""} {
		if _, err := h.gate.Bearer(t.Context(), wrong, netipZero); err != error(errNobody) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.disable(true)
	if _, err := h.gate.Bearer(t.Context(), text, netipZero); err != error(errNobody) {
		t.Errorf("of a disabled account: %v", err)
	}
	h.disable(false)
	if err := h.dir.RemoveAccount(t.Context(), h.alice.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.gate.Bearer(t.Context(), text, netipZero); err != error(errNobody) {
		t.Errorf("of an account that is gone: %v", err)
	}
	if n, err := h.gate.Sweep(t.Context()); err != nil || n.Gone != 1 {
		t.Errorf("%+v %v", n, err)
	}
}
