package server

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/imap"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/memkv"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// TestReceiptOnce: of many who send a receipt at once one does, with the null return path.
func TestReceiptOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := newOffice(t, memkv.New(), memblob.New())
		defer o.close()
		defer o.run()()
		email := o.append(imap.AttrDrafts, "From: tom@far.test\nDisposition-Notification-To: tom@far.test, zoe@far.test\nMessage-ID: <1@far.test>\nSubject: plan\n\nhi\n")
		args := fmt.Sprintf(`{"accountId":%q,"identityId":%q,"send":{"k":{"forEmailId":%q,"includeOriginalMessage":true,"disposition":{"actionMode":"automatic-action","sendingMode":"mdn-sent-automatically","type":"displayed"}}},"onSuccessUpdateEmail":{"#k":{"keywords":{"$mdnsent":true}}}}`,
			access.FormatID('A', o.user.ID), o.identity(), email)
		var wait sync.WaitGroup
		var mu sync.Mutex
		sent := 0
		for range 8 {
			wait.Go(func() {
				for _, m := range o.methods {
					if m.Name != "MDN/send" {
						continue
					}
					r, err := m.Do(context.Background(), jmap.NewCall(m.Name, json.RawMessage(args), o.user, nil, "urn:ietf:params:jmap:mail"))
					if err != nil {
						t.Error(err)
						continue
					}
					raw, err := json.Marshal(r)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					if strings.Contains(string(raw), `"sent":{`) {
						sent++
					} else if !strings.Contains(string(raw), "mdnAlreadySent") {
						t.Errorf("%s", raw)
					}
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		time.Sleep(time.Second)
		if sent != 1 || o.sentTo() != "tom@far.test zoe@far.test" || !strings.Contains(o.where(email), "$mdnsent") {
			t.Errorf("%d sent, to %s; %s", sent, o.sentTo(), o.where(email))
		}
		for _, w := range []string{"disposition-notification", "Disposition: automatic-action/MDN-sent-automatically; displayed", "Subject: plan", "Auto-Submitted: auto-replied"} {
			if !strings.Contains(o.texts()[0], w) {
				t.Errorf("no %q in %s", w, o.texts()[0])
			}
		}
		if r := o.call("MDN/send", `{}`); !strings.Contains(fmt.Sprint(r["error"]), "unknownMethod") {
			t.Errorf("without the capability of mail: %v", r)
		}
	})
}
