package jmapd

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/address"
	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/directory"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/reach"
	"postroad/internal/objects"
	"postroad/jmap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settings is a part with one data type, over objects of the kind Setting.
type settings struct{ house *access.House }

const settingsURI = "https://example.com/settings"

func (settings) Methods() []jmap.Method  { return nil }
func (settings) Session() map[string]any { return map[string]any{settingsURI: map[string]any{}} }
func (settings) Capabilities(*access.User, *access.Account) map[string]any {
	return map[string]any{settingsURI: map[string]any{"max": 1}}
}
func (p settings) States(ctx context.Context, a *access.Account) (map[string]string, error) {
	s, err := p.house.Objects.State(ctx, a.ID(), objects.Setting)
	return map[string]string{"Setting": s.String()}, err
}

// oneBlob is access.Blobs with one blob of alice's.
type oneBlob struct{ owner directory.AccountID }

func (b oneBlob) Upload(_ context.Context, u *access.User, a *access.Account, _ string, r io.Reader) (jmap.ID, int64, error) {
	if !a.Own {
		return "", 0, jmap.ErrAccountReadOnly
	}
	n, err := io.Copy(io.Discard, r)
	return "U1", n, err
}

func (b oneBlob) OpenBlob(_ context.Context, u *access.User, a *access.Account, id jmap.ID) (jmap.Blob, error) {
	if a.ID() != b.owner || id != "U1" {
		return nil, jmap.ErrBlobNotFound
	}
	return memory{strings.NewReader("octets")}, nil
}

func (oneBlob) KeepBlob(context.Context, *mailflow.Unit, *access.User, *access.Account, jmap.ID, string) (blob.Body, error) {
	return blob.Body{}, jmap.ErrBlobNotFound
}

type memory struct{ *strings.Reader }

func (memory) Close() error { return nil }

// world is a server over memory with alice and bob.
type world struct {
	*Server
	t     testing.TB
	users map[string]*access.User
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	ctx := context.Background()
	engine, clock := memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	c := &mailflow.Committer{Engine: engine, Bodies: blob.NewBodies(engine, memblob.New(), clock)}
	d, err := directory.Open(ctx, directory.Options{Engine: engine, Committer: c, Clock: clock})
	must(t, err)
	t.Cleanup(d.Close)
	mail := mailstore.New(mailstore.Options{Committer: c, Clock: clock})
	h := &access.House{Mail: mail, Directory: d, Objects: &objects.Store{Committer: c, Clock: clock}, Committer: c, Clock: clock,
		Host: "mail.ours.test", Log: slog.New(slog.DiscardHandler)}
	w := &world{t: t, users: map[string]*access.User{}}
	_, err = d.AddDomain(ctx, directory.Domain{Name: "ours.test"})
	must(t, err)
	for _, name := range []string{"alice", "bob"} {
		a, err := address.Parse(name + "@ours.test")
		must(t, err)
		made, err := d.AddAccount(ctx, directory.NewAccount{Addresses: []address.Address{a}})
		must(t, err)
		must(t, mail.Create(ctx, made.ID, mailstore.Quota{}))
		p, err := d.Principal(ctx, made.ID)
		must(t, err)
		w.users[name] = &access.User{Principal: p, Credential: "password"}
	}
	o := Options{House: h, Parts: []Part{settings{h}}, Blobs: oneBlob{w.users["alice"].ID},
		Authenticate: func(_ http.ResponseWriter, r *http.Request) (*access.User, error) {
			name, credential, _ := r.BasicAuth()
			u, ok := w.users[name]
			if !ok {
				return nil, &jmap.Problem{Status: http.StatusUnauthorized}
			}
			as := *u
			as.Credential = credential
			return &as, nil
		}}
	for _, f := range change {
		f(&o)
	}
	w.Server, err = New(ctx, o)
	must(t, err)
	return w
}

func (w *world) account(name string) jmap.ID { return access.FormatID('A', w.users[name].ID) }

