package jmapd

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
	"postroad/jmap/webpush"
)

// Limits of PushSubscription.
const (
	expiresMax       = 7 * 24 * time.Hour // RFC 8620, 7.2: at least 48 hours, better 7 days
	subscriptionsMax = 30                 // of an account, by all its credentials
	createsMax       = 60                 // of an account in createsTime: each makes a request to an unknown server
	createsTime      = time.Hour
	deviceMax        = 255  // octets of deviceClientId
	urlMax           = 2048 // octets
	typesMax         = 100
	typeMax          = 100 // octets of a type's name
	codeSize         = 16  // octets of entropy in a verification code
)

// subscription is a PushSubscription (RFC 8620, 7.2) as it is kept.
type subscription struct {
	Device   string    `json:"device"`
	URL      string    `json:"url"`
	P256DH   string    `json:"p256dh,omitempty"` // empty: without keys
	Auth     string    `json:"auth,omitempty"`
	Code     string    `json:"code"`
	Sent     bool      `json:"sent,omitempty"` // the code has been pushed
	Verified bool      `json:"verified,omitempty"`
	Expires  time.Time `json:"expires"`
	Types    []string  `json:"types"` // nil: all

	// Whose it is: it lives as long as what he logged in with (RFC 8620, 7.2).
	Credential string `json:"credential"`
	App        string `json:"app,omitempty"`
}

// keys are those of the subscription, nil when it has none.
func (s *subscription) keys() (*webpush.Keys, error) {
	if s.P256DH == "" {
		return nil, nil
	}
	return webpush.ParseKeys(s.P256DH, s.Auth)
}

// methods are PushSubscription/get and /set.
func (p *pusher) methods() []jmap.Method {
	return jmap.PushSubscription(jmap.DefaultLimits, p.get, p.set)
}

// mine returns the user's subscriptions: those that the same credential made.
func (p *pusher) mine(ctx context.Context, u *access.User) (mine []*objects.Object, all int, err error) {
	list, _, err := p.house.Objects.All(ctx, u.ID, objects.PushSubscription, 0, 0)
	if err != nil {
		return nil, 0, err
	}
	for _, o := range list {
		s, err := parseSubscription(o)
		if err != nil {
			return nil, 0, err
		}
		if s.Credential == u.Credential && p.now().Before(s.Expires) {
			mine = append(mine, o)
		}
	}
	return mine, len(list), nil
}

func parseSubscription(o *objects.Object) (*subscription, error) {
	s := new(subscription)
	return s, json.Unmarshal(o.Value, s)
}

func (p *pusher) get(ctx context.Context, c *jmap.Call, a *jmap.GetArgs) (*jmap.GetResult, error) {
	mine, _, err := p.mine(ctx, access.Of(c))
	if err != nil {
		return nil, err
	}
	r := new(jmap.GetResult)
	wanted := map[jmap.ID]bool{}
	for _, id := range a.IDs {
		wanted[id] = true
	}
	for _, o := range mine {
		id := access.FormatID('P', o.ID)
		if a.IDs != nil && !wanted[id] {
			continue
		}
		delete(wanted, id)
		s, err := parseSubscription(o)
		if err != nil {
			return nil, err
		}
		all := jmap.Object{"id": id, "deviceClientId": s.Device, "verificationCode": nil, "expires": jmap.FormatUTCDate(s.Expires), "types": s.Types}
		if s.Verified {
			all["verificationCode"] = s.Code
		}
		for name := range all {
			if !a.Wants(name) {
				delete(all, name)
			}
		}
		r.List = append(r.List, all)
	}
	for _, id := range a.IDs {
		if wanted[id] {
			r.NotFound = append(r.NotFound, id)
		}
	}
	return r, nil
}

func (p *pusher) set(ctx context.Context, c *jmap.Call, a *jmap.SetArgs) (*jmap.SetResult, error) {
	u, r := access.Of(c), new(jmap.SetResult)
	for _, create := range a.Create {
		made, err := p.create(ctx, u, create.Object)
		var refused *jmap.SetError
		switch {
		case errors.As(err, &refused):
			r.NotCreate(create.ID, refused)
		case err != nil:
			return nil, err
		default:
			r.Create(create.ID, made)
		}
	}
	for _, update := range a.Update {
		changed, err := p.update(ctx, u, update.ID, update.Patch)
		var refused *jmap.SetError
		switch {
		case errors.As(err, &refused):
			r.NotUpdate(update.ID, refused)
		case err != nil:
			return nil, err
		default:
			r.Update(update.ID, changed)
		}
	}
	for _, id := range a.Destroy {
		o, err := p.find(ctx, u, id)
		if err == nil {
			err = p.destroy(ctx, u.ID, o.ID)
		}
		var refused *jmap.SetError
		switch {
		case errors.As(err, &refused):
			r.NotDestroy(id, refused)
		case err != nil:
			return nil, err
		default:
			r.Destroyed = append(r.Destroyed, id)
		}
	}
	return r, nil
}

