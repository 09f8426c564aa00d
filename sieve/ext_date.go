package sieve

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"postroad/message"
)

// dateTest is date and currentdate (RFC 5260, 4 and 5).
type dateTest struct {
	scan     headerScan // without names for currentdate
	current  bool
	zone     *text
	original bool
	part     text
	match    *matcher
}

var zoneTags = []tagRule{{name: "zone", extension: extDate, value: kindString, group: "zone"}}

var originalZoneTags = append([]tagRule{{name: "originalzone", extension: extDate, group: "zone"}}, zoneTags...)

func compileDate(c *compiler, u *usage) test {
	t := &dateTest{scan: c.scan(u, u.args[0]), original: u.has("originalzone")}
	c.date(t, u, u.args[1], u.args[2])
	return t
}

func compileCurrentDate(c *compiler, u *usage) test {
	t := &dateTest{current: true}
	c.date(t, u, u.args[0], u.args[1])
	return t
}

func (c *compiler) date(t *dateTest, u *usage, part, keys *argument) {
	t.part, t.match = c.string(part), c.matcher(u, keys)
	if z := u.tag("zone"); z != nil {
		s := c.string(z.value)
		t.zone = &s
		if _, ok := parseZone(s.constant); s.isConstant() && !ok {
			c.fault(z.value.at.errorf("%q is no time zone such as \"+0100\"", s.constant))
		}
	}
	if _, ok := datePart(t.part.constant, time.Time{}); t.part.isConstant() && !ok {
		c.fault(part.at.errorf("%q is no part of a date", t.part.constant))
	}
}

func (t *dateTest) evaluate(r *run) (bool, error) {
	zone := r.now.Location()
	if t.zone != nil {
		s, err := t.zone.expand(r)
		if err != nil {
			return false, err
		}
		z, ok := parseZone(s)
		if !ok {
			return false, r.failf("%q is no time zone such as \"+0100\"", shown(s))
		}
		zone = z
	}
	part, err := t.part.expand(r)
	if err != nil {
		return false, err
	}
	if _, ok := datePart(part, time.Time{}); !ok {
		return false, r.failf("%q is no part of a date", shown(part))
	}
	if t.current {
		v, _ := datePart(part, r.now.In(zone))
		return t.match.any(r, []string{v})
	}
	return t.scan.any(r, t.match, func(_ *message.Part, f *field) ([]string, error) {
		if err := r.work(parseCost * len(f.Value)); err != nil {
			return nil, err
		}
		s := f.Unfolded()
		if i := strings.LastIndexByte(s, ';'); i >= 0 {
			s = s[i+1:] // of Received and the like (RFC 5260, 4)
		}
		d, ok := message.ParseDate(s)
		if !ok {
			return nil, nil
		}
		if !t.original {
			d = d.In(zone)
		}
		v, _ := datePart(part, d)
		return []string{v}, nil
	})
}

// parseZone reads a time zone (RFC 5260, 4: time-zone).
func parseZone(s string) (*time.Location, bool) {
	if len(s) != 5 || s[0] != '+' && s[0] != '-' {
		return nil, false
	}
	for i := 1; i < 5; i++ {
		if !isDigit(s[i]) {
			return nil, false
		}
	}
	hours, _ := strconv.Atoi(s[1:3])
	minutes, _ := strconv.Atoi(s[3:5])
	seconds := hours*3600 + minutes*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return time.FixedZone("", seconds), true
}

// mjdOfUnix is the Modified Julian Day of 1 January 1970.
const mjdOfUnix = 40587

// datePart returns a part of a date (RFC 5260, 4.2); names are of any case.
func datePart(name string, t time.Time) (string, bool) {
	switch strings.ToLower(name) {
	case "year":
		return fmt.Sprintf("%04d", t.Year()), true
	case "month":
		return fmt.Sprintf("%02d", t.Month()), true
	case "day":
		return fmt.Sprintf("%02d", t.Day()), true
	case "date":
		return t.Format("2006-01-02"), true
	case "julian":
		_, offset := t.Zone()
		return strconv.FormatInt(floorDiv(t.Unix()+int64(offset), 86400)+mjdOfUnix, 10), true
	case "hour":
		return fmt.Sprintf("%02d", t.Hour()), true
	case "minute":
		return fmt.Sprintf("%02d", t.Minute()), true
	case "second":
		return fmt.Sprintf("%02d", t.Second()), true
	case "time":
		return t.Format("15:04:05"), true
	case "iso8601":
		return t.Format("2006-01-02T15:04:05Z07:00"), true
	case "std11":
		return t.Format("Mon, 02 Jan 2006 15:04:05 -0700"), true
	case "zone":
		return t.Format("-0700"), true
	case "weekday":
		return strconv.Itoa(int(t.Weekday())), true
	}
	return "", false
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((b - 1 - a) / b)
	}
	return a / b
}