// touch changes something in an account.
func (w *world) touch(name string) {
	w.t.Helper()
	_, err := w.house.Objects.Create(context.Background(), w.users[name].ID, objects.Setting, []byte("x"))
	must(w.t, err)
}

// ask makes a request as a user and returns the answer.
func (w *world) ask(user, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.SetBasicAuth(user, "password")
	r.Header.Set("Content-Type", "application/json")
	a := httptest.NewRecorder()
	w.Handler().ServeHTTP(a, r)
	return a
}

// share lets bob into alice's INBOX, or no longer.
func (w *world) share(rights imap.Rights) {
	w.t.Helper()
	ctx := context.Background()
	a, err := w.house.Mail.Account(ctx, w.users["alice"].ID)
	must(w.t, err)
	inbox, err := a.Inbox(ctx)
	must(w.t, err)
	bob := mailstore.Subject{Kind: mailstore.SubjectAccount, Account: w.users["bob"].ID}
	must(w.t, a.SetACL(ctx, w.users["alice"].Org, inbox, bob, imap.RightsReplace, rights))
}

func TestSessionOfShared(t *testing.T) {
	w := newWorld(t)
	w.share(imap.RightLookup | imap.RightRead)
	var o struct {
		Username        string
		Accounts        map[jmap.ID]jmap.SessionAccount
		PrimaryAccounts map[string]jmap.ID
		Capabilities    map[string]map[string]any
		State           string
	}
	a := w.ask("bob", "GET", "/.well-known/jmap", "")
	must(t, json.Unmarshal(a.Body.Bytes(), &o))
	if o.Username != "bob@ours.test" || len(o.Accounts) != 2 || !o.Accounts[w.account("bob")].IsPersonal || o.Accounts[w.account("alice")].IsPersonal ||
		o.Accounts[w.account("alice")].Name != "alice@ours.test" || o.PrimaryAccounts[settingsURI] != w.account("bob") {
		t.Errorf("%s", a.Body)
	}
	if key, _ := o.Capabilities[capabilityVAPID]["applicationServerKey"].(string); len(key) != 87 {
		t.Errorf("the key for push services is %q", key)
	}
	w.share(0)
	state := o.State
	must(t, json.Unmarshal(w.ask("bob", "GET", "/jmap/session", "").Body.Bytes(), &o))
	if o.State == state {
		t.Error("an account is gone, and the state is the same")
	}
}

func TestBlobs(t *testing.T) {
	w := newWorld(t)
	w.share(imap.RightLookup | imap.RightRead)
	alice := string(w.account("alice"))
	for _, test := range []struct {
		user, method, path string
		status             int
		says               string
	}{
		{"alice", "POST", "/jmap/upload/" + alice + "/", 201, `"blobId":"U1"`},
		{"bob", "POST", "/jmap/upload/" + alice + "/", 403, "written"},
		{"alice", "GET", "/jmap/download/" + alice + "/U1/x", 200, "octets"},
		{"bob", "GET", "/jmap/download/" + alice + "/U1/x", 200, "octets"},
		{"alice", "GET", "/jmap/download/" + string(w.account("bob")) + "/U1/x", 404, "account"},
		{"bob", "GET", "/jmap/download/" + string(w.account("bob")) + "/U1/x", 404, "blob"},
	} {
		if a := w.ask(test.user, test.method, test.path, "x"); a.Code != test.status || !strings.Contains(a.Body.String(), test.says) {
			t.Errorf("%s %s %s: %d %s", test.user, test.method, test.path, a.Code, a.Body)
		}
	}
}

