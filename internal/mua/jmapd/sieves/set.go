package sieves

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postroad/internal/mua/jmapd/access"
	"postroad/internal/scripts"
	"postroad/jmap"
)

// Types of SetError of RFC 9661, 2.4.
const (
	invalidSieve = "invalidSieve"
	sieveActive  = "sieveIsActive"
	blobNotFound = "blobNotFound"
)

// setError is what a client is told of an error; nil for one that is ours.
func setError(err error) *jmap.SetError {
	var e *jmap.SetError
	var wrong *scripts.CompileError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &wrong):
		return jmap.NewSetError(invalidSieve, "%s", wrong.Err)
	case errors.Is(err, scripts.ErrEmpty):
		return jmap.NewSetError(invalidSieve, "the script is empty")
	case errors.Is(err, scripts.ErrNoScript):
		return jmap.NewSetError(jmap.SetNotFound, "no such script")
	case errors.Is(err, scripts.ErrExists):
		return jmap.NewSetError(jmap.SetAlreadyExists, "another script has this name")
	case errors.Is(err, scripts.ErrActive):
		return jmap.NewSetError(sieveActive, "the active script cannot be destroyed")
	case errors.Is(err, scripts.ErrName):
		return jmap.InvalidProperties([]string{"name"}, "that cannot be the name of a script")
	case errors.Is(err, scripts.ErrTooMany):
		return jmap.NewSetError(jmap.SetOverQuota, "there are too many scripts")
	case errors.Is(err, scripts.ErrTooLarge):
		return jmap.NewSetError(jmap.SetTooLarge, "a script has at most %d octets", scripts.ScriptMax)
	case errors.Is(err, scripts.ErrFull):
		return jmap.NewSetError(jmap.SetOverQuota, "the server has no space left")
	case errors.Is(err, jmap.ErrBlobNotFound):
		return jmap.NewSetError(blobNotFound, "there is no such blob")
	}
	return nil
}

// setting is one call of SieveScript/set.
type setting struct {
	*Methods
	call    *jmap.Call
	account *access.Account
	owner   scripts.Owner
	result  *jmap.SetResult
}

// set answers SieveScript/set.
func (m *Methods) set(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	s := &setting{m, c, a, scripts.OfAccount(a.ID()), &jmap.SetResult{}}
	if s.result.OldState, err = m.state(ctx, a); err != nil {
		return nil, err
	}
	if args.IfInState != nil && *args.IfInState != s.result.OldState {
		return nil, jmap.ErrStateMismatch
	}
	var activate *jmap.ID
	var deactivate bool
	if raw, ok := args.Extra["onSuccessActivateScript"]; ok && json.Unmarshal(raw, &activate) != nil {
		return nil, jmap.InvalidArguments("onSuccessActivateScript: no Id")
	}
	if raw, ok := args.Extra["onSuccessDeactivateScript"]; ok && json.Unmarshal(raw, &deactivate) != nil {
		return nil, jmap.InvalidArguments("onSuccessDeactivateScript: no Boolean")
	}
	if err := s.changes(ctx, args); err != nil {
		return nil, err
	}
	if len(s.result.NotCreated)+len(s.result.NotUpdated)+len(s.result.NotDestroyed) == 0 && (activate != nil || deactivate) {
		if err := s.activate(ctx, activate); err != nil {
			return nil, err
		}
	}
	s.result.NewState, err = m.state(ctx, a)
	return s.result, err
}

