package outbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/objects"
)

// Mailbox is a name with an address, as EmailAddress has them (RFC 8621, 4.1.2.3).
type Mailbox struct {
	Name  *string `json:"name"`
	Email string  `json:"email"`
}

// Identity is an address that a user sends with, and what goes with it (RFC 8621, 6).
type Identity struct {
	ID            hlc.ID    `json:"-"`
	Name          string    `json:"n,omitempty"`
	Email         string    `json:"e"`
	ReplyTo       []Mailbox `json:"r"` // nil: null
	Bcc           []Mailbox `json:"b"`
	TextSignature string    `json:"t,omitempty"`
	HTMLSignature string    `json:"h,omitempty"`
	Default       bool      `json:"d,omitempty"` // made by us for the address

	object *objects.Object
}

// AnyLocal is the local part of an identity for all addresses of a domain.
const AnyLocal = "*"

// IdentitiesMax is how many identities an account has.
const IdentitiesMax = 500

// Encode writes the identity as it is stored.
func (i *Identity) Encode() ([]byte, error) {
	v, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("encode an identity: %w", err)
	}
	return append([]byte{format1}, v...), nil
}

func decodeIdentity(o *objects.Object) (*Identity, error) {
	i := &Identity{ID: o.ID, object: o}
	if len(o.Value) == 0 || o.Value[0] != format1 || json.Unmarshal(o.Value[1:], i) != nil {
		return nil, fmt.Errorf("%w: identity %s", mailstore.ErrDamaged, o.ID)
	}
	return i, nil
}

// Object is the identity as it is stored, to be changed.
func (i *Identity) Object() *objects.Object { return i.object }

// Matches tells whether the identity is for an address.
func (i *Identity) Matches(a address.Address) bool {
	if local, domain, _ := strings.Cut(i.Email, "@"); local == AnyLocal {
		return strings.EqualFold(domain, a.Domain)
	}
	own, err := address.Parse(i.Email)
	return err == nil && own.Key() == a.Key()
}

// Identities returns the identities of a user, with one for each address that is his or
// whose owner lets him send with it. Those that are missing are made.
func (s *Store) Identities(ctx context.Context, who directory.Principal) ([]*Identity, objects.State, error) {
	wanted, err := s.addresses(ctx, who)
	if err != nil {
		return nil, objects.State{}, err
	}
	if err := s.makeMissing(ctx, who, wanted); err != nil {
		return nil, objects.State{}, err
	}
	list, state, err := s.Objects.All(ctx, who.ID, objects.Identity, 0, 0)
	if err != nil {
		return nil, state, err
	}
	all := make([]*Identity, len(list))
	for k, o := range list {
		if all[k], err = decodeIdentity(o); err != nil {
			return nil, state, err
		}
	}
	return all, state, nil
}

// MayDelete tells whether an identity may be destroyed: not one that we made, while the
// address is the user's to send with.
func (s *Store) MayDelete(ctx context.Context, who directory.Principal, i *Identity) (bool, error) {
	if !i.Default {
		return true, nil
	}
	a, err := address.Parse(i.Email)
	if err != nil {
		return true, nil
	}
	right, err := s.Directory.MaySendAs(ctx, who, a)
	return right == directory.SendNot, err
}

// sender is an address that a user may send with, and the name that goes with it.
type sender struct {
	address address.Address
	name    string
}

// addresses are those that get an identity by themselves.
func (s *Store) addresses(ctx context.Context, who directory.Principal) ([]sender, error) {
	own, err := s.Directory.Account(ctx, who.ID)
	if err != nil {
		return nil, fmt.Errorf("addresses of an account: %w", err)
	}
	var all []sender
	for _, a := range own.Addresses {
		all = append(all, sender{a, own.Name})
	}
	granted, err := s.Directory.Grantors(ctx, who)
	if err != nil {
		return nil, fmt.Errorf("who lets an account send: %w", err)
	}
	for _, g := range granted {
		for _, a := range g.Addresses {
			all = append(all, sender{a, g.Name})
		}
	}
	return all[:min(len(all), IdentitiesMax)], nil
}

func identityKey(a address.Address) []byte { return key(partIdentity, []byte(a.Key())...) }

// IdentityOf finds the identity that was made for an address; 0 when there is none.
func (s *Store) IdentityOf(ctx context.Context, account mailstore.AccountID, a address.Address) (hlc.ID, error) {
	snap, err := s.snapshot(ctx, account)
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	return identityAt(snap, a)
}

func identityAt(snap kv.Snapshot, a address.Address) (hlc.ID, error) {
	v, err := snap.Get(identityKey(a))
	if errors.Is(err, kv.ErrNotFound) || err == nil && len(v) != 1+8 {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find an identity: %w", err)
	}
	return hlc.ID(binary.BigEndian.Uint64(v[1:])), nil
}

// makeMissing makes the identities of addresses that have none, in one commit. A key for
// each address sees to it that of two who look at once one makes it.
func (s *Store) makeMissing(ctx context.Context, who directory.Principal, wanted []sender) error {
	snap, err := s.snapshot(ctx, who.ID)
	if err != nil {
		return err
	}
	missing, err := withoutIdentity(snap, wanted)
	if err = errors.Join(err, snap.Close()); err != nil || len(missing) == 0 {
		return err
	}
	return s.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := s.snapshot(ctx, who.ID)
		if err != nil {
			return err
		}
		defer snap.Close()
		missing, err := withoutIdentity(snap, wanted)
		if err != nil {
			return err
		}
		for _, m := range missing {
			if err := s.makeDefault(u, who.ID, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// identitiesAtOnce is how many identities one commit makes; the next look makes more.
const identitiesAtOnce = 100

func withoutIdentity(snap kv.Snapshot, wanted []sender) ([]sender, error) {
	var missing []sender
	for _, w := range wanted {
		id, err := identityAt(snap, w.address)
		if err != nil {
			return nil, err
		}
		if id == 0 && len(missing) < identitiesAtOnce {
			missing = append(missing, w)
		}
	}
	return missing, nil
}

func (s *Store) makeDefault(u *mailflow.Unit, account mailstore.AccountID, m sender) error {
	id := s.Objects.NewID()
	v, err := (&Identity{Name: m.name, Email: m.address.String(), Default: true}).Encode()
	if err != nil {
		return err
	}
	if err := s.Objects.PrepareCreate(u, account, objects.Identity, id, v); err != nil {
		return err
	}
	b := batch(u, account)
	k := identityKey(m.address)
	b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: k})
	b.Puts = append(b.Puts, kv.Put{Key: k, Value: binary.BigEndian.AppendUint64([]byte{format1}, uint64(id))})
	return nil
}

// PrepareDestroyIdentity takes an identity away within the unit.
func (s *Store) PrepareDestroyIdentity(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, i *Identity) error {
	if err := s.Objects.PrepareDestroy(ctx, u, account, objects.Identity, i.object); err != nil {
		return err
	}
	if a, err := address.Parse(i.Email); err == nil && i.Default {
		b := batch(u, account)
		b.Deletes = append(b.Deletes, identityKey(a))
	}
	return nil
}

// Identity reads one; objects.ErrNotFound.
func (s *Store) Identity(ctx context.Context, account mailstore.AccountID, id hlc.ID) (*Identity, error) {
	o, err := s.Objects.One(ctx, account, objects.Identity, id)
	if err != nil {
		return nil, err
	}
	return decodeIdentity(o)
}
