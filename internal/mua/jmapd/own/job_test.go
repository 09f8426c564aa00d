package own

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/imap"
	"postroad/internal/kv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/objects"
	"postroad/jmap"
	"postroad/message"
)

// open opens a user's own account.
func (h *house) open(user string) *access.Account {
	h.t.Helper()
	a, err := h.access.AccountFor(context.Background(), h.users[user], access.FormatID('A', h.users[user].ID))
	must(h.t, err)
	return a
}

// inbox is the id of a user's inbox.
func (h *house) inbox(user string) mailstore.MailboxID {
	h.t.Helper()
	tree, err := h.open(user).Tree(context.Background())
	must(h.t, err)
	return tree.Name("INBOX").ID
}

// deliver puts n messages with a subject into a user's inbox.
func (h *house) deliver(user, subject string, n int) {
	h.t.Helper()
	ctx, a, inbox := context.Background(), h.open(user), h.inbox(user)
	text := "From: x@else.test\r\nSubject: " + subject + "\r\n\r\nx\r\n"
	parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
	must(h.t, err)
	for range n {
		body, err := h.access.Bodies.Stage(ctx, strings.NewReader(text), 1<<20)
		must(h.t, err)
		in := &mailstore.Incoming{Body: body, Message: parsed, InternalDate: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)}
		must(h.t, h.access.Committer.Commit(ctx, func(ctx context.Context, u *mailflow.Unit) error {
			_, err := a.PrepareAppend(ctx, u, in, inbox)
			return err
		}))
	}
}

// begin makes a job of a user's for his own account and returns its id.
func (h *house) begin(user, args string) string {
	h.t.Helper()
	r := h.call(user, "Email/setByQuery", ", "+args)
	id, ok := r["jobId"].(string)
	if !ok {
		h.t.Fatalf("%s: %v", args, r)
	}
	return id
}

// rounds goes around until there is nothing to do.
func (h *house) rounds() {
	h.t.Helper()
	for range 1000 {
		worked, err := h.m.round(context.Background(), map[mark]*trouble{})
		must(h.t, err)
		if !worked {
			return
		}
	}
	h.t.Fatal("no end of work")
}

// job is a job in short: state total/done/failed and the error's type.
func (h *house) job(user, id string) string {
	h.t.Helper()
	r := h.call(user, "Job/get", fmt.Sprintf(`, "ids": [%q]`, id))
	list := r["list"].([]any)
	if len(list) == 0 {
		return "none"
	}
	j := list[0]
	text := fmt.Sprintf("%v %v/%v/%v", at(j, "state"), at(j, "total"), at(j, "done"), at(j, "failed"))
	if e := at(j, "error", "type"); e != nil {
		text += " " + e.(string)
	}
	return text
}

// count is how many messages a query of a user's finds.
func (h *house) count(user, filter string) int {
	h.t.Helper()
	return int(h.call(user, "Email/query", `, "calculateTotal": true, "filter": `+filter)["total"].(float64))
}

// left is how many parts and marks there are.
func (h *house) left(user string) (parts, marks int) {
	h.t.Helper()
	all, _, err := h.access.Objects.All(context.Background(), h.users[user].ID, objects.JobPart, 0, 0)
	must(h.t, err)
	of, err := h.m.marks(context.Background(), nil)
	must(h.t, err)
	return len(all), len(of)
}

