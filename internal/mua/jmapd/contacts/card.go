package contacts

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// card is a card as it is held: its JSON, and what queries ask for.
type card struct {
	id    hlc.ID
	books []hlc.ID
	value jmap.Properties // without id and addressBookIds
	uid   string
	size  int
}

// deck is all cards of an account at one state; it is not changed.
type deck struct {
	state  objects.State
	all    []*card // by id
	byID   map[hlc.ID]*card
	octets int
}

// deckOctetsMax is how much of cards is held in memory.
const deckOctetsMax = 64 << 20

// cardCache holds decks.
type cardCache struct {
	mu     sync.Mutex
	decks  map[mailstore.AccountID]*deck // mu
	octets int                           // mu
}

func (c *cardCache) get(id mailstore.AccountID, state objects.State) *deck {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.decks[id]; d != nil && d.state == state {
		return d
	}
	return nil
}

// put keeps a deck; others go for it.
func (c *cardCache) put(id mailstore.AccountID, d *deck) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.decks == nil {
		c.decks = map[mailstore.AccountID]*deck{}
	}
	if old := c.decks[id]; old != nil {
		c.octets -= old.octets
		delete(c.decks, id)
	}
	for other, old := range c.decks {
		if c.octets+d.octets <= deckOctetsMax {
			break
		}
		c.octets -= old.octets
		delete(c.decks, other)
	}
	if d.octets <= deckOctetsMax {
		c.decks[id] = d
		c.octets += d.octets
	}
}

// deck reads all cards of an account, whoever may see them.
func (m *Methods) deck(ctx context.Context, a *access.Account) (*deck, error) {
	state, err := m.house.Objects.State(ctx, a.ID(), objects.ContactCard)
	if err != nil {
		return nil, err
	}
	if d := m.cards.get(a.ID(), state); d != nil {
		return d, nil
	}
	list, state, err := m.house.Objects.All(ctx, a.ID(), objects.ContactCard, 0, 0)
	if err != nil {
		return nil, err
	}
	d := &deck{state: state, byID: make(map[hlc.ID]*card, len(list))}
	for _, o := range list {
		c, err := parseCard(o)
		if err != nil {
			return nil, err
		}
		d.all = append(d.all, c)
		d.byID[c.id] = c
		d.octets += c.size
	}
	m.cards.put(a.ID(), d)
	return d, nil
}

// parsedFactor is how much more memory a parsed card takes than its octets.
const parsedFactor = 3

// parseCard reads a stored card.
func parseCard(o *objects.Object) (*card, error) {
	c := &card{id: o.ID, size: parsedFactor * len(o.Value)}
	if err := json.Unmarshal(o.Value, &c.value); err != nil {
		return nil, damaged("contact card", err)
	}
	var in map[jmap.ID]bool
	if err := json.Unmarshal(c.value["addressBookIds"], &in); err != nil {
		return nil, damaged("contact card", err)
	}
	if err := json.Unmarshal(c.value["uid"], &c.uid); err != nil {
		return nil, damaged("contact card", err)
	}
	delete(c.value, "addressBookIds")
	for id := range in {
		if n, ok := access.ParseID(bookID, id); ok {
			c.books = append(c.books, n)
		}
	}
	slices.Sort(c.books)
	return c, nil
}

// format writes a card as it is stored.
func (c *card) format() ([]byte, error) {
	v := maps.Clone(c.value)
	in, err := json.Marshal(c.bookSet(nil))
	if err != nil {
		return nil, err
	}
	v["addressBookIds"] = in
	return json.Marshal(v)
}

// bookSet is addressBookIds, of the books that the user sees.
func (c *card) bookSet(s *shelf) map[jmap.ID]bool {
	in := map[jmap.ID]bool{}
	for _, id := range c.books {
		if s == nil || s.all[id] != nil {
			in[access.FormatID(bookID, id)] = true
		}
	}
	return in
}

// sees tells whether the user may read a card: it is in a book that he may read.
func (s *shelf) sees(c *card) bool {
	return c != nil && slices.ContainsFunc(c.books, func(id hlc.ID) bool { return s.all[id] != nil })
}

// writes tells whether the user may change a card: he may in all of its books.
func (s *shelf) writes(c *card) bool {
	return !slices.ContainsFunc(c.books, func(id hlc.ID) bool { return s.all[id] == nil || !s.all[id].mine.Write })
}

// show is a card as the user sees it.
func (c *card) show(s *shelf, args *jmap.GetArgs) jmap.Object {
	o := jmap.Object{"id": access.FormatID(cardID, c.id)}
	if args.Wants("addressBookIds") {
		o["addressBookIds"] = c.bookSet(s)
	}
	for name, v := range c.value {
		if args.Wants(name) {
			o[name] = v
		}
	}
	return o
}

