// Package queue is the one door in: it takes responsibility for a mail in one durable
// commit, and keeps what is not settled until every recipient is final.
//
// The main type is [Queue], a mailflow.Submitter. It routes no address itself (package
// route), speaks to no server (transports), files into no mailbox (mailflow.Local) and
// writes no notices (its Bouncer): it decides which of these is asked, when, and what is
// committed together.
//
// # States of an item
//
// The recipients of one mail that share a next hop are an item. On disk there is only
// "it is there, due then" and "it is gone"; in memory an item that is near its time is an
// entry:
//
//	reserved   a commit that makes or changes the item is under way, by Submit or a verb
//	waiting    until due
//	ready      in the lane of its next hop
//	active     with a transport, or its outcome is being committed
//
// Responsibility for a recipient passes to us when the commit of Submit returns, and
// from us when the next server has said 2xx to the end of the data. The commit that
// follows removes the recipient from the item; a crash between these two instants, and
// nothing else, sends it a second time (RFC 1047). An item enters memory before the
// commit that makes it and leaves after the commit that removes it, so that the sweep,
// which reads the disk, never starts it twice.
//
// Mail that is held for its sender (FUTURERELEASE, or sending that can be undone) is one
// item or few, whatever its ways. One commit takes these away and makes of them what Submit
// would have made; whoever takes the mail back takes the same items away. So of the two
// exactly one is done, after a crash too.
//
// RFC 5321 (4.5.4.1 retries, 6.1 responsibility), RFC 3461 and 3464 (when to report),
// RFC 2852 (DELIVERBY), RFC 4865 (FUTURERELEASE), RFC 6710 (MT-PRIORITY).
package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"postroad/address"
	"postroad/internal/mailflow"
	"postroad/internal/mta/route"
	"postroad/smtp"
)

// Router finds the way for a recipient; *route.Router is one.
type Router interface {
	Route(ctx context.Context, a address.Address) (route.Route, error)
}

// Bouncer composes notices (RFC 3464).
type Bouncer interface {
	// Compose returns the notice of a kind about all recipients of m, whose statuses are
	// in order: Failed, Delayed, or Relayed for success (then a status may be Delivered
	// or Expanded too). The caller has seen to it that each recipient wants it. The
	// result is nil where there is nobody to tell. Its body is staged.
	Compose(ctx context.Context, m *mailflow.Mail, statuses []mailflow.Status, kind mailflow.Action) (*mailflow.Mail, error)
}

// Clock makes ids; *hlc.Clock is one.
type Clock interface{ Next() mailflow.ID }

// Options of a Queue. The first six are needed.
type Options struct {
	Committer  *mailflow.Committer
	Clock      Clock
	Router     Router
	Local      mailflow.Local
	Transports map[string]mailflow.Transport // by NextHop.Transport
	Bouncer    Bouncer

	Schedule     Schedule
	ActiveMax    int           // deliveries at one time; 0: ActiveMaxDefault
	LaneMax      int           // of these to one next hop; 0: LaneMaxDefault
	MemoryMax    int           // items in memory, the others wait on disk; 0: MemoryMaxDefault
	DrainTimeout time.Duration // how long Run waits for deliveries at its end; 0: DrainTimeoutDefault
	HopsMax      int           // Received fields of a mail; 0: mailflow.HopsMax

	// Tracker, if set, is told of mail that is Tracked.
	Tracker mailflow.Tracker
	// Record, if set, adds an event of a mail's timeline to the unit that it is part of.
	// It is called while a unit is prepared, so perhaps more than once for one event.
	Record func(u *mailflow.Unit, e Event)
	Log    *slog.Logger // nil: slog.Default
}

