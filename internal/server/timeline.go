package server

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"postroad/internal/admin"
	"postroad/internal/mailflow"
	"postroad/internal/mta/queue"
	"postroad/internal/mta/route"
	"postroad/internal/trace"
)

const (
	traceKeep     = 30 * 24 * time.Hour // how long timelines are kept
	traceInterval = time.Hour           // between looks for what is too old
)

// trimTraces forgets old timelines until ctx is done.
func (s *Store) trimTraces(ctx context.Context) error {
	tick := time.NewTicker(traceInterval)
	defer tick.Stop()
	for {
		if err := trace.Trim(ctx, s.Engine, time.Now().Add(-traceKeep)); err != nil && !errors.Is(err, ctx.Err()) {
			s.log.Error("old timelines stay for now", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// record puts what the queue does to a mail into its timeline.
func (s *Store) record(u *mailflow.Unit, e queue.Event) {
	switch e.Kind {
	case queue.EventAccepted:
		trace.Prepare(u, accepted(&e))
		prepareOutcomes(u, &e, map[mailflow.Action]trace.Kind{mailflow.Delivered: trace.Delivered, mailflow.Expanded: trace.Routed, mailflow.Failed: trace.Failed})
	case queue.EventAttempt:
		prepareOutcomes(u, &e, map[mailflow.Action]trace.Kind{mailflow.Delivered: trace.Delivered, mailflow.Expanded: trace.Routed,
			mailflow.Relayed: trace.Relayed, mailflow.Delayed: trace.Attempt, mailflow.Failed: trace.Failed})
	case queue.EventNotice:
		trace.Prepare(u, accepted(&queue.Event{Item: queue.ItemID{Mail: e.Mail.ID}, Mail: e.Mail}),
			trace.Event{Mail: e.Item.Mail, Kind: trace.Bounced, Detail: trace.Detail{Recipients: recipientsOf(e.Mail), Related: e.Mail.ID}})
	default:
		if p, ok := plainEvents[e.Kind]; ok {
			d := trace.Detail{Recipients: recipientsOf(e.Mail), NextTry: e.Next, Text: p.text}
			if e.Hop.Transport != "" {
				d.Transport, d.NextHop = e.Hop.Transport, route.Format(e.Hop)
			}
			trace.Prepare(u, trace.Event{Mail: e.Item.Mail, Kind: p.kind, Detail: d})
		}
	}
}

// plainEvents are those of which there is nothing more to say.
var plainEvents = map[queue.EventKind]struct {
	kind trace.Kind
	text string
}{
	queue.EventQueued:    {trace.Queued, ""},
	queue.EventDeferred:  {trace.Delayed, ""},
	queue.EventLost:      {trace.Failed, "a notification that can neither be delivered nor returned"},
	queue.EventHeld:      {trace.Held, "by an administrator"},
	queue.EventReleased:  {trace.Released, "by an administrator"},
	queue.EventDeleted:   {trace.Cancelled, "deleted by an administrator"},
	queue.EventCancelled: {trace.Cancelled, "by its sender"},
}

// accepted tells of a mail that we took responsibility for.
func accepted(e *queue.Event) trace.Event {
	m := e.Mail
	d := trace.Detail{Sender: m.ReturnPath.String(), Recipients: recipientsOf(m), Protocol: m.Origin.Protocol,
		TLS: m.Origin.TLS, Size: m.Body.Size, Account: m.Origin.Account}
	if m.Origin.Client.IsValid() {
		d.Client = m.Origin.Client.String()
	}
	if m.Message != nil {
		d.MessageID = m.Message.MessageID
	}
	return trace.Event{Mail: e.Item.Mail, Kind: trace.Accepted, Detail: d}
}

func recipientsOf(m *mailflow.Mail) []string {
	out := make([]string, len(m.Recipients))
	for i := range m.Recipients {
		out[i] = m.Recipients[i].Address.String()
	}
	return out
}

// prepareOutcomes tells what became of recipients, those with the same answer together.
// Actions that kinds does not have are told elsewhere.
func prepareOutcomes(u *mailflow.Unit, e *queue.Event, kinds map[mailflow.Action]trace.Kind) {
	type outcome struct {
		kind            trace.Kind
		mta, reply, tls string
	}
	var order []outcome
	to := map[outcome][]string{}
	for i := range e.Statuses {
		st := &e.Statuses[i]
		kind, ok := kinds[st.Action]
		if !ok || i >= len(e.Mail.Recipients) {
			continue
		}
		o := outcome{kind, st.RemoteMTA, st.Reply.String(), st.TLS}
		if to[o] == nil {
			order = append(order, o)
		}
		to[o] = append(to[o], e.Mail.Recipients[i].Address.String())
	}
	for _, o := range order {
		d := trace.Detail{Recipients: to[o], RemoteMTA: o.mta, Reply: o.reply, TLS: o.tls}
		trace.Prepare(u, trace.Event{Mail: e.Item.Mail, Kind: o.kind, Detail: d})
	}
}

// timeline answers `postroad trace`.
func (s *Store) timeline(ctx context.Context, message string) ([]admin.TraceEvent, error) {
	found, err := trace.Find(ctx, s.Engine, message)
	if err != nil {
		return nil, err
	}
	var out []admin.TraceEvent
	for _, t := range found {
		for i := range t.Events {
			e := &t.Events[i]
			out = append(out, admin.TraceEvent{At: e.Time, Mail: t.Mail.String(), What: e.Kind.String(), Fields: fieldsOf(&e.Detail)})
		}
	}
	return out, nil
}

// fieldsOf gives the details that are there, by name.
func fieldsOf(d *trace.Detail) map[string]string {
	f := map[string]string{
		"message-id": d.MessageID, "sender": d.Sender, "recipients": strings.Join(d.Recipients, ", "), "protocol": d.Protocol,
		"client": d.Client, "tls": d.TLS, "check": d.Check, "verdict": d.Verdict, "transport": d.Transport, "next-hop": d.NextHop,
		"mailbox": d.Mailbox, "rule": d.Rule, "remote-mta": d.RemoteMTA, "reply": d.Reply, "text": d.Text,
	}
	if d.Size != 0 {
		f["size"] = strconv.FormatInt(d.Size, 10)
	}
	if d.Account != 0 {
		f["account"] = d.Account.String()
	}
	if d.UID != 0 {
		f["uid"] = strconv.FormatUint(uint64(d.UID), 10)
	}
	if d.Related != 0 {
		f["related"] = d.Related.String()
	}
	if !d.NextTry.IsZero() {
		f["next-try"] = d.NextTry.UTC().Format(time.RFC3339)
	}
	for k, v := range f {
		if v == "" {
			delete(f, k)
		}
	}
	return f
}
