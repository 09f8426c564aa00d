package jmap

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options are what a server is made of.
type Options struct {
	Methods      []Method
	Capabilities map[string]any // of the session, by URI; Core and WebSocket are the server's own
	Objects      Limits         // as the session tells them; the zero value: DefaultLimits
	Collations   []string       // identifiers of RFC 4790

	// Authenticate tells whom a request is from. It may set fields of the answer, such as
	// WWW-Authenticate. A *Problem is answered as it is; another error is ours.
	Authenticate func(w http.ResponseWriter, r *http.Request) (user any, err error)
	// May tells whether a user may use a capability with what he proved himself with; for
	// others a request is refused as if the server had not got it. nil: he may use all.
	May func(user any, uri string) bool
	// Who names a user, for limits that count by user; nil: all are one.
	Who func(user any) string
	// Recheck tells whether a user of a stream may still have it; nil: he may.
	Recheck func(ctx context.Context, user any) error
	// Session returns what a user can reach. It is asked at every request.
	Session func(ctx context.Context, user any) (*Session, error)
	// Origin returns scheme and host under which the client sees us; nil: RequestOrigin.
	Origin func(r *http.Request) string

	Blobs   Blobs
	Changes Changes // nil: no push, and no WebSocket

	Limits   RequestLimits // zero values: those of DefaultRequestLimits
	Log      *slog.Logger
	Panicked func(v any, stack []byte) // a method panicked; nil: it is logged
}

// RequestLimits bound what one request and one user may ask for (RFC 8620, 2).
type RequestLimits struct {
	SizeRequest        int64 // octets
	CallsInRequest     int
	ConcurrentRequests int   // of a user
	SizeUpload         int64 // octets
	ConcurrentUpload   int   // of a user
	ConcurrentStreams  int   // of a user: EventSource and WebSocket together

	RequestTime time.Duration // that all calls of a request may take
	// WriteTime is how long a client may take nothing of what is written to it.
	WriteTime time.Duration
	// KeepAlive is how often a silent stream is written to, and its user is looked at again.
	KeepAlive time.Duration
}

// DefaultRequestLimits are at least what RFC 8620, 2, suggests.
var DefaultRequestLimits = RequestLimits{
	SizeRequest: 10_000_000, CallsInRequest: 64, ConcurrentRequests: 8, SizeUpload: 50_000_000, ConcurrentUpload: 4, ConcurrentStreams: 50,
	RequestTime: 5 * time.Minute, WriteTime: time.Minute, KeepAlive: 2 * time.Minute,
}

// fill puts defaults where nothing is given.
func (l *RequestLimits) fill() {
	d := &DefaultRequestLimits
	fill(&l.SizeRequest, d.SizeRequest)
	fill(&l.CallsInRequest, d.CallsInRequest)
	fill(&l.ConcurrentRequests, d.ConcurrentRequests)
	fill(&l.SizeUpload, d.SizeUpload)
	fill(&l.ConcurrentUpload, d.ConcurrentUpload)
	fill(&l.ConcurrentStreams, d.ConcurrentStreams)
	fill(&l.RequestTime, d.RequestTime)
	fill(&l.WriteTime, d.WriteTime)
	fill(&l.KeepAlive, d.KeepAlive)
}