// TestSetByQuery changes and destroys more messages than one part has.
func TestSetByQuery(t *testing.T) {
	h := newHouse(t)
	h.deliver("alice", "old", partIDs+3)
	h.deliver("alice", "new", 2)
	h.deliver("bob", "old", 1)
	state := h.call("alice", "Job/get", "")["state"]
	id := h.begin("alice", `"filter": {"subject": "old"}, "update": {"keywords/$flagged": true}`)
	if got := h.job("alice", id); got != "running 503/0/0" {
		t.Errorf("at first: %s", got)
	}
	if worked, err := h.m.round(t.Context(), map[mark]*trouble{}); !worked || err != nil || h.job("alice", id) != "running 503/500/0" {
		t.Errorf("after one part: %v %v %s", worked, err, h.job("alice", id))
	}
	h.rounds()
	if got := h.job("alice", id); got != "done 503/503/0" || h.count("alice", `{"hasKeyword": "$flagged"}`) != 503 {
		t.Errorf("at last: %s, %d flagged", got, h.count("alice", `{"hasKeyword": "$flagged"}`))
	}
	if r := h.call("alice", "Job/changes", fmt.Sprintf(`, "sinceState": %q`, state)); fmt.Sprint(r["created"]) != "["+id+"]" {
		t.Errorf("changes: %v", r)
	}
	id = h.begin("alice", `"filter": {"operator": "NOT", "conditions": [{"subject": "new"}]}, "destroy": true`)
	h.rounds()
	if got := h.job("alice", id); got != "done 503/503/0" || h.count("alice", `{}`) != 2 || h.count("bob", `{}`) != 1 {
		t.Errorf("destroyed: %s, %d left", got, h.count("alice", `{}`))
	}
	if parts, marks := h.left("alice"); parts+marks != 0 {
		t.Errorf("%d parts and %d marks are left", parts, marks)
	}
	if r := h.call("alice", "Job/set", fmt.Sprintf(`, "destroy": [%q]`, id)); fmt.Sprint(r["destroyed"]) != "["+id+"]" || h.job("alice", id) != "none" {
		t.Errorf("forget: %v", r)
	}
}

