package mailstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postroad/internal/blob/memblob"
	"postroad/internal/kv"
	"postroad/internal/kv/memkv"
)

// organisation is accounts with one pool.
type organisation struct {
	*fixture
	accounts []*Account
}

func newOrganisation(t testing.TB, accounts int, limit Quota, slice Usage) *organisation {
	o := &organisation{fixture: &fixture{TB: t, s: newStore(t, memkv.New(), memblob.New())}}
	o.s.slice = slice
	must(t, o.s.SetPool(t.Context(), "org", limit))
	for i := range accounts {
		o.accounts = append(o.accounts, o.account(AccountID(i+1), Quota{Pool: "org"}))
	}
	return o
}

// body is a message of so many octets.
func body(octets int) string { return "\r\n" + strings.Repeat("x", octets-2) }

func (o *organisation) deliver(i, octets int) error {
	a := o.accounts[i]
	inbox, err := a.Inbox(context.Background())
	if err == nil {
		_, err = a.Append(context.Background(), inbox, stage(o, o.s, body(octets)))
	}
	return err
}

// leases sums up what the accounts may use, and checks that none uses more.
func (o *organisation) leases() (sum Usage) {
	o.Helper()
	for _, a := range o.accounts {
		snap := got(a.snapshot(o.Context()))(o)
		raw, found, err := get(snap, leaseKey)
		if err != nil || !found {
			o.Fatalf("lease of account %s: %v", a.id, err)
		}
		l := got(readLease(raw))(o)
		_, used, err := readQuota(snap)
		must(o, err)
		snap.Close()
		if used.Bytes > l.Bytes || used.Messages > l.Messages {
			o.Errorf("account %s uses %+v of %+v", a.id, used, l.Usage)
		}
		sum.Bytes, sum.Messages = sum.Bytes+l.Bytes, sum.Messages+l.Messages
	}
	return sum
}

// exact checks that the pool has lent what the accounts have, within its limit.
func (o *organisation) exact() Pool {
	o.Helper()
	p := got(o.s.Pool(o.Context(), "org"))(o)
	if sum := o.leases(); p.Leased != sum {
		o.Errorf("the pool has lent %+v, the accounts have %+v", p.Leased, sum)
	}
	over := func(n, limit int64) bool { return limit > 0 && n > limit }
	if over(p.Leased.Bytes, p.Limit.Bytes) || over(p.Leased.Messages, p.Limit.Messages) {
		o.Errorf("the pool has lent %+v of %+v", p.Leased, p.Limit)
	}
	return p
}

// TestPool fills an organisation to the last octet: what one account holds without need
// is another's when the pool is short, and one octet more is refused.
func TestPool(t *testing.T) {
	o := newOrganisation(t, 3, Quota{Bytes: 1000}, Usage{400, 10})
	for i := range 3 {
		must(t, o.deliver(i, 100)) // 400, 400 and the last 200 are leased
	}
	if p := o.exact(); p.Leased.Bytes != 1000 || p.Used.Bytes != 300 || p.Accounts != 3 {
		t.Errorf("%+v", p)
	}
	must(t, o.deliver(2, 600))
	if err := o.deliver(2, 101); !errors.Is(err, ErrOverQuota) {
		t.Errorf("one octet over: %v", err)
	}
	if err := o.accounts[0].Room(t.Context(), 101, 1); !errors.Is(err, ErrOverQuota) {
		t.Errorf("room for one octet over: %v", err)
	}
	must(t, o.accounts[0].Room(t.Context(), 100, 1))
	must(t, o.deliver(0, 100))
	if p := o.exact(); p.Used.Bytes != 1000 {
		t.Errorf("exactly full: %+v", p)
	}
	if err := o.deliver(1, 2); !errors.Is(err, ErrOverQuota) {
		t.Errorf("over: %v", err)
	}
	// Expunged mail is room for others, at once.
	o.a = o.accounts[2]
	o.expunge("INBOX", "2")
	time.Sleep(reclaimPause)
	must(t, o.deliver(1, 600))
	if p := o.exact(); p.Used.Bytes != 1000 {
		t.Errorf("full again: %+v", p)
	}
}

// TestPoolMessages bounds the number of messages.
func TestPoolMessages(t *testing.T) {
	o := newOrganisation(t, 2, Quota{Messages: 5}, Usage{1 << 20, 4})
	for i := range 5 {
		must(t, o.deliver(i%2, 10))
	}
	if err := o.deliver(0, 10); !errors.Is(err, ErrOverQuota) {
		t.Errorf("sixth message: %v", err)
	}
	o.exact()
}

