package imapd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailstore"
)

// The rights gate. Every command that names a mailbox comes in by enter, every command on
// the selected one by current; both ask the one table of what a command needs. Where the
// user may not even look a mailbox up (RFC 4314, 6), the answer is the one that he gets
// where there is none.

// Directory is what sessions ask about other people; *directory.Store is one.
type Directory interface {
	Account(ctx context.Context, id directory.AccountID) (directory.Account, error)
	AccountByAddress(ctx context.Context, a address.Address) (directory.Account, error)
	Member(ctx context.Context, group string, id directory.AccountID) (bool, error)
	GroupKey(ctx context.Context, org string, a address.Address) (string, error)
	PublicAccount(ctx context.Context, org string) (directory.AccountID, error)
}

// Prefixes of the namespaces besides the personal one, which has none (RFC 2342).
const (
	otherUsers = "Other Users"
	shared     = "Shared"

	otherPrefix  = otherUsers + mailstore.Separator
	sharedPrefix = shared + mailstore.Separator
)

// command is a use of a mailbox that needs rights.
type command uint8

// The uses. COPY uses two mailboxes, RENAME too.
const (
	cmdSelect command = iota // SELECT, EXAMINE
	cmdStatus
	cmdSearch // SEARCH, SORT, THREAD; ESEARCH in other mailboxes
	cmdFetch
	cmdStore
	cmdExpunge
	cmdClose // expunges where that is allowed, and ends in any case
	cmdCopy  // the source
	cmdMove  // the source
	cmdInsert
	cmdList
	cmdCreate // the mailbox above
	cmdDelete
	cmdSetACL
	cmdDeleteACL
	cmdGetACL
	cmdListRights
	cmdMyRights
	cmdGetQuotaRoot
	cmdGetMetadata
	cmdSetMetadata // shared entries; private ones need cmdGetMetadata
)

// need is what a command needs: all of some rights, and one at least of others.
type need struct{ all, one imap.Rights }

const (
	flagRights = imap.RightSeen | imap.RightWrite | imap.RightDeleteMsgs
	// annotator are the rights of which one makes somebody a user of a mailbox (RFC 5464, 4.1).
	annotator = imap.RightRead | imap.RightSeen | imap.RightWrite | imap.RightInsert | imap.RightPost
)

// needs is RFC 4314, 4; RFC 6851, 4.1, for MOVE; RFC 9208, 6; RFC 5464, 3.3. Which flags a
// STORE, APPEND or COPY may set is asked of the rights one by one, see keeps.
var needs = map[command]need{
	cmdSelect:       {all: imap.RightRead},
	cmdStatus:       {all: imap.RightRead},
	cmdSearch:       {all: imap.RightRead},
	cmdFetch:        {all: imap.RightRead},
	cmdStore:        {all: imap.RightRead, one: flagRights},
	cmdExpunge:      {all: imap.RightRead | imap.RightExpunge},
	cmdClose:        {},
	cmdCopy:         {all: imap.RightRead},
	cmdMove:         {all: imap.RightRead | imap.RightDeleteMsgs | imap.RightExpunge},
	cmdInsert:       {all: imap.RightInsert},
	cmdList:         {all: imap.RightLookup},
	cmdCreate:       {all: imap.RightCreate},
	cmdDelete:       {all: imap.RightDelete},
	cmdSetACL:       {all: imap.RightAdminister},
	cmdDeleteACL:    {all: imap.RightAdminister},
	cmdGetACL:       {all: imap.RightAdminister},
	cmdListRights:   {all: imap.RightAdminister},
	cmdMyRights:     {one: imap.RightLookup | imap.RightRead | imap.RightInsert | imap.RightCreate | imap.RightDelete | imap.RightAdminister},
	cmdGetQuotaRoot: {all: imap.RightRead},
	cmdGetMetadata:  {all: imap.RightLookup, one: annotator},
	cmdSetMetadata:  {all: imap.RightLookup | imap.RightWrite},
}

// allows tells whether rights are enough.
func (n need) allows(r imap.Rights) bool { return r.Has(n.all) && (n.one == 0 || r&n.one != 0) }

var errNoPerm = imap.No(imap.CodeNoPerm, "You have not the right to do that")

