package email

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/jmap"
)

// reading is one object of Mailbox/set as it is read.
type reading struct {
	s       *folderSet
	change  *folderChange
	sharing *sharing
	invalid []string // properties that cannot be so
	why     string   // what is wrong with the first of them
	denied  bool
}

// read makes the edit of an object: what is wrong with it, whatever else the call does, is
// the SetError. Values that are so already are no changes, so that whole objects can be
// sent back (RFC 8620, 5.3).
func (s *folderSet) read(ctx context.Context, f *folderChange) (*jmap.SetError, error) {
	r := &reading{s: s, change: f}
	names := make([]string, 0, len(f.given))
	for name := range f.given {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if i > 0 && strings.HasPrefix(name, names[i-1]+"/") {
			return jmap.NewSetError(jmap.SetInvalidPatch, "%s is a part of %s, which is set too", name, names[i-1]), nil
		}
		if e := r.property(name, f.given[name]); e != nil {
			return e, nil
		}
	}
	if f.edit.Create {
		r.creation()
	}
	r.reserved()
	switch {
	case len(r.invalid) > 0:
		return jmap.InvalidProperties(r.invalid, "%s", r.why), nil
	case r.denied:
		return jmap.NewSetError(jmap.SetForbidden, "you have not the right to do that"), nil
	case r.sharing == nil:
		return nil, nil
	}
	return r.share(ctx)
}

// wrong notes a property that cannot be so.
func (r *reading) wrong(name, why string) {
	if !slices.Contains(r.invalid, name) {
		r.invalid = append(r.invalid, name)
	}
	if r.why == "" {
		r.why = name + ": " + why
	}
}

// property reads one member of an object or a patch.
func (r *reading) property(name string, raw json.RawMessage) *jmap.SetError {
	path := strings.Split(name, "/")
	for i := range path { // RFC 6901, 4
		path[i] = strings.ReplaceAll(strings.ReplaceAll(path[i], "~1", "/"), "~0", "~")
	}
	if path[0] == propertyShareWith && r.s.share {
		if r.sharing == nil {
			r.sharing = &sharing{}
		}
		return r.sharing.set(path[1:], raw)
	}
	read, known := propertyReaders[name]
	switch {
	case known:
		read(r, raw)
	case slices.Contains(mailboxProperties, path[0]) && len(path) == 1:
		r.serverSet(name, raw)
	case slices.Contains(mailboxProperties, path[0]):
		return jmap.NewSetError(jmap.SetInvalidPatch, "%s: nothing is in %s to be changed", name, path[0])
	default:
		r.wrong(name, "no property of Mailbox")
	}
	return nil
}

// propertyReaders read the properties that clients set.
var propertyReaders = map[string]func(r *reading, raw json.RawMessage){
	"name":         (*reading).name,
	"parentId":     (*reading).parentID,
	"role":         (*reading).role,
	"sortOrder":    (*reading).sortOrder,
	"isSubscribed": (*reading).isSubscribed,
}

// inbox tells that the object is INBOX.
func (r *reading) inbox() bool { return r.change.f != nil && r.change.f.role == roleInbox }

// may asks for the right to change a mailbox that is there.
func (r *reading) may(right imap.Rights) {
	if f := r.change.f; f != nil && !f.rights.Has(right) {
		r.denied = true
	}
}

func (r *reading) name(raw json.RawMessage) {
	name, ok := readMember[string](raw)
	switch {
	case !ok || name == "":
		r.wrong("name", "must be a text that is not empty")
	case r.change.f != nil && r.change.f.name == name:
	case r.inbox():
		r.denied = true
	case strings.Contains(name, mailstore.Separator):
		r.wrong("name", `may have no "/"`)
	default:
		r.change.edit.Name = &name
		r.may(imap.RightDelete)
	}
}

// parentID reads the mailbox above; one that the same request made is named by "#" and its
// creation id.
func (r *reading) parentID(raw json.RawMessage) {
	var given *jmap.ID
	if err := json.Unmarshal(raw, &given); err != nil {
		r.wrong("parentId", "no id")
		return
	}
	var parent mailstore.MailboxID
	rights := imap.RightsAll
	if given != nil {
		var ok bool
		if parent, rights, ok = r.s.parent(*given); !ok {
			r.wrong("parentId", "no such mailbox")
			return
		}
	} else if !r.s.a.Own {
		rights = 0 // at the top of another one's account
	}
	switch {
	case r.change.f != nil && r.change.f.parent == parent:
		return
	case r.inbox():
		r.denied = true
	case !rights.Has(imap.RightCreate):
		r.denied = true
	}
	r.change.edit.Parent = &parent
	r.may(imap.RightDelete)
}

// parent finds a mailbox to be above another one, and what the user may do there.
func (s *folderSet) parent(id jmap.ID) (mailstore.MailboxID, imap.Rights, bool) {
	if creation, is := strings.CutPrefix(string(id), "#"); is {
		if made, ok := s.made[jmap.ID(creation)]; ok {
			return made, imap.RightsAll, true // which he could make only where he may go on
		}
		var ok bool
		if id, ok = s.c.Resolve(id); !ok {
			return 0, 0, false
		}
	}
	f := s.fs.folder(id)
	if f == nil {
		return 0, 0, false
	}
	return f.ID, f.rights, true
}

