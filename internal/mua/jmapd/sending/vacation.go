package sending

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
)

// singleton is the id of the one VacationResponse of an account (RFC 8621, 8), and
// vacationID that of its object.
const (
	singleton  = jmap.ID("singleton")
	vacationID = hlc.ID(1)
)

// Limits of a vacation response, in octets; its record and its script have room for them.
const (
	subjectMax = 500
	bodyMax    = 20 << 10 // of each body
)

// vacation is a VacationResponse as it is stored.
type vacation struct {
	Enabled bool       `json:"on,omitempty"`
	From    *time.Time `json:"from,omitempty"`
	To      *time.Time `json:"to,omitempty"`
	Subject *string    `json:"subject,omitempty"`
	Text    *string    `json:"text,omitempty"`
	HTML    *string    `json:"html,omitempty"`
}

// vacationMethods are those of VacationResponse (RFC 8621, 8).
func (m *Methods) vacationMethods() []jmap.Method {
	t := &jmap.DataType{Name: "VacationResponse", Capability: CapabilityVacation,
		Property: members("id", "isEnabled", "fromDate", "toDate", "subject", "textBody", "htmlBody")}
	return []jmap.Method{t.Get(nil, m.getVacation), t.Set(nil, m.setVacation)}
}

// readVacation reads what an account has, with its object; nil: nothing was ever set.
func (m *Methods) readVacation(ctx context.Context, id mailstore.AccountID) (*vacation, *objects.Object, error) {
	v := new(vacation)
	o, err := m.house.Objects.One(ctx, id, objects.Vacation, vacationID)
	if errors.Is(err, objects.ErrNotFound) {
		return v, nil, nil
	}
	if err == nil && json.Unmarshal(o.Value, v) != nil {
		err = fmt.Errorf("%w: vacation response of %s", mailstore.ErrDamaged, id)
	}
	return v, o, err
}

// getVacation answers VacationResponse/get (RFC 8621, 8.1).
func (m *Methods) getVacation(ctx context.Context, c *jmap.Call, args *jmap.GetArgs) (*jmap.GetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	state, err := m.house.Objects.State(ctx, a.ID(), objects.Vacation)
	if err != nil {
		return nil, err
	}
	v, _, err := m.readVacation(ctx, a.ID())
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
			r.List = append(r.List, pick(args, v.object()))
		} else {
			r.NotFound = append(r.NotFound, id)
		}
	}
	return r, nil
}

// object is the response as clients see it.
func (v *vacation) object() jmap.Object {
	date := func(t *time.Time) any {
		if t == nil {
			return nil
		}
		return jmap.FormatUTCDate(*t)
	}
	return jmap.Object{"id": singleton, "isEnabled": v.Enabled, "fromDate": date(v.From), "toDate": date(v.To),
		"subject": v.Subject, "textBody": v.Text, "htmlBody": v.HTML}
}

// setVacation answers VacationResponse/set (RFC 8621, 8.2): there is one, always.
func (m *Methods) setVacation(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	r, err := m.house.BeginSet(ctx, a, objects.Vacation, args)
	if err != nil {
		return nil, err
	}
	only := jmap.NewSetError(jmap.SetSingleton, "an account has one vacation response")
	for _, made := range args.Create {
		r.NotCreate(made.ID, only)
	}
	for _, u := range args.Update {
		if u.ID != singleton {
			r.NotUpdate(u.ID, jmap.NewSetError(jmap.SetNotFound, "no such object"))
			continue
		}
		told, err := setError(m.updateVacation(ctx, a, u.Patch))
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
			r.NotDestroy(id, jmap.NewSetError(jmap.SetNotFound, "no such object"))
		}
	}
	return m.house.EndSet(ctx, a, objects.Vacation, r)
}

// updateVacation changes the response, and in the same commit the script that gives it.
func (m *Methods) updateVacation(ctx context.Context, a *access.Account, patch jmap.Properties) error {
	return m.house.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		v, old, err := m.readVacation(ctx, a.ID())
		if err != nil {
			return err
		}
		for name, raw := range patch {
			if err := v.set(name, raw); err != nil {
				return jmap.InvalidProperties([]string{name}, "%s: %s", name, err)
			}
		}
		value, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if old == nil {
			err = m.house.Objects.PrepareCreate(u, a.ID(), objects.Vacation, vacationID, value)
		} else {
			err = m.house.Objects.PrepareUpdate(u, a.ID(), objects.Vacation, old, value)
		}
		if err != nil {
			return err
		}
		return m.house.Scripts.PrepareGenerated(ctx, u, a.ID(), v.script())
	})
}

// set takes one property.
func (v *vacation) set(name string, raw json.RawMessage) error {
	switch name {
	case "id":
		if !sameJSON(raw, singleton) {
			return errors.New("cannot be changed")
		}
		return nil
	case "isEnabled":
		v.Enabled = false
		if !isNull(raw) && json.Unmarshal(raw, &v.Enabled) != nil {
			return errors.New("no boolean")
		}
		return nil
	case "fromDate":
		return setDate(&v.From, raw)
	case "toDate":
		return setDate(&v.To, raw)
	case "subject":
		return setOptional(&v.Subject, raw, subjectMax)
	case "textBody":
		return setOptional(&v.Text, raw, bodyMax)
	case "htmlBody":
		return setOptional(&v.HTML, raw, bodyMax)
	}
	return errors.New("no such property")
}

// setDate takes a UTCDate or null.
func setDate(into **time.Time, raw json.RawMessage) error {
	*into = nil
	if isNull(raw) {
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return errors.New("no date")
	}
	t, ok := jmap.ParseUTCDate(s)
	if !ok {
		return errors.New("no date in UTC")
	}
	t = t.Truncate(time.Second)
	*into = &t
	return nil
}

// setOptional takes a string or null.
func setOptional(into **string, raw json.RawMessage, most int) error {
	*into = nil
	if isNull(raw) {
		return nil
	}
	s := new(string)
	if err := setText(s, raw, most); err != nil {
		return err
	}
	*into = s
	return nil
}
