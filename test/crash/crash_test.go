// Package crash kills postroad under load and looks whether anything that it had
// acknowledged is lost, damaged or half done: kill -9 at random moments, a full disk, and
// power cuts. CRASH_CYCLES says how often, CRASH_SEED repeats a run.
package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/test/peer"
)

const (
	host     = "127.0.8.2"
	sinkPort = 2525
	workers  = 3
)

// sizes of messages: within the commit, and in a segment.
var sizes = []int{800, 4000, 30_000, 300_000}

// run is postroad with its load and what is known of it.
type run struct {
	t       *testing.T
	pr      *peer.Postroad
	workers []*worker
	in      *inbound
	sink    *sink
	seen    history
	rng     *rand.Rand
}

// cycles says how many rounds to do.
func cycles(short int) int {
	if n, err := strconv.Atoi(os.Getenv("CRASH_CYCLES")); err == nil {
		return n
	}
	return short
}

func seed(t *testing.T) uint64 {
	s := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("CRASH_SEED"), 10, 64); err == nil {
		s = n
	}
	t.Logf("CRASH_SEED=%d", s)
	return s
}

// start makes the accounts of a run; its data is below dir, a new directory if empty.
func start(t *testing.T, dir, extra string) *run {
	s := seed(t)
	r := &run{t: t, in: newInbound(), sink: startSink(t), seen: history{}, rng: rand.New(rand.NewPCG(s, 1))}
	users := []string{"in1", "in2"}
	for i := range workers {
		users = append(users, fmt.Sprintf("w%d", i))
	}
	r.pr = peer.StartPostroad(t, peer.PostroadOptions{Host: host, Name: "pr.test", Users: users, Dir: dir,
		Extra: fmt.Sprintf("[trust]\nrelay = [\"127.0.0.0/8\"]\n[queue]\nretry_min = \"1s\"\n[[route]]\ndomain = \"sink.test\"\nhost = \"127.0.0.1\"\nport = %d\n%s", sinkPort, extra)})
	for i := range workers {
		w := &worker{user: fmt.Sprintf("w%d@pr.test", i), rng: rand.New(rand.NewPCG(s, uint64(10+i)))}
		w.known = look(t, r.pr.Addr(peer.PortIMAP), w.user)
		r.workers = append(r.workers, w)
	}
	return r
}

// load runs all clients until stop is called, and returns when they have ended.
func (r *run) load() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, w := range r.workers {
		wg.Go(func() { w.run(ctx, r.pr.Addr(peer.PortIMAP)) })
	}
	for i, kind := range []string{"smtp", "smtp", "lmtp", "relay"} {
		s := r.rng.Uint64() + uint64(i)
		wg.Go(func() { r.in.send(ctx, r.pr, kind, s, sizes) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// verify compares everything after a restart, and has postroad check its own indexes.
func (r *run) verify() {
	r.t.Helper()
	addr := r.pr.Addr(peer.PortIMAP)
	for _, w := range r.workers {
		now := look(r.t, addr, w.user)
		r.seen.check(r.t, w.user, now)
		w.verify(r.t, now)
	}
	found := map[string]map[string]int{"far@sink.test": r.sink.wait(r.in)}
	for _, u := range []string{"in1@pr.test", "in2@pr.test"} {
		now := look(r.t, addr, u)
		r.seen.check(r.t, u, now)
		found[u] = map[string]int{}
		for _, m := range now["INBOX"].mail {
			found[u][m.name]++
		}
	}
	duplicates := r.in.verify(r.t, found)
	acks := 0
	for _, w := range r.workers {
		acks += w.acks
	}
	r.t.Logf("%d deliveries and %d IMAP commands acknowledged so far, all there; %d duplicates", len(r.in.acked), acks, duplicates)
}

// TestKill kills the program with SIGKILL at random moments.
func TestKill(t *testing.T) {
	r := start(t, "", "")
	for i := range cycles(2) {
		stop := r.load()
		time.Sleep(time.Duration(300+r.rng.IntN(2000)) * time.Millisecond)
		r.pr.Kill()
		stop()
		r.pr.Restart()
		r.verify()
		if t.Failed() {
			t.Fatalf("in cycle %d", i)
		}
	}
	r.pr.Command("check")
}

// sink is the host at the end of the relay: it counts what it takes.
type sink struct {
	mu  sync.Mutex
	got map[string]int // mu: name of the message → times
	// took, if not nil, gets the messages instead.
	took func(rcpt, text string)
}

func startSink(t *testing.T) *sink { return serveSink(t, sinkPort, &sink{got: map[string]int{}}) }

// serveSink serves a sink at a port of 127.0.0.1.
func serveSink(t *testing.T, port int, s *sink) *sink {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

// serve is as much of an SMTP server as it takes.
func (s *sink) serve(c net.Conn) {
	defer c.Close()
	io.WriteString(c, "220 sink.test\r\n")
	buf := make([]byte, 0, 1<<16)
	line := func() (string, error) {
		for {
			if i := strings.Index(string(buf), "\r\n"); i >= 0 {
				l := string(buf[:i+2])
				buf = append(buf[:0], buf[i+2:]...)
				return l, nil
			}
			chunk := make([]byte, 1<<15)
			n, err := c.Read(chunk)
			if n == 0 && err != nil {
				return "", err
			}
			buf = append(buf, chunk[:n]...)
		}
	}
	var rcpt string
	for {
		l, err := line()
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.TrimSpace(strings.SplitN(l, " ", 2)[0])); verb {
		case "DATA":
			io.WriteString(c, "354 go on\r\n")
			var m strings.Builder
			for {
				if l, err = line(); err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				m.WriteString(strings.TrimPrefix(l, "."))
			}
			s.take(rcpt, m.String())
			io.WriteString(c, "250 taken\r\n")
		case "RCPT":
			_, rcpt, _ = strings.Cut(l, "<")
			rcpt, _, _ = strings.Cut(rcpt, ">")
			io.WriteString(c, "250 ok\r\n")
		case "QUIT":
			io.WriteString(c, "221 bye\r\n")
			return
		default:
			io.WriteString(c, "250 ok\r\n")
		}
	}
}

// take notes one message.
func (s *sink) take(rcpt, text string) {
	if s.took != nil {
		s.took(rcpt, text)
		return
	}
	name, err := proved(text)
	if err != nil {
		name = "damaged: " + err.Error()
	}
	s.mu.Lock()
	s.got[name]++
	s.mu.Unlock()
}

// wait waits until every acknowledged relayed message has come, a minute at most.
func (s *sink) wait(in *inbound) map[string]int {
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		s.mu.Lock()
		missing, got := 0, map[string]int{}
		for name, n := range s.got {
			got[name] = n
		}
		s.mu.Unlock()
		for name, to := range in.acked {
			if to[0] == "far@sink.test" && got[name] == 0 {
				missing++
			}
		}
		if missing == 0 || time.Now().After(end) {
			return got
		}
	}
}

// errNotRefused says that a full disk went unnoticed.
var errNotRefused = errors.New("the disk is full and nothing was refused")
