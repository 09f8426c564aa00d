// Package imap has the words of IMAP4rev1 and IMAP4rev2 that server and client share:
// flags, mailbox names, number sets, dates, sections, search keys, response codes,
// capabilities, and the renderings of messages as ENVELOPE and BODYSTRUCTURE.
//
// The main type is [UIDSet]; [Decoder] reads the words from bytes, functions called
// Append… write them. The package opens no connection and keeps no mail: the server is
// in imapserver, the client in imapclient.
//
// RFC 3501, 9051, and the extensions 2342, 2971, 3502, 3516, 3691, 4314, 4315, 4731, 4959,
// 4978, 5032, 5161, 5182, 5256, 5258, 5267, 5464, 5819, 5957, 6154, 6203, 6851, 6855, 7162,
// 7377, 7888, 7889, 8438, 8440, 8474, 8514, 9208, 9394, 9590.
package imap

import "strings"

// Capability is a word of the CAPABILITY response.
type Capability string

// The capabilities that this package's words belong to.
const (
	CapIMAP4rev1        Capability = "IMAP4rev1"
	CapIMAP4rev2        Capability = "IMAP4rev2"
	CapStartTLS         Capability = "STARTTLS"
	CapLoginDisabled    Capability = "LOGINDISABLED"
	CapSASLIR           Capability = "SASL-IR"
	CapLiteralPlus      Capability = "LITERAL+"
	CapLiteralMinus     Capability = "LITERAL-"
	CapEnable           Capability = "ENABLE"
	CapID               Capability = "ID"
	CapIdle             Capability = "IDLE"
	CapNamespace        Capability = "NAMESPACE"
	CapUIDPlus          Capability = "UIDPLUS"
	CapUnselect         Capability = "UNSELECT"
	CapChildren         Capability = "CHILDREN"
	CapMove             Capability = "MOVE"
	CapSpecialUse       Capability = "SPECIAL-USE"
	CapCreateSpecialUse Capability = "CREATE-SPECIAL-USE"
	CapListExtended     Capability = "LIST-EXTENDED"
	CapListStatus       Capability = "LIST-STATUS"
	CapStatusSize       Capability = "STATUS=SIZE"
	CapESearch          Capability = "ESEARCH"
	CapSearchRes        Capability = "SEARCHRES"
	CapWithin           Capability = "WITHIN"
	CapCondStore        Capability = "CONDSTORE"
	CapQResync          Capability = "QRESYNC"
	CapBinary           Capability = "BINARY"
	CapMultiAppend      Capability = "MULTIAPPEND"
	CapAppendLimit      Capability = "APPENDLIMIT"
	CapUTF8Accept       Capability = "UTF8=ACCEPT"
	CapObjectID         Capability = "OBJECTID"
	CapSaveDate         Capability = "SAVEDATE"
	CapCompressDeflate  Capability = "COMPRESS=DEFLATE"

	CapSort                 Capability = "SORT"
	CapSortDisplay          Capability = "SORT=DISPLAY"
	CapESort                Capability = "ESORT"
	CapContextSearch        Capability = "CONTEXT=SEARCH"
	CapContextSort          Capability = "CONTEXT=SORT"
	CapPartial              Capability = "PARTIAL"
	CapThreadOrderedSubject Capability = "THREAD=ORDEREDSUBJECT"
	CapThreadReferences     Capability = "THREAD=REFERENCES"
	CapThreadRefs           Capability = "THREAD=REFS"
	CapSearchFuzzy          Capability = "SEARCH=FUZZY"
	CapMultiSearch          Capability = "MULTISEARCH"
	CapACL                  Capability = "ACL"
	CapRights               Capability = "RIGHTS=" + RightsExtra
	CapListMyRights         Capability = "LIST-MYRIGHTS"
	CapQuota                Capability = "QUOTA"
	CapQuotaSet             Capability = "QUOTASET"
	CapQuotaRes             Capability = "QUOTA=RES-" // and a resource's name
	CapIMAPSieve            Capability = "IMAPSIEVE"  // IMAPSIEVE=sieve://HOST
	CapMetadata             Capability = "METADATA"
	CapMetadataServer       Capability = "METADATA-SERVER"
	CapListMetadata         Capability = "LIST-METADATA"
)

