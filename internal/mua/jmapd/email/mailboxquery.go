package email

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"postroad/internal/mailstore"
	"postroad/internal/search"
	"postroad/jmap"
)

// folderTest tells whether a mailbox matches.
type folderTest func(f *folder) bool

// folderQuery is a Mailbox/query (RFC 8621, 2.3).
type folderQuery struct {
	test         folderTest
	by           []func(a, b *folder) int
	sortAsTree   bool
	filterAsTree bool
}

// parseFolderQuery reads the arguments that Mailbox/query and Mailbox/queryChanges share.
func parseFolderQuery(filter *jmap.Filter, sort []jmap.Comparator, extra jmap.Properties) (*folderQuery, error) {
	q := &folderQuery{}
	var err error
	if q.test, err = parseFolderFilter(filter); err != nil {
		return nil, err
	}
	for i := range sort {
		by, err := parseFolderSort(&sort[i])
		if err != nil {
			return nil, err
		}
		q.by = append(q.by, by)
	}
	if q.sortAsTree, err = flag(extra, "sortAsTree"); err != nil {
		return nil, err
	}
	q.filterAsTree, err = flag(extra, "filterAsTree")
	return q, err
}

func parseFolderFilter(f *jmap.Filter) (folderTest, error) {
	if f == nil {
		return func(*folder) bool { return true }, nil
	}
	if f.Operator == "" {
		return parseFolderCondition(f.Condition)
	}
	tests := make([]folderTest, len(f.Conditions))
	for i, c := range f.Conditions {
		var err error
		if tests[i], err = parseFolderFilter(c); err != nil {
			return nil, err
		}
	}
	// AND: none is false; OR: one is true; NOT: none is true.
	want, found := f.Operator != "AND", f.Operator == "OR"
	return func(b *folder) bool {
		for _, t := range tests {
			if t(b) == want {
				return found
			}
		}
		return !found
	}, nil
}

// parseFolderCondition reads a FilterCondition: all of its properties are needed.
func parseFolderCondition(given jmap.Properties) (folderTest, error) {
	var tests []folderTest
	for name, raw := range given {
		read, known := folderConditions[name]
		if !known {
			return nil, jmap.ErrUnsupportedFilter.With("%q is no condition for Mailbox", name)
		}
		t, ok := read(raw)
		if !ok {
			return nil, jmap.InvalidArguments("filter: %s: of the wrong type", name)
		}
		tests = append(tests, t)
	}
	return func(f *folder) bool {
		return !slices.ContainsFunc(tests, func(t folderTest) bool { return !t(f) })
	}, nil
}

// folderConditions read the properties of a FilterCondition (RFC 8621, 2.3).
var folderConditions = map[string]func(raw json.RawMessage) (folderTest, bool){
	"parentId": func(raw json.RawMessage) (folderTest, bool) {
		var id *jmap.ID
		if err := json.Unmarshal(raw, &id); err != nil {
			return nil, false
		}
		return func(f *folder) bool {
			return id == nil && f.parent == 0 || id != nil && f.parent != 0 && *id == formatMailboxID(f.parent)
		}, true
	},
	"name": func(raw json.RawMessage) (folderTest, bool) {
		text, ok := readMember[string](raw)
		part := foldName(text)
		return func(f *folder) bool { return strings.Contains(foldName(f.name), part) }, ok
	},
	"role": func(raw json.RawMessage) (folderTest, bool) {
		var role *string
		if err := json.Unmarshal(raw, &role); err != nil {
			return nil, false
		}
		return func(f *folder) bool {
			return role == nil && f.role == "" || role != nil && *role != "" && *role == f.role
		}, true
	},
	"hasAnyRole": func(raw json.RawMessage) (folderTest, bool) {
		want, ok := readMember[bool](raw)
		return func(f *folder) bool { return (f.role != "") == want }, ok
	},
	"isSubscribed": func(raw json.RawMessage) (folderTest, bool) {
		want, ok := readMember[bool](raw)
		return func(f *folder) bool { return f.subscribed == want }, ok
	},
}

// foldName is a name without regard to case.
func foldName(s string) string { return string(search.AppendFolded(nil, []byte(s))) }

// parseFolderSort reads a Comparator (RFC 8621, 2.3).
func parseFolderSort(c *jmap.Comparator) (func(a, b *folder) int, error) {
	var by func(a, b *folder) int
	switch c.Property {
	case "sortOrder":
		by = func(a, b *folder) int { return cmp.Compare(a.SortOrder, b.SortOrder) }
	case "name":
		if err := checkCollation(c); err != nil {
			return nil, err
		}
		by = func(a, b *folder) int { return strings.Compare(mailstore.Casemap(a.name), mailstore.Casemap(b.name)) }
	default:
		return nil, jmap.ErrUnsupportedSort.With("%q is nothing that Mailboxes are sorted by", c.Property)
	}
	if err := checkExtra(c.Extra, false); err != nil {
		return nil, err
	}
	if c.Descending {
		return func(a, b *folder) int { return by(b, a) }, nil
	}
	return by, nil
}

