package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailstore"
	"postroad/message"
)

// newLife is verbs over a house with one account, that keeps what is deleted.
func newLife(t *testing.T) (*Verbs, *mailstore.Account) {
	t.Helper()
	v := newVerbs(t)
	v.Mail = mailstore.New(mailstore.Options{Committer: v.Committer, Clock: v.Directory.Clock.(*hlc.Clock), Undelete: time.Hour})
	call[Domain](t, v, "domain.add", Domain{Name: "example.test"})
	call[Password](t, v, "account.add", NewAccount{Addresses: []string{"alice@example.test"}})
	mail, err := v.mailOf(t.Context(), "alice@example.test")
	if err != nil {
		t.Fatal(err)
	}
	return v, mail
}

// call runs a verb that must work.
func call[Out any](t *testing.T, v *Verbs, verb string, in any) (out Out) {
	t.Helper()
	if err := v.Call(t.Context(), verb, in, &out, nil); err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	return out
}

// fails runs a verb that must not work.
func fails(t *testing.T, v *Verbs, code Code, verb string, in any) {
	t.Helper()
	var e *Error
	if err := v.Call(t.Context(), verb, in, nil, nil); !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", verb, err, code)
	}
}

func appendTo(t *testing.T, v *Verbs, mail *mailstore.Account, name string) error {
	t.Helper()
	text := "Subject: x\r\n\r\n"
	body, err := v.Committer.Bodies.Stage(context.Background(), strings.NewReader(text), 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	m, err := message.Parse(strings.NewReader(text), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := mail.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = mail.Append(t.Context(), tree.Name(name).ID, &mailstore.Incoming{Body: body, Message: m, InternalDate: time.Now()})
	return err
}

func TestUndeleteVerbs(t *testing.T) {
	v, mail := newLife(t)
	ctx := t.Context()
	if _, err := mail.CreateMailbox(ctx, "Work", ""); err != nil {
		t.Fatal(err)
	}
	inbox, err := mail.Inbox(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(appendTo(t, v, mail, "Work"), appendTo(t, v, mail, "INBOX"), mail.DeleteMailbox(ctx, "Work")); err != nil {
		t.Fatal(err)
	}
	if _, err := mail.Expunge(ctx, inbox, mailstore.AllUIDs(), true); err != nil {
		t.Fatal(err)
	}
	ref := AccountRef{"alice@example.test"}
	list := call[[]Deleted](t, v, "undelete.list", ref)
	if len(list) != 2 || list[0].Mailbox != "INBOX" || list[0].Whole || list[1].Mailbox != "Work" || !list[1].Whole || list[1].Messages != 1 {
		t.Errorf("%+v", list)
	}
	if back := call[[]Undeleted](t, v, "undelete", Undelete{Account: ref.Account, Since: time.Now().Add(time.Hour)}); len(back) != 0 {
		t.Errorf("of the future: %+v", back)
	}
	fails(t, v, NotFound, "undelete", Undelete{Account: ref.Account, Mailbox: "Nowhere"})
	fails(t, v, NotFound, "undelete", Undelete{Account: "bob@example.test"})
	if back := call[[]Undeleted](t, v, "undelete", Undelete{Account: ref.Account, Mailbox: "Work"}); len(back) != 1 || back[0] != (Undeleted{"Work", 1}) {
		t.Errorf("one mailbox: %+v", back)
	}
	if back := call[[]Undeleted](t, v, "undelete", Undelete{Account: ref.Account, Since: time.Now().Add(-time.Minute)}); len(back) != 1 || back[0] != (Undeleted{"INBOX", 1}) {
		t.Errorf("all: %+v", back)
	}
	if list := call[[]Deleted](t, v, "undelete.list", ref); len(list) != 0 {
		t.Errorf("left: %+v", list)
	}
}

func TestRetentionVerbs(t *testing.T) {
	v, _ := newLife(t)
	set := func(mailbox, rule string) Retention {
		return Retention{Account: "alice@example.test", Mailbox: mailbox, Rule: rule}
	}
	if r := call[Retention](t, v, "retention.set", set("Trash", "4w, 10 messages")); r.Rule != "28d, 10 messages" || !r.Own {
		t.Errorf("%+v", r)
	}
	for _, r := range call[[]Retention](t, v, "retention.list", AccountRef{"alice@example.test"}) {
		if r.Own != (r.Mailbox == "Trash") {
			t.Errorf("%+v", r)
		}
	}
	if r := call[Retention](t, v, "retention.set", set("Trash", "")); r.Rule != "none" || r.Own {
		t.Errorf("taken away: %+v", r)
	}
	fails(t, v, Invalid, "retention.set", set("Trash", "soon"))
	fails(t, v, NotFound, "retention.set", set("Nowhere", "1d"))
}

func TestOrgQuotaVerb(t *testing.T) {
	v, mail := newLife(t)
	if err := appendTo(t, v, mail, "INBOX"); err != nil {
		t.Fatal(err)
	}
	one, below := int64(1), int64(-1)
	q := call[OrgQuota](t, v, "organisation.quota", OrgQuota{Org: directory.DefaultOrg, QuotaMessages: &one})
	if *q.QuotaMessages != 1 || *q.QuotaBytes != 0 || q.UsedMessages != 1 || q.Accounts != 1 {
		t.Errorf("%+v", q)
	}
	if err := appendTo(t, v, mail, "INBOX"); !errors.Is(err, mailstore.ErrOverQuota) {
		t.Errorf("one more: %v", err)
	}
	fails(t, v, NotFound, "organisation.quota", OrgQuota{Org: "nobody"})
	fails(t, v, Invalid, "organisation.quota", OrgQuota{Org: directory.DefaultOrg, QuotaBytes: &below})
}