// changes creates, updates and destroys.
func (s *setting) changes(ctx context.Context, args *jmap.SetArgs) error {
	for _, creation := range args.Create {
		o, err := s.create(ctx, creation.Object)
		if e := setError(err); e != nil {
			s.result.NotCreate(creation.ID, e)
		} else if err != nil {
			return err
		} else {
			s.result.Create(creation.ID, o)
			s.call.Created(creation.ID, o["id"].(jmap.ID))
		}
	}
	for _, update := range args.Update {
		o, err := s.update(ctx, update.ID, update.Patch)
		if e := setError(err); e != nil {
			s.result.NotUpdate(update.ID, e)
		} else if err != nil {
			return err
		} else {
			s.result.Update(update.ID, o)
		}
	}
	for _, id := range args.Destroy {
		script, err := s.find(ctx, id)
		if err == nil {
			err = s.house.Scripts.Delete(ctx, s.owner, script.Name)
		}
		if e := setError(err); e != nil {
			s.result.NotDestroy(id, e)
		} else if err != nil {
			return err
		} else {
			s.result.Destroyed = append(s.result.Destroyed, id)
		}
	}
	return nil
}

// find returns a script by id; scripts.ErrNoScript.
func (s *setting) find(ctx context.Context, id jmap.ID) (*scripts.Script, error) {
	n, ok := access.ParseID(scriptID, id)
	if !ok {
		return nil, scripts.ErrNoScript
	}
	all, err := s.house.Scripts.List(ctx, s.owner)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == n {
			return &all[i], nil
		}
	}
	return nil, scripts.ErrNoScript
}

// given are the properties that a client sets; nil ones it does not.
type given struct {
	name *string
	blob *jmap.ID
}

// read takes the properties of a client's object; those set by the server may be repeated as
// they are.
func (s *setting) read(p jmap.Properties, is jmap.Object) (*given, error) {
	g := new(given)
	for property, raw := range p {
		var err error
		switch property {
		case "name":
			err = json.Unmarshal(raw, &g.name)
		case "blobId":
			err = json.Unmarshal(raw, &g.blob)
		default:
			if text, e := json.Marshal(is[property]); e != nil || is[property] == nil || string(text) != string(raw) {
				return nil, jmap.InvalidProperties([]string{property}, "not to be set, or no such property")
			}
		}
		if err != nil {
			return nil, jmap.InvalidProperties([]string{property}, "%s: of the wrong type", property)
		}
	}
	return g, nil
}

// create makes a script. Without a name it gets one that is free.
func (s *setting) create(ctx context.Context, p jmap.Properties) (jmap.Object, error) {
	g, err := s.read(p, jmap.Object{"isActive": false})
	if err != nil {
		return nil, err
	}
	if g.blob == nil {
		return nil, jmap.InvalidProperties([]string{"blobId"}, "the blob with the script is missing")
	}
	all, err := s.house.Scripts.List(ctx, s.owner)
	if err != nil {
		return nil, err
	}
	taken := func(name string) bool {
		return slices.ContainsFunc(all, func(other scripts.Script) bool { return other.Name == name })
	}
	var name string
	if g.name != nil {
		name = *g.name
	} else {
		for n := 1; name == "" || taken(name); n++ {
			name = fmt.Sprintf("Script %d", n)
		}
	}
	if taken(name) {
		return nil, scripts.ErrExists
	}
	content, err := s.blob(ctx, *g.blob)
	if err != nil {
		return nil, err
	}
	if _, err := s.house.Scripts.Put(ctx, s.owner, name, content); err != nil {
		return nil, err
	}
	return s.told(ctx, name, p)
}

// blob reads the content that a client names.
func (s *setting) blob(ctx context.Context, id jmap.ID) ([]byte, error) {
	id, ok := s.call.Resolve(id)
	if !ok {
		return nil, jmap.ErrBlobNotFound
	}
	return s.content(ctx, s.account, id)
}

// told is what a client is told of a script: what he has not set himself. The blob that he
// uploaded ends, so the script's own is told too.
func (s *setting) told(ctx context.Context, name string, p jmap.Properties) (jmap.Object, error) {
	all, err := s.house.Scripts.List(ctx, s.owner)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name != name {
			continue
		}
		o := object(&all[i])
		for property := range p {
			if property != "blobId" {
				delete(o, property)
			}
		}
		return o, nil
	}
	return nil, scripts.ErrNoScript
}

