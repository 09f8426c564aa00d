// Package mailstore keeps mail: the mailboxes of an account, their messages with UIDs,
// mod-sequences, flags and keywords, threads, quota, and the log of changes.
//
// The main types are [Account], which changes mail, and [View], the live columns of one
// mailbox that all its readers share; a reader holds a [Snapshot] of it. Methods named
// Prepare… add their share to a mailflow.Unit and change nothing by themselves; the
// methods without it commit, and have made the change durable when they return.
//
// The package knows no protocol session, checks no rights, sends nothing, and keeps no
// octets of messages: these are bodies (internal/blob). How the keys lie is told in
// keys.go.
//
// RFC 9051 (2.3.1 UIDs, 6.3 mailboxes, 6.4 messages), RFC 7162 (mod-sequences), RFC 3502
// (MULTIAPPEND), RFC 6851 (MOVE), RFC 6154 (special use), RFC 8474 (object ids), RFC 8514
// (save dates), RFC 8621 (threads).
package mailstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
)

// Ids of what an account holds; all order by time.
type (
	AccountID = mailflow.AccountID
	MailboxID = hlc.ID
	MessageID = hlc.ID
	ThreadID  = hlc.ID
)

// Object ids as IMAP and JMAP show them (RFC 8474, 4 and 5).
func FormatMailboxID(id MailboxID) string { return "F" + id.String() }

// FormatEmailID is EMAILID.
func FormatEmailID(id MessageID) string { return "M" + id.String() }

// FormatThreadID is THREADID.
func FormatThreadID(id ThreadID) string { return "T" + id.String() }

// ParseObjectID reads an object id of the kind that prefix ('F', 'M', 'T') names.
func ParseObjectID(prefix byte, s string) (hlc.ID, error) {
	if len(s) == 0 || s[0] != prefix {
		return 0, hlc.ErrFormat
	}
	return hlc.Parse(s[1:])
}

// The closed set of errors of mail storage; test with errors.Is. Whatever else goes wrong
// wraps ErrTemporary.
var (
	ErrNoAccount   = errors.New("mailstore: no such account")
	ErrNoMailbox   = errors.New("mailstore: no such mailbox")
	ErrNoMessage   = errors.New("mailstore: no such message")
	ErrExists      = errors.New("mailstore: exists already")
	ErrUse         = errors.New("mailstore: not a special use of a mailbox")
	ErrName        = errors.New("mailstore: not a mailbox name")
	ErrHasChildren = errors.New("mailstore: the mailbox has children")
	ErrNotEmpty    = errors.New("mailstore: the mailbox is not empty")
	ErrInUse       = errors.New("mailstore: the mailbox may not be deleted") // INBOX
	ErrOverQuota   = errors.New("mailstore: over quota")
	ErrTooLarge    = errors.New("mailstore: over a limit of size")
	ErrLimit       = errors.New("mailstore: over a limit of number") // mailboxes, keywords, UIDs
	ErrFull        = errors.New("mailstore: the disk is nearly full")
	ErrDamaged     = errors.New("mailstore: a record is damaged")
	ErrRights      = errors.New("mailstore: not allowed")
	ErrTemporary   = errors.New("mailstore: not possible now")
)

// Limits of an account.
const (
	MailboxesMax   = 10_000 // RFC 9051 names none
	DepthMax       = 32     // levels in a name
	LevelBytesMax  = 255    // octets in one level of a name
	NameBytesMax   = 500    // octets in a whole name
	KeywordsMax    = 56     // different keywords in one mailbox
	KeywordBytes   = 255    // octets in a keyword (RFC 8621, 4.1.1)
	Separator      = "/"    // between the levels of a name
	referencesMax  = 20     // Message-IDs looked up to find a message's thread
	accountsCached = 10_000 // accounts held by a Store, at most, beside those in use
)

