package admin

import (
	"context"
	"errors"
	"time"

	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mta/queue"
)

// QueueItem is some recipients of one mail that wait together.
type QueueItem struct {
	ID         string           `json:"id"`
	State      string           `json:"state"`
	Hop        string           `json:"next_hop"`
	ReturnPath string           `json:"return_path"` // empty: a notification
	Recipients []QueueRecipient `json:"recipients"`
	SizeBytes  int64            `json:"size_bytes"`
	Received   time.Time        `json:"received"`
	Due        time.Time        `json:"due,omitzero"`
	Expires    time.Time        `json:"expires,omitzero"`
	LastTry    time.Time        `json:"last_try,omitzero"`
	Attempts   int              `json:"attempts"`
	Priority   int              `json:"priority,omitempty"`
	Reason     string           `json:"reason,omitempty"`
	Client     string           `json:"client,omitempty"`
	Protocol   string           `json:"protocol,omitempty"`
}

// QueueRecipient is a recipient that is left.
type QueueRecipient struct {
	Address string `json:"address"`
	Last    string `json:"last,omitempty"` // what its server said
	MTA     string `json:"mta,omitempty"`
}

func itemOf(l *queue.Listed) QueueItem {
	out := QueueItem{ID: l.ID.String(), State: string(l.State), Hop: l.Hop, ReturnPath: l.ReturnPath.String(),
		SizeBytes: l.SizeBytes, Received: l.Received, Due: l.Due, Expires: l.Expires, LastTry: l.LastTry,
		Attempts: l.Attempts, Priority: l.Priority, Reason: l.Reason, Protocol: l.Origin.Protocol,
		Recipients: make([]QueueRecipient, len(l.Recipients))}
	if l.Origin.Client.IsValid() {
		out.Client = l.Origin.Client.String()
	}
	for i, r := range l.Recipients {
		out.Recipients[i] = QueueRecipient{Address: r.Address.String(), MTA: r.MTA}
		if r.Last.Code != 0 {
			out.Recipients[i].Last = r.Last.String()
		}
	}
	return out
}

// QueueFilter selects items; empty fields select all.
type QueueFilter struct {
	State     string `json:"state,omitempty"`
	Sender    string `json:"sender,omitempty"`    // or a part of it
	Recipient string `json:"recipient,omitempty"` // or a part of it
	Hop       string `json:"next_hop,omitempty"`  // or a part of it
}

func (f QueueFilter) filter() queue.Filter {
	return queue.Filter{State: queue.State(f.State), Sender: f.Sender, Recipient: f.Recipient, Hop: f.Hop}
}

// QueueList is the argument of queue.list.
type QueueList struct {
	QueueFilter
	Limit int `json:"limit,omitempty"` // 0: queueListDefault
}

// QueueListed is what queue.list gives.
type QueueListed struct {
	Items []QueueItem `json:"items"`
	More  bool        `json:"more,omitempty"` // there are others
}

const queueListDefault = 1000

func (v *Verbs) queueList(ctx context.Context, in QueueList) (QueueListed, error) {
	limit := in.Limit
	if limit <= 0 {
		limit = queueListDefault
	}
	out := QueueListed{Items: []QueueItem{}}
	for cursor := ""; ; {
		list, next, err := v.Queue.List(ctx, in.filter(), cursor, min(limit-len(out.Items), queue.ListMax))
		if err != nil {
			return out, err
		}
		for i := range list {
			out.Items = append(out.Items, itemOf(&list[i]))
		}
		if next == "" || len(out.Items) >= limit {
			out.More = next != ""
			return out, nil
		}
		cursor = next
	}
}

// QueueRef names an item, or a mail with all its items.
type QueueRef struct {
	ID string `json:"id"`
}

func (v *Verbs) queueShow(ctx context.Context, in QueueRef) ([]QueueItem, error) {
	var out []QueueItem
	err := v.eachItem(ctx, in.ID, func(ctx context.Context, id queue.ItemID) error {
		l, err := v.Queue.Show(ctx, id)
		if err == nil {
			out = append(out, itemOf(&l))
		}
		return err
	})
	return out, err
}

// QueueSelect says which items a verb is for: by id, or all that match.
type QueueSelect struct {
	IDs []string     `json:"ids,omitempty"`
	All *QueueFilter `json:"all,omitempty"`
}

// QueueDone tells how many items a verb was done to.
type QueueDone struct {
	Items int `json:"items"`
}

func (v *Verbs) queueRetry(ctx context.Context, in QueueSelect) (QueueDone, error) {
	return v.forItems(ctx, in, v.Queue.Retry)
}

func (v *Verbs) queueHold(ctx context.Context, in QueueSelect) (QueueDone, error) {
	return v.forItems(ctx, in, v.Queue.Hold)
}

func (v *Verbs) queueRelease(ctx context.Context, in QueueSelect) (QueueDone, error) {
	return v.forItems(ctx, in, v.Queue.Release)
}

func (v *Verbs) queueDelete(ctx context.Context, in QueueSelect) (QueueDone, error) {
	return v.forItems(ctx, in, v.Queue.Delete)
}

// forItems runs a verb of the queue over what is selected.
func (v *Verbs) forItems(ctx context.Context, in QueueSelect, f func(context.Context, queue.ItemID) error) (QueueDone, error) {
	if (len(in.IDs) > 0) == (in.All != nil) {
		return QueueDone{}, invalid("either ids or all")
	}
	if in.All != nil {
		n, err := v.Queue.All(ctx, in.All.filter(), f)
		return QueueDone{n}, err
	}
	var done QueueDone
	for _, id := range in.IDs {
		err := v.eachItem(ctx, id, func(ctx context.Context, id queue.ItemID) error {
			err := f(ctx, id)
			if err == nil {
				done.Items++
			}
			return err
		})
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// eachItem calls f for an item, or, when a mail is named by its own id, for all its items
// that are left.
func (v *Verbs) eachItem(ctx context.Context, ref string, f func(context.Context, queue.ItemID) error) error {
	id, err := queue.ParseItemID(ref)
	if err != nil {
		return invalid("%v", err)
	}
	if _, err := hlc.Parse(ref); err != nil { // "ID.GROUP"
		return f(ctx, id)
	}
	n, err := v.Queue.All(ctx, queue.Filter{Mail: id.Mail}, f)
	if err == nil && n == 0 {
		err = mailflow.ErrNoMail
	}
	if errors.Is(err, mailflow.ErrNoMail) {
		return &Error{NotFound, "nothing of " + ref + " is in the queue"}
	}
	return err
}
