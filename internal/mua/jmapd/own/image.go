package own

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/internal/mua/reach"
	"postroad/jmap"
)

// Limits of images that are fetched for users.
const (
	ImageMax         = 10 << 20 // octets
	imageURLMax      = 4 << 10  // octets
	imageTimeout     = 20 * time.Second
	imageDialTimeout = 5 * time.Second
	imageHeaderMax   = 32 << 10 // octets
	imageRedirects   = 3
	imagesPerUser    = 6 // at once; others wait
	imagesAtOnce     = 64
	imagesInMemory   = 8 // of them, those that do not say how long they are
	imageAge         = 7 * 24 * time.Hour
)

// ImageOptions are what an image proxy is set up with.
type ImageOptions struct {
	// Authenticate tells whom a request is from. A *jmap.Problem is answered as it is.
	Authenticate func(w http.ResponseWriter, r *http.Request) (*access.User, error)
	// Networks may be fetched from although they are not of the open Internet.
	Networks []netip.Prefix
	// TLS is for tests: roots that servers are checked by; nil: the system's.
	TLS *tls.Config
}

// ImageProxy is an http.Handler that fetches pictures of others' servers for users: GET with
// the query parameter url. Who sent a message with a picture learns neither his reader's
// address nor anything of his browser.
type ImageProxy struct {
	o      ImageOptions
	client *http.Client
	all    chan struct{} // one for each that is fetched
	memory chan struct{}

	mu    sync.Mutex
	users map[mailstore.AccountID]*places // mu; those that fetch something
}

// places are what one user fetches.
type places struct {
	taken chan struct{}
	n     int // those that wait and those that fetch
}

// NewImageProxy returns an image proxy.
func NewImageProxy(o ImageOptions) *ImageProxy {
	return &ImageProxy{o: o, client: imageClient(o), all: make(chan struct{}, imagesAtOnce), memory: make(chan struct{}, imagesInMemory),
		users: map[mailstore.AccountID]*places{}}
}

// Ports of the Web; others below 1024 are other services'.
const (
	httpPort          = 80
	httpsPort         = 443
	unprivilegedPorts = 1024
)

// imageClient is an HTTP client that goes to the open Internet only. The address is looked
// at when it is connected to, so that no second answer of a resolver can be another one.
func imageClient(o ImageOptions) *http.Client {
	dialer := &net.Dialer{Timeout: imageDialTimeout, ControlContext: func(_ context.Context, _, at string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(at)
		if err != nil {
			return err
		}
		if !reach.May(to.Addr(), o.Networks) || to.Port() != httpPort && to.Port() != httpsPort && to.Port() < unprivilegedPorts {
			return fmt.Errorf("fetch from %s: not the Web", at)
		}
		return nil
	}}
	return &http.Client{
		Timeout: imageTimeout,
		Transport: &http.Transport{Proxy: nil, DialContext: dialer.DialContext, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true, DisableCompression: true,
			DisableKeepAlives: true, TLSHandshakeTimeout: imageDialTimeout, ResponseHeaderTimeout: imageTimeout, MaxResponseHeaderBytes: imageHeaderMax},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			r.Header.Del("Referer") // net/http adds it
			if len(via) > imageRedirects {
				return errors.New("too many redirects")
			}
			return checkImageURL(r.URL)
		},
	}
}

// checkImageURL says why nothing is fetched from a URL.
func checkImageURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Opaque != "" {
		return errors.New("url: only http and https, with a host and without a user")
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (p *ImageProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, &jmap.Problem{Status: http.StatusMethodNotAllowed, Detail: "only GET"})
		return
	}
	u, err := p.o.Authenticate(w, r)
	if err == nil && !u.May(Capability) {
		err = &jmap.Problem{Status: http.StatusForbidden, Detail: "the token is for other things"}
	}
	var from *url.URL
	if err == nil {
		from, err = imageURL(r)
	}
	if err == nil {
		err = p.fetch(w, r, u, from)
	}
	var told *jmap.Problem
	switch {
	case err == nil:
	case errors.As(err, &told):
		refuse(w, told)
	default: // the directory's, or a store's
		refuse(w, &jmap.Problem{Status: http.StatusInternalServerError, Detail: "the server cannot do it now"})
	}
}

// refuse answers why not (RFC 7807).
func refuse(w http.ResponseWriter, p *jmap.Problem) {
	out, err := json.Marshal(map[string]any{"type": "about:blank", "title": http.StatusText(p.Status), "status": p.Status, "detail": p.Detail})
	if err != nil {
		out = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(out) // who asked is gone where it fails
}

// imageURL reads what is asked for.
func imageURL(r *http.Request) (*url.URL, error) {
	text := r.URL.Query().Get("url")
	from, err := url.Parse(text)
	if err == nil {
		err = checkImageURL(from)
	}
	if err != nil || len(text) > imageURLMax {
		return nil, &jmap.Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("url: only http and https, with a host and without a user, at most %d octets", imageURLMax)}
	}
	from.Fragment = ""
	return from, nil
}

