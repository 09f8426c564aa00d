package jmap

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// dial opens a WebSocket to a server of the tests.
func dial(t *testing.T, h http.Handler) *websocket.Conn {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http")+pathWebSocket, &websocket.DialOptions{
		Subprotocols: []string{"jmap"}, HTTPHeader: http.Header{"Authorization": {"Basic am9objp4"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(1 << 20)
	return c
}

func say(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// hear reads a message, which must come soon.
func hear(t *testing.T, c *websocket.Conn) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, raw, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

// TestWebSocketExample is the conversation of RFC 8887, 4.4.
func TestWebSocketExample(t *testing.T) {
	y := newToy()
	c := dial(t, y.server(nil))
	if c.Subprotocol() != "jmap" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	say(t, c, `{"@type":"WebSocketPushEnable","dataTypes":["Mailbox","Email"],"pushState":"aaa"}`)
	m := hear(t, c)
	if m["@type"] != "StateChange" || fmt.Sprint(m["changed"]) != "map[A1:map[Email:1 Mailbox:1]]" || m["pushState"] == "" {
		t.Errorf("after enabling: %v", m)
	}
	say(t, c, `{"@type":"Request","id":"R1","using":["urn:ietf:params:jmap:core"],"methodCalls":[["Core/echo",{"hello":true,"high":5},"b3ff"]]}`)
	m = hear(t, c)
	if m["@type"] != "Response" || m["requestId"] != "R1" || fmt.Sprint(m["methodResponses"]) != "[[Core/echo map[hello:true high:5] b3ff]]" {
		t.Errorf("response: %v", m)
	}
	say(t, c, "The quick brown fox jumps over the lazy dog.")
	m = hear(t, c)
	if id, there := m["requestId"]; m["@type"] != "RequestError" || m["type"] != ProblemNotJSON || m["status"] != 400.0 || !there || id != nil {
		t.Errorf("error: %v", m)
	}
	y.change("A1", "Email", "2")
	m = hear(t, c)
	if fmt.Sprint(m["changed"]) != "map[A1:map[Email:2]]" {
		t.Errorf("after a change: %v", m)
	}
	token := m["pushState"].(string)
	say(t, c, `{"@type":"WebSocketPushDisable"}`)
	say(t, c, `{"@type":"Request","using":[],"methodCalls":[]}`)
	if m = hear(t, c); m["@type"] != "Response" {
		t.Errorf("%v", m)
	}
	if _, there := m["requestId"]; there {
		t.Errorf("a requestId that was not given: %v", m)
	}
	y.change("A1", "Mailbox", "2")
	if y.watched() != 0 {
		t.Error("somebody watches after WebSocketPushDisable")
	}
	// What was missed comes at once when the client is back, and nothing else.
	say(t, c, `{"@type":"WebSocketPushEnable","dataTypes":null,"pushState":"`+token+`"}`)
	if m = hear(t, c); fmt.Sprint(m["changed"]) != "map[A1:map[Mailbox:2]]" {
		t.Errorf("back again: %v", m)
	}
}

func TestWebSocketErrors(t *testing.T) {
	y := newToy()
	s := y.server(func(o *Options) { o.Limits.SizeRequest = 1000 })
	c := dial(t, s)
	for _, test := range []struct{ name, text, kind, id string }{
		{"no object", `[]`, ProblemNotRequest, "<nil>"},
		{"no @type", `{"id":"1","using":[],"methodCalls":[]}`, ProblemNotRequest, "1"},
		{"another @type", `{"@type":"Response","id":"2"}`, ProblemNotRequest, "2"},
		{"a number for an id", `{"@type":"Request","id":3,"using":[],"methodCalls":[]}`, ProblemNotRequest, "<nil>"},
		{"no request", `{"@type":"Request","id":"4","using":[]}`, ProblemNotRequest, "4"},
		{"unknown capability", `{"@type":"Request","id":"5","using":["x"],"methodCalls":[]}`, ProblemUnknownCapability, "5"},
		{"types are no list", `{"@type":"WebSocketPushEnable","dataTypes":"Email"}`, ProblemNotRequest, "<nil>"},
		{"types are numbers", `{"@type":"WebSocketPushEnable","dataTypes":[1]}`, ProblemNotRequest, "<nil>"},
		{"too many calls", `{"@type":"Request","id":"6","using":[],"methodCalls":[` + strings.TrimSuffix(strings.Repeat(`["a",{},""],`, 65), ",") + `]}`, ProblemLimit, "6"},
		{"too large", `{"@type":"Request","id":"7","using":["` + strings.Repeat("x", 1000) + `"],"methodCalls":[]}`, ProblemLimit, "<nil>"},
	} {
		say(t, c, test.text)
		if m := hear(t, c); m["@type"] != "RequestError" || m["type"] != test.kind || fmt.Sprint(m["requestId"]) != test.id {
			t.Errorf("%s: %v", test.name, m)
		}
	}
	// After one that is too large the connection ends.
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("at the end: %v", err)
	}
	c = dial(t, s)
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("after a binary frame: %v", err)
	}
}

// TestWebSocketOrigin keeps pages of others out, whose requests carry our cookies.
func TestWebSocketOrigin(t *testing.T) {
	server := httptest.NewServer(newToy().server(nil))
	defer server.Close()
	_, r, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http")+pathWebSocket, &websocket.DialOptions{
		Subprotocols: []string{"jmap"}, HTTPHeader: http.Header{"Authorization": {"Basic am9objp4"}, "Origin": {"https://evil.example"}}})
	if err == nil || r == nil || r.StatusCode != http.StatusForbidden {
		t.Errorf("%v %v", r, err)
	}
}

