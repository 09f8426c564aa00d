package crash

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/test/peer"
)

const (
	vacationHost     = "127.0.9.4"
	vacationSinkPort = 2526
	vacationSenders  = 3 // at work at the same time
)

// answers are what an absent user's rules have sent.
type answers struct {
	mu    sync.Mutex
	got   map[string]map[string]bool // mu: sender → Message-IDs of the answers to it
	twice int                        // mu: the same answer again: sent, but not noted before the kill
	acked map[string]bool            // mu: senders with a message that was acknowledged
}

// took notes one answer at the sink.
func (a *answers) took(rcpt, text string) {
	_, id, _ := strings.Cut(text, "Message-ID: <")
	id, _, _ = strings.Cut(id, ">")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.got[rcpt] == nil {
		a.got[rcpt] = map[string]bool{}
	}
	if a.got[rcpt][id] {
		a.twice++
	}
	a.got[rcpt][id] = true
}

// missing is how many senders wait for an answer.
func (a *answers) missing() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for s := range a.acked {
		if len(a.got[s]) == 0 {
			n++
		}
	}
	return n
}

// send writes from one sender after the other, two messages from each, until the connection
// breaks or ctx is done; name makes senders of its own, from the first again each time.
func (a *answers) send(ctx context.Context, addr, name string) {
	c, r, err := dial(addr)
	if err != nil {
		return
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	say := func(format string, args ...any) bool {
		if _, err := fmt.Fprintf(c, format+"\r\n", args...); err != nil {
			return false
		}
		return positive(r)
	}
	if !positive(r) || !say("HELO client.test") {
		return
	}
	for i := 0; ; i++ {
		from := fmt.Sprintf("%s-%d@sink.test", name, i/2)
		if !say("MAIL FROM:<%s>", from) || !say("RCPT TO:<away@pr.test>") || !say("DATA") ||
			!say("From: <%s>\r\nTo: <away@pr.test>\r\nSubject: are you there?\r\nMessage-ID: <%d.%s>\r\n\r\nHello?\r\n.", from, i, from) {
			return
		}
		a.mu.Lock()
		a.acked[from] = true
		a.mu.Unlock()
	}
}

// positive reads a reply and tells whether it is 2yz or 3yz.
func positive(r *bufio.Reader) bool {
	for {
		l, err := r.ReadString('\n')
		if err != nil || len(l) < 4 || l[0] != '2' && l[0] != '3' {
			return false
		}
		if l[3] != '-' {
			return true
		}
	}
}

// TestVacationOnce: whoever writes to a user who is away is answered, with one answer though
// the program is killed in between: what is remembered is in the commit of the message. The
// same senders write again after each kill. One answer may be sent twice by the queue, when
// it is killed before it could note that the next server has it (RFC 5321, 4.5.4.1).
func TestVacationOnce(t *testing.T) {
	a := &answers{got: map[string]map[string]bool{}, acked: map[string]bool{}}
	serveSink(t, vacationSinkPort, &sink{took: a.took})
	rng := rand.New(rand.NewPCG(seed(t), 2))
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: vacationHost, Name: "pr.test", Users: []string{"away"},
		Extra: fmt.Sprintf("[queue]\nretry_min = \"1s\"\n[[route]]\ndomain = \"sink.test\"\nhost = \"127.0.0.1\"\nport = %d\n", vacationSinkPort)})
	script := filepath.Join(t.TempDir(), "away.sieve")
	if err := os.WriteFile(script, []byte(`require "vacation"; vacation "I am away.";`), 0o600); err != nil {
		t.Fatal(err)
	}
	pr.Command("sieve", "put", "away", script, "--account", "away@pr.test", "--activate")
	for range cycles(2) {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for i := range vacationSenders {
			wg.Go(func() { a.send(ctx, pr.Addr(peer.PortSMTP), fmt.Sprint("s", i)) })
		}
		time.Sleep(time.Duration(200+rng.IntN(500)) * time.Millisecond)
		pr.Kill()
		cancel()
		wg.Wait()
		pr.Restart()
	}
	peer.Eventually(t, "an answer to every sender", func() bool { return a.missing() == 0 })
	peer.Eventually(t, "an empty queue", func() bool { return strings.Contains(pr.Command("queue", "list"), "empty") })
	a.mu.Lock()
	defer a.mu.Unlock()
	for s, ids := range a.got {
		if len(ids) > 1 {
			t.Errorf("%s has %d answers", s, len(ids))
		}
	}
	if len(a.acked) == 0 {
		t.Error("nobody wrote")
	}
	t.Logf("%d senders, each with one answer; %d sent again by the queue", len(a.got), a.twice)
	pr.Command("check")
}
