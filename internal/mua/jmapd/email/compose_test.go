package email

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
	"postroad/message"
)

// FuzzCompose makes messages of properties that nobody has checked. Whatever they are, the
// message has the fields that they name and no others, and at most one of a name that one
// property makes.
func FuzzCompose(f *testing.F) {
	for _, s := range []string{
		`{"subject": "x", "from": [{"name": "a", "email": "b@c"}], "textBody": [{"partId": "1"}], "bodyValues": {"1": {"value": "text"}}}`,
		`{"header:X-A": " a\r\n b", "header:To:asGroupedAddresses": [{"name": "g", "addresses": [{"name": "\"", "email": "x\r\nBcc: y@z"}]}]}`,
		`{"bodyStructure": {"type": "multipart/mixed", "subParts": [{"partId": "1", "name": "ü\"\\", "cid": "a"}, {"partId": "1", "type": "text/html", "header:Content-Type": "a"}]}, "bodyValues": {"1": {"value": "--=_\r\n"}}}`,
		`{"messageId": ["a> <b"], "references": ["\u0000"], "sentAt": "2018-07-10T01:03:11+05:00", "header:List-Post:asURLs": ["a, <b"]}`,
		`{"attachments": [{"partId": "1", "disposition": "attachment; filename=x"}], "bodyValues": {"1": {"value": ""}}}`,
	} {
		f.Add(s)
	}
	h := newBodyHouse(f, Options{})
	f.Fuzz(func(t *testing.T, text string) {
		var o jmap.Properties
		if len(text) > 10_000 || json.Unmarshal([]byte(text), &o) != nil || o == nil {
			return
		}
		k := &composer{m: h.m, ctx: t.Context(), call: jmap.NewCall("Email/set", nil, &access.User{}, nil)}
		defer k.close()
		for _, name := range []string{"bodyStructure", "textBody", "htmlBody", "attachments"} {
			if bytes.Contains(o[name], []byte("blobId")) {
				return // a blob needs an account
			}
		}
		e, err := k.compose(o)
		if err != nil {
			return
		}
		r, err := e.Reader()
		if err != nil {
			t.Fatal(err)
		}
		octets, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		m, err := message.Parse(bytes.NewReader(octets), message.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if m.Defects.Has(message.DefectHeaderEnd | message.DefectHeaderJunk | message.DefectBareCR | message.DefectBareLF | message.DefectMultipartEnd | message.DefectBoundary) {
			t.Errorf("defects %b in\n%q", m.Defects, octets)
		}
		for f := range message.Fields(octets[:m.Root.Header.End]) {
			name := strings.ToLower(string(f.Name))
			switch name {
			case "date", "message-id", "mime-version", "content-type", "content-transfer-encoding", "content-disposition", "content-id", "content-language", "content-location":
				continue
			}
			if !k.top[name] && !strings.Contains(strings.ToLower(text), name) {
				t.Errorf("nobody asked for the field %q in\n%q", f.Name, octets)
			}
		}
	})
}
