package sieve

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"postroad/message"
)

// TestWorstCases runs what costs most for its size: scripts and messages that strangers or
// owners could make. Each must end by the limit of steps, or be cheap, whatever its length;
// the test would take minutes where a cost is not counted.
func TestWorstCases(t *testing.T) {
	field := "Content-Type: text/plain; a=b" + strings.Repeat("; x=y", 60_000) + "\r\n"
	big := []byte("Subject: " + strings.Repeat("a", 300_000) + "\r\n" + field + "To: " + strings.Repeat("a@b, ", 40_000) + "x@y\r\n\r\nbody")
	var parts strings.Builder
	parts.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for i := range 5000 {
		fmt.Fprintf(&parts, "--b\r\nX-Part: %d\r\n\r\nx\r\n", i)
	}
	parts.WriteString("--b--\r\n")
	many := []byte(parts.String())
	list := func(s string, n int) string { return `["` + strings.Repeat(s+`", "`, n) + s + `"]` }
	loop := func(s string) string {
		return `require ["relational", "foreverypart", "mime", "variables", "imap4flags", "enotify", "duplicate", "mailbox", "regex", "body", "include"]; foreverypart { ` + s + ` }`
	}
	for name, test := range map[string]struct {
		script  string
		message []byte
	}{
		"parameters":      {`require "mime"; ` + strings.Repeat(`if header :mime :param "q" "content-type" "x" {} `, 10_000), big},
		"dates":           {`require "date"; ` + strings.Repeat(`if date "subject" "year" "1" {} `, 10_000), big},
		"contains":        {strings.Repeat(`if header :contains "subject" "ab" {} `, 20_000), big},
		"matches":         {strings.Repeat(`if header :matches "subject" "*a*a*a*a*a*a*b" {} `, 10_000), big},
		"marks":           {strings.Repeat(`if header :matches "subject" "*?aaaaaaaaaaaaaaaaaaaaaaaab" {} `, 10_000), big},
		"addresses":       {strings.Repeat(`if address "to" "ab" {} `, 20_000), big},
		"regex":           {`require "regex"; ` + strings.Repeat(`if header :regex "subject" "(a|aa|aaa)+(a?){30}b" {} `, 500), big},
		"ids":             {`require "duplicate"; ` + strings.Repeat(`if duplicate :header "subject" {} `, 10_000), big},
		"anychild":        {loop(`if header :mime :anychild "x-part" "no" {}`), many},
		"anychild exists": {loop(`if exists :mime :anychild "x-none" {}`), many},
		"keys":            {loop(`if string :matches "" ` + list("x", 50_000) + ` {}`), many},
		"sources":         {loop(`if string :is ` + list("", 50_000) + ` "x" {}`), many},
		"references":      {loop(`set "b" "` + strings.Repeat("${a}", 100_000) + `";`), many},
		"flags":           {loop(`setflag "` + strings.Repeat("aaaa ", 100_000) + `";`), many},
		"methods":         {loop(`if valid_notify_method "mailto:a@b?x=` + strings.Repeat("a", 60_000) + `" {}`), many},
		"mailboxes":       {loop(`if mailboxexists ` + list("x", 50_000) + ` {}`), many},
		"made regexes":    {loop(`set "a" "(x{30}){30}"; if string :regex "y" "${a}" {}`), many},
		"raw body":        {loop(`if body :raw :contains ` + list("no", 100) + ` {}`), many},
		"all parts":       {loop(`if body :content "" :contains "no" {}`), many},
		"counts":          {loop(`if body :content "" :count "eq" "0" {}`), many},
		"loops":           {loop(`foreverypart { if true {} }`), many},
		"includes":        {loop(`include :optional "x";`), many},
	} {
		t.Run(name, func(t *testing.T) {
			s, errs := Compile([]byte(test.script), Options{Limits: Limits{Steps: StepsMax / 10}})
			if errs != nil {
				t.Fatal(errs[0])
			}
			m, err := message.Parse(bytes.NewReader(test.message), message.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Run(context.Background(), &Input{Body: bytes.NewReader(test.message), Message: m})
			if err != nil {
				t.Fatal(err)
			}
			if r.Failure != nil && !strings.Contains(r.Failure.Text, "steps") {
				t.Error(r.Failure)
			}
		})
	}
}
