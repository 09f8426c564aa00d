// Package contacts answers the JMAP methods about address books and the cards in them.
//
// The main type is [Methods]. Books and cards are objects of their account
// (internal/objects); the cards of accounts that were asked for lately are held in memory,
// parsed. A book is shared by rights of its own: who may not read it does not see it, nor
// the cards that are in no other. The package keeps no mail and sends nothing.
//
// RFC 9610; RFC 9553 (JSContact); RFC 9670 (sharing).
package contacts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// Capability is that of contacts (RFC 9610, 1.4.1).
const Capability = "urn:ietf:params:jmap:contacts"

// Letters of ids.
const (
	bookID = 'B'
	cardID = 'C'
)

// Limits of an account.
const (
	BooksMax        = 100
	CardsMax        = 20_000
	BooksPerCardMax = 20
)

// Methods answers the methods. All may run at once.
type Methods struct {
	house *access.House
	cards cardCache
}

// New returns the methods over a house.
func New(h *access.House) *Methods { return &Methods{house: h} }

// Methods returns all methods of the package.
func (m *Methods) Methods() []jmap.Method {
	book := &jmap.DataType{Name: "AddressBook", Capability: Capability, Property: isBookProperty}
	card := &jmap.DataType{Name: "ContactCard", Capability: Capability}
	set := card.Set(nil, m.cardSet)
	return []jmap.Method{
		book.Get(nil, m.bookGet), book.Changes(nil, m.bookChanges),
		book.Set([]string{"onDestroyRemoveContents", "onSuccessSetIsDefault"}, m.bookSet),
		card.Get(nil, m.cardGet), card.Changes(nil, m.cardChanges), set,
		card.Query(nil, m.cardQuery), card.QueryChanges(nil, m.cardQueryChanges), card.Copy(nil, m.cardCopy, set),
	}
}

// Session is the package's part of the session's capabilities.
func (m *Methods) Session() map[string]any { return map[string]any{Capability: map[string]any{}} }

// Capabilities is its part of an account's (RFC 9610, 1.4.1).
func (m *Methods) Capabilities(_ *access.User, a *access.Account) map[string]any {
	return map[string]any{Capability: map[string]any{
		"maxAddressBooksPerCard": BooksPerCardMax, "mayCreateAddressBook": a.Own,
	}}
}

// States are the states of its types, for push.
func (m *Methods) States(ctx context.Context, a *access.Account) (map[string]string, error) {
	states := map[string]string{}
	for name, kind := range map[string]objects.Kind{"AddressBook": objects.AddressBook, "ContactCard": objects.ContactCard} {
		s, err := m.house.Objects.State(ctx, a.ID(), kind)
		if err != nil {
			return nil, err
		}
		states[name] = s.String()
	}
	return states, nil
}

// change commits what f makes of books and cards; see mailflow.Committer.
func (m *Methods) change(ctx context.Context, f func(context.Context, *mailflow.Unit) error) error {
	return m.house.Committer.Commit(ctx, f)
}

// setError is what a client is told of an error in one object; nil for one that is ours.
func setError(err error) *jmap.SetError {
	var e *jmap.SetError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, objects.ErrNotFound):
		return jmap.NewSetError(jmap.SetNotFound, "no such object")
	case errors.Is(err, objects.ErrTooLarge):
		return jmap.NewSetError(jmap.SetTooLarge, "the object has more than %d octets", objects.ValueMax)
	}
	return nil
}

// changesError translates the error of a log.
func changesError(err error) error {
	if errors.Is(err, objects.ErrNoChanges) || errors.Is(err, objects.ErrState) {
		return jmap.ErrCannotCalculateChanges
	}
	return err
}

// ids are those of a list of changes that the user may see.
func ids(letter byte, list []hlc.ID, see func(hlc.ID) bool) []jmap.ID {
	out := make([]jmap.ID, 0, len(list))
	for _, id := range list {
		if see == nil || see(id) {
			out = append(out, access.FormatID(letter, id))
		}
	}
	return out
}

// decode reads a property of a client's object.
func decode(p jmap.Properties, name string, into any) error {
	raw, ok := p[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return jmap.InvalidProperties([]string{name}, "%s: of the wrong type", name)
	}
	return nil
}

// stateMismatch tells whether ifInState names another state.
func stateMismatch(want *string, is objects.State) error {
	if want != nil && *want != is.String() {
		return jmap.ErrStateMismatch
	}
	return nil
}

// only refuses properties that are none.
func only(p jmap.Properties, known ...string) error {
	var wrong []string
	for name := range p {
		if !slices.Contains(known, name) {
			wrong = append(wrong, name)
		}
	}
	if wrong == nil {
		return nil
	}
	slices.Sort(wrong)
	return jmap.InvalidProperties(wrong, "not to be set, or no such properties")
}

// damaged is the error of a record that cannot be read.
func damaged(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", objects.ErrDamaged, what, err)
}
