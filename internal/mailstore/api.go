package mailstore

import (
	"context"
	"iter"
	"time"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/message"
)

// Store keeps accounts. All methods may be called at once.
type Store struct{ o Options }

// New returns a Store. Run does its work in the background.
func New(o Options) *Store { panic("") }

// Run wakes readers when accounts were changed by others and sweeps what expunged
// messages left, until ctx is done. Without it nothing is lost, only later.
func (s *Store) Run(ctx context.Context) error { panic("") }

// PrepareCreate makes an account with INBOX and the special folders, all subscribed.
// ErrExists when it is there.
func (s *Store) PrepareCreate(ctx context.Context, u *mailflow.Unit, id AccountID, q Quota) error {
	panic("")
}

// Create is PrepareCreate, committed.
func (s *Store) Create(ctx context.Context, id AccountID, q Quota) error { panic("") }

// Account returns an account, ErrNoAccount when there is none.
func (s *Store) Account(ctx context.Context, id AccountID) (*Account, error) { panic("") }

// Delete removes an account with all its mail, in bounded steps; it may be called again
// after it was interrupted. Readers find ErrNoAccount from the first step on.
func (s *Store) Delete(ctx context.Context, id AccountID) error { panic("") }

// Account is the mail of one account. All methods may be called at once.
type Account struct{}

// ID names the account.
func (a *Account) ID() AccountID { panic("") }

// Quota returns limits and what is used.
func (a *Account) Quota(ctx context.Context) (Quota, Usage, error) { panic("") }

// SetQuota changes the limits; what is over them stays.
func (a *Account) SetQuota(ctx context.Context, q Quota) error { panic("") }

// Mailbox is one mailbox; it is not changed.
type Mailbox struct {
	ID          MailboxID
	Parent      MailboxID // 0: at the top
	Name        string    // the whole name, NFC; INBOX in capitals
	UIDValidity uint32
	Role        imap.MailboxAttr // \Drafts …, empty: none (RFC 6154)
	Subscribed  bool
	HasChildren bool
}

// Tree is all mailboxes of an account at one moment; it is not changed.
type Tree struct{}

// All returns the mailboxes, INBOX first, then in the order of their names; a parent
// before its children. The slice is shared.
func (t *Tree) All() []*Mailbox { panic("") }

// Name finds a mailbox by name, in any case for INBOX, nil when there is none.
func (t *Tree) Name(name string) *Mailbox { panic("") }

// ID finds a mailbox by id, nil when there is none.
func (t *Tree) ID(id MailboxID) *Mailbox { panic("") }

// Role finds the mailbox with a special use, nil when there is none.
func (t *Tree) Role(r imap.MailboxAttr) *Mailbox { panic("") }

// Inbox is INBOX.
func (t *Tree) Inbox() *Mailbox { panic("") }

// Subscriptions returns all subscribed names in order, those without a mailbox too
// (RFC 9051, 6.3.7). The slice is shared.
func (t *Tree) Subscriptions() []string { panic("") }

// CleanName returns the name in the form in which it is kept: NFC, INBOX (also as first
// level) in capitals, no separator at the end. ErrName when it is none.
func CleanName(name string) (string, error) { panic("") }

// Tree returns the mailboxes as they are now.
func (a *Account) Tree(ctx context.Context) (*Tree, error) { panic("") }

// CreateMailbox makes a mailbox and those above it that are missing (RFC 9051, 6.3.4);
// role may be empty. ErrExists, ErrName, ErrLimit.
func (a *Account) CreateMailbox(ctx context.Context, name string, role imap.MailboxAttr) (*Mailbox, error) {
	panic("")
}

// RenameMailbox renames a mailbox with all below it; missing ones above the new name are
// made. INBOX stays: its messages move to the new mailbox (RFC 9051, 6.3.6).
// Subscriptions go with the names.
func (a *Account) RenameMailbox(ctx context.Context, from, to string) error { panic("") }

// DeleteMailbox deletes a mailbox and its messages. ErrHasChildren (RFC 9051, 7.1,
// HASCHILDREN), ErrInUse for INBOX. The subscription stays.
func (a *Account) DeleteMailbox(ctx context.Context, name string) error { panic("") }

