package contacts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// Limits of a book.
const (
	bookNameMax    = 255 // octets (RFC 9610, 2)
	descriptionMax = 4096
	sortOrderMax   = 1<<31 - 1
	shareWithMax   = mailstore.ACLMax
	subscribersMax = 1000
	firstBookName  = "Personal"
	hasContents    = "addressBookHasContents"
	membersAtOnce  = 200 // cards that are changed in one commit when their book goes
)

// first makes the book that every account has: under the account's own id, so that of two
// who make it at once one finds it there.
func (m *Methods) first(ctx context.Context, a *access.Account) error {
	v, err := json.Marshal(&book{Name: firstBookName, Default: true})
	if err != nil {
		return err
	}
	return m.change(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		if list, _, err := m.house.Objects.All(ctx, a.ID(), objects.AddressBook, 0, 1); err != nil || len(list) > 0 {
			return err
		}
		return m.house.Objects.PrepareCreate(u, a.ID(), objects.AddressBook, a.ID(), v)
	})
}

// bookSet answers AddressBook/set.
func (m *Methods) bookSet(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, err := m.house.Account(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	s, err := m.shelf(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := stateMismatch(args.IfInState, s.state); err != nil {
		return nil, err
	}
	var o struct {
		remove     bool
		setDefault jmap.ID
	}
	if err := decode(args.Extra, "onDestroyRemoveContents", &o.remove); err != nil {
		return nil, jmap.InvalidArguments("onDestroyRemoveContents: no Boolean")
	}
	if err := decode(args.Extra, "onSuccessSetIsDefault", &o.setDefault); err != nil {
		return nil, jmap.InvalidArguments("onSuccessSetIsDefault: no Id")
	}
	r := &jmap.SetResult{OldState: s.state.String()}
	if err := m.bookSetAll(ctx, c, a, args, o.remove, r); err != nil {
		return nil, err
	}
	if o.setDefault != "" && len(r.NotCreated)+len(r.NotUpdated)+len(r.NotDestroyed) == 0 && a.Own {
		if err := m.setDefault(ctx, a, c, o.setDefault, r); err != nil {
			return nil, err
		}
	}
	state, err := m.house.Objects.State(ctx, a.ID(), objects.AddressBook)
	r.NewState = state.String()
	return r, err
}

// bookSetAll makes, changes and destroys.
func (m *Methods) bookSetAll(ctx context.Context, c *jmap.Call, a *access.Account, args *jmap.SetArgs, remove bool, r *jmap.SetResult) error {
	for _, creation := range args.Create {
		o, err := m.createBook(ctx, a, creation.Object)
		if e := setError(err); e != nil {
			r.NotCreate(creation.ID, e)
		} else if err != nil {
			return err
		} else {
			r.Create(creation.ID, o)
			c.Created(creation.ID, o["id"].(jmap.ID))
		}
	}
	for _, update := range args.Update {
		err := m.updateBook(ctx, a, update.ID, update.Patch)
		if e := setError(err); e != nil {
			r.NotUpdate(update.ID, e)
		} else if err != nil {
			return err
		} else {
			r.Update(update.ID, nil)
		}
	}
	for _, id := range args.Destroy {
		err := m.destroyBook(ctx, a, id, remove)
		if e := setError(err); e != nil {
			r.NotDestroy(id, e)
		} else if err != nil {
			return err
		} else {
			r.Destroyed = append(r.Destroyed, id)
		}
	}
	return nil
}

// createBook makes a book; the result is what the server set.
func (m *Methods) createBook(ctx context.Context, a *access.Account, given jmap.Properties) (jmap.Object, error) {
	if !a.Own {
		return nil, jmap.NewSetError(jmap.SetForbidden, "address books are made by the owner of an account")
	}
	b := &book{mine: allRights}
	if err := m.fill(ctx, a, b, given); err != nil {
		return nil, err
	}
	if b.Name == "" {
		return nil, jmap.InvalidProperties([]string{"name"}, "a name must be given")
	}
	id := m.house.Objects.NewID()
	v, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	err = m.change(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		s, err := m.shelf(ctx, a)
		if err != nil {
			return err
		}
		if len(s.all) >= BooksMax {
			return jmap.NewSetError(jmap.SetOverQuota, "an account has at most %d address books", BooksMax)
		}
		if err := m.house.Objects.PrepareCreate(u, a.ID(), objects.AddressBook, id, v); err != nil {
			return err
		}
		b.object = &objects.Object{ID: id}
		s.every[id] = b
		if err := m.notify(ctx, u, a, b, nil); err != nil {
			return err
		}
		return m.share(ctx, u, s)
	})
	if err != nil {
		return nil, err
	}
	o := b.show(a, func(name string) bool { _, set := given[name]; return !set })
	o["id"] = access.FormatID(bookID, id)
	return o, nil
}

// updateBook changes a book.
func (m *Methods) updateBook(ctx context.Context, a *access.Account, id jmap.ID, patch jmap.Properties) error {
	return m.change(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		s, err := m.shelf(ctx, a)
		if err != nil {
			return err
		}
		b := s.find(id)
		if b == nil {
			return objects.ErrNotFound
		}
		before, err := json.Marshal(b.show(a, func(name string) bool { return name != "id" && name != "myRights" && name != "isDefault" }))
		if err != nil {
			return err
		}
		var now jmap.Properties
		if err := json.Unmarshal(before, &now); err != nil {
			return err
		}
		delete(now, "id")
		if string(now["shareWith"]) == "null" { // a patch may add to it
			now["shareWith"] = json.RawMessage("{}")
		}
		after, wrong := jmap.ApplyPatch(now, patch)
		if wrong != nil {
			return wrong
		}
		changed := jmap.Properties{}
		for name, v := range after {
			if !bytes.Equal(v, now[name]) {
				changed[name] = v
			}
		}
		for name := range now {
			if _, still := after[name]; !still {
				changed[name] = json.RawMessage("null")
			}
		}
		return m.putBook(ctx, u, s, b, changed)
	})
}

