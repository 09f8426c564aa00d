package email

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"postroad/jmap"
	"postroad/message"
)

// create makes one message of properties in INBOX and returns its id.
func (h *bodyHouse) create(user, properties string) string {
	h.t.Helper()
	r := h.call(user, "Email/set", user, fmt.Sprintf(`"create": {"c": {"mailboxIds": {%q: true}, %s}}`, h.box(user, "INBOX"), properties))
	id, ok := at(r, "created", "c", "id").(string)
	if !ok {
		h.t.Fatalf("not created: %v", r)
	}
	return id
}

// raw reads the octets of a message.
func (h *bodyHouse) raw(user, id string) string {
	h.t.Helper()
	b, err := h.m.OpenBlob(context.Background(), h.users[user], h.open(user, user), jmap.ID("G"+id[1:]))
	must(h.t, err)
	defer b.Close()
	octets, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	must(h.t, err)
	return string(octets)
}

// upload uploads octets as a user.
func (h *bodyHouse) upload(user, account, media, octets string) jmap.ID {
	h.t.Helper()
	id, size, err := h.m.Upload(context.Background(), h.users[user], h.open(user, account), media, strings.NewReader(octets))
	must(h.t, err)
	if size != int64(len(octets)) {
		h.t.Fatalf("%d octets uploaded, not %d", size, len(octets))
	}
	return id
}

// TestCreateHeaders gets what was put, in every form.
func TestCreateHeaders(t *testing.T) {
	h := newBodyHouse(t, Options{})
	put := map[string]string{
		"from":                               `[{"name": "Joe Bloggs", "email": "joe@example.com"}]`,
		"sender":                             `[{"name": null, "email": "sender@example.com"}]`,
		"to":                                 `[{"name": "Bücher, \"die\"", "email": "b@bücher.example"}, {"name": "a.b", "email": "\"odd local\"@example.com"}]`,
		"cc":                                 `[{"name": null, "email": "unfinished"}]`,
		"bcc":                                `[{"name": "` + strings.Repeat("sehr lang ", 20) + `ü", "email": "x@example.com"}]`,
		"replyTo":                            `[{"name": null, "email": "r@example.com"}]`,
		"subject":                            `"Grüße: =?utf-8?Q?no?=  two spaces, ` + strings.Repeat("and much more text ", 10) + `end"`,
		"sentAt":                             `"2018-07-10T01:03:11+05:00"`,
		"messageId":                          `["id@example.com"]`,
		"inReplyTo":                          `["parent@example.com"]`,
		"references":                         `["first@example.com", "parent@example.com"]`,
		"header:X-Text:asText":               `"ein Wörtchen"`,
		"header:X-Raw":                       `" folded\r\n value ü"`,
		"header:Resent-To:asAddresses:all":   `[[{"name": null, "email": "a@b.c"}], [{"name": "D", "email": "d@b.c"}]]`,
		"header:X-Groups:asGroupedAddresses": `[{"name": "Freunde, alte", "addresses": [{"name": null, "email": "a@b.c"}]}, {"name": null, "addresses": [{"name": null, "email": "e@b.c"}]}, {"name": "none", "addresses": []}]`,
		"header:List-Unsubscribe:asURLs":     `["https://x.example/u?a=b", "mailto:u@x.example"]`,
		"header:X-Ids:asMessageIds:all":      `[["1@a"], ["2@a", "3@a"]]`,
		"header:X-Date:asDate":               `"2001-02-03T04:05:06Z"`,
		"header:Comments:asText:all":         `["one", "zwölf"]`,
		"header:Disposition-Notification-To:asAddresses": `[{"name": null, "email": "joe@example.com"}]`,
	}
	var properties, names []string
	for name, value := range put {
		properties = append(properties, fmt.Sprintf("%q: %s", name, value))
		names = append(names, fmt.Sprintf("%q", name))
	}
	id := h.create("alice", strings.Join(properties, ", "))
	got := h.get("alice", id, `"properties": [`+strings.Join(names, ",")+`]`)
	for name, value := range put {
		same(t, name, got[name], value)
	}
	raw := h.raw("alice", id)
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if len(line) > 998 {
			t.Errorf("a line of %d octets: %q", len(line), line)
		}
	}
	if m, err := message.Parse(strings.NewReader(raw), message.Limits{}); err != nil || m.Defects&^(message.DefectAddress) != 0 {
		t.Errorf("defects %b (%v) of\n%s", m.Defects, err, raw)
	}
	if !strings.HasPrefix(raw, "From: Joe Bloggs") || !strings.Contains(head, "\r\nMIME-Version: 1.0\r\n") {
		t.Errorf("the header is\n%s", head)
	}
}