// update changes name and content; the content first, as it may not compile.
func (s *setting) update(ctx context.Context, id jmap.ID, p jmap.Properties) (jmap.Object, error) {
	script, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	g, err := s.read(p, object(script))
	if err != nil {
		return nil, err
	}
	if _, has := p["name"]; has && g.name == nil {
		return nil, jmap.InvalidProperties([]string{"name"}, "a script has a name")
	}
	var o jmap.Object
	if g.blob != nil {
		content, err := s.blob(ctx, *g.blob)
		if err != nil {
			return nil, err
		}
		if _, err := s.house.Scripts.Put(ctx, s.owner, script.Name, content); err != nil {
			return nil, err
		}
		told, err := s.told(ctx, script.Name, p)
		if err != nil {
			return nil, err
		}
		o = jmap.Object{"blobId": told["blobId"]}
	}
	if g.name != nil && *g.name != script.Name {
		if err := s.house.Scripts.Rename(ctx, s.owner, script.Name, *g.name); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// activate makes another script the active one, or none for nil; one that is not there is
// passed over. Both are told of whose isActive is another one (RFC 9661, 2.4).
func (s *setting) activate(ctx context.Context, id *jmap.ID) error {
	name := ""
	if id != nil {
		resolved, _ := s.call.Resolve(*id)
		script, err := s.find(ctx, resolved)
		if errors.Is(err, scripts.ErrNoScript) {
			return nil
		}
		if err != nil {
			return err
		}
		name = script.Name
	}
	before, err := s.house.Scripts.List(ctx, s.owner)
	if err != nil {
		return err
	}
	if err := s.house.Scripts.Activate(ctx, s.account.ID(), name); err != nil {
		return err
	}
	for _, script := range before {
		if active := script.Name == name; active != script.Active {
			s.tellActive(access.FormatID(scriptID, script.ID), active)
		}
	}
	return nil
}

// tellActive tells of a script that is active now, or no longer.
func (s *setting) tellActive(id jmap.ID, active bool) {
	for _, made := range s.result.Created {
		if made["id"] == id {
			made["isActive"] = active
			return
		}
	}
	o := s.result.Updated[id]
	if o == nil {
		o = jmap.Object{}
	}
	o["isActive"] = active
	s.result.Update(id, o)
}

// choose is the whole result of a query (RFC 9661, 2.5).
func choose(all []scripts.Script, f *jmap.Filter, by []jmap.Comparator) ([]jmap.ID, error) {
	var found []scripts.Script
	for _, s := range all {
		is, err := f.Meets(func(p jmap.Properties) (bool, error) { return meets(&s, p) })
		if err != nil {
			return nil, err
		}
		if is {
			found = append(found, s)
		}
	}
	for _, one := range by {
		if one.Property != "name" && one.Property != "isActive" {
			return nil, jmap.ErrUnsupportedSort.With("%s: no property to sort scripts by", one.Property)
		}
	}
	slices.SortStableFunc(found, func(a, b scripts.Script) int {
		for _, one := range by {
			d := strings.Compare(a.Name, b.Name)
			if one.Property == "isActive" {
				d = strings.Compare(fmt.Sprint(a.Active), fmt.Sprint(b.Active)) // "false" is before "true"
			}
			if one.Descending {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
	ids := make([]jmap.ID, len(found))
	for i, s := range found {
		ids[i] = access.FormatID(scriptID, s.ID)
	}
	return ids, nil
}

// meets tells whether a script meets a condition.
func meets(s *scripts.Script, f jmap.Properties) (bool, error) {
	for property, raw := range f {
		var name string
		var active bool
		switch {
		case property == "name" && json.Unmarshal(raw, &name) == nil:
			if !strings.Contains(s.Name, name) {
				return false, nil
			}
		case property == "isActive" && json.Unmarshal(raw, &active) == nil:
			if s.Active != active {
				return false, nil
			}
		case property == "name" || property == "isActive":
			return false, jmap.InvalidArguments("filter: %s: of the wrong type", property)
		default:
			return false, jmap.ErrUnsupportedFilter.With("%s: no property of a filter for scripts", property)
		}
	}
	return true, nil
}
