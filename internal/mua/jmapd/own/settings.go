package own

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/jmap"
)

// singleton is the id of the one Settings of an account, and settingsID that of its object.
const (
	singleton  = jmap.ID("singleton")
	settingsID = hlc.ID(1)
)

// Limits of settings.
const (
	ValuesMax      = 48 << 10 // octets of the property values, as JSON without spaces
	undoSecondsMax = int64(outbox.UndoMax / time.Second)
)

var settingsProperties = []string{"id", "values", "undoSeconds"}

// settingsMethods are those of Settings.
func (m *Methods) settingsMethods() []jmap.Method {
	t := &jmap.DataType{Name: "Settings", Capability: Capability,
		Property: func(name string) bool { return slices.Contains(settingsProperties, name) }}
	return []jmap.Method{t.Get(nil, m.getSettings), t.Set(nil, m.setSettings)}
}

// settings are those of an account.
type settings struct {
	values json.RawMessage // an object
	undo   time.Duration
	object *objects.Object // nil: never set
}

// readSettings reads what an account has. How long sending can be undone is the outbox's.
func (m *Methods) readSettings(ctx context.Context, id mailstore.AccountID) (*settings, error) {
	s := &settings{values: json.RawMessage("{}")}
	var err error
	if s.undo, err = m.o.Outbox.Undo(ctx, id); err != nil {
		return nil, err
	}
	s.object, err = m.house.Objects.One(ctx, id, objects.Setting, settingsID)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		return s, nil
	case err != nil:
		return nil, err
	case !isObject(s.object.Value):
		return nil, fmt.Errorf("%w: settings of %s", objects.ErrDamaged, id)
	}
	s.values = s.object.Value
	return s, nil
}

// isObject tells whether a JSON text is an object.
func isObject(raw json.RawMessage) bool {
	var members jmap.Properties
	return json.Unmarshal(raw, &members) == nil && members != nil
}

// getSettings answers Settings/get.
func (m *Methods) getSettings(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	state, err := m.house.Objects.State(ctx, a.ID(), objects.Setting)
	if err != nil {
		return nil, err
	}
	s, err := m.readSettings(ctx, a.ID())
	if err != nil {
		return nil, err
	}
	r := &jmap.GetResult{State: state.String()}
	ids := args.IDs
	if ids == nil {
		ids = []jmap.ID{singleton}
	}
	for _, id := range ids {
		if id == singleton {
			r.List = append(r.List, pick(args, jmap.Object{"id": singleton, "values": s.values, "undoSeconds": int64(s.undo / time.Second)}))
		} else {
			r.NotFound = append(r.NotFound, id)
		}
	}
	return r, nil
}

// setSettings answers Settings/set: there is one, always (RFC 8620, 5.3, singleton).
func (m *Methods) setSettings(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r, err := m.house.BeginSet(ctx, a, objects.Setting, args)
	if err != nil {
		return nil, err
	}
	only := jmap.NewSetError(jmap.SetSingleton, "an account has its settings once")
	for _, made := range args.Create {
		r.NotCreate(made.ID, only)
	}
	for _, u := range args.Update {
		if u.ID != singleton {
			r.NotUpdate(u.ID, notFound())
			continue
		}
		told, err := setError(m.updateSettings(ctx, a, u.Patch))
		switch {
		case err != nil:
			return nil, err
		case told != nil:
			r.NotUpdate(u.ID, told)
		default:
			r.Update(u.ID, nil)
		}
	}
	for _, id := range args.Destroy {
		if id == singleton {
			r.NotDestroy(id, only)
		} else {
			r.NotDestroy(id, notFound())
		}
	}
	return m.house.EndSet(ctx, a, objects.Setting, r)
}

// updateSettings changes settings, values and seconds in one commit. The object is written
// even where only the seconds change: its log is that of both.
func (m *Methods) updateSettings(ctx context.Context, a *access.Account, patch jmap.Properties) error {
	_, wrong := (&settings{values: json.RawMessage("{}")}).patched(jmap.Properties{"undoSeconds": patch["undoSeconds"]})
	if wrong != nil {
		return wrong
	}
	if raw, ok := patch["undoSeconds"]; ok {
		seconds, _ := undoSeconds(raw)
		if err := m.o.Outbox.MayWait(ctx, a.ID(), seconds); err != nil {
			return err
		}
	}
	return m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		old, err := m.readSettings(ctx, a.ID())
		if err != nil {
			return err
		}
		s, wrong := old.patched(patch)
		if wrong != nil {
			return wrong
		}
		if _, ok := patch["undoSeconds"]; ok {
			m.o.Outbox.PrepareUndo(u, a.ID(), s.undo)
		}
		if old.object == nil {
			return m.house.Objects.PrepareCreate(u, a.ID(), objects.Setting, settingsID, s.values)
		}
		return m.house.Objects.PrepareUpdate(u, a.ID(), objects.Setting, old.object, s.values)
	})
}

// patched is settings with a patch applied.
func (s *settings) patched(patch jmap.Properties) (*settings, *jmap.SetError) {
	seconds, err := json.Marshal(int64(s.undo / time.Second))
	if err != nil {
		return nil, jmap.NewSetError(jmap.SetInvalidPatch, "no JSON")
	}
	p, wrong := jmap.ApplyPatch(jmap.Properties{"id": json.RawMessage(`"singleton"`), "values": s.values, "undoSeconds": seconds}, patch)
	if wrong != nil {
		return nil, wrong
	}
	out := &settings{values: json.RawMessage("{}"), object: s.object}
	for name, raw := range p {
		switch name {
		case "id":
			if string(raw) != `"singleton"` {
				return nil, jmap.InvalidProperties([]string{name}, "the id cannot be changed")
			}
		case "values":
			if out.values, wrong = compact(raw); wrong != nil {
				return nil, wrong
			}
		case "undoSeconds":
			var ok bool
			if out.undo, ok = undoSeconds(raw); !ok {
				return nil, jmap.InvalidProperties([]string{name}, "not a whole number from 0 to %d", undoSecondsMax)
			}
		default:
			return nil, jmap.InvalidProperties([]string{name}, "%q is no property of Settings", name)
		}
	}
	return out, nil
}

// compact is an object of values as it is stored.
func compact(raw json.RawMessage) (json.RawMessage, *jmap.SetError) {
	if !isObject(raw) {
		return nil, jmap.InvalidProperties([]string{"values"}, "values: no object")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, jmap.InvalidProperties([]string{"values"}, "values: no JSON")
	}
	if b.Len() > ValuesMax {
		return nil, jmap.NewSetError(jmap.SetTooLarge, "values has %d octets; it may have %d", b.Len(), ValuesMax)
	}
	return b.Bytes(), nil
}

// undoSeconds reads the property; null and nothing are its default, 0.
func undoSeconds(raw json.RawMessage) (time.Duration, bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return 0, true
	}
	var n int64
	if err := json.Unmarshal(raw, &n); err != nil || n < 0 || n > undoSecondsMax {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}
