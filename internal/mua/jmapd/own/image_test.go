package own

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postroad/internal/directory"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

const png = "\x89PNG\r\n\x1a\n and more"

// listen opens a port below 32768 of an address of loopback.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	for range 100 {
		if l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, 20000+rand.IntN(12000))); err == nil {
			return l
		}
	}
	t.Fatal("no port is free")
	return nil
}

// web is a server of pictures; seen is the header of the last request for each path.
type web struct {
	*httptest.Server
	asked atomic.Int64
	seen  chan http.Header
}

func newWeb(t *testing.T) *web {
	t.Helper()
	s := &web{seen: make(chan http.Header, 100)}
	mux := http.NewServeMux()
	give := func(path, content string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html") // what it says does not count
			w.Header().Set("Set-Cookie", "track=1")
			fmt.Fprint(w, content)
		})
	}
	give("/png", png)
	give("/gif", "GIF89a...")
	give("/short", "GIF89a")
	give("/html", "<html><script>alert(1)</script>")
	give("/svg", `<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>`)
	give("/empty", "")
	for i := range imageRedirects + 1 {
		mux.Handle(fmt.Sprintf("/hop%d", i+1), http.RedirectHandler(fmt.Sprintf("/hop%d", i), http.StatusFound))
	}
	mux.Handle("/hop0", http.RedirectHandler("/png", http.StatusFound))
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusFound)
	})
	mux.Handle("/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	mux.Handle("/user", http.RedirectHandler("http://a:b@127.0.0.1/png", http.StatusFound))
	mux.HandleFunc("/zipped", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		fmt.Fprint(w, png)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(ImageMax+1))
		fmt.Fprint(w, png)
	})
	stream := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, png)
			w.(http.Flusher).Flush() // without a length
			_, _ = w.Write(bytes.Repeat([]byte{'x'}, n-len(png)))
		}
	}
	mux.HandleFunc("/endless", stream(ImageMax+1))
	mux.HandleFunc("/full", stream(ImageMax))
	s.Server = &httptest.Server{Listener: listen(t, "127.0.0.1"), Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		select {
		case s.seen <- r.Header.Clone():
		default:
		}
		mux.ServeHTTP(w, r)
	})}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// images is a proxy for a user who may fetch from some networks.
func images(user *access.User, networks ...string) *ImageProxy {
	o := ImageOptions{Authenticate: func(w http.ResponseWriter, r *http.Request) (*access.User, error) {
		if user == nil {
			return nil, &jmap.Problem{Status: http.StatusUnauthorized, Detail: "log in"}
		}
		return user, nil
	}}
	for _, n := range networks {
		o.Networks = append(o.Networks, netip.MustParsePrefix(n))
	}
	return NewImageProxy(o)
}

// fetch asks a proxy for a URL.
func fetch(p http.Handler, method, of string) *http.Response {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, "/jmap/image?url="+url.QueryEscape(of), nil)
	r.Header.Set("Cookie", "session=secret")
	r.Header.Set("Referer", "https://mail.ours.test/inbox")
	p.ServeHTTP(w, r)
	return w.Result()
}

var anybody = &access.User{Principal: directory.Principal{ID: 7}}

// TestImage is a table of what is fetched and what is not.
func TestImage(t *testing.T) {
	s, p := newWeb(t), images(anybody, "127.0.0.1/32")
	for path, want := range map[string]string{
		"/png": "200 image/png", "/gif": "200 image/gif", "/short": "200 image/gif", "/png#part": "200 image/png", "/full": "200 image/png",
		"/hop2": "200 image/png", "/hop3": "502 application/problem+json", "/file": "502 application/problem+json", "/user": "502 application/problem+json", "/nothing": "502 application/problem+json",
		"/html": "415 application/problem+json", "/svg": "415 application/problem+json", "/empty": "502 application/problem+json",
		"/zipped": "502 application/problem+json", "/large": "502 application/problem+json", "/endless": "502 application/problem+json",
	} {
		r := fetch(p, http.MethodGet, s.URL+path)
		if got := fmt.Sprint(r.StatusCode, " ", r.Header.Get("Content-Type")); got != want {
			t.Errorf("%s: %s", path, got)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Set-Cookie") != "" || r.StatusCode == 200 != strings.Contains(r.Header.Get("Cache-Control"), "max-age") {
			t.Errorf("%s: %v", path, r.Header)
		}
	}
	r := fetch(p, http.MethodGet, s.URL+"/png")
	if got, err := io.ReadAll(r.Body); string(got) != png || err != nil || r.ContentLength != int64(len(png)) {
		t.Errorf("%q of %d octets, %v", got, r.ContentLength, err)
	}
	for range len(s.seen) {
		h := <-s.seen
		if h.Get("Cookie") != "" || h.Get("Referer") != "" {
			t.Errorf("the server is told %v", h)
		}
	}
}

