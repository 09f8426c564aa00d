package own

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/trace"
	"postroad/message"
)

// happen tells timelines of events of a new mail.
func (h *house) happen(events ...trace.Event) {
	h.t.Helper()
	id := h.access.Clock.Next()
	must(h.t, h.access.Committer.Commit(context.Background(), func(_ context.Context, u *mailflow.Unit) error {
		for i, e := range events {
			e.Mail, e.Time = id, time.Date(2026, 12, 1, 10, 0, i, 0, time.UTC)
			trace.Prepare(u, e)
		}
		return nil
	}))
}

// receive puts a message with a Message-ID into a user's inbox and returns its id.
func (h *house) receive(user, messageID string) string {
	h.t.Helper()
	ctx, a, inbox := context.Background(), h.open(user), h.inbox(user)
	text := "From: x@else.test\r\nMessage-ID: <" + messageID + ">\r\n\r\nx\r\n"
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	must(h.t, err)
	body, err := h.access.Bodies.Stage(ctx, strings.NewReader(text), 1<<20)
	must(h.t, err)
	var added []*mailstore.Appended
	must(h.t, h.access.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) (err error) {
		added, err = a.PrepareAppend(ctx, u, &mailstore.Incoming{Body: body, Message: parsed, InternalDate: time.Now()}, inbox)
		return err
	}))
	return mailstore.FormatEmailID(added[0].ID)
}

// story is the mail that the tests look at: alice sends to bob, to an alias of his and to
// somebody outside; bob's rules file it.
func (h *house) story() {
	event := func(k trace.Kind, d trace.Detail) trace.Event { return trace.Event{Kind: k, Detail: d} }
	alice, bob := h.users["alice"].ID, h.users["bob"].ID
	h.happen(
		event(trace.Accepted, trace.Detail{MessageID: "<one@ours.test>", Sender: "alice@ours.test", Account: alice, Client: "192.0.2.77", Size: 100, Protocol: "jmap",
			Recipients: []string{"bob@ours.test", "team@ours.test", "far@else.test"}}),
		event(trace.Routed, trace.Detail{Recipients: []string{"team@ours.test"}}),
		event(trace.Delivered, trace.Detail{Recipients: []string{"bob@ours.test"}, Account: bob, Mailbox: "Secret"}),
		event(trace.Delivered, trace.Detail{Recipients: []string{"hidden@ours.test"}}),
		event(trace.Filed, trace.Detail{Account: bob, Mailbox: "Private", Rule: "my rules", Text: "redirected to lover@else.test"}),
		event(trace.Judged, trace.Detail{Check: "content", Verdict: "ham", Text: "inner workings"}),
		event(trace.Attempt, trace.Detail{Recipients: []string{"far@else.test"}, RemoteMTA: "mx.else.test", Reply: "451 4.7.1 later"}),
		event(trace.Relayed, trace.Detail{Recipients: []string{"far@else.test"}, RemoteMTA: "mx.else.test", Reply: "250 2.0.0 ok"}),
		event(trace.Bounced, trace.Detail{Recipients: []string{"alice@ours.test"}}),
	)
}

