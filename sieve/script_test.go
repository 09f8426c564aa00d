package sieve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/address"
	"postroad/message"
)

func compile(t testing.TB, src string) *Script {
	t.Helper()
	s, errs := Compile([]byte(src), Options{})
	if errs != nil {
		t.Fatalf("%s: %v", src, errs)
	}
	return s
}

func input(t testing.TB, body string) *Input {
	t.Helper()
	body = strings.ReplaceAll(body, "\n", "\r\n")
	m, err := message.Parse(strings.NewReader(body), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	in := &Input{Body: strings.NewReader(body), Message: m, Now: time.Date(2026, 11, 28, 20, 15, 30, 0, time.UTC)}
	in.Envelope.ReturnPath = address.Address{Local: "a", Domain: "example.org"}
	in.Envelope.Recipient = address.Address{Local: "b", Domain: "example.com"}
	return in
}

func runOn(t testing.TB, s *Script, in *Input) *Result {
	t.Helper()
	r, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestExtensions(t *testing.T) {
	names := Extensions()
	if !slices.IsSorted(names) || len(names) != int(extensionCount)-1 || slices.Contains(names, "") {
		t.Errorf("%q", names)
	}
	for _, name := range names {
		if _, errs := Compile([]byte(`require "`+name+`";`), Options{}); errs != nil {
			t.Errorf("%s: %v", name, errs)
		}
	}
	for _, name := range alwaysThere {
		if _, errs := Compile([]byte(`require "`+name+`";`), Options{Extensions: []string{}}); errs != nil {
			t.Errorf("%s: %v", name, errs)
		}
	}
	if got := NotifyMethods(); !slices.Equal(got, []string{"mailto"}) {
		t.Errorf("methods %q", got)
	}
}

func TestOptionsExtensions(t *testing.T) {
	o := Options{Extensions: []string{"fileinto", "vacation-seconds", "ihave"}}
	for _, test := range []struct{ src, want string }{
		{`require "fileinto"; fileinto "x";`, ""},
		{`require "vacation"; vacation "x";`, ""},
		{`require "copy";`, `the extension "copy" is not available`},
		{`require "nonsense";`, `there is no extension "nonsense"`},
		{`fileinto :copy "x";`, `needs require "fileinto"`},
	} {
		_, errs := Compile([]byte(test.src), o)
		if test.want == "" && errs != nil || test.want != "" && !strings.Contains(errs.Error(), test.want) {
			t.Errorf("%s: %v", test.src, errs)
		}
	}
	s, errs := Compile([]byte(`require "ihave"; if ihave "copy" { discard; }`), o)
	if errs != nil {
		t.Fatal(errs)
	}
	if r := runOn(t, s, input(t, "A: b\n\n")); len(r.Actions) != 1 || !isImplicitKeep(r) {
		t.Errorf("%v", r.Actions)
	}
}

func isImplicitKeep(r *Result) bool {
	k, ok := r.Actions[len(r.Actions)-1].(*Keep)
	return ok && k.Implicit
}

func TestErrorsHavePlaces(t *testing.T) {
	src := "require \"fileinto\";\r\n# comment\r\nif header :is \"a b\" \"x\" {\r\n  fileinto \"x\" 5;\r\n\tnonsense;\r\n}\r\nkeep"
	_, errs := Compile([]byte(src), Options{})
	if len(errs) != 1 || errs[0].Line != 7 || errs[0].Column != 5 {
		t.Errorf("syntax: %v", errs)
	}
	_, errs = Compile([]byte(src+";"), Options{})
	var places []string
	for _, e := range errs {
		places = append(places, fmt.Sprintf("%d:%d", e.Line, e.Column))
	}
	if got := strings.Join(places, " "); got != "3:15 4:3 5:2" {
		t.Errorf("places %s of %v", got, errs)
	}
	if !strings.HasPrefix(errs.Error(), "line 3, column 15: ") {
		t.Errorf("%v", errs)
	}
}

func TestLexerOctets(t *testing.T) {
	for _, test := range []struct{ src, want string }{
		{"keep;\xff", "has no meaning"},
		{"# \xff\r\nkeep;", "not UTF-8"},
		{"redirect \"\xff\";", "not UTF-8"},
		{"redirect text:\r\n\xc3\r\n.\r\n;", "not UTF-8"},
		{"redirect \"a\x00\";", "NUL"},
		{"keep;\x00", "has no meaning"},
		{"redirect \"a\rb\";", "carriage return"},
		{"keep;\r", "has no meaning"},
		{"/* \x00 */", "NUL"},
	} {
		_, errs := Compile([]byte(test.src), Options{})
		if errs == nil || !strings.Contains(errs.Error(), test.want) {
			t.Errorf("%q: %v", test.src, errs)
		}
	}
	for _, good := range []string{"", "\r\n", "keep;\n", "# x", "# é\nkeep;", "/**/keep/* ** */;", "KEEP;", "keep ;\t\r\n"} {
		if _, errs := Compile([]byte(good), Options{}); errs != nil {
			t.Errorf("%q: %v", good, errs)
		}
	}
}

// TestLineEndsInStrings: what a script says has CRLF, however the script is written.
func TestLineEndsInStrings(t *testing.T) {
	for _, src := range []string{
		"require \"reject\"; reject \"a\nb\";", "require \"reject\"; reject \"a\r\nb\";",
		"require \"reject\"; reject text:\na\nb\n.\n;", "require \"reject\"; reject text:\r\na\r\nb\r\n.\r\n;",
	} {
		r := runOn(t, compile(t, src), input(t, "A: b\n\n"))
		if got := r.Actions[0].(*Reject).Text; got != "a\r\nb" {
			t.Errorf("%q: %q", src, got)
		}
	}
}

func TestLimits(t *testing.T) {
	deep := func(n int, open, end string) string { return strings.Repeat(open, n) + end }
	for name, test := range map[string]struct {
		src    string
		limits Limits
		want   string
	}{
		"script":        {strings.Repeat(" ", 101), Limits{ScriptOctets: 100}, "more than 100 octets"},
		"blocks":        {deep(33, "if true {", strings.Repeat("}", 33)), Limits{}, "blocks are nested deeper than 32"},
		"tests":         {"if " + deep(33, "not ", "true {}"), Limits{}, "tests are nested deeper than 32"},
		"lists":         {"if " + deep(40, "anyof(", "true"+strings.Repeat(")", 40)+"{}"), Limits{}, "tests are nested deeper than 32"},
		"regex":         {`require "regex"; if header :regex "a" "` + strings.Repeat("x", 1025) + `" {}`, Limits{}, "it is too long"},
		"regexes":       {`require "regex"; ` + strings.Repeat(`if header :regex "a" "x{255}" {}`, 400), Limits{}, "of the script repeat too much"},
		"variables":     {`require "variables"; set "a" "${b}"; set "c" "d";`, Limits{Variables: 2}, "more than 2 variables"},
		"deep comments": {strings.Repeat("/* ", 100000), Limits{}, "has no end"},
	} {
		_, errs := Compile([]byte(test.src), Options{Limits: test.limits})
		if errs == nil || !strings.Contains(errs.Error(), test.want) {
			t.Errorf("%s: %v", name, errs)
		}
	}
	for name, src := range map[string]string{
		"blocks": deep(32, "if true {", strings.Repeat("}", 32)),
		"tests":  "if " + deep(31, "not ", "true {}"),
	} {
		if _, errs := Compile([]byte(src), Options{}); errs != nil {
			t.Errorf("%s just within: %v", name, errs)
		}
	}
	_, errs := Compile([]byte(strings.Repeat("x;", 1000)), Options{})
	if len(errs) != ErrorsMax {
		t.Errorf("%d errors are told", len(errs))
	}
	// What is wrong behind the last error that is told is not compiled as if it were right.
	for _, wrong := range []string{"if {}", "if not {}", "redirect;", "foreverypart", "vacation :days;", "if anyof {}", "set :lower \"a\";"} {
		_, errs := Compile([]byte(strings.Repeat("x;", ErrorsMax)+wrong), Options{})
		if len(errs) == 0 || len(errs) > ErrorsMax {
			t.Errorf("%s: %d errors are told", wrong, len(errs))
		}
	}
}

func TestRunLimits(t *testing.T) {
	big := "A: " + strings.Repeat("a", 100_000) + "\n\nbody\n"
	for name, test := range map[string]struct {
		src    string
		limits Limits
		want   string
	}{
		"steps":      {strings.Repeat("if true {} ", 60), Limits{Steps: 100}, "more than 100 steps"},
		"comparing":  {strings.Repeat(`if header :contains "a" "b" {} `, 20), Limits{Steps: 10_000}, "more than 10000 steps"},
		"globs":      {`if header :matches "a" "*?` + strings.Repeat("a", 5000) + `b*" {}`, Limits{Steps: 20_000}, "more than 20000 steps"},
		"expansions": {`require "variables"; set "a" "` + strings.Repeat("x", 8000) + `"; set "b" "` + strings.Repeat("${a}", 200) + `";`, Limits{}, "a string grows longer"},
		"globals": {`require ["variables", "include"]; set "global.a" "1"; set "global.b" "1"; set "global.c" "1";`,
			Limits{Variables: 2}, "more than 2 global variables"},
	} {
		s, errs := Compile([]byte(test.src), Options{Limits: test.limits})
		if errs != nil {
			t.Fatalf("%s: %v", name, errs)
		}
		r := runOn(t, s, input(t, big))
		if r.Failure == nil || !strings.Contains(r.Failure.Text, test.want) || !isImplicitKeep(r) {
			t.Errorf("%s: %v", name, r.Failure)
		}
	}
}

func TestRequirements(t *testing.T) {
	s := compile(t, `require ["include", "body", "fileinto", "mailbox", "duplicate"];
		include "a"; include :optional "b"; include :global "a"; include "b"; include :optional "c";
		if allof (body "x", mailboxexists "y", duplicate) { fileinto "x"; }`)
	n := s.Requirements()
	if !n.Body || !n.Structure || !n.Mailboxes || !n.Memory || n.Edits {
		t.Errorf("%+v", n)
	}
	want := []Include{{"a", false, false}, {"b", false, false}, {"a", true, false}, {"c", false, true}}
	if !slices.Equal(n.Includes, want) {
		t.Errorf("includes %v", n.Includes)
	}
	if want := []string{"body", "duplicate", "fileinto", "include", "mailbox"}; !slices.Equal(n.Extensions, want) {
		t.Errorf("extensions %q", n.Extensions)
	}
	plain := compile(t, `if header "a" "b" { keep; }`).Requirements()
	if plain.Body || plain.Structure || plain.Edits || plain.Memory || plain.Mailboxes || plain.Includes != nil {
		t.Errorf("%+v", plain)
	}
}

// TestConcurrentRuns runs one script from many goroutines; -race finds what they share.
func TestConcurrentRuns(t *testing.T) {
	s := compile(t, `require ["variables", "fileinto", "regex", "editheader", "imap4flags"];
		if header :matches "subject" "*" { set "x" "${1}"; }
		if header :regex "subject" "([0-9]+)" { addflag "$n"; fileinto "${x}-${1}"; }
		addheader "X-A" "${x}";`)
	var wg sync.WaitGroup
	for i := range 20 {
		in := input(t, fmt.Sprintf("Subject: number %d\n\n", i))
		wg.Go(func() {
			r, err := s.Run(context.Background(), in)
			if err != nil || len(r.Actions) != 1 {
				t.Errorf("%v, %v", r, err)
				return
			}
			if got, want := r.Actions[0].(*FileInto).Mailbox, fmt.Sprintf("number %d-%d", i, i); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	wg.Wait()
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := compile(t, strings.Repeat("if true {} ", 600))
	if r, err := s.Run(ctx, input(t, "A: b\n\n")); !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("%v, %v", r, err)
	}
}

// failingReader fails on each read.
type failingReader struct{}

var errDisk = errors.New("disk")

func (failingReader) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

func TestMessageCannotBeRead(t *testing.T) {
	for _, src := range []string{
		`if header "subject" "x" { keep; }`,
		`require "body"; if body :contains "x" { keep; }`,
		`require "body"; if body :raw :matches "x" { keep; }`,
		`require ["foreverypart", "extracttext", "variables"]; foreverypart { extracttext "x"; }`,
		`require "editheader"; deleteheader "Subject";`,
		`require "replace"; replace "x";`,
		`require "duplicate"; if duplicate { keep; }`,
		`require "vacation"; vacation "x";`,
	} {
		in := input(t, "Subject: x\n\nbody\n")
		in.Body = failingReader{}
		if r, err := compile(t, src).Run(context.Background(), in); !errors.Is(err, errDisk) || r != nil {
			t.Errorf("%s: %v, %v", src, r, err)
		}
	}
}

func TestTraceCostsNothingWhenOff(t *testing.T) {
	s := compile(t, `if header :contains "subject" "x" { keep; }`)
	in := input(t, "Subject: y\n\n")
	without := testing.AllocsPerRun(100, func() { runOn(t, s, in) })
	in.Trace = func(Step) {}
	with := testing.AllocsPerRun(100, func() { runOn(t, s, in) })
	if without >= with {
		t.Errorf("%v allocations without, %v with", without, with)
	}
}

func TestVacationCompose(t *testing.T) {
	in := input(t, "From: a@example.org\nTo: b@example.com\nSubject: =?utf-8?q?=C3=A4?=\nMessage-ID: <1@example.org>\nReferences: <0@example.org> junk <bad id>\n\n")
	r := runOn(t, compile(t, `require "vacation"; vacation "Bin weg äöü.";`), in)
	v := r.Actions[0].(*Vacation)
	b, err := v.Compose("<9@example.com>", in.Now)
	if err != nil {
		t.Fatal(err)
	}
	m, err := message.Parse(bytes.NewReader(b), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(m.Root.Text(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != "Auto: ä" || m.AutoSubmitted != "auto-replied" || m.MessageID != "<9@example.com>" || m.Defects != 0 ||
		m.To[0].AddrSpec() != "a@example.org" || m.From[0].AddrSpec() != "b@example.com" ||
		!slices.Equal(m.References, []string{"<0@example.org>", "<1@example.org>"}) ||
		!slices.Equal(m.InReplyTo, []string{"<1@example.org>"}) || !strings.HasPrefix(string(text), "Bin weg äöü.") {
		t.Errorf("%s\n%+v", b, m)
	}
	for _, mime := range []string{"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<b>x</b>", "\r\n<b>x</b>", "<b>x</b>"} {
		v.MIME, v.Text = true, mime
		if b, err = v.Compose("", in.Now); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(b, []byte("MIME-Version")) != 1 || !bytes.HasSuffix(b, []byte("\r\n\r\n<b>x</b>")) {
			t.Errorf("%q: %s", mime, b)
		}
	}
}

// TestVacationMemory: one answer is known by its handle, or by its arguments as they were
// written, and by who gets it (RFC 5230, 4.2).
func TestVacationMemory(t *testing.T) {
	key := func(args, from, subject string) string {
		in := input(t, "To: b@example.com\nSubject: "+subject+"\n\n")
		in.Envelope.ReturnPath.Local = from
		r := runOn(t, compile(t, `require ["vacation", "variables"]; if header :matches "subject" "*" {} vacation `+args+`;`), in)
		return r.Marks[0].Key
	}
	base := key(`:subject "${1}" "x"`, "a", "one")
	for name, test := range map[string]struct {
		key  string
		same bool
	}{
		"other subject of the message": {key(`:subject "${1}" "x"`, "a", "two"), true},
		"other case of the sender":     {key(`:subject "${1}" "x"`, "A", "one"), true},
		"other days":                   {key(`:days 3 :subject "${1}" "x"`, "a", "one"), true},
		"other sender":                 {key(`:subject "${1}" "x"`, "c", "one"), false},
		"other text":                   {key(`:subject "${1}" "y"`, "a", "one"), false},
		"no subject":                   {key(`"x"`, "a", "one"), false},
		"from in place of subject":     {key(`:from "x@example.org" "x"`, "a", "one"), false},
		"handle":                       {key(`:handle "h" :subject "${1}" "x"`, "a", "one"), false},
	} {
		if (test.key == base) != test.same {
			t.Errorf("%s: same is %v", name, !test.same)
		}
	}
	if key(`:handle "h" "x"`, "a", "one") != key(`:handle "h" "y"`, "a", "one") {
		t.Error("the handle does not count alone")
	}
}

func TestNotifyCompose(t *testing.T) {
	in := input(t, "From: a@example.org\nSubject: x\nMessage-ID: <1@example.org>\n\n")
	r := runOn(t, compile(t, `require "enotify"; notify :importance "1" "mailto:c@example.net?cc=d@example.net&body=hi&x-y=z";`), in)
	b, err := r.Actions[0].(*Notify).Compose("<9@example.com>", in.Now)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`Auto-Submitted: auto-notified; owner-email="b@example.com"
Date: Sat, 28 Nov 2026 20:15:30 +0000
Message-ID: <9@example.com>
From: b@example.com
To: c@example.net
Cc: d@example.net
Subject: x
References: <1@example.org>
Importance: high
X-y: z
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

hi`, "\n", "\r\n")
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("%s\nwant\n%s", b, want)
	}
}

func TestEnclose(t *testing.T) {
	const body = "From: a@example.org\nSubject: old\nX-Keep: yes\nContent-Type: text/plain; charset=utf-8\n\nsigned äöü\n"
	in := input(t, body)
	r := runOn(t, compile(t, `require "enclose"; enclose :subject "Warning" :headers ["X-Keep", "Content-Type"] "Look out!"; enclose "again";`), in)
	e := r.Actions[0].(*Keep).Message
	b, err := io.ReadAll(e.Reader())
	if err != nil {
		t.Fatal(err)
	}
	original := strings.ReplaceAll(body, "\n", "\r\n")
	if !bytes.Contains(b, []byte("\r\n\r\n"+original+"\r\n--")) {
		t.Errorf("the original is not whole:\n%s", b)
	}
	m, err := message.Parse(bytes.NewReader(b), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	inner := m.Root.Children[1].Message
	if m.Subject != "Warning" || m.Root.MediaType() != "multipart/mixed" || inner == nil || inner.Subject != "Warning" ||
		inner.Root.Children[1].Message.Subject != "old" || m.Defects&^message.DefectHeaderEightBit != 0 || m.From[0].AddrSpec() != "b@example.com" {
		t.Errorf("%s\n%+v", b, m)
	}
}

// TestEditedIsNotCopied: of a large message only what is new is held.
func TestEditedIsNotCopied(t *testing.T) {
	in := input(t, "Subject: x\n\n"+strings.Repeat("line of the body\n", 100_000))
	r := runOn(t, compile(t, `require "editheader"; addheader "X-A" "b"; addheader :last "X-C" "d";`), in)
	held := 0
	pieces := r.Actions[0].(*Keep).Message.Pieces()
	for _, p := range pieces {
		held += len(p.Text)
	}
	if held > 100 || len(pieces) > 6 {
		t.Errorf("%d octets held in %d pieces", held, len(pieces))
	}
}

// TestHeaderOnly: a message that ends within its header can be changed.
func TestHeaderOnly(t *testing.T) {
	body := "Subject: x\r\nX-Last: y"
	m, err := message.Parse(strings.NewReader(body), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	in := &Input{Body: strings.NewReader(body), Message: m}
	r := runOn(t, compile(t, `require "editheader"; addheader :last "X-A" "b"; deleteheader "Subject";`), in)
	b, err := io.ReadAll(r.Actions[0].(*Keep).Message.Reader())
	if want := "X-Last: y\r\nX-A: b\r\n\r\n"; err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}
}
