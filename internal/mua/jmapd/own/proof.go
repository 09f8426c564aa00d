package own

import (
	"context"
	"encoding/json"

	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// proof is the arguments of the calls by which a user sets up what he proves himself with.
// Each of them takes those that it names.
type proof struct {
	AccountID  jmap.ID         `json:"accountId"`
	Ticket     string          `json:"ticket"`
	Code       string          `json:"code"`
	Name       string          `json:"name"`
	Credential json.RawMessage `json:"credential"`
	Password   string          `json:"password"`
	EndOthers  bool            `json:"endOthers"`
}

// proofMethods are the plain calls.
func (m *Methods) proofMethods() []jmap.Method {
	return []jmap.Method{
		m.proofMethod("Factors/get", m.getFactors),
		m.proofMethod("Totp/begin", m.beginTOTP),
		m.proofMethod("Totp/confirm", m.confirmTOTP, "ticket", "code"),
		m.proofMethod("Totp/remove", m.removeTOTP),
		m.proofMethod("RecoveryCodes/make", m.makeRecoveryCodes),
		m.proofMethod("Passkey/begin", m.beginPasskey),
		m.proofMethod("Passkey/finish", m.finishPasskey, "ticket", "credential", "name"),
		m.proofMethod("Password/change", m.changePassword, "password", "endOthers"),
		m.proofMethod("Session/endOthers", m.endOtherSessions),
	}
}

// proofMethod is the frame of all of them: the arguments, whose account it is, the errors.
func (m *Methods) proofMethod(name string, do func(context.Context, *access.User, *proof) (jmap.Object, error), arguments ...string) jmap.Method {
	arguments = append(arguments, "accountId")
	return jmap.Method{Name: name, Capability: Capability, Do: func(ctx context.Context, c *jmap.Call) (any, error) {
		p := new(proof)
		if err := c.Decode(p, arguments...); err != nil {
			return nil, err
		}
		if _, err := m.house.OwnAccount(ctx, c, p.AccountID); err != nil {
			return nil, err
		}
		o, err := do(ctx, access.Of(c), p)
		if err != nil {
			return nil, methodError(err)
		}
		o["accountId"] = p.AccountID
		return o, nil
	}}
}

func (m *Methods) getFactors(ctx context.Context, u *access.User, _ *proof) (jmap.Object, error) {
	f, err := m.o.Credentials.Factors(ctx, u)
	return jmap.Object{"totp": date(f.TOTP), "passkeys": len(f.Passkeys), "recoveryCodes": f.Recovery}, err
}

func (m *Methods) beginTOTP(ctx context.Context, u *access.User, _ *proof) (jmap.Object, error) {
	e, err := m.o.Credentials.TOTPBegin(ctx, u)
	return jmap.Object{"secret": e.Secret, "url": e.URL, "ticket": e.Ticket}, err
}

func (m *Methods) confirmTOTP(ctx context.Context, u *access.User, p *proof) (jmap.Object, error) {
	codes, err := m.o.Credentials.TOTPConfirm(ctx, u, p.Ticket, p.Code)
	return jmap.Object{"recoveryCodes": codes}, err
}

func (m *Methods) removeTOTP(ctx context.Context, u *access.User, _ *proof) (jmap.Object, error) {
	return jmap.Object{}, m.o.Credentials.TOTPRemove(ctx, u)
}

func (m *Methods) makeRecoveryCodes(ctx context.Context, u *access.User, _ *proof) (jmap.Object, error) {
	codes, err := m.o.Credentials.RecoveryCodes(ctx, u)
	return jmap.Object{"recoveryCodes": codes}, err
}

func (m *Methods) beginPasskey(ctx context.Context, u *access.User, _ *proof) (jmap.Object, error) {
	q, err := m.o.Credentials.PasskeyBegin(ctx, u)
	return jmap.Object{"ticket": q.Ticket, "options": q.Options}, err
}

func (m *Methods) finishPasskey(ctx context.Context, u *access.User, p *proof) (jmap.Object, error) {
	id, codes, err := m.o.Credentials.PasskeyFinish(ctx, u, p.Ticket, p.Credential, p.Name)
	return jmap.Object{"id": passkeyID(id), "recoveryCodes": codes}, err
}

func (m *Methods) changePassword(ctx context.Context, u *access.User, p *proof) (jmap.Object, error) {
	return jmap.Object{}, m.o.Credentials.SetPassword(ctx, u, p.Password, p.EndOthers)
}

func (m *Methods) endOtherSessions(ctx context.Context, u *access.User, _ *proof) (jmap.Object, error) {
	return jmap.Object{}, m.o.Credentials.EndOtherSessions(ctx, u)
}