// allow returns why a command may not be used with these rights, nil where it may: missing
// is the code for a mailbox that is not there, and for one that the user may not look up.
func allow(c command, r imap.Rights, missing imap.Code) error {
	n, known := needs[c]
	switch {
	case known && n.allows(r):
		return nil
	case r.Has(imap.RightLookup):
		return errNoPerm
	}
	return noMailbox(missing)
}

func noMailbox(code imap.Code) error { return imap.No(code, "No such mailbox") }

// place is where a name of the client's leads.
type place struct {
	account *mailstore.Account // nil: of nobody who shares anything with the user
	prefix  string             // of the namespace, with the owner; empty: the user's own
	name    string             // within the account
	mailbox *mailstore.Mailbox // nil: there is none
	rights  imap.Rights        // of the user to the mailbox
	tree    *mailstore.Tree
}

// foreign tells that the name is not in the user's own namespace.
func (p *place) foreign() bool { return p.prefix != "" }

// hidden tells that there is a mailbox of this name that the user may not look up. A name
// that is taken cannot be had; ALREADYEXISTS, though, would tell what LIST does not (RFC
// 4314, 6). He gets the answer of a place where he has no right.
func (p *place) hidden() bool {
	return p.mailbox != nil && p.foreign() && !needs[cmdList].allows(p.rights)
}

// full is the mailbox's name as the client has it.
func (p *place) full() string { return p.prefix + p.mailbox.Name }

// reader is the user as others' mailboxes have him.
func (s *Session) reader() mailstore.Reader {
	return mailstore.Reader{ID: s.who.ID, Member: func(ctx context.Context, group string) (bool, error) {
		return s.backend.o.Directory.Member(ctx, group, s.who.ID)
	}}
}

// enter finds a mailbox for a command: its place, or why it may not be used. missing is
// the code where there is none.
func (s *Session) enter(ctx context.Context, c command, name string, missing imap.Code) (*place, error) {
	p, err := s.locate(ctx, name)
	if err != nil {
		return nil, answer(err)
	}
	if p.mailbox == nil {
		return nil, noMailbox(missing)
	}
	if p.mailbox.Recovery != nil {
		return p, allowRecoverable(c)
	}
	return p, allow(c, p.rights, missing)
}

// locate finds where a name leads.
func (s *Session) locate(ctx context.Context, name string) (*place, error) {
	p := &place{name: name, account: s.account}
	space, rest, _ := strings.Cut(name, mailstore.Separator)
	if s.backend.o.Directory != nil && (space == otherUsers || space == shared) {
		if err := s.locateForeign(ctx, p, space, rest); err != nil || p.account == nil {
			return p, err
		}
	}
	var err error
	if p.tree, err = p.account.Tree(ctx); err != nil {
		return nil, err
	}
	clean, err := mailstore.CleanName(p.name)
	if err != nil {
		return p, nil
	}
	if p.mailbox = p.tree.Name(clean); p.mailbox == nil && !p.foreign() {
		p.mailbox = p.tree.RecoverableName(clean)
	}
	if p.mailbox == nil {
		return p, nil
	}
	p.rights, err = p.account.Rights(ctx, p.mailbox, s.reader())
	return p, err
}

// locateForeign finds the account of a name in another namespace, among those that share
// something with the user: one that does not is like one that is not there.
func (s *Session) locateForeign(ctx context.Context, p *place, space, rest string) error {
	p.account, p.prefix, p.name = nil, space+mailstore.Separator, rest
	owner := ""
	if space == otherUsers {
		owner, p.name, _ = strings.Cut(rest, mailstore.Separator)
		p.prefix += owner + mailstore.Separator
	}
	list, err := s.sharers(ctx)
	if err != nil {
		return err
	}
	for _, o := range list {
		if o.prefix != p.prefix {
			continue
		}
		p.account, err = s.backend.o.Store.Account(ctx, o.id)
		if errors.Is(err, mailstore.ErrNoAccount) {
			return nil // ends just now
		}
		return err
	}
	return nil
}

// sharer is an account that shares something with the user.
type sharer struct {
	id     mailstore.AccountID
	prefix string // of its mailboxes
}

