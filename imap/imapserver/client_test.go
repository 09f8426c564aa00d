package imapserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/imap/imapclient"
	"postroad/sasl"
)

// newClient connects the project's own client to a server, over a real network.
func newClient(t testing.TB, store *fakeStore, change func(*Options)) *imapclient.Client {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	server := newServer(t, store, change)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	c, err := imapclient.Dial(context.Background(), l.Addr().String(), nil)
	check(t, err)
	t.Cleanup(func() {
		c.Close()
		server.Close()
		<-served
	})
	return c
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestClient walks through the client's methods, with and without compression.
func TestClient(t *testing.T) {
	for _, compress := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "compressed"}[compress], func(t *testing.T) {
			store := newFakeStore()
			fill(store)
			c := newClient(t, store, nil)
			check(t, c.Login("fred", "secret"))
			if compress {
				check(t, c.Compress())
				var e *imapclient.Error
				if err := c.Compress(); !errors.As(err, &e) || e.Code != "COMPRESSIONACTIVE" {
					t.Fatalf("second COMPRESS: %v", err)
				}
			}
			clientReads(t, c)
			clientChanges(t, c)
			check(t, c.Logout())
		})
	}
}

func clientReads(t *testing.T, c *imapclient.Client) {
	if has, err := c.Has(imap.CapMove); err != nil || !has {
		t.Fatalf("MOVE: %v, %v", has, err)
	}
	boxes, err := c.List("", "*")
	check(t, err)
	if len(boxes) != 7 || boxes[2].Name != "Entwürfe" || boxes[2].Delimiter != "/" {
		t.Fatalf("LIST: %+v", boxes)
	}
	m, err := c.Select("INBOX", "CONDSTORE")
	check(t, err)
	if m.Exists != 3 || m.UIDNext != 5 || m.HighestModSeq == 0 {
		t.Fatalf("SELECT: %+v", m)
	}
	found, err := c.Search("UNSEEN")
	check(t, err)
	if found.String() != "2,4" {
		t.Fatalf("SEARCH: %s", found)
	}
	var got bytes.Buffer
	seen := 0
	set := imap.NumSetUID(imap.UIDSet{{First: 1, Last: 4}})
	err = c.Fetch(set, "(UID FLAGS BODY.PEEK[])", func(seq uint32, item string, size int64, r io.Reader) error {
		if item != "BODY[]" {
			t.Errorf("item %s", item)
		}
		_, err := io.Copy(&got, r)
		return err
	}, func(r *imapclient.Response) error {
		seen++
		items := r.Items()
		if items["BODY[]"].Kind != imapclient.Literal || items["UID"].Number() == 0 || items["FLAGS"].Kind != imapclient.List {
			t.Errorf("items: %v", items)
		}
		return nil
	})
	check(t, err)
	if want := string(crlf(messagePlain + messageMixed + messageEightBit)); seen != 3 || got.String() != want {
		t.Fatalf("FETCH: %d messages, %d octets", seen, got.Len())
	}
	status, err := c.Status("INBOX", imap.StatusMessages|imap.StatusUIDNext)
	check(t, err)
	if status["MESSAGES"] != 3 || status["UIDNEXT"] != 5 {
		t.Fatalf("STATUS: %v", status)
	}
}

func clientChanges(t *testing.T, c *imapclient.Client) {
	check(t, c.Create("Ziel"))
	check(t, c.Rename("Ziel", "größer"))
	body := strings.Repeat("0123456789abcdef\r\n", 5000)
	validity, uids, err := c.Append("größer",
		imapclient.Message{Flags: []imap.Flag{imap.FlagSeen}, Date: time.Unix(1e9, 0), Size: int64(len(body)), Body: strings.NewReader(body)},
		imapclient.Message{Size: 3, Body: strings.NewReader("abc")})
	check(t, err)
	if validity == 0 || uids.String() != "1:2" {
		t.Fatalf("APPEND: %d, %v", validity, uids)
	}
	one := imap.NumSetSeq(imap.SeqSet{{First: 1, Last: 1}})
	all, err := c.Store(one, "+FLAGS", imap.FlagDeleted)
	check(t, err)
	if all[0].Name != "FETCH" {
		t.Fatalf("STORE: %+v", all[0])
	}
	dest, err := c.Copy(one, "größer")
	check(t, err)
	if dest.String() != "3" {
		t.Fatalf("COPY: %v", dest)
	}
	if dest, err = c.Move(imap.NumSetUID(imap.UIDSet{{First: 2, Last: 4}}), "größer"); err != nil || dest.String() != "4:5" {
		t.Fatalf("MOVE: %v, %v", dest, err)
	}
	if all, err = c.Expunge(); err != nil || all[0].Name != "EXPUNGE" || all[0].Number != 1 {
		t.Fatalf("EXPUNGE: %v, %v", all, err)
	}
	if _, err := c.Select("größer"); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	err = c.Fetch(one, "BODY[]", func(_ uint32, _ string, _ int64, r io.Reader) error {
		_, err := io.Copy(&got, r)
		return err
	}, nil)
	check(t, err)
	if got.String() != body {
		t.Fatalf("%d octets came back", got.Len())
	}
	var refused *imapclient.Error
	if _, _, err = c.Append("nowhere", imapclient.Message{Size: 3, Body: strings.NewReader("abc")}); !errors.As(err, &refused) || refused.Code != "TRYCREATE" {
		t.Fatalf("APPEND to nowhere: %v", err)
	}
	check(t, c.Delete("größer"))
}

