package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"postroad/address"
	"postroad/internal/mailflow"
	"postroad/internal/objects"
	"postroad/smtp"
)

// sample is a submission with n recipients.
func sample(n int) *Submission {
	full := "FULL"
	s := &Submission{ID: 7, Identity: 8, Email: "M0000000000009", Thread: "T0000000000009", SendAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Undo: Pending,
		From: Address{Email: "a@ours.test", Parameters: map[string]*string{"RET": &full, "SMTPUTF8": nil}}, MessageID: "<1@ours.test>"}
	for i := range n {
		s.To = append(s.To, Recipient{Address: Address{Email: fmt.Sprintf("r%d@far.test", i)}, Delivered: Queued})
	}
	return s
}

// TestRecord: what is written is read again; replies that do not fit are cut.
func TestRecord(t *testing.T) {
	for _, test := range []struct {
		name       string
		recipients int
		reply      func(i int) string
		cut        int // octets that are left of each reply at least
	}{
		{"one", 1, func(int) string { return "250 2.0.0 ok" }, 12},
		{"many with one reply", 1000, func(int) string { return "250 2.0.0 " + strings.Repeat("o", 400) }, 410},
		{"many with long replies of their own", 300, func(i int) string { return fmt.Sprint(i) + strings.Repeat("x", 500) }, replyLess},
		{"more than replies have room for", 800, func(i int) string { return fmt.Sprint(i) + strings.Repeat("x", 500) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := sample(test.recipients)
			for i := range s.To {
				s.To[i].Reply = test.reply(i)
			}
			v, err := s.encode()
			if err != nil || len(v) > objects.ValueMax {
				t.Fatalf("%d octets, %v", len(v), err)
			}
			o := &objects.Object{ID: 7, Value: v}
			got, err := decode(o)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got.To {
				if r := got.To[i].Reply; !strings.HasPrefix(s.To[i].Reply, r) || len(r) < min(test.cut, len(s.To[i].Reply)) {
					t.Fatalf("reply %q of %q", r, s.To[i].Reply)
				}
				got.To[i].Reply, got.To[i].ReplyAt = s.To[i].Reply, 0
			}
			if got.object = nil; !reflect.DeepEqual(got, s) {
				t.Errorf("read %+v, wrote %+v", got, s)
			}
		})
	}
	if err := sample(5000).Fits(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("5000 recipients: %v", err)
	}
	if err := sample(900).Fits(); err != nil {
		t.Errorf("900 recipients: %v", err)
	}
}

// TestTold: what outcomes mean, and replies of several lines (RFC 8621, 7).
func TestTold(t *testing.T) {
	s := sample(3)
	m := &mailflow.Mail{Recipients: []mailflow.Recipient{{Address: address.Address{Local: "R1", Domain: "far.test"}}, {Address: address.Address{Local: "other", Domain: "far.test"}}, {Address: address.Address{Local: "r2", Domain: "far.test"}}}}
	s.told(m, []mailflow.Status{
		{Action: mailflow.Failed, Reply: smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 7, 1}, Lines: []string{"Our system has detected that this message is", "likely spam."}}},
		{Action: mailflow.Failed}, {},
	})
	if got := s.To[1]; got.Delivered != No || got.Reply != "550 5.7.1 Our system has detected that this message is likely spam." {
		t.Errorf("told %+v", got)
	}
	for _, i := range []int{0, 2} {
		if s.To[i].Delivered != Queued || s.To[i].Reply != "" {
			t.Errorf("told of %s: %+v", s.To[i].Email, s.To[i])
		}
	}
	for action, want := range map[mailflow.Action]Delivered{mailflow.Delivered: Yes, mailflow.Relayed: Unknown, mailflow.Expanded: Unknown, mailflow.Delayed: Queued, mailflow.Failed: No} {
		if got := delivered(&mailflow.Status{Action: action}); got != want {
			t.Errorf("action %d is %s, want %s", action, got, want)
		}
	}
}

// FuzzDecode: records of any octets are read or refused, and what is read can be written.
func FuzzDecode(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		v, err := sample(n).encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(v)
	}
	f.Add([]byte{format1, '{', '}'})
	f.Add([]byte(`{"to":[{"r":9}]}`))
	f.Fuzz(func(t *testing.T, v []byte) {
		s, err := decode(&objects.Object{ID: 7, Value: v})
		if err != nil {
			return
		}
		again, err := s.encode()
		if errors.Is(err, ErrTooLarge) {
			return
		}
		var unsupported *json.MarshalerError // a year beyond 9999
		if errors.As(err, &unsupported) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(&objects.Object{ID: 7, Value: again}); err != nil {
			t.Fatal(err)
		}
	})
}