// sharers lists those who share something with the user.
func (s *Session) sharers(ctx context.Context) ([]sharer, error) {
	d := s.backend.o.Directory
	if d == nil {
		return nil, nil
	}
	ids, err := s.backend.o.Store.Sharers(ctx, s.who.Org, s.reader())
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	public, err := d.PublicAccount(ctx, s.who.Org)
	if err != nil {
		return nil, fmt.Errorf("public account: %w", err)
	}
	list := make([]sharer, 0, len(ids))
	for _, id := range ids {
		if id == public {
			list = append(list, sharer{id, sharedPrefix})
			continue
		}
		a, err := d.Account(ctx, id)
		if errors.Is(err, directory.ErrNotFound) {
			continue // its removal has begun
		}
		if err != nil {
			return nil, fmt.Errorf("owner of a shared mailbox: %w", err)
		}
		list = append(list, sharer{id, otherPrefix + level(a.Login, id) + mailstore.Separator})
	}
	return list, nil
}

// level is how an owner is called in a name: by his address, or by his id where that could
// not be one level of a name.
func level(a address.Address, id hlc.ID) string {
	login := a.String()
	if clean, err := mailstore.CleanName(login); err != nil || clean != login || strings.Contains(login, mailstore.Separator) {
		return id.String()
	}
	return login
}

// above finds what is needed to make a mailbox of this name: the place of the nearest
// mailbox above it gives the right (RFC 4314, 4, CREATE). In the user's own account it is
// always his, but for the names of the other namespaces.
func (s *Session) above(ctx context.Context, p *place) error {
	if !p.foreign() {
		return nil
	}
	if p.account != nil {
		for name := p.name; ; {
			i := strings.LastIndex(name, mailstore.Separator)
			if i <= 0 {
				break
			}
			name = name[:i]
			m := p.tree.Name(name)
			if m == nil {
				continue
			}
			r, err := p.account.Rights(ctx, m, s.reader())
			if err != nil {
				return answer(err)
			}
			if needs[cmdCreate].allows(r) {
				return nil
			}
			break
		}
	}
	// The same whether there is such an account, such a mailbox, or none.
	return errNoPerm
}

// current asks for a command on the selected mailbox. Rights are those of now: what was
// taken away since SELECT is not there any more. Who may no longer read is sent away (RFC
// 4314, 5.1.1).
func (s *Session) current(ctx context.Context, c command) (*selected, error) {
	m := s.selected
	if m.own {
		return m, nil
	}
	tree, err := m.account.Tree(ctx)
	if err != nil {
		return nil, answer(err)
	}
	box := tree.ID(m.id)
	if box == nil {
		return nil, errDeleted
	}
	if m.rights, err = m.account.Rights(ctx, box, s.reader()); err != nil {
		return nil, answer(err)
	}
	if !m.rights.Has(imap.RightRead) {
		return nil, &imap.Error{Status: imap.BYE, Text: "The selected mailbox is no longer shared with you"}
	}
	if !needs[c].allows(m.rights) {
		return nil, errNoPerm // what is selected is known to be there
	}
	return m, nil
}

// eachForeign calls f with every mailbox of others on which the user may use a command.
func (s *Session) eachForeign(ctx context.Context, c command, f func(p *place)) error {
	owners, err := s.sharers(ctx)
	if err != nil {
		return answer(err)
	}
	who := s.reader()
	for _, o := range owners {
		account, err := s.backend.o.Store.Account(ctx, o.id)
		if errors.Is(err, mailstore.ErrNoAccount) {
			continue
		}
		if err != nil {
			return answer(err)
		}
		tree, err := account.Tree(ctx)
		if err != nil {
			return answer(err)
		}
		for _, m := range tree.All() {
			r, err := account.Rights(ctx, m, who)
			if err != nil {
				return answer(err)
			}
			if needs[c].allows(r) {
				f(&place{account: account, prefix: o.prefix, name: m.Name, mailbox: m, rights: r, tree: tree})
			}
		}
	}
	return nil
}

// keeps are the flags that rights do not let anybody change (RFC 4314, 4).
func keeps(r imap.Rights) mailstore.Flags {
	var keep mailstore.Flags
	if !r.Has(imap.RightSeen) {
		keep |= mailstore.Seen
	}
	if !r.Has(imap.RightDeleteMsgs) {
		keep |= mailstore.Deleted
	}
	if !r.Has(imap.RightWrite) {
		keep |= ^(mailstore.Seen | mailstore.Deleted)
	}
	return keep
}

// readWrite tells whether SELECT is READ-WRITE: somebody who only has his own \Seen gets
// READ-ONLY, and may change it all the same (RFC 4314, 5.2).
func readWrite(r imap.Rights) bool {
	return r&(imap.RightInsert|imap.RightExpunge|imap.RightWrite|imap.RightDeleteMsgs) != 0
}