// role reads the role. It is the owner's to give: there is one of each in an account.
func (r *reading) role(raw json.RawMessage) {
	var given *string
	if err := json.Unmarshal(raw, &given); err != nil {
		r.wrong("role", "no text")
		return
	}
	before, role := "", ""
	if r.change.f != nil {
		before = r.change.f.role
	}
	if given != nil {
		role = *given
	}
	use, ok := imap.MailboxAttr(""), true
	if given != nil {
		use, ok = parseRole(role)
	}
	switch {
	case role == before && (given == nil || role != ""):
	case r.inbox():
		r.denied = true
	case !ok:
		r.wrong("role", "no role that a mailbox can be given")
	default:
		r.change.edit.Role = &use
		r.denied = r.denied || !r.s.a.Own
	}
}

func (r *reading) sortOrder(raw json.RawMessage) {
	var given *float64
	if err := json.Unmarshal(raw, &given); err != nil {
		r.wrong("sortOrder", "no number")
		return
	}
	var n float64
	if given != nil {
		n = *given
	}
	if n < 0 || n > mailstore.SortOrderMax || n != math.Trunc(n) {
		r.wrong("sortOrder", "not within 0 and 2^31-1")
		return
	}
	order := uint32(n)
	if r.change.f == nil || r.change.f.SortOrder != order {
		r.change.edit.SortOrder = &order
		r.may(imap.RightDelete)
	}
}

func (r *reading) isSubscribed(raw json.RawMessage) {
	on, ok := readMember[bool](raw)
	if !ok {
		r.wrong("isSubscribed", "not true or false")
		return
	}
	r.subscribe(on)
}

func (r *reading) subscribe(on bool) {
	switch {
	case r.change.f != nil && r.change.f.subscribed == on:
	case r.s.a.Own:
		r.change.edit.Subscribed = &on
	default:
		r.change.subscribe = &on
	}
}

// serverSet reads a property that is the server's: in an update it may be there as it is.
func (r *reading) serverSet(name string, raw json.RawMessage) {
	if r.change.f == nil {
		r.wrong(name, "is set by the server")
		return
	}
	if slices.Contains(countProperties, name) {
		r.count(name, raw)
		return
	}
	fs := r.s.fs
	now := fs.object(r.change.f, mailstore.Counts{}, r.s.share, func(n string) bool { return n == name })
	if !sameJSON(raw, now[name]) {
		r.wrong(name, "is set by the server")
	}
}

// count reads a number of messages or threads.
func (r *reading) count(name string, raw json.RawMessage) {
	now := r.s.fs.object(r.change.f, r.s.e.Counts(r.change.f.ID), false, func(n string) bool { return n == name })
	if !sameJSON(raw, now[name]) {
		r.wrong(name, "is set by the server")
	}
}

// sameJSON tells whether a value is written so.
func sameJSON(raw json.RawMessage, v any) bool {
	text, err := json.Marshal(v)
	if err != nil {
		return false
	}
	var a, b any
	return json.Unmarshal(raw, &a) == nil && json.Unmarshal(text, &b) == nil && reflect.DeepEqual(a, b)
}

// creation fills in what a new mailbox needs.
func (r *reading) creation() {
	if r.change.edit.Name == nil && !slices.Contains(r.invalid, "name") {
		r.wrong("name", "is missing")
	}
	if r.change.edit.Parent == nil && !r.s.a.Own && !slices.Contains(r.invalid, "parentId") {
		r.denied = true
	}
	if _, given := r.change.given["isSubscribed"]; !given {
		r.subscribe(true)
	}
}

// reserved refuses names at the top that are those of the namespaces of other users'
// mailboxes in IMAP (RFC 2342).
func (r *reading) reserved() {
	e := &r.change.edit
	var name string
	var parent mailstore.MailboxID
	if f := r.change.f; f != nil {
		name, parent = f.Level(), f.Parent
	}
	if e.Name != nil {
		name = *e.Name
	}
	if e.Parent != nil {
		parent = *e.Parent
	}
	if parent == 0 && (e.Name != nil || e.Parent != nil) && (name == levelOthers || name == levelShared) {
		r.wrong("name", "is for the mailboxes of others")
	}
}

// share makes the access control list.
func (r *reading) share(ctx context.Context) (*jmap.SetError, error) {
	var before mailstore.ACL
	f := r.change.f
	if f != nil {
		before = f.ACL
	}
	after, err := r.sharing.apply(ctx, r.s.m.house, r.s.a, before)
	var e *jmap.SetError
	switch {
	case errors.As(err, &e):
		return e, nil
	case err != nil:
		return nil, err
	case slices.Equal(before, after) && f != nil:
		return nil, nil
	case f != nil && !f.rights.Has(imap.RightAdminister), f == nil && !r.s.a.Own:
		return jmap.NewSetError(jmap.SetForbidden, "you may not share this mailbox"), nil
	}
	if f != nil || len(after) > 0 {
		r.change.edit.ACL = &after
	}
	return nil, nil
}
