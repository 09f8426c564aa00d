package imapserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postroad/imap"
)

// newFull starts a server whose session serves every extension, logs in and selects INBOX.
func newFull(t testing.TB, store *fakeStore) *wire {
	w := newWire(t, store, func(o *Options) {
		o.NewSession = func(context.Context, *Conn) (Session, error) {
			return &fullSession{&fakeSession{store: store}}, nil
		}
	})
	w.logIn()
	w.send("s SELECT INBOX\r\n")
	w.until("s OK")
	return w
}

// until reads lines up to one that begins so, and returns all of them.
func (w *wire) until(start string) []string {
	w.t.Helper()
	var lines []string
	for {
		l := w.line()
		if l == "" {
			w.t.Fatalf("closed before %q, after %.1000q", start, lines)
		}
		if lines = append(lines, strings.TrimSuffix(l, "\r\n")); strings.HasPrefix(l, start) {
			return lines
		}
	}
}

// orderOnly serves one interface besides a Session's own.
type orderOnly struct {
	*fakeSession
	Orderer
}

// noIndex is a FuzzySearcher that has no index, and a Quoter without resources.
type noIndex struct{ *fullSession }

func (noIndex) SearchesFuzzily() bool                { return false }
func (noIndex) QuotaResources() []imap.QuotaResource { return nil }

// TestExtensionCapabilities tells a capability if and only if the session serves it.
func TestExtensionCapabilities(t *testing.T) {
	const ordered = "SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS"
	store := newFakeStore()
	full := &fullSession{&fakeSession{store: store}}
	for _, test := range []struct {
		name    string
		session Session
		want    string
	}{
		{"none", full.fakeSession, ""},
		{"Orderer", orderOnly{full.fakeSession, full}, ordered},
		{"Orderer and ContextSearcher", struct {
			*fakeSession
			Orderer
			ContextSearcher
		}{full.fakeSession, full, full}, ordered + " CONTEXT=SEARCH CONTEXT=SORT"},
		{"ContextSearcher", struct {
			*fakeSession
			ContextSearcher
		}{full.fakeSession, full}, "CONTEXT=SEARCH"},
		{"MultiSearcher", struct {
			*fakeSession
			MultiSearcher
		}{full.fakeSession, full}, "MULTISEARCH"},
		{"ACLer", struct {
			*fakeSession
			ACLer
		}{full.fakeSession, full}, "ACL RIGHTS=kxte LIST-MYRIGHTS"},
		{"Quoter", struct {
			*fakeSession
			Quoter
		}{full.fakeSession, full}, "QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE"},
		{"QuotaSetter", struct {
			*fakeSession
			QuotaSetter
		}{full.fakeSession, full}, "QUOTA QUOTASET QUOTA=RES-STORAGE QUOTA=RES-MESSAGE"},
		{"Annotator", struct {
			*fakeSession
			Annotator
		}{full.fakeSession, full}, "METADATA METADATA-SERVER LIST-METADATA"},
		{"no index, no resources", noIndex{full}, ordered + " CONTEXT=SEARCH CONTEXT=SORT MULTISEARCH ACL " +
			"RIGHTS=kxte LIST-MYRIGHTS QUOTA QUOTASET METADATA METADATA-SERVER LIST-METADATA"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWire(t, store, func(o *Options) {
				o.NewSession = func(context.Context, *Conn) (Session, error) { return test.session, nil }
			})
			_, told, _ := strings.Cut(w.line(), " PARTIAL ")
			told, _, _ = strings.Cut(told, "APPENDLIMIT=")
			if told = strings.TrimSpace(told); told != test.want {
				t.Errorf("told %q, want %q", told, test.want)
			}
		})
	}
}

// TestContextsLimit makes one update context more than there may be.
func TestContextsLimit(t *testing.T) {
	w := newFull(t, newFakeStore())
	for i := range ContextsMax {
		w.send(fmt.Sprintf("t%d SEARCH RETURN (UPDATE) ALL\r\n", i))
		w.expect(fmt.Sprintf("t%d OK SEARCH completed", i))
	}
	w.send("more SEARCH RETURN (UPDATE COUNT) ALL\r\n")
	w.expect(`* ESEARCH (TAG "more") COUNT 0`)
	w.expect(`* NO [NOUPDATE "more"] Too many contexts`)
	w.expect("more OK SEARCH completed")
	w.send("c CANCELUPDATE t0 \"t0\"\r\n")
	w.expect("c OK CANCELUPDATE completed")
	w.send("more SEARCH RETURN (UPDATE) ALL\r\n")
	w.expect("more OK SEARCH completed")
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if got := strings.Join(w.store.cancelled, " "); got != "t0" {
		t.Errorf("cancelled %q", got)
	}
}

