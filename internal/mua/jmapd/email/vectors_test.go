package email

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postroad/jmap"
	"postroad/message"
)

// vectors are the foreign messages that package message is tested with.
func vectors(t testing.TB) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../../../../message/testdata/vectors/*_*.*")
	must(t, err)
	all := map[string]string{}
	for _, name := range names {
		if strings.Contains(name, "COPYING") {
			continue
		}
		b, err := os.ReadFile(name)
		must(t, err)
		all[filepath.Base(name)] = string(b)
	}
	if len(all) < 90 {
		t.Fatalf("only %d vectors", len(all))
	}
	return all
}

const everything = `"properties": ["messageId", "inReplyTo", "references", "sender", "from", "to", "cc", "bcc", "replyTo", "subject", "sentAt", "hasAttachment", "preview",
	"bodyValues", "textBody", "htmlBody", "attachments", "bodyStructure", "headers", "size", "header:To:asGroupedAddresses:all", "header:Received:all", "header:Subject:asText",
	"header:From:asAddresses", "header:To:asAddresses", "header:Message-ID:asMessageIds", "header:X-Mailer:asText"],
	"bodyProperties": ["partId", "size", "name", "type", "charset", "disposition", "cid", "language", "location", "headers"], "fetchAllBodyValues": true`

// TestVectors: what Email/parse says of an upload is what Email/get says of the message, and
// what is stored as summary is what the header says.
func TestVectors(t *testing.T) {
	h := newBodyHouse(t, Options{})
	for name, text := range vectors(t) {
		parsed, err := message.Parse(strings.NewReader(text), message.Limits{})
		must(t, err)
		id := h.deliver("alice", text)
		got := h.get("alice", id, everything)
		delete(got, "id")
		for short, form := range map[string]string{"from": "header:From:asAddresses", "subject": "header:Subject:asText", "to": "header:To:asAddresses"} {
			if !cmp.Equal(got[short], got[form]) {
				t.Errorf("%s: %s: %s", name, short, cmp.Diff(got[form], got[short]))
			}
		}
		up := h.upload("alice", "alice", "", text)
		r := h.call("alice", "Email/parse", "alice", fmt.Sprintf(`"blobIds": [%q], %s`, up, everything))
		one, ok := at(r, "parsed", string(up)).(map[string]any)
		if !ok {
			if parsed.Root.Header.Size() > 2 {
				t.Errorf("%s: %v", name, r)
			}
			continue
		}
		if d := cmp.Diff(one, got); d != "" {
			t.Errorf("%s: parsed and got differ: %s", name, d)
		}
		for part, v := range one["bodyValues"].(map[string]any) {
			h.cutValue(t, name, up, part, at(v, "value").(string))
		}
	}
}

// cutValue asks for the beginning of a value: it is one.
func (h *bodyHouse) cutValue(t *testing.T, name string, blob jmap.ID, part, whole string) {
	t.Helper()
	for _, most := range []int{1, 10, 100} {
		r := h.call("alice", "Email/parse", "alice", fmt.Sprintf(`"blobIds": [%q], "properties": ["bodyValues"], "fetchAllBodyValues": true, "maxBodyValueBytes": %d`, blob, most))
		v := at(r, "parsed", string(blob), "bodyValues", part)
		text, _ := at(v, "value").(string)
		if len(text) > most || !strings.HasPrefix(whole, text) || at(v, "isTruncated") != (len(whole) > most) {
			t.Errorf("%s: part %s cut to %d is %q of %q", name, part, most, text, whole)
		}
	}
}

// TestRoundTrip makes each foreign message anew of what Email/get says of it, and gets the
// same again.
func TestRoundTrip(t *testing.T) {
	h := newBodyHouse(t, Options{})
	compared := []string{"messageId", "inReplyTo", "references", "sender", "from", "to", "cc", "bcc", "replyTo", "subject", "sentAt"}
	refused := 0
	for name, text := range vectors(t) {
		id := h.deliver("alice", text)
		before := h.get("alice", id, `"fetchTextBodyValues": true, "fetchHTMLBodyValues": true`)
		put := map[string]any{"mailboxIds": map[string]bool{h.box("alice", "INBOX"): true}, "bodyValues": map[string]any{}}
		for _, p := range compared {
			if before[p] != nil {
				put[p] = before[p]
			}
		}
		texts := map[string]string{}
		for list, media := range map[string]string{"textBody": "text/plain", "htmlBody": "text/html"} {
			for _, p := range before[list].([]any) {
				if at(p, "type") == media && put[list] == nil {
					part := at(p, "partId").(string)
					texts[media] = at(before, "bodyValues", part, "value").(string)
					put[list] = []any{map[string]any{"partId": part, "type": media}}
					put["bodyValues"].(map[string]any)[part] = map[string]any{"value": texts[media]}
				}
			}
		}
		var attached []any
		for _, p := range before["attachments"].([]any) {
			attached = append(attached, map[string]any{"blobId": at(p, "blobId"), "type": at(p, "type"), "name": at(p, "name")})
		}
		put["attachments"] = attached
		raw, err := json.Marshal(put)
		must(t, err)
		r := h.call("alice", "Email/set", "alice", `"create": {"c": `+string(raw)+`}`)
		made, ok := at(r, "created", "c", "id").(string)
		if !ok {
			refused++
			properties, _ := at(r, "notCreated", "c", "properties").([]any)
			if slices.ContainsFunc(properties, func(p any) bool { return !slices.Contains(compared, p.(string)) }) {
				t.Errorf("%s: %v", name, r)
			}
			continue
		}
		after := h.get("alice", made, `"fetchTextBodyValues": true, "fetchHTMLBodyValues": true`)
		for _, p := range compared {
			want := put[p]
			if s, ok := want.(string); ok && p == "subject" {
				want = strings.Join(strings.Fields(s), " ")
				after[p] = strings.Join(strings.Fields(after[p].(string)), " ")
			}
			if want != nil && !cmp.Equal(after[p], want) {
				t.Errorf("%s: %s: %s", name, p, cmp.Diff(want, after[p]))
			}
		}
		h.sameBodies(t, name, texts, after)
		h.sameAttachments(t, name, before, after)
	}
	if refused > 15 {
		t.Errorf("%d messages could not be made anew", refused)
	}
	t.Logf("%d messages have addresses or ids that are refused", refused)
}

func (h *bodyHouse) sameBodies(t *testing.T, name string, texts map[string]string, after map[string]any) {
	t.Helper()
	for list, media := range map[string]string{"textBody": "text/plain", "htmlBody": "text/html"} {
		want, ok := texts[media]
		if !ok {
			continue
		}
		part, _ := at(after, list, 0, "partId").(string)
		v := at(after, "bodyValues", part)
		want = strings.ReplaceAll(strings.ReplaceAll(want, "\r\n", "\n"), "\r", "\n")
		if got, _ := at(v, "value").(string); got != want || at(v, "isEncodingProblem") != false {
			t.Errorf("%s: %s is %q, not %q", name, list, got, want)
		}
	}
}

func (h *bodyHouse) sameAttachments(t *testing.T, name string, before, after map[string]any) {
	t.Helper()
	b, a := before["attachments"].([]any), after["attachments"].([]any)
	if len(a) != len(b) {
		t.Errorf("%s: %d attachments, not %d", name, len(a), len(b))
		return
	}
	for i := range b {
		x, err1 := h.octetsOf("alice", "alice", jmap.ID(at(b[i], "blobId").(string)))
		y, err2 := h.octetsOf("alice", "alice", jmap.ID(at(a[i], "blobId").(string)))
		if strings.HasPrefix(at(b[i], "type").(string), "message/") { // a header without its empty line gets it
			x, y = strings.TrimRight(x, "\r\n"), strings.TrimRight(y, "\r\n")
		}
		if err1 != nil || err2 != nil || x != y || at(b[i], "name") != nil && !cmp.Equal(at(b[i], "name"), at(a[i], "name")) {
			t.Errorf("%s: attachment %d: %v %v; %q, not %q; name %v, not %v", name, i, err1, err2, y, x, at(a[i], "name"), at(b[i], "name"))
		}
	}
}

// TestParseWithin parses messages within messages.
func TestParseWithin(t *testing.T) {
	h := newBodyHouse(t, Options{})
	id := h.deliver("alice", structured)
	inner := "G" + id[1:] + "-2_4"
	r := h.call("alice", "Email/parse", "alice", fmt.Sprintf(`"blobIds": [%q, %q, %q, "U0000000000001"], "properties": ["id", "blobId", "size", "threadId", "mailboxIds", "keywords", "receivedAt", "subject", "textBody", "bodyValues"],
		"bodyProperties": ["blobId", "size"], "fetchTextBodyValues": true`, inner, inner, "G"+id[1:]+"-2_2"))
	o := at(r, "parsed", inner)
	same(t, "blob of the part", at(o, "textBody", 0), fmt.Sprintf(`{"blobId": "%s-1", "size": 5}`, inner))
	same(t, "value", at(o, "bodyValues", "1", "value"), `"grüße"`)
	for _, p := range []string{"id", "threadId", "mailboxIds", "keywords", "receivedAt"} {
		if v, there := o.(map[string]any)[p]; v != nil || !there {
			t.Errorf("%s is %v", p, v)
		}
	}
	same(t, "not parsable", r["notParsable"], fmt.Sprintf(`["%s"]`, "G"+id[1:]+"-2_2"))
	same(t, "not found", r["notFound"], `["U0000000000001"]`)
	if text, err := h.octetsOf("alice", "alice", jmap.ID(inner+"-1")); err != nil || text != "gr\xfc\xdfe" {
		t.Errorf("the part within: %q %v", text, err)
	}
	for _, bad := range []string{`"blobIds": "x"`, ``, `"blobIds": [], "properties": "x"`, `"blobIds": [], "more": 1`} {
		if r := h.try("alice", "Email/parse", "alice", bad); r["error"] != "invalidArguments" {
			t.Errorf("%s: %v", bad, r)
		}
	}
}

// TestParseMDN is MDN/parse.
func TestParseMDN(t *testing.T) {
	h := newBodyHouse(t, Options{})
	receipt := func(original string) string {
		return crlf(`From: Joe Recipient <Joe_Recipient@example.com>
Subject: =?utf-8?Q?Gelesen=3A_Gr=C3=BC=C3=9Fe?=
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: text/plain; charset=utf-8

Die Nachricht wurde angezeigt. ` + "ü" + `
--b
Content-Type: message/disposition-notification

Reporting-UA: joes-pc.cs.example.com; Foomail 97.1
Original-Recipient: rfc822;Joe_Recipient@example.com
Final-Recipient: rfc822;Joe_Recipient@example.com
Original-Message-ID: ` + original + `
Disposition: Manual-Action/MDN-sent-manually; Displayed/error
Error: none really
X-More: yes

--b--
`)
	}
	up, plain := h.upload("alice", "alice", "", receipt("<nobody@x>")), h.upload("alice", "alice", "", "Subject: x\r\n\r\nbody")
	r := h.call("alice", "MDN/parse", "alice", fmt.Sprintf(`"blobIds": [%q, %q, "U0000000000001"]`, up, plain))
	same(t, "receipt", at(r, "parsed", string(up)), `{"forEmailId": null, "subject": "Gelesen: Grüße", "textBody": "Die Nachricht wurde angezeigt. ü", "includeOriginalMessage": false,
		"reportingUA": "joes-pc.cs.example.com; Foomail 97.1", "mdnGateway": null, "originalRecipient": "rfc822; Joe_Recipient@example.com",
		"finalRecipient": "rfc822; Joe_Recipient@example.com", "originalMessageId": "<nobody@x>", "error": ["none really"], "extensionFields": {"X-More": "yes"},
		"disposition": {"actionMode": "manual-action", "sendingMode": "mdn-sent-manually", "type": "displayed"}}`)
	same(t, "not parsable", r["notParsable"], fmt.Sprintf(`[%q]`, plain))
	same(t, "not found", r["notFound"], `["U0000000000001"]`)
	id := h.create("alice", `"messageId": ["sent@ours.test"]`)
	up = h.upload("alice", "alice", "", receipt("<sent@ours.test>"))
	r = h.call("alice", "MDN/parse", "alice", fmt.Sprintf(`"blobIds": [%q]`, up))
	same(t, "for", at(r, "parsed", string(up), "forEmailId"), fmt.Sprintf("%q", id))
}
