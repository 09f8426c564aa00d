package queue

import (
	"errors"
	"math/rand/v2"
	"time"

	"postroad/internal/mailflow"
)

// Schedule says when things are tried again and given up. Zero fields get the defaults.
type Schedule struct {
	RetryFirst time.Duration // after the first failure of an item, doubled with each
	RetryMax   time.Duration
	Expire     time.Duration // from its arrival a mail is tried for so long
	Warn       time.Duration // then the sender is told that it is late; below 0: never
	// A next hop that cannot be reached is probed at these distances, by one item, while
	// all others for it wait.
	ProbeFirst time.Duration
	ProbeMax   time.Duration
	Jitter     float64 // share by which each pause is made longer or shorter at random
}

// Default distances. RFC 5321, 4.5.4.1: retries at least 30 minutes apart as a rule, two
// in the first hour; give up after four or five days.
const (
	RetryFirstDefault = 5 * time.Minute
	RetryMaxDefault   = 4 * time.Hour
	ExpireDefault     = 5 * 24 * time.Hour
	WarnDefault       = 4 * time.Hour
	ProbeFirstDefault = time.Minute
	ProbeMaxDefault   = 30 * time.Minute
	JitterDefault     = 0.2
)

func (s *Schedule) complete() error {
	setDefault(&s.RetryFirst, RetryFirstDefault)
	setDefault(&s.RetryMax, RetryMaxDefault)
	setDefault(&s.Expire, ExpireDefault)
	setDefault(&s.ProbeFirst, ProbeFirstDefault)
	setDefault(&s.ProbeMax, ProbeMaxDefault)
	if s.Warn == 0 {
		s.Warn = WarnDefault
	}
	if s.Jitter == 0 {
		s.Jitter = JitterDefault
	}
	if s.Jitter < 0 || s.Jitter >= 1 {
		return errors.New("queue: jitter is a share below 1")
	}
	return nil
}

// retry is the pause after the n-th failure in a row of an item.
func (s *Schedule) retry(n int) time.Duration { return s.jitter(double(s.RetryFirst, s.RetryMax, n)) }

// probe is the pause after the n-th failure in a row of a next hop.
func (s *Schedule) probe(n int) time.Duration { return s.jitter(double(s.ProbeFirst, s.ProbeMax, n)) }

func (s *Schedule) jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + s.Jitter*(2*rand.Float64()-1)))
}

// double is first, doubled n-1 times, at most max.
func double(first, max time.Duration, n int) time.Duration {
	for d := first; ; d *= 2 {
		if d >= max {
			return max
		}
		if n--; n <= 0 {
			return d
		}
	}
}

// times sets when a new item is due, late and given up.
func (s *Schedule) times(it *item, now time.Time) {
	begin := now
	if it.mail.HoldUntil.After(now) {
		begin = it.mail.HoldUntil
	}
	it.due = begin
	it.expires = begin.Add(s.Expire)
	if s.Warn > 0 {
		it.warnAt = begin.Add(s.Warn)
	}
	by := it.mail.DeliverBy
	switch {
	case by == nil:
	case by.Return:
		it.expires = earlier(it.expires, it.mail.Received.Add(by.Within))
	default: // RFC 2852, 4.1.4.1: tell of the delay and go on
		it.warnAt = it.mail.Received.Add(by.Within)
	}
}

// next is when an item that was not settled is due again: after the pause, but not later
// than it is to be reported on or given up.
func (s *Schedule) next(it *item, now time.Time) time.Time {
	at := now.Add(s.retry(it.attempts))
	if !it.warned && it.warnAt.After(now) {
		at = earlier(at, it.warnAt)
	}
	if it.expires.After(now) {
		at = earlier(at, it.expires)
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// byReturn tells whether the mail is to come back at its deadline, tried or not.
func byReturn(m *mailflow.Mail) bool { return m.DeliverBy != nil && m.DeliverBy.Return }