// TestPoolUnlimited keeps the books without a limit, so that one can be set later.
func TestPoolUnlimited(t *testing.T) {
	o := newOrganisation(t, 2, Quota{}, Usage{100, 1})
	must(t, o.deliver(0, 250))
	must(t, o.deliver(1, 50))
	if p := o.exact(); p.Leased != (Usage{400, 2}) || p.Used != (Usage{300, 2}) {
		t.Errorf("%+v", p)
	}
	must(t, o.s.SetPool(t.Context(), "org", Quota{Bytes: 200}))
	if err := o.deliver(0, 60); !errors.Is(err, ErrOverQuota) {
		t.Errorf("above a limit set later: %v", err)
	}
	if err := o.deliver(1, 50); !errors.Is(err, ErrOverQuota) {
		t.Errorf("with what had been leased and unused: %v", err)
	}
	o.leases()
}

// TestPoolMembers: an account that goes gives its lease back, one that was made without a
// pool may join.
func TestPoolMembers(t *testing.T) {
	o := newOrganisation(t, 2, Quota{Bytes: 1000}, Usage{500, 10})
	must(t, o.deliver(0, 100))
	must(t, o.deliver(1, 100))
	must(t, o.s.Delete(t.Context(), 1))
	o.accounts = o.accounts[1:]
	if p := o.exact(); p.Leased.Bytes != 500 || p.Accounts != 1 {
		t.Errorf("after the end of an account %+v", p)
	}
	single := o.account(9, Quota{})
	o.accounts = append(o.accounts, single)
	must(t, o.deliver(1, 300))
	must(t, single.JoinPool(t.Context(), "org"))
	must(t, single.JoinPool(t.Context(), "org"))
	if p := o.exact(); p.Leased.Bytes != 800 || p.Accounts != 2 {
		t.Errorf("after one joined %+v", p)
	}
}

// TestGiveBack: the sweep gives back what an account has unused above a slice.
func TestGiveBack(t *testing.T) {
	o := newOrganisation(t, 1, Quota{Bytes: 10_000}, Usage{100, 10})
	for range 10 {
		must(t, o.deliver(0, 100))
	}
	o.a = o.accounts[0]
	o.expunge("INBOX", "1:9")
	must(t, o.a.Sweep(t.Context()))
	if p := o.exact(); p.Leased.Bytes != 200 || p.Used.Bytes != 100 {
		t.Errorf("%+v", p)
	}
}

