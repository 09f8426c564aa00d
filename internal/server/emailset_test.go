package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailstore"
	"postroad/internal/mta/submit"
	"postroad/internal/mua/jmapd/email"
	"postroad/internal/mua/jmapd/sending"
)

// TestWithEmailSet: a client takes its draft out of Drafts when it is submitted, as RFC 8621,
// 7.5.1, has it; the message is in Scheduled alone, then in Sent, or a draft again.
func TestWithEmailSet(t *testing.T) {
	for _, cancel := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			o := newOffice(t, memkv.New(), memblob.New())
			defer o.close()
			defer o.run()()
			methods := email.New(o.house, email.Options{}).Methods()
			for _, m := range methods {
				if m.Name == "Email/set" {
					o.methods = sending.New(o.house, sending.Options{Outbox: o.store.Outbox, Submitter: o.submitter, EmailSet: m,
						Extensions: submit.Extensions, HoldMax: submit.HoldMax, MessageBytesMax: 50_000, RecipientsMax: 30}).Methods()
				}
			}
			id := o.append(imap.AttrDrafts, draftText)
			tree, err := o.alice.Tree(t.Context())
			o.must(err)
			drafts := mailstore.FormatMailboxID(tree.Role(imap.AttrDrafts).ID)
			r := o.call("EmailSubmission/set", fmt.Sprintf(`{"accountId":"$account","create":{"k":{"identityId":%q,"emailId":%q,
				"envelope":{"mailFrom":{"email":"alice@ours.test","parameters":{"HOLDFOR":"60"}},"rcptTo":[{"email":"x@far.test"}]}}},
				"onSuccessUpdateEmail":{"#k":{"mailboxIds/%s":null,"keywords/$draft":null}}}`, o.identity(), id, drafts))
			if in := o.where(id); in != "Scheduled()" {
				t.Fatalf("waiting it is in %s: %v", in, r)
			}
			want, sent := `Sent(\Seen)`, "x@far.test"
			if cancel {
				of := r["created"].(map[string]any)["k"].(map[string]any)["id"]
				o.call("EmailSubmission/set", fmt.Sprintf(`{"accountId":"$account","update":{%q:{"undoStatus":"canceled"}}}`, of))
				want, sent = `Drafts(\Draft)`, ""
			}
			time.Sleep(2 * time.Minute)
			if in := o.where(id); in != want || o.sentTo() != sent || strings.Contains(fmt.Sprint(o.texts()), "Bcc") {
				t.Errorf("cancelled %v: it is in %s, sent %q", cancel, in, o.sentTo())
			}
		})
	}
}