// TestImageReach: nothing is fetched from within, by address, name or number.
func TestImageReach(t *testing.T) {
	s := newWeb(t)
	port := s.Listener.Addr().(*net.TCPAddr).Port
	before := s.asked.Load()
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0", "[::]", "169.254.169.254", "10.0.0.1"} {
		if r := fetch(images(anybody), http.MethodGet, fmt.Sprintf("http://%s:%d/png", host, port)); r.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %d", host, r.StatusCode)
		}
	}
	if n := s.asked.Load() - before; n != 0 {
		t.Errorf("the server within was asked %d times", n)
	}
	// A server outside that leads inward: each redirect is checked as the first request is.
	inner := &httptest.Server{Listener: listen(t, "127.0.0.2"), Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, png)
	})}}
	inner.Start()
	defer inner.Close()
	for networks, want := range map[string]int{"127.0.0.1/32": http.StatusBadGateway, "127.0.0.0/8": http.StatusOK} {
		if r := fetch(images(anybody, networks), http.MethodGet, s.URL+"/to?url="+url.QueryEscape(inner.URL)); r.StatusCode != want {
			t.Errorf("a redirect inward with %s allowed: %d", networks, r.StatusCode)
		}
	}
	if r := fetch(images(anybody, "127.0.0.0/8"), http.MethodGet, "http://127.0.0.1:25/png"); r.StatusCode != http.StatusBadGateway {
		t.Errorf("port of mail: %d", r.StatusCode)
	}
	for _, bad := range []string{"", "x", "/png", "ftp://127.0.0.1/", "file:///etc/passwd", "data:image/png,x", "http:///x", "http://a:b@else.test/", "http:else.test", "http://[::1", "http://else.test/" + strings.Repeat("x", imageURLMax)} {
		if r := fetch(images(anybody, "127.0.0.0/8"), http.MethodGet, bad); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%.40s: %d", bad, r.StatusCode)
		}
	}
}

// TestImageUsers: who may not, what method, and that a user waits for his own places only.
func TestImageUsers(t *testing.T) {
	s := newWeb(t)
	scoped := &access.User{Scopes: []string{access.ScopeMail}}
	for name, test := range map[string]struct {
		user   *access.User
		method string
		want   int
	}{
		"nobody": {nil, http.MethodGet, 401}, "a token": {scoped, http.MethodGet, 403}, "POST": {anybody, http.MethodPost, 405},
	} {
		if r := fetch(images(test.user, "127.0.0.0/8"), test.method, s.URL+"/png"); r.StatusCode != test.want {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
	p := images(anybody, "127.0.0.0/8")
	var leave []func()
	for range imagesPerUser {
		l, err := p.enter(t.Context(), 7)
		must(t, err)
		leave = append(leave, l)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.enter(ctx, 7); err == nil {
		t.Error("one more than a user may")
	}
	other, err := p.enter(t.Context(), 8)
	must(t, err)
	for _, l := range append(leave, other) {
		l()
	}
	if len(p.users) != 0 || len(p.all) != 0 {
		t.Errorf("%d users and %d places are left", len(p.users), len(p.all))
	}
	if r := fetch(p, http.MethodGet, s.URL+"/png"); r.StatusCode != 200 {
		t.Errorf("afterwards: %d", r.StatusCode)
	}
}

// FuzzImageType holds that only pictures that browsers do not run are let through.
func FuzzImageType(f *testing.F) {
	for _, seed := range []string{png, "GIF87a", "GIF89a", "\xff\xd8\xff\xe0", "RIFF0000WEBP", "0000ftypavif", "<svg", "", "RIFF", "0000ftyp"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind := imageType(b)
		if kind != "" && (b[0] == '<' && kind != "image/avif" || len(b) < 3 || !strings.HasPrefix(kind, "image/")) {
			t.Errorf("%q is %s", b, kind)
		}
	})
}
