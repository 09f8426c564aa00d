package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"postroad/internal/config"
	"postroad/internal/server/sandbox"
)

// Privileges. Started by root, the program is three in turn:
//
//	parent    root: makes the data directory, binds the ports, starts the child; then it
//	          only passes signals on and waits. It restarts nothing: what ends the child
//	          is to be seen by whoever started the parent.
//	confined  the user: gives up what a mail server does not need (package sandbox) and
//	          executes itself, so that every thread of the next one is confined
//	server    the user, confined: takes the listeners over and serves
//
// Started by anybody else it is the server alone, on ports that it may bind.
const (
	stageVariable   = "POSTROAD_STAGE"
	stageConfined   = "confined"
	stageServer     = "server"
	sandboxVariable = "POSTROAD_SANDBOX"
)

// stopGrace is how long the child may take to end after the second signal.
const stopGrace = 30 * time.Second

// IsChild tells whether a parent started this process.
func IsChild() bool { return os.Getenv(stageVariable) == stageServer }

// NeedsParent tells whether this process is root and has no parent that was.
func NeedsParent() bool { return os.Geteuid() == 0 && os.Getenv(stageVariable) == "" }

// account is the user to serve as.
type account struct {
	uid, gid uint32
	groups   []uint32
}

func accountOf(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, &config.Error{Text: fmt.Sprintf("user to serve as: %v; make one with\n"+
			"  adduser --system --group --no-create-home --home /var/lib/postroad %s\n"+
			"or name another one as \"user\" in the configuration", err, name)}
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if uid == 0 {
		return nil, &config.Error{Text: fmt.Sprintf("user to serve as: %s is root, who only binds the ports", name)}
	}
	a := &account{uid: uint32(uid), gid: uint32(gid)}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", name, err)
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(n))
		}
	}
	return a, nil
}

// ExitError is the end of the child with a status that is the parent's too.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("the server ended with status %d", e.Code) }

// RunParent binds the ports and runs this program again as the configured user, with the
// same arguments, until it ends.
func RunParent(ctx context.Context, c *config.Config, log *slog.Logger) error {
	a, err := accountOf(c.User)
	if err != nil {
		return err
	}
	if err := giveDirectory(c.DataDirectory, a); err != nil {
		return err
	}
	listeners, err := Bind(ctx, c)
	if err != nil {
		return err
	}
	defer listeners.Close()
	if err := giveSockets(listeners, a); err != nil {
		return err
	}
	files, names, err := listeners.handOver()
	if err != nil {
		return fmt.Errorf("hand the listeners over: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(), stageVariable+"="+stageConfined, listenersVariable+"="+names)
	cmd.SysProcAttr = childAttributes(a)
	// The child dies with the thread that started it, so that thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server as %s: %w", c.User, err)
	}
	for _, f := range files {
		f.Close()
	}
	return waitFor(ctx, cmd, log)
}

// giveDirectory makes the data directory for the user; one that is there stays as it is.
func giveDirectory(dir string, a *account) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return os.Chown(dir, int(a.uid), int(a.gid))
}

// giveSockets makes Unix sockets the user's.
func giveSockets(ls Listeners, a *account) error {
	for _, l := range ls {
		if l.Addr().Network() != "unix" {
			continue
		}
		if err := os.Chown(l.Addr().String(), int(a.uid), int(a.gid)); err != nil {
			return err
		}
	}
	return nil
}

// waitFor passes signals on until the child has ended.
func waitFor(ctx context.Context, cmd *exec.Cmd, log *slog.Logger) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	done := ctx.Done()
	for {
		select {
		case s := <-signals:
			if err := cmd.Process.Signal(s); err != nil {
				log.Warn("signal not passed on", "signal", s, "error", err)
			}
		case <-done:
			done = nil
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				log.Warn("the server was not told to stop", "error", err)
			}
			time.AfterFunc(stopGrace, func() { cmd.Process.Kill() })
		case err := <-ended:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return &ExitError{exitCode(exit.ProcessState)}
			}
			return err
		}
	}
}

// exitCode is as a shell has it.
func exitCode(p *os.ProcessState) int {
	if s, ok := p.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return p.ExitCode()
}

// systemPaths are read by the libraries: names of hosts and users, time zones, trusted
// certificates, random numbers.
var systemPaths = []string{"/etc", "/usr/share", "/usr/lib", "/lib", "/lib64", "/proc", "/sys/fs/cgroup", "/sys/kernel/mm",
	"/dev/null", "/dev/urandom", "/dev/random", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"}

// Confine is what a process in the confined stage does: it does not return but becomes
// the server, or fails. In any other stage it does nothing.
func Confine(configFile string, c *config.Config) error {
	if os.Getenv(stageVariable) != stageConfined {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	read := append([]string(nil), systemPaths...)
	if configFile != "" {
		read = append(read, configFile)
	}
	for _, p := range c.TLS.Certificates { // their folders: they are replaced by renaming
		read = append(read, filepath.Dir(p.Certificate), filepath.Dir(p.Key))
	}
	for _, r := range c.Routes {
		if r.PasswordFile != "" {
			read = append(read, r.PasswordFile)
		}
	}
	runtime.LockOSThread()
	report, err := sandbox.Enter(sandbox.Rules{Read: read, Exec: []string{self}, Write: []string{c.DataDirectory}})
	if err != nil {
		return fmt.Errorf("give privileges up: %w", err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		return err
	}
	os.Setenv(stageVariable, stageServer)
	os.Setenv(sandboxVariable, string(text))
	return fmt.Errorf("execute %s: %w", self, syscall.Exec(self, os.Args, os.Environ()))
}

// confinement tells what the confined stage achieved, for log and status.
func confinement() string {
	text := os.Getenv(sandboxVariable)
	if text == "" {
		return "none"
	}
	var r sandbox.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("no_new_privs %v, Landlock %d, seccomp %v", r.NoNewPrivs, r.Landlock, r.Seccomp)
}