// Code is a response code as it stands between the brackets (RFC 9051, 7.1).
type Code string

// Response codes without arguments (RFC 9051, 7.1; RFC 3516, 4978, 7162).
const (
	CodeAlert                Code = "ALERT"
	CodeAlreadyExists        Code = "ALREADYEXISTS"
	CodeAuthenticationFailed Code = "AUTHENTICATIONFAILED"
	CodeAuthorizationFailed  Code = "AUTHORIZATIONFAILED"
	CodeCannot               Code = "CANNOT"
	CodeClientBug            Code = "CLIENTBUG"
	CodeClosed               Code = "CLOSED"
	CodeCompressionActive    Code = "COMPRESSIONACTIVE"
	CodeContactAdmin         Code = "CONTACTADMIN"
	CodeCorruption           Code = "CORRUPTION"
	CodeExpired              Code = "EXPIRED"
	CodeExpungeIssued        Code = "EXPUNGEISSUED"
	CodeHasChildren          Code = "HASCHILDREN"
	CodeInUse                Code = "INUSE"
	CodeLimit                Code = "LIMIT"
	CodeNonExistent          Code = "NONEXISTENT"
	CodeNoModSeq             Code = "NOMODSEQ"
	CodeNoPerm               Code = "NOPERM"
	CodeNotSaved             Code = "NOTSAVED"
	CodeOverQuota            Code = "OVERQUOTA"
	CodeParse                Code = "PARSE"
	CodePrivacyRequired      Code = "PRIVACYREQUIRED"
	CodeReadOnly             Code = "READ-ONLY"
	CodeReadWrite            Code = "READ-WRITE"
	CodeServerBug            Code = "SERVERBUG"
	CodeTooBig               Code = "TOOBIG"
	CodeTryCreate            Code = "TRYCREATE"
	CodeUIDNotSticky         Code = "UIDNOTSTICKY"
	CodeUnavailable          Code = "UNAVAILABLE"
	CodeUnknownCTE           Code = "UNKNOWN-CTE"
	CodeUseAttr              Code = "USEATTR"
)

// Status is the condition a status response tells (RFC 9051, 7.1).
type Status string

// The conditions.
const (
	OK      Status = "OK"
	NO      Status = "NO"
	BAD     Status = "BAD"
	BYE     Status = "BYE"
	PREAUTH Status = "PREAUTH"
)

// Error is a command refused: a status, perhaps a response code, and text fit for the
// peer.
type Error struct {
	Status Status // NO or BAD; BYE ends the connection
	Code   Code   // empty: none
	Text   string
}

func (e *Error) Error() string {
	if e.Code != "" {
		return "imap: " + string(e.Status) + " [" + string(e.Code) + "] " + e.Text
	}
	return "imap: " + string(e.Status) + " " + e.Text
}

// No makes the error that is answered NO.
func No(code Code, text string) *Error { return &Error{NO, code, text} }

// Bad makes the error that is answered BAD.
func Bad(text string) *Error { return &Error{BAD, "", text} }

// Flag is a system flag or a keyword (RFC 9051, 2.3.2).
type Flag string

// The system flags, keywords with a meaning of their own, and the wildcard of
// PERMANENTFLAGS.
const (
	FlagAnswered Flag = `\Answered`
	FlagFlagged  Flag = `\Flagged`
	FlagDeleted  Flag = `\Deleted`
	FlagSeen     Flag = `\Seen`
	FlagDraft    Flag = `\Draft`
	FlagRecent   Flag = `\Recent` // IMAP4rev1 only
	FlagWildcard Flag = `\*`

	FlagForwarded Flag = "$Forwarded"
	FlagMDNSent   Flag = "$MDNSent"
	FlagJunk      Flag = "$Junk"
	FlagNotJunk   Flag = "$NotJunk"
	FlagPhishing  Flag = "$Phishing"
)

// KeywordBytesMax bounds a keyword. RFC 9051 names no limit; JMAP lets them have 255
// characters (RFC 8621, 4.1.1).
const KeywordBytesMax = 255

var systemFlags = []Flag{FlagAnswered, FlagFlagged, FlagDeleted, FlagSeen, FlagDraft, FlagRecent}

