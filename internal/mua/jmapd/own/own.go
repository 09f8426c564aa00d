// Package own answers the JMAP methods that no RFC has: the settings of the web mail, jobs,
// which change thousands of messages while the client does something else, the timelines of
// one's own messages, and the credentials that one logs in with. docs/jmap.md tells clients of them.
//
// The main type is [Methods]; its Run does the jobs. [ImageProxy], beside it, fetches remote
// pictures. Everything here is a user's own: in another one's account the methods are not
// supported (but for Email/setByQuery, which works as Email/set does), and a program that is
// bound to scopes has none of them.
package own

import (
	"context"
	"errors"
	"sync"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/internal/outbox"
	"postroad/jmap"
)

// Capability is ours; its last part is the version, which a change that an old client
// would not understand counts up.
const Capability = "urn:postroad:jmap:1"

// Options are what the package is set up with. All but Credentials are needed.
type Options struct {
	Outbox *outbox.Store // has for how long sending can be undone
	// EmailQuery and EmailSet are Email/query and Email/set: what Email/setByQuery is made of.
	EmailQuery, EmailSet jmap.Method
	EmailGet             jmap.Method // Email/get, by which MessageTrace/get knows a message
	Credentials          Credentials // nil: the methods of credentials are not there
}

// Methods answers the methods. All may run at once.
type Methods struct {
	house *access.House
	o     Options
	wake  chan struct{} // tells Run that there is something to do

	tracing chan struct{} // one for each timeline that is looked for

	mu        sync.Mutex
	preparing map[hlc.ID]bool // mu; jobs whose ids are being taken
}

// New returns the methods over a house.
func New(h *access.House, o Options) *Methods {
	return &Methods{house: h, o: o, wake: make(chan struct{}, 1), tracing: make(chan struct{}, tracesAtOnce), preparing: map[hlc.ID]bool{}}
}

// Methods returns all methods of the package.
func (m *Methods) Methods() []jmap.Method {
	all := append(m.settingsMethods(), m.jobMethods()...)
	all = append(all, m.credentialMethods()...)
	return append(all, jmap.Method{Name: "MessageTrace/get", Capability: Capability, Do: m.getTraces})
}

// Session is the package's part of the session's capabilities.
func (m *Methods) Session() map[string]any { return map[string]any{Capability: map[string]any{}} }

// Capabilities is its part of an account's.
func (m *Methods) Capabilities(_ *access.User, a *access.Account) map[string]any {
	if !a.Own {
		return nil
	}
	own := map[string]any{
		"maxSizeSettings": ValuesMax, "maxUndoSeconds": undoSecondsMax,
		"maxJobs": JobsMax, "maxEmailsInJob": JobIDsMax, "maxTraces": TracesMax,
	}
	if m.o.Credentials != nil {
		own["credentials"] = true
	}
	return map[string]any{Capability: own}
}

// States are the states of its types, for push (RFC 8620, 7.1).
func (m *Methods) States(ctx context.Context, a *access.Account) (map[string]string, error) {
	if !a.Own {
		return nil, nil
	}
	all := map[string]string{}
	for name, kind := range map[string]objects.Kind{"Settings": objects.Setting, "Job": objects.Job} {
		s, err := m.house.Objects.State(ctx, a.ID(), kind)
		if err != nil {
			return nil, err
		}
		all[name] = s.String()
	}
	return all, nil
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
		return notFound(), nil
	case errors.Is(err, mailstore.ErrFull):
		return jmap.NewSetError(jmap.SetOverQuota, "the server has no space left"), nil
	}
	return nil, err
}

// notFound is the error of an object that is not there.
func notFound() *jmap.SetError { return jmap.NewSetError(jmap.SetNotFound, "no such object") }

// pick keeps of an object the properties that were asked for.
func pick(a *jmap.GetArgs, o jmap.Object) jmap.Object {
	for name := range o {
		if !a.Wants(name) {
			delete(o, name)
		}
	}
	return o
}
