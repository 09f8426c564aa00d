package email

import (
	"encoding/json"
	"strings"

	"postroad/internal/mailstore"
	"postroad/jmap"
)

// emailSort is the sort order of Email/query.
type emailSort struct {
	by       []comparator
	keywords bool // a message's keywords decide
	threads  bool // those of others of its thread, too
}

// comparator is one Comparator (RFC 8621, 4.4.2).
type comparator struct {
	property   string
	descending bool
	keyword    string
}

// sortKeys are the properties that messages can be sorted by (RFC 8621, 4.4.2).
var sortKeys = map[string]mailstore.SortBy{
	"receivedAt": mailstore.SortArrival, "size": mailstore.SortSize, "from": mailstore.SortDisplayFrom, "to": mailstore.SortDisplayTo,
	"subject": mailstore.SortSubject, "sentAt": mailstore.SortDate,
}

// Properties that have a keyword beside them.
const (
	sortKeyword    = "hasKeyword"
	sortThreadAll  = "allInThreadHaveKeyword"
	sortThreadSome = "someInThreadHaveKeyword"
)

// sortOptions are all of them, as the account's capability names them (RFC 8621, 1.3.1).
var sortOptions = []string{"receivedAt", "size", "from", "to", "subject", "sentAt", sortKeyword, sortThreadAll, sortThreadSome}

// collation is the one that texts are compared by (RFC 5051).
const collation = "i;unicode-casemap"

// checkCollation refuses a collation that texts are not compared by (RFC 8620, 5.5).
func checkCollation(c *jmap.Comparator) error {
	if c.Collation != "" && c.Collation != collation {
		return jmap.ErrUnsupportedSort.With("collation %q; %s is the one there is", c.Collation, collation)
	}
	return nil
}

// parseEmailSort reads the sort order of Email/query.
func parseEmailSort(given []jmap.Comparator) (*emailSort, error) {
	s := &emailSort{}
	for i := range given {
		c := comparator{property: given[i].Property, descending: given[i].Descending}
		_, plain := sortKeys[c.property]
		switch c.property {
		case sortKeyword, sortThreadAll, sortThreadSome:
			word, ok := readMember[string](given[i].Extra["keyword"])
			if !ok || !validKeyword(word) {
				return nil, jmap.InvalidArguments("sort: %s needs a keyword", c.property)
			}
			c.keyword = strings.ToLower(word)
			s.keywords, s.threads = true, s.threads || c.property != sortKeyword
		default:
			if !plain {
				return nil, jmap.ErrUnsupportedSort.With("%q is nothing that Emails are sorted by", c.property)
			}
			if c.property == "from" || c.property == "to" || c.property == "subject" {
				if err := checkCollation(&given[i]); err != nil {
					return nil, err
				}
			}
		}
		if err := checkExtra(given[i].Extra, c.keyword != ""); err != nil {
			return nil, err
		}
		s.by = append(s.by, c)
	}
	return s, nil
}

// checkExtra refuses members of a comparator that mean nothing.
func checkExtra(extra map[string]json.RawMessage, keyword bool) error {
	for name := range extra {
		if name != "keyword" || !keyword {
			return jmap.InvalidArguments("sort: %s: unknown", name)
		}
	}
	return nil
}

// received tells whether the order is that of arrival and nothing else, and whether it is
// the oldest first.
func (s *emailSort) received() (oldest, only bool) {
	switch {
	case len(s.by) == 0:
		return false, true
	case len(s.by) == 1 && s.by[0].property == "receivedAt":
		return !s.by[0].descending, true
	}
	return false, false
}

// orders makes the criteria for the messages of an Emails.
func (s *emailSort) orders(e *mailstore.Emails, few bool) []mailstore.EmailOrder {
	by := make([]mailstore.EmailOrder, len(s.by))
	for i, c := range s.by {
		by[i] = mailstore.EmailOrder{By: sortKeys[c.property], Reverse: c.descending}
		if c.keyword != "" {
			by[i].Value = c.value(e, few)
		}
	}
	return by
}

// value makes the value of a comparator with a keyword: false is before true (RFC 8620,
// 5.5).
func (c *comparator) value(e *mailstore.Emails, few bool) func(place int) uint64 {
	test := e.Keyword(c.keyword).Has
	if c.property != sortKeyword {
		count := threadCount(e, c.keyword, few)
		test = func(p int) bool {
			with, of := count(p)
			return with > 0 && (c.property == sortThreadSome || with == of)
		}
	}
	return func(p int) uint64 {
		if test(p) {
			return 1
		}
		return 0
	}
}