// kinds are the events of an answer in short, one a line.
func kinds(r map[string]any) string {
	var b strings.Builder
	list, _ := r["list"].([]any)
	for _, one := range list {
		for _, e := range at(one, "events").([]any) {
			fmt.Fprint(&b, at(e, "direction"), " ", at(e, "kind"), " ", at(e, "recipients"))
			for _, name := range []string{"mailbox", "text", "reply"} {
				if v := at(e, name); v != nil {
					fmt.Fprint(&b, " ", v)
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// TestTrace: who sent a mail and who got it each know their part.
func TestTrace(t *testing.T) {
	h := newHouse(t)
	h.story()
	r := h.call("alice", "MessageTrace/get", `, "messageIds": ["<ONE@ours.test>", "nothing@ours.test"]`)
	if got, want := kinds(r), `out accepted [bob@ours.test team@ours.test far@else.test]
out routed [team@ours.test]
out delivered [bob@ours.test]
out attempt [far@else.test] 451 4.7.1 later
out relayed [far@else.test] 250 2.0.0 ok
out bounced [alice@ours.test]
`; got != want {
		t.Errorf("the sender reads\n%s\nnot\n%s", got, want)
	}
	if fmt.Sprint(r["notFound"]) != "[nothing@ours.test]" {
		t.Errorf("not found: %v", r["notFound"])
	}
	id := h.receive("bob", "one@ours.test")
	r = h.call("bob", "MessageTrace/get", fmt.Sprintf(`, "ids": [%q, "Mnothing"]`, id))
	if got, want := kinds(r), `in accepted [bob@ours.test]
in delivered [bob@ours.test]
in filed [] Private redirected to lover@else.test
`; got != want {
		t.Errorf("the recipient reads\n%s\nnot\n%s", got, want)
	}
	if at(r["list"].([]any)[0], "emailId") != id || fmt.Sprint(r["notFound"]) != "[Mnothing]" {
		t.Errorf("ids: %v", r)
	}
}

// TestTraceLeaks: nobody reads what is another one's, whatever he asks for.
func TestTraceLeaks(t *testing.T) {
	h := newHouse(t)
	h.story()
	h.happen( // bob had this address before alice got it; she has not got the mail
		trace.Event{Kind: trace.Accepted, Detail: trace.Detail{MessageID: "<two@else.test>", Sender: "x@else.test", Recipients: []string{"alice@ours.test"}}},
		trace.Event{Kind: trace.Filed, Detail: trace.Detail{Account: h.users["bob"].ID, Mailbox: "Old"}},
	)
	h.receive("alice", "three@ours.test")
	forged := h.receive("alice", "four@else.test") // as in a mail to bob alone
	h.happen(trace.Event{Kind: trace.Accepted, Detail: trace.Detail{MessageID: "<four@else.test>", Sender: "secret@else.test", Recipients: []string{"bob@ours.test"}}},
		trace.Event{Kind: trace.Delivered, Detail: trace.Detail{Recipients: []string{"bob@ours.test"}}})
	for name, args := range map[string]string{
		"by address":            `"messageIds": ["bob@ours.test", "far@else.test", "alice@ours.test"]`,
		"another one's old":     `"messageIds": ["two@else.test"]`,
		"the Message-ID forged": fmt.Sprintf(`"ids": [%q]`, forged),
		"no Message-ID":         `"messageIds": ["", "<>", " "]`,
	} {
		if got := kinds(h.call("alice", "MessageTrace/get", ", "+args)); got != "" {
			t.Errorf("%s: alice reads\n%s", name, got)
		}
	}
	for _, user := range []string{"alice", "bob"} {
		out, err := json.Marshal(h.call(user, "MessageTrace/get", `, "messageIds": ["one@ours.test"]`))
		must(t, err)
		for _, secret := range []string{"192.0.2.77", "hidden@", "inner workings", "Secret", map[string]string{"alice": "lover@", "bob": "far@"}[user], map[string]string{"alice": "Private", "bob": "team@"}[user]} {
			if strings.Contains(string(out), secret) {
				t.Errorf("%s reads %s: %s", user, secret, out)
			}
		}
	}
	if r := h.callFor("bob", "alice", "MessageTrace/get", `, "messageIds": ["one@ours.test"]`); r["error"] != "accountNotFound" {
		t.Errorf("a stranger's: %v", r)
	}
	many := strings.TrimSuffix(strings.Repeat(`"x",`, TracesMax+1), ",")
	for args, want := range map[string]string{
		`"ids": [], "messageIds": []`:  "invalidArguments",
		`"properties": []`:             "invalidArguments",
		`"ids": "x"`:                   "invalidArguments",
		`"messageIds": [` + many + `]`: "requestTooLarge",
	} {
		if r := h.call("alice", "MessageTrace/get", ", "+args); r["error"] != want {
			t.Errorf("%s: %v", args, r)
		}
	}
}

// TestTraceUnknownToScopes: a program that is bound to scopes has none of this.
func TestTraceUnknownToScopes(t *testing.T) {
	u := &access.User{Scopes: []string{access.ScopeMail, access.ScopeContacts, access.ScopeCalendars}}
	if u.May(Capability) {
		t.Error("it may")
	}
}
