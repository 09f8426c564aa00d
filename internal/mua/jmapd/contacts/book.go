package contacts

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// rights are what a principal may do with a book (RFC 9610, 2, AddressBookRights).
type rights struct {
	Read   bool `json:"mayRead"`
	Write  bool `json:"mayWrite"`
	Share  bool `json:"mayShare"`
	Delete bool `json:"mayDelete"`
}

var allRights = rights{true, true, true, true}

// union is what any of the two gives.
func (r rights) union(o rights) rights {
	return rights{r.Read || o.Read, r.Write || o.Write, r.Share || o.Share, r.Delete || o.Delete}
}

// within tells whether r gives nothing that o does not.
func (r rights) within(o rights) bool { return r.union(o) == o }

// book is an address book as it is stored.
type book struct {
	Name        string             `json:"name"`
	Description string             `json:"description,omitempty"`
	SortOrder   int                `json:"sortOrder,omitempty"`
	Default     bool               `json:"default,omitempty"`
	Hidden      bool               `json:"hidden,omitempty"` // from the owner: not subscribed
	Subscribers []hlc.ID           `json:"subscribers,omitempty"`
	ShareWith   map[jmap.ID]rights `json:"shareWith,omitempty"` // by id of the principal
	object      *objects.Object    // as it was read
	mine        rights             // of the user who asks
}

// properties of an AddressBook.
var bookProperties = []string{"id", "name", "description", "sortOrder", "isDefault", "isSubscribed", "shareWith", "myRights"}

func isBookProperty(name string) bool { return slices.Contains(bookProperties, name) }

// shelf is the books of an account as a user has them.
type shelf struct {
	account *access.Account
	state   objects.State
	all     map[hlc.ID]*book // those that he may read
	every   map[hlc.ID]*book // those that he may not read too
}

// shelf reads the books of an account. The first look at the owner's makes the first one.
func (m *Methods) shelf(ctx context.Context, a *access.Account) (*shelf, error) {
	list, state, err := m.house.Objects.All(ctx, a.ID(), objects.AddressBook, 0, 0)
	if err == nil && len(list) == 0 && a.Own {
		if err = m.first(ctx, a); err == nil {
			list, state, err = m.house.Objects.All(ctx, a.ID(), objects.AddressBook, 0, 0)
		}
	}
	if err != nil {
		return nil, err
	}
	s := &shelf{account: a, state: state, all: map[hlc.ID]*book{}, every: map[hlc.ID]*book{}}
	for _, o := range list {
		b := &book{object: o}
		if err := json.Unmarshal(o.Value, b); err != nil {
			return nil, damaged("address book", err)
		}
		if b.mine, err = b.rightsOf(ctx, a); err != nil {
			return nil, err
		}
		s.every[o.ID] = b
		if b.mine.Read {
			s.all[o.ID] = b
		}
	}
	return s, nil
}

// rightsOf are what the user may do with a book.
func (b *book) rightsOf(ctx context.Context, a *access.Account) (rights, error) {
	if a.Own {
		return allRights, nil
	}
	var r rights
	for id, given := range b.ShareWith {
		s, ok := access.ParsePrincipal(id)
		is := ok && (s.Kind == mailstore.SubjectAnyone || s.Kind == mailstore.SubjectAccount && s.Account == a.Reader.ID)
		if ok && s.Kind == mailstore.SubjectGroup && !given.within(r) {
			var err error
			if is, err = a.Reader.Member(ctx, s.Group); err != nil {
				return rights{}, err
			}
		}
		if is {
			r = r.union(given)
		}
	}
	return r, nil
}

// find returns a book by a client's id, nil where the user sees none.
func (s *shelf) find(id jmap.ID) *book {
	n, ok := access.ParseID(bookID, id)
	if !ok {
		return nil
	}
	return s.all[n]
}

// sorted are the ids of the books in the order in which they are shown.
func (s *shelf) sorted() []hlc.ID {
	return slices.SortedFunc(maps.Keys(s.all), func(x, y hlc.ID) int {
		a, b := s.all[x], s.all[y]
		switch {
		case a.SortOrder != b.SortOrder:
			return a.SortOrder - b.SortOrder
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return int(min(max(int64(x-y), -1), 1))
	})
}

// show is a book as the user sees it.
func (b *book) show(a *access.Account, wants func(string) bool) jmap.Object {
	o := jmap.Object{"id": access.FormatID(bookID, b.object.ID)}
	set := func(name string, v any) {
		if wants(name) {
			o[name] = v
		}
	}
	set("name", b.Name)
	set("description", nil)
	if b.Description != "" {
		set("description", b.Description)
	}
	set("sortOrder", b.SortOrder)
	set("isDefault", b.Default)
	set("isSubscribed", b.subscribed(a))
	set("shareWith", nil)
	if len(b.ShareWith) > 0 && b.mine.Share {
		set("shareWith", b.ShareWith)
	}
	set("myRights", b.mine)
	return o
}

// subscribed tells whether the user wants to see the book.
func (b *book) subscribed(a *access.Account) bool {
	if a.Own {
		return !b.Hidden
	}
	return slices.Contains(b.Subscribers, a.Reader.ID)
}

// subscribe says whether the user wants to see the book.
func (b *book) subscribe(a *access.Account, on bool) {
	if a.Own {
		b.Hidden = !on
		return
	}
	b.Subscribers = slices.DeleteFunc(b.Subscribers, func(id hlc.ID) bool { return id == a.Reader.ID })
	if on {
		b.Subscribers = append(b.Subscribers, a.Reader.ID)
	}
}

// bookGet answers AddressBook/get.
func (m *Methods) bookGet(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	a, err := m.house.Account(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	s, err := m.shelf(ctx, a)
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: s.state.String()}
	if args.IDs == nil {
		for _, id := range s.sorted() {
			r.List = append(r.List, s.all[id].show(a, args.Wants))
		}
		return r, nil
	}
	for _, id := range args.IDs {
		if b := s.find(id); b != nil {
			r.List = append(r.List, b.show(a, args.Wants))
		} else {
			r.NotFound = append(r.NotFound, id)
		}
	}
	return r, nil
}

// bookChanges answers AddressBook/changes. To a guest a book that he may not read, or no
// longer, is one that is gone.
func (m *Methods) bookChanges(ctx context.Context, c *jmap.Call, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	a, err := m.house.Account(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	since, err := objects.ParseState(args.SinceState)
	if err != nil {
		return nil, changesError(err)
	}
	ch, err := m.house.Objects.Changes(ctx, a.ID(), objects.AddressBook, since, args.MaxChanges)
	if err != nil {
		return nil, changesError(err)
	}
	s, err := m.shelf(ctx, a)
	if err != nil {
		return nil, err
	}
	sees := func(id hlc.ID) bool { return s.all[id] != nil }
	hides := func(id hlc.ID) bool { return s.all[id] == nil }
	return &jmap.ChangesResult{
		NewState: ch.State.String(), HasMoreChanges: ch.More,
		Created: ids(bookID, ch.Created, sees), Updated: ids(bookID, ch.Updated, sees),
		Destroyed: append(ids(bookID, ch.Destroyed, nil), ids(bookID, ch.Updated, hides)...),
	}, nil
}
