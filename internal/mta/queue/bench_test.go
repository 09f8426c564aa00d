package queue

import (
	"bytes"
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postroad/address"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/diskkv"
	"postroad/internal/kv/hlc"
	"postroad/internal/mailflow"
	"postroad/message"
	"postroad/smtp"
)

// diskWorld is a queue on a disk whose transport takes everything at once.
func diskWorld(b *testing.B) (w *world, sent *atomic.Int64) {
	engine, err := diskkv.Open(diskkv.Options{Dir: b.TempDir(), Ballast: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { engine.Close() })
	sent = new(atomic.Int64)
	w = newWorldOn(b, engine, blob.NewBodies(engine, memblob.New(), hlc.NewClock(1)), func(o *Options) {
		o.Record, o.LaneMax = nil, 50
		o.Transports = map[string]mailflow.Transport{"smtp": sink{sent}}
	})
	return w, sent
}

// sink takes all mail.
type sink struct{ sent *atomic.Int64 }

func (s sink) Deliver(_ context.Context, m *mailflow.Mail, _ mailflow.NextHop) []mailflow.Status {
	s.sent.Add(1)
	return answer(m, mailflow.Status{Action: mailflow.Relayed, Reply: reply(250, smtp.EnhancedCode{2, 0, 0}, "ok")})
}

func benchMail(b *testing.B, w *world, content []byte, domain string) *mailflow.Mail {
	body, err := w.bodies.Stage(context.Background(), bytes.NewReader(content), 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	return &mailflow.Mail{ReturnPath: sender, Body: body, Message: &message.Message{}, Received: time.Now(),
		Recipients: []mailflow.Recipient{{Address: address.Address{Local: "a", Domain: domain}}}}
}

// cpu is the time of all threads so far.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRelay takes in mails of 4 KB by 50 doors and waits until all are sent and
// removed.
func BenchmarkRelay(b *testing.B) {
	w, sent := diskWorld(b)
	stop := w.run()
	content := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"), 64)
	b.SetParallelism(25)
	b.ReportAllocs()
	begin := cpu()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.queue.Submit(context.Background(), benchMail(b, w, content, "out.test"), mailflow.SubmitOptions{}); err != nil {
				b.Error(err)
			}
		}
	})
	for sent.Load() < int64(b.N) || w.queue.Stats().InMemory > 0 {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(b.N), "cpu-µs/op")
	stop()
}

// BenchmarkSubmitLocal is the share of Submit in a mail with only local recipients.
func BenchmarkSubmitLocal(b *testing.B) {
	w, _ := diskWorld(b)
	content := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"), 64)
	b.SetParallelism(25)
	b.ReportAllocs()
	begin := cpu()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.queue.Submit(context.Background(), benchMail(b, w, content, "here.test"), mailflow.SubmitOptions{}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(b.N), "cpu-µs/op")
}