// putBook writes a book with changed properties within a unit.
func (m *Methods) putBook(ctx context.Context, u *mailflow.Unit, s *shelf, b *book, changed jmap.Properties) error {
	_, shares := changed["shareWith"]
	for name := range changed {
		switch {
		case name == "isSubscribed":
		case name == "shareWith" && !b.mine.Share, name != "shareWith" && !s.account.Own:
			return jmap.NewSetError(jmap.SetForbidden, "%s: you have not the right to change it", name)
		}
	}
	before := maps.Clone(b.ShareWith)
	if err := m.fill(ctx, s.account, b, changed); err != nil {
		return err
	}
	v, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := m.house.Objects.PrepareUpdate(u, s.account.ID(), objects.AddressBook, b.object, v); err != nil || !shares {
		return err
	}
	if err := m.notify(ctx, u, s.account, b, before); err != nil {
		return err
	}
	return m.share(ctx, u, s)
}

// notify tells those whose rights to a book are others than before (RFC 9670, 3).
func (m *Methods) notify(ctx context.Context, u *mailflow.Unit, a *access.Account, b *book, before map[jmap.ID]rights) error {
	all := maps.Clone(before)
	if all == nil {
		all = map[jmap.ID]rights{}
	}
	maps.Copy(all, b.ShareWith)
	for principal := range all {
		old, had := before[principal]
		now, has := b.ShareWith[principal]
		to, ok := access.ParsePrincipal(principal)
		if !ok || old == now {
			continue
		}
		n := access.Notice{Type: "AddressBook", Object: access.FormatID(bookID, b.object.ID), Name: b.Name}
		if had {
			n.OldRights = old
		}
		if has {
			n.NewRights = now
		}
		if err := m.house.PrepareNotice(ctx, u, a.User, a.ID(), to, n); err != nil {
			return err
		}
	}
	return nil
}

