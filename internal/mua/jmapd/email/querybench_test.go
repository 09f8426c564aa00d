package email

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/mailstore"
	"postroad/jmap"
	"postroad/message"
)

// benchMessages is how many messages the account has that is measured: POSTROAD's promise
// is about 100,000.
const benchMessages = 100_000

// fill puts n messages into alice's INBOX, many in one commit.
func (h *bodyHouse) fill(n int) {
	h.t.Helper()
	ctx := context.Background()
	a := h.open("alice", "alice")
	inbox, err := a.Inbox(ctx)
	must(h.t, err)
	for from := 0; from < n; from += 50 {
		var in []*mailstore.Incoming
		for i := from; i < min(from+50, n); i++ {
			text := fmt.Sprintf("From: P%d <p@x>\r\nTo: alice@ours.test\r\nSubject: Subject %d\r\nMessage-ID: <%d@x>\r\nReferences: <%d@x>\r\n\r\nword%d of many\r\n", i%977, i/3, i, i-i%3, i%1000)
			parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
			must(h.t, err)
			body, err := h.access.Bodies.Stage(ctx, strings.NewReader(text), 1<<20)
			must(h.t, err)
			in = append(in, &mailstore.Incoming{Body: body, Message: parsed, InternalDate: time.Unix(1_700_000_000+int64(i)*60, 0)})
		}
		_, err := a.Append(ctx, inbox, in...)
		must(h.t, err)
	}
}

// do makes a call that must succeed, without decoding the response.
func (h *bodyHouse) do(method, args string) []byte {
	r, err := h.methods[method].Do(context.Background(), jmap.NewCall(method, h.args("alice", args), h.users["alice"], nil))
	must(h.t, err)
	out, err := json.Marshal(r)
	must(h.t, err)
	return out
}

// BenchmarkQuery measures queries in an account with 100,000 messages.
func BenchmarkQuery(b *testing.B) {
	h := benchHouse(b)
	h.fill(benchMessages)
	ctx := context.Background()
	inbox := h.box("alice", "INBOX")
	a := h.open("alice", "alice")
	id, err := a.Inbox(ctx)
	must(b, err)
	filter := fmt.Sprintf(`"filter": {"inMailbox": %q}, "sort": [{"property": "receivedAt", "isAscending": false}]`, inbox)
	text := `"filter": {"body": "word7"}, "sort": [{"property": "receivedAt", "isAscending": false}]`
	by := `"sort": [{"property": "from"}, {"property": "subject"}]`
	h.do("Email/query", filter+`, "limit": 1`)
	touch := func(i int) { // something changes, so that nothing can be kept as it was
		mode := []mailstore.StoreMode{mailstore.FlagsAdd, mailstore.FlagsRemove}[i%2]
		_, err := a.StoreFlags(ctx, id, imap.UIDSet{{First: uint32(i/2 + 1), Last: uint32(i/2 + 1)}}, mailstore.FlagChange{Mode: mode, Flags: mailstore.Flagged})
		must(b, err)
	}
	for _, c := range []struct {
		name, args string
		change     bool
	}{
		{"inbox first 60, kept", filter + `, "limit": 60, "calculateTotal": true`, false},
		{"inbox first 60, changed", filter + `, "limit": 60, "calculateTotal": true`, true},
		{"inbox collapsed, kept", filter + `, "limit": 60, "collapseThreads": true`, false},
		{"inbox collapsed, changed", filter + `, "limit": 60, "collapseThreads": true`, true},
		{"inbox collapsed window at 20000", filter + `, "limit": 60, "position": 20000, "collapseThreads": true`, true},
		{"text, kept", text + `, "limit": 60`, false},
		{"text, changed", text + `, "limit": 60`, true},
		{"by from and subject, kept", by + `, "limit": 60`, false},
		{"by from and subject, changed", by + `, "limit": 60`, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			h.do("Email/query", c.args)
			for i := 0; b.Loop(); i++ {
				if c.change {
					b.StopTimer()
					touch(i)
					b.StartTimer()
				}
				h.do("Email/query", c.args)
			}
		})
	}
	b.Run("inbox first 60 with get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			touch(i)
			b.StartTimer()
			var r struct {
				IDs json.RawMessage `json:"ids"`
			}
			must(b, json.Unmarshal(h.do("Email/query", filter+`, "limit": 60, "collapseThreads": true`), &r))
			h.do("Email/get", `"properties": ["threadId", "mailboxIds", "keywords", "hasAttachment", "from", "to", "subject", "receivedAt", "size", "preview"], "ids": `+string(r.IDs))
		}
	})
	for _, q := range []struct{ name, args string }{{"plain", filter}, {"collapsed", filter + `, "collapseThreads": true`}} {
		b.Run("queryChanges "+q.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				var r struct{ QueryState string }
				must(b, json.Unmarshal(h.do("Email/query", q.args+`, "limit": 60`), &r))
				touch(i)
				b.StartTimer()
				h.do("Email/queryChanges", fmt.Sprintf(`%s, "sinceQueryState": %q`, q.args, r.QueryState))
			}
		})
	}
}

// BenchmarkChanges measures Email/changes after one change, in mailboxes of several sizes.
func BenchmarkChanges(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		h := benchHouse(b)
		h.fill(n)
		a := h.open("alice", "alice")
		id, err := a.Inbox(context.Background())
		must(b, err)
		for _, method := range []string{"Email/changes", "Mailbox/changes", "Thread/changes"} {
			b.Run(fmt.Sprintf("%s of %d", method, n), func(b *testing.B) {
				get := strings.TrimSuffix(method, "changes") + "get"
				for i := 0; b.Loop(); i++ {
					b.StopTimer()
					var r struct{ State string }
					must(b, json.Unmarshal(h.do(get, `"ids": []`), &r))
					mode := []mailstore.StoreMode{mailstore.FlagsAdd, mailstore.FlagsRemove}[i%2]
					_, err := a.StoreFlags(context.Background(), id, imap.UIDSet{{First: 7, Last: 7}}, mailstore.FlagChange{Mode: mode, Flags: mailstore.Flagged})
					must(b, err)
					b.StartTimer()
					h.do(method, fmt.Sprintf(`"sinceState": %q`, r.State))
				}
			})
		}
	}
}