func fill[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Server serves JMAP over HTTP. All of it may be used at once.
type Server struct {
	o            Options
	limits       RequestLimits
	log          *slog.Logger
	methods      map[string]Method
	capabilities map[string]any
	requests     gate
	uploads      gate
	streams      streams
}

// New makes a server.
func New(o Options) *Server {
	fill(&o.Objects, DefaultLimits)
	if o.Who == nil {
		o.Who = func(any) string { return "" }
	}
	if o.Origin == nil {
		o.Origin = RequestOrigin
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Collations == nil {
		o.Collations = []string{}
	}
	s := &Server{o: o, limits: o.Limits, log: o.Log, methods: map[string]Method{}, capabilities: map[string]any{}}
	s.limits.fill()
	s.streams.end = make(chan struct{})
	s.streams.open = map[streaming]struct{}{}
	for _, m := range append([]Method{echo}, o.Methods...) {
		s.methods[m.Name] = m
	}
	maps.Copy(s.capabilities, o.Capabilities)
	l := &s.limits
	s.capabilities[Core] = coreCapability{SizeUpload: l.SizeUpload, ConcurrentUpload: l.ConcurrentUpload, SizeRequest: l.SizeRequest,
		ConcurrentRequests: l.ConcurrentRequests, CallsInRequest: l.CallsInRequest,
		ObjectsInGet: o.Objects.ObjectsInGet, ObjectsInSet: o.Objects.ObjectsInSet, Collations: o.Collations}
	return s
}

// echo is Core/echo (RFC 8620, 4): it returns its arguments.
var echo = Method{Name: "Core/echo", Capability: Core, Do: func(_ context.Context, c *Call) (any, error) { return c.Args, nil }}

// capable tells whether a request may use a capability.
func (s *Server) capable(uri string) bool {
	_, ok := s.capabilities[uri]
	return ok || uri == WebSocket && s.o.Changes != nil
}

// panicked reports a panic.
func (s *Server) panicked(v any, stack []byte) {
	if s.o.Panicked != nil {
		s.o.Panicked(v, stack)
		return
	}
	s.log.Error("a request panicked", "panic", v, "stack", string(stack))
}

// failed logs an error of ours and returns what the client is told of it.
func (s *Server) failed(what string, err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	if !errors.Is(err, context.Canceled) {
		s.log.Error("a request failed", "request", what, "error", err)
	}
	return problem(http.StatusInternalServerError, "an error of the server, which was logged")
}

// handler answers requests of one resource; what it returns is answered instead.
type handler func(w http.ResponseWriter, r *http.Request, user any) *Problem

// route finds the resource of a path and the HTTP methods that it has.
func (s *Server) route(path string) (h handler, methods string) {
	switch {
	case path == pathSession || path == pathWellKnown:
		return s.serveSession, "GET, HEAD"
	case path == pathAPI || path == pathAPI+"/":
		return s.serveAPI, "POST"
	case strings.HasPrefix(path, pathUpload) && s.o.Blobs != nil:
		return s.serveUpload, "POST"
	case strings.HasPrefix(path, pathDownload) && s.o.Blobs != nil:
		return s.serveDownload, "GET, HEAD"
	case (path == pathEventSource || path == pathEventSource+"/") && s.o.Changes != nil:
		return s.serveEventSource, "GET"
	case (path == pathWebSocket || path == pathWebSocket+"/") && s.o.Changes != nil:
		return s.serveWebSocket, "GET"
	}
	return nil, ""
}

// ServeHTTP answers everything below /jmap/ and /.well-known/jmap.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v)
		default:
			s.panicked(v, debug.Stack())
			panic(http.ErrAbortHandler) // whatever was written is no answer
		}
	}()
	if p := s.serve(w, r); p != nil {
		p.write(w)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) *Problem {
	h, methods := s.route(r.URL.Path)
	if h == nil {
		return problem(http.StatusNotFound, "nothing is here; the session is at %s", pathSession)
	}
	if !slices.Contains(strings.Split(methods, ", "), r.Method) {
		w.Header().Set("Allow", methods)
		return problem(http.StatusMethodNotAllowed, "%s is possible here", methods)
	}
	var user any
	var err error
	aside(func() { user, err = s.o.Authenticate(w, r) })
	if err != nil {
		return s.failed("authentication", err)
	}
	return h(w, r, user)
}

// aside runs f on a stack of its own, which goes away with what f needed of it: a stack that
// has once grown stays large while the goroutine of a stream waits for hours. A panic of f is
// the caller's.
func aside(f func()) {
	done := make(chan any)
	go func() {
		defer func() {
			v := recover()
			if v != nil && v != http.ErrAbortHandler {
				v = fmt.Sprintf("%v, at\n%s", v, debug.Stack())
			}
			done <- v
		}()
		f()
	}()
	if v := <-done; v != nil {
		panic(v)
	}
}

