package peer

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Terminal is a program in a terminal of 100 by 30 characters.
type Terminal struct {
	t      testing.TB
	socket string
}

// StartTerminal runs a shell command in tmux.
func StartTerminal(t testing.TB, dir, command string) *Terminal {
	t.Helper()
	term := &Terminal{t: t, socket: fmt.Sprintf("%s/tmux-%d", dir, os.Getpid())}
	Run(t, "env", "TERM=xterm-256color", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "tmux", "-S", term.socket, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", command)
	t.Cleanup(func() {
		if t.Failed() {
			screen, _ := Try("tmux", "-S", term.socket, "capture-pane", "-p")
			t.Logf("the screen:\n%s", screen)
		}
		Try("tmux", "-S", term.socket, "kill-server")
	})
	return term
}

// Keys types: words of tmux's, "Enter", "C-x", or text.
func (term *Terminal) Keys(keys ...string) {
	term.t.Helper()
	Run(term.t, append([]string{"tmux", "-S", term.socket, "send-keys"}, keys...)...)
	time.Sleep(100 * time.Millisecond) // programs that flush type-ahead lose what comes at once
}

// Screen is what the terminal shows.
func (term *Terminal) Screen() string {
	term.t.Helper()
	return Run(term.t, "tmux", "-S", term.socket, "capture-pane", "-p")
}

// Wait waits until the screen shows a text.
func (term *Terminal) Wait(text string) {
	term.t.Helper()
	Eventually(term.t, fmt.Sprintf("%q on the screen", text), func() bool { return strings.Contains(term.Screen(), text) })
}