// Defaults and limits.
const (
	ActiveMaxDefault    = 500
	LaneMaxDefault      = 20
	MemoryMaxDefault    = 50_000 // items
	DrainTimeoutDefault = 10 * time.Second

	recipientsMax   = 10_000    // of one mail; what sessions take is far below
	depthMax        = 8         // mails that give rise to one another within one unit
	noticeDepth     = 2         // by which notices may go deeper: one about a mail that went too deep is delivered
	unitMailsMax    = 20        // mails that one unit delivers; further ones go by the queue
	localMax        = 20        // local recipients that one unit delivers (storage.md, 1)
	groupsMax       = 64        // items that one mail makes at once; the rest is routed later
	itemsMax        = 150       // items that one unit makes for single next hops; the rest is routed later
	groupRcptMax    = 100       // recipients in an item (RFC 5321, 4.5.3.1.8: servers take 100)
	groupOctetsMax  = 24 << 10  // octets of recipients in an item
	limitRetryMax   = 10        // units prepared anew because a counter was full
	finishingMax    = 1024      // outcomes on their way to the disk
	finishBatchMax  = 64        // outcomes in one commit
	completersCount = 2         // goroutines that commit outcomes
	cacheOctetsMax  = 64 << 20  // octets of items kept decoded in memory
	attemptMax      = time.Hour // one delivery; transports have closer limits of their own
)

// The lanes that no transport serves.
const (
	hopLocal = "local" // to mailflow.Local
	hopRoute = "route" // not routed yet
	hopHold  = "hold"  // held for its sender; its ways are looked for when the time comes
)

// Event is one step in the life of a mail, for its timeline.
type Event struct {
	Kind     EventKind
	Item     ItemID
	Mail     *mailflow.Mail // recipients are those the event is about
	Hop      mailflow.NextHop
	Statuses []mailflow.Status // of the recipients, in order; nil where there are none
	Attempt  int               // number of the delivery, from 1
	Next     time.Time         // of EventDeferred: when it is tried again
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	EventQueued   EventKind = iota + 1 // an item was made
	EventAttempt                       // a transport was asked; statuses tell
	EventDeferred                      // what is left waits until Next
	EventNotice                        // Mail is a notice that was sent
	EventLost                          // a notice that cannot be delivered nor returned
	EventHeld
	EventReleased
	EventDeleted   // by an administrator
	EventCancelled // by its sender
	EventAccepted  // Submit took the mail; statuses tell where each recipient is now
)

// Queue is the Submitter. Submit works at once; Run delivers.
type Queue struct {
	options    Options
	schedule   Schedule
	commit     *mailflow.Committer
	log        *slog.Logger
	stats      counters
	scheduler  scheduler
	finishing  chan outcome
	background sync.WaitGroup
}

// New checks the options and makes a Queue.
func New(o Options) (*Queue, error) {
	if o.Committer == nil || o.Clock == nil || o.Router == nil || o.Local == nil || o.Bouncer == nil {
		return nil, errors.New("queue: an option is missing")
	}
	if err := o.Schedule.complete(); err != nil {
		return nil, err
	}
	setDefault(&o.ActiveMax, ActiveMaxDefault)
	setDefault(&o.LaneMax, LaneMaxDefault)
	setDefault(&o.HopsMax, mailflow.HopsMax)
	setDefault(&o.MemoryMax, MemoryMaxDefault)
	setDefault(&o.DrainTimeout, DrainTimeoutDefault)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	q := &Queue{options: o, schedule: o.Schedule, commit: o.Committer, log: o.Log, finishing: make(chan outcome, finishingMax)}
	q.scheduler.init(&q.options)
	return q, nil
}

func setDefault[T int | time.Duration](p *T, value T) {
	if *p <= 0 {
		*p = value
	}
}

// record tells the timeline.
func (q *Queue) record(u *mailflow.Unit, e Event) {
	if q.options.Record != nil {
		q.options.Record(u, e)
	}
}

// queued is the status of a recipient that waits in the queue: we are responsible.
func queued(now time.Time) mailflow.Status {
	return mailflow.Status{Action: mailflow.Delayed, Reply: reply(250, smtp.EnhancedCode{2, 0, 0}, "Queued"), LocalMTA: true, At: now}
}

// failed is a status of our own making.
func failed(now time.Time, code int, e smtp.EnhancedCode, text string) mailflow.Status {
	return mailflow.Status{Action: mailflow.Failed, Reply: reply(code, e, text), LocalMTA: true, At: now}
}

func delayed(now time.Time, code int, e smtp.EnhancedCode, text string) mailflow.Status {
	return mailflow.Status{Action: mailflow.Delayed, Reply: reply(code, e, text), LocalMTA: true, At: now}
}

func reply(code int, e smtp.EnhancedCode, text string) smtp.Reply {
	return smtp.Reply{Code: code, Enhanced: e, Lines: []string{text}}
}
