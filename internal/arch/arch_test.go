package arch

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const root = "../.."

// load reads the source once for all tests.
var load = sync.OnceValues(func() (*Tree, error) { return Load(root) })

func tree(t *testing.T) *Tree {
	t.Helper()
	tr, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.Files) < 20 {
		t.Fatalf("only %d files found below %s", len(tr.Files), root)
	}
	return tr
}

func TestFloors(t *testing.T) {
	for _, f := range tree(t).Files {
		for _, i := range f.Imports {
			if why := CheckImport(f, i); why != "" {
				t.Errorf("%s imports %s: %s", f.Path, i, why)
			}
		}
	}
}

// TestFloorsFindFaults is the test of the test above.
func TestFloorsFindFaults(t *testing.T) {
	for _, test := range []struct {
		dir, imports string
		test         bool
		good         bool
	}{
		{"smtp/smtpserver", "postroad/address", false, true},
		{"smtp", "postroad/internal/kv", false, false},
		{"smtp", "github.com/miekg/dns", false, false},
		{"dns/dnstest", "github.com/miekg/dns", false, true},
		{"smtp", "github.com/google/go-cmp/cmp", false, false},
		{"smtp", "github.com/google/go-cmp/cmp", true, true},
		{"message", "golang.org/x/text/encoding", false, true},
		{"message", "net/mail", false, false},
		{"message", "net/mail", true, true},
		{"internal/kv/diskkv", "github.com/cockroachdb/pebble/v2", false, true},
		{"internal/kv", "postroad/internal/mailstore", false, false},
		{"internal/mta/queue", "postroad/internal/mta/route", false, true},
		{"internal/mta/queue", "postroad/internal/mda/deliver", false, false},
		{"internal/mda/imapd", "postroad/internal/mta/submit", true, false},
		{"internal/mda/imapd", "postroad/internal/server", false, false},
		{"internal/server", "postroad/internal/mda/imapd", false, true},
		{"internal/server", "postroad/cmd/postroad", false, false},
		{"test/interop", "postroad/internal/server", false, true},
		{"internal/server", "postroad/test/interop", false, false},
		{"internal/attic", "fmt", false, false},
	} {
		why := CheckImport(&File{Dir: test.dir, Test: test.test}, test.imports)
		if (why == "") != test.good {
			t.Errorf("%s imports %s (test %v): %q", test.dir, test.imports, test.test, why)
		}
	}
}

func TestPackages(t *testing.T) {
	comments, names := map[string]string{}, map[string]string{}
	for _, f := range tree(t).Files {
		if f.Test {
			continue
		}
		names[f.Dir] = f.AST.Name.Name
		comments[f.Dir] += f.AST.Doc.Text()
	}
	for dir, name := range names {
		if slices.Contains(badNames, name) {
			t.Errorf("%s: %q says nothing; name the noun", dir, name)
		}
		want := "Package " + name + " "
		if name == "main" {
			want = "Command " + path.Base(dir) + " "
		} else if path.Base(dir) != name {
			t.Errorf("%s: package %s is not named as its folder", dir, name)
		}
		if !strings.HasPrefix(comments[dir], want) {
			t.Errorf("%s: no package comment that starts with %q", dir, want)
		}
	}
}

// TestNothingUnfinished finds marks of work that was put off.
func TestNothingUnfinished(t *testing.T) {
	marks := []string{"TO" + "DO", "FIX" + "ME", "X" + "XX:"}
	for _, f := range tree(t).Files {
		for _, group := range f.AST.Comments {
			for _, m := range marks {
				if strings.Contains(group.Text(), m) {
					t.Errorf("%s: a comment says %s", f.Path, m)
				}
			}
		}
	}
}

// readRatchet reads lines "LINES what".
func readRatchet(t *testing.T) map[string]int {
	t.Helper()
	data, err := os.ReadFile("ratchet.txt")
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]int{}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		number, what, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(number)
		if err != nil || held[what] != 0 {
			t.Fatalf("ratchet.txt: %q", line)
		}
		held[what] = n
	}
	return held
}

func TestSizes(t *testing.T) {
	held, over := readRatchet(t), tree(t).Sizes()
	for _, what := range slices.Sorted(maps.Keys(over)) {
		switch n := over[what]; {
		case held[what] == 0:
			t.Errorf("%s has %d lines; a function may have %d, a file %d", what, n, FunctionMax, FileMax)
		case n > held[what]:
			t.Errorf("%s has grown from %d to %d lines", what, held[what], n)
		case n < held[what]:
			t.Errorf("%s has shrunk: write %d instead of %d into ratchet.txt", what, n, held[what])
		}
	}
	for what := range held {
		if over[what] == 0 {
			t.Errorf("%s is within the limit now: take it out of ratchet.txt", what)
		}
	}
}

// TestLinkedModules holds docs/modules.txt to what the program links, so that a new
// module is a visible change.
func TestLinkedModules(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/postroad")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as the program is built
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linked := map[string]bool{}
	for _, m := range strings.Fields(string(out)) {
		if m != module {
			linked[m] = true
		}
	}
	kept, err := os.ReadFile(filepath.Join(root, "docs", "modules.txt"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(kept)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			listed[line] = true
		}
	}
	for _, m := range slices.Sorted(maps.Keys(linked)) {
		if !listed[m] {
			t.Errorf("the program links %s, which docs/modules.txt does not have", m)
		}
	}
	for _, m := range slices.Sorted(maps.Keys(listed)) {
		if !linked[m] {
			t.Errorf("docs/modules.txt has %s, which the program does not link", m)
		}
	}
}

func TestFunctionName(t *testing.T) {
	dir := t.TempDir()
	src := "package p\n\nfunc (b *T[K]) Long() {\n" + strings.Repeat("\tprintln()\n", FunctionMax) + "}\n"
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	tr, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"function p.go T.Long": FunctionMax + 2}
	if got := tr.Sizes(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
