package imap

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestUIDSetModel compares a UIDSet with a map of its numbers.
func TestUIDSetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s UIDSet
		model := map[uint32]bool{}
		near := rapid.Uint32Range(1, 60)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			first := near.Draw(t, "first")
			last := first + rapid.Uint32Range(0, 5).Draw(t, "more")
			s.AddRange(first, last)
			for n := first; n <= last; n++ {
				model[n] = true
			}
			checkNormal(t, s)
		}
		var want []uint32
		for n := range model {
			want = append(want, n)
		}
		slices.Sort(want)
		if got := slices.Collect(s.All()); !slices.Equal(got, want) {
			t.Fatalf("All: %v, want %v", got, want)
		}
		if s.Count() != uint64(len(want)) {
			t.Fatalf("Count: %d, want %d", s.Count(), len(want))
		}
		for n := uint32(0); n < 70; n++ {
			if s.Contains(n) != model[n] {
				t.Fatalf("Contains(%d): %v", n, s.Contains(n))
			}
		}
		if len(s) == 0 {
			return
		}
		back, err := ParseUIDSet(s.String())
		if err != nil || !slices.Equal(back, s) {
			t.Fatalf("parsed %v, %v, want %v", back, err, s)
		}
		var other UIDSet
		other.AddRange(near.Draw(t, "other"), 65)
		for n := range s.Intersect(other).All() {
			if !s.Contains(n) || !other.Contains(n) {
				t.Fatalf("Intersect has %d", n)
			}
		}
		if got, want := s.Intersect(other).Count(), uint64(0); got == want && other.Contains(s.Max()) {
			t.Fatal("Intersect lost the largest number")
		}
	})
}

func checkNormal(t interface{ Fatalf(string, ...any) }, s UIDSet) {
	for i, r := range s {
		if r.First == 0 || r.Last < r.First || i > 0 && s[i-1].Last+1 >= r.First {
			t.Fatalf("not in normal form: %v", s)
		}
	}
}

func TestUIDSetEnds(t *testing.T) {
	const most = ^uint32(0)
	var s UIDSet
	s.Add(most)
	s.Add(most - 1)
	s.AddRange(1, 2)
	s.AddRange(3, most-5)
	if got := s.String(); got != "1:4294967290,4294967294:4294967295" {
		t.Error(got)
	}
	s.AddRange(1, most)
	if got := s.String(); got != "1:4294967295" {
		t.Error(got)
	}
	n := 0
	for range (UIDSet{{most - 1, most}}).All() {
		n++
	}
	if n != 2 {
		t.Errorf("All at the end of the numbers: %d", n)
	}
	s = nil
	s.Add(0)
	s.AddRange(5, 4)
	if s != nil {
		t.Errorf("%v", s)
	}
}

func TestNumSet(t *testing.T) {
	for _, test := range []struct {
		text    string
		largest uint32
		want    string
	}{
		{"2,4:7,9,12:*", 15, "2,4:7,9,12:15"}, // RFC 9051, 9, sequence-set
		{"*:4,5:7", 10, "4:10"},
		{"3291:*", 7, "7:3291"}, // the largest, even if it is less
		{"4:2", 9, "2:4"},
		{"*", 3, "3"},
		{"*", 0, ""},
		{"1:*", 0, ""},
		{"5,3,4,1", 9, "1,3:5"},
		{"4294967295", 1, "4294967295"},
	} {
		d := NewDecoder([]byte(test.text))
		s := d.NumSet(false)
		d.End()
		if d.Err() != nil {
			t.Errorf("%s: %v", test.text, d.Err())
			continue
		}
		if got := s.Resolve(test.largest).String(); got != test.want {
			t.Errorf("%s of %d: %s, want %s", test.text, test.largest, got, test.want)
		}
		if s.String() != test.text {
			t.Errorf("printed %s, want %s", s, test.text)
		}
	}
	for _, bad := range []string{"", "0", "1,", ",1", "1:", ":1", "1::2", "a", "4294967296", "1 2", "$1", "-1", "1,$"} {
		d := NewDecoder([]byte(bad))
		d.NumSet(true)
		d.End()
		if d.OK() {
			t.Errorf("%q was taken for a set", bad)
		}
	}
	for _, bad := range []string{"*", "1:*", "$"} {
		if _, err := ParseUIDSet(bad); err == nil {
			t.Errorf("%q was taken for a set of UIDs", bad)
		}
	}
}

// FuzzSet reads and writes sets: what is printed reads as the same numbers.
func FuzzSet(f *testing.F) {
	for _, s := range []string{"1:*", "2,4:7,9,12:*", "*", "$", "1,2,3", "4294967295:1", "3:1,2:9"} {
		f.Add(s, uint32(10))
	}
	f.Fuzz(func(t *testing.T, text string, largest uint32) {
		d := NewDecoder([]byte(text))
		s := d.NumSet(true)
		d.End()
		if !d.OK() {
			return
		}
		set := s.Resolve(largest)
		checkNormal(t, set)
		again := NewDecoder([]byte(s.String()))
		if got := again.NumSet(true).Resolve(largest); !again.OK() || !slices.Equal(got, set) {
			t.Fatalf("%q printed %q", text, s)
		}
		if len(set) > 0 {
			if back, err := ParseUIDSet(set.String()); err != nil || !slices.Equal(back, set) {
				t.Fatalf("%v read back as %v, %v", set, back, err)
			}
		}
	})
}
