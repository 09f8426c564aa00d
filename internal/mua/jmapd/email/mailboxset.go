package email

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// Types of SetError of Mailbox/set (RFC 8621, 2.5).
const (
	setMailboxHasChild = "mailboxHasChild"
	setMailboxHasEmail = "mailboxHasEmail"
	existingID         = "existingId" // a further member: what has the name, or the role
)

// folderSet is one Mailbox/set under way. Its steps are: to read the objects and to refuse
// what cannot be in any case; to make the edits of the tree, creations first, so many in one
// commit as fit; to tell what became of each.
type folderSet struct {
	m       *Methods
	c       *jmap.Call
	a       *access.Account
	e       *mailstore.Emails
	fs      *folders
	share   bool
	remove  bool // onDestroyRemoveEmails
	args    *jmap.SetArgs
	out     *jmap.SetResult
	made    map[jmap.ID]mailstore.MailboxID // by creation id
	changes []*folderChange
}

// folderChange is what one object of the call is to become.
type folderChange struct {
	id        jmap.ID // creation id, or the mailbox's
	edit      mailstore.TreeEdit
	f         *folder // nil: it is made
	given     jmap.Properties
	subscribe *bool // a guest's, which is no edit
	done      bool
}

// mailboxSet answers Mailbox/set (RFC 8621, 2.5).
func (m *Methods) mailboxSet(ctx context.Context, c *jmap.Call, args *jmap.SetArgs) (*jmap.SetResult, error) {
	remove, err := flag(args.Extra, "onDestroyRemoveEmails")
	if err != nil {
		return nil, err
	}
	a, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	s := &folderSet{m: m, c: c, a: a, e: e, share: c.Using(CapabilityShare), remove: remove, args: args, out: &jmap.SetResult{}, made: map[jmap.ID]mailstore.MailboxID{}}
	if s.fs, err = m.foldersOf(ctx, a, e); err != nil {
		return nil, methodError(err)
	}
	if s.out.OldState, err = m.mailboxState(ctx, a, e); err != nil {
		return nil, methodError(err)
	}
	if args.IfInState != nil && *args.IfInState != s.out.OldState {
		return nil, jmap.ErrStateMismatch
	}
	for _, step := range []func(context.Context) error{s.creations, s.updates, s.destructions, s.commit, s.subscriptions, s.tell} {
		if err := step(ctx); err != nil {
			return nil, methodError(err)
		}
	}
	return s.out, nil
}

// creations reads what is to be made. An object whose parent is made by the same call comes
// behind it (RFC 8620, 5.3).
func (s *folderSet) creations(ctx context.Context) error {
	for i := range s.args.Create {
		s.made[s.args.Create[i].ID] = s.a.NewMailboxID()
	}
	waiting := make([]*folderChange, 0, len(s.args.Create))
	for i := range s.args.Create {
		g := &s.args.Create[i]
		f := &folderChange{id: g.ID, given: g.Object, edit: mailstore.TreeEdit{ID: s.made[g.ID], Create: true}}
		refused, err := s.read(ctx, f)
		if err != nil {
			return err
		}
		if refused != nil {
			delete(s.made, g.ID)
			s.out.NotCreate(g.ID, refused)
			continue
		}
		waiting = append(waiting, f)
	}
	placed := map[mailstore.MailboxID]bool{}
	for len(waiting) > 0 {
		left := slices.DeleteFunc(slices.Clone(waiting), func(f *folderChange) bool {
			ready := f.edit.Parent == nil || placed[*f.edit.Parent] || s.fs.byID[*f.edit.Parent] != nil || *f.edit.Parent == 0
			if ready {
				placed[f.edit.ID] = true
				s.changes = append(s.changes, f)
			}
			return ready
		})
		if len(left) == len(waiting) { // below one that was refused, or below each other
			for _, f := range left {
				delete(s.made, f.id)
				s.out.NotCreate(f.id, jmap.InvalidProperties([]string{"parentId"}, "the mailbox above is not made"))
			}
			return nil
		}
		waiting = left
	}
	return nil
}

// updates reads what is to be changed.
func (s *folderSet) updates(ctx context.Context) error {
	for i := range s.args.Update {
		u := &s.args.Update[i]
		f := &folderChange{id: u.ID, given: u.Patch, f: s.fs.folder(u.ID)}
		switch {
		case f.f == nil:
			s.out.NotUpdate(u.ID, jmap.NewSetError(jmap.SetNotFound, "no such mailbox"))
			continue
		case slices.Contains(s.args.Destroy, u.ID):
			s.out.NotUpdate(u.ID, jmap.NewSetError(jmap.SetWillDestroy, "the same call destroys it"))
			continue
		}
		f.edit.ID = f.f.ID
		refused, err := s.read(ctx, f)
		if err != nil {
			return err
		}
		if refused != nil {
			s.out.NotUpdate(u.ID, refused)
			continue
		}
		s.changes = append(s.changes, f)
	}
	return nil
}