// TestChangesSoon follows changes of one's own account and of others', and of who shares.
func TestChangesSoon(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.Handler())
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/jmap/eventsource?types=*&closeafter=no&ping=0", nil)
	must(t, err)
	r.SetBasicAuth("bob", "password")
	a, err := http.DefaultClient.Do(r)
	must(t, err)
	defer a.Body.Close()
	lines := bufio.NewScanner(a.Body)
	next := func(what string, since time.Time) jmap.States {
		t.Helper()
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			if took := time.Since(since); took > 100*time.Millisecond {
				t.Logf("%s took %s on a machine at work", what, took)
			}
			var c struct{ Changed jmap.States }
			must(t, json.Unmarshal([]byte(data), &c))
			return c.Changed
		}
		t.Fatalf("%s: the stream ends", what)
		return nil
	}
	at := time.Now()
	w.touch("bob")
	if c := next("one's own", at); len(c) != 1 || c[w.account("bob")]["Setting"] == "" {
		t.Errorf("%v", c)
	}
	w.touch("alice") // nothing of bob's yet
	at = time.Now()
	w.share(imap.RightLookup | imap.RightRead)
	if c := next("sharing", at); len(c) != 1 || c[w.account("alice")]["Setting"] == "" {
		t.Errorf("%v", c)
	}
	time.Sleep(60 * time.Millisecond)
	at = time.Now()
	w.touch("alice")
	if c := next("another's", at); len(c) != 1 || c[w.account("alice")]["Setting"] == "" {
		t.Errorf("%v", c)
	}
	w.share(0)
	time.Sleep(60 * time.Millisecond)
	w.touch("alice")
	w.touch("bob")
	if c := next("no longer another's", time.Now()); len(c) != 1 || c[w.account("bob")]["Setting"] == "" {
		t.Errorf("%v", c)
	}
	must(t, w.Shutdown(t.Context()))
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		w.hub.mu.Lock()
		n := len(w.hub.spaces)
		w.hub.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d spaces are watched for nobody", n)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// service is a push service.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	status int // mu; of the answers
	got    chan *http.Request
	bodies chan string
}

func newService(t testing.TB) (*service, func(*Options)) {
	s := &service{status: http.StatusCreated, got: make(chan *http.Request, 100), bodies: make(chan string, 100)}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		status := s.status
		s.mu.Unlock()
		if status == http.StatusFound {
			w.Header().Set("Location", s.URL+"/elsewhere")
		}
		w.WriteHeader(status)
		s.got <- r
		s.bodies <- string(body)
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, func(o *Options) {
		o.PushNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		o.PushTLS = &tls.Config{RootCAs: roots}
	}
}

func (s *service) answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// next is the next push.
func (s *service) next(t testing.TB) (*http.Request, map[string]any) {
	t.Helper()
	select {
	case r := <-s.got:
		var v map[string]any
		if text := <-s.bodies; r.Header.Get("Content-Encoding") == "" {
			must(t, json.Unmarshal([]byte(text), &v))
		}
		return r, v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is pushed")
		return nil, nil
	}
}

// none finds that nothing is pushed.
func (s *service) none(t testing.TB) {
	t.Helper()
	select {
	case <-s.got:
		t.Errorf("pushed, and should not be: %s", <-s.bodies)
	case <-time.After(100 * time.Millisecond):
	}
}

// background runs the server's background work until the end of the test or stop.
func (w *world) background() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	for {
		w.push.mu.Lock()
		begun := w.push.ctx != nil
		w.push.mu.Unlock()
		if begun {
			break
		}
		time.Sleep(time.Millisecond)
	}
	stop = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	return stop
}

// call makes one call as a user with a credential.
func (w *world) call(user, credential, method, args string) map[string]any {
	w.t.Helper()
	r := httptest.NewRequest("POST", "/jmap/api", strings.NewReader(`{"using":["urn:ietf:params:jmap:core"],"methodCalls":[["`+method+`",`+args+`,"0"]]}`))
	r.SetBasicAuth(user, credential)
	r.Header.Set("Content-Type", "application/json")
	a := httptest.NewRecorder()
	w.Handler().ServeHTTP(a, r)
	var out struct {
		MethodResponses [][]json.RawMessage `json:"methodResponses"`
	}
	if err := json.Unmarshal(a.Body.Bytes(), &out); err != nil || len(out.MethodResponses) == 0 {
		w.t.Fatalf("%d %s", a.Code, a.Body)
	}
	var v map[string]any
	must(w.t, json.Unmarshal(out.MethodResponses[0][1], &v))
	return v
}

