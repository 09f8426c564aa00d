package imapserver

import (
	"context"
	"io"
	"time"

	"postroad/imap"
	"postroad/sasl"
)

// Session is one connection's other side: the store. Its methods stand in the order of
// the RFC's states. The server calls them from one goroutine, one at a time, and only in
// the state they belong to; wake of Watch is the one thing the session may call from
// elsewhere.
//
// Contexts end with the connection and with the server. Mailbox names are UTF-8 whatever
// the wire had, INBOX in upper case. An *[imap.Error] is answered as it says; any other
// error is logged and answered NO [UNAVAILABLE] without its text. Slices and pointers
// handed to a method are the session's to keep; what a session hands back or into a
// writer is the session's again when the call returns. Sets of sequence numbers come
// resolved and in normal form, all of them numbers that the client was told of; in sets
// of UIDs "*" may stand, see imap.NumSet.Resolve.
type Session interface {
	// Close ends the session in whatever state it is: the connection is gone. It is called
	// once. A selected mailbox is left without expunging.
	Close()

	// Not authenticated (RFC 9051, 6.2).

	// SASL returns what the session offers for AUTHENTICATE; LOGIN asks its Backend's
	// Password. It is called again after STARTTLS; b is nil without TLS.
	SASL(b *sasl.Bindings) *sasl.Options
	// Authenticated opens the account of the identity that the Backend returned. With an
	// error the connection stays unauthenticated.
	Authenticated(ctx context.Context, identity any) error

	// Authenticated (RFC 9051, 6.3).

	// Select opens a mailbox. The server has called Unselect before if one was selected.
	// After an error none is. With CONDSTORE or QRESYNC in force data has HighestModSeq;
	// what QRESYNC asks beyond it comes as a Fetch with Vanished.
	Select(ctx context.Context, mailbox string, o SelectOptions) (*SelectData, error)
	Create(ctx context.Context, mailbox string, o CreateOptions) (*CreateData, error)
	Delete(ctx context.Context, mailbox string) error
	Rename(ctx context.Context, mailbox, newName string) error
	Subscribe(ctx context.Context, mailbox string) error
	Unsubscribe(ctx context.Context, mailbox string) error
	// List gives every mailbox to w, subscribed names without mailbox included
	// (NonExistent), in any order. The server matches patterns, selects, and finds out about
	// children; o tells a session that could give less what is enough.
	List(ctx context.Context, w *ListWriter, o ListOptions) error
	Namespace(ctx context.Context) (*NamespaceData, error)
	// Status returns at least the items asked for; others may be 0.
	Status(ctx context.Context, mailbox string, items imap.StatusItems) (*StatusData, error)
	// Append adds the messages that r yields, all or none (RFC 3502). A session refuses as
	// early as it can: an error before Next, or before the first Read of a message, spares a
	// synchronising client the literal.
	Append(ctx context.Context, mailbox string, r *AppendReader) (*AppendData, error)

	// Poll writes what has changed in the selected mailbox since the client was last told,
	// in the order it happened. Without o.Expunge no message may go (RFC 9051, 7.5.1): the
	// sequence numbers stay, and expunged messages are told at a later Poll. Called at the
	// end of commands, and while idling after a wake. Cheap when nothing has changed.
	Poll(ctx context.Context, w *UpdateWriter, o PollOptions) error
	// Watch asks for wake to be called, from any goroutine, when Poll may have something to
	// tell, until stop is called. wake does not block. After stop has returned it is not
	// called. Used by IDLE (RFC 2177).
	Watch(wake func()) (stop func())

	// Selected (RFC 9051, 6.4).

	// Unselect leaves the selected mailbox, without expunging.
	Unselect(ctx context.Context) error
	// Expunge removes the messages that have \Deleted, only those of uids when it is not
	// nil, and tells each with w.Expunged. CLOSE calls it with w nil: nothing is told. The
	// mod-sequence it returns is the mailbox's highest, or 0 if nothing was removed or there
	// are none.
	Expunge(ctx context.Context, w *UpdateWriter, uids *imap.NumSet) (highestModSeq uint64, err error)
	// Search finds messages.
	Search(ctx context.Context, key *imap.SearchKey, o SearchOptions) (*SearchData, error)
	// Fetch writes the items of each message of the set in ascending order. UIDs that are
	// not there are left out; so are messages expunged by others but not yet told, with
	// imap.CodeExpungeIssued in the error if that matters to the client.
	Fetch(ctx context.Context, w *FetchWriter, set imap.NumSet, o FetchOptions) error
	// Store changes flags and tells each changed message with w.Flags.
	Store(ctx context.Context, w *UpdateWriter, set imap.NumSet, o StoreOptions) (*StoreData, error)
	// Copy copies all messages of the set or none (RFC 9051, 6.4.7).
	Copy(ctx context.Context, set imap.NumSet, mailbox string) (*CopyData, error)
	// Move moves messages; each is moved or not (RFC 9051, 6.4.8). It tells where they went
	// with w.Copied, then each that has gone with w.Expunged.
	Move(ctx context.Context, w *UpdateWriter, set imap.NumSet, mailbox string) error
}