// fill takes the properties of a client's object.
func (m *Methods) fill(ctx context.Context, a *access.Account, b *book, p jmap.Properties) error {
	if err := only(p, "name", "description", "sortOrder", "isSubscribed", "shareWith"); err != nil {
		return err
	}
	subscribed, share, order := b.subscribed(a), maps.Clone(b.ShareWith), float64(b.SortOrder)
	for name, into := range map[string]any{"name": &b.Name, "description": &b.Description, "sortOrder": &order, "isSubscribed": &subscribed} {
		if err := decode(p, name, into); err != nil {
			return err
		}
	}
	if _, set := p["description"]; set && string(p["description"]) == "null" {
		b.Description = ""
	}
	if raw, set := p["shareWith"]; set {
		share = nil
		if json.Unmarshal(raw, &share) != nil {
			return jmap.InvalidProperties([]string{"shareWith"}, "shareWith: of the wrong type")
		}
	}
	switch {
	case b.Name == "" || len(b.Name) > bookNameMax:
		return jmap.InvalidProperties([]string{"name"}, "a name has 1 to %d octets", bookNameMax)
	case len(b.Description) > descriptionMax:
		return jmap.InvalidProperties([]string{"description"}, "a description has at most %d octets", descriptionMax)
	case order < 0 || order > sortOrderMax || order != float64(int(order)):
		return jmap.InvalidProperties([]string{"sortOrder"}, "sortOrder is from 0 to 2^31-1")
	case len(b.Subscribers) >= subscribersMax && subscribed && !a.Own:
		return jmap.NewSetError(jmap.SetOverQuota, "too many have subscribed to this address book")
	}
	if err := m.checkShare(ctx, a, b, share); err != nil {
		return err
	}
	b.SortOrder, b.ShareWith = int(order), share
	b.subscribe(a, subscribed)
	return nil
}

// checkShare holds shareWith to principals who are there, and to rights that who changes it
// may give: those that he has, or that the principal had (RFC 9610, 2.3).
func (m *Methods) checkShare(ctx context.Context, a *access.Account, b *book, share map[jmap.ID]rights) error {
	if len(share) > shareWithMax {
		return jmap.NewSetError(jmap.SetOverQuota, "shared with more than %d", shareWithMax)
	}
	for id, given := range share {
		if had, was := b.ShareWith[id]; was && given.within(had) {
			continue
		} else if !given.within(had.union(b.mine)) {
			return jmap.NewSetError(jmap.SetForbidden, "shareWith/%s: you cannot give rights that you have not", id)
		}
		s, there, err := m.house.Subject(ctx, a.Owner.Org, id)
		if err != nil {
			return err
		}
		there = there && (s.Kind != mailstore.SubjectAccount || s.Account != a.ID())
		if !there {
			return jmap.InvalidProperties([]string{fmt.Sprintf("shareWith/%s", id)}, "no principal that it could be shared with")
		}
	}
	return nil
}

// share writes within a unit with whom an account shares books.
func (m *Methods) share(ctx context.Context, u *mailflow.Unit, s *shelf) error {
	var with []mailstore.Subject
	for _, b := range s.every {
		for principal, r := range b.ShareWith {
			if subject, ok := access.ParsePrincipal(principal); ok && r.Read && !slices.Contains(with, subject) {
				with = append(with, subject)
			}
		}
	}
	return m.house.Mail.PrepareObjectShares(ctx, u, s.account.Owner.Org, s.account.ID(), with)
}