// TestContextTag has tags that are too long to be kept, and one that is not.
func TestContextTag(t *testing.T) {
	w := newFull(t, newFakeStore())
	long := strings.Repeat("t", contextTagBytesMax+1)
	for _, command := range []string{"SEARCH RETURN (UPDATE) ALL", "SORT RETURN (UPDATE) (SIZE) UTF-8 ALL", "ESEARCH IN (inboxes) RETURN (UPDATE) ALL"} {
		w.send(long + " " + command + "\r\n")
		w.expect(long + " BAD Syntax error: tag too long for UPDATE at octet …")
		w.send(long[1:] + " " + command + "\r\n")
		w.until(long[1:] + " OK")
		w.send("a CANCELUPDATE " + long[1:] + "\r\n")
		w.until("a ")
	}
}

// TestExtensionLimits sends commands over their limits; the connection goes on.
func TestExtensionLimits(t *testing.T) {
	many := func(n int, f func(int) string) string {
		words := make([]string, n)
		for i := range words {
			words[i] = f(i)
		}
		return strings.Join(words, " ")
	}
	name := func(i int) string { return "/shared/e" + strconv.Itoa(i) }
	for _, test := range []struct{ name, command, want string }{
		{"sort keys", "SORT (" + strings.Repeat("SIZE ", imap.SortKeysMax) + "SIZE) UTF-8 ALL", "BAD …too many sort keys…"},
		{"sort keys, few enough", "SORT (" + strings.Repeat("SIZE ", imap.SortKeysMax-1) + "SIZE) UTF-8 NOT ALL", "* SORT"},
		{"identifier", "SETACL INBOX " + strings.Repeat("x", IdentifierBytesMax+1) + " l", "BAD …not an identifier…"},
		{"identifier, short enough", "SETACL INBOX " + strings.Repeat("x", IdentifierBytesMax) + " l", "OK …"},
		{"resources", "SETQUOTA x (" + many(imap.QuotaResourcesMax+1, func(i int) string { return fmt.Sprintf("R%d 1", i) }) + ")", "BAD …too many resources…"},
		{"mailboxes", "ESEARCH IN (mailboxes (" + many(MultiSearchMailboxesMax, strconv.Itoa) + ")) ALL", "BAD …too many mailboxes…"},
		{"mailboxes, few enough", "ESEARCH IN (mailboxes (" + many(MultiSearchMailboxesMax-1, strconv.Itoa) + ")) ALL", "OK …"},
		{"sources", "ESEARCH IN (" + many(MultiSearchMailboxesMax+1, func(int) string { return "inboxes" }) + ") ALL", "BAD …too many mailboxes…"},
		{"value", "SETMETADATA INBOX (/shared/comment {" + strconv.Itoa(MetadataValueBytesMax+1) + "+}\r\n" +
			strings.Repeat("x", MetadataValueBytesMax+1) + ")", "NO [METADATA MAXSIZE 32768] Value too large"},
		{"value, small enough", "SETMETADATA INBOX (/shared/comment {" + strconv.Itoa(MetadataValueBytesMax) + "+}\r\n" +
			strings.Repeat("x", MetadataValueBytesMax) + ")", "OK …"},
		{"entries to set", "SETMETADATA INBOX (" + many(MetadataEntriesMax+1, func(i int) string { return name(i) + " NIL" }) + ")", "BAD …too many entries…"},
		{"entries to get", "GETMETADATA INBOX (" + many(MetadataEntriesMax+1, name) + ")", "BAD …too many entries…"},
		{"entries of LIST", "LIST \"\" * RETURN (METADATA (" + many(MetadataEntriesMax+1, name) + "))", "BAD …too many entries…"},
		{"entry name", "GETMETADATA INBOX /shared/" + strings.Repeat("x", imap.MetadataNameBytesMax), "BAD …not an entry name…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newFull(t, newFakeStore())
			w.send("a " + test.command + "\r\n")
			lines := w.until("a ")
			want := test.want
			if !strings.HasPrefix(want, "*") {
				want = "a " + want
			}
			if !matchLine(want, lines[0]) {
				t.Fatalf("server sent\n  %s\nwant\n  %s", lines[0], want)
			}
			w.send("b NOOP\r\n")
			w.until("b OK")
		})
	}
}

