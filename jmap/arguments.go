package jmap

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
)

// arguments are those of a call that nobody has taken yet.
type arguments map[string]json.RawMessage

// readArguments reads the object of arguments.
func readArguments(raw json.RawMessage) (arguments, error) {
	var a arguments
	if err := json.Unmarshal(raw, &a); err != nil || a == nil {
		return nil, InvalidArguments("the arguments are no object")
	}
	return a, nil
}

// take reads an argument that may be missing or null.
func (a arguments) take(name string, into any) error {
	raw := a[name]
	delete(a, name)
	if isNull(raw) {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return InvalidArguments("%s: of the wrong type", name)
	}
	return nil
}

// need reads an argument that must be there.
func (a arguments) need(name string, into any) error {
	if isNull(a[name]) {
		delete(a, name)
		return InvalidArguments("%s: missing", name)
	}
	return a.take(name, into)
}

// account reads the id of an account. One that cannot be is one that is not there.
func (a arguments) account(name string, into *ID) error {
	if err := a.need(name, into); err != nil {
		return err
	}
	if into.Valid() {
		return nil
	}
	if name == "fromAccountId" {
		return ErrFromAccountNotFound
	}
	return ErrAccountNotFound
}

// integer reads an Int (RFC 8620, 1.3).
func (a arguments) integer(name string, into *int) error {
	var f *float64
	if err := a.take(name, &f); err != nil || f == nil {
		return err
	}
	if *f != math.Trunc(*f) || math.Abs(*f) > MaxInt {
		return InvalidArguments("%s: no Int", name)
	}
	*into = int(*f)
	return nil
}

// unsigned reads an UnsignedInt (RFC 8620, 1.3).
func (a arguments) unsigned(name string, into *int) error {
	given, n := !isNull(a[name]), *into
	if err := a.integer(name, &n); err != nil {
		return err
	}
	if given && n < 0 {
		return InvalidArguments("%s: no UnsignedInt", name)
	}
	*into = n
	return nil
}

// positive reads an UnsignedInt above 0, as maxChanges is (RFC 8620, 5.2).
func (a arguments) positive(name string, into *int) error {
	given := !isNull(a[name])
	if err := a.unsigned(name, into); err != nil {
		return err
	}
	if given && *into == 0 {
		return InvalidArguments("%s: must be above 0", name)
	}
	return nil
}

// rest refuses what nobody took, but for the extra arguments that the type knows.
func (a arguments) rest(extra []string, into *Properties) error {
	for name := range a {
		if !slices.Contains(extra, name) {
			return InvalidArguments("%s: no argument of this method", name)
		}
	}
	*into = Properties(a)
	return nil
}

// ordered calls f for each member of an object in the order of the text.
func ordered(raw json.RawMessage, f func(name string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return InvalidArguments("no object")
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return InvalidArguments("no object")
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return InvalidArguments("no object")
		}
		if err := f(name, v); err != nil {
			return err
		}
	}
	return nil
}

// creations reads the argument create of /set and /copy.
func (a arguments) creations(name string, into *[]Creation) error {
	raw := a[name]
	delete(a, name)
	if isNull(raw) {
		return nil
	}
	return ordered(raw, func(id string, value json.RawMessage) error {
		c := Creation{ID: ID(id)}
		if !c.ID.Valid() {
			return InvalidArguments("%s: %q is no id", name, id)
		}
		if err := json.Unmarshal(value, &c.Object); err != nil || c.Object == nil {
			return InvalidArguments("%s: %s: no object", name, id)
		}
		*into = append(*into, c)
		return nil
	})
}

// updates reads the argument update of /set.
func (a arguments) updates(name string, into *[]Update) error {
	raw := a[name]
	delete(a, name)
	if isNull(raw) {
		return nil
	}
	return ordered(raw, func(id string, value json.RawMessage) error {
		u := Update{ID: ID(id)}
		if err := json.Unmarshal(value, &u.Patch); err != nil || u.Patch == nil {
			return InvalidArguments("%s: %s: no object", name, id)
		}
		*into = append(*into, u)
		return nil
	})
}

// filter reads a filter (RFC 8620, 5.5).
func (a arguments) filter(name string, into **Filter) error {
	raw := a[name]
	delete(a, name)
	if isNull(raw) {
		return nil
	}
	left := FilterConditionsMax
	f, err := parseFilter(raw, FilterDepthMax, &left)
	*into = f
	return err
}

// parseFilter reads a FilterOperator or a FilterCondition.
func parseFilter(raw json.RawMessage, depth int, left *int) (*Filter, error) {
	*left--
	if depth == 0 || *left < 0 {
		return nil, ErrUnsupportedFilter.With("the filter is nested more than %d deep, or has more than %d conditions", FilterDepthMax, FilterConditionsMax)
	}
	var members Properties
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, InvalidArguments("filter: no object")
	}
	operator, ok := members["operator"]
	if !ok {
		return &Filter{Condition: members}, nil
	}
	f := new(Filter)
	var parts []json.RawMessage
	if json.Unmarshal(operator, &f.Operator) != nil || !slices.Contains([]string{"AND", "OR", "NOT"}, f.Operator) {
		return nil, InvalidArguments("filter: operator: not AND, OR or NOT")
	}
	if isNull(members["conditions"]) || json.Unmarshal(members["conditions"], &parts) != nil {
		return nil, InvalidArguments("filter: conditions: no list")
	}
	for name := range members {
		if name != "operator" && name != "conditions" {
			return nil, InvalidArguments("filter: %s: unknown", name)
		}
	}
	for _, part := range parts {
		c, err := parseFilter(part, depth-1, left)
		if err != nil {
			return nil, err
		}
		f.Conditions = append(f.Conditions, c)
	}
	return f, nil
}

// sort reads a list of comparators (RFC 8620, 5.5).
func (a arguments) sort(name string, into *[]Comparator) error {
	var list []Properties
	if err := a.take(name, &list); err != nil {
		return err
	}
	if len(list) > SortMax {
		return ErrUnsupportedSort.With("more than %d comparators", SortMax)
	}
	for _, given := range list {
		in := arguments(given)
		c, ascending := Comparator{}, true
		if in == nil {
			return InvalidArguments("%s: no object", name)
		}
		if err := in.need("property", &c.Property); err != nil {
			return err
		}
		if err := in.take("isAscending", &ascending); err != nil {
			return err
		}
		if err := in.take("collation", &c.Collation); err != nil {
			return err
		}
		c.Descending, c.Extra = !ascending, Properties(in)
		*into = append(*into, c)
	}
	return nil
}
