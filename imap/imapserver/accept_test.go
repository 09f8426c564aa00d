package imapserver

import (
	"errors"
	"log/slog"
	"net"
	"syscall"
	"testing"
)

// poorListener has no descriptors left at its first accepts, then fails for good.
type poorListener struct {
	net.Listener
	left int
}

var errGone = errors.New("the interface is gone")

func (l *poorListener) Accept() (net.Conn, error) {
	if l.left--; l.left >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return nil, errGone
}

func TestAcceptOutlivesMissingDescriptors(t *testing.T) {
	l := &poorListener{left: 3}
	err := New(Options{Log: slog.New(slog.DiscardHandler)}).Serve(l)
	if !errors.Is(err, errGone) || l.left >= 0 {
		t.Errorf("Serve ended with %v, %d accepts left", err, l.left)
	}
}
