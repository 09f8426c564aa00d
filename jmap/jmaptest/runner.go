package jmaptest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/jmap"
)

// Runner runs scripts. Each script begins with the same variables and has its own.
type Runner struct {
	// Handler is talked to; nil: a server around Methods, for User.
	Handler http.Handler
	Methods []jmap.Method
	User    any

	Path   string      // of the API; empty: /jmap/api
	Header http.Header // of each request; Content-Type is application/json where it has none
	Using  []string    // of requests, unless the script says; nil: all capabilities of Methods
	Vars   map[string]any
	// Do are functions that scripts call by name; what one returns, unless nil, is added to
	// the variables.
	Do map[string]func(t *testing.T, args string) map[string]any
	// Start is called before each script, to lay what it needs; what it returns is added to
	// its variables. It may be nil.
	Start func(t *testing.T) map[string]any
}

// Files runs all scripts that a pattern of file names matches; that there is one is part of
// the test.
func (r *Runner) Files(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no script matches %s (%v)", pattern, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(f), ".jmap"), func(t *testing.T) { r.Script(t, string(text)) })
	}
}

// Script runs one script.
func (r *Runner) Script(t *testing.T, text string) {
	t.Helper()
	steps, err := parseScript(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) == 0 {
		t.Fatal("the script has no step")
	}
	v := values(maps.Clone(r.Vars))
	if v == nil {
		v = values{}
	}
	if r.Start != nil {
		maps.Copy(v, r.Start(t))
	}
	h := r.handler()
	for i := range steps {
		s := &steps[i]
		if !t.Run(s.name, func(t *testing.T) { r.step(t, h, s, v) }) {
			return
		}
	}
}

// handler is what is talked to.
func (r *Runner) handler() http.Handler {
	if r.Handler != nil {
		return r.Handler
	}
	capabilities := map[string]any{}
	for _, uri := range append(r.capabilities(), r.Using...) {
		capabilities[uri] = map[string]any{}
	}
	return jmap.New(jmap.Options{
		Methods: r.Methods, Capabilities: capabilities,
		Authenticate: func(http.ResponseWriter, *http.Request) (any, error) { return r.User, nil },
		Session:      func(context.Context, any) (*jmap.Session, error) { return &jmap.Session{}, nil },
	})
}

// capabilities are those of Methods, and the core.
func (r *Runner) capabilities() []string {
	list := []string{jmap.Core}
	for _, m := range r.Methods {
		list = append(list, m.Capability)
	}
	return list
}

func (r *Runner) step(t *testing.T, h http.Handler, s *step, v values) {
	for i := range s.acts {
		a := &s.acts[i]
		if a.do == "" {
			if err := r.exchange(h, s, a, v); err != nil {
				t.Fatalf("line %d: %s", a.line, err)
			}
			continue
		}
		f, ok := r.Do[a.do]
		if !ok {
			t.Fatalf("line %d: no function is called %q", a.line, a.do)
		}
		maps.Copy(v, f(t, v.fillText(a.args)))
	}
}

// exchange makes one request and compares the answer.
func (r *Runner) exchange(h http.Handler, s *step, a *act, v values) error {
	body, err := r.body(s, a, v)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	want, err := decode(a.answer)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	path := r.Path
	if path == "" {
		path = "/jmap/api"
	}
	q := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	maps.Copy(q.Header, r.Header)
	if q.Header.Get("Content-Type") == "" {
		q.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	text := w.Body.String()
	got, err := decode(text)
	if err != nil {
		return fmt.Errorf("status %d, and no JSON (%w): %.400q", w.Code, err, text)
	}
	if w.Code != a.status {
		return fmt.Errorf("want status %d, got %d: %s", a.status, w.Code, indent(got))
	}
	all := got
	if _, list := want.([]any); list {
		object, _ := got.(map[string]any)
		got = object["methodResponses"]
	}
	if err := v.match("", want, got); err != nil {
		return fmt.Errorf("%w\nin the answer\n%s", err, indent(all))
	}
	return nil
}

// body is the text of a request.
func (r *Runner) body(s *step, a *act, v values) ([]byte, error) {
	if a.raw {
		return []byte(a.request), nil
	}
	given, err := decode(a.request)
	if err != nil {
		return nil, err
	}
	if given, err = v.fill(given); err != nil {
		return nil, err
	}
	if calls, ok := given.([]any); ok {
		using := s.using
		if using == nil {
			using = r.Using
		}
		if using == nil {
			using = r.capabilities()
		}
		given = map[string]any{"using": using, "methodCalls": calls}
	}
	return json.Marshal(given)
}
