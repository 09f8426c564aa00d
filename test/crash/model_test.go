package crash

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// text makes a message that proves itself: its name in the Subject and a checksum of the
// body in a field.
func text(name string, size int) string {
	r := rand.New(rand.NewPCG(1, uint64(len(name))*7919+uint64(size)))
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, "%s line %d of words %x\r\n", name, b.Len(), r.Uint64())
	}
	body := b.String()
	return fmt.Sprintf("From: sender@far.test\r\nTo: you@pr.test\r\nSubject: %s\r\nX-Sum: %x\r\n\r\n%s", name, sha256.Sum256([]byte(body)), body)
}

// proved returns the name of a message, or what is wrong with it.
func proved(message string) (string, error) {
	head, body, ok := strings.Cut(message, "\r\n\r\n")
	if !ok {
		return "", fmt.Errorf("no body in %.200q", message)
	}
	name, sum := "", ""
	for _, l := range strings.Split(head, "\r\n") {
		if v, ok := strings.CutPrefix(l, "Subject: "); ok {
			name = v
		}
		if v, ok := strings.CutPrefix(l, "X-Sum: "); ok {
			sum = v
		}
	}
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(body))); got != sum || name == "" {
		return name, fmt.Errorf("message %q is damaged: %s, not %s", name, got, sum)
	}
	return name, nil
}

// mail is a message as a client sees it: name and flags.
type mail struct {
	name  string
	flags string // sorted, without \Recent
}

// box is a mailbox: its messages by UID.
type box struct {
	validity uint32
	uidNext  uint32
	mail     map[uint32]mail
}

// boxes is an account: its mailboxes by name.
type boxes map[string]*box

func (b boxes) clone() boxes {
	c := boxes{}
	for name, m := range b {
		n := &box{m.validity, m.uidNext, map[uint32]mail{}}
		for uid, x := range m.mail {
			n.mail[uid] = x
		}
		c[name] = n
	}
	return c
}

// doubt is the command whose answer a worker did not get: it may have happened or not.
type doubt struct {
	op       string // append, store, copy, move, expunge, create, rename; empty: none
	from, to string // mailboxes
	uids     []uint32
	message  mail   // append
	flag     string // store: "+\Seen", "-\Seen"
}

// worker is one account with one client that changes it. Its own goroutine has it while
// the load runs, the verifier between.
type worker struct {
	user  string
	rng   *rand.Rand
	known boxes // as acknowledged
	doubt doubt
	count int // messages named so far
	acks  int // commands acknowledged
}

// inbound is what senders know of deliveries.
type inbound struct {
	mu     sync.Mutex
	acked  map[string][]string // name → recipients that were acknowledged
	sent   map[string]bool     // name → it was sent at all, acknowledged or not
	number int
}

func newInbound() *inbound { return &inbound{acked: map[string][]string{}, sent: map[string]bool{}} }

// next names a message.
func (in *inbound) next(kind string) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.number++
	name := fmt.Sprintf("%s-%06d", kind, in.number)
	in.sent[name] = true
	return name
}

func (in *inbound) ack(name string, to ...string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.acked[name] = to
}
