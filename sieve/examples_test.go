package sieve

import (
	"regexp"
	"strings"
	"testing"
)

// TestExamplesOfAll: of each extension there is an example of its RFC in the file of
// examples, as a script that requires it or as lines that need it.
func TestExamplesOfAll(t *testing.T) {
	_, cases := readTests(t, "testdata/examples.svtest")
	required := map[string]bool{}
	requires := regexp.MustCompile(`(?s)require\s+(\[[^\]]*\]|"[^"]*")\s*;`)
	quoted := regexp.MustCompile(`"([^"]*)"`)
	for _, c := range cases {
		for _, s := range c.sections {
			if s.name != "script" && s.name != "errors" {
				continue
			}
			for _, list := range requires.FindAllStringSubmatch(strings.Join(s.lines, "\n"), -1) {
				for _, name := range quoted.FindAllStringSubmatch(list[1], -1) {
					required[name[1]] = true
				}
			}
		}
	}
	for _, name := range Extensions() {
		if !required[name] {
			t.Errorf("no example requires %q", name)
		}
	}
}
