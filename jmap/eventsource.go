package jmap

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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

// stream is one EventSource.
type stream struct {
	s     *Server
	w     http.ResponseWriter
	ask   *eventSource
	user  any
	seen  follower
	dirty chan struct{} // something may have changed
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
	defer leave()
	t := &stream{s: s, w: w, ask: ask, user: user, seen: follower{types: ask.types}, dirty: make(chan struct{}, 1)}
	ctx := r.Context()
	stop, err := s.o.Changes.Watch(ctx, user, t.notify)
	if err != nil {
		return s.failed("EventSource", err)
	}
	defer stop()
	now, err := s.o.Changes.States(ctx, user)
	if err != nil {
		return s.failed("EventSource", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // proxies that gather octets would hold events back
	s.reading(w, 0)()                // from now on the connection is read to see it close, for as long as it takes
	if t.write("") != nil {
		return nil
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		t.seen.resume(last, now)
		if pushed, err := t.push(now); err != nil || pushed && ask.closeAfter {
			return nil
		}
	} else {
		t.seen.seen = now.digests()
	}
	t.run(ctx)
	return nil
}

func (t *stream) notify() {
	select {
	case t.dirty <- struct{}{}:
	default:
	}
}

// run writes events as they come.
func (t *stream) run(ctx context.Context) {
	interval := t.ask.ping
	if interval == 0 {
		interval = t.s.limits.KeepAlive
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.s.streams.end:
			return
		case <-timer.C:
			if t.s.recheck(ctx, t.user) != nil || t.write(t.beat()) != nil {
				return
			}
			timer.Reset(interval)
		case <-t.dirty:
			now, err := t.s.o.Changes.States(ctx, t.user)
			if err != nil {
				t.s.failed("EventSource", err) // the client comes back, with the id of the last event
				return
			}
			pushed, err := t.push(now)
			if err != nil || pushed && t.ask.closeAfter {
				return
			}
			if pushed {
				timer.Reset(interval) // the interval is that since the previous event
			}
			select {
			case <-ctx.Done():
			case <-time.After(pushGap):
			}
		}
	}
}

// beat is what is written when nothing happens: the ping that was asked for, else a comment,
// which tells a client nothing and proxies that the connection lives.
func (t *stream) beat() string {
	if t.ask.ping == 0 {
		return ":\n\n"
	}
	return fmt.Sprintf("event: ping\ndata: {\"interval\":%d}\n\n", t.ask.ping/time.Second)
}

// push writes what the client has not seen.
func (t *stream) push(now States) (pushed bool, err error) {
	changed := t.seen.changes(now)
	if len(changed) == 0 {
		return false, nil
	}
	return true, t.write("event: state\nid: " + t.seen.token() + "\ndata: " + string(t.seen.format(changed, false)) + "\n\n")
}

// write writes at once what a client has to take within WriteTime.
func (t *stream) write(text string) error {
	c := http.NewResponseController(t.w)
	// Where no deadline can be set the connection's own holds. One that passes while nothing
	// is written ends a stream of HTTP/2: it is taken back.
	_ = c.SetWriteDeadline(time.Now().Add(t.s.limits.WriteTime))
	if text == "" {
		t.w.WriteHeader(http.StatusOK)
	} else if _, err := t.w.Write([]byte(text)); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Time{})
	return nil
}
