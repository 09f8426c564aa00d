package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/login"
	"postroad/internal/tokens"
	"postroad/jmap"
)

// openGate makes what tells whom a request over HTTP is from.
func (s *Server) openGate() error {
	l := &s.config.Login
	o := login.Options{Directory: s.Directory, Tokens: &tokens.Store{Committer: s.Committer, Clock: s.Clock, Log: s.log},
		Origin: l.Origin, NoRegistration: l.NoRegistration, Client: s.client, Log: s.log}
	if o.Origin == "" {
		o.Origin = "https://" + hostname(s.config)
	}
	o.Origin = strings.TrimSuffix(strings.ToLower(o.Origin), ":443") // as browsers write it
	if p := &l.OIDC; p.Issuer != "" {
		o.OIDC = &login.OIDC{Issuer: p.Issuer, Client: p.Client, Secret: p.Secret, Claim: p.Claim}
	}
	var err error
	s.gate, err = login.New(o)
	return err
}

// authenticate tells whom a request of JMAP is from.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (*access.User, error) {
	// A browser gives passwords that it remembers to pages of others too.
	site := r.Header.Get("Sec-Fetch-Site")
	if _, _, basic := r.BasicAuth(); basic && (site == "cross-site" || site == "same-site") {
		return nil, &jmap.Problem{Status: http.StatusForbidden, Detail: "the request comes from a page of another origin"}
	}
	u, err := s.gate.Authenticate(w, r)
	var refused *login.Refusal
	if errors.As(err, &refused) {
		return nil, &jmap.Problem{Status: refused.Status, Detail: refused.Detail}
	}
	if err != nil {
		return nil, err
	}
	if c, ok := r.Context().Value(connKey{}).(*countedConn); ok {
		c.loggedIn.Do(func() { s.limiter.loggedInNetwork(c.network) })
	}
	return u, nil
}

// sweepTokens ends what is over until ctx is done.
func (s *Server) sweepTokens(ctx context.Context) error {
	s.gate.Run(ctx)
	return ctx.Err()
}
