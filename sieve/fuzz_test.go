package sieve

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/address"
	"postroad/message"
)

// seedScripts are the scripts of all cases.
func seedScripts(f *testing.F) (scripts []string) {
	files, err := filepath.Glob("testdata/*.svtest")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	for _, file := range files {
		common, cases := readTests(&testing.T{}, file)
		for _, c := range append(cases, common) {
			for _, s := range c.sections {
				switch {
				case strings.HasPrefix(s.name, "script"):
					scripts = append(scripts, source(&s))
				case s.name == "true":
					for _, line := range s.lines {
						before, test, found := strings.Cut(line, " => ")
						if !found {
							before, test = "", line
						}
						scripts = append(scripts, lineExtensions+before+" if "+test+" { keep; }")
					}
				case s.name == "errors":
					for _, line := range s.lines {
						src, _, _ := strings.Cut(line, " ;; ")
						scripts = append(scripts, src)
					}
				}
			}
		}
	}
	return scripts
}

func FuzzCompile(f *testing.F) {
	for _, s := range seedScripts(f) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		s, errs := Compile(src, Options{Limits: Limits{ScriptOctets: 1 << 16}})
		if (s == nil) == (errs == nil) || len(errs) > ErrorsMax {
			t.Fatalf("script %v, %d errors", s, len(errs))
		}
		lines := bytes.Count(src, []byte("\n")) + 1
		for _, e := range errs {
			if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Column > len(src)+1 || e.Text == "" {
				t.Fatalf("error at line %d of %d, column %d: %q", e.Line, lines, e.Column, e.Text)
			}
		}
	})
}

const seedMessage = "From: a@example.org\r\nTo: b@example.com\r\nSubject: x\r\nDate: Fri, 27 Nov 2026 08:59:07 -0800\r\n" +
	"Message-ID: <1@example.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n" +
	"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nbody\r\n--b--\r\n"

func FuzzRun(f *testing.F) {
	for _, s := range seedScripts(f) {
		f.Add([]byte(s), []byte(seedMessage))
	}
	f.Add([]byte(`require "editheader"; addheader "a" "b";`), []byte("x: y"))
	f.Add([]byte(`require "enclose"; enclose "b";`), []byte("no header"))
	f.Fuzz(func(t *testing.T, src, body []byte) {
		s, errs := Compile(src, Options{Limits: Limits{ScriptOctets: 1 << 14, Steps: 100_000}})
		if errs != nil {
			return
		}
		m, err := message.Parse(bytes.NewReader(body), message.Limits{})
		if err != nil {
			return
		}
		in := &Input{Body: bytes.NewReader(body), Message: m, Includes: selfInclude{s}, Now: time.Unix(1_800_000_000, 0), Trace: func(Step) {}}
		in.Envelope.ReturnPath = address.Address{Local: "a", Domain: "example.org"}
		in.Envelope.Recipient = address.Address{Local: "b", Domain: "example.com"}
		r, err := s.Run(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		checkResult(t, r)
	})
}

// selfInclude gives the script itself under every name.
type selfInclude struct{ s *Script }

func (i selfInclude) Script(context.Context, string, bool) (*Script, error) { return i.s, nil }

// checkResult holds what every result must hold.
func checkResult(t *testing.T, r *Result) {
	if len(r.Actions) == 0 || len(r.Actions) > ActionsMax+1 || len(r.Marks) > ActionsMax {
		t.Fatalf("%d actions, %d marks", len(r.Actions), len(r.Marks))
	}
	if r.Failure != nil && (len(r.Actions) != 1 || len(r.Marks) != 0 || !isImplicitKeep(r)) {
		t.Fatalf("a failure with %v", r.Actions)
	}
	for _, a := range r.Actions {
		_, e := describe(a)
		if e == nil {
			continue
		}
		n, err := io.Copy(io.Discard, e.Reader())
		if err != nil || n != e.Size() {
			t.Fatalf("the changed message: %d octets of %d, %v", n, e.Size(), err)
		}
	}
}
