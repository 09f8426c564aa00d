package email

import (
	"fmt"
	"testing"

	"postroad/internal/mailstore"
)

// TestResults holds what is kept to its bounds.
func TestResults(t *testing.T) {
	r := newResults(10_000)
	of := owner{1, 1}
	for i := range 40 {
		r.put(of, fmt.Sprint("query ", i), &result{list: make([]uint32, 200)})
	}
	if r.bytes > 10_000 || len(r.list) == 0 || r.get(of, "query 39") == nil || r.get(of, "query 0") != nil {
		t.Errorf("%d octets in %d results", r.bytes, len(r.list))
	}
	if r.get(owner{1, 2}, "query 39") != nil {
		t.Error("a result of somebody else")
	}
	r.put(of, "query 39", &result{})
	if n := len(r.list); n > 8 || r.get(of, "query 39").list != nil {
		t.Errorf("%d results, a new one beside the old", n)
	}
	r.get(of, "query 38") // used, so that it stays longest
	r.put(of, "large", &result{list: make([]uint32, 2000)})
	if r.get(of, "query 38") == nil || r.get(of, "query 35") != nil {
		t.Error("what was used last goes first")
	}
	for i := range 3 * heldMax {
		r.hold(owner{mailstore.AccountID(i%50 + 1), 1}, fmt.Sprint(i), &mailstore.Emails{})
	}
	counts := map[owner]int{}
	for _, h := range r.held {
		counts[h.of]++
	}
	if len(r.held) > heldMax || counts[of] > heldOfOne {
		t.Errorf("%d moments, %d of one", len(r.held), counts[of])
	}
	last := 3*heldMax - 1
	if of := (owner{mailstore.AccountID(last%50 + 1), 1}); r.at(of, fmt.Sprint(last)) == nil || r.at(of, "0") != nil {
		t.Error("the newest moment is not there, or the oldest is")
	}
}
