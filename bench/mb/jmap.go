package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"strings"
	"time"
)

func init() { cmds["jmap"] = jmapLoad }

// jmapClient is one user of a JMAP server, by Basic authentication.
type jmapClient struct {
	http             *http.Client
	user, pass       string
	api, events, acc string
}

// jmapOpen reads the session; base is scheme and host, in place of those that it tells.
func jmapOpen(base, user, pass string) (*jmapClient, error) {
	c := &jmapClient{http: &http.Client{}, user: user, pass: pass}
	b, err := c.do("GET", base+"/.well-known/jmap", nil)
	if err != nil {
		return nil, err
	}
	var s struct {
		APIURL         string            `json:"apiUrl"`
		EventSourceURL string            `json:"eventSourceUrl"`
		Primary        map[string]string `json:"primaryAccounts"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	at := func(u string) string {
		if _, rest, ok := strings.Cut(u, "://"); ok {
			_, path, _ := strings.Cut(rest, "/")
			return base + "/" + path
		}
		return base + u
	}
	c.api, c.events, c.acc = at(s.APIURL), at(s.EventSourceURL), s.Primary["urn:ietf:params:jmap:mail"]
	return c, nil
}

func (c *jmapClient) do(method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(c.user, c.pass)
	req.Header.Set("Content-Type", "application/json")
	r, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %.300s", r.Status, b)
	}
	return b, err
}

// call makes method calls and returns the arguments of each response; an error is fatal.
func (c *jmapClient) call(calls string) []map[string]any {
	body := `{"using": ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"], "methodCalls": [` + strings.ReplaceAll(calls, "ACCOUNT", c.acc) + `]}`
	b, err := c.do("POST", c.api, []byte(body))
	check(err)
	var r struct{ MethodResponses [][]json.RawMessage }
	check(json.Unmarshal(b, &r))
	var out []map[string]any
	for _, one := range r.MethodResponses {
		var args map[string]any
		check(json.Unmarshal(one[1], &args))
		if string(one[0]) == `"error"` {
			die("%s: %s", calls, one[1])
		}
		out = append(out, args)
	}
	return out
}

// jmapGet is what a list of messages asks for, of the ids that a query found.
const jmapGet = `["Email/get", {"accountId": "ACCOUNT", "#ids": {"resultOf": "q", "name": "Email/query", "path": "/ids"},
	"properties": ["threadId", "mailboxIds", "keywords", "from", "subject", "receivedAt", "size", "preview", "hasAttachment"]}, "g"]`

// jmapLoad measures what a web mail asks for in a mailbox of any size.
func jmapLoad(args []string) {
	fs := flag.NewFlagSet("jmap", flag.ExitOnError)
	base := fs.String("url", "http://127.0.0.1:8080", "server: scheme and host")
	login := fs.String("login", "u%d@bench.test", "login pattern")
	pass := fs.String("pass", "benchpass-1", "password")
	user := fs.Int("user", 1, "account number")
	n := fs.Int("n", 50, "repetitions of each step")
	set := fs.Int("set", 1000, "messages that one Email/set changes")
	pids := fs.String("pids", "", "server's root processes")
	tag := fs.String("tag", "", "label")
	fs.Parse(args)
	pl := parsePids(*pids)
	c, err := jmapOpen(*base, fmt.Sprintf(*login, *user), *pass)
	check(err)
	inbox := ""
	for _, m := range c.call(`["Mailbox/get", {"accountId": "ACCOUNT", "properties": ["role", "totalEmails"]}, "m"]`)[0]["list"].([]any) {
		if m := m.(map[string]any); m["role"] == "inbox" {
			inbox = m["id"].(string)
		}
	}
	query := func(more string) string {
		return fmt.Sprintf(`["Email/query", {"accountId": "ACCOUNT", "filter": {"inMailbox": %q}, "sort": [{"property": "receivedAt", "isAscending": false}], %s}, "q"]`, inbox, more)
	}
	step := func(name string, ops int, f func(i int)) {
		var d []time.Duration
		u := measure(pl, false)
		for i := range *n {
			t := time.Now()
			f(i)
			d = append(d, time.Since(t))
		}
		r := result{"cmd": "jmap", "step": name, "tag": *tag, "ops": *n}
		lat(r, "", d)
		u.since(r, pl, *n*ops)
		r.print()
	}
	total := int(c.call(query(`"limit": 1, "calculateTotal": true`))[0]["total"].(float64))
	c.call(query(`"limit": 60`) + "," + jmapGet) // the mailbox is open from here on
	step("first-60", 1, func(int) { c.call(query(`"limit": 60`) + "," + jmapGet) })
	step("window-60", 1, func(int) {
		c.call(query(fmt.Sprintf(`"position": %d, "limit": 60`, rand.Intn(max(1, total-60)))) + "," + jmapGet)
	})
	step("collapsed-60", 1, func(int) { c.call(query(`"collapseThreads": true, "limit": 60`) + "," + jmapGet) })
	ids := c.call(query(fmt.Sprintf(`"limit": %d`, *set)))[0]["ids"].([]any)
	step("changes-10", 1, func(i int) {
		r := c.call(`["Email/get", {"accountId": "ACCOUNT", "ids": []}, "s"]`)
		c.call(jmapFlag(ids[:min(10, len(ids))], i))
		c.call(fmt.Sprintf(`["Email/changes", {"accountId": "ACCOUNT", "sinceState": %q}, "c"]`, r[0]["state"]))
	})
	*n = max(1, *n/10)
	step("set-"+fmt.Sprint(len(ids)), len(ids), func(i int) { c.call(jmapFlag(ids, i)) })
}

// jmapFlag is an Email/set that flags messages, or takes the flag away.
func jmapFlag(ids []any, i int) string {
	value := "true"
	if i%2 == 1 {
		value = "null"
	}
	var b strings.Builder
	for k, id := range ids {
		if k > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%q: {"keywords/$flagged": %s}`, id, value)
	}
	return `["Email/set", {"accountId": "ACCOUNT", "update": {` + b.String() + `}}, "e"]`
}
