package admin

import (
	"context"
	"fmt"
	"strings"

	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/imapd"
)

// MailboxRef names a mailbox of an account, or a public one of an organisation.
type MailboxRef struct {
	Account string `json:"account,omitempty"`      // address or id; empty: a public mailbox
	Org     string `json:"organisation,omitempty"` // of a public mailbox; empty: the default one
	Mailbox string `json:"mailbox"`
}

// Grant is an entry of an access control list as people see it.
type Grant struct {
	Identifier string `json:"identifier"` // as in IMAP: alice@example.org, $team@example.org, anyone; behind "-" to take away
	Rights     string `json:"rights"`     // letters of RFC 4314, 2.1
}

// ACL is the access control list of a mailbox.
type ACL struct {
	Account string  `json:"account"`
	Mailbox string  `json:"mailbox"`
	Grants  []Grant `json:"grants"`
}

// ACLChange is the argument of acl.set; in acl.delete Rights does not count.
type ACLChange struct {
	MailboxRef
	Identifier string `json:"identifier"`
	Rights     string `json:"rights,omitempty"` // "lrs" sets, "+w" adds, "-w" takes away
}

// box is a mailbox of an account that is administered.
type box struct {
	owner   directory.Account
	mail    *mailstore.Account
	mailbox *mailstore.Mailbox
}

// box finds a mailbox.
func (v *Verbs) box(ctx context.Context, in MailboxRef) (*box, error) {
	b := &box{}
	var err error
	if in.Account != "" {
		b.owner, err = v.find(ctx, in.Account)
	} else {
		b.owner, err = v.public(ctx, orDefault(in.Org))
	}
	if err != nil {
		return nil, err
	}
	if b.mail, err = v.Mail.Account(ctx, b.owner.ID); err != nil {
		return nil, err
	}
	tree, err := b.mail.Tree(ctx)
	if err != nil {
		return nil, err
	}
	if b.mailbox = tree.Name(in.Mailbox); b.mailbox == nil {
		return nil, &Error{NotFound, fmt.Sprintf("%s has no mailbox %q", b.owner.Login, in.Mailbox)}
	}
	return b, nil
}

// public returns the account that has an organisation's public mailboxes.
func (v *Verbs) public(ctx context.Context, org string) (directory.Account, error) {
	id, err := v.Directory.PublicAccount(ctx, org)
	if err != nil {
		return directory.Account{}, err
	}
	if id == 0 {
		return directory.Account{}, &Error{NotFound, fmt.Sprintf("organisation %s has no public mailboxes", org)}
	}
	return v.Directory.Account(ctx, id)
}

func orDefault(org string) string {
	if org == "" {
		return directory.DefaultOrg
	}
	return org
}

// list shows the access control list of a mailbox.
func (v *Verbs) list(ctx context.Context, owner directory.Account, m *mailstore.Mailbox) (ACL, error) {
	out := ACL{Account: owner.Login.String(), Mailbox: m.Name, Grants: []Grant{}}
	for _, g := range m.ACL {
		id, err := imapd.FormatIdentifier(ctx, v.Directory, g.Subject)
		if err != nil {
			return out, err
		}
		out.Grants = append(out.Grants, Grant{id, g.Rights.String()})
	}
	return out, nil
}

func (v *Verbs) acl(ctx context.Context, in MailboxRef) (ACL, error) {
	b, err := v.box(ctx, in)
	if err != nil {
		return ACL{}, err
	}
	return v.list(ctx, b.owner, b.mailbox)
}

func (v *Verbs) setACL(ctx context.Context, in ACLChange) (ACL, error) {
	op, rights, err := imap.ParseRightsChange(in.Rights)
	if err != nil {
		return ACL{}, invalid("rights %q: %v", in.Rights, err)
	}
	return v.changeACL(ctx, in, op, rights)
}

func (v *Verbs) deleteACL(ctx context.Context, in ACLChange) (ACL, error) {
	return v.changeACL(ctx, in, imap.RightsReplace, imap.RightsNone)
}

func (v *Verbs) changeACL(ctx context.Context, in ACLChange, op imap.RightsOp, rights imap.Rights) (ACL, error) {
	b, err := v.box(ctx, in.MailboxRef)
	if err != nil {
		return ACL{}, err
	}
	who, err := imapd.ParseIdentifier(ctx, v.Directory, b.owner.Org, b.owner.Login.Domain, in.Identifier)
	if err != nil {
		return ACL{}, err
	}
	if err := b.mail.SetACL(ctx, b.owner.Org, b.mailbox.ID, who, op, rights); err != nil {
		return ACL{}, err
	}
	return v.acl(ctx, in.MailboxRef)
}

// NewShared is the argument of shared.add.
type NewShared struct {
	Org     string `json:"organisation,omitempty"`
	Mailbox string `json:"mailbox"`
	Address string `json:"address,omitempty"` // of the account that has the public mailboxes, where there is none yet
	Anyone  string `json:"anyone,omitempty"`  // rights of everybody; empty: none
}