// TestWebSocketOrder has a slow request not hold a quick one up, and both answered at a stop.
func TestWebSocketOrder(t *testing.T) {
	y := newToy()
	s := y.server(nil)
	c := dial(t, s)
	say(t, c, `{"@type":"Request","id":"slow","using":["`+testURI+`"],"methodCalls":[["Test/wait",{},"0"]]}`)
	<-y.entered
	say(t, c, `{"@type":"Request","id":"quick","using":[],"methodCalls":[]}`)
	if m := hear(t, c); m["requestId"] != "quick" {
		t.Errorf("%v", m)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	close(y.release)
	if m := hear(t, c); m["requestId"] != "slow" {
		t.Errorf("%v", m)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("at the end: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// events opens an EventSource and returns its lines.
func events(t *testing.T, h http.Handler, query string, header ...string) (lines func() string, end func()) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+pathEventSource+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("john", "x")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if w.StatusCode != 200 || w.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v", w.Status, w.Header)
	}
	b := bufio.NewReader(w.Body)
	return func() string {
		line, err := b.ReadString('\n')
		if err != nil {
			return "end"
		}
		return strings.TrimSuffix(line, "\n")
	}, func() { w.Body.Close() }
}

func TestEventSource(t *testing.T) {
	y := newToy()
	s := y.server(nil)
	next, end := events(t, s, "?types=Email&closeafter=no&ping=0")
	y.change("A1", "Mailbox", "2") // nobody asked for it
	y.change("A1", "Email", "2")
	y.change("A2", "Email", "1")
	if l := next(); l != "event: state" {
		t.Errorf("%q", l)
	}
	id, ok := strings.CutPrefix(next(), "id: ")
	data := next()
	if !ok || next() != "" {
		t.Errorf("no id, or no end of the event")
	}
	if strings.Contains(data, "Mailbox") || !strings.Contains(data, `"Email":"2"`) || !strings.Contains(data, `"@type":"StateChange"`) {
		t.Errorf("%s", data)
	}
	end()
	for range 100 {
		if y.watched() == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if y.watched() != 0 {
		t.Error("the client has gone, and is watched for")
	}
	y.change("A1", "Email", "3")
	next, _ = events(t, s, "?types=*&closeafter=state&ping=300", "Last-Event-ID", id)
	all := next() + next() + next()
	if !strings.Contains(all, `"Email":"3"`) || next() != "" || next() != "end" {
		t.Errorf("what was missed: %q, and no end after it", all)
	}
}

func TestEventSourceStop(t *testing.T) {
	s := newToy().server(nil)
	next, _ := events(t, s, "?types=*&closeafter=no&ping=0")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if l := next(); l != "end" {
		t.Errorf("%q", l)
	}
}

func TestStreamsAreCounted(t *testing.T) {
	s := newToy().server(func(o *Options) { o.Limits.ConcurrentStreams = 1 })
	events(t, s, "?types=*&closeafter=no&ping=0")
	if w := ask(s, "GET", pathEventSource+"?types=*&closeafter=no&ping=0", ""); w.Code != http.StatusTooManyRequests {
		t.Errorf("the second: %d", w.Code)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// paper is what a stream is written to.
type paper struct {
	header http.Header
	mu     sync.Mutex
	text   string // mu
}

func (p *paper) Header() http.Header { return p.header }
func (p *paper) WriteHeader(int)     {}
func (p *paper) Flush()              {}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text += string(b)
	return len(b), nil
}

func (p *paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text
}

// TestEventSourcePing runs in virtual time.
func TestEventSourcePing(t *testing.T) {
	for _, test := range []struct {
		ask, want string
		every     time.Duration
	}{
		{"1", `data: {"interval":30}`, 30 * time.Second},
		{"300", `data: {"interval":300}`, 5 * time.Minute},
		{"100000", `data: {"interval":900}`, 15 * time.Minute},
		{"0", ":", 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			y := newToy()
			s := y.server(nil)
			ctx, cancel := context.WithCancel(t.Context())
			r := httptest.NewRequest("GET", pathEventSource+"?types=*&closeafter=no&ping="+test.ask, nil).WithContext(ctx)
			r.SetBasicAuth("john", "x")
			w := &paper{header: http.Header{}}
			done := make(chan struct{})
			go func() { s.ServeHTTP(w, r); close(done) }()
			time.Sleep(test.every - time.Second)
			synctest.Wait()
			if w.String() != "" {
				t.Errorf("ping %s: too early: %q", test.ask, w)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if !strings.Contains(w.String(), test.want+"\n") {
				t.Errorf("ping %s: %q", test.ask, w)
			}
			if strings.Contains(w.String(), "id:") {
				t.Errorf("a ping sets an id: %q", w)
			}
			y.gone.Store(true)
			time.Sleep(test.every + time.Second) // the user may not stay
			select {
			case <-done:
			default:
				t.Errorf("ping %s: the stream goes on for a user who may not have it", test.ask)
			}
			cancel()
			<-done
		})
	}
}

func TestTokens(t *testing.T) {
	now := States{}
	for i := range 300 {
		now[ID(fmt.Sprintf("A%d", i))] = map[string]string{"Email": fmt.Sprint(i)}
	}
	for n, s := range map[string]States{"few": {"A1": {"Email": "1", "Thread": "1"}}, "many": now, "none": {}} {
		var f, back Follower
		f.Changes(s)
		back.resume(f.token(), s)
		if c := back.Changes(s); len(c) != 0 {
			t.Errorf("%s: %d accounts changed though nothing did", n, len(c))
		}
	}
	var f, back Follower
	f.Changes(States{"A1": {"Email": "1", "Thread": "1"}})
	back.resume(f.token(), nil)
	if c := back.Changes(States{"A1": {"Email": "1", "Thread": "2"}}); fmt.Sprint(c) != "map[A1:map[Thread:2]]" {
		t.Errorf("%v", c)
	}
	f.Changes(now)
	now["A7"]["Email"] = "other"
	back.resume(f.token(), now)
	if c := back.Changes(now); len(c) != 300 {
		t.Errorf("of another sum %d accounts are told, want all", len(c))
	}
}
