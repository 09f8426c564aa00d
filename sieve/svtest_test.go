package sieve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"postroad/address"
	"postroad/message"
)

// The files testdata/*.svtest are read by this driver. A line that starts with "== " begins
// a case and names it; one that starts with "-- " begins a section. What stands before the
// first case holds for all cases of the file. Sections:
//
//	-- message        the message (line ends become CRLF)
//	-- input          lines "key: value", see setInput
//	-- script         the script; with a name behind it one that can be included, with
//	                  "global NAME" one of the site
//	-- expect         the result: one line for each action (describe), "mark DURATION",
//	                  "failure LINE: part of the text" or "error LINE: part of the text";
//	                  a part in {braces} may stand anywhere in the line
//	-- edited         the message of the first action that has a changed one; line ends at
//	                  its end do not count
//	-- trace          lines that must stand in the trace, in this order
//	-- true, -- false tests, one a line, each a case of its own; all extensions but ihave
//	                  are required for them
//	-- errors         lines "script ;; part of the error", each a case of its own

type svtest struct {
	name     string
	sections []svsection
}

type svsection struct {
	name  string
	line  int // of its first line in the file
	lines []string
}

func (s *svtest) find(name string) *svsection {
	for i := range s.sections {
		if s.sections[i].name == name {
			return &s.sections[i]
		}
	}
	return nil
}

func readTests(t *testing.T, file string) (common svtest, cases []svtest) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	current := &common
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "== "):
			cases = append(cases, svtest{name: line[3:]})
			current = &cases[len(cases)-1]
		case strings.HasPrefix(line, "-- "):
			current.sections = append(current.sections, svsection{name: line[3:], line: i + 2})
		case len(current.sections) > 0:
			s := &current.sections[len(current.sections)-1]
			s.lines = append(s.lines, line)
		case strings.TrimSpace(line) != "" && line[0] != '#':
			t.Fatalf("%s:%d: text outside of a section", file, i+1)
		}
	}
	return common, cases
}

// casesAtLeast lets TestSuite say that nothing was lost on the way.
const casesAtLeast = 600

func TestSuite(t *testing.T) {
	files, err := filepath.Glob("testdata/*.svtest")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, file := range files {
		common, cases := readTests(t, file)
		name := strings.TrimSuffix(filepath.Base(file), ".svtest")
		for _, c := range cases {
			t.Run(name+"/"+c.name, func(t *testing.T) { total += runCase(t, &common, &c) })
		}
	}
	if !testing.Short() && total < casesAtLeast && !t.Failed() {
		t.Errorf("%d cases, %d are expected", total, casesAtLeast)
	}
}

// runCase returns how many cases it was.
func runCase(t *testing.T, common, c *svtest) int {
	n := 0
	for i := range c.sections {
		s := &c.sections[i]
		switch s.name {
		case "true", "false":
			n += runLines(t, common, c, s)
		case "errors":
			n += runErrors(t, s)
		}
	}
	if c.find("script") == nil {
		return n
	}
	in, trace := buildInput(t, common, c)
	script := section(common, c, "script")
	got, edited := runScript(t, source(script), in)
	compareLines(t, section(common, c, "expect"), got)
	if s := c.find("edited"); s != nil {
		edited, want := strings.TrimRight(edited, "\r\n"), strings.TrimRight(source(s), "\r\n")
		if edited != want {
			t.Errorf("edited message:\n%s\nwant:\n%s", edited, want)
		}
	}
	if s := c.find("trace"); s != nil {
		checkTrace(t, s.lines, *trace)
	}
	return n + 1
}

func checkTrace(t *testing.T, want, got []string) {
	t.Helper()
	rest := got
	for _, line := range want {
		if line == "" {
			continue
		}
		i := slices.Index(rest, line)
		if i < 0 {
			t.Errorf("trace has no line %q there:\n%s", line, strings.Join(got, "\n"))
			return
		}
		rest = rest[i+1:]
	}
}

// section is that of the case, or of the file.
func section(common, c *svtest, name string) *svsection {
	if s := c.find(name); s != nil {
		return s
	}
	if s := common.find(name); s != nil {
		return s
	}
	return &svsection{}
}

