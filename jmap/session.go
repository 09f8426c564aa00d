package jmap

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// Core is the capability that every server has (RFC 8620, 2).
const Core = "urn:ietf:params:jmap:core"

// WebSocket is the capability of RFC 8887, 3.
const WebSocket = "urn:ietf:params:jmap:websocket"

// Session is what a user can reach: the parts of the Session object (RFC 8620, 2) that are
// not the protocol's own.
type Session struct {
	Username string                    `json:"username"`
	Accounts map[ID]SessionAccount     `json:"accounts"`
	Primary  map[string]ID             `json:"primaryAccounts"`
	More     map[string]map[string]any `json:"-"` // further members of capabilities, for this user
}

// SessionAccount is an Account object (RFC 8620, 2).
type SessionAccount struct {
	Name         string         `json:"name"`
	IsPersonal   bool           `json:"isPersonal"`
	IsReadOnly   bool           `json:"isReadOnly"`
	Capabilities map[string]any `json:"accountCapabilities"`
}

// sessionObject is the Session object as it is written.
type sessionObject struct {
	Capabilities map[string]any `json:"capabilities"`
	Session
	APIURL         string `json:"apiUrl"`
	DownloadURL    string `json:"downloadUrl"`
	UploadURL      string `json:"uploadUrl"`
	EventSourceURL string `json:"eventSourceUrl"`
	State          string `json:"state"`

	state string
}

// coreCapability is the object of Core.
type coreCapability struct {
	SizeUpload         int64    `json:"maxSizeUpload"`
	ConcurrentUpload   int      `json:"maxConcurrentUpload"`
	SizeRequest        int64    `json:"maxSizeRequest"`
	ConcurrentRequests int      `json:"maxConcurrentRequests"`
	CallsInRequest     int      `json:"maxCallsInRequest"`
	ObjectsInGet       int      `json:"maxObjectsInGet"`
	ObjectsInSet       int      `json:"maxObjectsInSet"`
	Collations         []string `json:"collationAlgorithms"`
}

// session makes the Session object, but for its addresses. Its state is a hash of all that
// is in it, so that it changes when anything does.
func (s *Server) session(ctx context.Context, user any) (*sessionObject, error) {
	parts, err := s.o.Session(ctx, user)
	if err != nil {
		return nil, err
	}
	o := &sessionObject{Capabilities: make(map[string]any, len(s.capabilities)+len(parts.More)), Session: *parts}
	for uri, v := range s.capabilities {
		o.Capabilities[uri] = v
	}
	for uri, v := range parts.More {
		o.Capabilities[uri] = v
	}
	if s.o.May != nil {
		maps.DeleteFunc(o.Capabilities, func(uri string, _ any) bool { return !s.o.May(user, uri) })
	}
	if o.Accounts == nil {
		o.Accounts = map[ID]SessionAccount{}
	}
	if o.Primary == nil {
		o.Primary = map[string]ID{}
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	o.state = base64.RawURLEncoding.EncodeToString(sum[:12])
	return o, nil
}

// The paths below the server's root. Templates are of level 1 (RFC 6570).
const (
	pathWellKnown   = "/.well-known/jmap"
	pathSession     = "/jmap/session"
	pathAPI         = "/jmap/api"
	pathUpload      = "/jmap/upload/"
	pathDownload    = "/jmap/download/"
	pathEventSource = "/jmap/eventsource"
	pathWebSocket   = "/jmap/ws"
)

// serveSession answers with the Session object.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request, user any) *Problem {
	o, err := s.session(r.Context(), user)
	if err != nil {
		return s.failed("session", err)
	}
	base := s.o.Origin(r)
	o.State = o.state
	o.APIURL = base + pathAPI
	o.DownloadURL = base + pathDownload + "{accountId}/{blobId}/{name}?accept={type}"
	o.UploadURL = base + pathUpload + "{accountId}/"
	o.EventSourceURL = base + pathEventSource + "?types={types}&closeafter={closeafter}&ping={ping}"
	if s.o.Changes != nil {
		o.Capabilities[WebSocket] = map[string]any{"url": "ws" + strings.TrimPrefix(base, "http") + pathWebSocket, "supportsPush": true}
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return s.failed("session", err)
	}
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate") // RFC 8620, 2
	s.writeJSON(w, r, http.StatusOK, raw)
	return nil
}

// RequestOrigin is the address that a request came to: scheme and host.
func RequestOrigin(r *http.Request) string {
	if r.TLS == nil {
		return "http://" + r.Host
	}
	return "https://" + r.Host
}