func TestPushSubscription(t *testing.T) {
	s, options := newService(t)
	w := newWorld(t, options)
	stop := w.background()
	made := w.call("alice", "password", "PushSubscription/set", `{"create":{"4f29":{"deviceClientId":"a889-ffea-910","url":"`+s.URL+`/push/?device=X","types":null}}}`)
	created := made["created"].(map[string]any)["4f29"].(map[string]any)
	id := created["id"].(string)
	expires, ok := jmap.ParseUTCDate(created["expires"].(string))
	if left := time.Until(expires); !ok || left > 7*24*time.Hour || left < 7*24*time.Hour-time.Minute || created["keys"] != nil {
		t.Errorf("%v", created)
	}
	for _, absent := range []string{"accountId", "oldState", "newState"} {
		if _, there := made[absent]; there {
			t.Errorf("%s is told", absent)
		}
	}
	r, body := s.next(t)
	code, _ := body["verificationCode"].(string)
	if body["@type"] != "PushVerification" || body["pushSubscriptionId"] != id || len(code) < 22 || r.Header.Get("Content-Type") != "application/json" ||
		r.Header.Get("TTL") == "" || !strings.HasPrefix(r.Header.Get("Authorization"), "vapid t=") || r.URL.Path != "/push/" {
		t.Errorf("%v %v", r.Header, body)
	}
	w.touch("alice")
	s.none(t) // RFC 8620, 7.2.2: nothing more before it is verified
	wrong := w.call("alice", "password", "PushSubscription/set", `{"update":{"`+id+`":{"verificationCode":"wrong"}}}`)
	if e := fmt.Sprint(wrong["notUpdated"]); !strings.Contains(e, "invalidProperties") || !strings.Contains(e, "verificationCode") {
		t.Errorf("%v", wrong)
	}
	right := w.call("alice", "password", "PushSubscription/set", `{"update":{"`+id+`":{"verificationCode":"`+code+`"}}}`)
	if u, ok := right["updated"].(map[string]any); !ok || len(u) != 1 {
		t.Fatalf("%v", right)
	}
	time.Sleep(50 * time.Millisecond)
	w.touch("alice")
	if _, body = s.next(t); body["@type"] != "StateChange" || !strings.Contains(fmt.Sprint(body["changed"]), string(w.account("alice"))) {
		t.Errorf("%v", body)
	}
	// What changed while we were down is told of afterwards.
	stop()
	w.touch("alice")
	w.background()
	if _, body = s.next(t); body["@type"] != "StateChange" {
		t.Errorf("after a restart: %v", body)
	}
	got := w.call("alice", "password", "PushSubscription/get", `{"ids":null}`)
	list := got["list"].([]any)
	if len(list) != 1 || fmt.Sprint(list[0].(map[string]any)["verificationCode"]) != code || strings.Contains(fmt.Sprint(list), "http") {
		t.Errorf("%v", got)
	}
	if got = w.call("alice", "password", "PushSubscription/get", `{"ids":["`+id+`"],"properties":["url"]}`); got["type"] != "forbidden" {
		t.Errorf("%v", got)
	}
	if got = w.call("alice", "password", "PushSubscription/get", `{"accountId":"A1","ids":null}`); got["type"] != "invalidArguments" {
		t.Errorf("%v", got)
	}
	for _, other := range [][2]string{{"alice", "app:phone"}, {"bob", "password"}} {
		if got = w.call(other[0], other[1], "PushSubscription/get", `{"ids":["`+id+`"]}`); fmt.Sprint(got["notFound"]) != "["+id+"]" {
			t.Errorf("%v sees the subscription of another credential: %v", other, got)
		}
		if got = w.call(other[0], other[1], "PushSubscription/set", `{"destroy":["`+id+`"]}`); got["destroyed"] != nil {
			t.Errorf("%v destroys it: %v", other, got)
		}
	}
	s.answer(http.StatusGone)
	w.touch("alice")
	s.next(t)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if got = w.call("alice", "password", "PushSubscription/get", `{"ids":null}`); len(got["list"].([]any)) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is gone, and still there: %v", got)
		}
	}
	// The key for push services is kept.
	again, err := New(t.Context(), w.o)
	must(t, err)
	if again.push.public != w.push.public {
		t.Error("another key after a restart")
	}
}