// CanonicalFlag returns the flag in the spelling of the RFC: flags and keywords are
// compared without case (RFC 9051, 2.3.2); keywords keep theirs.
func CanonicalFlag(f Flag) Flag {
	if len(f) > 0 && f[0] == '\\' {
		for _, s := range systemFlags {
			if EqualFold(string(f), string(s)) {
				return s
			}
		}
	}
	return f
}

// IsSystem tells whether f begins with a backslash.
func (f Flag) IsSystem() bool { return strings.HasPrefix(string(f), `\`) }

// EqualFold compares protocol words: ASCII letters without case, nothing else folded.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if upper(a[i]) != upper(b[i]) {
			return false
		}
	}
	return true
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

// MailboxAttr is a mailbox attribute of LIST (RFC 9051, 7.3.1; RFC 5258; RFC 6154).
type MailboxAttr string

// Mailbox attributes.
const (
	AttrNonExistent   MailboxAttr = `\NonExistent`
	AttrNoinferiors   MailboxAttr = `\Noinferiors`
	AttrNoselect      MailboxAttr = `\Noselect`
	AttrHasChildren   MailboxAttr = `\HasChildren`
	AttrHasNoChildren MailboxAttr = `\HasNoChildren`
	AttrMarked        MailboxAttr = `\Marked`
	AttrUnmarked      MailboxAttr = `\Unmarked`
	AttrSubscribed    MailboxAttr = `\Subscribed`
	AttrRemote        MailboxAttr = `\Remote`

	// Special use (RFC 6154, 2; RFC 8457; the others are in IANA's registry of mailbox name
	// attributes).
	AttrAll       MailboxAttr = `\All`
	AttrArchive   MailboxAttr = `\Archive`
	AttrDrafts    MailboxAttr = `\Drafts`
	AttrFlagged   MailboxAttr = `\Flagged`
	AttrJunk      MailboxAttr = `\Junk`
	AttrSent      MailboxAttr = `\Sent`
	AttrTrash     MailboxAttr = `\Trash`
	AttrImportant MailboxAttr = `\Important`
	AttrMemos     MailboxAttr = `\Memos`
	AttrScheduled MailboxAttr = `\Scheduled`
	AttrSnoozed   MailboxAttr = `\Snoozed`
)

var specialUses = []MailboxAttr{AttrAll, AttrArchive, AttrDrafts, AttrFlagged, AttrJunk,
	AttrSent, AttrTrash, AttrImportant, AttrMemos, AttrScheduled, AttrSnoozed}

// SpecialUse returns the special-use attribute in the RFC's spelling, and whether a is
// one.
func SpecialUse(a MailboxAttr) (MailboxAttr, bool) {
	for _, u := range specialUses {
		if EqualFold(string(a), string(u)) {
			return u, true
		}
	}
	return a, false
}

// StatusItems is the set of items a STATUS command asks for.
type StatusItems uint16

// Items of STATUS (RFC 9051, 6.3.11; RFC 3501; RFC 7162, 3.1.7; RFC 7889; RFC 8474).
const (
	StatusMessages StatusItems = 1 << iota
	StatusRecent
	StatusUIDNext
	StatusUIDValidity
	StatusUnseen
	StatusDeleted
	StatusSize
	StatusHighestModSeq
	StatusAppendLimit
	StatusMailboxID
	StatusDeletedStorage // RFC 9208, 4.1.4
)

// statusNames has the words of the items in the order of their bits.
var statusNames = [...]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN",
	"DELETED", "SIZE", "HIGHESTMODSEQ", "APPENDLIMIT", "MAILBOXID", "DELETED-STORAGE"}

// ParseStatusItem returns the item of a word; false when it is none.
func ParseStatusItem(word string) (StatusItems, bool) {
	for i, n := range statusNames {
		if EqualFold(word, n) {
			return 1 << i, true
		}
	}
	return 0, false
}

// String returns the words in parentheses.
func (s StatusItems) String() string {
	var words []string
	for i, n := range statusNames {
		if s&(1<<i) != 0 {
			words = append(words, n)
		}
	}
	return "(" + strings.Join(words, " ") + ")"
}