// SelectOptions are those of SELECT and EXAMINE.
type SelectOptions struct {
	ReadOnly  bool // EXAMINE
	CondStore bool // mod-sequences are wanted (RFC 7162, 3.1.8)
}

// SelectData is what SELECT tells.
type SelectData struct {
	Mailbox        string      // its name as it is kept
	Flags          []imap.Flag // in use in the mailbox, system flags included
	PermanentFlags []imap.Flag // those a client may change, FlagWildcard for new keywords
	Exists         uint32
	Unseen         uint32 // sequence number of the first unseen message; 0: none, not told
	UIDNext        uint32
	UIDValidity    uint32
	HighestModSeq  uint64 // 0: NOMODSEQ
	MailboxID      string
	ReadOnly       bool // though SELECT was asked for
	Delimiter      rune // 0: the mailbox has no hierarchy
	Attributes     []imap.MailboxAttr
}

// CreateOptions are those of CREATE.
type CreateOptions struct {
	SpecialUse []imap.MailboxAttr // RFC 6154, 3
}

// CreateData is what CREATE tells.
type CreateData struct {
	MailboxID string // RFC 8474, 4.1
}

// ListOptions tell which mailboxes are enough.
type ListOptions struct {
	// Subscribed: only subscribed names are asked for (and their parents' state).
	Subscribed bool
	// Patterns with the reference in front, "*" and "%" as in RFC 9051, 6.3.9. Names below a
	// matching one decide about \HasChildren, so a session that filters keeps these.
	Patterns []string
}

// NamespaceData is what NAMESPACE tells (RFC 2342).
type NamespaceData struct {
	Personal, Other, Shared []Namespace
}

// Namespace is a prefix and its hierarchy delimiter.
type Namespace struct {
	Prefix    string
	Delimiter rune // 0: NIL
}

// StatusData is what STATUS tells.
type StatusData struct {
	Mailbox     string // its name as it is kept; empty: as asked
	Messages    uint32
	UIDNext     uint32
	UIDValidity uint32
	Unseen      uint32
	Deleted     uint32
	// DeletedStorage is how many octets EXPUNGE would set free (RFC 9208, 4.1.4).
	DeletedStorage uint64
	Size           uint64 // octets
	HighestModSeq  uint64
	AppendLimit    uint64 // octets; 0: the server's
	MailboxID      string
}

// AppendMessage is one message of APPEND, read like an io.Reader: Size octets, then
// io.EOF. A client that goes away makes io.ErrUnexpectedEOF.
type AppendMessage struct {
	io.Reader
	Flags  []imap.Flag
	Date   time.Time // zero: now
	Size   int64
	Binary bool // literal8: NUL octets may occur (RFC 3516, 4.4)
	UTF8   bool // given as UTF8 (RFC 6855, 4)
}

// AppendData is what APPEND tells (RFC 4315, 3). Zero UIDValidity: not told.
type AppendData struct {
	UIDValidity uint32
	UIDs        imap.UIDSet
}

// PollOptions are those of Poll.
type PollOptions struct {
	Expunge bool // messages may go
}

