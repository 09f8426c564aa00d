package jmap

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// ApplyPatch returns an object with a PatchObject (RFC 8620, 5.3) applied; the object stays
// as it is. A null takes a property away, which stands for its default. The error names the
// first path that is wrong: invalidPatch.
func ApplyPatch(object, patch Properties) (Properties, *SetError) {
	paths := slices.Sorted(maps.Keys(patch))
	for _, path := range paths {
		for i := range len(path) {
			if _, both := patch[path[:i]]; both && path[i] == '/' {
				return nil, NewSetError(SetInvalidPatch, "%q and %q: one is within the other", path[:i], path)
			}
		}
	}
	out := maps.Clone(object)
	if out == nil {
		out = Properties{}
	}
	for _, path := range paths {
		top, rest, deep := strings.Cut(path, "/")
		name := unescapePointer(top)
		if !deep {
			if isNull(patch[path]) {
				delete(out, name)
			} else {
				out[name] = patch[path]
			}
			continue
		}
		value, err := patchWithin(out[name], strings.Split(rest, "/"), patch[path])
		if err != nil {
			err.Description = path + ": " + err.Description
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

// patchWithin puts a value at a path below a property.
func patchWithin(raw json.RawMessage, path []string, value json.RawMessage) (json.RawMessage, *SetError) {
	var members Properties
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return nil, NewSetError(SetInvalidPatch, "there is no object to change")
	}
	name := unescapePointer(path[0])
	switch {
	case len(path) > 1:
		inner, err := patchWithin(members[name], path[1:], value)
		if err != nil {
			return nil, err
		}
		members[name] = inner
	case isNull(value):
		delete(members, name)
	default:
		members[name] = value
	}
	out, err := json.Marshal(members)
	if err != nil {
		return nil, NewSetError(SetInvalidPatch, "no JSON")
	}
	return out, nil
}

// unescapePointer reads one token of a JSON pointer (RFC 6901, 4).
func unescapePointer(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
}
