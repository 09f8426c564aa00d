package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"postroad/internal/admin"
	"postroad/internal/config"
	"postroad/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// home is a configuration with a data directory of its own.
func home(t *testing.T) (file, data string) {
	t.Helper()
	dir := t.TempDir()
	data = filepath.Join(dir, "data")
	file = filepath.Join(dir, "postroad.toml")
	text := fmt.Sprintf("hostname = \"mail.example.test\"\ndata_directory = %q\nuser = \"nobody\"\n[limits]\ndisk_reserve = \"1MB\"\n"+
		"[listen]\nsmtp = []\nsubmission = []\nsubmissions = []\nimap = []\nimaps = []\npop3 = []\npop3s = []\nsieve = []\nhttps = []\n", data)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, data
}

// command runs the program and returns what it printed.
func command(t *testing.T, in string, want int, args ...string) (out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	if code := run(args, strings.NewReader(in), &o, &e); code != want {
		t.Errorf("postroad %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, o.String(), e.String())
	}
	return o.String(), e.String()
}

// line is one command of a session.
type line struct {
	args string // separated by blanks
	in   string
	code int
	want string // in what it prints
}

var session = []line{
	{"domain add example.test", "", exitOK, "ours"},
	{"domain add example.test", "", exitData, "exists"},
	{"domain add other.test --alias-of example.test", "", exitOK, "ours"},
	{"domain list", "", exitOK, "other.test"},
	{"domain", "", exitOK, "other.test"},
	{"domain change example.test --separator -", "", exitOK, "changed"},
	{"account add alice@example.test a@example.test --name Alice --quota 1GB --password-stdin", "correct horse\n", exitOK, "alice@example.test"},
	{"account add bob@example.test --generate", "", exitOK, "Password: "},
	{"account add carol@example.test", "", exitUsage, "--password-stdin"},
	{"account add carol@example.test --password-stdin", "", exitData, "empty"},
	{"account add carol@example.test --password-stdin", "short\n", exitData, "password"},
	{"account add carol@example.test --generate --password-stdin", "x", exitUsage, ""},
	{"account add carol@foreign.test --generate", "", exitNoUser, "foreign.test"},
	{"account add nonsense --generate", "", exitData, "nonsense"},
	{"account add x@example.test --quota much --generate", "", exitUsage, "much"},
	{"account list", "", exitOK, "1.0 GB"},
	{"account show a@example.test", "", exitOK, "Alice"},
	{"account show nobody@example.test", "", exitNoUser, ""},
	{"account change bob@example.test --disable --quota 5MB", "", exitOK, "5.0 MB"},
	{"account change bob@example.test --enable --disable", "", exitUsage, ""},
	{"account zone bob@example.test Asia/Tokyo", "", exitOK, "Asia/Tokyo"},
	{"account zone bob@example.test Asia/Nowhere", "", exitData, "Europe/Berlin"},
	{"account zone bob@example.test", "", exitUsage, "zone"},
	{"account zone nobody@example.test UTC", "", exitNoUser, ""},
	{"account undo bob@example.test 20", "", exitOK, "20 s"},
	{"account show bob@example.test", "", exitOK, "20 s"},
	{"account undo bob@example.test 301", "", exitData, "300"},
	{"account undo bob@example.test soon", "", exitUsage, "soon"},
	{"account undo nobody@example.test 5", "", exitNoUser, ""},
	{"account undo bob@example.test 0", "", exitOK, "bob"},
	{"account password bob@example.test --hash-stdin", "{PLAIN}battery staple", exitOK, "set"},
	{"account password bob@example.test --generate", "", exitOK, "Password: "},
	{"account app-password add bob@example.test phone", "", exitOK, "Password: "},
	{"account app-password list bob@example.test", "", exitOK, "phone"},
	{"account app-password revoke bob@example.test phone", "", exitOK, "no longer"},
	{"alias add info@example.test alice@example.test", "", exitOK, "alice"},
	{"alias change info@example.test --add x@far.test", "", exitOK, "x@far.test"},
	{"alias list", "", exitOK, "x@far.test"},
	{"alias remove info@example.test", "", exitOK, "removed"},
	{"group add team@example.test alice@example.test --owner bob@example.test", "", exitOK, "alice"},
	{"group change team@example.test --remove alice@example.test --name Team", "", exitOK, "team"},
	{"group list", "", exitOK, "Team"},
	{"group remove team@example.test", "", exitOK, "removed"},
	{"group add staff@example.test bob@example.test", "", exitOK, "bob"},
	{"account grant alice@example.test bob@example.test on-behalf", "", exitOK, "on-behalf"},
	{"account grant alice@example.test $staff@example.test send-as", "", exitOK, "$staff@example.test"},
	{"account grant alice@example.test bob@example.test all", "", exitUsage, "send-as"},
	{"account revoke alice@example.test bob@example.test", "", exitOK, "WHO"},
	{"account grants alice@example.test", "", exitOK, "send-as"},
	{"acl set alice@example.test/INBOX bob@example.test lrs", "", exitOK, "lrs"},
	{"acl set alice@example.test/INBOX bob@example.test -- -s", "", exitOK, "lr\n"},
	{"acl set alice@example.test/INBOX -- -$staff@example.test w", "", exitOK, "-$staff@example.test"},
	{"acl set alice@example.test/INBOX bob@example.test q", "", exitData, "q"},
	{"acl set alice@example.test bob@example.test l", "", exitUsage, "OWNER/MAILBOX"},
	{"acl show alice@example.test/None", "", exitNoUser, "None"},
	{"acl delete alice@example.test/INBOX bob@example.test", "", exitOK, "IDENTIFIER"},
	{"acl show alice@example.test/INBOX", "", exitOK, "-$staff"},
	{"shared add News", "", exitData, "address"},
	{"shared add News --address shared@example.test", "", exitOK, "Shared/News"},
	{"shared add Offers/Old --anyone lrsp", "", exitOK, "Offers/Old"},
	{"acl set Shared/News anyone +p", "", exitOK, "lrsp"},
	{"shared list", "", exitOK, "anyone lrsp"},
	{"shared", "", exitOK, "Shared/News"},
	{"shared delete Offers/Old", "", exitUsage, "--yes"},
	{"shared delete Offers/Old --yes", "", exitOK, "deleted"},
	{"queue list", "", exitOK, "empty"},
	{"queue show nonsense", "", exitData, ""},
	{"queue retry", "", exitUsage, "--all"},
	{"queue retry x --all", "", exitUsage, "--all"},
	{"queue hold x --sender y", "", exitUsage, "--all"},
	{"queue hold --all", "", exitOK, "0 held"},
	{"queue release --all", "", exitOK, "0 released"},
	{"queue delete --all --state held", "", exitOK, "0 deleted"},
	{"trace <none@x>", "", exitNoUser, "none@x"},
	{"search rebuild", "", exitOK, "accounts,"},
	{"search rebuild alice@example.test", "", exitOK, "1 accounts"},
	{"check", "", exitOK, "0 faults"},
	{"check alice@example.test", "", exitOK, "1 accounts"},
	{"status", "", exitOK, "not serving"},
	{"account remove bob@example.test", "", exitUsage, "--yes"},
	{"account remove bob@example.test --yes", "", exitOK, "removed"},
	{"domain remove example.test", "", exitData, "in use"},
	{"config check", "", exitOK, "valid"},
	{"config show", "", exitOK, "mail.example.test"},
	{"config doc", "", exitOK, "RFC 1870"},
	{"version", "", exitOK, "postroad"},
	{"nonsense", "", exitUsage, "nonsense"},
	{"queue list --nonsense", "", exitUsage, "nonsense"},
}

// TestSession runs the commands on the store itself, without a server.
func TestSession(t *testing.T) {
	file, data := home(t)
	_, e := command(t, "", exitUnavailable, "-c", file, "domain", "list")
	if !strings.Contains(e, "postroad serve") {
		t.Errorf("without a store: %s", e)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, l := range session {
		out, e := command(t, l.in, l.code, append([]string{"-c", file}, strings.Fields(l.args)...)...)
		if !strings.Contains(out+e, l.want) {
			t.Errorf("postroad %s: no %q in\n%s%s", l.args, l.want, out, e)
		}
	}
}

// TestJSON: everything that prints a result can print it as JSON.
func TestJSON(t *testing.T) {
	file, data := home(t)
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"domain add example.test", "account add a@example.test --generate", "account list", "account show a@example.test",
		"alias list", "group list", "account grants a@example.test", "acl show a@example.test/INBOX", "shared list", "queue list", "check", "status", "version", "config check", "config show", "domain remove other.test"} {
		want := exitOK
		if strings.Contains(args, "other") {
			want = exitNoUser
		}
		out, _ := command(t, "", want, append([]string{"--json", "-c", file}, strings.Fields(args)...)...)
		var v any
		if err := json.Unmarshal([]byte(out), &v); want == exitOK && err != nil {
			t.Errorf("%s: %v in\n%s", args, err, out)
		}
	}
}

// TestByServer: the same commands ask the server while one is running.
func TestByServer(t *testing.T) {
	file, _ := home(t)
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	ls, err := server.Bind(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, c, ls, slog.New(slog.DiscardHandler), nil) }()
	// The socket is there before the store is open: the first command waits.
	command(t, "", exitOK, "-c", file, "domain", "add", "example.test")
	command(t, "", exitOK, "-c", file, "account", "add", "a@example.test", "--generate")
	if out, _ := command(t, "", exitOK, "-c", file, "status"); strings.Contains(out, "not serving") {
		t.Error(out)
	}
	if _, e := command(t, "", exitTempFail, "-c", file, "serve"); !strings.Contains(e, "running") {
		t.Error(e)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if out, _ := command(t, "", exitOK, "-c", file, "account", "list"); !strings.Contains(out, "a@example.test") {
		t.Error(out)
	}
}

func TestConfigErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(file, []byte("\nhostnam = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, e := command(t, "", exitConfig, "-c", file, "config", "check")
	if !strings.Contains(e, "x.toml:2:") || !strings.Contains(e, `"hostname"`) {
		t.Error(e)
	}
	command(t, "", exitConfig, "-c", file+"-none", "config", "check")
}

// everyCommand is the tree of commands.
func everyCommand(t *testing.T) []place {
	t.Helper()
	k, err := kong.New(new(cli), kong.Name("postroad"))
	if err != nil {
		t.Fatal(err)
	}
	return places(k.Model.Node, "", nil)
}

// TestHelp: each command has a help text with an example.
func TestHelp(t *testing.T) {
	for _, p := range everyCommand(t) {
		out, _ := command(t, "", exitOK, append(strings.Fields(p.path), "--help")...)
		if !strings.Contains(out, "Usage: postroad"+p.path) {
			t.Errorf("%s:\n%s", p.path, out)
		}
		if p.path != "" && !strings.Contains(out, "Example") {
			t.Errorf("postroad%s --help has no example", p.path)
		}
	}
}

func TestCompletion(t *testing.T) {
	for shell := range completions {
		out, _ := command(t, "", exitOK, "completion", shell)
		for _, p := range everyCommand(t) {
			if !strings.Contains(out, p.path) {
				t.Errorf("%s: no%s", shell, p.path)
			}
		}
	}
	command(t, "", exitUsage, "completion", "csh")
	script, _ := command(t, "", exitOK, "completion", "bash")
	for typed, want := range map[string]string{"postroad qu": "queue", "postroad queue re": "release retry", "postroad account app-password a": "add",
		"postroad --json domain l": "list", "postroad queue list --st": "--state"} {
		words := strings.Fields(typed)
		test := script + fmt.Sprintf("\nCOMP_WORDS=(%s); COMP_CWORD=%d; _postroad; printf '%%s\\n' \"${COMPREPLY[@]}\" | sort | xargs", typed, len(words)-1)
		out, err := exec.Command("bash", "-c", test).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %s %v", typed, out, err)
		}
	}
}

// TestManualPages holds docs/man to what the program says; `make man` brings it there.
func TestManualPages(t *testing.T) {
	for name, section := range map[string]string{"postroad.1": "1", "postroad.toml.5": "5"} {
		want, _ := command(t, "", exitOK, "man", section)
		have, err := os.ReadFile(filepath.Join("..", "..", "docs", "man", name))
		if err != nil || string(have) != want {
			t.Errorf("docs/man/%s is not current (%v): run make man", name, err)
		}
		for line := range strings.SplitSeq(want, "\n") {
			request, _, _ := strings.Cut(line, " ")
			if strings.HasPrefix(line, ".") && !slices.Contains([]string{".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".nf", ".fi"}, request) {
				t.Errorf("%s: %q is a request", name, line)
			}
		}
	}
	page, _ := command(t, "", exitOK, "man", "1")
	for _, p := range everyCommand(t) {
		if !strings.Contains(page, roff(p.path)) {
			t.Errorf("postroad.1 has no%s", p.path)
		}
	}
	if roff(".x\\y-z") != `\&.x\ey\-z` {
		t.Error(roff(".x\\y-z"))
	}
	command(t, "", exitUsage, "man", "7")
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{&admin.Error{Code: admin.NotFound}, exitNoUser}, {&admin.Error{Code: admin.Temporary}, exitTempFail},
		{&config.Error{}, exitConfig}, {fmt.Errorf("x: %w", os.ErrPermission), exitNoPerm}, {os.ErrNotExist, exitNoInput},
		{server.ErrRunning, exitTempFail}, {errors.New("x"), exitSoftware}, {&server.ExitError{Code: 7}, 7},
	} {
		if got := (&program{errOut: io.Discard}).fail(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
	for _, c := range []admin.Code{admin.NotFound, admin.Exists, admin.InUse, admin.Invalid, admin.Unknown, admin.Temporary, admin.Internal} {
		if adminCodes[c] == 0 {
			t.Errorf("%s has no exit code", c)
		}
	}
}

func TestOctets(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KB", 1 << 30: "1.0 GB", 1<<63 - 1: "8.0 EB"} {
		if got := octets(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