// serveAPI answers a Request with a Response (RFC 8620, 3.1).
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, user any) *Problem {
	if !isJSON(r.Header.Get("Content-Type")) {
		return badRequest(ProblemNotJSON, "the Content-Type is not application/json")
	}
	// The place comes before the octets: a user's requests under way bound what is held of them.
	leave, ok := s.requests.enter(s.o.Who(user), s.limits.ConcurrentRequests)
	if !ok {
		return overLimit("maxConcurrentRequests", "%d requests at once are possible", s.limits.ConcurrentRequests)
	}
	defer leave()
	raw, err := s.body(w, r)
	if errors.Is(err, errTooLong) {
		return overLimit("maxSizeRequest", "a request may have %d octets", s.limits.SizeRequest)
	}
	if err != nil {
		return problem(http.StatusBadRequest, "the request ended before its end")
	}
	q, p := s.read(raw)
	if p != nil {
		return p
	}
	answer, err := s.run(r.Context(), user, q)
	if err != nil {
		return s.failed("API", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	s.writeJSON(w, r, http.StatusOK, answer.appendTo(make([]byte, 0, answer.size()), ""))
	return nil
}

// body reads the request's body in the time that it may take.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	arrived := s.reading(w, min(r.ContentLength, s.limits.SizeRequest))
	defer arrived()
	return readAll(r.Body, r.ContentLength, s.limits.SizeRequest)
}

// reading sets the time within which n octets must have arrived; arrived ends it. After it
// the connection is still read, to see the client go: with a deadline that would look like it.
func (s *Server) reading(w http.ResponseWriter, n int64) (arrived func()) {
	c := http.NewResponseController(w)
	// Where no deadline can be set the connection's own holds.
	_ = c.SetReadDeadline(time.Now().Add(s.limits.transferTime(max(n, 0))))
	return func() { _ = c.SetReadDeadline(time.Time{}) }
}

// isJSON tells whether a Content-Type is application/json, with any parameters.
func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

// errTooLong is a body that is longer than it may be.
var errTooLong = errors.New("jmap: too long")

// readAll reads a body of at most max octets; expected is what its sender says, -1: nothing.
func readAll(r io.Reader, expected, max int64) ([]byte, error) {
	if expected > max {
		return nil, errTooLong
	}
	// What is said is not what comes: room is made as octets arrive.
	room := int64(4 << 10)
	if expected >= 0 {
		room = min(expected, 64<<10) + 1
	}
	raw := make([]byte, 0, min(room, max+1))
	for {
		n, err := r.Read(raw[len(raw):cap(raw)])
		raw = raw[:len(raw)+n]
		switch {
		case int64(len(raw)) > max:
			return nil, errTooLong
		case errors.Is(err, io.EOF):
			return raw, nil
		case err != nil:
			return nil, err
		case len(raw) == cap(raw):
			raw = append(raw, 0)[:len(raw)]
		}
	}
}

// gzipMin is the size from which an answer is compressed, in octets.
const gzipMin = 2 << 10

// gzips are compressors at rest: each has some hundred KB.
var gzips = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return z
}}

// writeJSON answers with JSON, compressed where that is wanted and pays.
func (s *Server) writeJSON(w http.ResponseWriter, r *http.Request, status int, raw []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept-Encoding")
	s.writing(w, int64(len(raw)))
	if len(raw) < gzipMin || r.Method == http.MethodHead || !acceptsGzip(r.Header.Values("Accept-Encoding")) {
		h.Set("Content-Length", strconv.Itoa(len(raw)))
		w.WriteHeader(status)
		w.Write(raw)
		return
	}
	h.Set("Content-Encoding", "gzip")
	w.WriteHeader(status)
	z := gzips.Get().(*gzip.Writer)
	defer gzips.Put(z)
	z.Reset(w)
	if _, err := z.Write(raw); err == nil {
		z.Close()
	}
}

// slowest is the rate below which a client is given up, in octets a second.
const slowest = 8 << 10

// transferTime is how long a client may take for n octets, in either direction.
func (l *RequestLimits) transferTime(n int64) time.Duration {
	return l.WriteTime + time.Duration(n/slowest)*time.Second
}

// writing sets the time within which n octets must have gone. Where it cannot be set the
// connection's own holds.
func (s *Server) writing(w http.ResponseWriter, n int64) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.limits.transferTime(n)))
}

// acceptsGzip reads Accept-Encoding (RFC 9110, 12.5.3).
func acceptsGzip(fields []string) bool {
	for _, part := range strings.Split(strings.Join(fields, ","), ",") {
		coding, parameters, _ := strings.Cut(part, ";")
		coding = strings.TrimSpace(coding)
		if !strings.EqualFold(coding, "gzip") && coding != "*" {
			continue
		}
		q, given := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(parameters), " ", ""), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !given || err == nil && weight > 0
	}
	return false
}

// gate counts what a user has under way.
type gate struct {
	mu    sync.Mutex
	users map[string]int // mu
	left  chan struct{}  // mu; closed when somebody leaves; nil: nobody waits
}

// enter takes one of max places; leave gives it back.
func (g *gate) enter(who string, max int) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users == nil {
		g.users = map[string]int{}
	}
	if g.users[who] >= max {
		return nil, false
	}
	g.users[who]++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.users[who]--; g.users[who] == 0 {
			delete(g.users, who)
		}
		if g.left != nil {
			close(g.left)
			g.left = nil
		}
	}), true
}

// wait is enter for those who can wait; ctx ends that.
func (g *gate) wait(ctx context.Context, who string, max int) (leave func(), err error) {
	for {
		if leave, ok := g.enter(who, max); ok {
			return leave, nil
		}
		g.mu.Lock()
		if g.users[who] < max {
			g.mu.Unlock()
			continue
		}
		if g.left == nil {
			g.left = make(chan struct{})
		}
		left := g.left
		g.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
