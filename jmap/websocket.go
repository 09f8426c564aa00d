package jmap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// subprotocol is the name of JMAP over a WebSocket (RFC 8887, 4.2).
const subprotocol = "jmap"

// socket is one WebSocket. At rest one goroutine waits for its client, nothing else.
type socket struct {
	s      *Server
	conn   *websocket.Conn
	user   any
	ctx    context.Context // until the client goes
	cancel context.CancelFunc

	mu       sync.Mutex
	finished bool           // mu; no further message is answered
	work     sync.WaitGroup // messages and pushes under way; added to under mu
	push     *Follower      // mu; nil: not enabled
	stop     func()         // mu; ends the watch
	dirty    bool           // mu; something may have changed
	pushing  bool           // mu; a goroutine is at it
	beat     *time.Timer    // mu
}

// serveWebSocket speaks JMAP over a WebSocket (RFC 8887) until its client goes. That a page
// of another origin cannot is checked by Accept: Origin must be our own.
func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request, user any) *Problem {
	if !offers(r.Header.Values("Sec-WebSocket-Protocol"), subprotocol) {
		return problem(http.StatusBadRequest, "the subprotocol %q must be offered (RFC 8887, 4.2)", subprotocol)
	}
	leave, ok := s.streams.enter(s.o.Who(user), s.limits.ConcurrentStreams)
	if !ok {
		return problem(http.StatusTooManyRequests, "%d streams at once are possible", s.limits.ConcurrentStreams)
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		leave()
		return nil // it has been answered
	}
	conn.SetReadLimit(-1) // ours is answered as RFC 8887, 4.3.4, has it
	k := &socket{s: s, conn: conn, user: user}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	if !s.streams.add(k) {
		conn.CloseNow()
		leave()
		return nil
	}
	// A goroutine of its own has a small stack, and nothing of the HTTP server is held.
	go func() {
		defer s.streams.remove(k)
		defer leave()
		defer conn.CloseNow()
		defer k.survive()
		k.run()
	}()
	return nil
}

// offers tells whether a list of tokens has one.
func offers(fields []string, name string) bool {
	for _, f := range fields {
		for _, t := range strings.Split(f, ",") {
			if strings.TrimSpace(t) == name {
				return true
			}
		}
	}
	return false
}

// run reads messages until the client goes, and waits for what they began.
func (k *socket) run() {
	defer k.work.Wait()
	k.mu.Lock()
	k.beat = time.AfterFunc(k.s.limits.KeepAlive, k.keepAlive)
	k.mu.Unlock()
	for k.message() {
	}
	k.cancel()
	k.mu.Lock()
	k.finished = true
	k.disable()
	k.beat.Stop()
	k.mu.Unlock()
}

// end implements streaming: it lets what is under way end, then closes the connection.
func (k *socket) end(ctx context.Context) {
	k.mu.Lock()
	k.finished = true
	k.disable()
	k.mu.Unlock()
	done := make(chan struct{})
	go func() { k.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	k.conn.Close(websocket.StatusGoingAway, "the server stops")
	k.cancel()
}

// begin counts a piece of work in; false: the socket ends.
func (k *socket) begin() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.finished {
		return false
	}
	k.work.Add(1)
	return true
}

