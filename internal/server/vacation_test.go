package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postroad/internal/blob/memblob"
	"postroad/internal/kv/memkv"
	"postroad/internal/scripts"
)

// set changes the vacation response.
func (o *office) setVacation(patch string) {
	o.t.Helper()
	r := o.call("VacationResponse/set", fmt.Sprintf(`{"accountId":"$account","update":{"singleton":%s}}`, patch))
	if r["error"] != nil || r["notUpdated"] != nil {
		o.t.Fatal(r)
	}
}

// letter is mail from somebody to alice.
func letter(from string) string {
	return "From: " + from + "\r\nTo: alice@ours.test\r\nSubject: how are you\r\nMessage-ID: <" + from + ">\r\n\r\nhi\r\n"
}

// TestVacationIsGiven: once to each, between the dates, whatever script is active.
func TestVacationIsGiven(t *testing.T) {
	for _, active := range []string{"", "keep;", `redirect "z@far.test";`, "discard;"} {
		t.Run("active: "+active, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := newOffice(t, memkv.New(), memblob.New())
				defer o.close()
				defer o.run()()
				own := scripts.OfAccount(o.user.ID)
				if active != "" {
					_, err := o.store.Scripts.Put(t.Context(), own, "mine", []byte(active))
					o.must(err)
					o.must(o.store.Scripts.Activate(t.Context(), o.user.ID, "mine"))
				}
				o.setVacation(`{"isEnabled":true,"fromDate":"2026-03-02T00:00:00Z","toDate":"2026-03-05T00:00:00Z","subject":"away \"now\"","textBody":"Back\r\n.on \\Friday\""}`)
				list, err := o.store.Scripts.List(t.Context(), own)
				if want := min(len(active), 1); err != nil || len(list) != want {
					t.Errorf("ManageSieve lists %v, %v", list, err)
				}
				answers := func() (n int) {
					o.mu.Lock()
					defer o.mu.Unlock()
					for i, to := range o.sent {
						if to != "z@far.test" {
							n++
							if text := o.contents[i]; !strings.Contains(text, `Subject: away "now"`) || !strings.Contains(text, "Auto-Submitted: auto-replied") || !strings.Contains(text, "Back\r\n.on \\Friday\"") {
								t.Errorf("answer %q", text)
							}
						}
					}
					return n
				}
				for _, step := range []struct {
					wait time.Duration
					from string
					want int // answers so far
				}{
					{0, "ann@far.test", 0}, // before the first day
					{12 * time.Hour, "ann@far.test", 1},
					{time.Minute, "ann@far.test", 1},
					{time.Minute, "cat@far.test", 2},
					{time.Minute, "owner-list@far.test", 2}, // RFC 5230, 4.6
					{72*time.Hour - 4*time.Minute, "dan@far.test", 3},
					{time.Minute, "eve@far.test", 3}, // after the last
				} {
					time.Sleep(step.wait)
					o.receive(step.from, "alice@ours.test", letter(step.from))
					time.Sleep(time.Second)
					if n := answers(); n != step.want {
						t.Errorf("%s at %s: %d answers, want %d", step.from, time.Now().UTC(), n, step.want)
					}
				}
				o.setVacation(`{"toDate":null,"isEnabled":false}`)
				o.receive("fay@far.test", "alice@ours.test", letter("fay@far.test"))
				o.setVacation(`{"isEnabled":true}`)
				time.Sleep(time.Second)
				if n := answers(); n != 3 {
					t.Errorf("switched off: %d answers", n)
				}
				o.receive("fay@far.test", "alice@ours.test", letter("fay@far.test"))
				time.Sleep(time.Second)
				if n := answers(); n != 4 {
					t.Errorf("switched on again: %d answers", n)
				}
			})
		})
	}
}

// TestVacationBodies: HTML with its text, and what is said where nothing was written.
func TestVacationBodies(t *testing.T) {
	for _, test := range []struct {
		name, patch string
		want        []string
	}{
		{"nothing", `{"isEnabled":true}`, []string{"Subject: Auto: how are you", "I am away at the moment"}},
		{"HTML", `{"isEnabled":true,"htmlBody":"<p>Hello <b>you</b></p>"}`, []string{"multipart/alternative", "text/plain; charset=utf-8", "PHA+SGVsbG8gPGI+eW91PC9iPjwvcD4="}},
		{"both", `{"isEnabled":true,"htmlBody":"<p>Ä</p>","textBody":"ä","subject":"fort\r\nBcc: x@far.test"}`, []string{"w6Q=", "PHA+w4Q8L3A+", "Subject: fort Bcc: x@far.test"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := newOffice(t, memkv.New(), memblob.New())
				defer o.close()
				defer o.run()()
				o.setVacation(test.patch)
				o.receive("ann@far.test", "alice@ours.test", letter("ann@far.test"))
				time.Sleep(time.Second)
				if o.sentTo() != "ann@far.test" {
					t.Fatalf("sent %s", o.sentTo())
				}
				for _, w := range test.want {
					if !strings.Contains(o.texts()[0], w) {
						t.Errorf("no %q in %q", w, o.texts()[0])
					}
				}
			})
		})
	}
}