// TestCreateDefaults has the fields that a message must have, and nothing else.
func TestCreateDefaults(t *testing.T) {
	h := newBodyHouse(t, Options{})
	id := h.create("alice", `"subject": "empty", "keywords": {"$Draft": true, "$SEEN": true, "Work": true}`)
	o := h.get("alice", id, "")
	same(t, "keywords", o["keywords"], `{"$draft": true, "$seen": true, "work": true}`)
	ids, _ := at(o, "messageId", 0).(string)
	if !strings.HasSuffix(ids, "@mail.ours.test") || o["sentAt"] == nil {
		t.Errorf("Message-ID %v, Date %v", o["messageId"], o["sentAt"])
	}
	same(t, "body", at(o, "textBody", 0, "size"), `0`)
}

// TestCreateBodies gets what was put, in both ways to put it.
func TestCreateBodies(t *testing.T) {
	h := newBodyHouse(t, Options{})
	image := h.upload("alice", "alice", "image/png", "\x89PNG\r\n\x1a\n\x00")
	notes := h.upload("alice", "alice", "text/plain", "ein Wörtchen\nzwei\n")
	inner := h.upload("alice", "alice", "message/rfc822", "Subject: inner\r\n\r\nhello\r\n")
	long := strings.Repeat("x", 3000)
	for _, c := range []struct {
		name, put string
		want      map[string]string // properties
	}{
		{"text", `"textBody": [{"partId": "t", "type": "text/plain"}], "bodyValues": {"t": {"value": "hällo\nFrom here\n. dot\n"}}`,
			map[string]string{"bodyStructure": `{"type": "text/plain", "partId": "1"}`, "bodyValues": `{"1": "hällo\nFrom here\n. dot\n"}`}},
		{"HTML with a long line", `"htmlBody": [{"partId": "h"}], "bodyValues": {"h": {"value": "<p>` + long + `</p>", "isTruncated": false}}`,
			map[string]string{"bodyStructure": `{"type": "text/html", "partId": "1"}`, "bodyValues": `{"1": "<p>` + long + `</p>"}`}},
		{"both", `"textBody": [{"partId": "t"}], "htmlBody": [{"partId": "h"}], "bodyValues": {"t": {"value": "T"}, "h": {"value": "<b>H</b>"}}`,
			map[string]string{"textBody": `[{"type": "text/plain", "partId": "1"}]`, "htmlBody": `[{"type": "text/html", "partId": "2"}]`, "attachments": `[]`,
				"bodyValues": `{"1": "T", "2": "<b>H</b>"}`}},
		{"everything", `"textBody": [{"partId": "t"}], "htmlBody": [{"partId": "h"}], "bodyValues": {"t": {"value": "T"}, "h": {"value": "<img src=cid:i>"}},
			"attachments": [{"blobId": "IMAGE", "cid": "i", "disposition": "inline", "type": "image/png"},
				{"blobId": "NOTES", "type": "text/plain", "charset": "utf-8", "name": "größe.txt", "disposition": "attachment", "language": ["de"], "location": "notes/1"},
				{"blobId": "INNER", "type": "message/rfc822"}]`,
			map[string]string{"bodyStructure": `{"type": "multipart/mixed", "partId": null, "subParts": [
				{"type": "multipart/alternative", "partId": null, "subParts": [{"type": "text/plain", "partId": "1.1"},
					{"type": "multipart/related", "partId": null, "subParts": [{"type": "text/html", "partId": "1.2.1"}, {"type": "image/png", "partId": "1.2.2"}]}]},
				{"type": "text/plain", "partId": "2"}, {"type": "message/rfc822", "partId": "3"}]}`,
				"attachments": `[{"type": "image/png", "partId": "1.2.2"}, {"type": "text/plain", "partId": "2"}, {"type": "message/rfc822", "partId": "3"}]`}},
		{"a tree", `"bodyStructure": {"type": "multipart/mixed", "header:X-Root": " r", "subParts": [
				{"type": "text/calendar", "partId": "c", "header:Content-Description:asText": "Bëschreibung"},
				{"type": "multipart/parallel", "subParts": [{"blobId": "IMAGE", "header:Content-Disposition": "inline; filename=\"a b.png\"", "type": "image/png"}]}]},
			"bodyValues": {"c": {"value": "BEGIN:VCALENDAR ü"}}`,
			map[string]string{"bodyStructure": `{"type": "multipart/mixed", "partId": null, "subParts": [{"type": "text/calendar", "partId": "1"},
				{"type": "multipart/parallel", "partId": null, "subParts": [{"type": "image/png", "partId": "2.1"}]}]}`, "header:X-Root": `" r"`}},
		{"one attachment alone", `"attachments": [{"blobId": "IMAGE", "name": "p.png"}]`,
			map[string]string{"bodyStructure": `{"type": "image/png", "partId": "1"}`, "attachments": `[{"type": "image/png", "partId": "1"}]`, "hasAttachment": `true`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := h.create("alice", strings.NewReplacer("IMAGE", string(image), "NOTES", string(notes), "INNER", string(inner)).Replace(c.put))
			var names []string
			for name := range c.want {
				names = append(names, fmt.Sprintf("%q", name))
			}
			o := h.get("alice", id, `"bodyProperties": ["type", "partId"], "fetchAllBodyValues": true, "properties": [`+strings.Join(names, ",")+`]`)
			for name, want := range c.want {
				if values, ok := o[name].(map[string]any); ok && name == "bodyValues" {
					for part, v := range values {
						same(t, "an encoding problem", at(v, "isEncodingProblem"), "false")
						values[part] = at(v, "value")
					}
				}
				same(t, name, o[name], want)
			}
			if m, err := message.Parse(strings.NewReader(h.raw("alice", id)), message.Limits{}); err != nil || m.Defects != 0 {
				t.Errorf("defects %b (%v) of\n%s", m.Defects, err, h.raw("alice", id))
			}
		})
	}
	id := h.create("alice", fmt.Sprintf(`"attachments": [{"blobId": %q, "type": "text/plain", "charset": "utf-8", "name": "größe.txt", "language": ["de", "en"], "location": "notes/1", "cid": "n@x"}, {"blobId": %q}]`, notes, image))
	o := h.get("alice", id, `"properties": ["attachments"]`)
	same(t, "an attachment", at(o, "attachments", 0), fmt.Sprintf(`{"partId": "1", "blobId": "%s-1", "size": 19, "name": "größe.txt", "type": "text/plain", "charset": "utf-8",
		"disposition": "attachment", "cid": "n@x", "language": ["de", "en"], "location": "notes/1"}`, "G"+id[1:]))
	for blob, want := range map[string]string{"G" + id[1:] + "-1": "ein Wörtchen\nzwei\n", "G" + id[1:] + "-2": "\x89PNG\r\n\x1a\n\x00"} {
		b, err := h.m.OpenBlob(t.Context(), h.users["alice"], h.open("alice", "alice"), jmap.ID(blob))
		must(t, err)
		got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		if err != nil || string(got) != want {
			t.Errorf("blob %s: %q %v", blob, got, err)
		}
	}
}

