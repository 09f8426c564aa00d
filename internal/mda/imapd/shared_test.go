package imapd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"postroad/imap"
	"postroad/internal/directory"
	"postroad/internal/mailstore"
)

// ask sends a command and compares all that comes, lines joined, with a pattern in which
// "…" stands for any text.
func (k *client) ask(line string, want ...string) {
	k.t.Helper()
	got := k.do(line)
	tag, _, _ := strings.Cut(line, " ")
	if len(got) != len(want) {
		k.t.Fatalf("%s: got %d lines, want %d\n%s", line, len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if !matches(got[i], strings.Replace(want[i], "TAG", tag, 1)) {
			k.t.Fatalf("%s: got  %s\nwant %s", line, got[i], want[i])
		}
	}
}

// matches compares a line with a pattern.
func matches(line, pattern string) bool {
	parts := strings.Split(pattern, "…")
	if !strings.HasPrefix(line, parts[0]) {
		return false
	}
	line = line[len(parts[0]):]
	for i, p := range parts[1:] {
		if i == len(parts)-2 {
			return strings.HasSuffix(line, p)
		}
		at := strings.Index(line, p)
		if at < 0 {
			return false
		}
		line = line[at+len(p):]
	}
	return line == ""
}

// TestSharedMailbox: alice shares a mailbox with bob and cy, who work in it at once.
func TestSharedMailbox(t *testing.T) {
	w := newTown(t)
	alice, bob, cy, dave := w.login(t, "alice"), w.login(t, "bob"), w.login(t, "cy"), w.login(t, "dave")
	alice.ask("a NAMESPACE", `* NAMESPACE (("" "/")) (("Other Users/" "/")) (("Shared/" "/"))`, "TAG OK …")
	alice.ask("a CREATE Team", "TAG OK …")
	for i := range 3 {
		alice.do(fmt.Sprintf("a APPEND Team (\\Seen) <<Subject: %d\r\n\r\ntext>>", i))
	}
	bob.ask(`b LIST "" "Other Users/*"`, "TAG OK …")
	alice.ask("a SETACL Team $sales lrs", "TAG OK …")
	alice.ask("a SETACL Team cy@d.test +wite", "TAG OK …")
	alice.ask("a SETACL Team -cy e", "TAG OK …")
	alice.ask("a SETACL Team nobody@d.test l", "TAG NO There is no such user or group here")
	alice.ask("a SETACL Team $bob l", "TAG NO There is no such user or group here")
	alice.ask("a SETACL Team alice lr", "TAG NO [NOPERM] …")
	alice.ask("a GETACL Team", `* ACL Team alice@d.test lrswipkxtecda cy@d.test wited $sales@d.test lrs -cy@d.test ed`, "TAG OK …")
	alice.ask("a LISTRIGHTS Team bob", `* LISTRIGHTS Team bob "" l r s w i p k x t e a c d`, "TAG OK …")
	alice.ask("a LISTRIGHTS Team alice", `* LISTRIGHTS Team alice lrswipkxteacd`, "TAG OK …")
	bob.ask(`b LIST "" "Other Users/*"`, `* LIST (\HasNoChildren) "/" "Other Users/alice@d.test/Team"`, "TAG OK …")
	dave.ask(`d LIST "" "Other Users/*"`, "TAG OK …")
	const team = `"Other Users/alice@d.test/Team"`
	bob.ask("b MYRIGHTS "+team, "* MYRIGHTS "+team+" lrs", "TAG OK …")
	cy.ask("c MYRIGHTS "+team, "* MYRIGHTS "+team+" lrswitd", "TAG OK …")

	// The owner read all of it; bob and cy nothing yet.
	alice.ask("a STATUS Team (MESSAGES UNSEEN)", "* STATUS Team (MESSAGES 3 UNSEEN 0)", "TAG OK …")
	bob.ask("b STATUS "+team+" (MESSAGES UNSEEN)", "* STATUS "+team+" (MESSAGES 3 UNSEEN 3)", "TAG OK …")
	got := bob.do("b SELECT " + team)
	for _, want := range []string{`* OK [PERMANENTFLAGS (\Seen)] …`, "* OK [UNSEEN 1] …", "* 3 EXISTS", "b OK [READ-ONLY] …"} {
		if !slices.ContainsFunc(got, func(l string) bool { return matches(l, want) }) {
			t.Errorf("bob's SELECT without %q:\n%s", want, strings.Join(got, "\n"))
		}
	}
	got = cy.do("c SELECT " + team)
	for _, want := range []string{`* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] …`, "c OK [READ-WRITE] …"} {
		if !slices.ContainsFunc(got, func(l string) bool { return matches(l, want) }) {
			t.Errorf("cy's SELECT without %q:\n%s", want, strings.Join(got, "\n"))
		}
	}
	bob.ask("b STORE 2 +FLAGS (\\Seen)", `* 2 FETCH (FLAGS (\Seen)…)`, "TAG OK …")
	cy.ask("c FETCH 1:3 FLAGS", "* 1 FETCH (FLAGS ())", "* 2 FETCH (FLAGS ())", "* 3 FETCH (FLAGS ())", "TAG OK …")
	bob.ask("b FETCH 1 BODY[TEXT]", `* 1 FETCH (FLAGS (\Seen) BODY[TEXT] {4}`, "text)", "TAG OK …")
	bob.ask("b STORE 1 +FLAGS (\\Flagged)", "TAG NO [NOPERM] …")
	bob.ask("b STORE 1 FLAGS (\\Flagged)", "TAG NO [NOPERM] …")
	bob.ask("b SEARCH UNSEEN", "* SEARCH 3", "TAG OK …")

	// What cy flags all see; that he has read it nobody does.
	bob.send("b IDLE")
	bob.want("idle", "+ …")
	cy.ask("c STORE 3 FLAGS (\\Flagged \\Seen $work)", `* FLAGS …`, "* OK [PERMANENTFLAGS …", `* 3 FETCH (FLAGS (\Seen \Flagged $work)…)`, "TAG OK …")
	bob.want("idle", `* FLAGS (\Answered \Flagged \Deleted \Seen \Draft $work)`)
	bob.want("idle", `* OK [PERMANENTFLAGS (\Seen)…`)
	bob.want("idle", `* 3 FETCH (FLAGS (\Flagged $work)…)`)
	bob.send("DONE")
	bob.want("done", "b OK …")
	alice.do("a SELECT Team")
	alice.ask("a FETCH 3 FLAGS", `* 3 FETCH (FLAGS (\Seen \Flagged $work))`, "TAG OK …")
	cy.ask("c STORE 1 +FLAGS (\\Deleted)", `* 1 FETCH (FLAGS (\Deleted)…)`, "TAG OK …")
	cy.ask("c EXPUNGE", "TAG NO [NOPERM] …")
	cy.ask("c CLOSE", "TAG OK …")
	alice.ask("a EXPUNGE", "* 1 EXPUNGE", "TAG OK …")
	bob.ask("b NOOP", "* 1 EXPUNGE", "TAG OK …")
	bob.ask("b STATUS "+team+" (UNSEEN)", "* STATUS "+team+" (UNSEEN 1)", "TAG OK …")

	// bob is a member no more: his session ends.
	_, err := w.directory.ChangeExpander(t.Context(), at("sales@d.test"), func(x *directory.Expander) error { x.Members = x.Members[1:]; return nil })
	if err != nil {
		t.Fatal(err)
	}
	bob.ask("b NOOP", "* BYE …")
	bob = w.login(t, "bob")
	bob.ask("b SELECT "+team, "TAG NO [NONEXISTENT] …")
	alice.ask("a DELETEACL Team cy", "TAG OK …")
	cy.ask("c MYRIGHTS "+team, "* MYRIGHTS "+team+" lrs", "TAG OK …")
}

// TestBetweenAccounts: mail goes by COPY, MOVE and APPEND into somebody else's mailbox and
// back, with the flags that the rights there allow.
func TestBetweenAccounts(t *testing.T) {
	w := newTown(t)
	w.grant(t, "alice", "In", "bob", letters("lrsi"))
	w.grant(t, "alice", "All", "bob", imap.RightsAll)
	const in, all = `"Other Users/alice@d.test/In"`, `"Other Users/alice@d.test/All"`
	alice, bob := w.login(t, "alice"), w.login(t, "bob")
	for i := range 4 {
		bob.do(fmt.Sprintf("b APPEND INBOX (\\Seen \\Flagged k) <<Subject: %d\r\n\r\n>>", i))
	}
	bob.do("b SELECT INBOX")
	bob.ask("b COPY 1:2 "+in, "TAG OK [COPYUID … 1:2 1:2] …")
	bob.ask("b MOVE 1:2 "+all, "* OK [COPYUID … 1:2 1:2] …", "* 2 EXPUNGE", "* 1 EXPUNGE", "TAG OK …")
	bob.ask("b COPY 1 \""+theBox+"\"", "TAG NO [TRYCREATE] …")
	bob.ask("b APPEND "+in+" (\\Seen \\Deleted) <<Subject: appended\r\n\r\n>>", "TAG OK [APPENDUID … 3] …")

	alice.do("a SELECT In")
	alice.ask("a FETCH 1:* FLAGS", "* 1 FETCH (FLAGS ())", "* 2 FETCH (FLAGS ())", "* 3 FETCH (FLAGS ())", "TAG OK …")
	alice.do("a SELECT All")
	alice.ask("a FETCH 1:* FLAGS", `* 1 FETCH (FLAGS (\Flagged k))`, `* 2 FETCH (FLAGS (\Flagged k))`, "TAG OK …")
	bob.do("b SELECT " + in)
	bob.ask("b FETCH 1:* FLAGS", `* 1 FETCH (FLAGS (\Seen))`, `* 2 FETCH (FLAGS (\Seen))`, `* 3 FETCH (FLAGS (\Seen))`, "TAG OK …")

	// Within alice's account, and home again.
	bob.ask("b COPY 3 "+all, "TAG OK [COPYUID … 3 3] …")
	bob.do("b SELECT " + all)
	bob.ask("b MOVE 1:3 INBOX", "* OK [COPYUID … 1:3 5:7] …", "* 3 EXPUNGE", "* 2 EXPUNGE", "* 1 EXPUNGE", "TAG OK …")
	bob.do("b SELECT INBOX")
	bob.ask("b FETCH 3:* FLAGS", `* 3 FETCH (FLAGS (\Seen \Flagged k))`, `* 4 FETCH (FLAGS (\Seen \Flagged k))`, `* 5 FETCH (FLAGS (\Seen))`, "TAG OK …")
}

// TestHiddenChild: names that are taken by mailboxes that the user may not look up, beside
// one that he may.
func TestHiddenChild(t *testing.T) {
	w := newTown(t)
	w.grant(t, "alice", "Work", "bob", letters("lrkx"))
	bob := w.login(t, "bob")
	const work = `"Other Users/alice@d.test/Work`
	bob.ask("b CREATE "+work+`/open"`, "TAG OK …")
	w.grant(t, "alice", "Work/secret", "bob", letters(""))
	w.grant(t, "alice", "Work/open/secret", "bob", letters(""))
	bob.ask("b LIST \"\" "+work+`/*"`, `* LIST (\HasNoChildren) "/" `+work+`/open"`, "TAG OK …")
	bob.ask("b CREATE "+work+`/open"`, "TAG NO [ALREADYEXISTS] …")
	bob.ask("b CREATE "+work+`/secret"`, "TAG NO [NOPERM] …")
	bob.ask("b CREATE "+work+`/secret/below"`, "TAG NO [NOPERM] …")
	bob.ask("b RENAME "+work+`/open" `+work+`/secret"`, "TAG NO [NOPERM] …")
	bob.ask("b DELETE "+work+`/secret"`, "TAG NO [NONEXISTENT] …")
	bob.ask("b DELETE "+work+`/open"`, "TAG NO [NOPERM] …")
	bob.ask("b DELETE "+work+`"`, "TAG NO [HASCHILDREN] …")
}

// TestOrganisationQuota: GETQUOTAROOT shows the organisation's quota once it has one.
func TestOrganisationQuota(t *testing.T) {
	w := newTown(t)
	alice := w.login(t, "alice")
	alice.ask("a GETQUOTAROOT INBOX", "* QUOTAROOT INBOX", "TAG OK …")
	alice.ask("a GETQUOTA Organisation", "TAG NO [NONEXISTENT] …")
	if err := w.account(t, "alice").JoinPool(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if err := w.account(t, "bob").JoinPool(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	alice.ask("a GETQUOTAROOT INBOX", "* QUOTAROOT INBOX", "TAG OK …")
	if err := w.store.SetPool(t.Context(), "acme", mailstore.Quota{Bytes: 1 << 20, Messages: 10}); err != nil {
		t.Fatal(err)
	}
	alice.ask("a APPEND INBOX <<x\r\n\r\n>>", "TAG OK …")
	w.login(t, "bob").ask("b APPEND INBOX <<x\r\n\r\n>>", "TAG OK …")
	alice.ask("a GETQUOTAROOT INBOX", "* QUOTAROOT INBOX Organisation", "* QUOTA Organisation (STORAGE 1 1024 MESSAGE 2 10)", "TAG OK …")
	alice.ask("a GETQUOTA Organisation", "* QUOTA Organisation (STORAGE 1 1024 MESSAGE 2 10)", "TAG OK …")
	alice.ask("a SETQUOTA Organisation (STORAGE 99999)", "TAG BAD …")
}

// TestTreeOfOthers: CREATE, RENAME, DELETE, SUBSCRIBE in other namespaces, and the public
// one.
func TestTreeOfOthers(t *testing.T) {
	w := newTown(t)
	w.grant(t, "alice", "Work", "bob", letters("lrkx"))
	w.grant(t, "public", "News", imap.ACLAnyone, letters("lrs"))
	alice, bob, dave := w.login(t, "alice"), w.login(t, "bob"), w.login(t, "dave")
	const work = `"Other Users/alice@d.test/Work`
	bob.ask("b CREATE "+work+`/a/b"`, "TAG OK …")
	bob.ask("b MYRIGHTS "+work+`/a/b"`, "* MYRIGHTS "+work+`/a/b" lrkxc`, "TAG OK …")
	bob.ask("b CREATE "+work+`/x" (USE (\Junk))`, "TAG NO [USEATTR] …")
	bob.ask("b RENAME "+work+`/a/b" `+work+`/b"`, "TAG OK …")
	bob.ask("b RENAME "+work+`/b" Mine`, "TAG NO [CANNOT] …")
	bob.ask("b RENAME "+work+`/b" "Other Users/alice@d.test/Top"`, "TAG NO [NOPERM] …")
	bob.ask("b DELETE "+work+`/a"`, "TAG OK …")
	bob.ask(`b CREATE "Other Users/alice@d.test/Top"`, "TAG NO [NOPERM] …")
	bob.ask(`b CREATE "Shared/Top"`, "TAG NO [NOPERM] …")
	bob.ask(`b CREATE Shared`, "TAG NO [NOPERM] …")
	bob.ask(`b CREATE Sharedness`, "TAG OK …")
	bob.ask("b SUBSCRIBE "+work+`/b"`, "TAG OK …")
	bob.ask(`b SUBSCRIBE Shared/News`, "TAG OK …")
	bob.ask(`b SUBSCRIBE Shared/None`, "TAG OK …")
	bob.ask(`b LSUB "" "Other*"`, `* LSUB () "/" "Other Users/alice@d.test/Work/b"`, "TAG OK …")
	bob.ask(`b LIST (SUBSCRIBED) "" "Shared/*"`, `* LIST (\Subscribed \HasNoChildren) "/" Shared/News`,
		`* LIST (\NonExistent \Subscribed \HasNoChildren) "/" Shared/None`, "TAG OK …")
	alice.ask(`a LIST "" Work/*`, `* LIST (\HasNoChildren) "/" Work/b`, "TAG OK …")
	dave.ask(`d LIST "" "*/*"`, `* LIST (\HasNoChildren) "/" Shared/News`, "TAG OK …")
	dave.ask(`d LIST "" %`, `* LIST …INBOX`, `* LIST …Archive`, `* LIST …Drafts`, `* LIST …Junk`, `* LIST …Sent`,
		`* LIST (\Noselect \HasChildren) "/" Shared`, `* LIST …Trash`, "TAG OK …")
	dave.ask("d GETACL Shared/News", "TAG NO [NOPERM] …")
	got := dave.do("d SELECT Shared/News")
	if last := got[len(got)-1]; !matches(last, "d OK [READ-ONLY] …") {
		t.Error(last)
	}
	dave.ask("d APPEND Shared/News <<x\r\n\r\n>>", "TAG NO [NOPERM] …")

	w.grant(t, "public", "News", "bob", letters("a"))
	bob.ask("b GETACL Shared/News", "* ACL Shared/News bob@d.test a anyone lrs", "TAG OK …")
	bob.ask("b SETACL Shared/News anyone +ip", "TAG OK …")
	dave.ask("d APPEND Shared/News <<x\r\n\r\n>>", "* 1 EXISTS", "* 0 RECENT", "TAG OK [APPENDUID …] …")
}