// Options are what a Store works with.
type Options struct {
	Committer *mailflow.Committer // engine and bodies
	Clock     *hlc.Clock
	Log       *slog.Logger  // nil: slog.Default
	Poll      time.Duration // between looks at the versions of watched accounts; 0: 5 s
	ViewBytes int64         // memory for views that nobody has open; 0: 64 MB

	EmailBytes int64 // memory for Emails, the columns of their mailboxes included; 0: 64 MB

	// Undelete is for how long what was expunged or deleted can be brought back; 0: not at all.
	Undelete time.Duration
	// UndeleteBytes bounds what is kept for that in an account, in octets: above it the
	// oldest goes before its time, a sweep after it came; 0: no bound.
	UndeleteBytes int64
	// DiskFull tells that the disk is nearly full: then nothing is kept to be brought back.
	// Nil: it never is.
	DiskFull func() bool

	// Retention has the rules of mailboxes with a special use that set none themselves.
	Retention map[imap.MailboxAttr]Retention
	LifeEvery time.Duration // between looks at what is too old in all accounts; 0: an hour

	// WarnPercent are the parts of a quota at which its owner is warned, 1 to 100; none: never.
	WarnPercent []int
	// Warning writes a warning: a message of RFC 5322 with CRLF. It is called again for each
	// try.
	Warning func(ctx context.Context, w Warning) (string, error)

	// Passing, if set, is asked within the unit when messages go into, or leave, a mailbox
	// with special use \Scheduled or \Snoozed. Its error ends the change.
	Passing func(ctx context.Context, u *mailflow.Unit, p *Passing) error

	IndexAfter time.Duration // how long new messages wait to be merged into the index; 0: 20 seconds. They are found at once
	NoIndex    bool          // terms are not written: for measurements
	SweepAfter time.Duration // how long the records of expunged messages stay for readers that have them in sight; 0: 1 minute
}

// Quota is what an account may hold; 0 is without limit.
type Quota struct {
	Bytes    int64 // octets of messages; each entry of a message counts
	Messages int64 // entries

	// Pool is the organisation whose quota counts too; it is set when the account is made and
	// read nowhere else.
	Pool string
}

// Usage is what it holds.
type Usage struct{ Bytes, Messages int64 }

// space is the account's conflict domain.
func space(id AccountID) kv.Space { return kv.Space("a/" + id.String()) }

// holder names a message as the holder of its body.
func holder(a AccountID, m MessageID) string { return "a/" + a.String() + "/" + m.String() }

// ParseHolder reads what names a message as the holder of a body.
func ParseHolder(s string) (AccountID, MessageID, bool) {
	p := strings.Split(s, "/")
	if len(p) != 3 || p[0] != "a" {
		return 0, 0, false
	}
	a, err1 := hlc.Parse(p[1])
	m, err2 := hlc.Parse(p[2])
	return a, m, err1 == nil && err2 == nil
}

// storageError puts an error of the engine or the bodies into the closed set.
func storageError(what string, err error) error {
	if err == nil {
		return nil
	}
	for _, e := range closedSet {
		if errors.Is(err, e) {
			return err
		}
	}
	var limit *kv.LimitError
	switch {
	case errors.As(err, &limit):
		return fmt.Errorf("%s: %w", what, ErrOverQuota)
	case errors.Is(err, kv.ErrFull):
		return fmt.Errorf("%s: %w", what, ErrFull)
	case errors.Is(err, kv.ErrTooLarge):
		return fmt.Errorf("%s: %w: %w", what, ErrTooLarge, err)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrTemporary, err)
}

// Errors returns the closed set, for tests that every edge translates each of them.
func Errors() []error { return slices.Clone(closedSet) }

var closedSet = []error{ErrNoAccount, ErrNoMailbox, ErrNoMessage, ErrExists, ErrUse, ErrName, ErrHasChildren,
	ErrInUse, ErrOverQuota, ErrTooLarge, ErrLimit, ErrFull, ErrDamaged, ErrRights, ErrTemporary}

// accountOf reads an account's space.
func accountOf(s kv.Space) (AccountID, bool) {
	id, err := hlc.Parse(strings.TrimPrefix(string(s), "a/"))
	return id, err == nil
}