// TestCreateErrors has every rule of RFC 8621, 4.6, broken once.
func TestCreateErrors(t *testing.T) {
	h := newBodyHouse(t, Options{MessageBytesMax: 100_000})
	blob := string(h.upload("alice", "alice", "image/png", "x"))
	large := string(h.upload("alice", "alice", "image/png", strings.Repeat("x", 90_000)))
	inbox := fmt.Sprintf(`"mailboxIds": {%q: true}`, h.box("alice", "INBOX"))
	deep := `{"partId": "a"}`
	for range 60 {
		deep = `{"type": "multipart/mixed", "subParts": [` + deep + `]}`
	}
	many := make(map[string]bool)
	for i := range 57 {
		many[fmt.Sprint("k", i)] = true
	}
	keywords, _ := json.Marshal(many)
	for _, c := range []struct{ name, put, kind, properties string }{
		{"no mailbox", `"subject": "x"`, "invalidProperties", `["mailboxIds"]`},
		{"an empty set of mailboxes", `"mailboxIds": {}`, "invalidProperties", `["mailboxIds"]`},
		{"false for a mailbox", fmt.Sprintf(`"mailboxIds": {%q: false}`, h.box("alice", "INBOX")), "invalidProperties", `["mailboxIds"]`},
		{"a mailbox that is not there", `"mailboxIds": {"F0000000000001": true}`, "invalidProperties", `["mailboxIds"]`},
		{"another one's mailbox", fmt.Sprintf(`"mailboxIds": {%q: true}`, h.box("bob", "INBOX")), "invalidProperties", `["mailboxIds"]`},
		{"a keyword that is none", inbox + `, "keywords": {"a b": true}`, "invalidProperties", `["keywords"]`},
		{"a keyword that is false", inbox + `, "keywords": {"a": false}`, "invalidProperties", `["keywords"]`},
		{"too many keywords", inbox + `, "keywords": ` + string(keywords), "tooManyKeywords", `null`},
		{"receivedAt", inbox + `, "receivedAt": "yesterday"`, "invalidProperties", `["receivedAt"]`},
		{"a property that nobody knows", inbox + `, "nonsense": 1`, "invalidProperties", `["nonsense"]`},
		{"what the server sets", inbox + `, "id": "x", "size": 1, "preview": "", "hasAttachment": true`, "invalidProperties", `["hasAttachment", "id", "preview", "size"]`},
		{"headers", inbox + `, "headers": []`, "invalidProperties", `["headers"]`},
		{"one field twice", inbox + `, "from": [], "header:From:asAddresses": []`, "invalidProperties", `["header:From:asAddresses"]`},
		{"one field twice in other letters", inbox + `, "header:X-A": " 1", "header:x-a:asText": "2"`, "invalidProperties", `["header:x-a:asText"]`},
		{"a forbidden form", inbox + `, "header:From:asDate": "2001-02-03T04:05:06Z"`, "invalidProperties", `["header:From:asDate"]`},
		{"Content- on the message", inbox + `, "header:Content-Type": " text/html"`, "invalidProperties", `["header:Content-Type"]`},
		{"a field within a field", inbox + `, "header:X-A": " a\r\nBcc: b@c.d"`, "invalidProperties", `["header:X-A"]`},
		{"the end of the header in a field", inbox + `, "header:X-A": " a\r\n\r\nbody"`, "invalidProperties", `["header:X-A"]`},
		{"an address that is two", inbox + `, "to": [{"email": "a@b.c, d@e.f"}]`, "invalidProperties", `["to"]`},
		{"an address that ends a group", inbox + `, "to": [{"email": "a@b;c"}]`, "invalidProperties", `["to"]`},
		{"addresses that are none", inbox + `, "to": "a@b.c"`, "invalidProperties", `["to"]`},
		{"a date that is none", inbox + `, "sentAt": "today"`, "invalidProperties", `["sentAt"]`},
		{"a msg-id with a space", inbox + `, "messageId": ["a b"]`, "invalidProperties", `["messageId"]`},
		{"a msg-id with brackets", inbox + `, "references": ["a><b"]`, "invalidProperties", `["references"]`},
		{"a URL with a bracket", inbox + `, "header:List-Help:asURLs": ["a>b"]`, "invalidProperties", `["header:List-Help:asURLs"]`},
		{"both ways to give a body", inbox + `, "bodyStructure": {"partId": "a"}, "bodyValues": {"a": {"value": ""}}, "textBody": [{"partId": "a"}]`, "invalidProperties", `["textBody"]`},
		{"a field of the message in the root", inbox + `, "subject": "x", "bodyStructure": {"partId": "a", "header:Subject": " y"}, "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["bodyStructure/header:Subject"]`},
		{"two texts", inbox + `, "textBody": [{"partId": "a"}, {"partId": "a"}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["textBody"]`},
		{"textBody of HTML", inbox + `, "textBody": [{"partId": "a", "type": "text/html"}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["textBody"]`},
		{"htmlBody of text", inbox + `, "htmlBody": [{"partId": "a", "type": "text/plain"}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["htmlBody"]`},
		{"partId and blobId", inbox + `, "textBody": [{"partId": "a", "blobId": "` + blob + `"}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["textBody/0"]`},
		{"neither partId nor blobId", inbox + `, "textBody": [{"type": "text/plain"}]`, "invalidProperties", `["textBody/0"]`},
		{"a value that is not there", inbox + `, "textBody": [{"partId": "b"}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["textBody/0/partId"]`},
		{"charset of a value", inbox + `, "textBody": [{"partId": "a", "charset": "utf-8"}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["textBody/0/charset"]`},
		{"size of a value", inbox + `, "textBody": [{"partId": "a", "size": 1}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["textBody/0/size"]`},
		{"an encoding", inbox + `, "textBody": [{"partId": "a", "header:Content-Transfer-Encoding": " 8bit"}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["textBody/0/header:Content-Transfer-Encoding"]`},
		{"headers of a part", inbox + `, "textBody": [{"partId": "a", "headers": []}], "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["textBody/0/headers"]`},
		{"type twice", inbox + `, "bodyStructure": {"partId": "a", "type": "text/plain", "header:Content-Type": " text/html"}, "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["bodyStructure/type"]`},
		{"a type that is none", inbox + `, "bodyStructure": {"partId": "a", "type": "text"}, "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["bodyStructure/type"]`},
		{"a truncated value", inbox + `, "textBody": [{"partId": "a"}], "bodyValues": {"a": {"value": "", "isTruncated": true}}`, "invalidProperties", `["bodyValues/a/isTruncated"]`},
		{"a value with an encoding problem", inbox + `, "bodyValues": {"a": {"value": "", "isEncodingProblem": true}}`, "invalidProperties", `["bodyValues/a/isEncodingProblem"]`},
		{"a multipart without parts", inbox + `, "bodyStructure": {"type": "multipart/mixed", "subParts": []}`, "invalidProperties", `["bodyStructure/subParts"]`},
		{"parts of a text", inbox + `, "bodyStructure": {"type": "text/plain", "subParts": [{"partId": "a"}]}, "bodyValues": {"a": {"value": ""}}`, "invalidProperties", `["bodyStructure/subParts"]`},
		{"a cid with brackets", inbox + `, "attachments": [{"blobId": "` + blob + `", "cid": "<a>"}]`, "invalidProperties", `["attachments/0/cid"]`},
		{"nested too deep", inbox + `, "bodyValues": {"a": {"value": ""}}, "bodyStructure": ` + deep, "invalidProperties", `["bodyStructure` + strings.Repeat("/subParts/0", 51) + `"]`},
		{"blobs that are not there", inbox + `, "attachments": [{"blobId": "U0000000000001"}, {"blobId": "` + blob + `"}, {"blobId": "nonsense"}]`, "blobNotFound", `null`},
		{"too large", inbox + `, "attachments": [{"blobId": "` + large + `"}]`, "tooLarge", `null`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.call("alice", "Email/set", "alice", `"create": {"c": {`+c.put+`}}`)
			same(t, "type", at(r, "notCreated", "c", "type"), `"`+c.kind+`"`)
			same(t, "properties", at(r, "notCreated", "c", "properties"), c.properties)
			if c.kind == "blobNotFound" {
				same(t, "notFound", at(r, "notCreated", "c", "notFound"), `["U0000000000001", "nonsense"]`)
			}
			if t.Failed() {
				t.Log(r)
			}
		})
	}
	if all, err := h.open("alice", "alice").Emails(t.Context(), h.open("alice", "alice").Reader); err != nil || all.Len() != 0 {
		t.Errorf("%d messages are there: %v", all.Len(), err)
	}
}