// Subscribe puts a name on the list of subscriptions or takes it off; the mailbox need
// not exist.
func (a *Account) Subscribe(ctx context.Context, name string, on bool) error { panic("") }

// SetRole gives a mailbox a special use; another one loses it. Empty takes it away.
func (a *Account) SetRole(ctx context.Context, mailbox MailboxID, role imap.MailboxAttr) error {
	panic("")
}

// Status is what STATUS tells of a mailbox (RFC 9051, 6.3.11).
type Status struct {
	Messages, Unseen, Deleted uint32
	Size                      int64 // octets (STATUS=SIZE)
	UIDNext, UIDValidity      uint32
	HighestModSeq             uint64
}

// Status reads the counters of mailboxes without loading any; one Status for each id, in
// order. ErrNoMailbox.
func (a *Account) Status(ctx context.Context, ids ...MailboxID) ([]Status, error) { panic("") }

// Incoming is a message to be put into a mailbox.
type Incoming struct {
	Body         blob.Body
	Message      *message.Message
	Flags        Flags    // system flags
	Keywords     []string // made known to the mailbox where they are new
	InternalDate time.Time
}

// Appended is what became of an Incoming; filled in when its unit is durable.
type Appended struct {
	Mailbox     MailboxID
	UIDValidity uint32
	UID         uint32
	ID          MessageID
	Thread      ThreadID
	ModSeq      uint64
}

// PrepareAppend adds a message to a mailbox within the unit, and to each further one. One
// Appended a mailbox, in order. A nearly full account is found at the commit: the error
// wraps kv.ErrLimit; [Account.Room] asks before.
func (a *Account) PrepareAppend(ctx context.Context, u *mailflow.Unit, m *Incoming, mailbox MailboxID, also ...MailboxID) ([]*Appended, error) {
	panic("")
}

// Append puts messages into a mailbox, all or none (RFC 3502). UIDs are in their order
// and without gaps.
func (a *Account) Append(ctx context.Context, mailbox MailboxID, m ...*Incoming) ([]*Appended, error) {
	panic("")
}

// Room tells whether the quota allows so much more: nil or ErrOverQuota.
func (a *Account) Room(ctx context.Context, bytes, messages int64) error { panic("") }

// StoreMode says what StoreFlags does with the flags given.
type StoreMode uint8

// The modes of STORE (RFC 9051, 6.4.6).
const (
	FlagsReplace StoreMode = iota
	FlagsAdd
	FlagsRemove
)

// FlagChange is what StoreFlags does.
type FlagChange struct {
	Mode           StoreMode
	Flags          Flags    // system flags
	Keywords       []string // made known to the mailbox where they are new (not by FlagsRemove)
	UnchangedSince uint64   // only messages whose mod-sequence is not above it (RFC 7162, 3.1.3), if Conditional
	Conditional    bool
}

// Stored is the result of StoreFlags.
type Stored struct {
	ModSeq   uint64      // of those changed
	Changed  imap.UIDSet // whose flags are other than before
	Same     imap.UIDSet // had those flags already, and keep their mod-sequence
	Modified imap.UIDSet // refused by UnchangedSince: the MODIFIED response code
}

// StoreFlags changes flags. UIDs that are not there are passed over.
func (a *Account) StoreFlags(ctx context.Context, mailbox MailboxID, uids imap.UIDSet, c FlagChange) (*Stored, error) {
	panic("")
}

// PrepareStoreFlags is StoreFlags within a unit; at most one change of flags, Expunge,
// Copy or Move for a mailbox in one unit.
func (a *Account) PrepareStoreFlags(ctx context.Context, u *mailflow.Unit, mailbox MailboxID, uids imap.UIDSet, c FlagChange) (*Stored, error) {
	panic("")
}

// Expunged is the result of Expunge.
type Expunged struct {
	ModSeq uint64 // of the last commit
	UIDs   imap.UIDSet
}

// Expunge removes those of the messages that have \Deleted, or all of them when force is
// set (POP3, JMAP).
func (a *Account) Expunge(ctx context.Context, mailbox MailboxID, uids imap.UIDSet, force bool) (*Expunged, error) {
	panic("")
}

