// Package peer runs real mail programs for the tests in test/interop, test/crash and
// test/load: Postfix, Sendmail, Dovecot, mail readers, a DNS server, and postroad itself.
//
// Every program gets a directory of its own, listens on a loopback address of its own, is
// started in the foreground and ended by its process id. test/peers.sh installs them.
//
// The main type is [Process].
package peer

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readyMax is how long a program may take until its port answers, on a busy machine.
const readyMax = 60 * time.Second

// Process is a program that runs until the test ends.
type Process struct {
	Name string
	Log  string // path of the file with its output
	cmd  *exec.Cmd
	done chan struct{}
	t    testing.TB
}

// Start runs a program in the foreground of a session of its own. The test's end stops it;
// when the test failed, the end of its log is printed.
func Start(t testing.TB, name, dir string, argv ...string) *Process {
	t.Helper()
	p := &Process{Name: name, Log: filepath.Join(dir, name+".log"), done: make(chan struct{}), t: t}
	out, err := os.Create(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	out.Close()
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("the end of %s:\n%s", p.Log, tail(p.Log, 8<<10))
		}
	})
	return p
}

// PID is the process id of the program.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop ends the program and what it started: SIGTERM, then SIGKILL after ten seconds.
func (p *Process) Stop() {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
	}
	p.Kill()
}

// Kill ends the program and what it started at once, as kill -9 does, and returns when
// nothing of it runs any more.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
	for end := time.Now().Add(10 * time.Second); syscall.Kill(-p.PID(), 0) == nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// Freeze stops every thread of the program and of what it started where it is (SIGSTOP),
// and returns when all have stopped: one that was in a system call ends that first.
func (p *Process) Freeze() error {
	if err := syscall.Kill(-p.PID(), syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		running, err := runningThreads(p.PID())
		if err != nil || running == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d threads of %s do not stop", running, p.Name)
		}
	}
}

// runningThreads counts the threads of a process group that are not stopped.
func runningThreads(group int) (n int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/task/*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		// proc(5): pid (comm) state ppid pgrp …; comm may hold anything.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "T" && f[0] != "Z" {
			n++
		}
	}
	return n, nil
}

// signal reaches the program's process group, also after the leader ended, and the program
// itself, which may have made a session of its own (Postfix does). The group comes first:
// children that outlive their parent by a moment would see it die, and act on it.
func (p *Process) signal(s syscall.Signal) {
	syscall.Kill(-p.cmd.Process.Pid, s)
	p.cmd.Process.Signal(s)
}

// WaitPort returns when all addresses take connections.
func (p *Process) WaitPort(addrs ...string) {
	p.t.Helper()
	end := time.Now().Add(readyMax)
	for _, a := range addrs {
		for {
			c, err := net.DialTimeout("tcp", a, time.Second)
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-p.done:
				p.t.Fatalf("%s ended before %s answered:\n%s", p.Name, a, tail(p.Log, 4<<10))
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(end) {
				p.t.Fatalf("%s: no answer on %s: %v\n%s", p.Name, a, err, tail(p.Log, 4<<10))
			}
		}
	}
}

// Run runs a command to its end and returns what it printed; a failure fails the test.
func Run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := Try(argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// Try is Run for commands that may fail. They get a minute.
func Try(argv ...string) (string, error) { return TryInput("", argv...) }

// TryInput is Try with standard input.
func TryInput(in string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(time.Minute, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait()
	if !timer.Stop() {
		err = errors.Join(err, errors.New("it took more than a minute"))
	}
	return out.String(), err
}

// Eventually waits until ok tells true, half a minute at most.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("it did not come: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Write writes a file below dir, readable by all, and returns its path.
func Write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Dir makes a directory for a peer that other users of the machine may enter (daemons drop
// their privileges), removed when the test ends.
func Dir(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postroad-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
		}
	})
	return dir
}

// tail returns the last n octets of a file, or the error of reading it.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(b[max(0, len(b)-n):])
}

// NeedRoot stops a test early where it cannot work: most peers insist on root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("the interop tests run real daemons on port 25 of loopback addresses: run them as root")
	}
}
