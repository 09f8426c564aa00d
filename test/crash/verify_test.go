package crash

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
)

// look reads a whole account as a client does, and checks each message against its sum.
func look(t *testing.T, addr, user string) boxes {
	t.Helper()
	c, err := dialIMAP(addr, user)
	if err != nil {
		t.Fatalf("log in as %s: %v", user, err)
	}
	defer c.c.Close()
	list := must(t, c, `LIST "" *`)
	all := boxes{}
	for _, l := range list {
		if name, ok := listed(l); ok {
			all[name] = lookBox(t, c, user, name)
		}
	}
	return all
}

// must runs a command that may not fail.
func must(t *testing.T, c *imapConn, format string, args ...any) []string {
	t.Helper()
	all, err := c.command(format, args...)
	if err != nil {
		t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
	return all
}

// listed is the name of a LIST response.
func listed(line string) (string, bool) {
	if !strings.HasPrefix(line, "* LIST ") {
		return "", false
	}
	f := strings.Fields(line)
	return strings.Trim(f[len(f)-1], `"`), true
}

func lookBox(t *testing.T, c *imapConn, user, name string) *box {
	t.Helper()
	b := &box{mail: map[uint32]mail{}}
	for _, l := range must(t, c, "SELECT %s", name) {
		for _, v := range []struct {
			code string
			to   *uint32
		}{{"UIDVALIDITY", &b.validity}, {"UIDNEXT", &b.uidNext}} {
			if _, rest, ok := strings.Cut(l, "["+v.code+" "); ok {
				fmt.Sscanf(rest, "%d", v.to)
			}
		}
	}
	for _, l := range must(t, c, "UID FETCH 1:* (FLAGS BODY.PEEK[])") {
		if !strings.Contains(l, " FETCH (") {
			continue
		}
		uid, flags, octets := fetched(l)
		m, err := proved(octets)
		if err != nil {
			t.Errorf("%s, %s, UID %d: %v", user, name, uid, err)
		}
		if _, twice := b.mail[uid]; twice {
			t.Errorf("%s, %s: UID %d twice", user, name, uid)
		}
		b.mail[uid] = mail{name: m, flags: flags}
	}
	return b
}

// fetched takes a FETCH response apart.
func fetched(l string) (uid uint32, flags, octets string) {
	if _, rest, ok := strings.Cut(l, "UID "); ok {
		fmt.Sscanf(rest, "%d", &uid)
	}
	if _, rest, ok := strings.Cut(l, "FLAGS ("); ok {
		f := strings.Fields(rest[:strings.IndexByte(rest, ')')])
		f = slices.DeleteFunc(f, func(s string) bool { return s == `\Recent` })
		sort.Strings(f)
		flags = strings.Join(f, " ")
	}
	if open := strings.Index(l, "}\r\n"); open >= 0 {
		var n int
		fmt.Sscanf(l[strings.LastIndexByte(l[:open], '{')+1:], "%d", &n)
		octets = l[open+3 : open+3+n]
	}
	return uid, flags, octets
}

// history remembers what a UID named, to see that none is used twice.
type history map[string]string

// check notes every UID of an account.
func (h history) check(t *testing.T, user string, now boxes) {
	t.Helper()
	for name, b := range now {
		for uid, m := range b.mail {
			key := fmt.Sprintf("%s/%d/%d", user, b.validity, uid)
			if had, ok := h[key]; ok && had != m.name {
				t.Errorf("%s, %s: UID %d was %s and is %s", user, name, uid, had, m.name)
			}
			h[key] = m.name
			if uid >= b.uidNext {
				t.Errorf("%s, %s: UID %d though UIDNEXT is %d", user, name, uid, b.uidNext)
			}
		}
	}
}

// verify compares what is there with what was acknowledged; what the command in doubt may
// have done is allowed, whole where it must be whole.
func (w *worker) verify(t *testing.T, now boxes) {
	t.Helper()
	d, want := w.doubt, w.known.clone()
	w.resolveNames(now, want)
	for name, b := range now {
		was, ok := want[name]
		if !ok {
			t.Errorf("%s: mailbox %s from nowhere", w.user, name)
			continue
		}
		if was.validity != 0 && was.validity != b.validity {
			t.Errorf("%s, %s: UIDVALIDITY was %d and is %d", w.user, name, was.validity, b.validity)
		}
	}
	for name, b := range want {
		got, ok := now[name]
		if !ok {
			t.Errorf("%s: mailbox %s is lost", w.user, name)
			continue
		}
		w.compare(t, name, b, got, d)
	}
	w.checkWhole(t, now, want, d)
	w.known, w.doubt = now, doubt{}
}

// resolveNames puts a CREATE or RENAME in doubt into want, if it happened.
func (w *worker) resolveNames(now, want boxes) {
	switch w.doubt.op {
	case "create":
		if b, ok := now[w.doubt.to]; ok && want[w.doubt.to] == nil {
			want[w.doubt.to] = &box{b.validity, b.uidNext, map[uint32]mail{}}
		}
	case "rename":
		if now[w.doubt.to] != nil && now[w.doubt.from] == nil {
			want[w.doubt.to] = want[w.doubt.from]
			delete(want, w.doubt.from)
		}
	}
}

// compare checks each message of a mailbox.
func (w *worker) compare(t *testing.T, name string, want, got *box, d doubt) {
	t.Helper()
	for uid, m := range want.mail {
		touched := d.from == name && slices.Contains(d.uids, uid)
		x, ok := got.mail[uid]
		switch {
		case !ok && touched && (d.op == "move" || d.op == "expunge"):
		case !ok:
			t.Errorf("%s, %s: UID %d (%s) is lost", w.user, name, uid, m.name)
		case x.name != m.name:
			t.Errorf("%s, %s: UID %d is %s, not %s", w.user, name, uid, x.name, m.name)
		case x.flags == m.flags:
		case touched && d.op == "store" && x.flags == change(m.flags, d.flag):
		default:
			t.Errorf("%s, %s: UID %d (%s) has %q, not %q", w.user, name, uid, m.name, x.flags, m.flags)
		}
	}
	for uid, x := range got.mail {
		if _, ok := want.mail[uid]; ok {
			continue
		}
		if !(d.to == name && (d.op == "append" && d.message == x || d.op == "copy" || d.op == "move")) {
			t.Errorf("%s, %s: UID %d (%s) from nowhere", w.user, name, uid, x.name)
		}
	}
}

// checkWhole checks what must not be half done: COPY is all or nothing, a moved message is
// in exactly one place.
func (w *worker) checkWhole(t *testing.T, now, want boxes, d doubt) {
	t.Helper()
	if d.op != "copy" && d.op != "move" || now[d.from] == nil || now[d.to] == nil {
		return
	}
	arrived := map[string]int{}
	added := 0
	for uid, x := range now[d.to].mail {
		if _, ok := want[d.to].mail[uid]; !ok {
			arrived[x.name]++
			added++
		}
	}
	if d.op == "copy" && added != 0 && added != len(d.uids) {
		t.Errorf("%s: COPY of %d messages made %d", w.user, len(d.uids), added)
	}
	if d.op != "move" {
		return
	}
	for _, uid := range d.uids {
		m := want[d.from].mail[uid]
		_, here := now[d.from].mail[uid]
		if there := arrived[m.name] > 0; here == there {
			t.Errorf("%s: MOVE of %s from %s to %s: in the one %v, in the other %v", w.user, m.name, d.from, d.to, here, there)
		}
	}
}

// verify checks that every acknowledged delivery is in its mailbox, and counts copies.
func (in *inbound) verify(t *testing.T, found map[string]map[string]int) (duplicates int) {
	t.Helper()
	for name, to := range in.acked {
		for _, r := range to {
			if found[r][name] == 0 {
				t.Errorf("%s for %s was acknowledged and is lost", name, r)
			}
		}
	}
	for r, names := range found {
		for name, n := range names {
			if !in.sent[name] {
				t.Errorf("%s has %s, which nobody sent", r, name)
			}
			duplicates += n - 1
		}
	}
	return duplicates
}