// destructions reads what is to go, what lies deepest first.
func (s *folderSet) destructions(context.Context) error {
	var list []*folderChange
	seen := map[jmap.ID]bool{}
	for _, id := range s.args.Destroy {
		f := s.fs.folder(id)
		switch {
		case seen[id]:
		case f == nil:
			s.out.NotDestroy(id, jmap.NewSetError(jmap.SetNotFound, "no such mailbox"))
		case f.role == roleInbox, !f.rights.Has(imap.RightDelete):
			s.out.NotDestroy(id, jmap.NewSetError(jmap.SetForbidden, "you may not delete this mailbox"))
		default:
			list = append(list, &folderChange{id: id, f: f, edit: mailstore.TreeEdit{ID: f.ID, Delete: true, Empty: !s.remove}})
		}
		seen[id] = true
	}
	slices.SortStableFunc(list, func(a, b *folderChange) int {
		return cmp.Compare(len(s.fs.path(b.f)), len(s.fs.path(a.f)))
	})
	s.changes = append(s.changes, list...)
	return nil
}

// commit makes the edits. What comes in one commit counts as one change: two mailboxes in it
// can change names.
func (s *folderSet) commit(ctx context.Context) error {
	for part := range slices.Chunk(s.changes, mailstore.TreeEditsMax) {
		edits := make([]mailstore.TreeEdit, len(part))
		for i, f := range part {
			edits[i] = f.edit
		}
		refused, err := s.a.EditTree(ctx, s.a.Owner.Org, edits)
		if err != nil {
			return err
		}
		for i, f := range part {
			if refused[i] == nil {
				f.done = true
				s.notify(ctx, f)
				continue
			}
			e, err := s.refusal(refused[i])
			if err != nil {
				return err
			}
			s.refuse(f, e)
		}
	}
	return nil
}

// refuse tells why a change was not made.
func (s *folderSet) refuse(f *folderChange, e *jmap.SetError) {
	switch {
	case f.edit.Create:
		s.out.NotCreate(f.id, e)
	case f.edit.Delete:
		s.out.NotDestroy(f.id, e)
	default:
		s.out.NotUpdate(f.id, e)
	}
}

// refusal makes of the store's reason what the client is told.
func (s *folderSet) refusal(e *mailstore.EditError) (*jmap.SetError, error) {
	var out *jmap.SetError
	switch {
	case errors.Is(e, mailstore.ErrExists):
		out = jmap.InvalidProperties([]string{"name"}, "another mailbox there has this name")
	case errors.Is(e, mailstore.ErrTaken):
		out = jmap.InvalidProperties([]string{"role"}, "another mailbox has this role")
	case errors.Is(e, mailstore.ErrName):
		out = jmap.InvalidProperties([]string{"name"}, "no mailbox can be called so")
	case errors.Is(e, mailstore.ErrLoop):
		out = jmap.InvalidProperties([]string{"parentId"}, "the mailbox would be below itself")
	case errors.Is(e, mailstore.ErrParent):
		out = jmap.InvalidProperties([]string{"parentId"}, "no such mailbox")
	case errors.Is(e, mailstore.ErrUse):
		out = jmap.InvalidProperties([]string{"role"}, "no mailbox can have this role")
	case errors.Is(e, mailstore.ErrHasChildren):
		out = jmap.NewSetError(setMailboxHasChild, "mailboxes are below it")
	case errors.Is(e, mailstore.ErrNotEmpty):
		out = jmap.NewSetError(setMailboxHasEmail, "messages are in it")
	case errors.Is(e, mailstore.ErrInUse):
		out = jmap.NewSetError(jmap.SetForbidden, "this mailbox stays as it is")
	default:
		if out = setError(e); out == nil {
			return nil, e
		}
	}
	if s.fs.byID[e.Other] != nil {
		out.Extra = map[string]any{existingID: formatMailboxID(e.Other)}
	}
	return out, nil
}

// subscriptions writes a guest's subscriptions, which are in his own account. What he makes
// himself he wants to see (RFC 8621, 2, isSubscribed).
func (s *folderSet) subscriptions(ctx context.Context) error {
	var tree *mailstore.Tree
	for _, f := range s.changes {
		if !f.done || f.subscribe == nil {
			continue
		}
		if tree == nil {
			var err error
			if tree, err = s.a.Tree(ctx); err != nil {
				return err
			}
		}
		if b := tree.ID(f.edit.ID); b != nil {
			if err := s.m.subscribe(ctx, s.a, b, *f.subscribe); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell fills in what was made, changed and destroyed, and the new state.
func (s *folderSet) tell(ctx context.Context) error {
	e, err := s.a.Emails(ctx, s.a.Reader)
	if err != nil {
		return err
	}
	fs, err := s.m.foldersOf(ctx, s.a, e)
	if err != nil {
		return err
	}
	if s.out.NewState, err = s.m.mailboxState(ctx, s.a, e); err != nil {
		return err
	}
	for _, f := range s.changes {
		now := fs.byID[f.edit.ID]
		switch {
		case !f.done:
		case f.edit.Delete:
			s.out.Destroyed = append(s.out.Destroyed, f.id)
		case f.edit.Create:
			o := jmap.Object{}
			if now != nil {
				o = fs.object(now, e.Counts(now.ID), s.share, func(name string) bool { return len(f.given[name]) == 0 })
				s.corrected(f, now, o)
			}
			o["id"] = formatMailboxID(f.edit.ID)
			s.out.Create(f.id, o)
		default:
			o := jmap.Object{}
			if now != nil {
				s.corrected(f, now, o)
			}
			if len(o) == 0 {
				o = nil
			}
			s.out.Update(f.id, o)
		}
	}
	return nil
}

// corrected adds a name that is kept in another form than it was given in (RFC 5198, 3).
func (s *folderSet) corrected(f *folderChange, now *folder, o jmap.Object) {
	if f.edit.Name != nil && now.name != *f.edit.Name {
		o["name"] = now.name
	}
}