// find finds one of the user's subscriptions.
func (p *pusher) find(ctx context.Context, u *access.User, id jmap.ID) (*objects.Object, error) {
	mine, _, err := p.mine(ctx, u)
	if err != nil {
		return nil, err
	}
	for _, o := range mine {
		if access.FormatID('P', o.ID) == id {
			return o, nil
		}
	}
	return nil, jmap.NewSetError(jmap.SetNotFound, "no such subscription")
}

// create makes a subscription; the code is pushed in the background at once.
func (p *pusher) create(ctx context.Context, u *access.User, given jmap.Properties) (jmap.Object, error) {
	s := &subscription{Credential: u.Credential, App: u.App, Expires: p.now().Add(expiresMax).Truncate(time.Second)}
	if err := s.read(given, p.now()); err != nil {
		return nil, err
	}
	_, all, err := p.mine(ctx, u)
	if err != nil {
		return nil, err
	}
	if all >= subscriptionsMax || !p.allow(u.ID) {
		return nil, jmap.NewSetError(jmap.SetRateLimit, "an account may have %d subscriptions, and make %d in %s", subscriptionsMax, createsMax, createsTime)
	}
	code := make([]byte, codeSize)
	rand.Read(code)
	s.Code = base64.RawURLEncoding.EncodeToString(code)
	value, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	id := p.house.Objects.NewID()
	err = p.house.Committer.Commit(ctx, func(_ context.Context, unit *mailflow.Unit) error {
		b := unit.Batch(pushSpace)
		b.Puts = append(b.Puts, kv.Put{Key: accountKey(u.ID), Value: []byte{}})
		return p.house.Objects.PrepareCreate(unit, u.ID, objects.PushSubscription, id, value)
	})
	if err != nil {
		return nil, err
	}
	p.follow(u.ID, id, s)
	made := jmap.Object{"id": access.FormatID('P', id), "expires": jmap.FormatUTCDate(s.Expires)}
	for _, name := range []string{"keys", "types", "verificationCode"} {
		if _, ok := given[name]; !ok {
			made[name] = nil
		}
	}
	return made, nil
}

// read reads the properties of a new subscription.
func (s *subscription) read(given jmap.Properties, now time.Time) error {
	var wrong []string
	for name, value := range given {
		ok := false
		switch name {
		case "deviceClientId":
			ok = json.Unmarshal(value, &s.Device) == nil
		case "url":
			ok = json.Unmarshal(value, &s.URL) == nil && pushURL(s.URL)
		case "keys":
			ok = s.readKeys(value)
		case "verificationCode":
			ok = string(value) == "null"
		case "expires":
			ok = s.readExpires(value, now)
		case "types":
			ok = s.readTypes(value)
		}
		if !ok {
			wrong = append(wrong, name)
		}
	}
	if s.Device == "" || len(s.Device) > deviceMax {
		wrong = append(wrong, "deviceClientId")
	}
	if s.URL == "" {
		wrong = append(wrong, "url")
	}
	if wrong != nil {
		return jmap.InvalidProperties(wrong, "see RFC 8620, 7.2; url must begin with https://")
	}
	return nil
}

// pushURL tells whether a URL can be pushed to.
func pushURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= urlMax && strings.HasPrefix(s, "https://") && u.Hostname() != "" && u.User == nil && u.Fragment == ""
}

func (s *subscription) readKeys(value json.RawMessage) bool {
	var keys *struct {
		P256DH string `json:"p256dh"`
		Auth   string `json:"auth"`
	}
	if json.Unmarshal(value, &keys) != nil {
		return false
	}
	if keys == nil {
		return true
	}
	s.P256DH, s.Auth = keys.P256DH, keys.Auth
	_, err := webpush.ParseKeys(s.P256DH, s.Auth)
	return err == nil
}

