package jmaptest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"postroad/jmap"
)

// values are variables.
type values map[string]any

// rest is what allows for more in an object or a list.
const rest = "..."

// fill puts variables into a request.
func (v values) fill(in any) (any, error) {
	switch in := in.(type) {
	case string:
		name, ok := strings.CutPrefix(in, "$")
		if value, bound := v[name]; ok && bound {
			return value, nil
		}
		return in, nil
	case []any:
		out := make([]any, len(in))
		for i := range in {
			var err error
			if out[i], err = v.fill(in[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(in))
		for name, value := range in {
			filled, err := v.fill(value)
			if err != nil {
				return nil, err
			}
			if name, err = v.fillName(name); err != nil {
				return nil, err
			}
			out[name] = filled
		}
		return out, nil
	}
	return in, nil
}

// fillName puts variables into the name of a member, which may be a path of a patch.
func (v values) fillName(name string) (string, error) {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		bare, ok := strings.CutPrefix(p, "$")
		if !ok {
			continue
		}
		value, bound := v[bare]
		if !bound {
			continue
		}
		s, ok := value.(string)
		if !ok {
			return "", fmt.Errorf("$%s is no string: it cannot be a name", bare)
		}
		parts[i] = s
	}
	return strings.Join(parts, "/"), nil
}

// fillText puts variables into the words of a line.
func (v values) fillText(line string) string {
	words := strings.Split(line, " ")
	for i, w := range words {
		if value, ok := v[strings.TrimPrefix(w, "$")]; ok && strings.HasPrefix(w, "$") {
			words[i] = fmt.Sprint(value)
		}
	}
	return strings.Join(words, " ")
}

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// isName tells whether s can be the name of a variable.
func isName(s string) bool { return namePattern.MatchString(s) }

// keywords of RFC 8621, 4.1.1, look like variables in an answer, and are not.
var keywords = []string{"seen", "draft", "flagged", "answered", "forwarded", "phishing", "junk", "notjunk", "mdnsent", "recent"}

// match compares an answer with a pattern and binds variables. The error says where they differ.
func (v values) match(at string, want, got any) error {
	switch want := want.(type) {
	case string:
		return v.matchString(at, want, got)
	case []any:
		list, ok := got.([]any)
		if !ok {
			return differ(at, want, got)
		}
		return v.matchList(at, want, list)
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return differ(at, want, got)
		}
		return v.matchObject(at, want, object)
	case json.Number:
		n, ok := got.(json.Number)
		a, err1 := want.Float64()
		b, err2 := n.Float64()
		if ok && err1 == nil && err2 == nil && a == b {
			return nil
		}
		return differ(at, want, got)
	}
	if !reflect.DeepEqual(want, got) {
		return differ(at, want, got)
	}
	return nil
}

func differ(at string, want, got any) error {
	return fmt.Errorf("%s: want %s, got %s", at, indent(want), indent(got))
}

func (v values) matchString(at, want string, got any) error {
	s, isString := got.(string)
	good := isString && s == want
	if want != "" {
		switch body := want[1:]; want[0] {
		case '*':
			if kind, ok := kinds[body]; ok {
				good = kind(got)
			}
		case '=':
			good = isString && s == body
		case '~':
			r, err := regexp.Compile("^(?:" + body + ")$")
			if err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			good = isString && r.MatchString(s)
		case '$':
			if !isName(body) || slices.Contains(keywords, body) {
				break
			}
			bound, ok := v[body]
			if !ok {
				v[body] = got
				return nil
			}
			want, good = fmt.Sprintf("$%s = %v", body, bound), reflect.DeepEqual(bound, got)
		}
	}
	if !good {
		return differ(at, want, got)
	}
	return nil
}

// kinds are what "*" and a word match.
var kinds = map[string]func(any) bool{
	"":       func(any) bool { return true },
	"string": func(v any) bool { _, ok := v.(string); return ok },
	"number": func(v any) bool { _, ok := v.(json.Number); return ok },
	"bool":   func(v any) bool { _, ok := v.(bool); return ok },
	"array":  func(v any) bool { _, ok := v.([]any); return ok },
	"object": func(v any) bool { _, ok := v.(map[string]any); return ok },
	"id":     func(v any) bool { s, ok := v.(string); return ok && jmap.ID(s).Valid() },
	"date": func(v any) bool {
		s, ok := v.(string)
		if !ok {
			return false
		}
		_, ok = jmap.ParseUTCDate(s)
		return ok
	},
}

func (v values) matchList(at string, want, got []any) error {
	open := len(want) > 0 && want[len(want)-1] == rest
	if open {
		want = want[:len(want)-1]
	}
	unordered := len(want) > 0 && want[0] == "*unordered"
	if unordered {
		want = want[1:]
	}
	if len(got) < len(want) || len(got) > len(want) && !open {
		return fmt.Errorf("%s: want %d items, got %d: %s", at, len(want), len(got), indent(got))
	}
	if unordered {
		return v.matchSet(at, want, got)
	}
	for i := range want {
		if err := v.match(at+"/"+strconv.Itoa(i), want[i], got[i]); err != nil {
			return err
		}
	}
	return nil
}

// matchSet finds for each pattern the first item that matches and is not taken.
func (v values) matchSet(at string, want, got []any) error {
	taken := make([]bool, len(got))
	for _, w := range want {
		found := false
		for i, g := range got {
			if taken[i] {
				continue
			}
			try := maps.Clone(v)
			if try.match(at, w, g) == nil {
				maps.Copy(v, try)
				taken[i], found = true, true
				break
			}
		}
		if !found {
			return fmt.Errorf("%s: no item is %s, of %s", at, indent(w), indent(got))
		}
	}
	return nil
}

func (v values) matchObject(at string, want, got map[string]any) error {
	named := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if name == rest {
			continue
		}
		pattern := want[name]
		name, err := v.fillName(name)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		named[name] = true
		value, ok := got[name]
		switch {
		case pattern == "*absent" && ok:
			return fmt.Errorf("%s/%s: is there: %s", at, name, indent(value))
		case pattern == "*absent":
		case !ok:
			return fmt.Errorf("%s/%s: is missing in %s", at, name, indent(got))
		default:
			if err := v.match(at+"/"+name, pattern, value); err != nil {
				return err
			}
		}
	}
	if _, open := want[rest]; open {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if !named[name] {
			return fmt.Errorf("%s/%s: is there, and not expected: %s", at, name, indent(got[name]))
		}
	}
	return nil
}
