package server

import (
	"context"
	"strconv"
	"strings"
	"time"

	"postroad/internal/admin"
	"postroad/internal/mailflow"
	"postroad/internal/mta/queue"
	"postroad/internal/mta/route"
	"postroad/internal/trace"
)

// recipientsTraced is how many recipients of a mail one event names.
const recipientsTraced = 50

// eventWords name the queue's events in the timeline.
var eventWords = map[queue.EventKind]string{
	queue.EventAccepted: "accepted", queue.EventQueued: "queued", queue.EventAttempt: "attempt", queue.EventDeferred: "deferred",
	queue.EventNotice: "notice", queue.EventLost: "lost", queue.EventHeld: "held", queue.EventReleased: "released",
	queue.EventDeleted: "deleted", queue.EventCancelled: "cancelled",
}

// actionWords name what became of a recipient (RFC 3464, 2.3.3).
var actionWords = map[mailflow.Action]string{
	mailflow.Delivered: "delivered", mailflow.Relayed: "relayed", mailflow.Expanded: "expanded",
	mailflow.Delayed: "delayed", mailflow.Failed: "failed",
}

// record puts an event of the queue into the timeline of its mail.
func (s *Store) record(u *mailflow.Unit, e queue.Event) {
	f := map[string]string{}
	put := func(key, value string) {
		if value != "" {
			f[key] = value
		}
	}
	messageID := ""
	if m := e.Mail; m != nil {
		put("from", m.ReturnPath.String())
		put("to", recipientsOf(m, e.Statuses))
		if e.Kind == queue.EventAccepted || e.Kind == queue.EventNotice {
			put("protocol", m.Origin.Protocol)
			put("helo", m.Origin.Helo)
			put("tls", m.Origin.TLS)
			put("size", strconv.FormatInt(m.Body.Size, 10))
			if m.Origin.Client.IsValid() {
				put("client", m.Origin.Client.String())
			}
			if m.Origin.Account != 0 {
				put("account", m.Origin.Account.String())
			}
			if m.Message != nil {
				messageID = m.Message.MessageID
				put("message-id", messageID)
				put("subject", m.Message.Subject)
			}
		}
		if e.Kind == queue.EventNotice {
			put("notice", m.ID.String())
			messageID = "" // of the notice, which has a timeline of its own
		}
	}
	if e.Hop.Transport != "" {
		put("next hop", route.Format(e.Hop))
	}
	if e.Attempt > 0 {
		put("attempt", strconv.Itoa(e.Attempt))
	}
	if !e.Next.IsZero() {
		put("next", e.Next.UTC().Format(time.RFC3339))
	}
	s.trace.Record(u, trace.Event{Mail: e.Item.Mail, What: eventWords[e.Kind], Fields: f}, messageID)
}

// recipientsOf lists recipients, each with what became of it.
func recipientsOf(m *mailflow.Mail, statuses []mailflow.Status) string {
	var b strings.Builder
	for i := range m.Recipients {
		if i == recipientsTraced {
			b.WriteString(" and " + strconv.Itoa(len(m.Recipients)-i) + " more")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(m.Recipients[i].Address.String())
		if i >= len(statuses) || statuses[i].Action == 0 {
			continue
		}
		st := &statuses[i]
		b.WriteString(" " + actionWords[st.Action] + " (" + st.Reply.String())
		if st.RemoteMTA != "" {
			b.WriteString(" from " + st.RemoteMTA)
		}
		if st.TLS != "" {
			b.WriteString(", " + st.TLS)
		}
		b.WriteString(")")
	}
	return b.String()
}

// timeline answers `postroad trace`.
func (s *Store) timeline(ctx context.Context, message string) ([]admin.TraceEvent, error) {
	events, err := s.trace.Find(ctx, message)
	out := make([]admin.TraceEvent, len(events))
	for i, e := range events {
		out[i] = admin.TraceEvent{At: e.At, Mail: e.Mail.String(), What: e.What, Fields: e.Fields}
	}
	return out, err
}
