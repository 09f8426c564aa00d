package login

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/tokens"
)

// What a person sees and changes of his own credentials. All of it takes the user of the
// request: a program (an app password, a token) may do none of it, and what gives access, or
// takes a factor away, needs a proof of the last ten minutes. Errors are *Refusal (not
// allowed: 403), directory.ErrInvalid, ErrExists, ErrNotFound, ErrCredentials (a wrong
// code), tokens.ErrNotFound, or ours.

// ErrProgram and ErrStale refuse a change.
var (
	ErrProgram = refuse(http.StatusForbidden, "only a person who has logged in may do this, not a program for him")
	ErrStale   = refuse(http.StatusForbidden, "prove again who you are (POST "+pathLoginAgain+"), then you have ten minutes for this")
)

// person tells whether the user is one.
func person(u *access.User) error {
	if u.Credential == "password" || strings.HasPrefix(u.Credential, "session:") {
		return nil
	}
	return ErrProgram
}

// fresh tells whether the user may change credentials.
func fresh(u *access.User) error {
	if err := person(u); err != nil {
		return err
	}
	if !u.Full {
		return ErrStale
	}
	return nil
}

// current is the id of the user's session, 0 for none.
func current(u *access.User) hlc.ID {
	id, _ := hlc.Parse(strings.TrimPrefix(u.Credential, "session:"))
	return id
}

// Enrolment is an authenticator being set up: the secret to type, the URL to show as a QR
// code, and what comes back with the first code.
type Enrolment struct {
	Secret string `json:"secret"`
	URL    string `json:"url"`
	Ticket string `json:"ticket"`
}

const purposeEnrol = "totp enrolment"

// enrolment is what the ticket carries.
type enrolment struct {
	Account directory.AccountID `json:"a"`
	Secret  []byte              `json:"s"`
}

// TOTPBegin makes a secret for an authenticator. Nothing changes yet.
func (g *Gate) TOTPBegin(_ context.Context, u *access.User) (Enrolment, error) {
	if err := fresh(u); err != nil {
		return Enrolment{}, err
	}
	secret := directory.NewTOTP()
	ticket, err := g.seal(purposeEnrol, consentFor, enrolment{u.ID, secret})
	return Enrolment{directory.TOTPText(secret), directory.TOTPURL(g.o.Name, u.Login.String(), secret), ticket}, err
}

// TOTPConfirm sets the authenticator up once it has shown a right code. With the first
// second factor it returns recovery codes, which are shown once.
func (g *Gate) TOTPConfirm(ctx context.Context, u *access.User, ticket, code string) (recovery []string, err error) {
	if err := fresh(u); err != nil {
		return nil, err
	}
	var e enrolment
	if err := g.openTicket(purposeEnrol, ticket, &e); err != nil {
		return nil, err
	}
	if e.Account != u.ID {
		return nil, refuse(http.StatusForbidden, "this ticket is another account's")
	}
	return g.o.Directory.SetTOTP(ctx, u.ID, e.Secret, code)
}

// TOTPRemove takes the authenticator away.
func (g *Gate) TOTPRemove(ctx context.Context, u *access.User) error {
	if err := fresh(u); err != nil {
		return err
	}
	return g.o.Directory.RemoveTOTP(ctx, u.ID)
}

// RecoveryCodes makes new recovery codes in place of the old ones.
func (g *Gate) RecoveryCodes(ctx context.Context, u *access.User) ([]string, error) {
	if err := fresh(u); err != nil {
		return nil, err
	}
	return g.o.Directory.NewRecovery(ctx, u.ID)
}

// Factors tells what the account proves itself with beside the password.
func (g *Gate) Factors(ctx context.Context, u *access.User) (directory.Factors, error) {
	if err := person(u); err != nil {
		return directory.Factors{}, err
	}
	return g.o.Directory.Factors(ctx, u.ID)
}

// PasskeyBegin asks for a new passkey.
func (g *Gate) PasskeyBegin(ctx context.Context, u *access.User) (PasskeyOptions, error) {
	if err := fresh(u); err != nil {
		return PasskeyOptions{}, err
	}
	h, err := g.holder(ctx, u.ID)
	if err != nil {
		return PasskeyOptions{}, err
	}
	return g.beginRegister(h)
}

// PasskeyFinish keeps the passkey that the browser made (credential: its JSON). With the
// first second factor it returns recovery codes, which are shown once.
func (g *Gate) PasskeyFinish(ctx context.Context, u *access.User, ticket string, credential []byte, name string) (id string, recovery []string, err error) {
	if err := fresh(u); err != nil {
		return "", nil, err
	}
	h, err := g.holder(ctx, u.ID)
	if err != nil {
		return "", nil, err
	}
	p, err := g.register(ctx, h, ticket, credential, name)
	if err != nil {
		return "", nil, err
	}
	recovery, err = g.o.Directory.AddPasskey(ctx, u.ID, p)
	return FormatPasskey(p.ID), recovery, err
}

