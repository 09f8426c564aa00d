package jmap

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// uploaded is the answer to an upload (RFC 8620, 6.1).
type uploaded struct {
	AccountID ID     `json:"accountId"`
	BlobID    ID     `json:"blobId"`
	Type      string `json:"type"`
	Size      int64  `json:"size"`
}

// unknownType is the media type of octets that nothing is known of.
const unknownType = "application/octet-stream"

// serveUpload takes a file (RFC 8620, 6.1).
func (s *Server) serveUpload(w http.ResponseWriter, r *http.Request, user any) *Problem {
	account := ID(strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, pathUpload), "/"))
	if !account.Valid() {
		return problem(http.StatusNotFound, "there is no such account")
	}
	leave, ok := s.uploads.enter(s.o.Who(user), s.limits.ConcurrentUpload)
	if !ok {
		return overLimit("maxConcurrentUpload", "%d uploads at once are possible", s.limits.ConcurrentUpload)
	}
	defer leave()
	tooLong := overLimit("maxSizeUpload", "a file may have %d octets", s.limits.SizeUpload)
	if r.ContentLength > s.limits.SizeUpload {
		return tooLong
	}
	answer := uploaded{AccountID: account, Type: unknownType}
	if t, ok := mediaType(r.Header.Get("Content-Type")); ok {
		answer.Type = t
	}
	expected := r.ContentLength
	if expected < 0 {
		expected = s.limits.SizeUpload
	}
	arrived := s.reading(w, expected)
	body := &bounded{r: r.Body, left: s.limits.SizeUpload}
	var err error
	answer.BlobID, answer.Size, err = s.o.Blobs.Upload(r.Context(), user, account, answer.Type, body)
	arrived()
	switch {
	case errors.Is(err, errTooLong):
		return tooLong
	case err != nil && body.err != nil:
		return problem(http.StatusBadRequest, "the file ended before its end")
	case err != nil:
		return s.blobProblem("upload", err)
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return s.failed("upload", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	s.writeJSON(w, r, http.StatusCreated, raw)
	return nil
}

// bounded reads up to left octets; then it fails.
type bounded struct {
	r    io.Reader
	left int64
	err  error // of r, other than its end
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// blobProblem is what a client is told of an error of Blobs.
func (s *Server) blobProblem(what string, err error) *Problem {
	switch {
	case errors.Is(err, ErrAccountNotFound), errors.Is(err, ErrAccountNotSupportedByMethod):
		return problem(http.StatusNotFound, "there is no such account")
	case errors.Is(err, ErrBlobNotFound):
		return problem(http.StatusNotFound, "there is no such blob in the account")
	case errors.Is(err, ErrAccountReadOnly), errors.Is(err, ErrForbidden):
		return problem(http.StatusForbidden, "the account cannot be written to")
	case errors.Is(err, ErrOverQuota):
		return problem(http.StatusInsufficientStorage, "there is no room for the file")
	case errors.Is(err, ErrRequestTooLarge):
		return overLimit("maxSizeUpload", "the file is too large")
	}
	return s.failed(what, err)
}

// serveDownload answers with the octets of a blob (RFC 8620, 6.2). They are strangers', on
// the origin of a web mail: nothing in them may ever run.
func (s *Server) serveDownload(w http.ResponseWriter, r *http.Request, user any) *Problem {
	account, blob, name, ok := downloadPath(r.URL.EscapedPath())
	if !ok {
		return problem(http.StatusNotFound, "there is no such blob in the account")
	}
	b, err := s.o.Blobs.Open(r.Context(), user, account, blob)
	if err != nil {
		return s.blobProblem("download", err)
	}
	defer b.Close()
	h := w.Header()
	h.Set("Content-Type", safeType(r.URL.Query().Get("accept")))
	h.Set("Content-Disposition", attachment(name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, immutable, max-age=31536000") // RFC 8620, 6.2
	h.Set("Etag", `"`+string(blob)+`"`)
	s.writing(w, b.Size())
	// Ranges, If-Range, If-None-Match and HEAD (RFC 9110, 13 and 14) are net/http's.
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(b, 0, b.Size()))
	return nil
}

// downloadPath takes a path of the template downloadUrl apart. A name may have slashes,
// escaped.
func downloadPath(escaped string) (account, blob ID, name string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(escaped, pathDownload), "/")
	if len(parts) < 3 {
		return "", "", "", false
	}
	account, blob = ID(parts[0]), ID(parts[1])
	name, err := url.PathUnescape(strings.Join(parts[2:], "/"))
	return account, blob, name, err == nil && account.Valid() && blob.Valid()
}
