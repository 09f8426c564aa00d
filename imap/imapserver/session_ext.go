package imapserver

import (
	"context"

	"postroad/imap"
)

// What a session may do besides what [Session] asks. The server looks once per connection
// which of these interfaces its session implements, before the greeting, and then tells
// their capabilities and knows their commands; without log-in too. A type therefore has
// their methods only if every session of it serves them. All that Session says of
// contexts, errors, names, sets, and of what belongs to whom holds here.
//
//	Orderer          SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS
//	ContextSearcher  CONTEXT=SEARCH, with Orderer CONTEXT=SORT
//	FuzzySearcher    SEARCH=FUZZY
//	MultiSearcher    MULTISEARCH
//	ACLer            ACL RIGHTS=kxte LIST-MYRIGHTS
//	Quoter           QUOTA QUOTA=RES-…
//	QuotaSetter      QUOTASET
//	Annotator        METADATA METADATA-SERVER LIST-METADATA
//
// PARTIAL (RFC 9394) is served with any session.

// Limits of these extensions. RFC 5464, 4.1, asks for values of 1,024 octets and 10 entries;
// the other RFCs name none.
const (
	// ContextsMax bounds the searches of one connection that are kept up to date; more are
	// answered, with NO [NOUPDATE] (RFC 5267, 4.3.1).
	ContextsMax = 16
	// MultiSearchMailboxesMax bounds the mailboxes that one ESEARCH looks into; a session
	// refuses more with imap.CodeLimit (RFC 7377, 2.4).
	MultiSearchMailboxesMax = 1000
	// IdentifierBytesMax bounds an identifier of an access control list, in octets.
	IdentifierBytesMax = 512
	// MetadataValueBytesMax bounds the value of an entry, in octets. The server refuses
	// larger ones.
	MetadataValueBytesMax = 32 << 10
	// MetadataEntriesMax bounds the entries of a mailbox, and those of the server, for one
	// user; a session refuses more with imap.CodeMetadataTooMany. It bounds what one command
	// names, too.
	MetadataEntriesMax = 100
)

// Orderer puts messages in order (RFC 5256, 5957, 5267).
type Orderer interface {
	// Sort finds messages and returns them in the order of the keys. There is at least one
	// key; imap.SortRelevancy only comes with a key that has FUZZY, to a FuzzySearcher. A
	// NeedMin or NeedMax of o means the first or last in order.
	Sort(ctx context.Context, keys []imap.SortKey, key *imap.SearchKey, o SearchOptions) (*SortData, error)
	// Thread finds messages and returns them as threads: UIDs if uid, else sequence numbers.
	// Nodes that are no whole threads (imap.CheckThreads) are an error of the session's.
	Thread(ctx context.Context, algorithm imap.ThreadAlgorithm, key *imap.SearchKey, uid bool) ([]imap.ThreadNode, error)
}

// SortData is the result of a SORT.
type SortData struct {
	// UIDs are those found, in order. The n-th of Seqs is the n-th of UIDs; with
	// SearchOptions.UID Seqs may be left out. Of a result of which only the first or last is
	// needed these may be all there are.
	UIDs, Seqs []uint32
	// Cut: UIDs and Seqs are not the whole result but the Window of the options. A session
	// may cut when o.Need is NeedWindow and nothing else.
	Cut bool
	// Relevancy has the score, 1 to 100, of the n-th of UIDs, when o.Need has NeedRelevancy.
	Relevancy []uint8
	// ModSeq is the highest mod-sequence of those found, ModSeqs of the first and the last.
	// Only asked for when the key has SearchModSeq (RFC 7162, 3.1.9 and 3.1.10).
	ModSeq, FirstModSeq, LastModSeq uint64
	// NoUpdate says why the result will not be kept up to date though o.Update asked for it;
	// empty: it will be.
	NoUpdate string
}

// ContextSearcher keeps results of Search, and of an Orderer's Sort, up to date (RFC 5267,
// 4.3). When SearchOptions.Update names a tag, the session has from the moment of the
// result on, until CancelUpdate or the mailbox is left, an update context under this tag,
// or says in NoUpdate of the result why it has not. With an error there is none.
//
// Poll tells what changes in the result with UpdateWriter.ContextAdd and ContextRemove: a
// message that comes in after the Exists which made its number known, one that goes before
// its Expunged, and one whose flags changed beside its Flags. Sequence numbers in the
// search key mean the messages they named when the search was made (RFC 5267, 4.3). Changes
// are those of the whole result, whatever Need and Window were.
//
// For a Search the position is 0: in mailbox order. For a Sort it is the place, from 1,
// that the message takes in the result or is taken from, as the result is after the changes
// told before; 0 is allowed for removals.
type ContextSearcher interface {
	// CancelUpdate forgets update contexts. The server names only tags of searches it was
	// not told NoUpdate of. When a mailbox is left the session forgets all, without this.
	CancelUpdate(ctx context.Context, tags []string) error
}

// FuzzySearcher knows imap.SearchFuzzy and gives scores (RFC 6203): SearchData.Relevancy,
// SortData.Relevancy, imap.SortRelevancy.
type FuzzySearcher interface {
	// SearchesFuzzily tells whether it does so: an index may not be there. It is asked once.
	SearchesFuzzily() bool
}

