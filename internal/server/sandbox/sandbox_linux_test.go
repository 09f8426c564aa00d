package sandbox

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain is three programs: the test, one that enters the sandbox and executes itself,
// and one that tries what is forbidden.
func TestMain(m *testing.M) {
	switch os.Getenv("SANDBOX_STAGE") {
	case "enter":
		enterAndExecute()
	case "inside":
		tryInside()
	default:
		os.Exit(m.Run())
	}
}

func enterAndExecute() {
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	report, err := Enter(Rules{Read: []string{"/etc", "/usr", "/lib", "/lib64", "/proc", "/dev", "/nowhere"},
		Exec: []string{self}, Write: []string{os.Getenv("SANDBOX_DIR")}})
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		panic(err)
	}
	os.Setenv("SANDBOX_STAGE", "inside")
	os.Setenv("SANDBOX_REPORT", string(text))
	panic(unix.Exec(self, os.Args, os.Environ()))
}

// tryInside prints one word for each attempt, from many threads.
func tryInside() {
	dir := os.Getenv("SANDBOX_DIR")
	lines := make(chan string)
	attempts := map[string]func() error{
		"write inside":  func() error { return os.WriteFile(filepath.Join(dir, "new"), []byte("x"), 0o600) },
		"rename inside": func() error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "sub", "b")) },
		"truncate":      func() error { return os.Truncate(filepath.Join(dir, "t"), 1) },
		"write beside":  func() error { return os.WriteFile(dir+"-new", []byte("x"), 0o600) },
		"read beside":   func() error { _, err := os.ReadFile(dir + "-secret"); return err },
		"read system":   func() error { _, err := os.ReadFile("/etc/passwd"); return err },
		"run a program": func() error { return exec.Command("/bin/true").Run() },
		"unshare":       func() error { return unix.Unshare(unix.CLONE_FS) },
		"chroot":        func() error { return unix.Chroot("/") },
	}
	for name, f := range attempts {
		go func() {
			runtime.LockOSThread() // and so on a thread of its own
			err := f()
			word := "done"
			if errors.Is(err, fs.ErrPermission) {
				word = "refused"
			} else if err != nil {
				word = err.Error()
			}
			lines <- name + ": " + word
		}()
	}
	for range attempts {
		os.Stdout.WriteString(<-lines + "\n")
	}
	os.Stdout.WriteString(os.Getenv("SANDBOX_REPORT") + "\n")
}

func TestEnter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, d := range []string{dir, filepath.Join(dir, "sub")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{dir + "/a", dir + "/t", dir + "-secret"} {
		if err := os.WriteFile(f, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SANDBOX_STAGE=enter", "SANDBOX_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var report Report
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !report.NoNewPrivs {
		t.Error("no_new_privs is always there")
	}
	t.Logf("%+v", report)
	want := map[string]string{"write inside": "done", "rename inside": "done", "truncate": "done", "read system": "done"}
	if report.Landlock > 0 {
		want["write beside"], want["read beside"], want["run a program"] = "refused", "refused", "refused"
	}
	if report.Seccomp {
		want["unshare"], want["chroot"] = "refused", "refused"
	}
	got := map[string]string{}
	for _, l := range lines {
		name, word, _ := strings.Cut(l, ": ")
		got[name] = word
	}
	for name, word := range want {
		if got[name] != word {
			t.Errorf("%s: %s, want %s", name, got[name], word)
		}
	}
}