// PrepareExpunge is Expunge within a unit.
func (a *Account) PrepareExpunge(ctx context.Context, u *mailflow.Unit, mailbox MailboxID, uids imap.UIDSet, force bool) (*Expunged, error) {
	panic("")
}

// Copied is the result of Copy and Move: the COPYUID response code (RFC 9051, 7.1). Both
// sets are in ascending order and of the same count.
type Copied struct {
	UIDValidity  uint32 // of the destination
	Source, Dest imap.UIDSet
	ModSeq       uint64 // of the last commit
}

// Copy copies messages with their flags into another mailbox (or the same), all or none
// (RFC 9051, 6.4.7). UIDs that are not there are passed over.
func (a *Account) Copy(ctx context.Context, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	panic("")
}

// PrepareCopy is Copy within a unit.
func (a *Account) PrepareCopy(ctx context.Context, u *mailflow.Unit, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	panic("")
}

// Move moves messages; each is in exactly one of the two mailboxes at every moment
// (RFC 9051, 6.4.8).
func (a *Account) Move(ctx context.Context, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	panic("")
}

// PrepareMove is Move within a unit.
func (a *Account) PrepareMove(ctx context.Context, u *mailflow.Unit, from MailboxID, uids imap.UIDSet, to MailboxID) (*Copied, error) {
	panic("")
}

// View opens the live columns of a mailbox; Close gives it back.
func (a *Account) View(ctx context.Context, mailbox MailboxID) (*View, error) { panic("") }

// View is an open mailbox. Notify and Stop may be called at any time; the columns
// themselves are shared with everyone who has the mailbox open.
type View struct{}

// Snapshot returns the mailbox as it is now: all that was durable when it was called.
// ErrNoMailbox once it was deleted.
func (v *View) Snapshot(ctx context.Context) (*Snapshot, error) { panic("") }

// Notify makes ch receive (without blocking; a channel of capacity 1 loses nothing) after
// the mailbox changed. Hints may be one too many; Snapshot tells the truth.
func (v *View) Notify(ch chan<- struct{}) { panic("") }

// Stop ends what Notify began.
func (v *View) Stop(ch chan<- struct{}) { panic("") }

// Close gives the view back and stops its channels.
func (v *View) Close() { panic("") }

// Notify makes ch receive after anything in the account changed: mailboxes, messages,
// flags. Stop ends it.
func (a *Account) Notify(ch chan<- struct{}) { panic("") }

// Stop ends what Notify began.
func (a *Account) Stop(ch chan<- struct{}) { panic("") }

// Row is one message in a mailbox.
type Row struct {
	UID          uint32
	ID           MessageID
	Flags        Flags
	ModSeq       uint64
	SaveDate     int64 // seconds since 1970 UTC (RFC 8514)
	InternalDate int64 // seconds since 1970 UTC
	Size         uint32
	Gone         bool // held by [Snapshot.Advance] though it is expunged
}

// Snapshot is a mailbox at one moment; it is not changed and needs no closing. Messages
// are numbered from 0 in the order of their UIDs: index+1 is the sequence number.
type Snapshot struct{}

// Len is the number of messages, those held though expunged included.
func (s *Snapshot) Len() int { panic("") }

// Row returns a message by index.
func (s *Snapshot) Row(i int) Row { panic("") }

// UID returns the UID at an index.
func (s *Snapshot) UID(i int) uint32 { panic("") }

// Index returns the index of a UID; where there is no such message, false and the index
// that it would have.
func (s *Snapshot) Index(uid uint32) (int, bool) { panic("") }

// Rows yields the messages with index from ≤ i < to.
func (s *Snapshot) Rows(from, to int) iter.Seq2[int, Row] { panic("") }

// UIDs returns the UIDs of the messages with index from ≤ i < to as a set.
func (s *Snapshot) UIDs(from, to int) imap.UIDSet { panic("") }

// UIDNext is the UID that the next message will have at least.
func (s *Snapshot) UIDNext() uint32 { panic("") }

// UIDValidity of the mailbox.
func (s *Snapshot) UIDValidity() uint32 { panic("") }

// HighestModSeq of the mailbox (RFC 7162, 3.1.2.1).
func (s *Snapshot) HighestModSeq() uint64 { panic("") }

