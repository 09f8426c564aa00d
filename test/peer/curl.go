package peer

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Messages returns the messages of a user's mailbox as curl fetches them over IMAP, in
// their order. user is a local part or a whole address.
func (p *Postroad) Messages(t testing.TB, user, mailbox string) []string {
	t.Helper()
	out := p.curl(t, user, "", "STATUS "+mailbox+" (MESSAGES)")
	m := statusMessages.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("STATUS %s: %q", mailbox, out)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for i := 1; i <= n; i++ {
		all = append(all, p.curl(t, user, fmt.Sprintf("%s;MAILINDEX=%d", mailbox, i), ""))
	}
	return all
}

var statusMessages = regexp.MustCompile(`MESSAGES (\d+)`)

// IMAP runs one command in a mailbox through curl and returns the untagged responses.
func (p *Postroad) IMAP(t testing.TB, user, mailbox, command string) string {
	t.Helper()
	return p.curl(t, user, mailbox, command)
}

func (p *Postroad) curl(t testing.TB, user, path, command string) string {
	t.Helper()
	if !strings.Contains(user, "@") {
		user += "@" + p.Domain
	}
	args := []string{"curl", "-sS", "--max-time", "20", "-u", user + ":" + Password, "imap://" + p.Addr(PortIMAP) + "/" + path}
	if command != "" {
		args = append(args, "-X", command)
	}
	return Run(t, args...)
}

// WaitMessages waits until a user's mailbox has n messages and returns them.
func (p *Postroad) WaitMessages(t testing.TB, user, mailbox string, n int) []string {
	t.Helper()
	var all []string
	Eventually(t, fmt.Sprintf("%d messages in %s of %s", n, mailbox, user), func() bool {
		all = p.Messages(t, user, mailbox)
		return len(all) >= n
	})
	if len(all) != n {
		t.Fatalf("%d messages in %s of %s, not %d", len(all), mailbox, user, n)
	}
	return all
}
