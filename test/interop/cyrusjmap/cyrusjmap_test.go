//go:build interop

// Package cyrusjmap gives Cyrus and postroad the same mail and the same requests of JMAP, and
// compares the answers. Each difference is explained in a table by the section of the RFC.
package cyrusjmap

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/imap"
	"postroad/imap/imapclient"
	"postroad/test/peer"
)

// mailMin is how many messages both servers must have taken.
const mailMin = 40

// TestCyrus asks both servers everything in requests.
func TestCyrus(t *testing.T) {
	cy := peer.StartCyrus(t, peer.CyrusOptions{Host: "127.0.4.21", Domain: "jmap.test", Users: []string{"alice"}})
	pr := peer.StartPostroad(t, peer.PostroadOptions{Host: "127.0.4.22", Name: "jmap.test", Users: []string{"alice"}})
	theirs := newSide(t, "http://"+cy.Host, cy.Host+":143")
	ours := newSide(t, "https://"+pr.Addr(peer.PortHTTPS), pr.Addr(peer.PortIMAP))
	fill(t, theirs, ours)
	cy.Index(t)
	used := make([]bool, len(differences))
	for _, r := range requests {
		t.Run(r.name, func(t *testing.T) {
			a, b := theirs.ask(t, r.calls), ours.ask(t, r.calls)
			if !strings.Contains(r.name, "error") && strings.Contains(fmt.Sprint(b), "[error ") {
				t.Errorf("an error: %v", b)
			}
			for _, d := range compare("", a, b) {
				i := slices.IndexFunc(differences, func(e difference) bool { return e.explains(r.name, d.path) })
				if i < 0 {
					t.Errorf("%s:\n  Cyrus    %s\n  postroad %s", d.path, short(d.theirs), short(d.ours))
					continue
				}
				used[i] = true
			}
		})
	}
	for i, e := range differences {
		if !used[i] && !t.Failed() {
			t.Errorf("explained, and there is no such difference: %s %s", e.request, e.path)
		}
	}
}

// difference is one that is explained.
type difference struct {
	request, path string // regular expressions, whole
	why           string // by the RFC
}

func (d *difference) explains(request, path string) bool {
	return regexp.MustCompile("^(?:"+d.request+")$").MatchString(request) && regexp.MustCompile("^(?:"+d.path+")$").MatchString(path)
}

// side is one of the servers.
type side struct {
	base, imap string
	account    string
	http       *http.Client
	names      map[string]string // what stands for an id, by id
	ids        map[string]string // and back
}

const login = "alice@jmap.test"

func newSide(t *testing.T, base, imap string) *side {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // a certificate made for the test
	t.Cleanup(tr.CloseIdleConnections)
	return &side{base: base, imap: imap, http: &http.Client{Transport: tr, Timeout: time.Minute}, names: map[string]string{}, ids: map[string]string{}}
}

func (s *side) do(t *testing.T, method, path, body string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(login, peer.Password)
	r.Header.Set("Content-Type", "application/json")
	w, err := s.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %v %s", method, path, w.Status, err, text)
	}
	return text
}

// call makes calls as they are and returns the responses.
func (s *side) call(t *testing.T, calls string) []any {
	t.Helper()
	path := "/jmap/api"
	if strings.HasPrefix(s.base, "http:") {
		path = "/jmap/"
	}
	text := s.do(t, "POST", path, `{"using":["urn:ietf:params:jmap:core","urn:ietf:params:jmap:mail"],"methodCalls":`+calls+`}`)
	var answer struct{ MethodResponses []any }
	if err := json.Unmarshal(text, &answer); err != nil || answer.MethodResponses == nil {
		t.Fatalf("%v %s", err, text)
	}
	return answer.MethodResponses
}

var placeholder = regexp.MustCompile(`\{([a-zA-Z]+ ?[0-9A-Za-z]*)\}`)

// ask makes calls in which {account}, {mailbox Archive} and {email 03} stand for ids, and
// returns the responses with those in the place of ids.
func (s *side) ask(t *testing.T, calls string) any {
	t.Helper()
	return s.normal("", s.call(t, placeholder.ReplaceAllStringFunc(calls, func(p string) string {
		id, known := s.ids[p[1:len(p)-1]]
		if !known {
			t.Fatalf("nothing is %s", p)
		}
		return id
	})))
}

// name lets a name stand for an id.
func (s *side) name(id, name string) { s.names[id], s.ids[name] = name, id }

// normal replaces ids and states.
func (s *side) normal(key string, v any) any {
	switch v := v.(type) {
	case string:
		if name, known := s.names[v]; known {
			return name
		}
		switch {
		case strings.HasSuffix(strings.ToLower(key), "state"):
			return "state"
		case key == "blobId":
			return "blob"
		case key == "description" || key == "arguments":
			return "text"
		}
		return v
	case []any:
		all := make([]any, len(v))
		for i, o := range v {
			all[i] = s.normal(key, o)
		}
		if key == "list" || key == "notFound" { // RFC 8620, 5.1: in any order
			slices.SortFunc(all, func(a, b any) int { return strings.Compare(about(a), about(b)) })
		}
		return all
	case map[string]any:
		all := map[string]any{}
		for k, o := range v {
			if name, known := s.names[k]; known {
				k = name
			}
			all[k] = s.normal(k, o)
		}
		return all
	}
	return v
}

// about is what an object is sorted by.
func about(v any) string {
	if o, is := v.(map[string]any); is {
		for _, k := range []string{"id", "emailId"} {
			if o[k] != nil {
				return fmt.Sprint(o[k])
			}
		}
	}
	return fmt.Sprint(v)
}

