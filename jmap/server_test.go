package jmap

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// toy is a house of one account, for tests of the protocol.
type toy struct {
	mu       sync.Mutex
	states   States           // mu
	watchers map[*func()]bool // mu
	blobs    map[ID]string    // mu
	gone     atomic.Bool      // the user may not stay
	panics   atomic.Int64
	entered  chan struct{} // Test/wait is there
	release  chan struct{} // it may go on
	failing  atomic.Bool   // States fails
}

func newToy() *toy {
	return &toy{states: States{"A1": {"Email": "1", "Mailbox": "1"}}, watchers: map[*func()]bool{}, blobs: map[ID]string{},
		entered: make(chan struct{}, 100), release: make(chan struct{})}
}

func (y *toy) Watch(_ context.Context, _ any, notify func()) (func(), error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.watchers[&notify] = true
	return func() {
		y.mu.Lock()
		defer y.mu.Unlock()
		delete(y.watchers, &notify)
	}, nil
}

func (y *toy) States(context.Context, any) (States, error) {
	if y.failing.Load() {
		return nil, errors.New("no states today")
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	copied := States{}
	for a, types := range y.states {
		copied[a] = map[string]string{}
		for t, s := range types {
			copied[a][t] = s
		}
	}
	return copied, nil
}

// change gives a type another state.
func (y *toy) change(account ID, kind, state string) {
	y.mu.Lock()
	if y.states[account] == nil {
		y.states[account] = map[string]string{}
	}
	y.states[account][kind] = state
	var calls []func()
	for w := range y.watchers {
		calls = append(calls, *w)
	}
	y.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

func (y *toy) watched() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.watchers)
}

