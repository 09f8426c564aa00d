package login

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/telemetry"
)

// OIDC is a provider of the organisation's, whose access tokens count here too.
type OIDC struct {
	Issuer string           // "https://id.example.org"
	Client string           // our id there; a JWT must be for it
	Secret telemetry.Secret // for introspection; none: JWTs only
	Claim  string           // what names the account by one of its addresses; empty: "email"
	HTTP   *http.Client     // nil: one with providerTimeout
}

// Limits of what is asked of a provider.
const (
	providerTimeout = 10 * time.Second
	providerBodyMax = 1 << 20
	providerRetry   = 30 * time.Second // after discovery failed
	providerCalls   = 16               // at once; more wait
	outsideMax      = 10_000           // answers remembered
	outsideFor      = time.Minute      // for how long: so long a token works after its end there
	outsideNotFor   = 10 * time.Second // and so long one that does not is not asked about again
)

// provider asks one provider about tokens.
type provider struct {
	o     OIDC
	calls chan struct{}

	mu         sync.Mutex
	verifier   *oidc.IDTokenVerifier // nil before discovery; guarded by mu, as the rest
	introspect string
	failed     time.Time
	failure    error
	seen       map[[sha256.Size]byte]outsideAnswer
}

// outsideAnswer is what the provider said; no name: the token is worth nothing.
type outsideAnswer struct {
	name  string
	until time.Time
}

func newProvider(o OIDC) (*provider, error) {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || o.Client == "" {
		return nil, fmt.Errorf("login: OIDC provider %q: the issuer is an https URL, and a client id is needed", o.Issuer)
	}
	if o.Claim == "" {
		o.Claim = "email"
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: providerTimeout}
	}
	return &provider{o: o, calls: make(chan struct{}, providerCalls), seen: map[[sha256.Size]byte]outsideAnswer{}}, nil
}

// errProvider is a provider that does not answer: nobody's fault who asks.
var errProvider = refuse(http.StatusServiceUnavailable, "the log-in service does not answer; try again soon")

// bearerOutside tells whose a token of the provider's is.
func (g *Gate) bearerOutside(ctx context.Context, token string, client netip.Addr) (*access.User, error) {
	if !g.o.Directory.MayTry(client) {
		return nil, wrongPassword(directory.ErrThrottled)
	}
	name, err := g.outside.name(ctx, token)
	if err != nil {
		g.o.Log.Warn("login: the OIDC provider could not be asked", "issuer", g.outside.o.Issuer, "error", err)
		return nil, errProvider
	}
	a, err := address.Parse(name)
	if name == "" || err != nil {
		g.o.Directory.TryFailed(client)
		return nil, errNobody
	}
	acc, err := g.o.Directory.AccountByAddress(ctx, a)
	if errors.Is(err, directory.ErrNotFound) {
		return nil, errNobody
	}
	if err != nil {
		return nil, err
	}
	p, err := g.principal(ctx, acc.ID)
	if err != nil {
		return nil, err
	}
	return &access.User{Principal: p, Client: client, Credential: "oidc:" + g.outside.o.Issuer}, nil
}

// name returns what the claim of a token says, "" for a token that is worth nothing.
func (p *provider) name(ctx context.Context, token string) (string, error) {
	key := sha256.Sum256([]byte(token))
	p.mu.Lock()
	have, ok := p.seen[key]
	p.mu.Unlock()
	if ok && time.Now().Before(have.until) {
		return have.name, nil
	}
	select {
	case p.calls <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-p.calls }()
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	verifier, introspect, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	var answer outsideAnswer
	if introspect != "" && !p.o.Secret.IsZero() {
		answer, err = p.ask(ctx, introspect, token)
	} else {
		answer, err = p.verify(ctx, verifier, token)
	}
	if err != nil {
		return "", err
	}
	p.remember(key, answer)
	return answer.name, nil
}

// remember keeps an answer for a short time, at most as long as the token lives.
func (p *provider) remember(key [sha256.Size]byte, a outsideAnswer) {
	life := outsideFor
	if a.name == "" {
		life = outsideNotFor
	}
	if end := time.Now().Add(life); a.until.IsZero() || a.until.After(end) {
		a.until = end
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) >= outsideMax {
		clear(p.seen) // one question a token is the price; rare
	}
	p.seen[key] = a
}

