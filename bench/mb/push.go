package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// pushStream is one stream of JMAP that waits for changes.
type pushStream struct {
	c net.Conn
	r *bufio.Reader
}

func (p *pushStream) Close() error { return p.c.Close() }

// pushOpen opens an event source or a WebSocket, the latter with pushing enabled.
func pushOpen(addr string, secure, socket bool, user, pass string) (*pushStream, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	p := &pushStream{c, bufio.NewReaderSize(c, 512)}
	c.SetDeadline(time.Now().Add(60 * time.Second))
	path, more, want := "/jmap/eventsource?types=*&closeafter=no&ping=0", "Accept: text/event-stream\r\n", "200"
	if socket {
		path, want = "/jmap/ws", "101"
		more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: jmap\r\n"
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAuthorization: Basic %s\r\n%s\r\n", path, base64.StdEncoding.EncodeToString([]byte(user+":"+pass)), more)
	for first := true; ; first = false {
		line, err := p.r.ReadString('\n')
		if err == nil && first && !strings.Contains(line, " "+want+" ") {
			err = errors.New(strings.TrimSpace(line))
		}
		if err != nil {
			c.Close()
			return nil, err
		}
		if line == "\r\n" {
			break
		}
	}
	if socket {
		// One answered request shows that the enabling before it has been taken in.
		err = errors.Join(p.send(`{"@type":"WebSocketPushEnable","dataTypes":null}`), p.send(`{"@type":"Request","using":[],"methodCalls":[]}`))
		if err == nil {
			err = p.frame()
		}
	}
	c.SetDeadline(time.Time{})
	return p, err
}

// send writes a text as one masked frame; the mask is zero.
func (p *pushStream) send(text string) error {
	_, err := p.c.Write(append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...))
	return err
}

// frame reads a frame and throws it away.
func (p *pushStream) frame() error {
	head := make([]byte, 2)
	if _, err := readFull(p.r, head); err != nil {
		return err
	}
	n := int(head[1])
	if n == 126 {
		if _, err := readFull(p.r, head); err != nil {
			return err
		}
		n = int(binary.BigEndian.Uint16(head))
	}
	_, err := p.r.Discard(n)
	return err
}

func readFull(r *bufio.Reader, b []byte) (int, error) {
	for n := 0; n < len(b); {
		m, err := r.Read(b[n:])
		if n += m; err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// pushOpen2 opens an event source over a connection of HTTP/2 of its own.
func pushOpen2(addr, user, pass string) (io.Closer, error) {
	t := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(context.Context, string, string) (net.Conn, error) { return dial(addr) }}
	r, err := http.NewRequest("GET", "https://"+addr+"/jmap/eventsource?types=*&closeafter=no&ping=0", nil)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(user, pass)
	w, err := (&http.Client{Transport: t}).Do(r)
	if err != nil {
		return nil, err
	}
	if w.StatusCode != 200 || w.ProtoMajor != 2 {
		w.Body.Close()
		return nil, fmt.Errorf("%s %s", w.Proto, w.Status)
	}
	return w.Body, nil
}

// pushLoad measures what streams of JMAP cost that wait for changes.
func pushLoad(args []string) {
	fs := flag.NewFlagSet("push", flag.ExitOnError)
	addr := fs.String("addr", "127.0.0.1:443", "server")
	secure := fs.Bool("tls", false, "TLS")
	kind := fs.String("kind", "eventsource", "eventsource, eventsource2 (HTTP/2) or websocket")
	login := fs.String("login", "u%d@bench.test", "login pattern")
	pass := fs.String("pass", "benchpass-1", "password")
	accounts := fs.Int("accounts", 200, "accounts")
	n := fs.Int("n", 1000, "streams")
	pids := fs.String("pids", "", "server's root processes")
	tag := fs.String("tag", "", "label")
	rest := fs.Duration("rest", 6*time.Second, "wait this long before memory is measured: what log-ins took is given back")
	fs.Parse(args)
	pl := parsePids(*pids)
	streams := make([]io.Closer, *n)
	open := func(i int) {
		user := fmt.Sprintf(*login, i%*accounts+1)
		var p io.Closer
		var err error
		if *kind == "eventsource2" {
			p, err = pushOpen2(*addr, user, *pass)
		} else {
			p, err = pushOpen(*addr, *secure, *kind == "websocket", user, *pass)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "stream", i, err)
			return
		}
		streams[i] = p
	}
	for i := range min(*accounts, *n) { // warm up: every account once, closed again
		if open(i); streams[i] != nil {
			streams[i].Close()
			streams[i] = nil
		}
	}
	time.Sleep(*rest)
	before := measure(pl, true)
	inParallel(*n, 4, open)
	time.Sleep(*rest)
	after := measure(pl, true)
	time.Sleep(5 * time.Second)
	later := measure(pl, false)
	ok := 0
	for _, p := range streams {
		if p != nil {
			ok++
			defer p.Close()
		}
	}
	r := result{"cmd": "push", "tag": *tag, "kind": *kind, "tls": *secure, "streams": ok, "rss0_mb": before.rss / 1024, "rss1_mb": after.rss / 1024,
		"idle_cpu_ms_per_s": round((later.user+later.sys-after.user-after.sys)*1000/later.at.Sub(after.at).Seconds(), 1)}
	if ok > 0 {
		r["rss_kb_per_stream"] = (after.rss - before.rss) / int64(ok)
	}
	r.print()
}
