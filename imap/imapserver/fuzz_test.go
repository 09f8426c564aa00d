package imapserver

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scriptConn is a connection whose client says one thing and never listens.
type scriptConn struct {
	net.Conn
	in   io.Reader
	out  bytes.Buffer
	keep bool
}

func (c *scriptConn) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *scriptConn) Write(p []byte) (int, error) {
	if c.keep {
		c.out.Write(p)
	}
	return len(p), nil
}

func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzCommand lets a client say anything, after log-in. The server must not panic (which
// would be logged), must end, and must answer in whole lines.
func FuzzCommand(f *testing.F) {
	files, err := filepath.Glob("testdata/*.wire")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var said strings.Builder
		for _, l := range strings.Split(string(b), "\n") {
			if text, ok := strings.CutPrefix(l, "C: "); ok {
				said.WriteString(text + "\r\n")
			} else if text, ok := strings.CutPrefix(l, "C- "); ok {
				s, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
				if err != nil {
					f.Fatal(err)
				}
				said.WriteString(s)
			}
		}
		f.Add([]byte(said.String()))
	}
	f.Add([]byte("a COMPRESS DEFLATE\r\n\x00\x05\x00\xfa\xffb NOO"))
	panicked := regexp.MustCompile("panic|broken off")
	f.Fuzz(func(t *testing.T, said []byte) {
		var log bytes.Buffer
		store := newFakeStore()
		fill(store)
		s := newServer(t, store, func(o *Options) {
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			o.NewSession = func(context.Context, *Conn) (Session, error) {
				return &fullSession{&fakeSession{store: store}}, nil
			}
		})
		c := &scriptConn{in: io.MultiReader(strings.NewReader("a LOGIN fred secret\r\n"), bytes.NewReader(said)), keep: true}
		s.ServeConn(c, false)
		if panicked.Match(log.Bytes()) {
			t.Fatalf("%s", &log)
		}
		if !bytes.Contains(bytes.ToUpper(said), []byte("COMPRESS")) && !bytes.HasSuffix(c.out.Bytes(), []byte("\r\n")) {
			t.Fatalf("the last line has no end: %q", c.out.Bytes()[max(0, c.out.Len()-100):])
		}
	})
}
