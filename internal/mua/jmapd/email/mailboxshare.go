package email

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// shareWith is with whom a mailbox is shared, and what they may do (RFC 9670, 4): what the
// access control list gives. It is null for who may not change it. Entries that take rights
// away have no place in it; they stay as they are.
func (fs *folders) shareWith(f *folder) any {
	if !f.rights.Has(imap.RightAdminister) {
		return nil
	}
	out := map[jmap.ID]map[string]bool{}
	for _, g := range f.ACL {
		if id, ok := access.PrincipalID(g.Subject); ok && !g.Negative && g.Rights != 0 {
			out[id] = formatRights(g.Rights, false, true)
		}
	}
	return orNull(len(out) > 0, out)
}

// sharing is a change of shareWith: all of it, or some members, or some of their rights.
type sharing struct {
	whole   bool
	members map[jmap.ID]json.RawMessage            // null: nobody any more
	rights  map[jmap.ID]map[string]json.RawMessage // by name of the right
}

// errShare is what is told of a shareWith that cannot be.
func errShare(format string, a ...any) *jmap.SetError {
	return jmap.InvalidProperties([]string{propertyShareWith}, format, a...)
}

// set takes a member of a patch that is about shareWith: the path behind it, and its value
// (RFC 8620, 5.3, PatchObject).
func (s *sharing) set(path []string, raw json.RawMessage) *jmap.SetError {
	switch len(path) {
	case 0:
		s.whole = true
		if err := json.Unmarshal(raw, &s.members); err != nil {
			return errShare("not an object")
		}
	case 1:
		if s.members == nil {
			s.members = map[jmap.ID]json.RawMessage{}
		}
		s.members[jmap.ID(path[0])] = raw
	case 2:
		if s.rights == nil {
			s.rights = map[jmap.ID]map[string]json.RawMessage{}
		}
		id := jmap.ID(path[0])
		if s.rights[id] == nil {
			s.rights[id] = map[string]json.RawMessage{}
		}
		s.rights[id][path[1]] = raw
	default:
		return jmap.NewSetError(jmap.SetInvalidPatch, "%s: nothing is so deep in shareWith", strings.Join(path, "/"))
	}
	return nil
}

// apply makes the list of what it was. The error is a SetError, or ours.
func (s *sharing) apply(ctx context.Context, h *access.House, a *access.Account, before mailstore.ACL) (mailstore.ACL, error) {
	var after mailstore.ACL
	for _, g := range before {
		if _, has := access.PrincipalID(g.Subject); g.Negative || !s.whole || !has {
			after = append(after, g)
		}
	}
	for id, raw := range s.members {
		if err := s.give(ctx, h, a, before, &after, id, raw); err != nil {
			return nil, err
		}
	}
	for id, rights := range s.rights {
		subject, ok, err := h.Subject(ctx, a.Owner.Org, id)
		if err != nil {
			return nil, err
		}
		have := rightsOf(before, subject)
		if !ok || have == 0 {
			return nil, jmap.NewSetError(jmap.SetInvalidPatch, "shareWith/%s is not there", id)
		}
		now := formatRights(have, false, true)
		merged := make(map[string]any, len(now))
		for name, on := range now {
			merged[name] = on
		}
		for name, raw := range rights {
			merged[name] = raw
		}
		raw, err := json.Marshal(merged)
		if err != nil {
			return nil, err
		}
		if err := s.give(ctx, h, a, before, &after, id, raw); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(after, mailstore.CompareGrants)
	return after, nil
}

// give sets the rights of one principal.
func (s *sharing) give(ctx context.Context, h *access.House, a *access.Account, before mailstore.ACL, after *mailstore.ACL, id jmap.ID, raw json.RawMessage) error {
	subject, ok, err := h.Subject(ctx, a.Owner.Org, id)
	switch {
	case err != nil:
		return err
	case !ok:
		return errShare("%s is nobody to share with", id)
	case subject.Kind == mailstore.SubjectAccount && subject.Account == a.ID():
		return errShare("the owner's rights cannot be changed") // RFC 9670, 4
	}
	var rights imap.Rights
	if string(raw) != "null" {
		var e *jmap.SetError
		if rights, e = parseRights(raw, rightsOf(before, subject)); e != nil {
			return e
		}
	}
	*after = slices.DeleteFunc(*after, func(g mailstore.Grant) bool { return g.Subject == subject })
	if rights != 0 {
		*after = append(*after, mailstore.Grant{Subject: subject, Rights: rights})
	}
	return nil
}

// rightsOf are the rights that a list gives a subject.
func rightsOf(l mailstore.ACL, s mailstore.Subject) imap.Rights {
	for _, g := range l {
		if g.Subject == s {
			return g.Rights
		}
	}
	return 0
}

// notify tells those whose rights are others than before (RFC 9670, 3). The change has been
// made: what fails here is for the log.
func (s *folderSet) notify(ctx context.Context, f *folderChange) {
	if f.edit.ACL == nil {
		return
	}
	var before mailstore.ACL
	name := ""
	if f.f != nil {
		before, name = f.f.ACL, f.f.Name
	}
	if f.edit.Name != nil {
		name = *f.edit.Name
	}
	told := map[mailstore.Subject]bool{}
	for _, g := range slices.Concat(before, *f.edit.ACL) {
		old, now := rightsOf(before, g.Subject), rightsOf(*f.edit.ACL, g.Subject)
		if told[g.Subject] || old == now {
			continue
		}
		told[g.Subject] = true
		n := access.Notice{Type: typeMailbox, Object: jmap.ID(mailstore.FormatMailboxID(f.edit.ID)), Name: name}
		if old != 0 {
			n.OldRights = formatRights(old, false, true)
		}
		if now != 0 {
			n.NewRights = formatRights(now, false, true)
		}
		if err := s.m.house.Notify(ctx, s.a.User, s.a.ID(), g.Subject, n); err != nil {
			s.m.house.Log.Error("a change of rights was not told", "account", s.a.ID(), "mailbox", f.edit.ID, "error", err)
		}
	}
}
