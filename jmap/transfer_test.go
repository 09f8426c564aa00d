package jmap

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUploadAndDownload(t *testing.T) {
	y := newToy()
	s := y.server(nil)
	w := ask(s, "POST", pathUpload+"A1/", "0123456789", "Content-Type", `Text/Plain; charset="utf-8"`)
	var made uploaded
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if want := (uploaded{"A1", made.BlobID, "text/plain; charset=utf-8", 10}); made != want || !made.BlobID.Valid() {
		t.Errorf("%+v, want %+v", made, want)
	}
	path := pathDownload + "A1/" + string(made.BlobID) + "/a%2Fb.txt?accept=text/plain"
	etag := `"` + string(made.BlobID) + `"`
	for _, test := range []struct {
		name   string
		method string
		header []string
		status int
		body   string
		fields map[string]string
	}{
		{"whole", "GET", nil, 200, "0123456789", map[string]string{"Content-Type": "text/plain", "Content-Length": "10", "Accept-Ranges": "bytes", "Etag": etag,
			"Content-Disposition": `attachment; filename="a_b.txt"`, "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "private, immutable, max-age=31536000"}},
		{"HEAD", "HEAD", nil, 200, "", map[string]string{"Content-Length": "10"}},
		{"a range", "GET", []string{"Range", "bytes=2-4"}, 206, "234", map[string]string{"Content-Range": "bytes 2-4/10"}},
		{"the end", "GET", []string{"Range", "bytes=-3"}, 206, "789", map[string]string{"Content-Range": "bytes 7-9/10"}},
		{"from the middle", "GET", []string{"Range", "bytes=8-"}, 206, "89", nil},
		{"beyond", "GET", []string{"Range", "bytes=10-"}, 416, "", map[string]string{"Content-Range": "bytes */10"}},
		{"no range", "GET", []string{"Range", "bytes=4-2"}, 416, "", nil},
		{"If-Range, the same", "GET", []string{"Range", "bytes=2-4", "If-Range", etag}, 206, "234", nil},
		{"If-Range, another", "GET", []string{"Range", "bytes=2-4", "If-Range", `"other"`}, 200, "0123456789", nil},
		{"seen before", "GET", []string{"If-None-Match", etag}, 304, "", nil},
		{"ranges without end", "GET", []string{"Range", "bytes=" + strings.TrimSuffix(strings.Repeat("0-9,", 1000), ",")}, 200, "0123456789", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := ask(s, test.method, path, "", test.header...)
			if w.Code != test.status || test.status < 300 && w.Body.String() != test.body {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, test.status, test.body)
			}
			for name, want := range test.fields {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestSafeType(t *testing.T) {
	for asked, want := range map[string]string{
		"image/png": "image/png", "Text/Plain; Charset=UTF-8": "text/plain; charset=UTF-8", "application/pdf": "application/pdf", "message/rfc822": "message/rfc822",
		"application/vnd.ms-excel": "application/vnd.ms-excel",
		"":                         unknownType, "text": unknownType, "text/": unknownType, "text/html": unknownType, "TEXT/HTML;charset=utf-8": unknownType,
		"application/xhtml+xml": unknownType, "image/svg+xml": unknownType, "text/xml": unknownType, "application/javascript": unknownType, "text/css": unknownType,
		"text/javascript": unknownType, "application/ecmascript": unknownType, "multipart/x-mixed-replace": unknownType, "text/event-stream": unknownType,
		"image/png\r\nSet-Cookie: a=b": unknownType, "a/b; x=\"\r\n\"": "a/b", "image/png; a=b c": "image/png", "text/" + strings.Repeat("a", 300): unknownType,
	} {
		if got := safeType(asked); got != want {
			t.Errorf("%q: %q, want %q", asked, got, want)
		}
	}
}

func TestAttachment(t *testing.T) {
	for name, want := range map[string]string{
		"report.pdf":                      `attachment; filename="report.pdf"`,
		"a b.txt":                         `attachment; filename="a b.txt"`,
		"Grüße.txt":                       `attachment; filename="Gr__e.txt"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.txt`,
		"100%.txt":                        `attachment; filename="100_.txt"; filename*=UTF-8''100%25.txt`,
		"../../etc/passwd":                `attachment; filename="_.._etc_passwd"`,
		"..":                              `attachment; filename="download"`,
		"":                                `attachment; filename="download"`,
		"a\"; filename=\"b":               `attachment; filename="a_; filename=_b"`,
		"a\r\nX: y":                       `attachment; filename="aX_ y"`,
		"invoice\u202efdp.exe":            `attachment; filename="invoicefdp.exe"`,
		"\xff\xfe.txt":                    `attachment; filename="txt"`,
		strings.Repeat("x", 500) + ".pdf": `attachment; filename="` + strings.Repeat("x", 196) + `.pdf"`,
	} {
		if got := attachment(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func FuzzAttachment(f *testing.F) {
	f.Add("Grüße.txt")
	f.Add(strings.Repeat("ü", 300))
	f.Fuzz(func(t *testing.T, name string) {
		got := attachment(name)
		if len(got) > 1200 || strings.ContainsAny(got, "\r\n\x00") || strings.Count(got, `"`) != 2 || !utf8.ValidString(got) {
			t.Errorf("%q: %q", name, got)
		}
		if _, full, ok := strings.Cut(got, "UTF-8''"); ok {
			if decoded, err := url.PathUnescape(full); err != nil || !utf8.ValidString(decoded) {
				t.Errorf("%q: %q (%v)", name, got, err)
			}
		}
	})
}
