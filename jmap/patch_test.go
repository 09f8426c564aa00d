package jmap

import (
	"encoding/json"
	"testing"
)

func TestApplyPatch(t *testing.T) {
	const before = `{"a": 1, "b": {"c": {"d": true}, "e/f": 2}, "g": [1]}`
	for _, test := range []struct{ name, patch, want string }{
		{"a property", `{"a": 2}`, `{"a":2,"b":{"c":{"d":true},"e/f":2},"g":[1]}`},
		{"a property goes", `{"a": null}`, `{"b":{"c":{"d":true},"e/f":2},"g":[1]}`},
		{"deep", `{"b/c/x": 3, "b/c/d": null}`, `{"a":1,"b":{"c":{"x":3},"e/f":2},"g":[1]}`},
		{"an escaped name", `{"b/e~1f": null}`, `{"a":1,"b":{"c":{"d":true}},"g":[1]}`},
		{"what is not there goes", `{"b/z": null}`, `{"a":1,"b":{"c":{"d":true},"e/f":2},"g":[1]}`},
		{"nothing on the way", `{"x/y": 1}`, "invalidPatch"},
		{"a number on the way", `{"a/y": 1}`, "invalidPatch"},
		{"into an array", `{"g/0": 2}`, "invalidPatch"},
		{"one within the other", `{"b": {}, "b-": 1, "b/c": null}`, "invalidPatch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var object, patch Properties
			if err := json.Unmarshal([]byte(before), &object); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(test.patch), &patch); err != nil {
				t.Fatal(err)
			}
			got, wrong := ApplyPatch(object, patch)
			if wrong != nil {
				if wrong.Type != test.want {
					t.Errorf("%v", wrong)
				}
				return
			}
			out, err := json.Marshal(got)
			if err != nil || string(out) != test.want {
				t.Errorf("%s, wanted %s (%v)", out, test.want, err)
			}
		})
	}
}

func TestWindow(t *testing.T) {
	all := []ID{"a", "b", "c", "d", "e"}
	for _, test := range []struct {
		name     string
		args     QueryArgs
		most     int
		want     string
		position int
	}{
		{"all", QueryArgs{Limit: -1}, 0, "abcde", 0},
		{"from a position", QueryArgs{Position: 3, Limit: -1}, 0, "de", 3},
		{"from the end", QueryArgs{Position: -2, Limit: 1}, 0, "d", 3},
		{"from before the beginning", QueryArgs{Position: -9, Limit: 1}, 0, "a", 0},
		{"behind the end", QueryArgs{Position: 9, Limit: 1}, 0, "", 9},
		{"none", QueryArgs{Limit: 0}, 0, "", 0},
		{"the server's limit", QueryArgs{Limit: -1}, 2, "ab", 0},
		{"an anchor", QueryArgs{Anchor: "c", AnchorOffset: -1, Limit: 2}, 0, "bc", 1},
		{"an anchor's offset before the beginning", QueryArgs{Anchor: "b", AnchorOffset: -5, Limit: 2}, 0, "ab", 0},
		{"an anchor that is not there", QueryArgs{Anchor: "x", Limit: 2}, 0, "anchorNotFound", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := test.args.Window(all, "s", test.most)
			if err != nil {
				if e, ok := err.(*MethodError); !ok || e.Type != test.want {
					t.Error(err)
				}
				return
			}
			got := ""
			for _, id := range r.IDs {
				got += string(id)
			}
			if got != test.want || r.Position != test.position || (r.Limit > 0) != (test.most > 0) {
				t.Errorf("%q at %d, limit %d", got, r.Position, r.Limit)
			}
		})
	}
}
