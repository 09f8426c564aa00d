package admin

import (
	"context"
	"slices"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
	"postroad/internal/scripts"
)

// SieveOwner says whose scripts are meant: one of the three.
type SieveOwner struct {
	Account   string `json:"account,omitempty"` // address or id
	Org       string `json:"organisation,omitempty"`
	Everybody bool   `json:"everybody,omitempty"`
}

// SieveScript is a script as people see it. Content only where one is shown.
type SieveScript struct {
	Name      string    `json:"name"`
	SizeBytes int64     `json:"size_bytes"`
	Changed   time.Time `json:"changed"`
	Active    bool      `json:"active"`          // it runs
	Runs      string    `json:"runs,omitempty"`  // of an organisation or everybody: "before", "after"
	Order     int       `json:"order,omitempty"` // among those
	Content   []byte    `json:"content,omitempty"`
}

// SieveRef names a script.
type SieveRef struct {
	SieveOwner
	Name string `json:"name"`
}

// SieveActivate is the argument of sieve.activate. The name of an account's script may be
// empty: none runs. Those of others run before or after the accounts' own, by order; with
// Runs empty only where they are included.
type SieveActivate struct {
	SieveRef
	Runs  string `json:"runs,omitempty"`
	Order int    `json:"order,omitempty"`
}

// SievePut is the argument of sieve.put.
type SievePut struct {
	SieveRef
	Content []byte `json:"content"`
}

// positions are the words for when a script runs.
var positions = map[string]scripts.Position{"": scripts.OnInclude, "before": scripts.Before, "after": scripts.After}

// sieveOwner looks up whose scripts are meant; the id is an account's.
func (v *Verbs) sieveOwner(ctx context.Context, in SieveOwner) (scripts.Owner, directory.AccountID, error) {
	switch {
	case in.Account != "" && in.Org == "" && !in.Everybody:
		a, err := v.find(ctx, in.Account)
		return scripts.OfAccount(a.ID), a.ID, err
	case in.Account == "" && in.Org != "" && !in.Everybody:
		list, err := v.Directory.Organisations(ctx)
		if err == nil && !slices.ContainsFunc(list, func(o directory.Organisation) bool { return o.Name == in.Org }) {
			err = &Error{NotFound, "there is no organisation " + in.Org}
		}
		return scripts.OfOrganisation(in.Org), 0, err
	case in.Account == "" && in.Org == "" && in.Everybody:
		return scripts.OfEverybody(), 0, nil
	}
	return scripts.Owner{}, 0, invalid("name an account, an organisation or everybody")
}

func scriptOf(s *scripts.Script) SieveScript {
	out := SieveScript{Name: s.Name, SizeBytes: s.SizeBytes, Changed: s.Changed, Active: s.Active || s.Position != scripts.OnInclude, Order: s.Order}
	for word, p := range positions {
		if p == s.Position {
			out.Runs = word
		}
	}
	return out
}

func (v *Verbs) sieveList(ctx context.Context, in SieveOwner) ([]SieveScript, error) {
	owner, _, err := v.sieveOwner(ctx, in)
	if err != nil {
		return nil, err
	}
	list, err := v.Scripts.List(ctx, owner)
	out := make([]SieveScript, len(list))
	for i := range list {
		out[i] = scriptOf(&list[i])
	}
	return out, err
}

// sieveShow gives a script with its content; an account's without a name is the active one.
func (v *Verbs) sieveShow(ctx context.Context, in SieveRef) (SieveScript, error) {
	owner, id, err := v.sieveOwner(ctx, in.SieveOwner)
	if err != nil {
		return SieveScript{}, err
	}
	if in.Name == "" && in.Account != "" {
		if in.Name, err = v.Scripts.Active(ctx, id); err != nil {
			return SieveScript{}, err
		}
		if in.Name == "" {
			return SieveScript{}, &Error{NotFound, "no script of " + in.Account + " is active"}
		}
	}
	source, err := v.Scripts.Get(ctx, owner, in.Name)
	if err != nil {
		return SieveScript{}, err
	}
	list, err := v.Scripts.List(ctx, owner)
	if err != nil {
		return SieveScript{}, err
	}
	out := SieveScript{Name: in.Name}
	if i := slices.IndexFunc(list, func(s scripts.Script) bool { return s.Name == in.Name }); i >= 0 {
		out = scriptOf(&list[i])
	}
	out.SizeBytes, out.Content = int64(len(source.Text)), source.Text
	return out, nil
}

func (v *Verbs) sievePut(ctx context.Context, in SievePut) (SieveScript, error) {
	owner, _, err := v.sieveOwner(ctx, in.SieveOwner)
	if err != nil {
		return SieveScript{}, err
	}
	if _, err := v.Scripts.Put(ctx, owner, in.Name, in.Content); err != nil {
		return SieveScript{}, err
	}
	return v.sieveShow(ctx, in.SieveRef)
}

func (v *Verbs) sieveActivate(ctx context.Context, in SieveActivate) (Nothing, error) {
	owner, id, err := v.sieveOwner(ctx, in.SieveOwner)
	if err != nil {
		return Nothing{}, err
	}
	position, ok := positions[in.Runs]
	switch {
	case !ok:
		return Nothing{}, invalid("a script runs before or after others, not %q", in.Runs)
	case in.Account == "":
		return Nothing{}, v.Scripts.Place(ctx, owner, in.Name, position, in.Order)
	case position != scripts.OnInclude:
		return Nothing{}, scripts.ErrPosition
	}
	return Nothing{}, v.Scripts.Activate(ctx, id, in.Name)
}

func (v *Verbs) sieveRemove(ctx context.Context, in SieveRef) (Nothing, error) {
	owner, _, err := v.sieveOwner(ctx, in.SieveOwner)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, v.Scripts.Delete(ctx, owner, in.Name)
}

// SieveEvent says which of an account's scripts runs when mail programs change a mailbox
// (RFC 6785, 2.3.1).
type SieveEvent struct {
	Account string `json:"account"`
	Mailbox string `json:"mailbox,omitempty"` // empty: all that name none themselves
	Script  string `json:"script,omitempty"`  // empty, with Remove not set: none runs there
	Remove  bool   `json:"remove,omitempty"`  // the mailbox names none any more
}

// sieveEvent writes the annotation of a mailbox, or that of all, which users cannot write.
func (v *Verbs) sieveEvent(ctx context.Context, in SieveEvent) (Nothing, error) {
	a, err := v.find(ctx, in.Account)
	if err != nil {
		return Nothing{}, err
	}
	mail, err := v.Mail.Account(ctx, a.ID)
	if err != nil {
		return Nothing{}, err
	}
	var id mailstore.MailboxID
	if in.Mailbox != "" {
		tree, err := mail.Tree(ctx)
		if err != nil {
			return Nothing{}, err
		}
		m := tree.Name(in.Mailbox)
		if m == nil {
			return Nothing{}, &Error{NotFound, "there is no mailbox " + in.Mailbox}
		}
		id = m.ID
	}
	set := mailstore.Annotation{Name: events.Entry}
	if !in.Remove {
		set.Value = []byte(in.Script)
	}
	if in.Script != "" {
		if _, err := v.Scripts.Get(ctx, scripts.OfAccount(a.ID), in.Script); err != nil {
			return Nothing{}, err
		}
	}
	return Nothing{}, mail.Annotate(ctx, id, a.ID, []mailstore.Annotation{set})
}