// run finds the mailboxes of a query, in order. What is equal stays as the tree has it.
func (q *folderQuery) run(fs *folders) []*folder {
	in := make(map[mailstore.MailboxID]bool, len(fs.all))
	var list []*folder
	for _, f := range fs.all { // parents first
		if q.test(f) && (!q.filterAsTree || f.parent == 0 || in[f.parent]) {
			in[f.ID] = true
			list = append(list, f)
		}
	}
	compare := q.compare
	if q.sortAsTree {
		compare = func(a, b *folder) int { return q.compareInTree(fs, a, b) }
	}
	slices.SortStableFunc(list, compare)
	return list
}

func (q *folderQuery) compare(a, b *folder) int {
	for _, by := range q.by {
		if c := by(a, b); c != 0 {
			return c
		}
	}
	return 0
}

// compareInTree puts a mailbox before what is below it; of others it compares the nearest
// above them that have one parent (RFC 8621, 2.3, sortAsTree). Siblings that are equal
// are told apart by their ids, so that what is below them stays together.
func (q *folderQuery) compareInTree(fs *folders, a, b *folder) int {
	x, y := fs.path(a), fs.path(b)
	for i := 0; i < len(x) && i < len(y); i++ {
		if x[i] != y[i] {
			return cmp.Or(q.compare(x[i], y[i]), cmp.Compare(x[i].ID, y[i].ID))
		}
	}
	return cmp.Compare(len(x), len(y))
}

// path is a mailbox with all that the user sees above it, the top first.
func (fs *folders) path(f *folder) []*folder {
	path := []*folder{f}
	for f.parent != 0 {
		f = fs.byID[f.parent]
		path = append(path, f)
	}
	slices.Reverse(path)
	return path
}

// mailboxQuery answers Mailbox/query.
func (m *Methods) mailboxQuery(ctx context.Context, c *jmap.Call, args *jmap.QueryArgs) (*jmap.QueryResult, error) {
	q, err := parseFolderQuery(args.Filter, args.Sort, args.Extra)
	if err != nil {
		return nil, err
	}
	a, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	fs, err := m.foldersOf(ctx, a, e)
	if err != nil {
		return nil, methodError(err)
	}
	states, err := e.States(ctx)
	if err != nil {
		return nil, methodError(err)
	}
	list := q.run(fs)
	out := &jmap.QueryResult{QueryState: fs.state(states.Mailboxes), CanCalculateChanges: true, Total: len(list)}
	anchor := -1
	if args.Anchor != "" {
		anchor = slices.IndexFunc(list, func(f *folder) bool { return formatMailboxID(f.ID) == args.Anchor })
		if anchor < 0 {
			return nil, jmap.ErrAnchorNotFound
		}
	}
	from, to := window(out, args, anchor)
	for _, f := range list[from:to] {
		out.IDs = append(out.IDs, formatMailboxID(f.ID))
	}
	return out, nil
}

// mailboxQueryChanges answers Mailbox/queryChanges (RFC 8621, 2.4). All properties that a
// query looks at may change, so that every mailbox that changed in more than its counts is
// taken out and put in again; in a tree, all that is below it, too.
func (m *Methods) mailboxQueryChanges(ctx context.Context, c *jmap.Call, args *jmap.QueryChangesArgs) (*jmap.QueryChangesResult, error) {
	q, err := parseFolderQuery(args.Filter, args.Sort, args.Extra)
	if err != nil {
		return nil, err
	}
	changes, err := m.mailboxChanges(ctx, c, &jmap.ChangesArgs{AccountID: args.AccountID, SinceState: args.SinceQueryState})
	if err != nil {
		return nil, err
	}
	a, e, err := m.emails(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	fs, err := m.foldersOf(ctx, a, e)
	if err != nil {
		return nil, methodError(err)
	}
	states, err := e.States(ctx)
	if err != nil {
		return nil, methodError(err)
	}
	if fs.state(states.Mailboxes) != changes.NewState {
		return nil, jmap.ErrServerUnavailable.With("the mailboxes change just now; ask again")
	}
	list := q.run(fs)
	out := &jmap.QueryChangesResult{NewQueryState: changes.NewState, Total: len(list)}
	fs.movedIn(list, changes, q.sortAsTree || q.filterAsTree, out)
	if args.MaxChanges > 0 && len(out.Removed)+len(out.Added) > args.MaxChanges {
		return nil, jmap.ErrTooManyChanges
	}
	return out, nil
}

// movedIn fills in what a result loses and gets.
func (fs *folders) movedIn(list []*folder, changes *jmap.ChangesResult, tree bool, out *jmap.QueryChangesResult) {
	created, moved := map[jmap.ID]bool{}, map[jmap.ID]bool{}
	for _, id := range changes.Created {
		created[id] = true
	}
	if changes.Extra["updatedProperties"] == nil {
		for _, id := range changes.Updated {
			moved[id] = true
		}
	}
	if tree {
		for _, f := range fs.all { // parents first
			above := formatMailboxID(f.parent)
			if f.parent != 0 && (moved[above] || created[above]) && !created[formatMailboxID(f.ID)] {
				moved[formatMailboxID(f.ID)] = true
			}
		}
	}
	out.Removed = append(out.Removed, changes.Destroyed...)
	for _, f := range fs.all {
		if id := formatMailboxID(f.ID); moved[id] {
			out.Removed = append(out.Removed, id)
		}
	}
	for i, f := range list {
		if id := formatMailboxID(f.ID); moved[id] || created[id] {
			out.Added = append(out.Added, jmap.AddedItem{ID: id, Index: i})
		}
	}
}