// discover reads the provider's metadata, once it works.
func (p *provider) discover(ctx context.Context) (*oidc.IDTokenVerifier, string, error) {
	p.mu.Lock()
	verifier, introspect, failed, failure := p.verifier, p.introspect, p.failed, p.failure
	p.mu.Unlock()
	if verifier != nil {
		return verifier, introspect, nil
	}
	if age := time.Since(failed); failure != nil && age >= 0 && age < providerRetry {
		return nil, "", failure
	}
	// The keys are fetched later too: not within this request's time.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.o.HTTP), p.o.Issuer)
	var more struct {
		Introspect string `json:"introspection_endpoint"`
	}
	if err == nil {
		err = found.Claims(&more)
	}
	if err == nil && more.Introspect != "" && !strings.HasPrefix(more.Introspect, "https://") {
		err = fmt.Errorf("its introspection endpoint %q is not https", more.Introspect)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed, p.failure = time.Now(), fmt.Errorf("discovery of %s: %w", p.o.Issuer, err)
		return nil, "", p.failure
	}
	p.verifier, p.introspect = found.Verifier(&oidc.Config{ClientID: p.o.Client}), more.Introspect
	return p.verifier, p.introspect, nil
}

// ask introspects a token (RFC 7662, 2).
func (p *provider) ask(ctx context.Context, endpoint, token string) (outsideAnswer, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return outsideAnswer{}, fmt.Errorf("introspection: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.SetBasicAuth(url.QueryEscape(p.o.Client), url.QueryEscape(p.o.Secret.Reveal())) // RFC 6749, 2.3.1
	answer, err := p.o.HTTP.Do(r)
	if err != nil {
		return outsideAnswer{}, fmt.Errorf("introspection: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return outsideAnswer{}, fmt.Errorf("introspection: the provider answers %s; are client and secret right?", answer.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, providerBodyMax))
	if err != nil {
		return outsideAnswer{}, fmt.Errorf("introspection: %w", err)
	}
	var claims map[string]json.RawMessage
	var active bool
	if err := json.Unmarshal(raw, &claims); err != nil {
		return outsideAnswer{}, fmt.Errorf("introspection: %w", err)
	}
	if json.Unmarshal(claims["active"], &active) != nil || !active {
		return outsideAnswer{}, nil
	}
	return p.read(claims), nil
}

// verify judges a token that is a JWT: its issuer, audience, times and signature. What is
// wrong with the token is its fault; keys that cannot be fetched are the provider's.
func (p *provider) verify(ctx context.Context, v *oidc.IDTokenVerifier, token string) (outsideAnswer, error) {
	if strings.Count(token, ".") != 2 {
		return outsideAnswer{}, nil
	}
	t, err := v.Verify(ctx, token)
	if err != nil {
		if strings.Contains(err.Error(), "fetching keys") {
			return outsideAnswer{}, fmt.Errorf("keys of %s: %w", p.o.Issuer, err)
		}
		return outsideAnswer{}, nil
	}
	var claims map[string]json.RawMessage
	if err := t.Claims(&claims); err != nil {
		return outsideAnswer{}, nil
	}
	return p.read(claims), nil
}

// read takes the name out of the claims. An address that the provider says is not verified
// is anybody's.
func (p *provider) read(claims map[string]json.RawMessage) outsideAnswer {
	var a outsideAnswer
	if json.Unmarshal(claims[p.o.Claim], &a.name) != nil {
		return outsideAnswer{}
	}
	if raw, ok := claims["email_verified"]; ok && p.o.Claim == "email" {
		if text := strings.Trim(string(raw), `"`); text != "true" {
			return outsideAnswer{}
		}
	}
	var exp float64
	if json.Unmarshal(claims["exp"], &exp) == nil && exp > 0 {
		a.until = time.Unix(int64(exp), 0)
		if !time.Now().Before(a.until) {
			return outsideAnswer{}
		}
	}
	return a
}
