package sending

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postroad/message"
)

// defaultAnswer is said where a vacation response has no body (RFC 8621, 8).
const defaultAnswer = "I am away at the moment, and may not read your message for some time."

// sieveDate is how Sieve writes a moment of the zone +0000 (RFC 5260, 4.2, "iso8601").
const sieveDate = "2006-01-02T15:04:05Z"

// script writes the Sieve script that gives the response; nil: none is given. All that RFC
// 3834 and RFC 5230 ask for, whom not to answer and how often, is the interpreter's.
func (v *vacation) script() []byte {
	if !v.Enabled {
		return nil
	}
	var b strings.Builder
	b.WriteString("require [\"vacation\", \"date\", \"relational\"];\n")
	var when []string
	for _, d := range []struct {
		at *time.Time
		is string
	}{{v.From, "ge"}, {v.To, "lt"}} {
		if d.at != nil {
			when = append(when, fmt.Sprintf("currentdate :zone \"+0000\" :value %q \"iso8601\" %q", d.is, d.at.UTC().Format(sieveDate)))
		}
	}
	if len(when) == 0 {
		when = append(when, "true")
	}
	fmt.Fprintf(&b, "if allof(%s) {\n  vacation :handle %s", strings.Join(when, ", "), quote("jmap "+v.digest()))
	if v.Subject != nil {
		fmt.Fprintf(&b, " :subject %s", quote(oneLine(*v.Subject)))
	}
	if v.HTML != nil {
		fmt.Fprintf(&b, " :mime %s;\n}\n", quote(v.entity()))
	} else {
		fmt.Fprintf(&b, " %s;\n}\n", quote(v.text()))
	}
	return []byte(b.String())
}

// digest is another one whenever the response is: then those are answered again who had an
// answer before.
func (v *vacation) digest() string {
	j, err := json.Marshal(v)
	if err != nil {
		j = nil // times out of range are refused when they are set
	}
	h := sha256.Sum256(j)
	return hex.EncodeToString(h[:12])
}

// text is the plain body: of its own, or what the HTML says.
func (v *vacation) text() string {
	switch {
	case v.Text != nil:
		return *v.Text
	case v.HTML != nil:
		return string(message.HTMLText([]byte(*v.HTML)))
	}
	return defaultAnswer
}

// entity is the MIME entity of a response with both bodies.
func (v *vacation) entity() string {
	boundary := "=_" + v.digest() // "=_" is in no base64 (RFC 2045, 6.7)
	var b strings.Builder
	fmt.Fprintf(&b, "Content-Type: multipart/alternative; boundary=\"%s\"\r\n\r\n", boundary)
	for _, part := range []struct{ kind, text string }{{"plain", v.text()}, {"html", *v.HTML}} {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", boundary, part.kind, lines(part.text))
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.String()
}

// lines writes text in base64 (RFC 2045, 6.8: at most 76 characters a line).
func lines(text string) string {
	const most = 76
	s := base64.StdEncoding.EncodeToString([]byte(text))
	var b bytes.Buffer
	for len(s) > most {
		b.WriteString(s[:most] + "\r\n")
		s = s[most:]
	}
	b.WriteString(s)
	return b.String()
}

// quote writes a quoted string (RFC 5228, 2.4.2), with line ends as Sieve wants them. NUL
// cannot be in one.
func quote(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	return "\"" + strings.NewReplacer("\x00", "", "\n", "\r\n", "\\", "\\\\", "\"", "\\\"").Replace(s) + "\""
}

// oneLine makes of line ends spaces: a subject has none.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\r' || r == '\n' }), " ")
}