// readExpires reads the end that a client wants; ours comes before it where that is too late.
func (s *subscription) readExpires(value json.RawMessage, now time.Time) bool {
	var text *string
	if json.Unmarshal(value, &text) != nil {
		return false
	}
	latest := now.Add(expiresMax).Truncate(time.Second)
	if text == nil {
		s.Expires = latest
		return true
	}
	at, ok := jmap.ParseUTCDate(*text)
	if !ok || !at.After(now) {
		return false
	}
	if s.Expires = at; at.After(latest) {
		s.Expires = latest
	}
	return true
}

func (s *subscription) readTypes(value json.RawMessage) bool {
	var types []string
	if json.Unmarshal(value, &types) != nil || len(types) > typesMax {
		return false
	}
	for _, t := range types {
		if t == "" || len(t) > typeMax {
			return false
		}
	}
	s.Types = types
	return true
}

// update changes a subscription (RFC 8620, 7.2.2).
func (p *pusher) update(ctx context.Context, u *access.User, id jmap.ID, patch jmap.Properties) (jmap.Object, error) {
	o, err := p.find(ctx, u, id)
	if err != nil {
		return nil, err
	}
	var changed jmap.Object
	var s *subscription
	err = p.house.Objects.Update(ctx, u.ID, objects.PushSubscription, o.ID, func(value []byte) ([]byte, error) {
		s = new(subscription)
		if err := json.Unmarshal(value, s); err != nil {
			return nil, err
		}
		if changed, err = s.patch(patch, p.now()); err != nil {
			return nil, err
		}
		return json.Marshal(s)
	})
	if errors.Is(err, objects.ErrNotFound) {
		return nil, jmap.NewSetError(jmap.SetNotFound, "no such subscription")
	}
	if err != nil {
		return nil, err
	}
	p.follow(u.ID, o.ID, s)
	return changed, nil
}

// patch applies a patch and returns what became otherwise than the client wrote.
func (s *subscription) patch(patch jmap.Properties, now time.Time) (jmap.Object, error) {
	var changed jmap.Object
	for name, value := range patch {
		ok := false
		switch name {
		case "verificationCode":
			var code string
			ok = json.Unmarshal(value, &code) == nil && subtle.ConstantTimeCompare([]byte(code), []byte(s.Code)) == 1
			s.Verified = s.Verified || ok
		case "expires":
			var asked string
			if ok = s.readExpires(value, now); ok {
				if json.Unmarshal(value, &asked) != nil || asked != jmap.FormatUTCDate(s.Expires) {
					changed = jmap.Object{"expires": jmap.FormatUTCDate(s.Expires)}
				}
			}
		case "types":
			ok = s.readTypes(value)
		}
		if !ok {
			return nil, jmap.InvalidProperties([]string{name}, "it cannot be changed, or not to that")
		}
	}
	return changed, nil
}

// pushSpace has, for all accounts, which of them have subscriptions (key "a" and the id) and
// our key for push services (key "k").
const pushSpace = kv.Space("push")

func accountKey(id mailstore.AccountID) []byte {
	return binary.BigEndian.AppendUint64([]byte{'a'}, uint64(id))
}

// accounts lists those that have subscriptions, or had.
func (p *pusher) accounts(ctx context.Context) ([]mailstore.AccountID, error) {
	snap, err := p.house.Committer.Engine.Snapshot(ctx, pushSpace)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	var list []mailstore.AccountID
	for e, err := range snap.Scan(kv.Prefix([]byte{'a'})) {
		if err != nil {
			return nil, err
		}
		if len(e.Key) == len(accountKey(0)) {
			list = append(list, hlc.ID(binary.BigEndian.Uint64(e.Key[1:])))
		}
	}
	return list, nil
}

// key reads our key; the first to ask makes it.
func (p *pusher) readKey(ctx context.Context) (*webpush.Key, error) {
	name := []byte{'k'}
	var raw []byte
	err := p.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		snap, err := p.house.Committer.Engine.Snapshot(ctx, pushSpace)
		if err != nil {
			return err
		}
		defer snap.Close()
		if raw, err = snap.Get(name); !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		fresh, err := webpush.NewKey()
		if err != nil {
			return err
		}
		if raw, err = fresh.Bytes(); err != nil {
			return err
		}
		b := u.Batch(pushSpace)
		b.Guards = append(b.Guards, kv.Guard{Kind: kv.GuardAbsent, Key: name})
		b.Puts = append(b.Puts, kv.Put{Key: name, Value: raw})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return webpush.ParseKey(raw)
}