// TestLargeAnswers sends answers of a hundred thousand messages, in pieces.
func TestLargeAnswers(t *testing.T) {
	const messages = 100_000
	store := newFakeStore()
	var backwards []uint32
	var threads []imap.ThreadNode
	for n := uint32(messages); n > 0; n-- {
		backwards = append(backwards, n)
	}
	for n := uint32(1); n <= messages; n += 2 {
		threads = append(threads, imap.ThreadNode{Number: n, Children: 1}, imap.ThreadNode{Number: n + 1})
	}
	store.sorted, store.threads = backwards, threads
	join := func(numbers []uint32, separator string) string {
		words := make([]string, len(numbers))
		for i, n := range numbers {
			words[i] = strconv.Itoa(int(n))
		}
		return strings.Join(words, separator)
	}
	var listed strings.Builder
	for n := 1; n <= messages; n += 2 {
		fmt.Fprintf(&listed, "(%d %d)", n, n+1)
	}
	w := newFull(t, store)
	for _, test := range []struct{ command, want string }{
		{"UID SORT (DATE) UTF-8 ALL", "* SORT " + join(backwards, " ")},
		{"UID SORT RETURN (ALL) (DATE) UTF-8 ALL", `* ESEARCH (TAG "a") UID ALL ` + join(backwards, ",")},
		{"UID THREAD REFS UTF-8 ALL", "* THREAD " + listed.String()},
		{"UID SORT RETURN (PARTIAL -1:-50000) (DATE) UTF-8 ALL",
			`* ESEARCH (TAG "a") UID PARTIAL (-1:-50000 ` + join(backwards[messages/2:], ",") + ")"},
	} {
		w.send("a " + test.command + "\r\n")
		answer := w.line()
		w.until("a OK")
		if answer != test.want+"\r\n" {
			t.Errorf("%s: %.200q, want %.200q", test.command, answer, test.want)
		}
	}
}

// TestClientSortThread has the client of package imapclient ask.
func TestClientSortThread(t *testing.T) {
	store := newFakeStore()
	fill(store)
	c := newClient(t, store, func(o *Options) {
		o.NewSession = func(context.Context, *Conn) (Session, error) {
			return &fullSession{&fakeSession{store: store}}, nil
		}
	})
	check(t, c.Login("fred", "secret"))
	_, err := c.Select("INBOX")
	check(t, err)
	for _, test := range []struct {
		keys []imap.SortKey
		want []uint32
	}{
		{[]imap.SortKey{{By: imap.SortSize}}, []uint32{4, 1, 2}},
		{[]imap.SortKey{{By: imap.SortArrival, Reverse: true}}, []uint32{4, 2, 1}},
	} {
		got, err := c.Sort(test.keys, "ALL")
		check(t, err)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v", imap.FormatSortKeys(test.keys), got)
		}
	}
	got, err := c.Sort([]imap.SortKey{{By: imap.SortSize}}, "MODSEQ 102")
	check(t, err)
	if !slices.Equal(got, []uint32{4, 2}) {
		t.Errorf("with mod-sequences: %v", got)
	}
	threads, err := c.Thread(imap.ThreadReferences, "UNSEEN")
	check(t, err)
	if got := string(imap.AppendThreads(nil, threads)); got != "(4)(2)" {
		t.Errorf("threads %s", got)
	}
}

// TestNotSavedNotUpdated refuses a search whose result cannot be saved: the session must not
// keep it up to date either.
func TestNotSavedNotUpdated(t *testing.T) {
	store := newFakeStore()
	fill(store)
	store.sorted = make([]uint32, 0, savedRangesMax+1)
	for n := range uint32(savedRangesMax + 1) {
		store.sorted = append(store.sorted, 1+2*n)
	}
	w := newFull(t, store)
	w.send("a SORT RETURN (SAVE UPDATE) (SIZE) UTF-8 ALL\r\n")
	w.expect("a NO [NOTSAVED] The result is too large to be saved")
	store.mu.Lock()
	if got := strings.Join(store.cancelled, " "); got != "a" {
		t.Errorf("cancelled %q", got)
	}
	store.mu.Unlock()
	w.send("b CANCELUPDATE a\r\n")
	w.expect("b NO [NONEXISTENT] No search with that tag is kept up to date")
}
