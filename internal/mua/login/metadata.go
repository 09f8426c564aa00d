package login

import (
	"net/http"
	"strings"

	"postroad/internal/mua/jmapd/access"
)

// scopeOffline lets a program renew its tokens while its user is away.
const scopeOffline = "offline_access"

// What we do, as the metadata tells it.
var (
	scopesSupported = []string{access.ScopeMail, access.ScopeContacts, access.ScopeCalendars, scopeOffline}
	grantTypes      = []string{"authorization_code", "refresh_token"}
)

// serveServer tells about the authorization server (RFC 8414, 3.2).
func (g *Gate) serveServer(w http.ResponseWriter, _ *http.Request) {
	o := g.o.Origin
	m := map[string]any{
		"issuer": o, "authorization_endpoint": o + pathAuthorize, "token_endpoint": o + pathToken,
		"revocation_endpoint": o + pathRevoke, "introspection_endpoint": o + pathInspect,
		"scopes_supported": scopesSupported, "response_types_supported": []string{"code"}, "response_modes_supported": []string{"query"},
		"grant_types_supported": grantTypes, "code_challenge_methods_supported": []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"none"}, "revocation_endpoint_auth_methods_supported": []string{"none"},
		"introspection_endpoint_auth_methods_supported":  []string{"client_secret_basic"},
		"authorization_response_iss_parameter_supported": true, // RFC 9207, 3
	}
	if !g.o.NoRegistration {
		m["registration_endpoint"] = o + pathRegister
	}
	publish(w, m)
}

// serveResource tells about what tokens are for (RFC 9728, 3.2): any URL of ours, which the
// document names as the client asked for it, since it will compare (RFC 9728, 3.3).
func (g *Gate) serveResource(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), pathResource)
	if path == "/" {
		path = ""
	}
	if len(path) > 500 {
		http.NotFound(w, r)
		return
	}
	servers := []string{g.o.Origin}
	if g.outside != nil {
		servers = append(servers, g.outside.o.Issuer)
	}
	publish(w, map[string]any{
		"resource": g.o.Origin + path, "authorization_servers": servers, "scopes_supported": scopesSupported,
		"bearer_methods_supported": []string{"header"}, "resource_name": g.o.Name,
	})
}

// publish answers with what anybody may read.
func publish(w http.ResponseWriter, v any) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	writeJSON(w, http.StatusOK, v)
}