// SearchOptions are those of SEARCH.
type SearchOptions struct {
	UID bool // the client wants UIDs; the session may then leave Seqs out
	// Need says what of the result is wanted. A session may stop early when it is only
	// NeedMin or NeedMax.
	Need SearchNeed
	// Window is the part that NeedWindow means (RFC 9394, 3.1; RFC 5267, 4.4).
	Window imap.Window
	// Context: the client will search by the same key again; what was found may be kept (RFC
	// 5267, 4.2).
	Context bool
	// Update, if not empty, is the tag under which a ContextSearcher keeps the result up to
	// date.
	Update string
}

// SearchNeed is what of a search result is wanted.
type SearchNeed uint8

// Parts of a result.
const (
	NeedMin       SearchNeed = 1 << iota // the smallest number
	NeedMax                              // the largest number
	NeedCount                            // how many
	NeedAll                              // which
	NeedWindow                           // those of Window
	NeedRelevancy                        // scores of all that are wanted (RFC 6203, 4)
)

// SearchData is a search result. The n-th number of Seqs is the n-th of UIDs. Of a result
// of which only Min or Max is needed these may be all the sets have.
type SearchData struct {
	Seqs imap.SeqSet
	UIDs imap.UIDSet
	// ModSeq is the highest mod-sequence of those found, MinModSeq and MaxModSeq of the
	// first and the last. Only asked for when the key has SearchModSeq.
	ModSeq, MinModSeq, MaxModSeq uint64
	// Cut: Seqs and UIDs are not the whole result but the Window of the options, and ModSeq
	// is theirs. A session may cut when Need is NeedWindow and nothing else.
	Cut bool
	// Relevancy has the score, 1 to 100, of the n-th of UIDs, when NeedRelevancy is set. Only
	// asked for when the key has SearchFuzzy, of a FuzzySearcher.
	Relevancy []uint8
	// NoUpdate says why the result will not be kept up to date though Update asked for it;
	// empty: it will be. See ContextSearcher.
	NoUpdate string
}

// FetchOptions are the items of FETCH and its modifiers.
type FetchOptions struct {
	UID           bool // also set for UID FETCH and with QRESYNC: write it
	Flags         bool
	InternalDate  bool
	Size          bool
	Envelope      bool
	Body          bool // BODY, without extension data
	BodyStructure bool
	ModSeq        bool
	SaveDate      bool
	EmailID       bool
	ThreadID      bool
	Sections      []*imap.Section

	// SetSeen: at least one section sets \Seen, the mailbox is selected read-write; flags that
	// this changed are written though Flags was not asked for (RFC 9051, 6.4.5).
	SetSeen bool
	// ChangedSince leaves out messages whose mod-sequence is not above it (RFC 7162, 3.1.4).
	ChangedSince uint64
	// Vanished asks for w.Vanished with those UIDs of the set that were expunged after
	// ChangedSince, before any message (RFC 7162, 3.2.6). A session that does not remember
	// names all UIDs of the set that are not there.
	Vanished bool
	// Match is what QRESYNC told of sequence numbers the client knows (RFC 7162, 3.2.5.2),
	// for a session that remembers too little; nil: nothing.
	Match *SeqMatch
}

// SeqMatch pairs sequence numbers with UIDs, the n-th with the n-th.
type SeqMatch struct {
	Seqs imap.SeqSet
	UIDs imap.UIDSet
}

// StoreOp is what STORE does with its flags.
type StoreOp uint8

// The operations.
const (
	StoreReplace StoreOp = iota // FLAGS
	StoreAdd                    // +FLAGS
	StoreRemove                 // -FLAGS
)

// StoreOptions are those of STORE.
type StoreOptions struct {
	UID   bool // UID STORE
	Op    StoreOp
	Flags []imap.Flag
	// UnchangedSince, if HasUnchangedSince, refuses messages with a mod-sequence above it
	// (RFC 7162, 3.1.3).
	HasUnchangedSince bool
	UnchangedSince    uint64
}

// StoreData is what STORE tells.
type StoreData struct {
	// Modified are the messages refused for UnchangedSince: their UIDs with
	// StoreOptions.UID, else their sequence numbers.
	Modified imap.UIDSet
}

// CopyData is what COPY and MOVE tell (RFC 4315, 3): the n-th UID of Source became the
// n-th of Dest. Zero UIDValidity or an empty Source: not told.
type CopyData struct {
	UIDValidity  uint32
	Source, Dest imap.UIDSet
}