// keepAlive looks whether client and user are still there.
func (k *socket) keepAlive() {
	if !k.begin() {
		return
	}
	defer k.work.Done()
	defer k.survive()
	ctx, cancel := context.WithTimeout(k.ctx, k.s.limits.WriteTime)
	defer cancel()
	if k.s.recheck(ctx, k.user) != nil {
		k.conn.Close(websocket.StatusPolicyViolation, "log in again") // RFC 8887, 4.2
		return
	}
	if k.conn.Ping(ctx) != nil {
		k.conn.CloseNow()
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.finished {
		k.beat.Reset(k.s.limits.KeepAlive)
	}
}

// message reads one message and begins to answer it; false: it was the last. A place among
// the user's requests is waited for before its octets are read, so that what is held of a
// user's requests is bounded over all his connections.
func (k *socket) message() bool {
	kind, r, err := k.conn.Reader(k.ctx)
	if err != nil {
		return false
	}
	if kind != websocket.MessageText {
		k.conn.Close(websocket.StatusUnsupportedData, "JMAP is text") // RFC 8887, 4.3.1
		return false
	}
	leave, err := k.s.requests.wait(k.ctx, k.s.o.Who(k.user), k.s.limits.ConcurrentRequests)
	if err != nil {
		return false
	}
	release := leave
	defer func() { release() }()
	raw, err := k.read(r)
	if errors.Is(err, errTooLong) {
		k.refuse(overLimit("maxSizeRequest", "a request may have %d octets", k.s.limits.SizeRequest), nil)
		k.conn.Close(websocket.StatusMessageTooBig, "the request is too large")
		return false
	}
	if err != nil || !k.begin() {
		return false
	}
	q := k.parse(raw)
	if q == nil {
		k.work.Done()
		return true
	}
	release = func() {}
	go func() {
		defer k.work.Done()
		defer leave()
		k.answer(q)
	}()
	return true
}

// read reads a message in the time that it may take.
func (k *socket) read(r io.Reader) ([]byte, error) {
	late := time.AfterFunc(k.s.limits.transferTime(k.s.limits.SizeRequest), func() { k.conn.CloseNow() })
	defer late.Stop()
	return readAll(r, -1, k.s.limits.SizeRequest)
}

// parse returns the request that a message is; nil: it was none, or has been answered.
func (k *socket) parse(raw []byte) *request {
	if err := CheckIJSON(raw); err != nil {
		k.refuse(badRequest(ProblemNotJSON, "no I-JSON (RFC 7493): %s", err), nil)
		return nil
	}
	m, p := readMessage(raw)
	if p != nil {
		k.refuse(p, m.id)
		return nil
	}
	switch m.kind {
	case "WebSocketPushEnable":
		k.enable(m)
		return nil
	case "WebSocketPushDisable":
		k.mu.Lock()
		defer k.mu.Unlock()
		k.disable()
		return nil
	}
	q, p := k.s.read(raw)
	if p != nil {
		k.refuse(p, m.id)
		return nil
	}
	q.id = m.id
	return q
}

// message is what a client sends: the members of RFC 8887, 4.3, besides those of a Request.
type message struct {
	kind      string          // @type
	id        json.RawMessage // nil: not given
	types     []string        // nil: all
	pushState string
	resumes   bool // pushState was given
}

// readMessage reads a text that is I-JSON.
func readMessage(raw []byte) (*message, *Problem) {
	m := new(message)
	object, err := members(raw, func(name, value []byte) error {
		ok := true
		switch string(name) {
		case "@type":
			m.kind, ok = text(value)
		case "id":
			if _, ok = text(value); ok {
				m.id = bytes.Clone(value)
			}
			ok = ok || isNull(value)
		case "pushState":
			if m.resumes = !isNull(value); m.resumes {
				m.pushState, ok = text(value)
			}
		case "dataTypes":
			if !isNull(value) {
				m.types = []string{}
				ok, _ = items(value, func(item []byte) error {
					t, string := text(item)
					m.types = append(m.types, t)
					if !string || len(m.types) > typesMax {
						return errors.New("dataTypes: no list of types")
					}
					return nil
				})
				ok = ok && len(m.types) <= typesMax && !slices.Contains(m.types, "")
			}
		}
		if !ok {
			return errors.New(string(name) + ": of the wrong type")
		}
		return nil
	})
	switch {
	case err != nil:
		return m, badRequest(ProblemNotRequest, "%s", err)
	case !object:
		return m, badRequest(ProblemNotRequest, "the message is no object")
	case m.kind != "Request" && m.kind != "WebSocketPushEnable" && m.kind != "WebSocketPushDisable":
		return m, badRequest(ProblemNotRequest, "@type is not Request, WebSocketPushEnable or WebSocketPushDisable")
	}
	return m, nil
}

// survive is deferred by every goroutine of a socket: a panic ends the socket alone.
func (k *socket) survive() {
	if v := recover(); v != nil {
		k.s.panicked(v, debug.Stack())
		k.conn.CloseNow()
	}
}

// answer runs a request and writes its response.
func (k *socket) answer(q *request) {
	defer k.survive()
	r, err := k.s.run(k.ctx, k.user, q)
	if err != nil {
		if k.ctx.Err() == nil {
			k.refuse(k.s.failed("WebSocket", err), q.id)
		}
		return
	}
	leading := `"@type":"Response",`
	if q.id != nil {
		leading += `"requestId":` + string(q.id) + ","
	}
	k.write(r.appendTo(make([]byte, 0, r.size()+len(leading)), leading))
}

// refuse writes a RequestError (RFC 8887, 4.3.4).
func (k *socket) refuse(p *Problem, id json.RawMessage) {
	if id == nil {
		id = json.RawMessage("null")
	}
	o := p.object()
	o.AtType, o.RequestID = "RequestError", &id
	raw, err := json.Marshal(o)
	if err == nil { // strings always can be written
		k.write(raw)
	}
}

// write writes a message; a client that does not take it is gone.
func (k *socket) write(raw []byte) bool {
	ctx, cancel := context.WithTimeout(k.ctx, k.s.limits.transferTime(int64(len(raw))))
	defer cancel()
	if err := k.conn.Write(ctx, websocket.MessageText, raw); err != nil {
		k.conn.CloseNow()
		return false
	}
	return true
}

// enable begins to push (RFC 8887, 4.3.5.2).
func (k *socket) enable(m *message) {
	f := &Follower{types: m.types}
	k.mu.Lock()
	watching := k.stop != nil
	k.mu.Unlock()
	if !watching {
		stop, err := k.s.o.Changes.Watch(k.ctx, k.user, k.notify)
		if err != nil {
			k.refuse(k.s.failed("WebSocket", err), nil)
			return
		}
		k.mu.Lock()
		k.stop = stop
		k.mu.Unlock()
	}
	now, err := k.s.o.Changes.States(k.ctx, k.user)
	if err != nil {
		k.refuse(k.s.failed("WebSocket", err), nil)
		return
	}
	if m.resumes {
		f.resume(m.pushState, now)
	} else {
		f.seen = now.digests()
	}
	k.mu.Lock()
	k.push = f
	k.mu.Unlock()
	k.notify() // of what came after now too
}

// disable ends pushing; k.mu is held.
func (k *socket) disable() {
	k.push, k.dirty = nil, false
	if k.stop != nil {
		k.stop()
		k.stop = nil
	}
}

// notify has what changed pushed, by one goroutine that ends when nothing has.
func (k *socket) notify() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.finished || k.stop == nil {
		return
	}
	k.dirty = true
	if k.pushing {
		return
	}
	k.pushing = true
	k.work.Add(1)
	go k.pump()
}

// pump pushes until nothing has changed.
func (k *socket) pump() {
	defer k.work.Done()
	defer k.survive()
	for {
		k.mu.Lock()
		if !k.dirty || k.finished {
			k.pushing = false
			k.mu.Unlock()
			return
		}
		k.dirty = false
		k.mu.Unlock()
		k.pushChanges()
		select {
		case <-k.ctx.Done():
		case <-time.After(pushGap):
		}
	}
}

// pushChanges writes what the client has not seen.
func (k *socket) pushChanges() {
	now, err := k.s.o.Changes.States(k.ctx, k.user)
	if err != nil {
		k.s.failed("WebSocket", err)
		k.conn.CloseNow() // the client comes back, with its pushState
		return
	}
	k.mu.Lock()
	var raw []byte
	if k.push != nil {
		if changed := k.push.Changes(now); len(changed) > 0 {
			raw = k.push.format(changed, true)
		}
	}
	k.mu.Unlock()
	if raw != nil {
		k.write(raw)
	}
}
