package sasl

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// tokenBackend knows one token, too, and one that is for something else.
type tokenBackend struct{ *testBackend }

var errLater = errors.New("later")

func (tokenBackend) Bearer(_ context.Context, authzid, token string) (any, error) {
	switch {
	case token == "later":
		return nil, errLater
	case token == "calendar":
		return nil, ErrScope
	case token != "vF9dft4qmT~+/==" || authzid != "" && authzid != "user@example.com":
		return "somebody", ErrCredentials
	}
	return "bearer:" + authzid, nil
}

func (tokenBackend) Discovery() Discovery {
	return Discovery{Scope: "mail", OpenID: "https://example.com/.well-known/oauth-authorization-server"}
}

func TestBearer(t *testing.T) {
	const (
		good  = "auth=Bearer vF9dft4qmT~+/==\x01"
		where = `"openid-configuration":"https://example.com/.well-known/oauth-authorization-server","scope":"mail"`
	)
	token := `{` + where + `,"status":"invalid_token"}`
	request := `{` + where + `,"status":"invalid_request"}`
	older := `{"schemes":"Bearer","scope":"mail","status":"401"}`
	for _, test := range []struct {
		name, mechanism, message string
		identity                 any
		challenge                string
		err                      error
	}{
		// RFC 7628, 4.1, with our token.
		{"the example", OAuthBearer, "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01" + good + "\x01", "bearer:user@example.com", "", nil},
		{"nobody named", OAuthBearer, "n,,\x01" + good + "\x01", "bearer:", "", nil},
		{"y", OAuthBearer, "y,,\x01" + good + "\x01", "bearer:", "", nil},
		{"scheme in any case", OAuthBearer, "n,,\x01auth=bEARER   vF9dft4qmT~+/==\x01\x01", "bearer:", "", nil},
		{"unknown keys", OAuthBearer, "n,,\x01mthd=POST\x01x=\x01" + good + "\x01", "bearer:", "", nil},
		{"escaped name", OAuthBearer, "n,a=user@example=2Ecom,\x01" + good + "\x01", nil, "", ErrMalformed},
		{"another one", OAuthBearer, "n,a=eve@example.com,\x01" + good + "\x01", nil, token, ErrCredentials},
		{"wrong token", OAuthBearer, "n,,\x01auth=Bearer x\x01\x01", nil, token, ErrCredentials},
		{"wrong scope", OAuthBearer, "n,,\x01auth=Bearer calendar\x01\x01", nil, `{` + where + `,"status":"insufficient_scope"}`, ErrScope},
		{"not now", OAuthBearer, "n,,\x01auth=Bearer later\x01\x01", nil, "", errLater},
		{"no token", OAuthBearer, "n,,\x01auth=Bearer \x01\x01", nil, request, ErrCredentials},
		{"no auth", OAuthBearer, "n,,\x01host=x\x01\x01", nil, request, ErrCredentials},
		{"Basic", OAuthBearer, "n,,\x01auth=Basic YTpi\x01\x01", nil, request, ErrCredentials},
		{"no b64token", OAuthBearer, "n,,\x01auth=Bearer a b\x01\x01", nil, request, ErrCredentials},
		{"the dummy first", OAuthBearer, "\x01", nil, request, ErrCredentials},
		{"nothing", OAuthBearer, "", nil, "", ErrMalformed},
		{"no header", OAuthBearer, good + "\x01", nil, "", ErrMalformed},
		{"binding", OAuthBearer, "p=tls-exporter,,\x01" + good + "\x01", nil, "", ErrMalformed},
		{"no end", OAuthBearer, "n,,\x01" + good, nil, "", ErrMalformed},
		{"more behind the end", OAuthBearer, "n,,\x01" + good + "\x01\x01", nil, "", ErrMalformed},
		{"two tokens", OAuthBearer, "n,,\x01" + good + good + "\x01", nil, "", ErrMalformed},
		{"key with digits", OAuthBearer, "n,,\x01a1=x\x01" + good + "\x01", nil, "", ErrMalformed},
		{"NUL", OAuthBearer, "n,,\x01x=\x00\x01" + good + "\x01", nil, "", ErrMalformed},

		{"older", XOAuth2, "user=user@example.com\x01" + good + "\x01", "bearer:user@example.com", "", nil},
		{"older, another one", XOAuth2, "user=eve@example.com\x01" + good + "\x01", nil, older, ErrCredentials},
		{"older, no token", XOAuth2, "user=user@example.com\x01auth=x\x01\x01", nil, strings.Replace(older, "401", "400", 1), ErrCredentials},
		{"older, nobody", XOAuth2, "user=\x01" + good + "\x01", nil, "", ErrMalformed},
		{"older, as OAUTHBEARER", XOAuth2, "n,,\x01" + good + "\x01", nil, "", ErrMalformed},
	} {
		for _, initial := range []bool{true, false} {
			t.Run(test.name, func(t *testing.T) {
				s, err := NewServer(test.mechanism, &Options{Backend: tokenBackend{newTestBackend(t)}})
				if err != nil {
					t.Fatal(err)
				}
				if !initial {
					if c, done, err := s.Next(t.Context(), nil); c == nil || len(c) > 0 || done || err != nil {
						t.Fatalf("asked: %q %v %v", c, done, err)
					}
				}
				challenge, done, err := s.Next(t.Context(), []byte(test.message))
				if string(challenge) != test.challenge || done != (test.identity != nil) {
					t.Fatalf("%s (%v, %v), want %s", challenge, done, err, test.challenge)
				}
				if test.challenge != "" {
					if err != nil || WithSuccess(s) {
						t.Errorf("error with a challenge: %v", err)
					}
					_, done, err = s.Next(t.Context(), []byte(kvsep)) // RFC 7628, 3.2.3
				}
				if !errors.Is(err, test.err) || done != (test.identity != nil) || s.Identity() != test.identity {
					t.Errorf("%v, %v, %v", s.Identity(), done, err)
				}
				if _, done, err = s.Next(t.Context(), []byte{}); done || !errors.Is(err, ErrState) {
					t.Errorf("over: %v, %v", done, err)
				}
			})
		}
	}
}

// TestBearerOffered: only where tokens are known.
func TestBearerOffered(t *testing.T) {
	with, without := &Options{Backend: tokenBackend{newTestBackend(t)}}, &Options{Backend: newTestBackend(t)}
	if got := with.Mechanisms(); !slices.Equal(got, []string{Plain, Login, OAuthBearer, XOAuth2}) {
		t.Errorf("%q", got)
	}
	if got := without.Mechanisms(); !slices.Equal(got, []string{Plain, Login}) {
		t.Errorf("%q", got)
	}
	if _, err := NewServer("oauthbearer", without); !errors.Is(err, ErrMechanism) {
		t.Error(err)
	}
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"", "\x01", "n,a=u,\x01auth=Bearer t\x01\x01", "user=u\x01auth=Bearer t\x01\x01", "n,,\x01a=\x01b=\x01\x01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, m string) {
		for _, parse := range []func(string) (string, string, error){parseOAuthBearer, parseXOAuth2} {
			authzid, token, err := parse(m)
			if err == nil && (token == "" || strings.ContainsAny(token, " \x00\x01\r\n") || strings.ContainsAny(authzid, "\x00\x01")) {
				t.Errorf("%q: %q %q", m, authzid, token)
			}
			if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, errNoToken) {
				t.Errorf("%q: %v", m, err)
			}
		}
	})
}
