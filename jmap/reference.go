package jmap

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// Limits of the result references of one request (RFC 8620, 3.7). A reference that names a
// response which itself was made by references can grow without end; these are the end.
const (
	referenceOctetsMax   = 16 << 20 // put into arguments
	referenceElementsMax = 100_000  // gathered by "*"
	referenceScanMax     = 64 << 20 // of responses looked through
	referencePathMax     = 1 << 10  // octets of a path
	referenceTokensMax   = 32       // of a path
)

// errReference is a reference that does not resolve, or to too much.
func errReference(format string, a ...any) error { return ErrInvalidResultReference.With(format, a...) }

// resolver resolves references to the responses of one request.
type resolver struct {
	responses []Invocation // so far
	octets    int
	elements  int
	scanned   int
}

// arguments returns a call's arguments with all references resolved (RFC 8620, 3.7).
func (r *resolver) arguments(raw json.RawMessage) (json.RawMessage, error) {
	if !bytes.ContainsRune(raw, '#') && !bytes.Contains(raw, []byte(`\u0023`)) {
		return raw, nil
	}
	type member struct {
		name  string
		value []byte
	}
	var list []member
	referenced := map[string]bool{}
	_, err := members(raw, func(name, value []byte) error {
		list = append(list, member{string(name), value})
		if len(name) > 0 && name[0] == '#' {
			referenced[string(name[1:])] = true
		}
		return nil
	})
	if err != nil || len(referenced) == 0 {
		return raw, err
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range list {
		if referenced[m.name] {
			return nil, InvalidArguments("%s: given, and by reference too", m.name)
		}
		if strings.HasPrefix(m.name, "#") {
			m.name = m.name[1:]
			if m.value, err = r.resolve(m.value); err != nil {
				return nil, err
			}
		}
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(m.value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// resolve returns the value that a ResultReference stands for.
func (r *resolver) resolve(raw []byte) ([]byte, error) {
	of, name, path, err := parseReference(raw)
	if err != nil {
		return nil, err
	}
	tokens, ok := pointer(path)
	if !ok {
		return nil, errReference("path: %.80q is no JSON pointer", path)
	}
	for _, response := range r.responses {
		if response.ID != of {
			continue
		}
		if response.Name != name {
			return nil, errReference("the response to %.80q is no %.80q", of, name)
		}
		value, err := r.apply(response.Args, tokens)
		var bad *SyntaxError
		if errors.As(err, &bad) {
			return nil, errReference("what it refers to is nested too deep")
		}
		if err != nil {
			return nil, err
		}
		return value, r.charge(len(value))
	}
	return nil, errReference("no call before this one has the id %.80q", of)
}

// parseReference reads a ResultReference.
func parseReference(raw []byte) (of, name, path string, err error) {
	found := 0
	object, err := members(raw, func(member, value []byte) error {
		var into *string
		switch string(member) {
		case "resultOf":
			into = &of
		case "name":
			into = &name
		case "path":
			into = &path
		default:
			return nil
		}
		var ok bool
		if *into, ok = text(value); ok {
			found++
		}
		return nil
	})
	if err == nil && (!object || found != 3) {
		err = errReference("a ResultReference has resultOf, name and path, all strings")
	}
	return of, name, path, err
}

// pointer reads a JSON pointer (RFC 6901, 3).
func pointer(path string) ([]string, bool) {
	if path == "" {
		return nil, true
	}
	if path[0] != '/' || len(path) > referencePathMax || strings.Count(path, "/") > referenceTokensMax {
		return nil, false
	}
	tokens := strings.Split(path[1:], "/")
	for i, t := range tokens {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(t), "~") {
			return nil, false
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens, true
}

// charge counts octets that are put into arguments.
func (r *resolver) charge(octets int) error {
	if r.octets += octets; r.octets > referenceOctetsMax {
		return errReference("the references of this request stand for more than %d octets", referenceOctetsMax)
	}
	return nil
}

// scan counts octets that are looked through.
func (r *resolver) scan(octets int) error {
	if r.scanned += octets; r.scanned > referenceScanMax {
		return errReference("the references of this request look through more than %d octets", referenceScanMax)
	}
	return nil
}

// errFound ends a search.
var errFound = errors.New("found")

// apply goes from a value along a path.
func (r *resolver) apply(raw []byte, tokens []string) ([]byte, error) {
	raw = bytes.TrimSpace(raw)
	if len(tokens) == 0 {
		return raw, nil
	}
	if err := r.scan(len(raw)); err != nil {
		return nil, err
	}
	token, rest := tokens[0], tokens[1:]
	var found []byte
	take := func(v []byte) error { found = v; return errFound }
	var err error
	switch {
	case len(raw) > 0 && raw[0] == '{':
		_, err = members(raw, func(name, value []byte) error {
			if string(name) == token {
				return take(value)
			}
			return nil
		})
	case len(raw) > 0 && raw[0] == '[' && token == "*":
		return r.all(raw, rest)
	case len(raw) > 0 && raw[0] == '[':
		n, e := strconv.ParseUint(token, 10, 31)
		if e != nil || token[0] == '+' || token[0] == '0' && len(token) > 1 {
			return nil, errReference("path: %.80q is no index", token)
		}
		_, err = items(raw, func(item []byte) error {
			if n == 0 {
				return take(item)
			}
			n--
			return nil
		})
	}
	if err != nil && !errors.Is(err, errFound) {
		return nil, err
	}
	if found == nil {
		return nil, errReference("path: there is no %.80q", token)
	}
	return r.apply(found, rest)
}

// all applies a path to every item of an array and returns the results in one array; those
// that are arrays are opened (RFC 8620, 3.7).
func (r *resolver) all(raw []byte, rest []string) ([]byte, error) {
	out := []byte{'['}
	add := func(v []byte) error {
		if r.elements++; r.elements > referenceElementsMax {
			return errReference("the references of this request gather more than %d elements", referenceElementsMax)
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		if out = append(out, v...); len(out) > referenceOctetsMax {
			return r.charge(len(out))
		}
		return nil
	}
	_, err := items(raw, func(item []byte) error {
		v, err := r.apply(item, rest)
		if err != nil {
			return err
		}
		list, err := items(v, add)
		if list || err != nil {
			return err
		}
		return add(v)
	})
	if err != nil {
		return nil, err
	}
	return append(out, ']'), nil
}
