// Package deliver files mail into mailboxes: it finds the accounts behind each recipient,
// expands aliases and groups, minds quotas and sub-addresses, and appends, all within the
// unit of whoever took responsibility.
//
// The main type is [Deliverer], which implements mailflow.Local. Steps of Prepare:
//
//	resolve   each recipient to its accounts and outside members
//	plan      each account once, with all folders in which it wants the mail
//	file      judge by the account's rules, and append within the unit
//	answer    one status a recipient; members elsewhere become mails onward
//
// Nothing happens until the unit commits; what fails for one account leaves nothing in
// the unit for it. The package sends nothing and makes no bounces: the Submitter does.
// What rules send (answers, notifications, redirected mail) goes onward in the same unit.
//
// RFC 5321 (3.9 aliases and lists), RFC 5233 (sub-addresses), RFC 3461 (5.2.7
// notifications of aliases and lists), RFC 3463 (codes), RFC 5228 and 5429 (rules).
package deliver

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/message"
	"postroad/smtp"
)

// AccountsMax is how many accounts one unit files into. Direct recipients above it are
// Delayed, to be filed from the queue; members of aliases and groups go onward.
const AccountsMax = 20

// Options are what a Deliverer works with.
type Options struct {
	Directory directory.Directory
	Store     *mailstore.Store
	Log       *slog.Logger // nil: slog.Default

	// NoFolders files user+detail@ into INBOX though the folder "detail" exists.
	NoFolders bool
	// Rules judge mail by its owner's scripts; nil: nobody has any.
	Rules *rules.Runner
	// Annotations answer what rules ask of mailboxes; nil: there are none.
	Annotations rules.Metadata
	// Bodies stage what rules write and open reports; needed with Rules and Reports.
	Bodies *blob.Bodies
	// Reports takes over what a report (DSN, MDN) that is filed tells of mail that was sent;
	// nil: nobody does.
	Reports func(ctx context.Context, u *mailflow.Unit, account mailstore.AccountID, id mailstore.MessageID, m *message.Message, body io.ReaderAt) error
	// Host is our name in what rules write.
	Host string

	// RejectFull refuses mail for a full mailbox for good (552 5.2.2). Otherwise it is
	// tried again until the queue gives up (452 4.2.2).
	RejectFull bool
}

// Deliverer implements mailflow.Local.
type Deliverer struct{ o Options }

// New returns a Deliverer.
func New(o Options) *Deliverer {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Deliverer{o}
}

var _ mailflow.Local = (*Deliverer)(nil)

// filing is one account that gets the mail.
type filing struct {
	id      mailstore.AccountID
	rcpt    int             // index of the recipient that reached it first
	address address.Address // it is known by, for what goes onward
	details []string        // sub-addresses it was reached with; "" for none
	public  bool            // it has an organisation's public mailboxes: see post.go
	status  mailflow.Status
}

// wish is what one recipient came to.
type wish struct {
	target  directory.Target
	filings []*filing
	status  mailflow.Status // settled already where its Action is not 0
}

// round is one call of Prepare.
type round struct {
	*Deliverer
	m       *mailflow.Mail
	u       *mailflow.Unit
	now     time.Time
	wishes  []wish
	filings []*filing
}

// Prepare implements mailflow.Local.
func (d *Deliverer) Prepare(ctx context.Context, m *mailflow.Mail, rcpts []int, u *mailflow.Unit) []mailflow.Status {
	r := &round{Deliverer: d, m: m, u: u, now: time.Now(), wishes: make([]wish, len(rcpts))}
	for i, k := range rcpts {
		r.resolve(ctx, &r.wishes[i], k)
	}
	for i, f := range r.filings {
		if i < AccountsMax {
			r.file(ctx, f)
		} else {
			f.status = r.status(mailflow.Delayed, 451, smtp.EnhancedCode{4, 3, 2}, "Waiting to be expanded from the queue")
		}
	}
	statuses := make([]mailflow.Status, len(rcpts))
	for i, k := range rcpts {
		statuses[i] = r.answer(&r.wishes[i], &m.Recipients[k])
	}
	return statuses
}

// resolve finds out who a recipient is.
func (r *round) resolve(ctx context.Context, w *wish, rcpt int) {
	a := r.m.Recipients[rcpt].Address
	t, err := r.o.Directory.Resolve(ctx, a)
	if err != nil {
		r.o.Log.Error("recipient cannot be resolved now", "id", r.m.ID, "recipient", a, "error", err)
		w.status = r.status(mailflow.Delayed, 451, smtp.EnhancedCode{4, 3, 0}, "Cannot look up the recipient now")
		return
	}
	w.target = t
	if refused := refusal(t); refused != nil {
		w.status = mailflow.Status{Action: mailflow.Failed, Reply: refused.Reply, LocalMTA: true, At: r.now}
		return
	}
	for _, to := range t.Accounts {
		w.filings = append(w.filings, r.filing(to, rcpt))
	}
}

