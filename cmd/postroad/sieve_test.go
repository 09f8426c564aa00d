package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/internal/admin"
)

const (
	goodSieve  = "require [\"fileinto\", \"vacation\"];\nif header :contains \"subject\" \"[list]\" {\n  fileinto \"Lists\";\n} else {\n  vacation \"away\";\n}\n"
	badSieve   = "keep;\nfileinto \"x\";\n"
	wrongSieve = "require [\"fileinto\", \"variables\"];\nset \"n\" \"\";\nfileinto \"${n}\";\n"
	listMail   = "From: Ann <ann@else.test>\r\nTo: alice@example.test\r\nSubject: [list] hello\r\n\r\nbody\r\n"
	plainMail  = "Return-Path: <bob@else.test>\r\nFrom: Ann <ann@else.test>\r\nTo: alice@example.test\r\nSubject: hello\r\n\r\nbody\r\n"
)

// sieveSession is the commands of a session; words that are names of files are put in.
var sieveSession = []line{
	{"sieve check good", "", exitOK, ""},
	{"sieve check good bad", "", exitData, "bad:2:1: "},
	{"sieve check -", badSieve, exitData, "-:2:1: "},
	{"sieve check none", "", exitNoInput, "none"},
	{"sieve check", "", exitUsage, "file"},
	{"sieve check large", "", exitData, "octets"},

	{"sieve test list --script good", "", exitOK, `file into "Lists", which is not there: INBOX`},
	{"sieve test list --script good --mailbox Lists", "", exitOK, "file into \"Lists\"\n"},
	{"sieve test plain --script good", "", exitOK, "answer bob@else.test"},
	{"sieve test - --script good --from <> --to x@y.test", plainMail, exitOK, "from <> to <x@y.test>"},
	{"sieve test plain --script wrong", "", exitData, "went wrong: "},
	{"sieve test plain --script bad", "", exitData, "bad:2:1: "},
	{"sieve test plain --script good --to nonsense", "", exitData, "nonsense"},
	{"sieve test plain", "", exitUsage, "--account"},
	{"sieve test - --script -", "", exitUsage, "standard input"},
	{"sieve test --script good", "", exitUsage, "message"},
	{"sieve test --script good --replay 7d", "", exitUsage, "--account"},

	{"sieve put main good --account alice@example.test", "", exitOK, "It runs: no"},
	{"sieve list --account alice@example.test", "", exitOK, "main  no"},
	{"sieve activate main --account alice@example.test", "", exitOK, "main runs"},
	{"sieve list --account alice@example.test", "", exitOK, "main  yes"},
	{"sieve show --account alice@example.test", "", exitOK, goodSieve},
	{"sieve show main --account alice@example.test", "", exitOK, goodSieve},
	{"sieve show none --account alice@example.test", "", exitNoUser, "no such script"},
	{"sieve put main bad --account alice@example.test", "", exitData, "bad:2:1: "},
	{"sieve put main good --account nobody@example.test", "", exitNoUser, "nobody"},
	{"sieve put main good", "", exitUsage, "--account"},
	{"sieve put main good --account alice@example.test --everybody", "", exitUsage, ""},
	{"sieve put main good --account alice@example.test --before 1", "", exitUsage, "--activate"},
	{"sieve put main good --everybody --activate", "", exitUsage, "--before"},
	{"sieve put site good --organisation none --before 1", "", exitNoUser, "none"},
	{"sieve remove main --account alice@example.test", "", exitData, "active"},

	{"sieve test list --account alice@example.test", "", exitOK, "script main\n"},
	{"sieve test plain --account alice@example.test", "", exitOK, "to <alice@example.test>"},
	{"sieve test plain --account alice@example.test --script wrong", "", exitData, "went wrong: "},
	{"sieve test plain --account alice@example.test --mailbox x", "", exitUsage, "--mailbox"},
	{"sieve test plain --account alice@example.test --replay 7d", "", exitUsage, "--replay"},
	{"sieve test --account alice@example.test --replay 7d", "", exitOK, "0 messages"},
	{"sieve test --account alice@example.test --replay soon", "", exitUsage, "soon"},

	{"sieve event main --account alice@example.test --mailbox Junk", "", exitOK, "set"},
	{"sieve event none --account alice@example.test", "", exitNoUser, "no such script"},
	{"sieve event main --account alice@example.test --unset", "", exitUsage, "--unset"},
	{"sieve event --account alice@example.test --unset", "", exitOK, "set"},

	{"sieve put site good --everybody --before 10", "", exitOK, "It runs: yes"},
	{"sieve list --everybody", "", exitOK, "before 10"},
	{"sieve activate site --everybody --after 3", "", exitOK, "site runs"},
	{"sieve list --everybody", "", exitOK, "after 3"},
	{"sieve activate site --everybody", "", exitUsage, "--before"},
	{"sieve deactivate --everybody", "", exitUsage, "name"},
	{"sieve deactivate site --everybody", "", exitOK, "no more"},
	{"sieve remove site --everybody", "", exitOK, "removed"},
	{"sieve deactivate --account alice@example.test", "", exitOK, "no more"},
	{"sieve show --account alice@example.test", "", exitNoUser, "active"},
	{"sieve remove main --account alice@example.test", "", exitOK, "removed"},
}

