package contacts

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// setAtOnce is how many cards are made, changed or destroyed in one commit: each is within
// the limits of a batch together with its records of the log.
const setAtOnce = 10

// cardSet answers ContactCard/set.
func (m *Methods) cardSet(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	t, err := m.table(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	if args.IfInState != nil && *args.IfInState != t.state() {
		return nil, jmap.ErrStateMismatch
	}
	r := &jmap.SetResult{OldState: t.state()}
	steps := m.steps(c, args, r)
	for len(steps) > 0 {
		n := min(len(steps), setAtOnce)
		if err := m.takeSteps(ctx, t.account, steps[:n]); err != nil {
			return nil, err
		}
		steps = steps[n:]
	}
	if t, err = m.tableOf(ctx, t.account); err != nil {
		return nil, err
	}
	r.NewState = t.state()
	return r, nil
}

// step is the change of one card. prepare adds it to the unit; done tells the client of it,
// with what the server set, or of why not.
type step struct {
	prepare func(context.Context, *mailflow.Unit, *table) (jmap.Object, error)
	done    func(jmap.Object, *jmap.SetError)
}

// steps are those of a call in their order.
func (m *Methods) steps(c *jmap.Call, args *jmap.SetArgs, r *jmap.SetResult) []step {
	var list []step
	for _, creation := range args.Create {
		id := m.house.Objects.NewID()
		list = append(list, step{
			func(_ context.Context, u *mailflow.Unit, t *table) (jmap.Object, error) {
				return m.create(u, t, c, id, creation.Object)
			},
			func(o jmap.Object, e *jmap.SetError) {
				if e != nil {
					r.NotCreate(creation.ID, e)
				} else {
					r.Create(creation.ID, o)
				}
			}})
	}
	for _, update := range args.Update {
		list = append(list, step{
			func(ctx context.Context, u *mailflow.Unit, t *table) (jmap.Object, error) {
				return m.update(ctx, u, t, c, update.ID, update.Patch)
			},
			func(o jmap.Object, e *jmap.SetError) {
				if e != nil {
					r.NotUpdate(update.ID, e)
				} else {
					r.Update(update.ID, o)
				}
			}})
	}
	for _, id := range args.Destroy {
		list = append(list, step{
			func(ctx context.Context, u *mailflow.Unit, t *table) (jmap.Object, error) {
				return nil, m.destroy(ctx, u, t, id)
			},
			func(_ jmap.Object, e *jmap.SetError) {
				if e != nil {
					r.NotDestroy(id, e)
				} else {
					r.Destroyed = append(r.Destroyed, id)
				}
			}})
	}
	return list
}

// takeSteps commits some steps at once, each whole or not at all. The second of two steps
// for one card, or for one uid, waits for a commit of its own.
func (m *Methods) takeSteps(ctx context.Context, a *access.Account, steps []step) error {
	results := make([]jmap.Object, len(steps))
	wrong := make([]*jmap.SetError, len(steps))
	err := m.change(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		t, err := m.tableOf(ctx, a)
		if err != nil {
			return err
		}
		for i := range steps {
			err := u.Try(func() (err error) {
				results[i], err = steps[i].prepare(ctx, u, t)
				return err
			})
			if wrong[i] = setError(err); err != nil && wrong[i] == nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range steps {
		steps[i].done(results[i], wrong[i])
	}
	return nil
}

// create makes a card within a unit.
func (m *Methods) create(u *mailflow.Unit, t *table, call *jmap.Call, id hlc.ID, given jmap.Properties) (jmap.Object, error) {
	c := &card{id: id, value: maps.Clone(given)}
	now := jmap.FormatUTCDate(time.Now().Truncate(time.Second))
	set := jmap.Object{"id": access.FormatID(cardID, id)}
	for name, v := range map[string]string{"uid": "urn:uuid:" + newUUID(id), "created": now, "updated": now, "version": "1.0", "@type": "Card", "kind": "individual"} {
		if _, has := c.value[name]; has {
			continue
		}
		c.value[name] = json.RawMessage(`"` + v + `"`)
		if name != "version" && name != "@type" && name != "kind" {
			set[name] = v
		}
	}
	if err := m.checkCard(t, call, c, nil); err != nil {
		return nil, err
	}
	if len(t.deck.all) >= CardsMax {
		return nil, jmap.NewSetError(jmap.SetOverQuota, "an account has at most %d contact cards", CardsMax)
	}
	v, err := c.format()
	if err != nil {
		return nil, err
	}
	m.house.Objects.PrepareClaim(u, t.account.ID(), objects.ContactCard, c.uid)
	t.add(c)
	return set, m.house.Objects.PrepareCreate(u, t.account.ID(), objects.ContactCard, id, v)
}

// newUUID is a random UUID (RFC 9562, 5.4); the id keeps it apart even if chance fails.
func newUUID(id hlc.ID) string {
	var b [16]byte
	rand.Read(b[:])
	for i := range 8 {
		b[8+i] ^= byte(id >> (8 * i))
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// add puts a card that is not committed yet onto the table, for the steps behind it.
func (t *table) add(c *card) {
	d := *t.deck
	d.all = append(slices.Clone(d.all), c)
	d.byID = maps.Clone(d.byID)
	d.byID[c.id] = c
	t.deck = &d
}

// update changes a card within a unit. The result is what the server set.
func (m *Methods) update(ctx context.Context, u *mailflow.Unit, t *table, call *jmap.Call, id jmap.ID, patch jmap.Properties) (jmap.Object, error) {
	old, object, err := m.toChange(ctx, t, id)
	if err != nil {
		return nil, err
	}
	before := maps.Clone(old.value)
	if before["addressBookIds"], err = json.Marshal(old.bookSet(nil)); err != nil {
		return nil, err
	}
	after, wrong := jmap.ApplyPatch(before, patch)
	if wrong != nil {
		return nil, wrong
	}
	if raw, ok := after["id"]; ok && string(raw) == `"`+string(id)+`"` {
		delete(after, "id")
	}
	var set jmap.Object
	if _, given := patch["updated"]; !given {
		now := jmap.FormatUTCDate(time.Now().Truncate(time.Second))
		after["updated"] = json.RawMessage(`"` + now + `"`)
		set = jmap.Object{"updated": now}
	}
	c := &card{id: old.id, value: after}
	if err := m.checkCard(t, call, c, old); err != nil {
		return nil, err
	}
	v, err := c.format()
	if err != nil {
		return nil, err
	}
	if c.uid != old.uid {
		m.house.Objects.PrepareRelease(u, t.account.ID(), objects.ContactCard, old.uid)
		m.house.Objects.PrepareClaim(u, t.account.ID(), objects.ContactCard, c.uid)
	}
	t.add(c)
	return set, m.house.Objects.PrepareUpdate(u, t.account.ID(), objects.ContactCard, object, v)
}

// toChange finds a card that the user may change, and its object as it is.
func (m *Methods) toChange(ctx context.Context, t *table, id jmap.ID) (*card, *objects.Object, error) {
	old := t.find(id)
	if old == nil {
		return nil, nil, objects.ErrNotFound
	}
	if !t.shelf.writes(old) {
		return nil, nil, jmap.NewSetError(jmap.SetForbidden, "you may not change the cards of all address books that it is in")
	}
	object, err := m.house.Objects.One(ctx, t.account.ID(), objects.ContactCard, old.id)
	if err != nil {
		return nil, nil, err
	}
	old, err = parseCard(object)
	return old, object, err
}

// destroy destroys a card within a unit.
func (m *Methods) destroy(ctx context.Context, u *mailflow.Unit, t *table, id jmap.ID) error {
	old, object, err := m.toChange(ctx, t, id)
	if err != nil {
		return err
	}
	m.house.Objects.PrepareRelease(u, t.account.ID(), objects.ContactCard, old.uid)
	return m.house.Objects.PrepareDestroy(ctx, u, t.account.ID(), objects.ContactCard, object)
}

// checkCard holds a card to RFC 9553 and RFC 9610 and takes its books and uid out of it.
// Old is what it was, nil for a new one.
func (m *Methods) checkCard(t *table, call *jmap.Call, c, old *card) error {
	var in map[jmap.ID]bool
	if raw, ok := c.value["addressBookIds"]; !ok || json.Unmarshal(raw, &in) != nil || len(in) == 0 {
		return jmap.InvalidProperties([]string{"addressBookIds"}, "a card is in at least one address book")
	}
	delete(c.value, "addressBookIds")
	if len(in) > BooksPerCardMax {
		return jmap.InvalidProperties([]string{"addressBookIds"}, "a card is in at most %d address books", BooksPerCardMax)
	}
	for given, is := range in {
		id, _ := call.Resolve(given)
		b := t.shelf.find(id)
		hidden := false
		if n, ok := access.ParseID(bookID, id); b == nil && ok && old != nil && slices.Contains(old.books, n) {
			b, hidden = t.shelf.every[n], true
		}
		switch {
		case b == nil || !is:
			return jmap.InvalidProperties([]string{"addressBookIds"}, "%s: no such address book", given)
		case !hidden && !b.mine.Write:
			return jmap.NewSetError(jmap.SetForbidden, "%s: you may not put cards into this address book", given)
		}
		c.books = append(c.books, b.object.ID)
	}
	slices.Sort(c.books)
	if err := checkSchema(c.value); err != nil {
		return err
	}
	if err := json.Unmarshal(c.value["uid"], &c.uid); err != nil {
		return err
	}
	if old == nil || old.uid != c.uid {
		for _, other := range t.deck.all {
			if other.uid == c.uid && other.id != c.id {
				return &jmap.SetError{Type: jmap.SetAlreadyExists, Description: "a card of the account has this uid", Extra: existing(t, other)}
			}
		}
	}
	return nil
}

// existing names the card that is in the way, if the user sees it.
func existing(t *table, c *card) map[string]any {
	if !t.shelf.sees(c) {
		return nil
	}
	return map[string]any{"existingId": access.FormatID(cardID, c.id)}
}

// cardCopy answers ContactCard/copy.
func (m *Methods) cardCopy(ctx context.Context, c *jmap.Call, args *jmap.CopyArgs) (*jmap.CopyResult, error) {
	from, err := m.table(ctx, c, args.FromAccountID)
	if err != nil {
		return nil, jmap.ErrFromAccountNotFound
	}
	to, err := m.table(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	if args.IfFromInState != nil && *args.IfFromInState != from.state() || args.IfInState != nil && *args.IfInState != to.state() {
		return nil, jmap.ErrStateMismatch
	}
	set := &jmap.SetArgs{AccountID: args.AccountID}
	done := &jmap.SetResult{}
	for _, creation := range args.Create {
		object, wrong := m.original(c, from, creation.Object)
		if wrong != nil {
			done.NotCreate(creation.ID, wrong)
			continue
		}
		set.Create = append(set.Create, jmap.Creation{ID: creation.ID, Object: object})
	}
	for _, s := range m.steps(c, set, done) {
		if err := m.takeSteps(ctx, to.account, []step{s}); err != nil {
			return nil, err
		}
	}
	r := &jmap.CopyResult{OldState: to.state(), Created: done.Created, NotCreated: done.NotCreated}
	if to, err = m.tableOf(ctx, to.account); err != nil {
		return nil, err
	}
	r.NewState = to.state()
	return r, nil
}

// original is the card to be copied, with what the client wants changed.
func (m *Methods) original(c *jmap.Call, from *table, given jmap.Properties) (jmap.Properties, *jmap.SetError) {
	var id jmap.ID
	if json.Unmarshal(given["id"], &id) != nil {
		return nil, jmap.InvalidProperties([]string{"id"}, "the id of the card to be copied is missing")
	}
	id, _ = c.Resolve(id)
	old := from.find(id)
	if old == nil {
		return nil, jmap.NewSetError(jmap.SetNotFound, "no such card")
	}
	object := maps.Clone(old.value)
	for name, v := range given {
		if name != "id" {
			object[name] = v
		}
	}
	return object, nil
}