// source is the text of a section with CRLF.
func source(s *svsection) string {
	if len(s.lines) == 0 {
		return ""
	}
	return strings.Join(s.lines, "\r\n") + "\r\n"
}

var lineExtensions = func() string {
	names := slices.DeleteFunc(Extensions(), func(s string) bool { return s == "ihave" })
	return `require ["` + strings.Join(names, `", "`) + `"]; `
}()

func runLines(t *testing.T, common, c *svtest, s *svsection) int {
	n := 0
	for i, line := range s.lines {
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		n++
		in, _ := buildInput(t, common, c)
		before, test, found := strings.Cut(line, " => ")
		if !found {
			before, test = "", line
		}
		got, _ := runScript(t, lineExtensions+before+" if "+test+` { keep; } else { discard; }`, in)
		want := "discard"
		if s.name == "true" {
			want = "keep"
		}
		if len(got) == 0 || !strings.HasPrefix(got[0], want) {
			t.Errorf("line %d: %s: %q", s.line+i, line, got)
		}
	}
	return n
}

func runErrors(t *testing.T, s *svsection) int {
	n := 0
	for i, line := range s.lines {
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		n++
		script, want, ok := strings.Cut(line, " ;; ")
		if !ok {
			t.Fatalf("line %d: no \" ;; \"", s.line+i)
		}
		_, errs := Compile([]byte(strings.ReplaceAll(script, "¶", "\r\n")), Options{})
		if len(errs) == 0 || !strings.Contains(errs.Error(), want) {
			t.Errorf("line %d: %s: %v, want %q", s.line+i, script, errs, want)
		}
	}
	return n
}

// runScript describes the result, and the first changed message.
func runScript(t *testing.T, src string, in *Input) (lines []string, edited string) {
	t.Helper()
	script, errs := Compile([]byte(src), Options{})
	if errs != nil {
		for _, e := range errs {
			lines = append(lines, fmt.Sprintf("error %d: %s", e.Line, e.Text))
		}
		return lines, ""
	}
	res, err := script.Run(context.Background(), in)
	if err != nil {
		return []string{"temporary: " + err.Error()}, ""
	}
	for _, a := range res.Actions {
		line, e := describe(a)
		lines = append(lines, line)
		if e != nil && edited == "" {
			b, err := io.ReadAll(e.Reader())
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(b)) != e.Size() {
				t.Errorf("the changed message has %d octets, Size says %d", len(b), e.Size())
			}
			edited = string(b)
		}
	}
	for _, m := range res.Marks {
		lines = append(lines, "mark "+m.For.String())
	}
	if f := res.Failure; f != nil {
		where := strconv.Itoa(f.Line)
		if f.Script != "" {
			where = f.Script + " " + where
		}
		lines = append(lines, fmt.Sprintf("failure %s: %s", where, f.Text))
	}
	return lines, edited
}

