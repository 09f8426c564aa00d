package contacts

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"golang.org/x/text/collate"
	"golang.org/x/text/language"

	"postroad/internal/kv/hlc"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// queryMost is how many ids one answer has.
const queryMost = 10_000

// cardQuery answers ContactCard/query.
func (m *Methods) cardQuery(ctx context.Context, c *jmap.Call, args *jmap.QueryArgs) (*jmap.QueryResult, error) {
	t, err := m.table(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	all, err := t.query(args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	return args.Window(all, t.state(), queryMost)
}

// cardQueryChanges answers ContactCard/queryChanges.
func (m *Methods) cardQueryChanges(ctx context.Context, c *jmap.Call, args *jmap.QueryChangesArgs) (*jmap.QueryChangesResult, error) {
	t, err := m.table(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	now, err := t.query(args.Filter, args.Sort)
	if err != nil {
		return nil, err
	}
	ch, _, err := m.changesSince(ctx, t, args.SinceQueryState, 0)
	if err != nil {
		return nil, err
	}
	changed := append(ids(cardID, ch.Created, nil), ids(cardID, ch.Updated, nil)...)
	return args.Difference(changed, ids(cardID, ch.Destroyed, nil), now, t.state())
}

// query is the whole result of a query.
func (t *table) query(f *jmap.Filter, by []jmap.Comparator) ([]jmap.ID, error) {
	matches, err := compile(f)
	if err != nil {
		return nil, err
	}
	var found []*card
	for _, c := range t.deck.all {
		if t.shelf.sees(c) && matches(t.shelf, c) {
			found = append(found, c)
		}
	}
	if err := sortCards(found, by); err != nil {
		return nil, err
	}
	out := make([]jmap.ID, len(found))
	for i, c := range found {
		out[i] = access.FormatID(cardID, c.id)
	}
	return out, nil
}

// match tells whether a card meets a filter; the shelf is the user's.
type match func(s *shelf, c *card) bool

// compile reads a filter (RFC 9610, 3.3.1).
func compile(f *jmap.Filter) (match, error) {
	if f == nil {
		return func(*shelf, *card) bool { return true }, nil
	}
	var parts []match
	if f.Operator == "" {
		for name, raw := range f.Condition {
			part, err := condition(name, raw)
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
		}
		return every(parts), nil
	}
	for _, one := range f.Conditions {
		part, err := compile(one)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	switch f.Operator {
	case "AND":
		return every(parts), nil
	case "OR":
		return some(parts), nil
	}
	any := some(parts)
	return func(s *shelf, c *card) bool { return !any(s, c) }, nil // NOT: none of them
}

func every(parts []match) match {
	return func(s *shelf, c *card) bool {
		return !slices.ContainsFunc(parts, func(p match) bool { return !p(s, c) })
	}
}

func some(parts []match) match {
	return func(s *shelf, c *card) bool {
		return slices.ContainsFunc(parts, func(p match) bool { return p(s, c) })
	}
}

// condition reads one property of a FilterCondition.
func condition(name string, raw json.RawMessage) (match, error) {
	var value string
	if json.Unmarshal(raw, &value) != nil {
		return nil, jmap.InvalidArguments("filter: %s: no String", name)
	}
	switch name {
	case "inAddressBook":
		return func(s *shelf, c *card) bool {
			b := s.find(jmap.ID(value))
			return b != nil && slices.Contains(c.books, b.object.ID)
		}, nil
	case "uid", "kind":
		return func(_ *shelf, c *card) bool { return stringOf(c.value[name]) == value }, nil
	case "hasMember":
		return func(_ *shelf, c *card) bool {
			var members map[string]bool
			return json.Unmarshal(c.value["members"], &members) == nil && members[value]
		}, nil
	case "createdBefore", "createdAfter", "updatedBefore", "updatedAfter":
		return dateCondition(name, value)
	}
	read, ok := texts[name]
	if !ok {
		return nil, jmap.ErrUnsupportedFilter.With("%s: no property of a filter for contact cards", name)
	}
	wanted := parseNeedle(value)
	return func(_ *shelf, c *card) bool { return wanted.in(read(c)) }, nil
}

// dateCondition compares created or updated with a date.
func dateCondition(name, value string) (match, error) {
	at, ok := jmap.ParseUTCDate(value)
	if !ok {
		return nil, jmap.InvalidArguments("filter: %s: no UTCDate", name)
	}
	property, before := strings.CutSuffix(name, "Before")
	property = strings.TrimSuffix(property, "After")
	return func(_ *shelf, c *card) bool {
		t := timeOf(c.value[property])
		return !t.IsZero() && t.Before(at) == before
	}, nil
}

// stringOf is a String property, empty where it is none.
func stringOf(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// sortCards sorts by the comparators, and at last by id.
func sortCards(list []*card, by []jmap.Comparator) error {
	less := make([]func(a, b *card) int, 0, len(by)+1)
	for _, c := range by {
		f, err := comparator(c)
		if err != nil {
			return err
		}
		if c.Descending {
			up := f
			f = func(a, b *card) int { return up(b, a) }
		}
		less = append(less, f)
	}
	less = append(less, func(a, b *card) int { return compareIDs(a.id, b.id) })
	slices.SortFunc(list, func(a, b *card) int {
		for _, f := range less {
			if d := f(a, b); d != 0 {
				return d
			}
		}
		return 0
	})
	return nil
}

func compareIDs(a, b hlc.ID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// comparator reads one property of a sort order (RFC 9610, 3.3.2).
func comparator(c jmap.Comparator) (func(a, b *card) int, error) {
	if c.Collation != "" && c.Collation != "i;unicode-casemap" {
		return nil, jmap.ErrUnsupportedSort.With("collation %s", c.Collation)
	}
	switch c.Property {
	case "created", "updated":
		return func(a, b *card) int { return timeOf(a.value[c.Property]).Compare(timeOf(b.value[c.Property])) }, nil
	case "name/given", "name/surname", "name/surname2":
		kind := strings.TrimPrefix(c.Property, "name/")
		order, keys := collate.New(language.Und, collate.IgnoreCase), map[hlc.ID][]byte{}
		var buffer collate.Buffer
		key := func(c *card) []byte {
			if k, ok := keys[c.id]; ok {
				return k
			}
			first := ""
			if values := nameComponents(c, kind); len(values) > 0 {
				first = values[0]
			}
			buffer.Reset()
			k := slices.Clone(order.KeyFromString(&buffer, first))
			keys[c.id] = k
			return k
		}
		return func(a, b *card) int { return slices.Compare(key(a), key(b)) }, nil
	}
	return nil, jmap.ErrUnsupportedSort.With("%s: no property to sort contact cards by", c.Property)
}
