package imapserver

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"postroad/imap"
)

// contextLine is what an ESEARCH response tells of a change.
var contextLine = regexp.MustCompile(`^\* ESEARCH \(TAG "(\w+)"\)( UID)? (ADDTO|REMOVEFROM) \((\d+) ([\d:,]+)\)$`)

// applyContext changes a client's list as RFC 5267, 4.3.3 and 4.3.4, says.
func applyContext(t *rapid.T, list []uint32, line string) []uint32 {
	m := contextLine.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("%q is no update", line)
	}
	position, err := strconv.Atoi(m[4])
	if err != nil {
		t.Fatal(err)
	}
	var numbers []uint32
	for _, part := range strings.Split(m[5], ",") {
		set, err := imap.ParseUIDSet(part)
		if err != nil {
			t.Fatal(err)
		}
		numbers = slices.AppendSeq(numbers, set.All())
	}
	switch {
	case m[3] == "ADDTO" && position == 0:
		list = append(list, numbers...)
		slices.Sort(list)
	case m[3] == "ADDTO":
		list = slices.Insert(list, position-1, numbers...)
	case position == 0:
		list = slices.DeleteFunc(list, func(n uint32) bool { return slices.Contains(numbers, n) })
	default:
		if got := list[position-1 : position-1+len(numbers)]; !slices.Equal(got, numbers) {
			t.Fatalf("%q takes out %v", line, got)
		}
		list = slices.Delete(list, position-1, position-1+len(numbers))
	}
	return list
}

// TestContextUpdates changes two results at random, one in mailbox order by UID and one
// sorted by sequence number, as a session would tell it. A client that applies what it is
// told has the same results in the end.
func TestContextUpdates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &Conn{contexts: []searchContext{{"plain", true}, {"sorted", false}}}
		w := &UpdateWriter{c: c}
		var plain, sorted []uint32 // UIDs; the sequence number of UID n is n+1000 here
		for range rapid.IntRange(0, 60).Draw(t, "changes") {
			uid := rapid.Uint32Range(1, 20).Draw(t, "uid")
			if rapid.Bool().Draw(t, "sorted") {
				if i := slices.Index(sorted, uid); i >= 0 {
					w.ContextRemove("sorted", uint32(i+1), uid+1000, uid)
					sorted = slices.Delete(sorted, i, i+1)
					continue
				}
				i := rapid.IntRange(0, len(sorted)).Draw(t, "place")
				sorted = slices.Insert(sorted, i, uid)
				w.ContextAdd("sorted", uint32(i+1), uid+1000, uid)
				continue
			}
			if i := slices.Index(plain, uid); i >= 0 {
				w.ContextRemove("plain", 0, uid+1000, uid)
				plain = slices.Delete(plain, i, i+1)
				continue
			}
			w.ContextAdd("plain", 0, uid+1000, uid)
			plain = append(plain, uid)
			w.ContextAdd("cancelled", 1, uid, uid) // is not told
		}
		w.flush()
		lists := map[string][]uint32{}
		for _, line := range strings.Split(strings.TrimSuffix(string(c.out), "\r\n"), "\r\n") {
			if line == "" {
				continue
			}
			tag, _, _ := strings.Cut(strings.TrimPrefix(line, `* ESEARCH (TAG "`), `"`)
			lists[tag] = applyContext(t, lists[tag], line)
			if strings.Contains(line, " UID ") != (tag == "plain") {
				t.Fatalf("%q: the wrong numbers", line)
			}
		}
		slices.Sort(plain)
		for i := range sorted {
			sorted[i] += 1000
		}
		if !slices.Equal(lists["plain"], plain) || !slices.Equal(lists["sorted"], sorted) {
			t.Fatalf("client has %v, want %v and %v; told:\n%s", lists, plain, sorted, c.out)
		}
	})
}
