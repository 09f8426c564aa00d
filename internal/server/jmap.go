package server

import (
	"context"
	"slices"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mda/events"
	"postroad/internal/mta/submit"
	"postroad/internal/mua/jmapd"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/jmapd/contacts"
	"postroad/internal/mua/jmapd/email"
	"postroad/internal/mua/jmapd/own"
	"postroad/internal/mua/jmapd/sending"
	"postroad/internal/mua/jmapd/sharing"
	"postroad/internal/mua/jmapd/sieves"
	"postroad/jmap"
	"postroad/sieve"
)

// openJMAP makes the server of JMAP. A new family of data types is added here.
func (s *Server) openJMAP() error {
	house := &access.House{Mail: s.Mail, Directory: s.Directory, Objects: s.Objects, Scripts: s.Scripts,
		Committer: s.Committer, Bodies: s.Bodies, Clock: s.Clock, Host: hostname(s.config), Log: s.log}
	most := int64(s.config.Limits.Message)
	s.email = email.New(house, email.Options{MessageBytesMax: most, UploadBytesMax: most, Changed: s.changedByJMAP, Snooze: s.Snooze})
	set, query := method(s.email, "Email/set"), method(s.email, "Email/query")
	s.own = own.New(house, own.Options{Outbox: s.Outbox, EmailQuery: query, EmailSet: set, EmailGet: method(s.email, "Email/get"),
		Credentials: s.gate})
	s.images = own.NewImageProxy(own.ImageOptions{Authenticate: s.authenticate}) // one for all doors: it counts
	rules := sieves.New(house, sieves.Options{Blobs: s.email, Extensions: sieve.Extensions(), Notify: sieve.NotifyMethods(),
		RedirectsMax: sieve.RedirectsMax, Implementation: "postroad"})
	var err error
	s.jmap, err = jmapd.New(context.Background(), jmapd.Options{
		House: house, Authenticate: s.authenticate, Lives: s.gate.Lives, Origin: s.origin,
		Parts: []jmapd.Part{
			s.email,
			sending.New(house, sending.Options{Outbox: s.Outbox, Submitter: s.submitter(), EmailSet: set, Extensions: submit.Extensions,
				HoldMax: submit.HoldMax, MessageBytesMax: most, RecipientsMax: s.config.Limits.Recipients}),
			contacts.New(house), sharing.New(house, sharing.Options{WarnPercent: s.config.Limits.QuotaWarnings}), rules, s.own,
		},
		Blobs:    access.WithSources(s.email, map[byte]access.BlobSource{sieves.ContentID: rules}),
		Limits:   jmap.RequestLimits{SizeUpload: most, ConcurrentStreams: s.config.Limits.UserConnections},
		Panicked: s.panicked, PushNetworks: s.config.Trust.Push,
	})
	return err
}

// method finds one of a family's methods.
func method(of jmapd.Part, name string) jmap.Method {
	all := of.Methods()
	return all[slices.IndexFunc(all, func(m jmap.Method) bool { return m.Name == name })]
}

// causes are those of changes by JMAP as scripts of mailboxes are told of them.
var causes = map[email.Cause]string{email.CauseAppend: events.Append, email.CauseCopy: events.Copy, email.CauseFlag: events.Flag}

// changedByJMAP runs the script of a mailbox, as IMAP's commands do (RFC 6785).
func (s *Server) changedByJMAP(ctx context.Context, u *access.User, a *mailstore.Account, mailbox mailstore.MailboxID, cause email.Cause) func(context.Context, imap.UIDSet) {
	login := u.Login.String()
	w := s.events.Watch(ctx, a, mailbox, causes[cause], events.Actor{User: login, Email: login})
	if w == nil {
		return nil
	}
	return w.Happened
}
