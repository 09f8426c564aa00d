package kv

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func TestPrefix(t *testing.T) {
	for _, c := range []struct{ prefix, to string }{
		{"", ""}, {"a", "b"}, {"a\xff", "b"}, {"a\xff\xff", "b"}, {"\xff", ""}, {"\xff\xff", ""}, {"a\x00", "a\x01"},
	} {
		p := []byte(c.prefix)
		r := Prefix(p)
		if string(r.From) != c.prefix || string(r.To) != c.to {
			t.Errorf("prefix %q: from %q to %q, want to %q", c.prefix, r.From, r.To, c.to)
		}
		if !bytes.Equal(p, []byte(c.prefix)) {
			t.Errorf("prefix %q was changed", c.prefix)
		}
	}
}

func TestAddApply(t *testing.T) {
	for _, c := range []struct {
		add         Add
		value, want int64
		ok          bool
	}{
		{Add{N: 1}, math.MaxInt64 - 1, math.MaxInt64, true},
		{Add{N: 1}, math.MaxInt64, math.MaxInt64, false},
		{Add{N: math.MaxInt64}, -1, math.MaxInt64 - 1, true},
		{Add{N: 3, Limit: 5}, 2, 5, true},
		{Add{N: 3, Limit: 5}, 3, 3, false},
		{Add{N: -1, Limit: 5}, 100, 99, true},
		{Add{N: 0, Limit: 5}, 100, 100, true},
		{Add{N: -1}, math.MinInt64, math.MinInt64, true},
		{Add{N: math.MinInt64}, 5, math.MinInt64 + 5, true},
		{Add{N: math.MinInt64}, -5, math.MinInt64, true},
	} {
		if got, ok := c.add.Apply(c.value); got != c.want || ok != c.ok {
			t.Errorf("%+v to %d: %d, %v, want %d, %v", c.add, c.value, got, ok, c.want, c.ok)
		}
	}
}

func TestErrorsAreTheirKind(t *testing.T) {
	if err := error(&ConflictError{}); !errors.Is(err, ErrConflict) || errors.Is(err, ErrLimit) {
		t.Errorf("%v is no conflict", err)
	}
	if err := error(&LimitError{}); !errors.Is(err, ErrLimit) || errors.Is(err, ErrConflict) {
		t.Errorf("%v is no limit", err)
	}
}
