// Package sending answers the JMAP methods by which users send mail: Identity,
// EmailSubmission, VacationResponse and MDN/send.
//
// The main type is [Methods]. What is kept of sent mail, and what waits, is
// internal/outbox's; mail goes out through the door of submission, which the package is
// given. Nobody shares what is told of here: in another one's account the methods are not
// supported.
//
// RFC 8621, 6 to 8; RFC 9007 (MDN/send); RFC 4865 (mail that is held).
package sending

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/jmap"
	"postroad/smtp"
)

// URIs of the capabilities that this package serves.
const (
	CapabilitySubmission = "urn:ietf:params:jmap:submission"       // RFC 8621, 1.3.2
	CapabilityVacation   = "urn:ietf:params:jmap:vacationresponse" // RFC 8621, 1.3.3
	CapabilityMDN        = "urn:ietf:params:jmap:mdn"              // RFC 9007, 2
)

// Submitter is the door for mail of users; mta/submit's Submitter is one.
type Submitter interface {
	Submit(ctx context.Context, who directory.Principal, e mailflow.Envelope, content io.Reader, o mailflow.SubmitOptions) (mailflow.ID, []mailflow.Status, error)
}

// Options are what the package is set up with. All but the limits are needed.
type Options struct {
	Outbox    *outbox.Store
	Submitter Submitter
	// EmailSet is Email/set, called implicitly by onSuccessUpdateEmail and its like.
	EmailSet jmap.Method

	Extensions      smtp.Extension // of the door
	HoldMax         time.Duration  // the longest time that mail is held
	MessageBytesMax int64          // largest message that is sent, in octets
	RecipientsMax   int            // of one mail
}

// Methods answers the methods. All may run at once.
type Methods struct {
	house *access.House
	o     Options
}

// New returns the methods over a house.
func New(h *access.House, o Options) *Methods { return &Methods{house: h, o: o} }

// Methods returns all methods of the package.
func (m *Methods) Methods() []jmap.Method {
	var all []jmap.Method
	all = append(all, m.identityMethods()...)
	all = append(all, m.submissionMethods()...)
	all = append(all, m.vacationMethods()...)
	return append(all, m.mdnMethods()...)
}

// Session is the package's part of the session object's capabilities (RFC 8620, 2).
func (m *Methods) Session() map[string]any {
	return map[string]any{CapabilitySubmission: map[string]any{}, CapabilityVacation: map[string]any{}, CapabilityMDN: map[string]any{}}
}

// Capabilities is the package's part of the accountCapabilities of one account.
func (m *Methods) Capabilities(_ *access.User, a *access.Account) map[string]any {
	if !a.Own {
		return nil
	}
	return map[string]any{CapabilitySubmission: map[string]any{
		"maxDelayedSend": int64(m.o.HoldMax / time.Second), "submissionExtensions": m.extensions(time.Now()),
	}, CapabilityVacation: map[string]any{}, CapabilityMDN: map[string]any{}}
}

// extensions tells what parameters an envelope may have, as EHLO does (RFC 8621, 1.3.2).
func (m *Methods) extensions(now time.Time) map[string][]string {
	all := map[string][]string{"SIZE": {strconv.FormatInt(m.o.MessageBytesMax, 10)}}
	for _, e := range []struct {
		extension smtp.Extension
		name      string
		args      []string
	}{
		{smtp.EightBitMIME, "8BITMIME", nil}, {smtp.DSN, "DSN", nil}, {smtp.SMTPUTF8, "SMTPUTF8", nil},
		{smtp.DeliverByExtension, "DELIVERBY", nil}, {smtp.MTPriority, "MT-PRIORITY", nil},
		{smtp.FutureRelease, "FUTURERELEASE", []string{strconv.FormatInt(int64(m.o.HoldMax/time.Second), 10), jmap.FormatUTCDate(now.Add(m.o.HoldMax).Truncate(time.Second))}},
	} {
		if m.o.Extensions.Has(e.extension) {
			all[e.name] = append([]string{}, e.args...)
		}
	}
	return all
}

// The letters of ids: those of the kinds in upper case (decision 0012).
const (
	letterIdentity   = 'I'
	letterSubmission = 'S'
	letterMessage    = 'M'
	letterBlob       = 'G'
)

// States are the states of the package's types in an account, for push (RFC 8620, 7.1).
func (m *Methods) States(ctx context.Context, a *access.Account) (map[string]string, error) {
	if !a.Own {
		return nil, nil
	}
	all := map[string]string{}
	for name, kind := range map[string]objects.Kind{"Identity": objects.Identity, "EmailSubmission": objects.Submission, "VacationResponse": objects.Vacation} {
		s, err := m.house.Objects.State(ctx, a.ID(), kind)
		if err != nil {
			return nil, err
		}
		all[name] = s.String()
	}
	return all, nil
}

// changes answers /changes of a kind.
func (m *Methods) changes(ctx context.Context, a *access.Account, kind objects.Kind, letter byte, args *jmap.ChangesArgs) (*jmap.ChangesResult, error) {
	since, err := objects.ParseState(args.SinceState)
	if err != nil {
		return nil, jmap.ErrCannotCalculateChanges
	}
	c, err := m.house.Objects.Changes(ctx, a.ID(), kind, since, args.MaxChanges)
	switch {
	case errors.Is(err, objects.ErrNoChanges):
		return nil, jmap.ErrCannotCalculateChanges
	case err != nil:
		return nil, err
	}
	r := &jmap.ChangesResult{NewState: c.State.String(), HasMoreChanges: c.More}
	for _, id := range c.Created {
		r.Created = append(r.Created, access.FormatID(letter, id))
	}
	for _, id := range c.Updated {
		r.Updated = append(r.Updated, access.FormatID(letter, id))
	}
	for _, id := range c.Destroyed {
		r.Destroyed = append(r.Destroyed, access.FormatID(letter, id))
	}
	return r, nil
}

// setError turns an error about one object into what the client is told; any other error
// stays one.
func setError(err error) (*jmap.SetError, error) {
	var told *jmap.SetError
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &told):
		return told, nil
	case errors.Is(err, objects.ErrNotFound):
		return jmap.NewSetError(jmap.SetNotFound, "no such object"), nil
	case errors.Is(err, objects.ErrTooLarge):
		return jmap.NewSetError(jmap.SetTooLarge, "more than %d octets", objects.ValueMax), nil
	case errors.Is(err, mailstore.ErrOverQuota):
		return jmap.NewSetError(jmap.SetOverQuota, "the account is full"), nil
	case errors.Is(err, mailstore.ErrFull):
		return jmap.NewSetError(jmap.SetOverQuota, "the server has no space left"), nil
	}
	return nil, err
}

// pick keeps of an object the properties that were asked for.
func pick(a *jmap.GetArgs, o jmap.Object) jmap.Object {
	for name := range o {
		if !a.Wants(name) {
			delete(o, name)
		}
	}
	return o
}

// members tells whether a name is among those of a type.
func members(names ...string) func(string) bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return func(name string) bool { return set[name] }
}

// serverSet says of a property that a client may not set it.
func serverSet(name string) error {
	return jmap.InvalidProperties([]string{name}, "%s is set by the server", name)
}

// principal is who the owner of an own account is.
func (m *Methods) principal(ctx context.Context, a *access.Account) (directory.Principal, error) {
	p, err := m.house.Directory.Principal(ctx, a.ID())
	if err != nil {
		return p, fmt.Errorf("who sends: %w", err)
	}
	return p, nil
}