// FormatPasskey writes a passkey's id for clients, as WebAuthn does.
func FormatPasskey(id []byte) string { return base64.RawURLEncoding.EncodeToString(id) }

// PasskeyRename gives a passkey another name.
func (g *Gate) PasskeyRename(ctx context.Context, u *access.User, id, name string) error {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		return directory.ErrNotFound
	}
	if err := fresh(u); err != nil {
		return err
	}
	return g.o.Directory.RenamePasskey(ctx, u.ID, raw, name)
}

// PasskeyRemove takes a passkey away.
func (g *Gate) PasskeyRemove(ctx context.Context, u *access.User, id string) error {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		return directory.ErrNotFound
	}
	if err := fresh(u); err != nil {
		return err
	}
	return g.o.Directory.RemovePasskey(ctx, u.ID, raw)
}

// AppPasswords lists the passwords of programs.
func (g *Gate) AppPasswords(ctx context.Context, u *access.User) ([]directory.AppPassword, error) {
	if err := person(u); err != nil {
		return nil, err
	}
	return g.o.Directory.AppPasswords(ctx, u.ID)
}

// AddAppPassword makes one, which is shown once.
func (g *Gate) AddAppPassword(ctx context.Context, u *access.User, name string) (string, error) {
	if err := fresh(u); err != nil {
		return "", err
	}
	return g.o.Directory.AddAppPassword(ctx, u.ID, name)
}

// RemoveAppPassword ends one.
func (g *Gate) RemoveAppPassword(ctx context.Context, u *access.User, name string) error {
	if err := person(u); err != nil {
		return err
	}
	return g.o.Directory.RevokeAppPassword(ctx, u.ID, name)
}

// SetPassword sets the human password. With endOthers all other sessions and all grants
// end: whoever had learned the old one may have made some.
func (g *Gate) SetPassword(ctx context.Context, u *access.User, password string, endOthers bool) error {
	if err := fresh(u); err != nil {
		return err
	}
	if err := g.o.Directory.SetPassword(ctx, u.ID, password); err != nil || !endOthers {
		return err
	}
	return errors.Join(g.o.Tokens.EndSessions(ctx, u.ID, current(u)), g.o.Tokens.EndGrants(ctx, u.ID))
}

// Sessions lists the sessions of the account, the one used last first.
func (g *Gate) Sessions(ctx context.Context, u *access.User) ([]*SessionView, error) {
	if err := person(u); err != nil {
		return nil, err
	}
	list, err := g.o.Tokens.Sessions(ctx, u.ID)
	views := make([]*SessionView, len(list))
	for i, s := range list {
		views[i] = viewSession(s, s.ID == current(u))
	}
	return views, err
}

// EndSession ends a session.
func (g *Gate) EndSession(ctx context.Context, u *access.User, id string) error {
	if err := person(u); err != nil {
		return err
	}
	session, err := hlc.Parse(id)
	if err != nil {
		return tokens.ErrNotFound
	}
	return g.o.Tokens.EndSession(ctx, u.ID, session)
}

// EndOtherSessions ends all sessions but the user's own.
func (g *Gate) EndOtherSessions(ctx context.Context, u *access.User) error {
	if err := person(u); err != nil {
		return err
	}
	return g.o.Tokens.EndSessions(ctx, u.ID, current(u))
}

// GrantView is what a program was given, as its user sees it.
type GrantView struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Scopes  []string  `json:"scopes"`
	Offline bool      `json:"offline"`
	Address string    `json:"address,omitempty"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
}

// Grants lists the programs that have tokens, the one used last first.
func (g *Gate) Grants(ctx context.Context, u *access.User) ([]GrantView, error) {
	if err := person(u); err != nil {
		return nil, err
	}
	list, err := g.o.Tokens.Grants(ctx, u.ID)
	views := make([]GrantView, len(list))
	for i, t := range list {
		views[i] = GrantView{ID: t.ID.String(), Name: t.Name, Scopes: t.Scopes, Offline: t.Offline, Created: t.Created, Used: t.Used}
		if t.Address.IsValid() {
			views[i].Address = t.Address.String()
		}
	}
	return views, err
}

// EndGrant ends a program's tokens.
func (g *Gate) EndGrant(ctx context.Context, u *access.User, id string) error {
	if err := person(u); err != nil {
		return err
	}
	grant, err := hlc.Parse(id)
	if err != nil {
		return tokens.ErrNotFound
	}
	return g.o.Tokens.EndGrant(ctx, u.ID, grant)
}
