package jmaptest

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"postroad/jmap"
)

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		name, want, got string
		wrong           string // part of the error; empty: they match
	}{
		{"the same", `{"a":[1,"x",null,true]}`, `{"a":[1.0,"x",null,true]}`, ""},
		{"another number", `{"a":1}`, `{"a":2}`, "/a: want 1, got 2"},
		{"a member too many", `{"a":1}`, `{"a":1,"b":2}`, "/b: is there, and not expected"},
		{"a member too many, allowed", `{"a":1,"...":true}`, `{"a":1,"b":2}`, ""},
		{"a member is missing", `{"a":1,"b":2}`, `{"a":1}`, "/b: is missing"},
		{"an absent member", `{"a":"*absent","...":true}`, `{"b":1}`, ""},
		{"an absent member is there", `{"a":"*absent","...":true}`, `{"a":null}`, "/a: is there"},
		{"a list too long", `[1]`, `[1,2]`, "want 1 items, got 2"},
		{"a list that may be longer", `[1,"..."]`, `[1,2]`, ""},
		{"in any order", `["*unordered",1,2]`, `[2,1]`, ""},
		{"in any order, another", `["*unordered",1,2]`, `[2,3]`, "no item is 1"},
		{"anything", `"*"`, `{"a":[]}`, ""},
		{"a string", `"*string"`, `1`, "want"},
		{"a number", `"*number"`, `1`, ""},
		{"an id", `"*id"`, `"a b"`, "want"},
		{"a date", `"*date"`, `"2014-10-30T06:12:00Z"`, ""},
		{"no date", `"*date"`, `"2014-10-30 06:12"`, "want"},
		{"a pattern", `"~F[0-9]+"`, `"F12"`, ""},
		{"a pattern is of the whole", `"~F[0-9]+"`, `"xF12"`, "want"},
		{"as it is", `"=*string"`, `"*string"`, ""},
		{"a bound variable", `"$known"`, `"value"`, ""},
		{"a bound variable, another value", `"$known"`, `"other"`, "$known = value"},
		{"a name by variable", `{"$known":1}`, `{"value":1}`, ""},
		{"bound once, met again", `["$new","$new"]`, `[7,7]`, ""},
		{"bound once, met otherwise", `["$new","$new"]`, `[7,8]`, "/1"},
		{"a keyword is no variable", `{"$seen":true,"a":"$seen"}`, `{"$seen":true,"a":"b"}`, "/a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want, err := decode(test.want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decode(test.got)
			if err != nil {
				t.Fatal(err)
			}
			err = values{"known": "value"}.match("", want, got)
			switch {
			case err == nil && test.wrong != "":
				t.Errorf("they match; want an error with %q", test.wrong)
			case err != nil && (test.wrong == "" || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("%v; want %q", err, test.wrong)
			}
		})
	}
}

func TestScriptFaults(t *testing.T) {
	for _, test := range []struct{ name, text, wrong string }{
		{"no keyword", "hello", "is none of"},
		{"an answer too many", "<- {}", "an answer without a request"},
		{"two answers", "-> []\n<- []\n<- []", "an answer without a request"},
		{"no answer", "-> []", "a request without an answer"},
		{"no status", "-> []\n<- 4x {}", "is no status"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := parseScript(test.text); err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%v; want %q", err, test.wrong)
			}
		})
	}
}

// counter is a method with a state, for scripts.
func counter() []jmap.Method {
	n := 0
	return []jmap.Method{{Name: "Count/up", Capability: "urn:example:count", Do: func(context.Context, *jmap.Call) (any, error) {
		n++
		return map[string]any{"n": n, "id": "C1"}, nil
	}}}
}

func TestScript(t *testing.T) {
	r := Runner{Methods: counter(), Vars: map[string]any{"who": "me"},
		Do: map[string]func(*testing.T, string) map[string]any{"greet": func(t *testing.T, args string) map[string]any {
			return map[string]any{"greeting": "hello " + args}
		}}}
	r.Script(t, `
# Variables go from answers into requests.
step counting
-> [["Count/up", {}, "0"], ["Core/echo", {"#n": {"resultOf": "0", "name": "Count/up", "path": "/n"}}, "1"]]
<- [["Count/up", {"n": 1, "id": "$id"}, "0"],
    ["Core/echo", {"n": 1}, "1"]]
do greet $who
-> [["Core/echo", {"id": "$id", "$id/x": "$greeting"}, "0"]]
<- [["Core/echo", {"id": "C1", "C1/x": "hello me"}, "0"]]

using urn:ietf:params:jmap:core
step not in using
-> [["Count/up", {}, "0"]]
<- [["error", {"type": "unknownMethod"}, "0"]]

step whole objects
-> {"using": [], "methodCalls": [], "createdIds": {"a": "b"}}
<- {"methodResponses": [], "createdIds": {"a": "b"}, "sessionState": "*string"}
->raw {"using": [
<- 400 {"type": "urn:ietf:params:jmap:error:notJSON", "status": 400, "...": true}
`)
}

// TestExchangeFaults is the test of the runner's eyes.
func TestExchangeFaults(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		w.Write([]byte(`{"a":1}`))
	})
	r := Runner{Handler: h}
	for _, test := range []struct {
		name   string
		answer string
		status int
		wrong  string
	}{
		{"another status", `{"a":1}`, 200, "want status 200, got 418"},
		{"another answer", `{"a":2}`, 418, "/a: want 2"},
		{"the answer is no list", `[]`, 418, "want []"},
	} {
		a := &act{request: "[]", status: test.status, answer: test.answer}
		if err := r.exchange(h, &step{}, a, values{}); err == nil || !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%s: %v; want %q", test.name, err, test.wrong)
		}
	}
	empty := Runner{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	if err := empty.exchange(empty.Handler, &step{}, &act{request: "[]", status: 200, answer: "[]"}, values{}); err == nil {
		t.Error("an empty answer is taken")
	}
}
