// Package jmaptest runs conversations of JMAP that are written down: scripts of requests
// with patterns of the responses that are expected.
//
// The main type is [Runner]. It talks to any http.Handler, or to methods, around which it
// puts a jmap.Server. A script is a text file, by custom testdata/NAME.jmap:
//
//	# A comment, outside of JSON.
//	using urn:ietf:params:jmap:core urn:ietf:params:jmap:mail
//
//	step mailboxes are listed
//	-> [["Mailbox/get", {"accountId": "$account", "ids": null}, "0"]]
//	<- [["Mailbox/get", {
//	     "accountId": "$account", "state": "*string", "notFound": [],
//	     "list": [{"id": "$inbox", "role": "inbox", "...": true}, "..."]
//	   }, "0"]]
//
//	step no JSON at all
//	->raw {"using":
//	<- 400 {"type": "urn:ietf:params:jmap:error:notJSON", "status": 400, "...": true}
//
// Lines at the margin:
//
//	using URI...    the capabilities of the requests that follow; else [Runner].Using
//	step NAME       begins a test of its own in the output; steps run in order, and the
//	                script ends at the first that fails
//	do NAME ARGS    calls [Runner].Do[NAME] with the rest of the line, variables put in
//	-> JSON         a request: a list is its methodCalls, an object the whole of it
//	->raw TEXT      a request of any text, as it stands
//	<- [STATUS] JSON the answer: a list is its methodResponses, an object the whole of it;
//	                the status is 200 where none is given
//
// JSON may go over several lines; it ends where a line begins with one of these words.
//
// In a request "$name" as a whole string, or as the name of a member, is the value of a
// variable, of [Runner].Vars or bound by an earlier answer. "#name" and all else is left alone.
//
// In an answer:
//
//	"$name"         what the variable has; one that has nothing yet is given the value
//	"*"             any value; "*string", "*number", "*bool", "*array", "*object", "*id",
//	                "*date" (UTCDate): any of that kind
//	"*absent"       as the value of a member: it must not be there
//	"~REGEXP"       a string that matches as a whole
//	"=TEXT"         the string TEXT, whatever it begins with
//	"...": true     in an object: further members may be there; else none may
//	"..."           as the last item of a list: further items may follow
//	"*unordered"    as the first item of a list: the items come in any order
package jmaptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// step is one step of a script.
type step struct {
	name  string
	line  int
	using []string // nil: the runner's
	acts  []act
}

// act is a request with its answer, or a call of a function.
type act struct {
	line    int
	do      string // name of a function; empty: a request
	args    string
	request string
	raw     bool
	status  int
	answer  string
}

// words begin lines at the margin.
var words = []string{"using", "step", "do", "->raw", "->", "<-", "#"}

// keyword splits a line that begins with one of words.
func keyword(line string) (word, rest string, ok bool) {
	for _, w := range words {
		rest, found := strings.CutPrefix(line, w)
		if found && (rest == "" || w == "#" || rest[0] == ' ' || rest[0] == '\t') {
			return w, strings.TrimSpace(rest), true
		}
	}
	return "", "", false
}

// parseScript reads a script.
func parseScript(text string) ([]step, error) {
	p := parser{}
	for i, line := range strings.Split(text, "\n") {
		if err := p.line(i+1, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	for _, s := range p.steps {
		for _, a := range s.acts {
			if a.do == "" && a.status == 0 {
				return nil, fmt.Errorf("line %d: a request without an answer", a.line)
			}
		}
	}
	return p.steps, nil
}

type parser struct {
	steps []step
	using []string
	open  *string // where lines that are not at the margin go
}

func (p *parser) line(n int, line string) error {
	word, rest, ok := keyword(line)
	if !ok {
		switch {
		case p.open != nil:
			*p.open += "\n" + line
		case strings.TrimSpace(line) != "":
			return fmt.Errorf("%q is none of %s", line, strings.Join(words, " "))
		}
		return nil
	}
	p.open = nil
	if word == "#" {
		return nil
	}
	if word == "using" {
		p.using = strings.Fields(rest)
		return nil
	}
	if word == "step" || len(p.steps) == 0 {
		name := rest
		if word != "step" {
			name = "start"
		}
		p.steps = append(p.steps, step{name: name, line: n, using: p.using})
		if word == "step" {
			return nil
		}
	}
	return p.act(n, word, rest)
}

// act adds to the last step.
func (p *parser) act(n int, word, rest string) error {
	s := &p.steps[len(p.steps)-1]
	if len(s.acts) == 0 {
		s.using = p.using
	}
	switch word {
	case "do":
		name, args, _ := strings.Cut(rest, " ")
		s.acts = append(s.acts, act{line: n, do: name, args: args})
	case "->", "->raw":
		s.acts = append(s.acts, act{line: n, request: rest, raw: word == "->raw"})
		p.open = &s.acts[len(s.acts)-1].request
	case "<-":
		if len(s.acts) == 0 || s.acts[len(s.acts)-1].do != "" || s.acts[len(s.acts)-1].status != 0 {
			return fmt.Errorf("an answer without a request")
		}
		a := &s.acts[len(s.acts)-1]
		a.status = 200
		if first, more, _ := strings.Cut(rest, " "); first != "" && first[0] >= '0' && first[0] <= '9' {
			var err error
			if a.status, err = strconv.Atoi(first); err != nil {
				return fmt.Errorf("%q is no status", first)
			}
			rest = more
		}
		a.answer = rest
		p.open = &a.answer
	}
	return nil
}

// decode reads JSON with its numbers as they are written.
func decode(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("something follows the JSON: %.40q", text[d.InputOffset():])
	}
	return v, nil
}

// indent writes a value for people.
func indent(v any) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(out.String())
}
