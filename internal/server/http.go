package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"postroad/jmap"
)

// Time-outs and limits of HTTP. Handlers that need longer for bodies and streams say so for
// each request.
const (
	httpHeaderTimeout = 15 * time.Second
	httpTimeout       = 60 * time.Second // reading a request, writing an answer
	httpIdleTimeout   = 3 * time.Minute
	httpHeaderMax     = 32 << 10 // octets
)

// web is everything that is served over HTTP.
func (s *Server) web() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/.well-known/jmap", s.jmap.Handler())
	mux.Handle("/jmap/", s.jmap.Handler())
	mux.Handle("/jmap/image", s.images)
	gate := s.gate.Handler()
	for _, path := range []string{"/oauth/", "POST /login", "/login/", "/logout", "/.well-known/oauth-authorization-server",
		"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/"} {
		mux.Handle(path, gate)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		mux.ServeHTTP(w, r)
	})
}

// behind tells whether a request comes through a reverse proxy that is trusted.
func (s *Server) behind(r *http.Request) bool {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && s.trustedProxy(a.Addr())
}

func (s *Server) trustedProxy(a netip.Addr) bool {
	for _, p := range s.config.Trust.Proxy {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// client is the address that a request comes from: behind trusted proxies the last one in
// X-Forwarded-For that is not one of them. What stands before it anybody can write.
func (s *Server) client(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	client := at.Addr().Unmap()
	list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(list) - 1; i >= 0 && s.trustedProxy(client); i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(list[i]))
		if err != nil {
			break
		}
		client = a.Unmap()
	}
	return client
}

// origin is where a client sees us.
func (s *Server) origin(r *http.Request) string {
	if !s.behind(r) {
		return jmap.RequestOrigin(r)
	}
	scheme, host := "http", r.Host
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	if h := r.Header.Get("X-Forwarded-Host"); h != "" && !strings.ContainsAny(h, "/@\\?#, \t") {
		host = h
	}
	return scheme + "://" + host
}

// httpDoor serves HTTP/1.1 and HTTP/2.
func (s *Server) httpDoor(l Listener) running {
	h := &http.Server{
		Handler: s.web(), ReadHeaderTimeout: httpHeaderTimeout, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout,
		IdleTimeout: httpIdleTimeout, MaxHeaderBytes: httpHeaderMax,
		ErrorLog: slog.NewLogLogger(httpErrors{s.log.Handler()}, slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(interface{ NetConn() net.Conn }); ok {
				c = t.NetConn()
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	serve := func(l net.Listener) error { return h.Serve(&countedListener{l, s}) }
	if l.Door == DoorHTTPS {
		h.TLSConfig = s.clientTLS()
		serve = func(l net.Listener) error { return h.ServeTLS(&countedListener{l, s}, "", "") }
	}
	shutdown := func(ctx context.Context) error {
		var wait sync.WaitGroup
		var streams error
		wait.Go(func() { streams = s.jmap.Shutdown(ctx) }) // they would not come to an end by themselves
		err := h.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.Join(err, h.Close())
		}
		wait.Wait()
		return errors.Join(err, streams)
	}
	return running{door: l.Door, serve: serve, shutdown: shutdown, closed: http.ErrServerClosed, listener: l}
}

// httpErrors drops what strangers do to every port 443: handshakes that come to nothing.
type httpErrors struct{ slog.Handler }

func (h httpErrors) Handle(ctx context.Context, r slog.Record) error {
	if bytes.Contains([]byte(r.Message), []byte("TLS handshake error")) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// countedListener takes connections as far as the limits allow.
type countedListener struct {
	net.Listener
	server *Server
}

// countedConn is one that has been counted in.
type countedConn struct {
	net.Conn
	network  netip.Prefix
	done     func()
	loggedIn sync.Once // noted once
}

// Accept waits for a connection that may stay. Those of trusted proxies are of many clients.
func (l *countedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := clientAddr(c.RemoteAddr())
		most := l.server.limiter.addressMax
		if l.server.trustedProxy(client) {
			most = l.server.limiter.allMax
		}
		network := networkOf(client)
		done, err := l.server.limiter.enter(network, most)
		if err != nil {
			l.server.log.Debug("a connection was refused", "client", client.String(), "reason", err)
			c.Close()
			continue
		}
		return &countedConn{Conn: c, network: network, done: done}, nil
	}
}

// Close counts the connection out.
func (c *countedConn) Close() error {
	c.done()
	return c.Conn.Close()
}
