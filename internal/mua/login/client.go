package login

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"postroad/internal/tokens"
)

// Limits of programs that register themselves. Their id carries what they said, signed
// (RFC 7591, A.5.2), so that registering stores nothing and nobody can fill a store by it.
const (
	registeredRedirects = 5
	redirectMax         = 500 // octets
	clientNameMax       = 100
	clientIDMax         = 5000
	clientMAC           = 16 // octets
)

// client is a program that asks for a grant.
type client struct {
	ID        string
	Name      string
	Redirects []string
	Known     bool // an administrator registered it; else it did so itself, under any name
}

// registered is what the id of a program that registered itself says.
type registered struct {
	Name      string   `json:"n,omitempty"`
	Redirects []string `json:"r"`
	Issued    int64    `json:"t"`
}

const registeredPrefix = "d."

// clientID makes the id of a program that registers itself.
func (g *Gate) clientID(r registered) (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	return registeredPrefix + base64.RawURLEncoding.EncodeToString(text) + "." + base64.RawURLEncoding.EncodeToString(g.clientMAC(text)), nil
}

func (g *Gate) clientMAC(text []byte) []byte {
	h := hmac.New(sha256.New, g.clients)
	h.Write(text)
	return h.Sum(nil)[:clientMAC]
}

// errClient is a client that nobody knows.
var errClient = refuse(http.StatusBadRequest, "this program is not registered here")

// client finds a client by its id.
func (g *Gate) client(ctx context.Context, id string) (client, error) {
	if !strings.HasPrefix(id, registeredPrefix) {
		c, err := g.o.Tokens.Client(ctx, id)
		if errors.Is(err, tokens.ErrNotFound) || err == nil && len(c.Redirects) == 0 {
			return client{}, errClient
		}
		return client{c.ID, c.Name, c.Redirects, true}, err
	}
	body, mac, _ := strings.Cut(id[len(registeredPrefix):], ".")
	text, err1 := base64.RawURLEncoding.Strict().DecodeString(body)
	sum, err2 := base64.RawURLEncoding.Strict().DecodeString(mac)
	if g.o.NoRegistration || len(id) > clientIDMax || err1 != nil || err2 != nil || !hmac.Equal(sum, g.clientMAC(text)) {
		return client{}, errClient
	}
	var r registered
	if err := json.Unmarshal(text, &r); err != nil {
		return client{}, errClient
	}
	return client{id, r.Name, r.Redirects, false}, nil
}

// CheckRedirect tells what is wrong with a redirect URI, "" when nothing is: it is https, or
// http to a loopback address (RFC 8252, 7.3), or a scheme that a program made of a domain
// name (RFC 8252, 7.1).
func CheckRedirect(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || len(text) > redirectMax || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) }):
		return "is not a URI"
	case u.Fragment != "" || strings.Contains(text, "#"):
		return "has a fragment" // RFC 6749, 3.1.2
	case u.User != nil:
		return "has a user's name"
	case u.Scheme == "https" && u.Hostname() != "":
		return ""
	case u.Scheme == "http" && isLoopback(u):
		return ""
	case strings.Contains(u.Scheme, ".") && u.Opaque == "" && u.Host == "":
		return ""
	}
	return "is neither https, nor http to 127.0.0.1 or [::1], nor a scheme made of a domain name (com.example.app:/path)"
}

// isLoopback tells whether the host is a loopback address. A name would depend on who
// answers for it (RFC 8252, 8.3).
func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}

// allows tells whether a code may go to a redirect URI: one of the client's, letter by letter
// (RFC 9700, 2.1), but for the port of a loopback address, which is known only once the
// program listens (RFC 8252, 7.3).
func (c *client) allows(redirect string) bool {
	if CheckRedirect(redirect) != "" {
		return false
	}
	for _, have := range c.Redirects {
		if have == redirect || withoutPort(have) == withoutPort(redirect) && withoutPort(redirect) != "" {
			return true
		}
	}
	return false
}

// withoutPort is a loopback redirect without its port, "" for any other.
func withoutPort(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" || !isLoopback(u) {
		return ""
	}
	u.Host = "[" + u.Hostname() + "]"
	return u.String()
}

// anyOrigin lets pages of all sites use what asks for no cookie: programs that run in a
// browser are clients as any other.
func anyOrigin(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Headers", "Content-Type")
		h.Set("Access-Control-Allow-Methods", "POST")
		f(w, r)
	}
}

// registration is RFC 7591, 2, as far as it means anything here; the rest is passed over
// (RFC 7591, 3.1).
type registration struct {
	Redirects []string `json:"redirect_uris"`
	Name      string   `json:"client_name"`
	Grants    []string `json:"grant_types"`
	Responses []string `json:"response_types"`
}

// serveRegister answers a program that registers itself (RFC 7591, 3). All become public
// clients, whatever they ask for: a secret in a program that anybody has is none.
func (g *Gate) serveRegister(w http.ResponseWriter, r *http.Request) {
	if g.o.NoRegistration {
		oauthError(w, http.StatusForbidden, "access_denied", "programs are registered by the administrator here")
		return
	}
	var q registration
	raw, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(raw, &q) != nil {
		oauthError(w, http.StatusBadRequest, "invalid_client_metadata", "the request is a JSON object (RFC 7591, 2)")
		return
	}
	if len(q.Redirects) == 0 || len(q.Redirects) > registeredRedirects {
		oauthError(w, http.StatusBadRequest, "invalid_redirect_uri", "there are one to five redirect_uris")
		return
	}
	for _, u := range q.Redirects {
		if why := CheckRedirect(u); why != "" {
			oauthError(w, http.StatusBadRequest, "invalid_redirect_uri", "a redirect URI "+why)
			return
		}
	}
	if len(q.Name) > clientNameMax || !utf8.ValidString(q.Name) || strings.ContainsFunc(q.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		oauthError(w, http.StatusBadRequest, "invalid_client_metadata", "client_name has at most 100 octets and no control characters")
		return
	}
	now := time.Now().Unix()
	id, err := g.clientID(registered{q.Name, q.Redirects, now})
	if err != nil {
		g.oauthFailed(w, err)
		return
	}
	writeJSON(w, http.StatusCreated, map[string]any{
		"client_id": id, "client_id_issued_at": now, "client_name": q.Name, "redirect_uris": q.Redirects,
		"token_endpoint_auth_method": "none", "grant_types": grantTypes, "response_types": []string{"code"},
		"scope": strings.Join(scopesSupported, " "),
	})
}

// oauthError is an error of RFC 6749, 5.2.
func oauthError(w http.ResponseWriter, status int, code, detail string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": detail})
}

// oauthFailed is an error of ours.
func (g *Gate) oauthFailed(w http.ResponseWriter, err error) {
	g.o.Log.Error("login: an OAuth request failed", "error", err)
	oauthError(w, http.StatusInternalServerError, "server_error", "our fault; try again later")
}