func (y *toy) Upload(_ context.Context, _ any, account ID, _ string, r io.Reader) (ID, int64, error) {
	switch account {
	case "A1":
	case "Afull":
		return "", 0, ErrOverQuota
	case "Aread":
		return "", 0, ErrAccountReadOnly
	default:
		return "", 0, ErrAccountNotFound
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return "", 0, err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	id := ID(fmt.Sprintf("U%d", len(y.blobs)))
	y.blobs[id] = string(text)
	return id, int64(len(text)), nil
}

type toyBlob struct{ *strings.Reader }

func (toyBlob) Close() error { return nil }

func (y *toy) Open(_ context.Context, _ any, account, blob ID) (Blob, error) {
	if account != "A1" {
		return nil, ErrAccountNotFound
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	text, ok := y.blobs[blob]
	if !ok {
		return nil, ErrBlobNotFound
	}
	return toyBlob{strings.NewReader(text)}, nil
}

// testURI is the capability of the methods below.
const testURI = "https://example.com/test"

func (y *toy) methods() []Method {
	do := func(name string, f func(context.Context, *Call) (any, error)) Method {
		return Method{Name: name, Capability: testURI, Do: f}
	}
	return []Method{
		do("Test/panic", func(context.Context, *Call) (any, error) { panic("a bug") }),
		do("Test/fail", func(context.Context, *Call) (any, error) { return nil, errors.New("the secret of the house") }),
		do("Test/refuse", func(context.Context, *Call) (any, error) { return nil, ErrForbidden.With("not you") }),
		do("Test/unwritable", func(context.Context, *Call) (any, error) { return map[string]any{"f": func() {}}, nil }),
		do("Test/more", func(_ context.Context, c *Call) (any, error) {
			return map[string]any{"data": 1}, c.Also("Test/also", map[string]any{"data": 10})
		}),
		do("Test/create", func(_ context.Context, c *Call) (any, error) {
			c.Created("k", "N1")
			return map[string]any{}, nil
		}),
		do("Test/resolve", func(_ context.Context, c *Call) (any, error) {
			id, ok := c.Resolve("#k")
			return map[string]any{"id": id, "ok": ok}, nil
		}),
		do("Test/wait", func(ctx context.Context, _ *Call) (any, error) {
			y.entered <- struct{}{}
			select {
			case <-y.release:
				return map[string]any{}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}),
		do("Test/large", func(context.Context, *Call) (any, error) {
			return map[string]any{"text": strings.Repeat("all work and no play ", 1000)}, nil
		}),
	}
}

// server makes a server over the house; the user is who Basic authentication names.
func (y *toy) server(change func(*Options)) *Server {
	o := Options{
		Methods: y.methods(), Capabilities: map[string]any{testURI: map[string]any{}}, Blobs: y, Changes: y,
		Authenticate: func(w http.ResponseWriter, r *http.Request) (any, error) {
			name, _, ok := r.BasicAuth()
			if !ok {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				return nil, &Problem{Status: http.StatusUnauthorized, Detail: "log in"}
			}
			if name == "broken" {
				return nil, errors.New("the directory is down")
			}
			return name, nil
		},
		Who: func(u any) string { return u.(string) },
		Recheck: func(context.Context, any) error {
			if y.gone.Load() {
				return errors.New("gone")
			}
			return nil
		},
		Session: func(_ context.Context, u any) (*Session, error) {
			return &Session{Username: u.(string), Accounts: map[ID]SessionAccount{"A1": {Name: "john", IsPersonal: true, Capabilities: map[string]any{testURI: map[string]any{}}}},
				Primary: map[string]ID{testURI: "A1"}}, nil
		},
		Panicked: func(any, []byte) { y.panics.Add(1) },
	}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// ask makes one request.
func ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.SetBasicAuth("john", "x")
	if method == http.MethodPost && strings.HasPrefix(path, pathAPI) {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestSession(t *testing.T) {
	y := newToy()
	s := y.server(nil)
	w := ask(s, "GET", "/.well-known/jmap", "")
	var o map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil || w.Code != 200 {
		t.Fatalf("%d %v %s", w.Code, err, w.Body)
	}
	for name, want := range map[string]any{
		"username": "john", "apiUrl": "http://example.com/jmap/api", "uploadUrl": "http://example.com/jmap/upload/{accountId}/",
		"downloadUrl":    "http://example.com/jmap/download/{accountId}/{blobId}/{name}?accept={type}",
		"eventSourceUrl": "http://example.com/jmap/eventsource?types={types}&closeafter={closeafter}&ping={ping}",
	} {
		if o[name] != want {
			t.Errorf("%s: %v, want %v", name, o[name], want)
		}
	}
	capabilities := o["capabilities"].(map[string]any)
	core := capabilities[Core].(map[string]any)
	for name, least := range map[string]float64{"maxSizeUpload": 50_000_000, "maxConcurrentUpload": 4, "maxSizeRequest": 10_000_000,
		"maxConcurrentRequests": 4, "maxCallsInRequest": 16, "maxObjectsInGet": 500, "maxObjectsInSet": 500} {
		if n, ok := core[name].(float64); !ok || n < least {
			t.Errorf("%s: %v, RFC 8620, 2, suggests %v", name, core[name], least)
		}
	}
	if ws := capabilities[WebSocket].(map[string]any); ws["url"] != "ws://example.com/jmap/ws" || ws["supportsPush"] != true {
		t.Errorf("WebSocket: %v", ws)
	}
	if c := w.Header().Get("Cache-Control"); !strings.Contains(c, "no-store") {
		t.Errorf("Cache-Control: %q", c)
	}
	state := o["state"].(string)
	r := ask(s, "POST", pathAPI, `{"using":[],"methodCalls":[]}`)
	if !strings.Contains(r.Body.String(), `"sessionState":"`+state+`"`) {
		t.Errorf("the API tells another state than %s: %s", state, r.Body)
	}
	other := y.server(func(o *Options) { o.Capabilities = map[string]any{testURI: map[string]any{"more": 1}} })
	if strings.Contains(ask(other, "GET", pathSession, "").Body.String(), state) {
		t.Error("another session has the same state")
	}
}

func TestRefusedOverHTTP(t *testing.T) {
	y := newToy()
	s := y.server(func(o *Options) { o.Limits.SizeRequest = 1000; o.Limits.SizeUpload = 10 })
	for _, test := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		says                     string
	}{
		{"no log-in", "POST", pathAPI, "{}", []string{"Authorization", ""}, 401, `"title":"Unauthorized"`},
		{"the directory is down", "POST", pathAPI, "{}", []string{"Authorization", "Basic YnJva2VuOng="}, 500, "logged"},
		{"nothing there", "GET", "/jmap/other", "", nil, 404, "the session is at"},
		{"GET of the API", "GET", pathAPI, "", nil, 405, "POST"},
		{"a strange method", "ET", pathSession, "", nil, 405, "GET"},
		{"no JSON by type", "POST", pathAPI, `{"using":[],"methodCalls":[]}`, []string{"Content-Type", "text/plain"}, 400, ProblemNotJSON},
		{"JSON with a parameter", "POST", pathAPI, `{"using":[],"methodCalls":[]}`, []string{"Content-Type", "Application/JSON; charset=utf-8"}, 200, "methodResponses"},
		{"too long", "POST", pathAPI, strings.Repeat(" ", 1001), nil, 400, `"limit":"maxSizeRequest"`},
		{"as long as can be", "POST", pathAPI, `{"using":[],"methodCalls":[]}` + strings.Repeat(" ", 1000-29), nil, 200, "methodResponses"},
		{"upload too long", "POST", pathUpload + "A1/", "0123456789x", nil, 400, `"limit":"maxSizeUpload"`},
		{"upload to nobody", "POST", pathUpload + "A2/", "x", nil, 404, "no such account"},
		{"upload to no id", "POST", pathUpload + "A%202/", "x", nil, 404, "no such account"},
		{"upload, full", "POST", pathUpload + "Afull/", "x", nil, 507, "no room"},
		{"upload, read only", "POST", pathUpload + "Aread", "x", nil, 403, "written"},
		{"download of nothing", "GET", pathDownload + "A1/U9/x", "", nil, 404, "no such blob"},
		{"download from nobody", "GET", pathDownload + "A2/U9/x", "", nil, 404, "no such account"},
		{"download without a name", "GET", pathDownload + "A1/U9", "", nil, 404, "no such blob"},
		{"download of no id", "GET", pathDownload + "A1/../x/y", "", nil, 404, "no such blob"},
		{"EventSource without types", "GET", pathEventSource + "?closeafter=no&ping=0", "", nil, 400, "types"},
		{"EventSource with too many types", "GET", pathEventSource + "?closeafter=no&ping=0&types=" + strings.Repeat("a,", 200), "", nil, 400, "types"},
		{"EventSource, closeafter", "GET", pathEventSource + "?types=*&closeafter=never&ping=0", "", nil, 400, "closeafter"},
		{"EventSource, ping", "GET", pathEventSource + "?types=*&closeafter=no&ping=-1", "", nil, 400, "ping"},
		{"WebSocket without jmap", "GET", pathWebSocket, "", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 400, "subprotocol"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := ask(s, test.method, test.path, test.body, test.header...)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
				t.Fatalf("%d %s; want %d with %s", w.Code, w.Body, test.status, test.says)
			}
			if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("Content-Type: %s", w.Header().Get("Content-Type"))
			}
		})
	}
	if y.panics.Load() != 0 {
		t.Errorf("%d panics", y.panics.Load())
	}
}

// TestChunkedTooLong gives no length beforehand.
func TestChunkedTooLong(t *testing.T) {
	s := newToy().server(func(o *Options) { o.Limits.SizeRequest = 1000; o.Limits.SizeUpload = 1000 })
	for _, path := range []string{pathAPI, pathUpload + "A1/"} {
		r := httptest.NewRequest("POST", path, io.MultiReader(strings.NewReader(strings.Repeat("x", 2000))))
		r.ContentLength = -1
		r.SetBasicAuth("john", "x")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != 400 || !strings.Contains(w.Body.String(), ProblemLimit) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestConcurrent holds requests and uploads to their numbers, each user for himself.
func TestConcurrent(t *testing.T) {
	y := newToy()
	s := y.server(func(o *Options) { o.Limits.ConcurrentRequests = 2 })
	const wait = `{"using":["` + testURI + `"],"methodCalls":[["Test/wait",{},"0"]]}`
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() {
			if w := ask(s, "POST", pathAPI, wait); w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
		<-y.entered
	}
	const nothing = `{"using":[],"methodCalls":[]}`
	if w := ask(s, "POST", pathAPI, nothing); w.Code != 400 || !strings.Contains(w.Body.String(), `"limit":"maxConcurrentRequests"`) {
		t.Errorf("the third: %d %s", w.Code, w.Body)
	}
	if w := ask(s, "POST", pathAPI, nothing, "Authorization", "Basic amFuZTp4"); w.Code != 200 {
		t.Errorf("another user: %d %s", w.Code, w.Body)
	}
	close(y.release)
	done.Wait()
	if w := ask(s, "POST", pathAPI, nothing); w.Code != 200 {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
	if len(s.requests.users) != 0 {
		t.Errorf("users are remembered: %v", s.requests.users)
	}
}

// TestClientGone finds that a method is told, and that nothing is answered.
func TestClientGone(t *testing.T) {
	y := newToy()
	s := y.server(nil)
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequest("POST", pathAPI, strings.NewReader(`{"using":["`+testURI+`"],"methodCalls":[["Test/wait",{},"0"],["Test/panic",{},"1"]]}`)).WithContext(ctx)
	r.SetBasicAuth("john", "x")
	r.Header.Set("Content-Type", "application/json")
	go func() { <-y.entered; cancel() }()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code == 200 || y.panics.Load() != 0 {
		t.Errorf("%d, %d panics: calls go on for nobody", w.Code, y.panics.Load())
	}
}

func TestCompressed(t *testing.T) {
	s := newToy().server(nil)
	const large = `{"using":["` + testURI + `"],"methodCalls":[["Test/large",{},"0"]]}`
	plain := ask(s, "POST", pathAPI, large)
	if plain.Header().Get("Content-Encoding") != "" || plain.Header().Get("Content-Length") != fmt.Sprint(plain.Body.Len()) {
		t.Errorf("not asked for: %v", plain.Header())
	}
	for accept, want := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "*": true, "gzip;q=0": false, "gzip; q=0.0": false, "br": false, "gzip;q=x": false} {
		w := ask(s, "POST", pathAPI, large, "Accept-Encoding", accept)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("%s: compressed %v", accept, got)
			continue
		}
		if !want {
			continue
		}
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(text, plain.Body.Bytes()) {
			t.Errorf("%s: another answer (%v)", accept, err)
		}
	}
	if w := ask(s, "POST", pathAPI, `{"using":[],"methodCalls":[]}`, "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" {
		t.Error("a small answer is compressed")
	}
}

// TestPanicIsCounted goes with testdata/errors.jmap.
func TestPanicIsCounted(t *testing.T) {
	y := newToy()
	w := ask(y.server(nil), "POST", pathAPI, `{"using":["`+testURI+`"],"methodCalls":[["Test/panic",{},"0"],["Test/more",{},"1"]]}`)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "serverFail") || !strings.Contains(w.Body.String(), "Test/also") || y.panics.Load() != 1 {
		t.Errorf("%d %s, %d panics", w.Code, w.Body, y.panics.Load())
	}
}

// TestPanicOutsideOfMethods ends a request without an answer, and nothing else.
func TestPanicOutsideOfMethods(t *testing.T) {
	y := newToy()
	var told string
	s := y.server(func(o *Options) {
		o.Authenticate = func(http.ResponseWriter, *http.Request) (any, error) { panic("no directory") }
		o.Panicked = func(v any, _ []byte) { told = fmt.Sprint(v) }
	})
	defer func() {
		if v := recover(); v != http.ErrAbortHandler || !strings.Contains(told, "no directory") || !strings.Contains(told, "server_test.go") {
			t.Errorf("%v; told of %q", v, told)
		}
	}()
	ask(s, "GET", pathSession, "")
	t.Error("it is answered")
}
