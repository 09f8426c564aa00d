package own

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"postroad/address"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/trace"
	"postroad/jmap"
)

// Limits of MessageTrace/get. To find a mail its Message-ID is looked for among all that the
// server remembers, so few may be asked for, by few at once.
const (
	TracesMax    = 20
	tracesAtOnce = 2
)

// What a timeline is to the account that asks.
const (
	traceIn  = "in"  // the mail came for it
	traceOut = "out" // it sent the mail
)

// traced are the kinds of events that are told of. Those that are not here are for
// administrators.
var traced = map[trace.Kind]bool{
	trace.Accepted: true, trace.Routed: true, trace.Queued: true, trace.Delivered: true, trace.Filed: true, trace.Attempt: true,
	trace.Delayed: true, trace.Bounced: true, trace.Failed: true, trace.Relayed: true, trace.Held: true, trace.Released: true, trace.Cancelled: true,
}

// tracedMessage is a message that is asked for.
type tracedMessage struct {
	email     jmap.ID // empty: asked for by its Message-ID
	messageID string
}

// getTraces answers MessageTrace/get.
func (m *Methods) getTraces(ctx context.Context, c *jmap.Call) (any, error) {
	var args struct {
		AccountID  jmap.ID   `json:"accountId"`
		IDs        []jmap.ID `json:"ids"`
		MessageIDs []string  `json:"messageIds"`
	}
	if err := c.Decode(&args, "accountId", "ids", "messageIds"); err != nil {
		return nil, err
	}
	switch {
	case (args.IDs == nil) == (args.MessageIDs == nil):
		return nil, jmap.InvalidArguments("either ids or messageIds")
	case len(args.IDs)+len(args.MessageIDs) > TracesMax:
		return nil, jmap.ErrRequestTooLarge.With("more than %d messages", TracesMax)
	}
	a, err := m.house.OwnAccount(ctx, c, args.AccountID)
	if err != nil {
		return nil, err
	}
	var asked []tracedMessage
	notFound := []string{}
	for _, id := range args.MessageIDs {
		asked = append(asked, tracedMessage{messageID: id})
	}
	if args.IDs != nil {
		if asked, notFound, err = m.messageIDs(ctx, c, args.AccountID, args.IDs); err != nil {
			return nil, err
		}
	}
	list := []jmap.Object{}
	for _, one := range asked {
		events, err := m.events(ctx, a, one)
		if err != nil {
			return nil, err
		}
		if len(events) == 0 && one.email == "" {
			notFound = append(notFound, one.messageID)
			continue
		}
		o := jmap.Object{"messageId": bare(one.messageID), "emailId": nil, "events": events}
		if one.email != "" {
			o["emailId"] = one.email
		}
		list = append(list, o)
	}
	return map[string]any{"accountId": args.AccountID, "list": list, "notFound": notFound}, nil
}

