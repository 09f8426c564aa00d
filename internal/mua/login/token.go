package login

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postroad/internal/tokens"
)

// faults of a token request (RFC 6749, 5.2).
var (
	errGrant        = &redirectError{"invalid_grant", "the code or the refresh token is not valid, or not for this client"}
	errGrantScope   = &redirectError{"invalid_scope", "more than was granted"}
	errGrantRequest = &redirectError{"invalid_request", "a form with each parameter once"}
)

// readForm reads a form (RFC 6749, 3.2): parameters in the body only, none of them twice.
func readForm(r *http.Request) (url.Values, bool) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return nil, false
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, 2*queryMax))
	if err != nil || len(raw) >= 2*queryMax {
		return nil, false
	}
	return single(string(raw))
}

// serveToken gives tokens for a code or a refresh token (RFC 6749, 4.1.3 and 6).
func (g *Gate) serveToken(w http.ResponseWriter, r *http.Request) {
	q, ok := readForm(r)
	if !ok {
		g.tokenError(w, errGrantRequest)
		return
	}
	c, err := g.client(r.Context(), q.Get("client_id"))
	var refused *Refusal
	if errors.As(err, &refused) {
		oauthError(w, http.StatusBadRequest, "invalid_client", refused.Detail)
		return
	}
	if err != nil {
		g.oauthFailed(w, err)
		return
	}
	var t tokens.Tokens
	switch q.Get("grant_type") {
	case "authorization_code":
		t, err = g.exchange(r, c, q)
	case "refresh_token":
		t, err = g.renew(r, c, q)
	default:
		err = &redirectError{"unsupported_grant_type", "grant_type is authorization_code or refresh_token"}
	}
	if err != nil {
		g.tokenError(w, err)
		return
	}
	answer := map[string]any{"access_token": t.Access.Reveal(), "token_type": "Bearer",
		"expires_in": int(time.Until(t.AccessExpires).Round(time.Second) / time.Second), "scope": scopeText(t.Scopes, t.Offline)}
	if !t.Refresh.IsZero() {
		answer["refresh_token"] = t.Refresh.Reveal()
	}
	writeJSON(w, http.StatusOK, answer)
}

func scopeText(scopes []string, offline bool) string {
	text := strings.Join(scopes, " ")
	if offline {
		text += " " + scopeOffline
	}
	return text
}

// tokenError writes why there are no tokens. What is wrong with a code is not told.
func (g *Gate) tokenError(w http.ResponseWriter, err error) {
	var fault *redirectError
	var refused *Refusal
	switch {
	case errors.As(err, &fault):
		oauthError(w, http.StatusBadRequest, fault.code, fault.detail)
	case errors.Is(err, tokens.ErrNotFound), errors.Is(err, tokens.ErrReused), errors.As(err, &refused):
		oauthError(w, http.StatusBadRequest, errGrant.code, errGrant.detail)
	default:
		g.oauthFailed(w, err)
	}
}

// exchange gives tokens for a code: to the client that it was for, at the redirect URI that it
// went to, if it knows what the challenge was made of (RFC 7636, 4.6).
func (g *Gate) exchange(r *http.Request, c client, q url.Values) (tokens.Tokens, error) {
	return g.o.Tokens.Exchange(r.Context(), q.Get("code"), func(o tokens.Offer) error {
		if o.Client != c.ID || o.Redirect != q.Get("redirect_uri") && q.Has("redirect_uri") || !verifies(q.Get("code_verifier"), o.Challenge) {
			return errGrant
		}
		_, err := g.principal(r.Context(), o.Account)
		return err
	})
}

// verifies tells whether the challenge was made of the verifier.
func verifies(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 ||
		strings.Trim(verifier, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") != "" {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// renew gives tokens for a refresh token.
func (g *Gate) renew(r *http.Request, c client, q url.Values) (tokens.Tokens, error) {
	return g.o.Tokens.RenewGrant(r.Context(), q.Get("refresh_token"), func(t tokens.Grant) ([]string, error) {
		if t.Client != c.ID {
			return nil, errGrant
		}
		if _, err := g.principal(r.Context(), t.Account); err != nil {
			return nil, err
		}
		if !q.Has("scope") {
			return nil, nil
		}
		var fewer []string
		for _, s := range strings.Fields(q.Get("scope")) { // RFC 6749, 6: none that was not granted
			switch {
			case s == scopeOffline && t.Offline:
			case !slices.Contains(t.Scopes, s):
				return nil, errGrantScope
			default:
				fewer = append(fewer, s)
			}
		}
		if len(fewer) == 0 {
			return nil, errGrantScope
		}
		return fewer, nil
	})
}

// serveRevoke ends tokens (RFC 7009). One that is not there is no error (2.2).
func (g *Gate) serveRevoke(w http.ResponseWriter, r *http.Request) {
	q, ok := readForm(r)
	if !ok || q.Get("token") == "" {
		g.tokenError(w, errGrantRequest)
		return
	}
	if err := g.o.Tokens.Revoke(r.Context(), q.Get("token"), q.Get("client_id")); err != nil && !errors.Is(err, tokens.ErrNotFound) {
		g.oauthFailed(w, err)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}

// serveInspect tells about a token (RFC 7662) to a client that an administrator registered for
// it: a proxy or another server that takes our tokens.
func (g *Gate) serveInspect(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	id, err1 := url.QueryUnescape(id) // RFC 6749, 2.3.1
	secret, err2 := url.QueryUnescape(secret)
	err := error(tokens.ErrNotFound)
	if ok && err1 == nil && err2 == nil {
		err = g.o.Tokens.Inspector(r.Context(), id, secret)
	}
	if errors.Is(err, tokens.ErrNotFound) {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+basicRealm+`"`)
		oauthError(w, http.StatusUnauthorized, "invalid_client", "this is for clients that the administrator registered for it")
		return
	}
	if err != nil {
		g.oauthFailed(w, err)
		return
	}
	q, ok := readForm(r)
	if !ok || q.Get("token") == "" {
		g.tokenError(w, errGrantRequest)
		return
	}
	a, err := g.o.Tokens.Inspect(r.Context(), q.Get("token"))
	var refused *Refusal
	if err == nil {
		p, err2 := g.principal(r.Context(), a.Account)
		if err = err2; err == nil {
			writeJSON(w, http.StatusOK, map[string]any{"active": true, "scope": scopeText(a.Scopes, a.Offline), "client_id": a.Client,
				"username": p.Login.String(), "sub": a.Account.String(), "exp": a.Expires.Unix(), "iat": a.Issued.Unix(),
				"token_type": "Bearer", "iss": g.o.Origin, "aud": g.o.Origin})
			return
		}
	}
	if errors.Is(err, tokens.ErrNotFound) || errors.As(err, &refused) {
		writeJSON(w, http.StatusOK, map[string]bool{"active": false}) // RFC 7662, 2.2: and nothing else
		return
	}
	g.oauthFailed(w, err)
}