// refusal is why nothing can be delivered to a target, nil where it can.
func refusal(t directory.Target) *smtp.Error {
	switch t.Kind {
	case directory.Mailbox, directory.Alias, directory.Group:
		if len(t.Accounts)+len(t.Outside)+len(t.Missing) == 0 {
			return smtp.NewError(550, smtp.EnhancedCode{5, 1, 1}, "The list has no members")
		}
		return nil
	case directory.Disabled:
		return smtp.NewError(550, smtp.EnhancedCode{5, 2, 1}, "The mailbox is disabled")
	case directory.Loop:
		return smtp.NewError(554, smtp.EnhancedCode{5, 4, 6}, "The address leads to itself")
	}
	return smtp.NewError(550, smtp.EnhancedCode{5, 1, 1}, "No such user here")
}

// filing plans an account, each once however often it is reached.
func (r *round) filing(to directory.Destination, rcpt int) *filing {
	for _, f := range r.filings {
		if f.id == to.Account {
			if !slices.Contains(f.details, to.Detail) {
				f.details = append(f.details, to.Detail)
			}
			return f
		}
	}
	f := &filing{id: to.Account, rcpt: rcpt, address: to.Address, details: []string{to.Detail}, public: to.Public}
	r.filings = append(r.filings, f)
	return f
}

// status is one of our own making.
func (r *round) status(a mailflow.Action, code int, e smtp.EnhancedCode, text string) mailflow.Status {
	return mailflow.Status{Action: a, Reply: smtp.NewError(code, e, text).Reply, LocalMTA: true, At: r.now}
}

// answer makes the status of a recipient from those of its accounts, and lets go onward
// what is not for this unit.
func (r *round) answer(w *wish, rcpt *mailflow.Recipient) mailflow.Status {
	if w.status.Action != 0 {
		return w.status
	}
	t := &w.target
	if len(w.filings) == 1 && len(t.Outside)+len(t.Missing) == 0 {
		return w.filings[0].status
	}
	onward := slices.Concat(t.Outside, t.Missing)
	delivered := false
	for _, f := range w.filings {
		if f.status.Action == mailflow.Delivered {
			delivered = true
			continue
		}
		// On its own it is delayed or refused on its own, and reported to whom it concerns.
		onward = append(onward, f.address)
	}
	alone := len(onward) == 1 && !delivered
	if len(onward) > 0 {
		r.u.Onward(r.redistributed(t, rcpt, onward, alone))
	}
	switch {
	case t.Kind == directory.Group:
		// For the sender a list is where the mail ends (RFC 3461, 5.2.7.1).
		return r.status(mailflow.Delivered, 250, smtp.EnhancedCode{2, 1, 5}, "Given to the members of the list")
	case alone:
		s := r.status(mailflow.Expanded, 250, smtp.EnhancedCode{2, 1, 5}, "Forwarded")
		s.PassedOn = true // who delivers it tells of it (RFC 3461, 5.2.7.2)
		return s
	}
	return r.status(mailflow.Expanded, 250, smtp.EnhancedCode{2, 1, 5}, "Expanded")
}

// redistributed is the mail for members of an alias or group.
func (r *round) redistributed(t *directory.Target, rcpt *mailflow.Recipient, to []address.Address, alone bool) *mailflow.Mail {
	m := *r.m
	m.ID = 0
	m.HoldUntil = time.Time{}
	m.Recipients = make([]mailflow.Recipient, len(to))
	if t.Kind == directory.Group {
		// RFC 3461, 5.2.7.1: failures are for the owner, nothing of the sender's wishes
		// goes along. A notification stays one (RFC 5321, 4.5.5).
		if !t.Owner.IsNull() && !m.ReturnPath.IsNull() {
			m.ReturnPath = t.Owner
		}
		m.EnvID, m.Return, m.DeliverBy = "", 0, nil
	}
	for i, a := range to {
		m.Recipients[i].Address = a
		if t.Kind == directory.Group {
			continue
		}
		m.Recipients[i].Original = rcpt.Original
		if m.Recipients[i].Original == "" {
			m.Recipients[i].Original = "rfc822;" + rcpt.Address.ASCII()
		}
		m.Recipients[i].Notify = rcpt.Notify
		if !alone {
			m.Recipients[i].Notify = withoutSuccess(rcpt.Notify) // RFC 3461, 5.2.7.3 (c)
		}
	}
	return &m
}

// withoutSuccess takes SUCCESS out of NOTIFY; where nothing else was asked for, nothing is.
func withoutSuccess(n smtp.DSNNotify) smtp.DSNNotify {
	if n == smtp.NotifySuccess {
		return smtp.NotifyNever
	}
	return n &^ smtp.NotifySuccess
}
