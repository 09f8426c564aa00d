package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/tokens"
)

const (
	purposePasskey  = "passkey"
	purposeRegister = "passkey registration"
)

// ceremony is what a ticket carries through one of WebAuthn's.
type ceremony struct {
	under
	Asked webauthn.SessionData `json:"w"`
	How   string               `json:"h,omitempty"`
}

// holder is an account as WebAuthn sees it.
type holder struct {
	directory.Principal
	keys []directory.Passkey
}

// WebAuthnID is the user handle: the account's id, which tells a stranger nothing.
func (h *holder) WebAuthnID() []byte          { return []byte(h.ID.String()) }
func (h *holder) WebAuthnName() string        { return h.Login.String() }
func (h *holder) WebAuthnDisplayName() string { return h.Login.String() }

func (h *holder) WebAuthnCredentials() []webauthn.Credential {
	list := make([]webauthn.Credential, len(h.keys))
	for i, k := range h.keys {
		c := webauthn.Credential{ID: k.ID, PublicKey: k.PublicKey, Flags: webauthn.NewCredentialFlags(protocol.AuthenticatorFlags(k.Flags)),
			Authenticator: webauthn.Authenticator{AAGUID: k.AAGUID, SignCount: k.SignCount}}
		for _, t := range k.Transports {
			c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
		}
		list[i] = c
	}
	return list
}

func (g *Gate) holder(ctx context.Context, id directory.AccountID) (*holder, error) {
	p, err := g.principal(ctx, id)
	if err != nil {
		return nil, err
	}
	f, err := g.o.Directory.Factors(ctx, id)
	return &holder{p, f.Passkeys}, err
}

// PasskeyOptions go to the browser's navigator.credentials; Ticket comes back with the answer.
type PasskeyOptions struct {
	Ticket  string `json:"ticket"`
	Options any    `json:"options"` // {"publicKey": …}
}

// passkeyBegin asks for a passkey: with a ticket as the second factor, without one instead of
// name and password. The latter must verify its user, since it is all there is.
func (g *Gate) passkeyBegin(w http.ResponseWriter, r *http.Request) (any, error) {
	var q struct {
		Ticket   string `json:"ticket"`
		Remember bool   `json:"remember"`
		Again    bool   `json:"again"` // within a session: it becomes fresh
	}
	if err := readJSON(r, &q); err != nil {
		return nil, err
	}
	c := ceremony{under: under{Remember: q.Remember}, How: "passkey"}
	if q.Again {
		s, err := g.session(r)
		if err != nil {
			return nil, err
		}
		c.under = under{Account: s.Account, Session: s.ID}
	}
	if q.Ticket != "" {
		if err := g.openTicket(purposeSecond, q.Ticket, &c.under); err != nil {
			return nil, err
		}
		c.How = "password+passkey"
	}
	var options *protocol.CredentialAssertion
	var asked *webauthn.SessionData
	var err error
	if c.Account == 0 {
		options, asked, err = g.passkeys.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	} else {
		options, asked, err = g.passkeyFor(r.Context(), c)
	}
	if err != nil {
		return nil, err
	}
	asked.AllowedCredentialIDs = nil // those that the account has when it is over
	c.Asked = *asked
	ticket, err := g.seal(purposePasskey, stepFor, c)
	return PasskeyOptions{ticket, options}, err
}

// passkeyFor asks for one of an account's passkeys.
func (g *Gate) passkeyFor(ctx context.Context, c ceremony) (*protocol.CredentialAssertion, *webauthn.SessionData, error) {
	h, err := g.holder(ctx, c.Account)
	if err != nil {
		return nil, nil, err
	}
	if len(h.keys) == 0 {
		return nil, nil, refuse(http.StatusBadRequest, "this account has no passkey")
	}
	verify := protocol.VerificationRequired
	if c.How != "passkey" { // the password was shown too
		verify = protocol.VerificationPreferred
	}
	return g.passkeys.BeginLogin(h, webauthn.WithUserVerification(verify))
}

// errPasskey is an answer that does not prove anything.
var errPasskey = refuse(http.StatusUnauthorized, "the passkey was not accepted")