// Version is that of the account at which the snapshot is right.
func (s *Snapshot) Version() uint64 { panic("") }

// Keywords is the mailbox's table of keywords; the slice is shared.
func (s *Snapshot) Keywords() []string { panic("") }

// Delta is what is new in a snapshot against the one before.
type Delta struct {
	Expunged []uint32    // indexes in the old snapshot, descending: EXPUNGE index+1 each (RFC 9051, 7.5.1)
	Vanished imap.UIDSet // the same as UIDs
	Changed  []int       // indexes in the new snapshot whose flags or mod-sequence are other than before
	Added    int         // messages at the end of the new snapshot
	Keywords bool        // the table of keywords grew
}

// Advance compares s, which a session has told its client, with next and returns what to
// hold from now on and what to tell. With hold, expunged messages stay where they are,
// marked Gone, so that sequence numbers keep their meaning (RFC 9051, 7.5.1: no EXPUNGE
// during FETCH, STORE, SEARCH); a later Advance without hold tells of them.
func (s *Snapshot) Advance(next *Snapshot, hold bool) (*Snapshot, Delta) { panic("") }

// Vanished returns the UIDs, of those in known (nil: all), that were expunged after the
// mod-sequence since (RFC 7162, 3.2.5). Never one that is in s. It may name UIDs that
// were expunged earlier when the log does not reach back so far.
func (s *Snapshot) Vanished(ctx context.Context, since uint64, known imap.UIDSet) (imap.UIDSet, error) {
	panic("")
}

// Want says which fields of a Record are read; fewer are faster.
type Want uint8

// What a Record may have. Row is always there.
const (
	WantEnvelope  Want = 1 << iota // Envelope, Thread, Sent, and the texts Subject to Bcc
	WantStructure                  // Body, BodyStructure, Structure, Preview, Thread
)

// Record is what is stored of a message. Slices and texts are valid until the next step
// of the loop only.
type Record struct {
	Index int
	Row
	Missing bool // expunged and swept since the snapshot: only Index and Row are there

	Thread   ThreadID
	Envelope []byte // as FETCH ENVELOPE sends it
	Sent     int64  // Date field, seconds since 1970 UTC; 0: none
	SentZone int16  // its zone, minutes east

	// Decoded, as SEARCH compares them; addresses as "name <local@domain>, …".
	Subject, From, To, Cc, Bcc []byte
	Truncated                  bool // one of the texts is not whole: see Structure

	Body          blob.Body
	BodyStructure []byte // as FETCH BODYSTRUCTURE sends it
	Structure     []byte // of message.AppendBinary: for message.Find and message.Decode
	Preview       string
}

// Records yields what is stored of the messages in uids, in order of UID. It holds
// nothing open between two steps, however slow the loop is.
func (s *Snapshot) Records(ctx context.Context, uids imap.UIDSet, want Want) iter.Seq2[*Record, error] {
	panic("")
}

// Record reads one message by UID; ErrNoMessage. The slices are the caller's.
func (s *Snapshot) Record(ctx context.Context, uid uint32, want Want) (*Record, error) { panic("") }

// Open opens the octets of a message.
func (a *Account) Open(ctx context.Context, b blob.Body) (blob.Reader, error) { panic("") }

// Location is one place of a message.
type Location struct {
	Mailbox MailboxID
	UID     uint32
}

// Locations returns where a message is; ErrNoMessage when nowhere.
func (a *Account) Locations(ctx context.Context, id MessageID) ([]Location, error) { panic("") }

// Thread returns the messages of a thread that are in some mailbox, oldest first.
func (a *Account) Thread(ctx context.Context, id ThreadID) ([]MessageID, error) { panic("") }

// Finding is something that Check found wrong.
type Finding struct {
	Account AccountID
	Mailbox MailboxID // 0: the account as a whole
	UID     uint32
	Message MessageID
	Text    string
}

// Check verifies every index of the account against every message. With bodies set each
// body is read and its checksum verified.
func (a *Account) Check(ctx context.Context, bodies bool, found func(Finding)) error { panic("") }

// Sweep does what expunging left over: the records and body links of messages that are in
// no mailbox any more. It returns when there is nothing to do.
func (a *Account) Sweep(ctx context.Context) error { panic("") }