func TestClientTLS(t *testing.T) {
	c := newClient(t, newFakeStore(), func(o *Options) { o.InsecureAuth = false })
	if err := c.Login("fred", "secret"); err == nil {
		t.Fatal("LOGIN without TLS")
	}
	check(t, c.StartTLS(context.Background(), &tls.Config{InsecureSkipVerify: true}))
	plain, err := sasl.NewClient(sasl.Plain, sasl.Credentials{User: "fred", Password: "secret"}, c.Bindings(), nil)
	check(t, err)
	check(t, c.Authenticate(plain))
	check(t, c.Logout())
}

func TestClientIdle(t *testing.T) {
	store := newFakeStore()
	c, other := newClient(t, store, nil), newClient(t, store, nil)
	for _, c := range []*imapclient.Client{c, other} {
		check(t, c.Login("fred", "secret"))
	}
	if _, err := c.Select("INBOX"); err != nil {
		t.Fatal(err)
	}
	told := make(chan *imapclient.Response, 10)
	done := make(chan error, 1)
	go func() {
		done <- c.Idle(10*time.Second, func(r *imapclient.Response) bool {
			told <- r
			return r.Name != "EXISTS"
		})
	}()
	// Whether IDLE has begun or not, the message is told.
	_, _, err := other.Append("INBOX", imapclient.Message{Size: 3, Body: strings.NewReader("abc")})
	check(t, err)
	check(t, <-done)
	if r := <-told; r.Name != "EXISTS" || r.Number != 1 {
		t.Fatalf("told %+v", r)
	}
	check(t, c.Idle(20*time.Millisecond, func(*imapclient.Response) bool { return true }))
	if _, err := c.Do("NOOP"); err != nil {
		t.Fatal(err)
	}
}

// TestImplicitTLS serves on a listener and shuts down while a client idles.
func TestImplicitTLS(t *testing.T) {
	server := newServer(t, newFakeStore(), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(l) }()
	c, err := imapclient.Dial(context.Background(), l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	check(t, err)
	defer c.Close()
	check(t, c.Login("fred", "secret"))
	idle := make(chan error, 1)
	idling := make(chan struct{})
	go func() {
		close(idling)
		idle <- c.Idle(10*time.Second, func(r *imapclient.Response) bool { return r.Status != imap.BYE })
	}()
	<-idling
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	check(t, server.Shutdown(ctx))
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
	if err := <-idle; err == nil {
		t.Error("IDLE ended well though the server said good bye")
	}
	if err := server.Serve(l); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

// TestCompressedNoise sends what cannot be compressed, both ways.
func TestCompressedNoise(t *testing.T) {
	store := newFakeStore()
	c := newClient(t, store, nil)
	check(t, c.Login("fred", "secret"))
	check(t, c.Compress())
	noise := make([]byte, 90_000)
	for i := range noise {
		noise[i] = byte(1 + rand.IntN(255))
	}
	_, _, err := c.Append("INBOX", imapclient.Message{Size: int64(len(noise)), Body: bytes.NewReader(noise)})
	check(t, err)
	_, err = c.Select("INBOX")
	check(t, err)
	var got bytes.Buffer
	err = c.Fetch(imap.NumSetSeq(imap.SeqSet{{First: 1, Last: 1}}), "BODY[]", func(_ uint32, _ string, _ int64, r io.Reader) error {
		_, err := io.Copy(&got, r)
		return err
	}, nil)
	check(t, err)
	if !slices.Equal(got.Bytes(), noise) {
		t.Fatalf("%d octets came back", got.Len())
	}
}