// TestSieveSession runs the commands without a server, as TestSession does.
func TestSieveSession(t *testing.T) {
	config, data := home(t)
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{"good": goodSieve, "bad": badSieve, "wrong": wrongSieve, "list": listMail, "plain": plainMail,
		"large": strings.Repeat("#", 1_000_001), "none": ""}
	for name, text := range files {
		if name == "none" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "", exitOK, "-c", config, "domain", "add", "example.test")
	command(t, "", exitOK, "-c", config, "account", "add", "alice@example.test", "--generate")
	for _, l := range sieveSession {
		words := strings.Fields(l.args)
		for i, w := range words {
			_, is := files[w]
			if is && i > 1 && (words[1] == "check" || words[i-1] == "--script" || words[1] == "test" && i == 2 || words[1] == "put" && i == 3) {
				words[i] = filepath.Join(dir, w)
			}
		}
		out, e := command(t, l.in, l.code, append([]string{"-c", config}, words...)...)
		if !strings.Contains(out+e, l.want) {
			t.Errorf("postroad %s: no %q in\n%s%s", l.args, l.want, out, e)
		}
	}
	out, _ := command(t, "", exitData, "--json", "-c", config, "sieve", "check", filepath.Join(dir, "bad"))
	var faults []sieveFault
	if err := json.Unmarshal([]byte(out), &faults); err != nil || len(faults) != 1 || faults[0].Line != 2 {
		t.Errorf("%v: %s", err, out)
	}
	out, _ = command(t, "", exitOK, "--json", "-c", config, "sieve", "test", filepath.Join(dir, "list"), "--script", filepath.Join(dir, "good"))
	var tested admin.SieveTested
	if err := json.Unmarshal([]byte(out), &tested); err != nil || len(tested.Steps) == 0 || tested.Actions[0].Action != "fileinto" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestReplayLine(t *testing.T) {
	m := &admin.SieveReplayedMessage{Arrived: time.Unix(0, 0), Mailbox: "INBOX", From: "a@b.test", Subject: "x\x1b[2J\ny" + strings.Repeat("z", 100),
		Actions: []admin.SieveAction{{Action: "redirect", To: "c@d.test"}, {Action: "keep", Flags: []string{`\Seen`}}}, Faults: []string{"line 1: bad"}}
	want := "  <a@b.test>  x\uFFFD[2J y" + strings.Repeat("z", 32) + `…  (in INBOX)  redirect to c@d.test; keep, with \Seen; WRONG: line 1: bad`
	if got := replayLine(m); !strings.HasSuffix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