// different is a place where two answers differ.
type different struct {
	path         string
	theirs, ours any
}

// absent stands for a member that is not there.
type absent struct{}

// compare finds where two answers differ.
func compare(path string, theirs, ours any) (all []different) {
	a, isMap := theirs.(map[string]any)
	b, areMaps := ours.(map[string]any)
	if isMap && areMaps {
		keys := map[string]bool{}
		for k := range a {
			keys[k] = true
		}
		for k := range b {
			keys[k] = true
		}
		for k := range keys {
			of := func(m map[string]any) any {
				if v, there := m[k]; there {
					return v
				}
				return absent{}
			}
			all = append(all, compare(path+"/"+k, of(a), of(b))...)
		}
		return all
	}
	c, isList := theirs.([]any)
	d, areLists := ours.([]any)
	if isList && areLists && len(c) == 3 && len(d) == 3 && (c[0] == "error") != (d[0] == "error") {
		return []different{{path, c, d}} // one is refused
	}
	if isList && areLists && len(c) == len(d) {
		for i := range c {
			at := fmt.Sprint(i)
			if o, is := d[i].(map[string]any); is && o["id"] != nil {
				at = fmt.Sprint(o["id"])
			}
			all = append(all, compare(path+"/"+at, c[i], d[i])...)
		}
		return all
	}
	if !reflect.DeepEqual(theirs, ours) {
		all = append(all, different{path, theirs, ours})
	}
	return all
}

func short(v any) string {
	raw, _ := json.Marshal(v)
	if len(raw) > 600 {
		return string(raw[:600]) + "…"
	}
	return string(raw)
}

// fill gives both servers the same mail by IMAP, and names what they have by the order.
func fill(t *testing.T, sides ...*side) {
	var clients []*imapclient.Client
	for _, s := range sides {
		c, err := imapclient.Dial(t.Context(), s.imap, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Timeout = time.Minute
		t.Cleanup(func() { c.Close() })
		if err := c.Login(login, peer.Password); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	n := 0
	for i, text := range mail(t) {
		box, flags := "INBOX", []imap.Flag{`\Seen`, `\Flagged`, "todo"}[:i%4]
		if i%5 == 4 {
			box = "Archive"
		}
		text = append(fmt.Appendf(nil, "X-Number: %02d\r\n", n), text...)
		taken := 0
		for _, c := range clients {
			_, _, err := c.Append(box, imapclient.Message{Flags: flags, Size: int64(len(text)), Body: bytes.NewReader(text),
				Date: time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC)})
			if err != nil && taken > 0 {
				t.Fatalf("taken by one server alone: %v", err)
			}
			if err != nil { // Cyrus, which is asked first, does not take what is no message
				break
			}
			taken++
		}
		if taken == len(clients) {
			n++
		}
	}
	if n < mailMin {
		t.Fatalf("%d messages", n)
	}
	for _, s := range sides {
		s.learn(t, n)
	}
}

// learn reads the session and which ids there are.
func (s *side) learn(t *testing.T, n int) {
	var session struct{ PrimaryAccounts map[string]string }
	if err := json.Unmarshal(s.do(t, "GET", "/.well-known/jmap", ""), &session); err != nil {
		t.Fatal(err)
	}
	s.account = session.PrimaryAccounts["urn:ietf:params:jmap:mail"]
	s.name(s.account, "account")
	of := func(i int, r []any) []any { return r[i].([]any)[1].(map[string]any)["list"].([]any) }
	r := s.call(t, fmt.Sprintf(`[["Mailbox/get",{"accountId":%[1]q,"ids":null},"0"],["Email/query",{"accountId":%[1]q},"1"],
		["Email/get",{"accountId":%[1]q,"#ids":{"resultOf":"1","name":"Email/query","path":"/ids"},"properties":["threadId","header:X-Number:asText"]},"2"]]`, s.account))
	for _, o := range of(0, r) {
		o := o.(map[string]any)
		name := o["name"].(string)
		if o["role"] == "inbox" {
			name = "INBOX"
		}
		s.name(o["id"].(string), "mailbox "+name)
	}
	emails := of(2, r)
	if len(emails) != n {
		t.Fatalf("%s has %d of %d messages", s.base, len(emails), n)
	}
	number := func(o any) string { return strings.TrimSpace(o.(map[string]any)["header:X-Number:asText"].(string)) }
	slices.SortFunc(emails, func(a, b any) int { return strings.Compare(number(a), number(b)) })
	for _, o := range emails {
		thread := o.(map[string]any)["threadId"].(string)
		s.name(o.(map[string]any)["id"].(string), "email "+number(o))
		if s.names[thread] == "" {
			s.name(thread, "thread "+number(o))
		}
	}
}

// mail are messages of the vectors and a conversation.
func mail(t *testing.T) (all [][]byte) {
	files, err := filepath.Glob("../../../message/testdata/vectors/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		all = append(all, text)
	}
	for i := range 6 {
		refs := ""
		if i%3 > 0 {
			refs = fmt.Sprintf("In-Reply-To: <c%d@x.test>\r\nReferences: <c%d@x.test>\r\n", i-1, i-1)
		}
		all = append(all, fmt.Appendf(nil, "From: \"Ann %c\" <ann@x.test>\r\nTo: bob@x.test\r\nDate: Thu, 1 Jan 2026 00:%02d:00 +0000\r\nSubject: %splans %d\r\nMessage-ID: <c%d@x.test>\r\n%sMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nThe elephant of plan %d.\r\n",
			'A'+i, i, []string{"", "Re: ", "Re: "}[i%3], i/3, i, refs, i))
	}
	return all
}
