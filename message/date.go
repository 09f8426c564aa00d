package message

import (
	"strings"
	"time"
)

// ParseDate reads a date-time of RFC 5322, 3.3, the obsolete forms of 4.3 and what
// programs write in their stead: missing or wrong day names, two-digit years, missing
// seconds or zone, zone names. ok is false when day, month, year or time are not there.
func ParseDate(s string) (t time.Time, ok bool) {
	const octetsMax = 200
	if len(s) > octetsMax {
		return time.Time{}, false
	}
	var words [10]string
	f := dateWords(words[:0], stripComments(s))
	if len(f) > 0 && !isDigit(f[0][0]) && month(f[0]) == 0 {
		f = f[1:] // day of the week
	}
	d, f, ok := dayMonthYear(f)
	if !ok || len(f) == 0 {
		return time.Time{}, false
	}
	clock, ok := parseClock(f[0])
	if !ok {
		return time.Time{}, false
	}
	zone := time.UTC
	if len(f) > 1 {
		if z, ok := parseZone(f[1]); ok {
			zone = z
		}
	}
	t = time.Date(d.year, time.Month(d.month), d.day, clock[0], clock[1], clock[2], 0, zone)
	return t, t.Day() == d.day || clock[2] == 60
}

// dateWords splits s at white space, commas, and before hyphens.
func dateWords(words []string, s string) []string {
	start := -1 // of the present word
	for i := 0; i <= len(s) && len(words) < cap(words); i++ {
		gap := i == len(s) || isWSP(s[i]) || s[i] == ','
		hyphen := !gap && s[i] == '-'
		if start >= 0 && (gap || hyphen) {
			words = append(words, s[start:i])
			start = -1
		}
		if start < 0 && !gap {
			start = i
		}
	}
	return words
}

type calendarDay struct{ year, month, day int }

// dayMonthYear reads "1 Nov 2026", "1-Nov-2026" (the hyphens now stand before the words)
// or "Nov 1 ... 2026" as ctime writes it.
func dayMonthYear(f []string) (d calendarDay, rest []string, ok bool) {
	if len(f) < 4 {
		return d, nil, false
	}
	word := func(i int) string { return strings.TrimPrefix(f[i], "-") }
	if d.month = month(f[0]); d.month != 0 { // Nov 1 10:00:00 2026, or with the zone before the year
		d.day, ok = number(f[1], 2)
		year, ok2 := number(f[len(f)-1], 4)
		d.year = year
		rest = f[2 : len(f)-1]
		return d, rest, ok && ok2 && d.day >= 1 && d.day <= 31 && len(f[len(f)-1]) == 4
	}
	day, ok1 := number(f[0], 2)
	d.day, d.month = day, month(word(1))
	year, ok2 := number(word(2), 4)
	switch len(word(2)) { // RFC 5322, 4.3
	case 2:
		if year < 50 {
			year += 2000
		} else {
			year += 1900
		}
	case 3:
		year += 1900
	}
	d.year = year
	return d, f[3:], ok1 && ok2 && d.month != 0 && d.day >= 1 && d.day <= 31
}

// month returns 1 to 12 for a month's English name or its first three letters, else 0.
func month(s string) int {
	const names = "janfebmaraprmayjunjulaugsepoctnovdec"
	if len(s) < 3 {
		return 0
	}
	if i := strings.Index(names, strings.ToLower(s[:3])); i >= 0 && i%3 == 0 {
		return i/3 + 1
	}
	return 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads up to most digits and nothing else.
func number(s string, most int) (int, bool) {
	if s == "" || len(s) > most {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// parseClock reads hours, minutes and seconds; some write dots for colons.
func parseClock(s string) (c [3]int, ok bool) {
	s = strings.ReplaceAll(s, ".", ":")
	for i := range c {
		var word string
		word, s, _ = strings.Cut(s, ":")
		if i == 2 && word == "" {
			break
		}
		if c[i], ok = number(word, 2); !ok {
			return c, false
		}
	}
	return c, s == "" && c[0] < 24 && c[1] < 60 && c[2] <= 60
}

// parseZone reads +hhmm or the zones of RFC 5322, 4.3. Military letters were defined the
// wrong way round in RFC 822 and mean nothing but UTC.
func parseZone(s string) (*time.Location, bool) {
	if len(s) == 5 && (s[0] == '+' || s[0] == '-') {
		n, ok := number(s[1:], 4)
		if !ok || n%100 >= 60 || n/100 >= 24 {
			return nil, false
		}
		seconds := (n/100*60 + n%100) * 60
		if s[0] == '-' {
			seconds = -seconds
		}
		return fixedZone(seconds), true
	}
	for _, z := range obsoleteZones {
		if strings.EqualFold(s, z.name) {
			return fixedZone(z.hours * 3600), true
		}
	}
	return time.UTC, true
}

var obsoleteZones = [...]struct {
	name  string
	hours int
}{{"EDT", -4}, {"EST", -5}, {"CDT", -5}, {"CST", -6}, {"MDT", -6}, {"MST", -7}, {"PDT", -7}, {"PST", -8},
	{"CET", 1}, {"CEST", 2}, {"MET", 1}, {"MEST", 2}, {"BST", 1}, {"JST", 9}}

// fixedZone returns a zone without a name, and UTC for zero.
func fixedZone(seconds int) *time.Location {
	if seconds == 0 {
		return time.UTC
	}
	return time.FixedZone("", seconds)
}

// FormatDate returns t as RFC 5322, 3.3, writes it.
func FormatDate(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") }