// addShared makes a public mailbox, and with the first one the account that has them.
func (v *Verbs) addShared(ctx context.Context, in NewShared) (ACL, error) {
	rights, err := imap.ParseRights(in.Anyone)
	if err != nil {
		return ACL{}, invalid("rights %q: %v", in.Anyone, err)
	}
	org := orDefault(in.Org)
	id, err := v.Directory.PublicAccount(ctx, org)
	if err != nil {
		return ACL{}, err
	}
	if id == 0 {
		if id, err = v.addPublic(ctx, org, in.Address); err != nil {
			return ACL{}, err
		}
	}
	mail, err := v.Mail.Account(ctx, id)
	if err != nil {
		return ACL{}, err
	}
	m, err := mail.CreateMailbox(ctx, in.Mailbox, "")
	if err != nil {
		return ACL{}, err
	}
	if rights != 0 {
		anyone := mailstore.Subject{Kind: mailstore.SubjectAnyone}
		if err := mail.SetACL(ctx, org, m.ID, anyone, imap.RightsReplace, rights); err != nil {
			return ACL{}, err
		}
	}
	return v.acl(ctx, MailboxRef{Org: org, Mailbox: in.Mailbox})
}

// addPublic makes the account of public mailboxes: in the directory and in the mail store,
// in one commit.
func (v *Verbs) addPublic(ctx context.Context, org, at string) (directory.AccountID, error) {
	if at == "" {
		return 0, invalid("organisation %s has no public mailboxes yet: give the address that their account is to have", org)
	}
	a, err := parse(at)
	if err != nil {
		return 0, err
	}
	n := directory.NewAccount{Public: true, Name: "Public mailboxes"}
	n.Addresses = append(n.Addresses, a)
	account, prepare, err := v.Directory.PrepareAccount(ctx, n)
	if err != nil {
		return 0, err
	}
	if account.Org != org {
		return 0, invalid("%s is not an address of organisation %s", at, org)
	}
	err = v.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
		if err := prepare(ctx, u); err != nil {
			return err
		}
		return v.Mail.PrepareCreate(ctx, u, account.ID, v.quota(account.Limits))
	})
	if err != nil {
		return 0, fmt.Errorf("add the account of public mailboxes: %w", err)
	}
	return account.ID, nil
}

// sharedList lists the public mailboxes that have an access control list.
func (v *Verbs) sharedList(ctx context.Context, in Within) ([]ACL, error) {
	out := []ACL{}
	id, err := v.Directory.PublicAccount(ctx, orDefault(in.Org))
	if err != nil || id == 0 {
		return out, err
	}
	owner, err := v.Directory.Account(ctx, id)
	if err != nil {
		return out, err
	}
	mail, err := v.Mail.Account(ctx, id)
	if err != nil {
		return out, err
	}
	tree, err := mail.Tree(ctx)
	if err != nil {
		return out, err
	}
	for _, m := range tree.All() {
		if len(m.ACL) == 0 && (m.Role != "" || m == tree.Inbox()) {
			continue // made with every account
		}
		shown, err := v.list(ctx, owner, m)
		if err != nil {
			return out, err
		}
		out = append(out, shown)
	}
	return out, nil
}

// deleteShared deletes a public mailbox with its messages.
func (v *Verbs) deleteShared(ctx context.Context, in MailboxRef) (Nothing, error) {
	if in.Account != "" {
		return Nothing{}, invalid("public mailboxes are of an organisation, not of an account")
	}
	b, err := v.box(ctx, in)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, b.mail.DeleteMailbox(ctx, b.mailbox.Name)
}

// SendGrant lets somebody send with the addresses of an account.
type SendGrant struct {
	Account string `json:"account"`         // whose addresses
	To      string `json:"to"`              // who may: address of an account, or of a group behind "$"
	Right   string `json:"right,omitempty"` // "send-as" or "on-behalf"
}

func (v *Verbs) grant(ctx context.Context, in SendGrant) ([]SendGrant, error) {
	right, err := directory.ParseSendRight(in.Right)
	if err != nil {
		return nil, err
	}
	return v.setGrant(ctx, in, right)
}

func (v *Verbs) revoke(ctx context.Context, in SendGrant) ([]SendGrant, error) {
	return v.setGrant(ctx, in, directory.SendNot)
}

func (v *Verbs) setGrant(ctx context.Context, in SendGrant, right directory.SendRight) ([]SendGrant, error) {
	owner, err := v.find(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	g := directory.SendGrant{Right: right}
	if name, is := strings.CutPrefix(in.To, "$"); is {
		g.Group, err = parse(name)
	} else {
		var to directory.Account
		to, err = v.find(ctx, in.To)
		g.Account = to.ID
	}
	if err != nil {
		return nil, err
	}
	if err := v.Directory.SetSendGrant(ctx, owner.ID, g); err != nil {
		return nil, err
	}
	return v.grants(ctx, AccountRef{in.Account})
}

// grants lists who may send with the addresses of an account.
func (v *Verbs) grants(ctx context.Context, in AccountRef) ([]SendGrant, error) {
	owner, err := v.find(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	list, err := v.Directory.SendGrants(ctx, owner.ID)
	out := make([]SendGrant, 0, len(list))
	for _, g := range list {
		subject := mailstore.Subject{Kind: mailstore.SubjectAccount, Account: g.Account}
		if g.Account == 0 {
			subject = mailstore.Subject{Kind: mailstore.SubjectGroup, Group: g.Group.Key()}
		}
		to, err := imapd.FormatIdentifier(ctx, v.Directory, subject)
		if err != nil {
			return nil, err
		}
		out = append(out, SendGrant{owner.Login.String(), to, g.Right.String()})
	}
	return out, err
}