// table is what most methods begin with: an account, its books, its cards.
type table struct {
	account *access.Account
	shelf   *shelf
	deck    *deck
}

func (m *Methods) table(ctx context.Context, c *jmap.Call, id jmap.ID) (*table, error) {
	a, err := m.house.Account(ctx, c, id)
	if err != nil {
		return nil, err
	}
	return m.tableOf(ctx, a)
}

func (m *Methods) tableOf(ctx context.Context, a *access.Account) (*table, error) {
	s, err := m.shelf(ctx, a)
	if err != nil {
		return nil, err
	}
	d, err := m.deck(ctx, a)
	return &table{a, s, d}, err
}

// find returns a card that the user may see, nil where there is none.
func (t *table) find(id jmap.ID) *card {
	n, ok := access.ParseID(cardID, id)
	if c := t.deck.byID[n]; ok && t.shelf.sees(c) {
		return c
	}
	return nil
}

// state is that of the cards. To a guest the books count too: what is shared with him.
func (t *table) state() string {
	if t.account.Own {
		return t.deck.state.String()
	}
	return t.deck.state.String() + "_" + t.shelf.state.String()
}

// cardGet answers ContactCard/get.
func (m *Methods) cardGet(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	t, err := m.table(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: t.state()}
	if args.IDs == nil {
		for _, one := range t.deck.all {
			if t.shelf.sees(one) {
				r.List = append(r.List, one.show(t.shelf, args))
			}
		}
		if len(r.List) > jmap.DefaultLimits.ObjectsInGet {
			return nil, jmap.ErrRequestTooLarge.With("there are %d cards: ask for their ids by ContactCard/query", len(r.List))
		}
		return r, nil
	}
	for _, id := range args.IDs {
		if one := t.find(id); one != nil {
			r.List = append(r.List, one.show(t.shelf, args))
		} else {
			r.NotFound = append(r.NotFound, id)
		}
	}
	return r, nil
}

// cardChanges answers ContactCard/changes. When books were shared or unshared meanwhile, a
// guest must read all anew.
func (m *Methods) cardChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	t, err := m.table(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	ch, suffix, err := m.changesSince(ctx, t, args.SinceState, args.MaxChanges)
	if err != nil {
		return nil, err
	}
	sees := func(id hlc.ID) bool { return t.shelf.sees(t.deck.byID[id]) }
	hides := func(id hlc.ID) bool { return !sees(id) }
	return &jmap.ChangesResult{
		NewState: ch.State.String() + suffix, HasMoreChanges: ch.More,
		Created: ids(cardID, ch.Created, sees), Updated: ids(cardID, ch.Updated, sees),
		Destroyed: append(ids(cardID, ch.Destroyed, nil), ids(cardID, ch.Updated, hides)...),
	}, nil
}

// changesSince are the changes of cards since a state of the client's; suffix is what a
// guest's states have besides.
func (m *Methods) changesSince(ctx context.Context, t *table, state string, most int) (ch *objects.Changes, suffix string, err error) {
	if !t.account.Own {
		suffix = "_" + t.shelf.state.String()
		if len(state) <= len(suffix) || state[len(state)-len(suffix):] != suffix {
			return nil, "", jmap.ErrCannotCalculateChanges
		}
		state = state[:len(state)-len(suffix)]
	}
	since, err := objects.ParseState(state)
	if err == nil {
		ch, err = m.house.Objects.Changes(ctx, t.account.ID(), objects.ContactCard, since, most)
	}
	return ch, suffix, changesError(err)
}

// takeOut takes a card out of a book within a unit; one that is in no other is destroyed.
func (m *Methods) takeOut(ctx context.Context, u *mailflow.Unit, a *access.Account, o *objects.Object, book hlc.ID) error {
	c, err := parseCard(o)
	if err != nil {
		return err
	}
	c.books = slices.DeleteFunc(c.books, func(id hlc.ID) bool { return id == book })
	if len(c.books) == 0 {
		m.house.Objects.PrepareRelease(u, a.ID(), objects.ContactCard, c.uid)
		return m.house.Objects.PrepareDestroy(ctx, u, a.ID(), objects.ContactCard, o)
	}
	c.value["updated"], err = json.Marshal(jmap.FormatUTCDate(time.Now().Truncate(time.Second)))
	if err != nil {
		return err
	}
	v, err := c.format()
	if err != nil {
		return err
	}
	return m.house.Objects.PrepareUpdate(u, a.ID(), objects.ContactCard, o, v)
}