// TestPoolConcurrent: many deliveries at once fill the organisation exactly: none that was
// taken is lost, none is taken over, and none is refused while there is room.
func TestPoolConcurrent(t *testing.T) {
	const accounts, octets, fit = 5, 10, 200
	o := newOrganisation(t, accounts, Quota{Bytes: octets * fit}, Usage{70, 3})
	var taken, refused atomic.Int64
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			for n := range 2 * fit / 10 {
				err := o.deliver((worker+n)%accounts, octets)
				switch {
				case err == nil:
					taken.Add(1)
				case errors.Is(err, ErrOverQuota):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	p := o.exact()
	if p.Used.Messages != taken.Load() || p.Used.Bytes != octets*taken.Load() || taken.Load() > fit {
		t.Errorf("%d taken, %d refused, %+v in use", taken.Load(), refused.Load(), p.Used)
	}
	// What was refused in the heat may have found the last octets leased to others.
	time.Sleep(reclaimPause)
	for i := 0; taken.Load() < fit; i++ {
		must(t, o.deliver(i%accounts, octets))
		taken.Add(1)
	}
	if err := o.deliver(0, octets); !errors.Is(err, ErrOverQuota) {
		t.Errorf("above the limit: %v", err)
	}
	for _, a := range o.accounts {
		sound(t, a)
	}
}

// TestQuotaConcurrent is the same for the quota of one account.
func TestQuotaConcurrent(t *testing.T) {
	f := &fixture{TB: t, s: newStore(t, memkv.New(), memblob.New())}
	f.a = f.account(1, Quota{Bytes: 1000, Messages: 100})
	inbox := f.box("INBOX").ID
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				_, err := f.a.Append(context.Background(), inbox, stage(t, f.s, body(10)))
				if err == nil {
					taken.Add(1)
				} else if !errors.Is(err, ErrOverQuota) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if u := f.used(); taken.Load() != 100 || u != (Usage{1000, 100}) {
		t.Errorf("%d taken, %+v in use", taken.Load(), u)
	}
	f.sound()
}

// TestPoolCrash: whatever commit fails, pool and leases agree.
func TestPoolCrash(t *testing.T) {
	for crash := range int32(8) {
		engine := &faulty{Engine: memkv.New()}
		engine.skip.Store(1 << 30)
		o := &organisation{fixture: &fixture{TB: t, s: newStore(t, engine, memblob.New())}}
		o.s.slice = Usage{400, 10}
		must(t, o.s.SetPool(t.Context(), "org", Quota{Bytes: 1000}))
		for i := range 3 {
			o.accounts = append(o.accounts, o.account(AccountID(i+1), Quota{Pool: "org"}))
		}
		engine.skip.Store(crash)
		engine.fail.Store(1)
		for i := range 3 {
			if err := o.deliver(i, 100); err != nil && !errors.Is(err, errBroken) {
				t.Error(err)
			}
		}
		if err := o.deliver(0, 600); err != nil && !errors.Is(err, errBroken) {
			t.Error(err)
		}
		o.exact()
	}
}

// newWarned is an account that is warned at 50 and 90 %.
func newWarned(t *testing.T, engine kv.Engine, q Quota) *fixture {
	f := &fixture{TB: t, s: newStore(t, engine, memblob.New())}
	f.s.o.WarnPercent = []int{50, 90}
	f.s.o.Warning = func(_ context.Context, w Warning) (string, error) {
		return fmt.Sprintf("From: postmaster@x\r\nSubject: %d percent\r\n\r\n", w.Percent), nil
	}
	f.a = f.account(1, q)
	return f
}

// warnings gives the subjects in INBOX that are warnings, after what is due was done.
func (f *fixture) warnings() string {
	f.Helper()
	for id := f.s.nextWarning(); id != 0; id = f.s.nextWarning() {
		f.s.warnOne(f.Context(), id)
	}
	s := f.snapshot("INBOX")
	var w []string
	for _, r := range s.Rows(0, s.Len()) {
		rec := got(s.Record(f.Context(), r.UID, WantEnvelope))(f)
		if n, ok := strings.CutSuffix(string(rec.Subject), " percent"); ok {
			w = append(w, n)
		}
	}
	return strings.Join(w, " ")
}

func TestWarnings(t *testing.T) {
	f := newWarned(t, memkv.New(), Quota{Messages: 20})
	f.append("Archive", 9, 0)
	f.want("below", f.warnings(), "")
	f.append("Archive", 1, 0)
	f.want("half", f.warnings(), "50")
	f.append("Archive", 5, 0)
	f.want("once", f.warnings(), "50")
	f.append("Archive", 2, 0) // 18 with the warning
	f.want("nearly full", f.warnings(), "50 90")
	f.append("Archive", 1, 0)
	f.want("full", f.warnings(), "50 90")
	must(t, f.a.Sweep(t.Context()))
	f.want("swept", f.warnings(), "50 90")

	f.expunge("Archive", "1:15")
	must(t, f.a.Sweep(t.Context()))
	f.append("Archive", 10, 0)
	f.want("crossed again", f.warnings(), "50 90 50")
	f.sound()
}

// A quota of octets, crossed in one step, gives the higher warning alone; a full one gives
// it when it fits.
func TestWarningAtOnce(t *testing.T) {
	f := newWarned(t, memkv.New(), Quota{Bytes: 1000})
	inbox := f.box("INBOX").ID
	got(f.a.Append(t.Context(), inbox, f.message(body(1000))))(t)
	f.want("no room", f.warnings(), "")
	if f.used().Bytes != 1000 {
		t.Errorf("%+v", f.used())
	}
	got(f.a.Append(t.Context(), f.box("Archive").ID))(t)
	f.expunge("INBOX", "1")
	got(f.a.Append(t.Context(), inbox, f.message(body(910))))(t)
	f.want("room", f.warnings(), "90")
	f.sound()
}

// A crash between crossing and warning: the next delivery is warned of.
func TestWarningAfterCrash(t *testing.T) {
	engine := memkv.New()
	f := newWarned(t, engine, Quota{Messages: 4})
	f.append("INBOX", 2, 0)
	f.s.warnings = map[AccountID]bool{} // as after a crash
	f.want("lost", f.warnings(), "")
	f.append("INBOX", 1, 0)
	f.want("next", f.warnings(), "50")
}