// describe writes an action on a line.
func describe(a Action) (string, *Edited) {
	var b strings.Builder
	add := func(yes bool, format string, args ...any) {
		if yes {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	target := func(t *Target) {
		add(true, "%q", t.Mailbox)
		add(t.ID != "", "id=%s", t.ID)
		add(t.SpecialUse != "", "use=%s", t.SpecialUse)
		add(t.Create, "create")
		add(len(t.Flags) > 0, "flags=%s", strings.Join(t.Flags, ","))
	}
	var e *Edited
	switch a := a.(type) {
	case *Keep:
		b.WriteString("keep")
		add(a.Implicit, "implicit")
		add(len(a.Flags) > 0, "flags=%s", strings.Join(a.Flags, ","))
		e = a.Message
	case *FileInto:
		b.WriteString("fileinto")
		target(&a.Target)
		add(a.Copy, "copy")
		e = a.Message
	case *Redirect:
		b.WriteString("redirect " + a.Address.String())
		add(a.Copy, "copy")
		add(a.Notify != "", "notify=%s", a.Notify)
		add(a.Return != "", "ret=%s", a.Return)
		if d := a.DeliverBy; d != nil {
			add(true, "by=%s return=%v trace=%v", d.By.UTC().Format(time.RFC3339), d.Return, d.Trace)
		}
		add(a.FromOwner, "from-owner")
		e = a.Message
	case *Discard:
		b.WriteString("discard")
	case *Reject:
		b.WriteString(map[bool]string{false: "reject", true: "ereject"}[a.Extended])
		add(true, "%q", a.Text)
	case *Vacation:
		b.WriteString("vacation")
		add(true, "to=%s from=%s subject=%q text=%q", a.To, addresses(a.From), a.Subject, a.Text)
		add(a.MIME, "mime")
		add(a.InReplyTo != "", "reply=%s", a.InReplyTo)
		if a.Fcc != nil {
			b.WriteString(" fcc")
			target(a.Fcc)
		}
	case *Notify:
		b.WriteString("notify")
		for _, r := range a.Recipients {
			add(true, "%s", r)
		}
		add(true, "path=<%s> from=%s subject=%q body=%q importance=%d", a.ReturnPath, addresses(a.From), a.Subject, a.Body, a.Importance)
		for _, h := range a.Header {
			add(true, "%s=%q", h.Name, h.Text)
		}
		if a.Fcc != nil {
			b.WriteString(" fcc")
			target(a.Fcc)
		}
	}
	add(e != nil, "edited")
	return b.String(), e
}

func addresses(l message.AddressList) string {
	var list []string
	for _, m := range l {
		s := m.AddrSpec()
		if m.Name != "" {
			s = m.Name + "<" + s + ">"
		}
		list = append(list, s)
	}
	return strings.Join(list, ",")
}

func compareLines(t *testing.T, s *svsection, got []string) {
	t.Helper()
	var want []string
	for _, line := range s.lines {
		if strings.TrimSpace(line) != "" {
			want = append(want, line)
		}
	}
	ok := len(want) == len(got)
	for i := 0; ok && i < len(want); i++ {
		switch prefix, part, found := strings.Cut(want[i], "{"); {
		case found:
			ok = strings.HasPrefix(got[i], prefix) && strings.Contains(got[i], strings.TrimSuffix(part, "}"))
		default:
			ok = want[i] == got[i]
		}
	}
	if !ok {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// world is what a case says of mailboxes, scripts and memory.
type world struct {
	mailboxes, ids []string
	uses           map[string]string // "mailbox use"
	metadata       map[string]string // "mailbox annotation"
	scripts        map[Include]string
	seen           map[string]bool
	broken         bool // every question fails
}

var errWorld = errors.New("the directory is away")

func (w *world) err() error {
	if w.broken {
		return errWorld
	}
	return nil
}

func (w *world) MailboxExists(_ context.Context, name string) (bool, error) {
	return slices.Contains(w.mailboxes, name), w.err()
}

func (w *world) MailboxIDExists(_ context.Context, id string) (bool, error) {
	return slices.Contains(w.ids, id), w.err()
}

func (w *world) SpecialUse(_ context.Context, name, use string) (bool, error) {
	for box, u := range w.uses {
		if strings.EqualFold(u, use) && (name == "" || name == box) {
			return true, w.err()
		}
	}
	return false, w.err()
}

func (w *world) Metadata(_ context.Context, name, annotation string) (string, bool, error) {
	v, ok := w.metadata[name+" "+annotation]
	return v, ok, w.err()
}

func (w *world) Script(_ context.Context, name string, global bool) (*Script, error) {
	src, ok := w.scripts[Include{Name: name, Global: global}]
	if !ok || w.broken {
		return nil, w.err()
	}
	s, errs := Compile([]byte(src), Options{})
	if errs != nil {
		return nil, errs
	}
	return s, nil
}

func (w *world) Seen(_ context.Context, key string) (bool, error) { return w.seen[key], w.err() }

func buildInput(t *testing.T, common, c *svtest) (*Input, *[]string) {
	t.Helper()
	body := source(section(common, c, "message"))
	m, err := message.Parse(strings.NewReader(body), message.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{uses: map[string]string{}, metadata: map[string]string{}, scripts: map[Include]string{}, seen: map[string]bool{}}
	in := &Input{
		Body: strings.NewReader(body), Message: m, Mailboxes: w, Includes: w, Memory: w,
		Now: time.Date(2026, 11, 28, 20, 15, 30, 0, time.FixedZone("", 3600)), Environment: map[string]string{},
	}
	in.Envelope.ReturnPath = address.Address{Local: "coyote", Domain: "desert.example.org"}
	in.Envelope.Recipient = address.Address{Local: "roadrunner", Domain: "acme.example.com"}
	in.Owner.Addresses = []address.Address{in.Envelope.Recipient}
	var trace []string
	in.Trace = func(s Step) {
		trace = append(trace, strings.TrimSpace(fmt.Sprintf("%s %d: %s", s.Script, s.Line, s.Text)))
	}
	for _, test := range []*svtest{common, c} {
		for i := range test.sections {
			s := &test.sections[i]
			if name, ok := strings.CutPrefix(s.name, "script global "); ok {
				w.scripts[Include{Name: name, Global: true}] = source(s)
			} else if name, ok := strings.CutPrefix(s.name, "script "); ok {
				w.scripts[Include{Name: name}] = source(s)
			}
			if s.name != "input" {
				continue
			}
			for _, line := range s.lines {
				if key, value, ok := strings.Cut(line, ": "); ok {
					setInput(t, in, w, key, value)
				} else if strings.TrimSpace(line) != "" {
					t.Fatalf("input: %q", line)
				}
			}
		}
	}
	return in, &trace
}

func parsePath(t *testing.T, s string) address.Address {
	t.Helper()
	if s == "<>" {
		return address.Address{}
	}
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func setInput(t *testing.T, in *Input, w *world, key, value string) {
	t.Helper()
	e := &in.Envelope
	words := strings.Fields(value)
	event := func() *Event {
		if in.Event == nil {
			in.Event = &Event{}
		}
		return in.Event
	}
	switch key {
	case "from":
		e.ReturnPath = parsePath(t, value)
	case "to":
		e.Recipient = parsePath(t, value)
	case "auth":
		e.Auth = value
	case "owner":
		in.Owner.Addresses = nil
		for _, a := range words {
			in.Owner.Addresses = append(in.Owner.Addresses, parsePath(t, a))
		}
	case "owner name":
		in.Owner.Name = value
	case "separator":
		in.Owner.Separator = value
	case "notify":
		e.Notify = words
	case "orcpt":
		e.OriginalRecipient = value
	case "ret":
		e.Return = value
	case "envid":
		e.ID = value
	case "by": // seconds, mode, trace
		n, err := strconv.Atoi(words[0])
		if err != nil {
			t.Fatal(err)
		}
		e.DeliverBy = &DeliverBy{By: in.Now.Add(time.Duration(n) * time.Second), Return: words[1] == "R", Trace: len(words) > 2}
	case "environment":
		k, v, _ := strings.Cut(value, " ")
		in.Environment[k] = v
	case "mailbox":
		w.mailboxes = append(w.mailboxes, value)
	case "mailboxid":
		w.ids = append(w.ids, value)
	case "specialuse": // mailbox use
		w.uses[words[0]] = words[1]
	case "metadata": // mailbox annotation value; "-" for the server
		w.metadata[strings.TrimPrefix(words[0], "-")+" "+words[1]] = strings.Join(words[2:], " ")
	case "seen duplicate": // handle id; "-" for no handle
		handle := words[0] != "-"
		w.seen[memoryKey("duplicate", strconv.FormatBool(handle), strings.TrimPrefix(words[0], "-"), words[1])] = true
	case "seen vacation": // handle address
		w.seen[memoryKey("vacation", "handle:"+words[0], parsePath(t, words[1]).Key())] = true
	case "broken":
		w.broken = true
	case "name":
		in.Name = value
	case "cause":
		event().Cause = value
	case "user":
		event().User = value
	case "email":
		event().Email = value
	case "event mailbox":
		event().Mailbox = value
	case "changed":
		event().ChangedFlags = words
	case "flags":
		event().Flags = words
	default:
		t.Fatalf("input: no key %q", key)
	}
}
