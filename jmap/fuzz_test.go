package jmap

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

var seeds = []string{
	`{"using":["urn:ietf:params:jmap:core"],"methodCalls":[["Core/echo",{"a":[1,2.5e3,-0]},"c1"]],"createdIds":{"k":"id"}}`,
	`{"using":[],"methodCalls":[["Core/echo",{"#a":{"resultOf":"0","name":"x","path":"/a/*/b"}},"\u00e9\ud83d\ude00"]]}`,
	`{"a":1,"a":2}`, `"\ud800"`, `[[[[]]]]`, `1e999`, ``, `{"@type":"WebSocketPushEnable","dataTypes":["Email"],"pushState":"lAAAA"}`,
	`{"@type":"Request","id":"R1","using":[],"methodCalls":[]}`,
}

// FuzzCheckIJSON compares with encoding/json: what is I-JSON is JSON.
func FuzzCheckIJSON(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := CheckIJSON(raw); err == nil && !json.Valid(raw) {
			t.Errorf("%q is no JSON", raw)
		} else if _, ok := err.(*SyntaxError); err != nil && !ok {
			t.Errorf("%q: %v", raw, err)
		}
	})
}

func FuzzRequest(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	y := newToy()
	close(y.release)
	s := y.server(nil)
	f.Fuzz(func(t *testing.T, raw []byte) {
		q, p := s.read(raw)
		if p != nil {
			return
		}
		r, err := s.run(t.Context(), "john", q)
		if err != nil {
			t.Fatal(err)
		}
		if out := r.appendTo(nil, ""); !json.Valid(out) {
			t.Errorf("%q is answered with %q", raw, out)
		}
		if len(r.responses) < len(q.calls) {
			t.Errorf("%d calls, %d responses", len(q.calls), len(r.responses))
		}
	})
}

func FuzzReference(f *testing.F) {
	f.Add(`{"list":[{"id":"a"},{"id":["b","c"]}]}`, "/list/*/id")
	f.Add(`{"a":{"b/":[1,2]}}`, "/a/b~1/1")
	f.Add(`{"":[[],[[]]]}`, "//*/*")
	f.Fuzz(func(t *testing.T, args, path string) {
		if CheckIJSON([]byte(args)) != nil || !strings.HasPrefix(args, "{") {
			return
		}
		ref, err := json.Marshal(map[string]string{"resultOf": "0", "name": "x", "path": path})
		if err != nil {
			t.Fatal(err)
		}
		r := resolver{responses: []Invocation{{Name: "x", ID: "0", Args: json.RawMessage(args)}}}
		out, err := r.arguments([]byte(`{"#a":` + string(ref) + `}`))
		if err == nil && !json.Valid(out) {
			t.Errorf("%q %q: %q", args, path, out)
		}
	})
}

func FuzzWebSocketMessage(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if CheckIJSON(raw) != nil {
			return
		}
		m, p := readMessage(raw)
		if p == nil && m.kind == "" || m.id != nil && !json.Valid(m.id) {
			t.Errorf("%q: %+v", raw, m)
		}
		new(Follower).resume(m.pushState, States{"A": {"Email": "1"}})
	})
}

func FuzzEventSource(f *testing.F) {
	f.Add("types=*&closeafter=no&ping=300", "l")
	f.Add("types=Email,Mailbox&closeafter=state&ping=0", "lAAAAAAAA")
	f.Fuzz(func(t *testing.T, query, last string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		if e, p := parseEventSource(q); p == nil && e.ping != 0 && (e.ping < pingMin || e.ping > pingMax) {
			t.Errorf("%q: ping %s", query, e.ping)
		}
		var fo Follower
		fo.resume(last, States{"A": {"Email": "1"}})
		if changed := fo.Changes(States{"A": {"Email": "1"}}); len(changed) > 1 {
			t.Errorf("%q: %v", last, changed)
		}
	})
}