// errNoImage is told of all that went wrong outside: what exactly is nobody's business who
// looks for machines that answer.
var errNoImage = &jmap.Problem{Status: http.StatusBadGateway, Detail: "there is no such picture, or its server is not to be reached"}

// fetch fetches a picture and answers with it. An error means that nothing was answered.
func (p *ImageProxy) fetch(w http.ResponseWriter, r *http.Request, u *access.User, from *url.URL) error {
	leave, err := p.enter(r.Context(), u.ID)
	if err != nil {
		return err
	}
	defer leave()
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, from.String(), nil)
	if err != nil {
		return errNoImage
	}
	ask.Header.Set("Accept", "image/avif,image/webp,image/png,image/jpeg,image/gif")
	ask.Header.Set("User-Agent", "Mozilla/5.0") // none of the user's, and none that some servers refuse
	answer, err := p.client.Do(ask)
	if err != nil {
		return errNoImage
	}
	defer answer.Body.Close() // read only: nothing is lost
	switch {
	case answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Encoding") != "":
		return errNoImage
	case answer.ContentLength > ImageMax:
		return errLargeImage
	}
	start := make([]byte, magicMax)
	n, err := io.ReadFull(answer.Body, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return errNoImage
	}
	kind := imageType(start[:n])
	if kind == "" {
		return &jmap.Problem{Status: http.StatusUnsupportedMediaType, Detail: "what is there is no PNG, JPEG, GIF, WebP or AVIF"}
	}
	content := io.MultiReader(bytes.NewReader(start[:n]), answer.Body)
	size := answer.ContentLength
	if size < 0 {
		var done func()
		if content, size, done, err = p.whole(r.Context(), content); err != nil {
			return err
		}
		defer done()
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("Cache-Control", fmt.Sprintf("private, max-age=%d", int(imageAge/time.Second)))
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Who reads slowly does not keep a place for long. Not all writers have deadlines; those
	// that have none end on their own.
	deadline := http.NewResponseController(w)
	_ = deadline.SetWriteDeadline(time.Now().Add(imageTimeout))
	defer func() { _ = deadline.SetWriteDeadline(time.Time{}) }()
	_, _ = io.Copy(w, content) // what is cut off is shorter than its length says, which ends the connection
	return nil
}

// errLargeImage is told of what is larger than ImageMax.
var errLargeImage = &jmap.Problem{Status: http.StatusBadGateway, Detail: fmt.Sprintf("the picture has more than %d octets", ImageMax)}

// whole reads a picture that does not say how long it is, so that one that is too large is
// an error and no half a picture. done gives the memory back.
func (p *ImageProxy) whole(ctx context.Context, r io.Reader) (content io.Reader, size int64, done func(), err error) {
	if err := take(ctx, p.memory); err != nil {
		return nil, 0, nil, err
	}
	done = func() { <-p.memory }
	all, err := io.ReadAll(io.LimitReader(r, ImageMax+1))
	switch {
	case err != nil:
		err = errNoImage
	case len(all) > ImageMax:
		err = errLargeImage
	default:
		return bytes.NewReader(all), int64(len(all)), done, nil
	}
	done()
	return nil, 0, nil, err
}

// take waits for a place; the user has gone away where it fails.
func take(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errNoImage
	}
}

// enter waits for one of the user's places, and for one of all.
func (p *ImageProxy) enter(ctx context.Context, id mailstore.AccountID) (leave func(), err error) {
	p.mu.Lock()
	own := p.users[id]
	if own == nil {
		own = &places{taken: make(chan struct{}, imagesPerUser)}
		p.users[id] = own
	}
	own.n++
	p.mu.Unlock()
	gone := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if own.n--; own.n == 0 {
			delete(p.users, id)
		}
	}
	if err := take(ctx, own.taken); err != nil {
		gone()
		return nil, err
	}
	if err := take(ctx, p.all); err != nil {
		<-own.taken
		gone()
		return nil, err
	}
	return func() {
		<-p.all
		<-own.taken
		gone()
	}, nil
}

// magicMax is how many octets imageType looks at.
const magicMax = 16

// imageType is the media type of a picture by its first octets, whatever its server says;
// empty: none that is let through. SVG is not: it is a document that can do things.
func imageType(start []byte) string {
	within := func(at int, text string) bool {
		return len(start) >= at+len(text) && string(start[at:at+len(text)]) == text
	}
	switch {
	case within(0, "\x89PNG\r\n\x1a\n"):
		return "image/png"
	case within(0, "\xff\xd8\xff"):
		return "image/jpeg"
	case within(0, "GIF87a"), within(0, "GIF89a"):
		return "image/gif"
	case within(0, "RIFF") && within(8, "WEBP"):
		return "image/webp"
	case within(4, "ftypavif"), within(4, "ftypavis"):
		return "image/avif"
	}
	return ""
}