// TestSetByQueryFails are jobs that cannot go on, or not with all messages.
func TestSetByQueryFails(t *testing.T) {
	h := newHouse(t)
	h.deliver("alice", "x", 3)
	for name, test := range map[string]struct{ args, want string }{
		"a patch that no message can have": {`"filter": {}, "update": {"subject": "y"}`, "failed 3/0/3 invalidProperties"},
		"no message":                       {`"filter": {"subject": "nothing"}, "destroy": true`, "done 0/0/0"},
	} {
		id := h.begin("alice", test.args)
		h.rounds()
		if got := h.job("alice", id); got != test.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, test := range map[string]struct{ args, want string }{
		"no filter":           {`"destroy": true`, "invalidArguments"},
		"nothing to do":       {`"filter": {}`, "invalidArguments"},
		"an empty update":     {`"filter": {}, "update": {}`, "invalidArguments"},
		"both":                {`"filter": {}, "update": {"keywords/x": true}, "destroy": true`, "invalidArguments"},
		"an unknown argument": {`"filter": {}, "destroy": true, "shoe": 1`, "invalidArguments"},
		"an unknown filter":   {`"filter": {"shoe": 1}, "destroy": true`, "unsupportedFilter"},
		"a large update":      {`"filter": {}, "update": {"keywords": "` + strings.Repeat("x", patchMax) + `"}`, "requestTooLarge"},
	} {
		if r := h.call("alice", "Email/setByQuery", ", "+test.args); r["error"] != test.want {
			t.Errorf("%s: %v", name, r)
		}
	}
	if r := h.callFor("bob", "alice", "Email/setByQuery", `, "filter": {}, "destroy": true`); r["error"] != "accountNotFound" {
		t.Errorf("a stranger's: %v", r)
	}
	if r := h.callFor("bob", "alice", "Job/get", ""); r["error"] != "accountNotFound" {
		t.Errorf("a stranger's jobs: %v", r)
	}
	// What is destroyed by somebody else meanwhile is as it shall be, but is not flagged.
	destroy, flag := h.begin("alice", `"filter": {}, "destroy": true`), h.begin("alice", `"filter": {}, "update": {"keywords/$flagged": true}`)
	h.rounds()
	if got := h.job("alice", destroy) + ", " + h.job("alice", flag); got != "done 3/3/0, done 3/0/3 notFound" {
		t.Errorf("after another one: %s", got)
	}
}

// TestJobIsBoundToRights: a guest's job does what he may when it does it, not when he asked.
func TestJobIsBoundToRights(t *testing.T) {
	h := newHouse(t)
	h.deliver("alice", "x", partIDs+1)
	bob := mailstore.Subject{Kind: mailstore.SubjectAccount, Account: h.users["bob"].ID}
	share := func(rights string) {
		r, err := imap.ParseRights(rights)
		must(t, err)
		must(t, h.open("alice").SetACL(t.Context(), h.users["alice"].Org, h.inbox("alice"), bob, imap.RightsReplace, r))
	}
	share("lrw")
	r := h.callFor("bob", "alice", "Email/setByQuery", `, "filter": {}, "update": {"keywords/$flagged": true}`)
	if r["jobAccountId"] != string(access.FormatID('A', h.users["bob"].ID)) {
		t.Fatalf("whose job: %v", r)
	}
	if _, err := h.m.round(t.Context(), map[mark]*trouble{}); err != nil {
		t.Fatal(err)
	}
	share("lr")
	h.rounds()
	if got := h.job("bob", r["jobId"].(string)); got != "done 501/500/1 forbidden" {
		t.Errorf("with less rights: %s", got)
	}
	share("lrw")
	r = h.callFor("bob", "alice", "Email/setByQuery", `, "filter": {}, "update": {"keywords/$seen": true}`)
	share("")
	h.rounds()
	if got := h.job("bob", r["jobId"].(string)); got != "failed 501/0/0 accountNotFound" {
		t.Errorf("without rights: %s", got)
	}
	if n := h.count("alice", `{"hasKeyword": "$seen"}`); n != 0 {
		t.Errorf("%d are seen", n)
	}
}

// TestJobsEnd cancels, forgets and counts jobs.
func TestJobsEnd(t *testing.T) {
	h := newHouse(t)
	h.deliver("alice", "x", 1)
	const flag = `"filter": {}, "update": {"keywords/$flagged": true}`
	var ids []string
	for range JobsMax {
		ids = append(ids, h.begin("alice", flag))
	}
	if r := h.call("alice", "Email/setByQuery", ", "+flag); r["error"] != "requestTooLarge" {
		t.Errorf("too many: %v", r)
	}
	if r := h.call("alice", "Job/set", fmt.Sprintf(`, "update": {%q: {"state": "cancelled"}}, "destroy": [%q]`, ids[0], ids[1])); at(r, "notUpdated") != nil || at(r, "notDestroyed") != nil {
		t.Errorf("cancel: %v", r)
	}
	h.rounds()
	if got := h.job("alice", ids[0]) + ", " + h.job("alice", ids[1]) + ", " + h.job("alice", ids[2]); got != "cancelled 1/0/0, none, done 1/1/0" {
		t.Errorf("in the end: %s", got)
	}
	if parts, marks := h.left("alice"); parts+marks != 0 {
		t.Errorf("%d parts and %d marks are left", parts, marks)
	}
	for args, want := range map[string]string{
		`"create": {"k": {}}`: "notCreated forbidden",
		fmt.Sprintf(`"update": {%q: {"state": "cancelled"}}`, ids[2]): "notUpdated invalidProperties",
		fmt.Sprintf(`"update": {%q: {"done": 1}}`, ids[2]):            "notUpdated invalidProperties",
		`"update": {"J0000000000001": {"state": "cancelled"}}`:        "notUpdated notFound",
		`"destroy": ["J0000000000001"]`:                               "notDestroyed notFound",
		`"destroy": ["x"]`:                                            "notDestroyed notFound",
	} {
		r := h.call("alice", "Job/set", ", "+args)
		list, kind, _ := strings.Cut(want, " ")
		got, _ := r[list].(map[string]any)
		if len(got) != 1 {
			t.Errorf("%s: %v", args, r)
		}
		for _, e := range got {
			if at(e, "type") != kind {
				t.Errorf("%s: %v", args, r)
			}
		}
	}
	if r := h.call("alice", "Job/changes", `, "sinceState": "x"`); r["error"] != "cannotCalculateChanges" {
		t.Errorf("changes since nonsense: %v", r)
	}
	for range jobsKept + 5 {
		h.begin("alice", flag)
		h.rounds()
	}
	if n := len(h.call("alice", "Job/get", "")["list"].([]any)); n != jobsKept {
		t.Errorf("%d jobs are kept", n)
	}
}

// TestJobGoesOn: after a crash between the change and its note, and one while a job is
// written down.
func TestJobGoesOn(t *testing.T) {
	h := newHouse(t)
	h.deliver("alice", "x", partIDs+1)
	id := h.begin("alice", `"filter": {}, "destroy": true`)
	k := mark{h.users["alice"].ID, parsed(t, id)}
	p, _, err := h.m.next(t.Context(), k, 0)
	must(t, err)
	if _, err := h.m.set(t.Context(), h.users["alice"], &job{Account: access.FormatID('A', k.account)}, p.IDs); err != nil {
		t.Fatal(err)
	}
	half := h.access.Objects.NewID() // written down, but not ready
	must(t, h.access.Committer.Commit(t.Context(), func(_ context.Context, u *mailflow.Unit) error {
		b := u.Quiet(jobSpace)
		b.Puts = append(b.Puts, mark{k.account, half}.put())
		must(t, h.access.Objects.PrepareCreate(u, k.account, objects.JobPart, h.access.Objects.NewID(), fmt.Appendf(nil, `{"j": %d, "i": ["x"]}`, half)))
		return h.access.Objects.PrepareCreate(u, k.account, objects.Job, half, []byte(`{"t": "setByQuery", "s": "running"}`))
	}))
	h.restart()
	h.rounds()
	if got := h.job("alice", id); got != "done 501/501/0" || h.count("alice", `{}`) != 0 {
		t.Errorf("done again: %s", got)
	}
	if got := h.job("alice", string(access.FormatID(jobID, half))); got != "failed 0/0/0 serverFail" {
		t.Errorf("written down by half: %s", got)
	}
	if parts, marks := h.left("alice"); parts+marks != 0 {
		t.Errorf("%d parts and %d marks are left", parts, marks)
	}
	h.begin("alice", `"filter": {}, "destroy": true`)
	must(t, h.access.Mail.Delete(t.Context(), k.account))
	h.rounds()
	if marks, err := h.m.marks(t.Context(), nil); len(marks) != 0 || err != nil {
		t.Errorf("marks of an account that is gone: %v %v", marks, err)
	}
}

// parsed is the id of a job.
func parsed(t *testing.T, id string) hlc.ID {
	t.Helper()
	n, ok := access.ParseID(jobID, jmap.ID(id))
	if !ok {
		t.Fatal(id)
	}
	return n
}

// counting counts the snapshots of the marks.
type counting struct {
	kv.Engine
	n atomic.Int64
}

func (c *counting) Snapshot(ctx context.Context, s kv.Space) (kv.Snapshot, error) {
	if s == jobSpace {
		c.n.Add(1)
	}
	return c.Engine.Snapshot(ctx, s)
}

// TestRun: Run does jobs at once, tries again what the server could not do, gives up at last,
// and looks once a minute when there is nothing.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.deliver("alice", "x", 1)
		engine := &counting{Engine: h.engine}
		h.access.Committer.Engine = engine
		failures := 3
		set := h.methods["Email/set"]
		h.methods["Email/set"] = jmap.Method{Name: set.Name, Do: func(ctx context.Context, c *jmap.Call) (any, error) {
			if failures--; failures >= 0 {
				return nil, errors.New("no disk")
			}
			return set.Do(ctx, c)
		}}
		h.restart()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.m.Run(ctx) }()
		id := h.begin("alice", `"filter": {}, "update": {"keywords/$flagged": true}`)
		synctest.Wait()
		if got := h.job("alice", id); got != "running 1/0/0" {
			t.Errorf("after a failure: %s", got)
		}
		time.Sleep(4 * retryAfter)
		synctest.Wait()
		if got := h.job("alice", id); got != "done 1/1/0" {
			t.Errorf("tried again: %s", got)
		}
		failures = 1 << 30
		id = h.begin("alice", `"filter": {}, "destroy": true`)
		time.Sleep((failuresMax + 1) * retryAfter)
		synctest.Wait()
		if got := h.job("alice", id); got != "failed 1/0/0 serverFail" {
			t.Errorf("given up: %s", got)
		}
		time.Sleep(2 * lookEvery)
		before := engine.n.Load()
		time.Sleep(10 * lookEvery)
		if n := engine.n.Load() - before; n < 9 || n > 11 {
			t.Errorf("%d looks in ten minutes of rest", n)
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
