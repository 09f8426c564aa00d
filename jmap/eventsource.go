package jmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The bounds of a ping interval. RFC 8620, 7.3: the least may not be above 30 s, the most
// not below 300 s.
const (
	pingMin = 30 * time.Second
	pingMax = 15 * time.Minute
)

// typesMax bounds the list of types that a client names.
const typesMax = 100

// eventSource is what a client asks of the resource (RFC 8620, 7.3).
type eventSource struct {
	types      []string // nil: all
	closeAfter bool     // after a state event
	ping       time.Duration
}

func parseEventSource(q url.Values) (*eventSource, *Problem) {
	e := new(eventSource)
	switch types := q.Get("types"); {
	case types == "*":
	case types == "":
		return nil, problem(http.StatusBadRequest, "types: a list of types, or *")
	default:
		if e.types = strings.Split(types, ","); len(e.types) > typesMax {
			return nil, problem(http.StatusBadRequest, "types: more than %d", typesMax)
		}
	}
	switch q.Get("closeafter") {
	case "state":
		e.closeAfter = true
	case "no":
	default:
		return nil, problem(http.StatusBadRequest, "closeafter: state or no")
	}
	seconds, err := strconv.ParseUint(q.Get("ping"), 10, 31)
	if err != nil {
		return nil, problem(http.StatusBadRequest, "ping: a number of seconds")
	}
	if seconds > 0 {
		e.ping = min(max(time.Duration(seconds)*time.Second, pingMin), pingMax)
	}
	return e, nil
}

// stream is one EventSource. At rest it has no goroutine of its own but one that waits for
// its client to go: what there is to write is written by one that ends with it.
type stream struct {
	s      *Server
	ask    *eventSource
	user   any
	every  time.Duration // between beats
	ctx    context.Context
	cancel context.CancelFunc // the stream's end
	put    func(text string) error

	mu    sync.Mutex
	seen  Follower       // of the goroutine that pushes
	work  sync.WaitGroup // goroutines that write; added to under mu
	ended bool           // mu
	dirty bool           // mu; something may have changed
	busy  bool           // mu; a goroutine is at it, or the stream has not begun
	timer *time.Timer    // mu; of the next beat
	write sync.Mutex     // one writes at a time
}