func TestPushEncrypted(t *testing.T) {
	s, options := newService(t)
	w := newWorld(t, options)
	w.background()
	made := w.call("alice", "password", "PushSubscription/set", `{"create":{"k":{"deviceClientId":"d","url":"`+s.URL+`","expires":"2099-01-01T00:00:00Z",
		"keys":{"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}}}}`)
	if made["created"] == nil {
		t.Fatalf("%v", made)
	}
	if r, _ := s.next(t); r.Header.Get("Content-Encoding") != "aes128gcm" {
		t.Errorf("%v", r.Header)
	}
}

// TestPushRedirect finds that a redirect is not followed.
func TestPushRedirect(t *testing.T) {
	s, options := newService(t)
	w := newWorld(t, options)
	w.background()
	s.answer(http.StatusFound)
	w.call("alice", "password", "PushSubscription/set", `{"create":{"k":{"deviceClientId":"d","url":"`+s.URL+`/here"}}}`)
	if r, _ := s.next(t); r.URL.Path != "/here" {
		t.Errorf("%s", r.URL)
	}
	s.none(t)
}

func TestPushRefused(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct{ name, object, property string }{
		{"no device", `{"url":"https://x.test/"}`, "deviceClientId"},
		{"no URL", `{"deviceClientId":"d"}`, "url"},
		{"without TLS", `{"deviceClientId":"d","url":"http://x.test/"}`, "url"},
		{"with a password", `{"deviceClientId":"d","url":"https://u:p@x.test/"}`, "url"},
		{"no host", `{"deviceClientId":"d","url":"https:///x"}`, "url"},
		{"no keys", `{"deviceClientId":"d","url":"https://x.test/","keys":{"p256dh":"x","auth":"y"}}`, "keys"},
		{"a code", `{"deviceClientId":"d","url":"https://x.test/","verificationCode":"x"}`, "verificationCode"},
		{"in the past", `{"deviceClientId":"d","url":"https://x.test/","expires":"2001-01-01T00:00:00Z"}`, "expires"},
		{"types are a string", `{"deviceClientId":"d","url":"https://x.test/","types":"Email"}`, "types"},
		{"an id", `{"deviceClientId":"d","url":"https://x.test/","id":"P1"}`, "id"},
	} {
		r := w.call("alice", "password", "PushSubscription/set", `{"create":{"k":`+test.object+`}}`)
		e := fmt.Sprint(r["notCreated"])
		if !strings.Contains(e, "invalidProperties") || !strings.Contains(e, test.property) {
			t.Errorf("%s: %v", test.name, r)
		}
	}
	for range subscriptionsMax {
		w.call("alice", "password", "PushSubscription/set", `{"create":{"k":{"deviceClientId":"d","url":"https://x.test/"}}}`)
	}
	if r := w.call("alice", "password", "PushSubscription/set", `{"create":{"k":{"deviceClientId":"d","url":"https://x.test/"}}}`); !strings.Contains(fmt.Sprint(r["notCreated"]), "rateLimit") {
		t.Errorf("too many: %v", r)
	}
}

func TestMayReach(t *testing.T) {
	for a, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "10.1.2.3": false, "192.168.1.1": false, "172.16.0.1": false, "169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false,
		"224.0.0.1": false, "255.255.255.255": false, "::1": false, "::": false, "fe80::1%eth0": false, "fd00::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "::127.0.0.1": false, "2001:db8::1": false,
	} {
		if got := reach.May(netip.MustParseAddr(a), nil); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if !reach.May(netip.MustParseAddr("::ffff:127.0.0.1"), []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}) {
		t.Error("an allowed network is refused")
	}
	// The address is looked at when it is connected to, whatever the name.
	s, _ := newService(t)
	if _, err := pushClient(nil, nil).Get(s.URL); err == nil || !strings.Contains(err.Error(), "not of the open Internet") {
		t.Errorf("loopback: %v", err)
	}
}
