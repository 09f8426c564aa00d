package main

import (
	"testing"

	"postroad/internal/admin"
)

func TestMailboxArg(t *testing.T) {
	for text, want := range map[string]admin.MailboxRef{
		"alice@example.org/INBOX":     {Account: "alice@example.org", Mailbox: "INBOX"},
		"alice@example.org/Work/2024": {Account: "alice@example.org", Mailbox: "Work/2024"},
		"a/b@example.org/Work":        {Account: "a/b@example.org", Mailbox: "Work"},
		"alice@example.org/a@b":       {Account: "alice@example.org", Mailbox: "a@b"},
		"alice@example.org/a@b/c":     {Account: "alice@example.org", Mailbox: "a@b/c"},
		"0000abc/INBOX":               {Account: "0000abc", Mailbox: "INBOX"},
		"Shared/News":                 {Org: "acme", Mailbox: "News"},
		"Shared/a@b/c":                {Org: "acme", Mailbox: "a@b/c"},
		"alice@example.org":           {},
		"alice@example.org/":          {},
		"/INBOX":                      {},
	} {
		got, err := mailboxArg(text).ref("acme")
		if got != want || (err != nil) != (want == admin.MailboxRef{}) {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
}