// serveEventSource pushes state changes (RFC 8620, 7.3) until the client goes.
func (s *Server) serveEventSource(w http.ResponseWriter, r *http.Request, user any) *Problem {
	ask, p := parseEventSource(r.URL.Query())
	if p != nil {
		return p
	}
	leave, ok := s.streams.enter(s.o.Who(user), s.limits.ConcurrentStreams)
	if !ok {
		return problem(http.StatusTooManyRequests, "%d streams at once are possible", s.limits.ConcurrentStreams)
	}
	t := &stream{s: s, ask: ask, user: user, seen: Follower{types: ask.types}, every: ask.ping, busy: true}
	if t.every == 0 {
		t.every = s.limits.KeepAlive
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	var stop func()
	var now States
	var err error
	aside(func() {
		if stop, err = s.o.Changes.Watch(t.ctx, user, t.notify); err == nil {
			now, err = s.o.Changes.States(r.Context(), user)
		}
	})
	if stop == nil {
		leave()
		return s.failed("EventSource", err)
	}
	over := func() { t.finish(stop); leave() }
	if err != nil {
		over()
		return s.failed("EventSource", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // proxies that gather octets would hold events back
	begin := func() error {
		last := r.Header.Get("Last-Event-ID")
		if last == "" {
			t.seen.seen = now.digests()
			return nil
		}
		t.seen.resume(last, now)
		return t.push(now)
	}
	if s.detach(w, r, t, begin, over) {
		return nil
	}
	defer over()
	s.reading(w, 0)() // from now on the connection is read to see it close, for as long as it takes
	t.put = func(text string) error { return s.flush(w, text) }
	if t.put("") == nil && begin() == nil {
		t.begin()
		select {
		case <-t.ctx.Done():
		case <-r.Context().Done():
		case <-s.streams.end:
		}
	}
	return nil
}

// detach takes the connection of an HTTP/1.1 request over, so that nothing of the HTTP server
// is held for the stream: its buffers and the stack of its goroutine are most of what it would
// cost. False: it cannot be, as with HTTP/2.
func (s *Server) detach(w http.ResponseWriter, r *http.Request, t *stream, begin func() error, over func()) bool {
	if r.ProtoMajor != 1 {
		return false
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	head := &bytes.Buffer{}
	head.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\n")
	_ = w.Header().Write(head) // a buffer takes everything
	head.WriteString("\r\n")
	t.put = func(text string) error {
		if err := conn.SetWriteDeadline(time.Now().Add(s.limits.WriteTime)); err != nil {
			return err
		}
		_, err := conn.Write([]byte(text))
		return err
	}
	if !s.streams.add(t) {
		conn.Close()
		over()
		return true
	}
	if conn.SetDeadline(time.Time{}) != nil || t.put(head.String()) != nil || begin() != nil {
		t.cancel()
	} else {
		t.begin()
	}
	context.AfterFunc(t.ctx, func() { conn.Close() })
	go func() {
		defer s.streams.remove(t)
		defer over()
		// A client has nothing more to say: whatever comes is its end.
		_, _ = conn.Read(make([]byte, 1))
		t.cancel()
	}()
	return true
}

// end implements streaming.
func (t *stream) end(context.Context) { t.cancel() }

// begin lets changes and beats be written.
func (t *stream) begin() {
	t.mu.Lock()
	t.timer = time.AfterFunc(t.every, t.beat)
	t.busy = false
	dirty := t.dirty
	t.mu.Unlock()
	if dirty {
		t.notify()
	}
}

// finish ends the stream; nothing is written any more when it returns.
func (t *stream) finish(stop func()) {
	t.cancel()
	t.mu.Lock()
	t.ended = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	stop()
	t.work.Wait()
}

// notify has what changed pushed.
func (t *stream) notify() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty = true
	if t.busy || t.ended {
		return
	}
	t.busy = true
	t.work.Add(1)
	go t.pump()
}

// survive is deferred by every goroutine of a stream: a panic ends the stream alone.
func (t *stream) survive() {
	if v := recover(); v != nil {
		t.s.panicked(v, debug.Stack())
		t.cancel()
	}
}

// pump pushes until nothing has changed.
func (t *stream) pump() {
	defer t.work.Done()
	defer t.survive()
	for {
		t.mu.Lock()
		if !t.dirty || t.ended || t.ctx.Err() != nil {
			t.busy = false
			t.mu.Unlock()
			return
		}
		t.dirty = false
		t.mu.Unlock()
		now, err := t.s.o.Changes.States(t.ctx, t.user)
		if err != nil {
			t.s.failed("EventSource", err) // the client comes back, with the id of the last event
			t.cancel()
		} else if t.push(now) != nil {
			t.cancel()
		}
		select {
		case <-t.ctx.Done():
		case <-time.After(pushGap):
		}
	}
}

// beat writes what is written when nothing happens: the ping that was asked for, else a
// comment, which tells a client nothing and proxies that the connection lives.
func (t *stream) beat() {
	t.mu.Lock()
	if t.ended {
		t.mu.Unlock()
		return
	}
	t.work.Add(1)
	t.mu.Unlock()
	defer t.work.Done()
	defer t.survive()
	text := ":\n\n"
	if t.ask.ping != 0 {
		text = fmt.Sprintf("event: ping\ndata: {\"interval\":%d}\n\n", t.ask.ping/time.Second)
	}
	ctx, cancel := context.WithTimeout(t.ctx, t.s.limits.WriteTime)
	defer cancel()
	if t.s.recheck(ctx, t.user) != nil || t.say(text) != nil {
		t.cancel()
	}
}

// errClosed is a stream that was to be closed after a state event.
var errClosed = errors.New("jmap: closed after a state event")

// push writes what the client has not seen.
func (t *stream) push(now States) error {
	changed := t.seen.Changes(now)
	if len(changed) == 0 {
		return nil
	}
	err := t.say("event: state\nid: " + t.seen.token() + "\ndata: " + string(t.seen.format(changed, false)) + "\n\n")
	if err == nil && t.ask.closeAfter {
		return errClosed
	}
	return err
}

// say writes an event; the interval of pings is that since the last one.
func (t *stream) say(text string) error {
	t.write.Lock()
	defer t.write.Unlock()
	if err := t.put(text); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil && !t.ended {
		t.timer.Reset(t.every)
	}
	return nil
}

// flush writes at once what a client has to take within WriteTime; without a text the header.
func (s *Server) flush(w http.ResponseWriter, text string) error {
	c := http.NewResponseController(w)
	// Where no deadline can be set the connection's own holds. One that passes while nothing
	// is written ends a stream of HTTP/2: it is taken back.
	_ = c.SetWriteDeadline(time.Now().Add(s.limits.WriteTime))
	if text == "" {
		w.WriteHeader(http.StatusOK)
	} else if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Time{})
	return nil
}
