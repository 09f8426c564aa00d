package jmapd

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"postroad/jmap"
)

// BenchmarkEcho is what a request costs before any method does something.
func BenchmarkEcho(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		if a := w.ask("alice", "POST", "/jmap/api", `{"using":["urn:ietf:params:jmap:core"],"methodCalls":[["Core/echo",{},"0"]]}`); a.Code != 200 {
			b.Fatal(a.Body)
		}
	}
}

// BenchmarkPush is the time from a commit to a client that is told of it; the gap between
// two pushes is left out.
func BenchmarkPush(b *testing.B) {
	w := newWorld(b)
	told := make(chan struct{}, 1)
	stop, err := w.hub.Watch(b.Context(), w.users["alice"], func() {
		select {
		case told <- struct{}{}:
		default:
		}
	})
	must(b, err)
	defer stop()
	f := jmap.NewFollower(nil)
	for b.Loop() {
		w.touch("alice")
		for {
			<-told
			now, err := w.hub.States(b.Context(), w.users["alice"])
			must(b, err)
			if len(f.Changes(now)) > 0 {
				break
			}
		}
	}
}

func FuzzSubscription(f *testing.F) {
	f.Add(`{"deviceClientId":"a","url":"https://x.test/","keys":{"p256dh":"x","auth":"y"},"expires":"2030-01-01T00:00:00Z","types":["Email"]}`)
	f.Add(`{"deviceClientId":"a","url":"https://[::1]:443/?#","verificationCode":null}`)
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, text string) {
		var given jmap.Properties
		if json.Unmarshal([]byte(text), &given) != nil {
			return
		}
		s := &subscription{Expires: now.Add(expiresMax)}
		if s.read(given, now) != nil {
			return
		}
		if !strings.HasPrefix(s.URL, "https://") || s.Expires.After(now.Add(expiresMax)) || !s.Expires.After(now) || s.Device == "" {
			t.Errorf("%s: %+v", text, s)
		}
		if _, err := s.keys(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}