// messageIDs reads the Message-IDs of messages by Email/get, as the user.
func (m *Methods) messageIDs(ctx context.Context, c *jmap.Call, account jmap.ID, ids []jmap.ID) ([]tracedMessage, []string, error) {
	raw, err := json.Marshal(map[string]any{"accountId": account, "ids": ids, "properties": []string{"messageId"}})
	if err != nil {
		return nil, nil, err
	}
	out, err := m.o.EmailGet.Do(ctx, jmap.NewCall(m.o.EmailGet.Name, raw, c.User, c))
	if err != nil {
		return nil, nil, err
	}
	if raw, err = json.Marshal(out); err != nil {
		return nil, nil, err
	}
	var r struct {
		List []struct {
			ID        jmap.ID  `json:"id"`
			MessageID []string `json:"messageId"`
		} `json:"list"`
		NotFound []string `json:"notFound"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, nil, fmt.Errorf("what Email/get answers: %w", err)
	}
	var asked []tracedMessage
	for _, e := range r.List {
		one := tracedMessage{email: e.ID}
		if len(e.MessageID) > 0 {
			one.messageID = e.MessageID[0]
		}
		asked = append(asked, one)
	}
	return asked, append([]string{}, r.NotFound...), nil
}

// events are what an account may know of the mails with a Message-ID, in the order they
// happened.
func (m *Methods) events(ctx context.Context, a *access.Account, asked tracedMessage) ([]jmap.Object, error) {
	events := []jmap.Object{}
	messageID := bare(asked.messageID)
	if messageID == "" {
		return events, nil
	}
	select {
	case m.tracing <- struct{}{}:
		defer func() { <-m.tracing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found, err := trace.Find(ctx, m.house.Committer.Engine, "<"+messageID+">")
	if err != nil {
		return nil, err
	}
	r := &traceReader{house: m.house, id: a.ID(), mine: map[string]bool{}}
	type told struct {
		trace.Event
		way string
	}
	var all []told
	for _, t := range found {
		for _, way := range []string{traceOut, traceIn} {
			list, err := r.read(ctx, t, messageID, way, asked.email != "")
			if err != nil {
				return nil, err
			}
			for _, e := range list {
				all = append(all, told{e, way})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b told) int { return a.Time.Compare(b.Time) })
	for i := range all {
		events = append(events, eventObject(&all[i].Event, all[i].way))
	}
	return events, nil
}

// bare is a Message-ID without its angle brackets.
func bare(id string) string {
	id = strings.TrimSpace(id)
	if inner, ok := strings.CutPrefix(id, "<"); ok {
		id = strings.TrimSuffix(inner, ">")
	}
	return id
}

// traceReader reads timelines as one account may.
type traceReader struct {
	house *access.House
	id    mailstore.AccountID
	mine  map[string]bool // addresses that were looked up
}

// read is what the account may know of a timeline, as who sent the mail or as who got it. A
// sender knows the recipients that he named and what became of the mail for each of them,
// but neither whom an alias or a list leads to, nor what somebody else's rules did. Who got
// it knows what concerns his own addresses, and where his rules filed it; that he got it shows
// in the message, which he has (held), or in what his rules did. That an address is his now
// is not enough: it may have been another one's.
func (r *traceReader) read(ctx context.Context, t trace.Timeline, messageID, way string, held bool) ([]trace.Event, error) {
	named := map[string]bool{} // recipients that may be told of
	known, sent := false, false
	for i := range t.Events {
		e := &t.Events[i]
		held = held || e.Kind == trace.Filed && e.Account == r.id
		if e.Kind != trace.Accepted || !strings.EqualFold(bare(e.MessageID), bare(messageID)) {
			continue
		}
		known = true
		if e.Account == r.id {
			sent = true
			for _, to := range e.Recipients {
				named[to] = named[to] || way == traceOut
			}
		}
	}
	if !known || way == traceOut && !sent || way == traceIn && !held {
		return nil, nil
	}
	var list []trace.Event
	for _, e := range t.Events {
		if !traced[e.Kind] {
			continue
		}
		if e.Kind == trace.Filed {
			if way == traceIn && e.Account == r.id {
				list = append(list, e)
			}
			continue
		}
		if e.Kind == trace.Accepted && way == traceOut && e.Account != r.id || e.Kind == trace.Bounced && way == traceIn {
			continue
		}
		told, err := r.recipients(ctx, &e, named, way)
		if err != nil {
			return nil, err
		}
		if len(told) == 0 && (len(e.Recipients) > 0 || way == traceIn) {
			continue // about others
		}
		e.Recipients = told
		list = append(list, e)
	}
	return list, nil
}

// recipients are those of an event that may be told of.
func (r *traceReader) recipients(ctx context.Context, e *trace.Event, named map[string]bool, way string) ([]string, error) {
	var told []string
	for _, to := range e.Recipients {
		may := named[to]
		if way == traceIn || e.Kind == trace.Bounced { // a notification goes to who sent the mail
			var err error
			if may, err = r.isMine(ctx, to); err != nil {
				return nil, err
			}
		}
		if may {
			told = append(told, to)
		}
	}
	return told, nil
}

// isMine tells whether an address is one of the account's.
func (r *traceReader) isMine(ctx context.Context, text string) (bool, error) {
	if is, ok := r.mine[text]; ok {
		return is, nil
	}
	is := false
	if a, err := address.Parse(text); err == nil {
		t, err := r.house.Directory.Resolve(ctx, a)
		if err != nil {
			return false, err
		}
		is = t.Kind == directory.Mailbox && len(t.Accounts) == 1 && t.Accounts[0].Account == r.id
	}
	r.mine[text] = is
	return is, nil
}

// eventObject is an event as clients see it. The address of the client is not told: it may
// be a sender's at home.
func eventObject(e *trace.Event, way string) jmap.Object {
	o := jmap.Object{"time": jmap.FormatUTCDate(e.Time.Truncate(time.Second)), "kind": e.Kind.String(), "direction": way,
		"mail": e.Mail.String(), "recipients": append([]string{}, e.Recipients...)}
	for name, text := range map[string]string{"protocol": e.Protocol, "tls": e.TLS, "remoteMta": e.RemoteMTA, "reply": e.Reply} {
		if text != "" {
			o[name] = text
		}
	}
	switch {
	case e.Kind == trace.Accepted:
		o["sender"], o["size"] = e.Sender, e.Size
	case e.Kind == trace.Filed:
		o["mailbox"], o["rule"], o["text"] = e.Mailbox, e.Rule, e.Text
	}
	if !e.NextTry.IsZero() {
		o["nextTry"] = jmap.FormatUTCDate(e.NextTry.Truncate(time.Second))
	}
	return o
}
