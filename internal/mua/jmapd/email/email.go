// Package email answers the JMAP methods about mail over the mail store: Mailbox, Thread,
// Email, SearchSnippet, and the blobs that messages are made of.
//
// The main type is [Methods]. Each family of methods has files of its own: mailbox*.go,
// thread.go, query*.go and filter*.go (Email/query and its changes), changes.go,
// snippet.go; get.go, set.go, import.go, copy.go, parse.go, body*.go and blob*.go (what is
// inside of messages). The package keeps nothing but recent results of queries; it sends
// nothing and logs nobody in. In another one's account it tells of what the rights of
// RFC 4314 let the user see, and what he may not look up is not there for him.
//
// RFC 8621, 2 to 5; RFC 9404 (blobs); RFC 9219 (S/MIME verdict); RFC 9007 (MDN/parse);
// RFC 9670 (shareWith of a Mailbox); the property snoozed of https://cyrusimap.org/ns/jmap/mail.
package email

import (
	"context"
	"maps"
	"sync"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/snooze"
	"postroad/jmap"
)

// URIs of the capabilities that this package serves.
const (
	CapabilityMail  = "urn:ietf:params:jmap:mail"       // RFC 8621, 1.3.1
	CapabilityShare = "urn:ietf:params:jmap:mail:share" // shareWith of a Mailbox, as RFC 9670 has it
)

// Options are what the package is set up with.
type Options struct {
	Snooze          *snooze.Store // serves the property snoozed; nil: it is not there
	MessageBytesMax int64         // largest message that may be made or imported, in octets; 0: 50 MB
	ResultBytes     int64         // memory for results of recent queries, in octets; 0: 64 MB
	UploadBytesMax  int64         // largest upload, in octets; 0: 50 MB
	UploadsBytesMax int64         // all uploads of a user that nothing refers to yet, in octets; 0: 250 MB

	// Changed is told of messages that a user's call put into a mailbox, or whose flags it
	// changed there, as IMAP's commands tell of theirs. The function that it returns is
	// called once the change is durable, with the UIDs; nil for nobody who wants to know.
	Changed func(ctx context.Context, u *access.User, a *mailstore.Account, mailbox mailstore.MailboxID, cause Cause) func(ctx context.Context, uids imap.UIDSet)
}

// Cause is why Options.Changed is called (RFC 6785, 4.1).
type Cause uint8

// The causes.
const (
	CauseAppend Cause = iota + 1 // a message was made or imported
	CauseCopy                    // it came from another mailbox
	CauseFlag                    // keywords changed
)

// Methods answers the methods. All may run at once.
type Methods struct {
	house    *access.House
	o        Options
	results  *results
	attached *attached
	sizes    *sizeCache

	uploading [64]sync.Mutex // by owner: one at a time makes room for uploads
}

// New returns the methods over a house.
func New(h *access.House, o Options) *Methods {
	if o.MessageBytesMax == 0 {
		o.MessageBytesMax = 50 << 20
	}
	if o.ResultBytes == 0 {
		o.ResultBytes = 64 << 20
	}
	if o.UploadBytesMax == 0 {
		o.UploadBytesMax = 50 << 20
	}
	if o.UploadsBytesMax == 0 {
		o.UploadsBytesMax = 250 << 20
	}
	return &Methods{house: h, o: o, results: newResults(o.ResultBytes), attached: new(attached), sizes: new(sizeCache)}
}

// Methods returns all methods of the package.
func (m *Methods) Methods() []jmap.Method {
	var all []jmap.Method
	all = append(all, m.mailboxMethods()...)
	all = append(all, m.threadMethods()...)
	all = append(all, m.queryMethods()...)
	return append(all, m.bodyMethods()...)
}

// Session is the package's part of the session object's capabilities (RFC 8620, 2): for
// the whole server.
func (m *Methods) Session() map[string]any {
	all := map[string]any{CapabilityMail: map[string]any{}, CapabilityShare: map[string]any{}}
	maps.Copy(all, m.bodySession())
	maps.Copy(all, m.snoozeSession())
	return all
}

// Capabilities is the package's part of the accountCapabilities of one account.
func (m *Methods) Capabilities(u *access.User, a *access.Account) map[string]any {
	all := map[string]any{CapabilityMail: m.mailCapability(a), CapabilityShare: map[string]any{}}
	maps.Copy(all, m.bodyCapabilities(u, a))
	maps.Copy(all, m.snoozeSession())
	return all
}