// passkeyFinish judges what the browser answered.
func (g *Gate) passkeyFinish(w http.ResponseWriter, r *http.Request) (any, error) {
	var q struct {
		Ticket     string          `json:"ticket"`
		Credential json.RawMessage `json:"credential"`
	}
	if err := readJSON(r, &q); err != nil {
		return nil, err
	}
	var c ceremony
	if err := g.openTicket(purposePasskey, q.Ticket, &c); err != nil {
		return nil, err
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes(q.Credential)
	if err != nil {
		return nil, errPasskey
	}
	key, err := g.judgePasskey(r.Context(), &c, answer)
	if err != nil {
		return nil, err
	}
	if err := g.once(r.Context(), c.Account, c.Asked.Challenge); err != nil {
		return nil, err
	}
	err = g.o.Directory.UsePasskey(r.Context(), c.Account, key.ID, answer.Response.AuthenticatorData.Counter, g.o.Client(r))
	if errors.Is(err, directory.ErrCredentials) {
		return nil, errPasskey
	}
	if err != nil {
		return nil, wrongPassword(err)
	}
	return g.arrive(w, r, c.under, c.How)
}

// judgePasskey verifies the signature and fills in whose it is.
func (g *Gate) judgePasskey(ctx context.Context, c *ceremony, answer *protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error) {
	if c.Account != 0 {
		h, err := g.holder(ctx, c.Account)
		if err != nil {
			return nil, err
		}
		key, err := g.passkeys.ValidateLogin(h, c.Asked, answer)
		if err != nil {
			return nil, errPasskey
		}
		return key, nil
	}
	var ours error
	key, err := g.passkeys.ValidateDiscoverableLogin(func(_, handle []byte) (webauthn.User, error) {
		id, err := hlc.Parse(string(handle))
		if err != nil {
			return nil, err
		}
		h, err := g.holder(ctx, id)
		var refused *Refusal
		if err != nil && !errors.As(err, &refused) {
			ours = err
		}
		c.Account = id
		return h, err
	}, c.Asked, answer)
	if ours != nil {
		return nil, ours
	}
	if err != nil {
		return nil, errPasskey
	}
	return key, nil
}

// once refuses a challenge that was answered before.
func (g *Gate) once(ctx context.Context, id directory.AccountID, challenge string) error {
	err := g.o.Tokens.Once(ctx, id, challenge, time.Now().Add(stepFor+clockSkew))
	if errors.Is(err, tokens.ErrReused) {
		return errPasskey
	}
	return err
}

// register judges a new passkey.
func (g *Gate) register(ctx context.Context, h *holder, ticket string, credential []byte, name string) (directory.Passkey, error) {
	var c ceremony
	if err := g.openTicket(purposeRegister, ticket, &c); err != nil {
		return directory.Passkey{}, err
	}
	if c.Account != h.ID {
		return directory.Passkey{}, refuse(http.StatusForbidden, "this ticket is another account's")
	}
	answer, err := protocol.ParseCredentialCreationResponseBytes(credential)
	if err != nil {
		return directory.Passkey{}, errPasskey
	}
	key, err := g.passkeys.CreateCredential(h, c.Asked, answer)
	if err != nil {
		return directory.Passkey{}, errPasskey
	}
	if err := g.once(ctx, h.ID, c.Asked.Challenge); err != nil {
		return directory.Passkey{}, err
	}
	p := directory.Passkey{ID: key.ID, PublicKey: key.PublicKey, Name: name, Flags: byte(key.Flags.ProtocolValue()), SignCount: key.Authenticator.SignCount}
	if !bytes.Equal(key.Authenticator.AAGUID, make([]byte, 16)) {
		p.AAGUID = key.Authenticator.AAGUID
	}
	for _, t := range key.Transport {
		if len(p.Transports) < directory.TransportsMax && len(t) <= 20 {
			p.Transports = append(p.Transports, string(t))
		}
	}
	return p, nil
}

// beginRegister asks for a new passkey.
func (g *Gate) beginRegister(h *holder) (PasskeyOptions, error) {
	options, asked, err := g.passkeys.BeginRegistration(h,
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementPreferred, UserVerification: protocol.VerificationPreferred}),
		webauthn.WithExclusions(webauthn.Credentials(h.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return PasskeyOptions{}, fmt.Errorf("ask for a passkey: %w", err)
	}
	ticket, err := g.seal(purposeRegister, stepFor, ceremony{under: under{Account: h.ID}, Asked: *asked})
	return PasskeyOptions{ticket, options}, err
}
