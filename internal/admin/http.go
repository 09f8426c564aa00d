package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"postroad/internal/scripts"
)

// SocketName is the socket's file in the data directory, for its owner and root only.
const SocketName = "admin.sock"

// Socket is the path of the socket of a data directory.
func Socket(dataDirectory string) string { return filepath.Join(dataDirectory, SocketName) }

const (
	pathPrefix    = "/v1/"
	argumentMax   = 1 << 20 // octets of an argument, unless argumentsMax says otherwise
	headerTimeout = 10 * time.Second
	lineMax       = 64 << 20 // octets of one line of an answer
)

// argumentsMax are the octets of an argument of verbs that take contents, in base64.
var argumentsMax = map[string]int64{
	"sieve.put":    argumentMax + scripts.ScriptMax*4/3,
	"sieve.replay": argumentMax + scripts.ScriptMax*4/3,
	"sieve.test":   argumentMax + (scripts.ScriptMax+SieveMessageMax)*4/3,
}

// line is one line of an answer: progress any number of times, then result or error.
type line struct {
	Progress *Progress       `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// Handler serves the verbs over HTTP: POST /v1/VERB with a JSON object; the answer is
// lines of JSON.
func (v *Verbs) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutPrefix(r.URL.Path, pathPrefix)
		if !ok || r.Method != http.MethodPost {
			http.Error(w, "POST "+pathPrefix+"VERB", http.StatusNotFound)
			return
		}
		most, ok := argumentsMax[name]
		if !ok {
			most = argumentMax
		}
		in, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		v.answer(r.Context(), w, name, in)
	})
}

// answer runs a verb and writes its lines.
func (v *Verbs) answer(ctx context.Context, w http.ResponseWriter, name string, in []byte) {
	var mu sync.Mutex // progress may come from several goroutines
	control := http.NewResponseController(w)
	write := func(l line) {
		mu.Lock()
		defer mu.Unlock()
		// A client that went away is found by its context.
		_ = json.NewEncoder(w).Encode(l)
		_ = control.Flush()
	}
	out, err := v.call(ctx, name, in, func(p Progress) { write(line{Progress: &p}) })
	if err == nil {
		var raw json.RawMessage
		if raw, err = json.Marshal(out); err == nil {
			write(line{Result: raw})
			return
		}
	}
	write(line{Error: errorOf(err)})
}

// Serve serves the verbs on a listener until ctx is done, then waits for those under way.
func (v *Verbs) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{Handler: v.Handler(), ReadHeaderTimeout: headerTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { s.Shutdown(context.WithoutCancel(ctx)) })
	err := s.Serve(l)
	if !stop() && errors.Is(err, http.ErrServerClosed) {
		return s.Shutdown(context.WithoutCancel(ctx)) // waits, where the one above began
	}
	return err
}

// Client calls verbs in the process that serves.
type Client struct{ http http.Client }

// Dial returns a client of the socket; an error when nobody serves there.
func Dial(ctx context.Context, socket string) (*Client, error) {
	d := net.Dialer{}
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c.Close()
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
	}}}, nil
}

// Close gives connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call implements Caller.
func (c *Client) Call(ctx context.Context, name string, in, out any, progress func(Progress)) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode the argument of %s: %w", name, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://postroad"+pathPrefix+name, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return fmt.Errorf("the server says %s: %s", answer.Status, bytes.TrimSpace(text))
	}
	s := bufio.NewScanner(answer.Body)
	s.Buffer(nil, lineMax)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return fmt.Errorf("the server's answer: %w", err)
		}
		switch {
		case l.Error != nil:
			return l.Error
		case l.Progress != nil:
			if progress != nil {
				progress(*l.Progress)
			}
		case out == nil:
			return nil
		default:
			return json.Unmarshal(l.Result, out)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("the server's answer: %w", err)
	}
	return errors.New("the server ended before its answer was whole")
}