// MultiSearcher searches mailboxes that are not selected (RFC 7377).
type MultiSearcher interface {
	// MultiSearch searches each mailbox that the sources name, once though several sources
	// name it, and gives each result that is not empty to w as soon as it is there. Mailboxes
	// that do not exist, cannot be selected, or that the user may not read ("r"), or see ("l")
	// where the source does not name them, are passed over (RFC 7377, 2.2). o.UID is set; Seqs
	// is never needed. Sequence numbers in the key are of the mailbox that is searched, "*"
	// included: resolve the set against it.
	MultiSearch(ctx context.Context, w *MultiSearchWriter, sources []SearchSource, key *imap.SearchKey, o SearchOptions) error
}

// SearchSource names mailboxes to search.
type SearchSource struct {
	Kind      SearchSourceKind
	Mailboxes []string // of SourceMailboxes, SourceSubtree and SourceSubtreeOne
}

// SearchSourceKind is the kind of a source (filter-mailboxes of RFC 5465, 6 and 8; RFC 7377,
// 2.2).
type SearchSourceKind uint8

// The kinds.
const (
	SourceSelected   SearchSourceKind = iota // the selected mailbox; there is one
	SourceInboxes                            // where new mail may be put (RFC 5465, 6.2)
	SourcePersonal                           // all of the personal namespaces
	SourceSubscribed                         // all that the user has subscribed to
	SourceSubtree                            // Mailboxes and all below them
	SourceSubtreeOne                         // Mailboxes and those right below them
	SourceMailboxes                          // Mailboxes
)

// ACLer keeps access control lists (RFC 4314). Who may not even know of a mailbox is told
// what would be told if there were none, imap.CodeNonExistent; who may know of it but lacks
// "a", imap.CodeNoPerm. Identifiers are UTF-8 of at most IdentifierBytesMax octets, never
// empty, prepared as the Unicode form of PRECIS's OpaqueString.
type ACLer interface {
	// SetACL changes the rights of an identifier, all or none. An identifier that cannot be
	// granted anything is refused.
	SetACL(ctx context.Context, mailbox, identifier string, op imap.RightsOp, rights imap.Rights) error
	// DeleteACL removes the entry of an identifier; that there is none is no error.
	DeleteACL(ctx context.Context, mailbox, identifier string) error
	// GetACL returns all entries.
	GetACL(ctx context.Context, mailbox string) ([]imap.ACLEntry, error)
	// ListRights returns what an identifier can be granted.
	ListRights(ctx context.Context, mailbox, identifier string) (*ListRightsData, error)
	// MyRights returns the rights of the user. LIST RETURN (MYRIGHTS) asks it too, for each
	// mailbox that it tells (RFC 8440); a mailbox it refuses is told without rights.
	MyRights(ctx context.Context, mailbox string) (imap.Rights, error)
}

// ListRightsData is what LISTRIGHTS tells (RFC 4314, 3.7).
type ListRightsData struct {
	Required imap.Rights   // are always granted
	Tied     []imap.Rights // each set can be granted as a whole; none has a right of another
}

// Quoter tells quotas (RFC 9208; RFC 2087).
type Quoter interface {
	// QuotaResources are the resources that some quota root may limit. It is asked once,
	// before log-in.
	QuotaResources() []imap.QuotaResource
	// GetQuota returns the state of a quota root; there is no such root, or it is none of the
	// user's: imap.CodeNonExistent, imap.CodeNoPerm.
	GetQuota(ctx context.Context, root string) (*imap.Quota, error)
	// GetQuotaRoot returns the quota roots of a mailbox, which need not exist (RFC 9208,
	// 4.1.2): those that would apply to it.
	GetQuotaRoot(ctx context.Context, mailbox string) ([]imap.Quota, error)
}

// QuotaSetter is a Quoter whose quotas can be changed by users who may.
type QuotaSetter interface {
	Quoter
	// SetQuota replaces all limits of a quota root: a resource not named has none then. It
	// returns the state it has come to.
	SetQuota(ctx context.Context, root string, limits []imap.QuotaLimit) (*imap.Quota, error)
}

// Annotator keeps annotations of mailboxes, and of the server, whose mailbox name is ""
// (RFC 5464). Entry names are in lower case. Annotations follow a mailbox that is renamed
// and go with one that is deleted (RFC 5464, 4.1).
type Annotator interface {
	// GetMetadata returns the entries that o asks for and that have a value, in any order,
	// each once. LIST RETURN (METADATA …) asks it too, for each mailbox that it tells (RFC
	// 9590); a mailbox it refuses is told without.
	GetMetadata(ctx context.Context, mailbox string, o MetadataOptions) ([]imap.MetadataEntry, error)
	// SetMetadata sets all entries or none; one without value (nil) is removed, and need not
	// be there. No name comes twice. Too many: imap.CodeMetadataTooMany.
	SetMetadata(ctx context.Context, mailbox string, entries []imap.MetadataEntry) error
}

// MetadataOptions are those of GETMETADATA. imap.MetadataMatches tells which entries they
// mean. MAXSIZE is the server's business.
type MetadataOptions struct {
	Names []string
	Depth imap.MetadataDepth
}
