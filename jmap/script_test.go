package jmap_test

import (
	"fmt"
	"strings"
	"testing"

	"postroad/jmap"
	"postroad/jmap/jmaptest"
)

// TestScripts runs testdata/*.jmap: the examples of RFC 8620 and the table of hostile requests.
func TestScripts(t *testing.T) {
	h, methods := jmap.ToyServer()
	r := jmaptest.Runner{Handler: h, Using: []string{jmap.Core, methods}}
	r.Header = map[string][]string{"Authorization": {"Basic am9objp4"}}
	r.Files(t, "testdata/*.jmap")
}

// hostile are requests that are too long to be written down.
var hostile = []struct {
	name, body string
	status     int
	says       string
}{
	{"nested lists", `{"using":[],"methodCalls":[["Core/echo",{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `},"0"]]}`, 400, jmap.ProblemNotJSON},
	{"nested objects", `{"using":[],"methodCalls":[["Core/echo",` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000) + `,"0"]]}`, 400, jmap.ProblemNotJSON},
	{"nested without end", strings.Repeat("[", 1_000_000), 400, jmap.ProblemNotJSON},
	{"nested in what is ignored", `{"using":[],"methodCalls":[],"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}", 400, jmap.ProblemNotJSON},
	{"as deep as can be", `{"using":["` + jmap.Core + `"],"methodCalls":[["Core/echo",{"a":` + strings.Repeat("[", 120) + strings.Repeat("]", 120) + `},"0"]]}`, 200, "Core/echo"},
	{"too large", `{"using":[],"methodCalls":[` + strings.Repeat(" ", 10_000_000) + `]}`, 400, `"limit":"maxSizeRequest"`},
	{"too many calls", `{"using":["` + jmap.Core + `"],"methodCalls":[` + strings.Repeat(`["Core/echo",{},"0"],`, 64) + `["Core/echo",{},"0"]]}`, 400, `"limit":"maxCallsInRequest"`},
	{"a number without end", `{"using":[],"methodCalls":[],"x":1` + strings.Repeat("0", 100_000) + "}", 400, jmap.ProblemNotJSON},
	{"many names, one twice", `{"using":[],"methodCalls":[],"x":{` + manyNames(1000) + `,"n500":1}}`, 400, jmap.ProblemNotJSON},
	{"many names", `{"using":[],"methodCalls":[],"x":{` + manyNames(1000) + `}}`, 200, "methodResponses"},
	{"references that double", doubling(40), 200, `"type":"invalidResultReference"`},
	{"references that gather", gathering(), 200, `"type":"invalidResultReference"`},
	{"references by the thousand", thousands(), 200, `"type":"invalidResultReference"`},
	{"a long path", reference("/" + strings.Repeat("a", 2000)), 200, `"type":"invalidResultReference"`},
	{"a path of many steps", reference(strings.Repeat("/*", 100)), 200, `"type":"invalidResultReference"`},
}

func manyNames(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"n%d":1`, i)
	}
	return strings.Join(list, ",")
}

func calls(list []string) string {
	return `{"using":["` + jmap.Core + `"],"methodCalls":[` + strings.Join(list, ",") + "]}"
}

// doubling makes every call twice as long as the one before.
func doubling(n int) string {
	list := []string{`["Core/echo",{"a":"0123456789abcdef"},"c0"]`}
	for i := 1; i < n; i++ {
		ref := fmt.Sprintf(`{"resultOf":"c%d","name":"Core/echo","path":""}`, i-1)
		list = append(list, fmt.Sprintf(`["Core/echo",{"#a":%s,"#b":%s},"c%d"]`, ref, ref, i))
	}
	return calls(list)
}

// gathering opens lists of lists, each a hundred times as long as the one before.
func gathering() string {
	list := []string{`["Core/echo",{"a":[` + strings.TrimSuffix(strings.Repeat("[1,1,1,1,1,1,1,1,1,1],", 1000), ",") + `]},"c0"]`}
	for i := 1; i < 20; i++ {
		ref := fmt.Sprintf(`{"resultOf":"c%d","name":"Core/echo","path":"/a/*"}`, 0)
		list = append(list, fmt.Sprintf(`["Core/echo",{"#a":%s},"c%d"]`, ref, i))
	}
	return calls(list)
}

// thousands looks through a long response again and again.
func thousands() string {
	long := `["Core/echo",{"a":"` + strings.Repeat("x", 4_000_000) + `","b":1},"c0"]`
	refs := make([]string, 20_000)
	for i := range refs {
		refs[i] = fmt.Sprintf(`"#r%d":{"resultOf":"c0","name":"Core/echo","path":"/b"}`, i)
	}
	return calls([]string{long, `["Core/echo",{` + strings.Join(refs, ",") + `},"c1"]`})
}

func reference(path string) string {
	return calls([]string{`["Core/echo",{"a":[]},"c0"]`, `["Core/echo",{"#a":{"resultOf":"c0","name":"Core/echo","path":"` + path + `"}},"c1"]`})
}

func TestHostile(t *testing.T) {
	h, _ := jmap.ToyServer()
	for _, test := range hostile {
		t.Run(test.name, func(t *testing.T) {
			w := jmap.Ask(h, "POST", "/jmap/api", test.body)
			if text := w.Body.String(); w.Code != test.status || !strings.Contains(text, test.says) {
				t.Errorf("%d %.300s; want %d with %s", w.Code, text, test.status, test.says)
			}
			if w.Body.Len() > 64<<20 {
				t.Errorf("the answer has %d octets", w.Body.Len())
			}
		})
	}
}
