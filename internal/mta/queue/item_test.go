package queue

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"postroad/address"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// fullItem has something in every field.
func fullItem(w *world) *item {
	at := time.UnixMilli(1_700_000_000_123)
	m := w.mail("x", sender)
	it := &item{id: ItemID{m.ID + 7, 3}, revision: 9, hop: mailflow.NextHop{Transport: "smtp", Domain: "d.test", Port: 26, NoMX: true, Relay: "a"},
		attempts: 4, failures: 2, due: at, lastTry: at.Add(1e9), warnAt: at.Add(2e9), expires: at.Add(3e9), warned: true, held: true}
	it.mail = mailflow.Mail{ID: it.id.Mail, ReturnPath: sender, Body: m.Body, Received: at, HoldUntil: at.Add(4e9), EightBit: true, SMTPUTF8: true,
		Return: smtp.ReturnFull, EnvID: "env", Priority: -3, DeliverBy: &smtp.DeliverBy{Within: -time.Hour, Trace: true},
		Origin: mailflow.Origin{Protocol: "smtp", Client: netip.MustParseAddrPort("[2001:db8::1]:25"), Helo: "h", TLS: "t", Account: 5},
		Recipients: []mailflow.Recipient{
			{Address: address.Address{Local: "ä b", Domain: "x.test"}, Notify: smtp.NotifyDelay, Original: "rfc822;o"},
			{Address: address.Address{Local: "b", Domain: "x.test"}},
		}}
	it.last = []mailflow.Status{{Action: mailflow.Delayed, Reply: smtp.Reply{Code: 450, Enhanced: smtp.EnhancedCode{4, 2, 0}, Lines: []string{"a", "b"}},
		RemoteMTA: "mx", LocalMTA: true, PassedOn: true, At: at, RemoteAddr: netip.MustParseAddrPort("192.0.2.1:25"), TLS: "TLS"}, {}}
	return it
}

func TestItemRoundTrip(t *testing.T) {
	w := newWorld(t, nil)
	it := fullItem(w)
	got, err := decodeItem(it.id, it.encode())
	if err != nil {
		t.Fatal(err)
	}
	if got.mail.Body.ID != it.mail.Body.ID || got.mail.Body.Staged() {
		t.Errorf("body %+v", got.mail.Body)
	}
	got.mail.Body = it.mail.Body
	if !reflect.DeepEqual(got, it) {
		t.Errorf("got  %+v\nwant %+v", got, it)
	}
	s := it.summary()
	if back, err := decodeSummary(s.append(nil)); err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("got %+v %v, want %+v", back, err, s)
	}
	if due, id, ok := parseDueKey(it.dueKey()); !ok || id != it.id || due != dueHeld {
		t.Errorf("due key gives %v %v %v", due, id, ok)
	}
}

func TestItemStaysWithinAValue(t *testing.T) {
	w := newWorld(t, nil)
	it := fullItem(w)
	it.mail.Recipients, it.last = nil, nil
	long := strings.Repeat("ü", 2000)
	for range groupRcptMax {
		it.mail.Recipients = append(it.mail.Recipients, mailflow.Recipient{Address: address.Address{Local: strings.Repeat("l", 64), Domain: strings.Repeat("d", 160)}})
		it.last = append(it.last, mailflow.Status{Action: mailflow.Delayed, Reply: reply(450, smtp.EnhancedCode{4, 2, 0}, long), RemoteMTA: long, TLS: long})
	}
	b := it.encode()
	if len(b) > kv.ValueMax {
		t.Fatalf("%d octets", len(b))
	}
	if got, err := decodeItem(it.id, b); err != nil || len(got.mail.Recipients) != groupRcptMax || !strings.HasPrefix(long, got.last[0].Reply.Lines[0]) {
		t.Fatalf("%v", err)
	}
}

func TestItemID(t *testing.T) {
	for _, id := range []ItemID{{1 << 40, 0}, {12345, 7}, {1<<64 - 1, splitBit | 5}} {
		if got, err := ParseItemID(id.String()); err != nil || got != id {
			t.Errorf("%s gives %v, %v", id, got, err)
		}
	}
	for _, s := range []string{"", "x", "0000000000001.x", "0000000000001.-1", "0000000000001.4294967296"} {
		if id, err := ParseItemID(s); err == nil {
			t.Errorf("%q gives %v", s, id)
		}
	}
}

func FuzzDecodeItem(f *testing.F) {
	w := newWorld(f, nil)
	f.Add(fullItem(w).encode())
	f.Add([]byte{formatVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := decodeItem(ItemID{Mail: 1}, b)
		if err != nil {
			return
		}
		if len(it.mail.Recipients) != len(it.last) {
			t.Fatal("statuses do not fit recipients")
		}
		if _, err := decodeItem(it.id, it.append(nil, 1<<20)); err != nil {
			t.Fatal(err)
		}
		decodeSummary(b)
	})
}
