package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"

	"postroad/test/peer"
)

// mailboxesMax bounds the mailboxes that a worker makes.
const mailboxesMax = 8

// run sends one command after the other until the connection breaks or ctx is done.
func (w *worker) run(ctx context.Context, addr string) {
	c, err := dialIMAP(addr, w.user)
	if err != nil {
		return
	}
	defer c.c.Close()
	stop := context.AfterFunc(ctx, func() { c.c.Close() })
	defer stop()
	for ctx.Err() == nil {
		if err := w.step(c); err != nil {
			var no *refused
			if !errors.As(err, &no) {
				return // in doubt
			}
		}
		w.doubt = doubt{} // acknowledged or refused: no doubt
		w.acks++
	}
}

// step does one random thing.
func (w *worker) step(c *imapConn) error {
	name := w.pick()
	b := w.known[name]
	switch n := w.rng.IntN(20); {
	case n < 7 || len(b.mail) == 0:
		return w.append(c, name, b)
	case n < 11:
		return w.store(c, name, b)
	case n < 13:
		return w.transfer(c, "COPY", name, w.pick())
	case n < 16:
		return w.transfer(c, "MOVE", name, w.pick())
	case n < 18:
		return w.expunge(c, name, b)
	case len(w.known) < mailboxesMax:
		return w.create(c)
	default:
		return w.rename(c, name)
	}
}

// pick chooses a mailbox.
func (w *worker) pick() string {
	names := make([]string, 0, len(w.known))
	for n := range w.known {
		names = append(names, n)
	}
	sort.Strings(names)
	return names[w.rng.IntN(len(names))]
}

// some chooses up to three messages of a mailbox.
func (w *worker) some(b *box) []uint32 {
	all := make([]uint32, 0, len(b.mail))
	for uid := range b.mail {
		all = append(all, uid)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	w.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = all[:min(len(all), 1+w.rng.IntN(3))]
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all
}

func join(uids []uint32) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(uids)), ","), "[]")
}

func (w *worker) append(c *imapConn, name string, b *box) error {
	w.count++
	m := mail{name: fmt.Sprintf("%s-%06d", strings.SplitN(w.user, "@", 2)[0], w.count)}
	if w.rng.IntN(2) == 0 {
		m.flags = `\Flagged`
	}
	size := 500
	if w.rng.IntN(5) == 0 {
		size = 30_000 // not within the commit, but in a segment
	}
	w.doubt = doubt{op: "append", to: name, message: m}
	uid, err := c.appendMessage(name, m.flags, text(m.name, size))
	if err == nil {
		b.mail[uid] = m
	}
	return err
}

// with opens a mailbox and runs a command there.
func with(c *imapConn, mailbox, format string, args ...any) ([]string, error) {
	if _, err := c.command("SELECT %s", mailbox); err != nil {
		return nil, err
	}
	return c.command(format, args...)
}

func (w *worker) store(c *imapConn, name string, b *box) error {
	uids := w.some(b)
	sign := []string{"+", "-"}[w.rng.IntN(2)]
	flag := []string{`\Seen`, `\Answered`, "$Label1"}[w.rng.IntN(3)]
	w.doubt = doubt{op: "store", from: name, uids: uids, flag: sign + flag}
	_, err := with(c, name, "UID STORE %s %sFLAGS.SILENT (%s)", join(uids), sign, flag)
	if err == nil {
		for _, uid := range uids {
			m := b.mail[uid]
			m.flags = change(m.flags, sign+flag)
			b.mail[uid] = m
		}
	}
	return err
}

// change applies "+\Seen" or "-\Seen" to sorted flags.
func change(flags, by string) string {
	var kept []string
	for _, f := range strings.Fields(flags) {
		if f != by[1:] {
			kept = append(kept, f)
		}
	}
	if by[0] == '+' {
		kept = append(kept, by[1:])
	}
	sort.Strings(kept)
	return strings.Join(kept, " ")
}

func (w *worker) transfer(c *imapConn, verb, from, to string) error {
	if from == to {
		return nil
	}
	uids := w.some(w.known[from])
	w.doubt = doubt{op: strings.ToLower(verb), from: from, to: to, uids: uids}
	all, err := with(c, from, "UID %s %s %s", verb, join(uids), to)
	if err != nil {
		return err
	}
	for _, l := range all {
		source, dest := code(l, "COPYUID")
		for i := range source {
			w.known[to].mail[dest[i]] = w.known[from].mail[source[i]]
			if verb == "MOVE" {
				delete(w.known[from].mail, source[i])
			}
		}
	}
	return nil
}

func (w *worker) expunge(c *imapConn, name string, b *box) error {
	uids := w.some(b)
	w.doubt = doubt{op: "store", from: name, uids: uids, flag: `+\Deleted`}
	if _, err := with(c, name, `UID STORE %s +FLAGS.SILENT (\Deleted)`, join(uids)); err != nil {
		return err
	}
	for _, uid := range uids {
		m := b.mail[uid]
		m.flags = change(m.flags, `+\Deleted`)
		b.mail[uid] = m
	}
	w.doubt = doubt{op: "expunge", from: name, uids: uids}
	if _, err := c.command("UID EXPUNGE %s", join(uids)); err != nil {
		return err
	}
	for _, uid := range uids {
		delete(b.mail, uid)
	}
	return nil
}

func (w *worker) create(c *imapConn) error {
	w.count++
	name := fmt.Sprintf("Box%d", w.count)
	w.doubt = doubt{op: "create", to: name}
	if _, err := c.command("CREATE %s", name); err != nil {
		return err
	}
	w.known[name] = &box{mail: map[uint32]mail{}}
	return nil
}

func (w *worker) rename(c *imapConn, name string) error {
	if name == "INBOX" {
		return nil
	}
	w.count++
	to := fmt.Sprintf("Box%d", w.count)
	w.doubt = doubt{op: "rename", from: name, to: to}
	if _, err := c.command("RENAME %s %s", name, to); err != nil {
		return err
	}
	w.known[to] = w.known[name]
	delete(w.known, name)
	return nil
}

// send delivers messages until the connection breaks or ctx is done: kind "smtp" to local
// accounts, "lmtp" likewise, "relay" to another host's domain.
func (in *inbound) send(ctx context.Context, pr *peer.Postroad, kind string, seed uint64, sizes []int) {
	rng := rand.New(rand.NewPCG(seed, 2))
	addr, hello := pr.Addr(peer.PortSMTP), "EHLO"
	if kind == "lmtp" {
		addr, hello = pr.Addr(peer.PortLMTP), "LHLO"
	}
	c, err := dialSMTP(addr, hello)
	if err != nil {
		return
	}
	defer c.c.Close()
	stop := context.AfterFunc(ctx, func() { c.c.Close() })
	defer stop()
	for ctx.Err() == nil {
		to := []string{"in1@pr.test"}
		if rng.IntN(3) == 0 {
			to = append(to, "in2@pr.test")
		}
		if kind == "relay" {
			to = []string{"far@sink.test"}
		}
		name := in.next(kind)
		err := c.deliver(text(name, sizes[rng.IntN(len(sizes))]), kind == "lmtp", to...)
		if err == nil {
			in.ack(name, to...)
			continue
		}
		var no *refused
		if !errors.As(err, &no) {
			return
		}
	}
}
