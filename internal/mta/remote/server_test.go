package remote

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/address"
	"postroad/dns"
	"postroad/dns/dnstest"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
)

// server is an SMTP server in memory that answers as it is told.
type server struct {
	greeting string            // "" is 220
	caps     []string          // behind EHLO
	replies  map[string]string // "RCPT a@x.test", or the word alone; "END" is the end of the content
	tls      *tls.Config
	implicit bool   // TLS from the first octet
	inject   string // sent behind the reply to STARTTLS
	hangUp   string // the word behind which the connection is closed without an answer
	hangUpAt int    // only on this connection, from 1; 0: all
	few      int    // recipients taken at once, 452 for more
	lmtp     bool

	mu    sync.Mutex
	conns int
	log   []string // commands of all connections
	mails []string // contents
}

// serve answers one connection.
func (s *server) serve(nc net.Conn) {
	defer nc.Close()
	s.mu.Lock()
	s.conns++
	number := s.conns
	s.mu.Unlock()
	greeting := s.greeting
	if greeting == "" {
		greeting = "220 mx ready"
	}
	if s.implicit {
		t := tls.Server(nc, s.tls)
		if t.Handshake() != nil {
			return
		}
		nc = t
	}
	r := bufio.NewReader(nc)
	fmt.Fprintf(nc, "%s\r\n", greeting)
	rcpts, secure := 0, s.implicit
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.log = append(s.log, line)
		s.mu.Unlock()
		word, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if s.hangUp == word && (s.hangUpAt == 0 || s.hangUpAt == number) {
			return
		}
		reply := "250 ok"
		if told, ok := s.told(line, word); ok {
			reply = told
		}
		switch word {
		case "EHLO", "LHLO":
			lines := append([]string{"mx"}, s.caps...)
			if s.tls != nil && !secure {
				lines = append(lines, "STARTTLS")
			}
			for i, l := range lines {
				fmt.Fprintf(nc, "250%s%s\r\n", map[bool]string{true: " ", false: "-"}[i == len(lines)-1], l)
			}
			continue
		case "STARTTLS":
			if _, ok := s.told(line, word); ok {
				break
			}
			fmt.Fprintf(nc, "220 go\r\n%s", s.inject)
			t := tls.Server(nc, s.tls)
			if t.Handshake() != nil {
				return
			}
			nc, r, secure = t, bufio.NewReader(t), true
			continue
		case "AUTH":
			if _, ok := s.told(line, word); !ok {
				reply = "235 welcome"
			}
		case "MAIL":
			rcpts = 0
		case "RCPT":
			if s.few > 0 && rcpts >= s.few {
				reply = "452 4.5.3 too many"
			} else if strings.HasPrefix(reply, "250") {
				rcpts++
			}
		case "DATA":
			if strings.HasPrefix(reply, "250") && rcpts > 0 {
				fmt.Fprint(nc, "354 go\r\n")
				if !s.content(nc, r, rcpts, number) {
					return
				}
				continue
			}
			if rcpts == 0 {
				reply = "554 nobody"
			}
		case "QUIT":
			fmt.Fprint(nc, "221 bye\r\n")
			return
		}
		fmt.Fprintf(nc, "%s\r\n", reply)
	}
}

func (s *server) told(line, word string) (string, bool) {
	for k, v := range s.replies {
		if k == word || strings.HasPrefix(k, word+" ") && strings.Contains(line, strings.TrimPrefix(k, word+" ")) {
			return v, true
		}
	}
	return "", false
}

func (s *server) content(nc net.Conn, r *bufio.Reader, rcpts, number int) bool {
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(line)
		if s.hangUp == "CONTENT" && (s.hangUpAt == 0 || s.hangUpAt == number) {
			return false
		}
	}
	s.mu.Lock()
	s.mails = append(s.mails, text.String())
	s.mu.Unlock()
	if s.hangUp == "END" {
		return false
	}
	n := 1
	if s.lmtp {
		n = rcpts
	}
	for i := range n {
		reply := "250 2.0.0 taken"
		if told, ok := s.replies["END"]; ok && i == 0 {
			reply = told
		}
		fmt.Fprintf(nc, "%s\r\n", reply)
	}
	return true
}

