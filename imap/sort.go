package imap

import (
	"strconv"
	"strings"
)

// SortKeysMax bounds the keys of one SORT. There are ten different ones (RFC 5256, 5957,
// 6203); a key that is named again changes nothing.
const SortKeysMax = 20

// SortBy is what messages are put in order by.
type SortBy uint8

// The sort keys. Ties are broken by the order in the mailbox, whatever the keys (RFC 5256,
// 3). Texts are compared by i;unicode-casemap (RFC 5051).
const (
	SortArrival     SortBy = iota // internal date and time
	SortCc                        // addr-mailbox of the first address of Cc
	SortDate                      // Date field in UTC, else the internal date (RFC 5256, 2.2)
	SortFrom                      // addr-mailbox of the first address of From
	SortSize                      // octets
	SortSubject                   // base subject (RFC 5256, 2.1)
	SortTo                        // addr-mailbox of the first address of To
	SortDisplayFrom               // display value of the first address of From (RFC 5957, 3)
	SortDisplayTo                 // likewise of To
	SortRelevancy                 // highest score first (RFC 6203, 6); needs a FUZZY search key
)

// sortNames has the words in the order of the constants.
var sortNames = [...]string{"ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO",
	"DISPLAYFROM", "DISPLAYTO", "RELEVANCY"}

// String returns the key's word.
func (b SortBy) String() string {
	if int(b) < len(sortNames) {
		return sortNames[b]
	}
	return ""
}

// SortKey is one criterion of a SORT. Reverse turns the order of this key alone, not that
// of messages which are equal by all keys (RFC 5256, 3).
type SortKey struct {
	By      SortBy
	Reverse bool
}

// SortKeys reads the sort criteria, in parentheses (sort-criteria of RFC 5256, 5).
func (d *Decoder) SortKeys() []SortKey {
	var keys []SortKey
	d.List(func() {
		at := d.pos
		k := SortKey{}
		word := d.Keyword()
		if word == "REVERSE" {
			k.Reverse = true
			d.SP()
			at = d.pos
			word = d.Keyword()
		}
		known := false
		for i, n := range sortNames {
			if n == word {
				k.By, known = SortBy(i), true
			}
		}
		if !known && d.err == nil {
			d.err = &SyntaxError{at, "unknown sort key"}
		}
		if keys = append(keys, k); len(keys) > SortKeysMax {
			d.Fail("too many sort keys")
		}
	})
	if len(keys) == 0 {
		d.Fail("expected a sort key")
	}
	return keys
}

// FormatSortKeys returns the keys as the wire has them, in parentheses.
func FormatSortKeys(keys []SortKey) string {
	words := make([]string, 0, 2*len(keys))
	for _, k := range keys {
		if k.Reverse {
			words = append(words, "REVERSE")
		}
		words = append(words, k.By.String())
	}
	return "(" + strings.Join(words, " ") + ")"
}

// AppendOrdered appends numbers in their order as a sequence set. Only numbers that follow
// one another upwards become a range (RFC 5267, 3.2). Of no numbers it appends nothing.
func AppendOrdered(dst []byte, numbers []uint32) []byte {
	for i := 0; i < len(numbers); {
		j := i + 1
		for j < len(numbers) && numbers[j] == numbers[j-1]+1 {
			j++
		}
		dst = appendRanges(dst, []Range{{numbers[i], numbers[j-1]}})
		if i = j; i < len(numbers) {
			dst = append(dst, ',')
		}
	}
	return dst
}

// Window is a part of an ordered search result: the places First to Last, both included,
// in either order. Counting begins with 1, or with -1 from the end (RFC 9394, 3.1; RFC
// 5267, 4.4). Both have one sign and neither is 0. The zero Window is none.
type Window struct{ First, Last int64 }

// IsZero tells whether there is no part to choose.
func (w Window) IsZero() bool { return w == Window{} }

// Cut returns the half-open interval of places, counted from 0, that w is of n results;
// from equals to when there are none.
func (w Window) Cut(n uint64) (from, to uint64) {
	first, last := min(w.First, w.Last), max(w.First, w.Last)
	if first < 0 {
		// -1 is the place n-1.
		first, last = int64(n)+first+1, int64(n)+last+1
		first = max(first, 1)
	}
	last = min(last, int64(n))
	if last < first {
		return 0, 0
	}
	return uint64(first - 1), uint64(last)
}

// String returns the window as the wire has it: "1:500", "-1:-100".
func (w Window) String() string {
	return strconv.FormatInt(w.First, 10) + ":" + strconv.FormatInt(w.Last, 10)
}

// Window reads a range of places (partial-range of RFC 9394, 4).
func (d *Decoder) Window() Window {
	w := Window{First: d.place()}
	d.Expect(':')
	w.Last = d.place()
	if d.err == nil && w.First < 0 != (w.Last < 0) {
		d.Fail("both ends of a range count from one end")
	}
	if d.err != nil {
		return Window{}
	}
	return w
}

func (d *Decoder) place() int64 {
	if d.Skip('-') {
		return -int64(d.NonZero())
	}
	return int64(d.NonZero())
}

// CutSet returns the part of a set in ascending order.
func (w Window) CutSet(s UIDSet) UIDSet {
	from, to := w.Cut(s.Count())
	var out UIDSet
	at := uint64(0) // place of the range's first number
	for _, r := range s {
		n := uint64(r.Last-r.First) + 1
		if lo, hi := max(from, at), min(to, at+n); lo < hi {
			out = append(out, Range{r.First + uint32(lo-at), r.First + uint32(hi-at) - 1})
		}
		if at += n; at >= to {
			break
		}
	}
	return out
}
