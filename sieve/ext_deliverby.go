package sieve

import (
	"strconv"
	"strings"
	"time"
)

// value returns a part of the envelope for envelope-deliverby (RFC 6009, 5).
func (d *DeliverBy) value(name string, now time.Time, zone *time.Location) string {
	switch name {
	case "bytimeabsolute":
		return d.By.In(zone).Format(time.RFC3339)
	case "bytimerelative":
		return strconv.FormatInt(int64(d.By.Sub(now)/time.Second), 10)
	case "bymode":
		if d.Return {
			return "return"
		}
		return "notify"
	}
	if d.Trace { // bytrace
		return "trace"
	}
	return ""
}

// sending are the arguments of redirect-dsn and redirect-deliverby (RFC 6009, 6 and 7).
type sending struct {
	notify, ret *text
	relative    *uint64
	absolute    *text
	mode        *text
	trace       bool
}

var sendingTags = []tagRule{
	{name: "notify", extension: extRedirectDSN, value: kindString},
	{name: "ret", extension: extRedirectDSN, value: kindString},
	{name: "bytimerelative", extension: extRedirectDeliverBy, value: kindNumber, group: "bytime"},
	{name: "bytimeabsolute", extension: extRedirectDeliverBy, value: kindString, group: "bytime"},
	{name: "bymode", extension: extRedirectDeliverBy, value: kindString},
	{name: "bytrace", extension: extRedirectDeliverBy},
}

// byTimeMax bounds by-time, nine digits (RFC 2852, 4).
const byTimeMax = 999_999_999

func (c *compiler) sending(u *usage) sending {
	s := sending{trace: u.has("bytrace")}
	for _, t := range u.tags {
		if t.value == nil {
			continue
		}
		if t.rule.name == "bytimerelative" {
			if t.value.number > byTimeMax {
				c.fault(t.value.at.errorf(":bytimerelative goes up to %d seconds", byTimeMax))
			}
			s.relative = &t.value.number
			continue
		}
		var check func(string) string
		var to **text
		switch t.rule.name {
		case "notify":
			to, check = &s.notify, notifyFault
		case "ret":
			to, check = &s.ret, returnFault
		case "bytimeabsolute":
			to, check = &s.absolute, timeFault
		case "bymode":
			to, check = &s.mode, modeFault
		default:
			continue
		}
		v := c.string(t.value)
		*to = &v
		if fault := check(v.constant); v.isConstant() && fault != "" {
			c.fault(t.value.at.errorf("%s", fault))
		}
	}
	if (s.mode != nil || s.trace) && s.relative == nil && s.absolute == nil {
		c.fault(u.node.at.errorf("\":bymode\" and \":bytrace\" need \":bytimerelative\" or \":bytimeabsolute\""))
	}
	return s
}

// The faults of the values, empty for none.

func notifyFault(s string) string {
	if strings.EqualFold(s, "NEVER") {
		return ""
	}
	for word := range strings.SplitSeq(s, ",") {
		switch strings.ToUpper(word) {
		case "SUCCESS", "FAILURE", "DELAY":
		default:
			return ":notify takes \"NEVER\" or a list of \"SUCCESS\", \"FAILURE\" and \"DELAY\" with commas"
		}
	}
	return ""
}

func returnFault(s string) string {
	if strings.EqualFold(s, "FULL") || strings.EqualFold(s, "HDRS") {
		return ""
	}
	return ":ret takes \"FULL\" or \"HDRS\""
}

// parseByTime reads a time of RFC 3339, also with the zone as the test currentdate gives it,
// from which RFC 6009, 7.2, makes one.
func parseByTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Parse("2006-01-02T15:04:05Z0700", s)
	}
	return t, nil
}

func timeFault(s string) string {
	if _, err := parseByTime(s); err == nil {
		return ""
	}
	return ":bytimeabsolute takes a time such as \"2027-01-31T12:00:00Z\""
}

func modeFault(s string) string {
	if strings.EqualFold(s, "notify") || strings.EqualFold(s, "return") {
		return ""
	}
	return ":bymode takes \"notify\" or \"return\""
}

// checked expands a value and checks it; empty when it is not given.
func checked(r *run, t *text, fault func(string) string) (string, error) {
	if t == nil {
		return "", nil
	}
	s, err := t.expand(r)
	if err != nil {
		return "", err
	}
	if f := fault(s); f != "" {
		return "", r.failf("%s", f)
	}
	return s, nil
}

// in puts the values into an action.
func (s *sending) in(r *run, a *Redirect) error {
	notify, err := checked(r, s.notify, notifyFault)
	if err != nil {
		return err
	}
	ret, err := checked(r, s.ret, returnFault)
	if err != nil {
		return err
	}
	absolute, err := checked(r, s.absolute, timeFault)
	if err != nil {
		return err
	}
	mode, err := checked(r, s.mode, modeFault)
	if err != nil {
		return err
	}
	a.Notify, a.Return = strings.ToUpper(notify), strings.ToUpper(ret)
	if s.relative != nil || s.absolute != nil {
		a.DeliverBy = &DeliverBy{Return: !strings.EqualFold(mode, "notify"), Trace: s.trace}
		if s.relative != nil {
			a.DeliverBy.By = r.now.Add(time.Duration(*s.relative) * time.Second)
		} else {
			a.DeliverBy.By, _ = parseByTime(absolute)
		}
	}
	given := s.notify != nil || s.ret != nil || a.DeliverBy != nil
	a.FromOwner = given && !r.in.Envelope.ReturnPath.IsNull() || r.in.Event != nil
	return nil
}
