package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"postroad/internal/admin"
	"postroad/internal/config"
)

// Door names what is spoken at a listener.
type Door string

// The doors.
const (
	DoorAdmin       Door = "admin"
	DoorSMTP        Door = "smtp"
	DoorSubmission  Door = "submission"
	DoorSubmissions Door = "submissions"
	DoorLMTP        Door = "lmtp"
	DoorIMAP        Door = "imap"
	DoorIMAPS       Door = "imaps"
	DoorPOP3        Door = "pop3"
	DoorPOP3S       Door = "pop3s"
	DoorSieve       Door = "sieve"
	DoorHTTPS       Door = "https"
	DoorHTTP        Door = "http"
	DoorMetrics     Door = "metrics"
)

// Listener is one bound address of a door.
type Listener struct {
	Door Door
	net.Listener
}

// Loopback tells whether only this machine can connect.
func (l *Listener) Loopback() bool {
	switch a := l.Addr().(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap().IsLoopback()
	}
	return false
}

// Listeners are all bound addresses, the administration's first.
type Listeners []Listener

// Close closes all of them.
func (ls Listeners) Close() {
	for _, l := range ls {
		l.Close()
	}
}

// ErrRunning is returned by Bind when another server has the data directory.
var ErrRunning = errors.New("a server is running on this data directory already")

// Bind binds every address of the configuration. The socket of the administration comes
// first: a command that finds it waits for the server instead of opening the store.
func Bind(ctx context.Context, c *config.Config) (Listeners, error) {
	if err := os.MkdirAll(c.DataDirectory, 0o700); err != nil {
		return nil, err
	}
	socket, err := bindSocket(ctx, admin.Socket(c.DataDirectory), 0o600)
	if err != nil {
		return nil, err
	}
	bound := Listeners{{DoorAdmin, socket}}
	for _, d := range doorsOf(&c.Listen) {
		for _, address := range d.addresses {
			l, err := bind(ctx, address)
			if err != nil {
				bound.Close()
				return nil, fmt.Errorf("listen for %s: %w", d.door, err)
			}
			bound = append(bound, Listener{d.door, l})
		}
	}
	return bound, nil
}

// doorAddresses is one list of the configuration.
type doorAddresses struct {
	door      Door
	addresses []string
}

func doorsOf(l *config.Listen) []doorAddresses {
	return []doorAddresses{
		{DoorSMTP, l.SMTP}, {DoorSubmission, l.Submission}, {DoorSubmissions, l.Submissions}, {DoorLMTP, l.LMTP},
		{DoorIMAP, l.IMAP}, {DoorIMAPS, l.IMAPS}, {DoorPOP3, l.POP3}, {DoorPOP3S, l.POP3S},
		{DoorSieve, l.Sieve}, {DoorHTTPS, l.HTTPS}, {DoorHTTP, l.HTTP}, {DoorMetrics, l.Metrics},
	}
}

// keepAlive finds peers that went away without a word.
const keepAlive = 2 * time.Minute

// bind binds one address. LMTP's Unix socket is for its owner and group.
func bind(ctx context.Context, address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return bindSocket(ctx, path, 0o660)
	}
	lc := net.ListenConfig{KeepAlive: keepAlive}
	return lc.Listen(ctx, "tcp", address)
}

// bindSocket binds a Unix socket. One that a dead process left is taken over.
func bindSocket(ctx context.Context, path string, mode os.FileMode) (net.Listener, error) {
	d := net.Dialer{Timeout: time.Second}
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%w (%s answers)", ErrRunning, path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	lc := net.ListenConfig{}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// listenersVariable tells the child which doors the descriptors from firstFD on are.
const (
	listenersVariable = "POSTROAD_LISTENERS"
	firstFD           = 3
)

// handOver returns the listeners as files, in order, and their names for the child.
func (ls Listeners) handOver() (files []*os.File, names string, err error) {
	var doors []Door
	for _, l := range ls {
		f, ok := l.Listener.(interface{ File() (*os.File, error) })
		if !ok {
			return nil, "", fmt.Errorf("listener %s has no descriptor", l.Addr())
		}
		file, err := f.File()
		if err != nil {
			return nil, "", err
		}
		files, doors = append(files, file), append(doors, l.Door)
	}
	text, err := json.Marshal(doors)
	return files, string(text), err
}

// Inherited returns the listeners that a parent bound; nil when there is none.
func Inherited() (Listeners, error) {
	text := os.Getenv(listenersVariable)
	if text == "" {
		return nil, nil
	}
	os.Unsetenv(listenersVariable)
	var doors []Door
	if err := json.Unmarshal([]byte(text), &doors); err != nil {
		return nil, fmt.Errorf("listeners of the parent: %w", err)
	}
	var all Listeners
	for i, d := range doors {
		f := os.NewFile(uintptr(firstFD+i), string(d))
		l, err := net.FileListener(f)
		f.Close() // FileListener has a copy
		if err != nil {
			return nil, fmt.Errorf("listener %s of the parent: %w", d, err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // the parent's
		}
		all = append(all, Listener{d, l})
	}
	return all, nil
}

// networkOf is the address by which connections are counted: an IPv4 address or an IPv6 /64.
func networkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // not valid for an invalid address, which is a key like any other
	return p
}