// destroyBook destroys a book, and with remove the cards that are only there.
func (m *Methods) destroyBook(ctx context.Context, a *access.Account, id jmap.ID, remove bool) error {
	if err := m.emptyBook(ctx, a, id, remove); err != nil {
		return err
	}
	return m.change(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		s, b, err := m.toDestroy(ctx, a, id)
		if err != nil {
			return err
		}
		members, err := m.members(ctx, a, b.object.ID)
		if err != nil {
			return err
		}
		if len(members) > 0 {
			return jmap.NewSetError(hasContents, "there are cards in the address book")
		}
		delete(s.every, b.object.ID)
		if err := m.house.Objects.PrepareDestroy(ctx, u, a.ID(), objects.AddressBook, b.object); err != nil {
			return err
		}
		return m.share(ctx, u, s)
	})
}

// toDestroy finds a book that the user may destroy.
func (m *Methods) toDestroy(ctx context.Context, a *access.Account, id jmap.ID) (*shelf, *book, error) {
	s, err := m.shelf(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	b := s.find(id)
	switch {
	case b == nil:
		return nil, nil, objects.ErrNotFound
	case !b.mine.Delete:
		return nil, nil, jmap.NewSetError(jmap.SetForbidden, "you have not the right to delete this address book")
	case b.Default:
		return nil, nil, jmap.NewSetError(jmap.SetForbidden, "the default address book cannot be deleted: make another one the default first")
	}
	return s, b, nil
}

// emptyBook takes the cards out of a book, in commits of moderate size; cards that are in no
// other book are destroyed. Without remove it does nothing.
func (m *Methods) emptyBook(ctx context.Context, a *access.Account, id jmap.ID, remove bool) error {
	for remove {
		_, b, err := m.toDestroy(ctx, a, id)
		if err != nil {
			return err
		}
		members, err := m.members(ctx, a, b.object.ID)
		if err != nil || len(members) == 0 {
			return err
		}
		members = members[:min(len(members), membersAtOnce)]
		err = m.change(ctx, func(ctx context.Context, u *mailflow.Unit) error {
			list, err := m.house.Objects.Get(ctx, a.ID(), objects.ContactCard, members...)
			if err != nil {
				return err
			}
			for _, o := range list {
				if err := m.takeOut(ctx, u, a, o, b.object.ID); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// setDefault makes a book the default one; one that is not there is passed over (RFC 9610,
// 2.3).
func (m *Methods) setDefault(ctx context.Context, a *access.Account, c *jmap.Call, given jmap.ID, r *jmap.SetResult) error {
	id, ok := c.Resolve(given)
	if !ok {
		return nil
	}
	var changed map[jmap.ID]bool
	err := m.change(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		changed = map[jmap.ID]bool{}
		s, err := m.shelf(ctx, a)
		if err != nil {
			return err
		}
		b := s.find(id)
		if b == nil || b.Default {
			return nil
		}
		for _, other := range s.all {
			if !other.Default && other != b {
				continue
			}
			other.Default = other == b
			v, err := json.Marshal(other)
			if err != nil {
				return err
			}
			if err := m.house.Objects.PrepareUpdate(u, a.ID(), objects.AddressBook, other.object, v); err != nil {
				return err
			}
			changed[access.FormatID(bookID, other.object.ID)] = other.Default
		}
		return nil
	})
	for id, is := range changed {
		tell(r, id, jmap.Object{"isDefault": is})
	}
	return err
}

// tell adds what the server set to what is told of an object.
func tell(r *jmap.SetResult, id jmap.ID, o jmap.Object) {
	for _, made := range r.Created {
		if made["id"] == id {
			maps.Copy(made, o)
			return
		}
	}
	if r.Updated[id] != nil {
		maps.Copy(r.Updated[id], o)
		return
	}
	r.Update(id, o)
}

// members are the cards of a book.
func (m *Methods) members(ctx context.Context, a *access.Account, book hlc.ID) ([]hlc.ID, error) {
	cards, err := m.deck(ctx, a)
	if err != nil {
		return nil, err
	}
	var list []hlc.ID
	for _, c := range cards.all {
		if slices.Contains(c.books, book) {
			list = append(list, c.id)
		}
	}
	return list, nil
}