func (s *server) count() (conns, mails int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns, len(s.mails)
}

func (s *server) said(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.log {
		if strings.HasPrefix(strings.ToUpper(l), prefix) {
			n++
		}
	}
	return n
}

// netOf is a network in memory: servers by "address:port"; what is not there refuses.
type netOf map[string]*server

var errRefused = errors.New("connection refused")

func (n netOf) dial(_ context.Context, _, address string) (net.Conn, error) {
	s := n[address]
	if s == nil {
		return nil, errRefused
	}
	ours, theirs := bufferedPipe()
	go s.serve(theirs)
	return ours, nil
}

// bufferedPipe is a connection over loopback: net.Pipe has no buffer, so that two ends
// that write at one time would wait for each other.
func bufferedPipe() (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		panic(err)
	}
	return ours, theirs
}

// certificate makes a self-signed certificate.
func certificate(t *testing.T, name string) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// site is a transport among servers and names.
type site struct {
	t         *testing.T
	transport *Transport
	bodies    *blob.Bodies
	names     *dnstest.Server
}

const zones = `
$ORIGIN two.test.
@   IN MX 10 mx1
@   IN MX 20 mx2
mx1 IN A 192.0.2.1
mx2 IN A 192.0.2.2
$ORIGIN implicit.test.
@   IN A 192.0.2.1
v6  IN AAAA 2001:db8::1
nothing IN TXT "no address"
alias IN CNAME two.test.
$ORIGIN null.test.
@   IN MX 0 .
$ORIGIN halfnull.test.
@   IN MX 0 .
@   IN MX 10 mx1.two.test.
$ORIGIN ours.test.
@   IN MX 10 mx1.two.test.
@   IN MX 20 me.test.
@   IN MX 30 mx2.two.test.
first IN MX 10 me.test.
first IN MX 20 mx2.two.test.
same IN MX 10 me.test.
same IN MX 10 mx2.two.test.
byaddr IN MX 10 hidden
hidden IN A 192.0.2.99
$ORIGIN odd.test.
literal IN MX 10 192.0.2.1.
loopback IN MX 10 lo
lo  IN A 127.0.0.1
any IN MX 10 zero
zero IN A 0.0.0.0
noaddr IN MX 10 missing
dual IN A 192.0.2.1
dual IN AAAA 2001:db8::1
`

func newSite(t *testing.T, n netOf, change func(*Options)) *site {
	t.Helper()
	names, err := dnstest.Start("127.0.0.1:0", zones)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { names.Close() })
	return newSiteWith(t, names, names.Resolver(), n, change)
}

func newSiteWith(t *testing.T, names *dnstest.Server, r dns.Resolver, n netOf, change func(*Options)) *site {
	bodies := blob.NewBodies(memkv.New(), memblob.New(), hlc.NewClock(1))
	o := Options{Resolver: r, Bodies: bodies, Hostname: "me.test", Dial: n.dial, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return &site{t, tr, bodies, names}
}

func (s *site) mail(to ...string) *mailflow.Mail {
	s.t.Helper()
	body, err := s.bodies.Stage(context.Background(), strings.NewReader("Subject: x\r\n\r\n.dot\r\n"), 1<<20)
	if err != nil {
		s.t.Fatal(err)
	}
	m := &mailflow.Mail{ID: 1, ReturnPath: address.Address{Local: "s", Domain: "me.test"}, Body: body, Received: time.Now()}
	for _, a := range to {
		local, domain, _ := strings.Cut(a, "@")
		m.Recipients = append(m.Recipients, mailflow.Recipient{Address: address.Address{Local: local, Domain: domain}})
	}
	return m
}

func (s *site) deliver(m *mailflow.Mail, hop mailflow.NextHop) string {
	st := s.transport.Deliver(context.Background(), m, hop)
	var l []string
	for i := range st {
		who := st[i].RemoteMTA
		if st[i].LocalMTA {
			who = "us"
		}
		l = append(l, fmt.Sprintf("%d %03d %s %s", st[i].Action, st[i].Reply.Code, st[i].Reply.Enhanced, who))
	}
	return strings.Join(l, "; ")
}

func byMX(domain string) mailflow.NextHop { return mailflow.NextHop{Transport: "smtp", Domain: domain} }
