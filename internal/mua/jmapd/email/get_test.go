package email

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// structured is the example of RFC 8621, 4.1.4, with letters for bodies.
var structured = crlf(`From: "  James Smythe" <james@example.com>
To: Friends: jane@example.com, =?UTF-8?Q?John_Sm=C3=AEth?=
 <john@example.com>;, last@example.com
Cc: one@example.com
Cc: two@example.com
Subject: =?utf-8?Q?Dinner_on?= =?utf-8?Q?_Thursday=3F?=
Date: Sun, 13 Oct 2013 16:12:00 +0200
Message-ID: <1@example.com>
References: <0@example.com> (a comment) <00@example.com>
List-Post: <mailto:partytime@lists.example.com> (here)
X-Twice: one
x-twice:  two
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=m1

--m1
Content-Disposition: inline

A
--m1
Content-Type: multipart/mixed; boundary=m2

--m2
Content-Type: multipart/alternative; boundary=m3

--m3
Content-Type: multipart/mixed; boundary=m4

--m4
Content-Disposition: inline

B
--m4
Content-Type: image/jpeg
Content-Disposition: inline
Content-Transfer-Encoding: base64

Qw==
--m4
Content-Disposition: inline

D
--m4--
--m3
Content-Type: multipart/related; boundary=m5

--m5
Content-Type: text/html; charset=utf-8

<p>E</p>
--m5
Content-Type: image/jpeg
Content-ID: <f@x>
Content-Language: de, en
Content-Location: http://x/f.jpg

F
--m5--
--m3--
--m2
Content-Type: image/jpeg; name="g.jpg"
Content-Disposition: attachment

G
--m2
Content-Type: application/x-excel

H
--m2
Content-Type: message/rfc822

Subject: inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

gr=FC=DFe
--m2--
--m1
Content-Disposition: inline

K
--m1--
`)

func TestGetStructure(t *testing.T) {
	h := newBodyHouse(t, Options{})
	id := h.deliver("alice", structured)
	o := h.get("alice", id, `"properties": ["textBody", "htmlBody", "attachments", "hasAttachment", "preview"], "bodyProperties": ["partId"]`)
	same(t, "text", o["textBody"], `[{"partId": "1"}, {"partId": "2.1.1.1"}, {"partId": "2.1.1.2"}, {"partId": "2.1.1.3"}, {"partId": "3"}]`)
	same(t, "HTML", o["htmlBody"], `[{"partId": "1"}, {"partId": "2.1.2.1"}, {"partId": "3"}]`)
	same(t, "attachments", o["attachments"], `[{"partId": "2.1.1.2"}, {"partId": "2.1.2.2"}, {"partId": "2.2"}, {"partId": "2.3"}, {"partId": "2.4"}]`)
	same(t, "hasAttachment", o["hasAttachment"], `true`)
	same(t, "preview", o["preview"], `"A"`)

	o = h.get("alice", id, `"properties": ["bodyStructure", "attachments"], "bodyProperties": ["partId", "blobId", "size", "name", "type", "charset", "disposition", "cid", "language", "location", "header:content-type", "headers"]`)
	same(t, "F", at(o, "attachments", 1), fmt.Sprintf(`{"partId": "2.1.2.2", "blobId": "%s-2_1_2_2", "size": 1, "name": null, "type": "image/jpeg", "charset": null,
		"disposition": null, "cid": "f@x", "language": ["de", "en"], "location": "http://x/f.jpg", "header:content-type": " image/jpeg",
		"headers": [{"name": "Content-Type", "value": " image/jpeg"}, {"name": "Content-ID", "value": " <f@x>"},
			{"name": "Content-Language", "value": " de, en"}, {"name": "Content-Location", "value": " http://x/f.jpg"}]}`, "G"+id[1:]))
	same(t, "the root's type", at(o, "bodyStructure", "type"), `"multipart/mixed"`)
	same(t, "the root's partId", at(o, "bodyStructure", "partId"), `null`)
	same(t, "an image's size", at(o, "bodyStructure", "subParts", 1, "subParts", 0, "subParts", 0, "subParts", 1, "size"), `1`)
	same(t, "a text's charset", at(o, "bodyStructure", "subParts", 0, "charset"), `"us-ascii"`)
	if _, has := at(o, "attachments", 4).(map[string]any)["subParts"]; has {
		t.Error("an attached message has subParts")
	}
}

func TestGetHeaders(t *testing.T) {
	h := newBodyHouse(t, Options{})
	id := h.deliver("alice", structured)
	for property, want := range map[string]string{
		"from":                               `[{"name": "James Smythe", "email": "james@example.com"}]`,
		"to":                                 `[{"name": null, "email": "jane@example.com"}, {"name": "John Smîth", "email": "john@example.com"}, {"name": null, "email": "last@example.com"}]`,
		"cc":                                 `[{"name": null, "email": "two@example.com"}]`,
		"bcc":                                `null`,
		"sender":                             `null`,
		"replyTo":                            `null`,
		"subject":                            `"Dinner on Thursday?"`,
		"sentAt":                             `"2013-10-13T16:12:00+02:00"`,
		"messageId":                          `["1@example.com"]`,
		"inReplyTo":                          `null`,
		"references":                         `["0@example.com", "00@example.com"]`,
		"header:Subject":                     `" =?utf-8?Q?Dinner_on?= =?utf-8?Q?_Thursday=3F?="`,
		"header:subject:asText":              `"Dinner on Thursday?"`,
		"header:To:asAddresses":              `[{"name": null, "email": "jane@example.com"}, {"name": "John Smîth", "email": "john@example.com"}, {"name": null, "email": "last@example.com"}]`,
		"header:To:asGroupedAddresses":       `[{"name": "Friends", "addresses": [{"name": null, "email": "jane@example.com"}, {"name": "John Smîth", "email": "john@example.com"}]}, {"name": null, "addresses": [{"name": null, "email": "last@example.com"}]}]`,
		"header:Cc:asAddresses:all":          `[[{"name": null, "email": "one@example.com"}], [{"name": null, "email": "two@example.com"}]]`,
		"header:X-Twice":                     `"  two"`,
		"header:X-Twice:all":                 `[" one", "  two"]`,
		"header:X-Twice:asText":              `"two"`,
		"header:X-Nothing":                   `null`,
		"header:X-Nothing:all":               `[]`,
		"header:List-POST:asURLs":            `["mailto:partytime@lists.example.com"]`,
		"header:Date:asDate":                 `"2013-10-13T16:12:00+02:00"`,
		"header:X-Twice:asDate":              `null`,
		"header:X-Twice:asURLs:all":          `[null, null]`,
		"header:Message-ID:asMessageIds":     `["1@example.com"]`,
		"header:References:asMessageIds:all": `[["0@example.com", "00@example.com"]]`,
		"header:X-Twice:asRaw":               `"  two"`,
	} {
		o := h.get("alice", id, fmt.Sprintf(`"properties": [%q]`, property))
		same(t, property, o[property], want)
	}
	o := h.get("alice", id, `"properties": ["headers"]`)
	same(t, "the eleventh header", at(o, "headers", 10), `{"name": "x-twice", "value": "  two"}`)
}

// TestForbiddenForms refuses what RFC 8621, 4.1.2, does not let be asked for.
func TestForbiddenForms(t *testing.T) {
	h := newBodyHouse(t, Options{})
	for _, bad := range []string{"header:From:asDate", "header:From:asText", "header:Subject:asAddresses", "header:Subject:asMessageIds", "header:Date:asText",
		"header:Message-ID:asText", "header:List-Post:asText", "header:List-Post:asAddresses", "header:Received:asText", "header:Return-Path:asAddresses",
		"header:Resent-Date:asURLs", "header:References:asURLs", "header:X:asNothing", "header:X:all:asText", "header:X:asText:all:all", "header:", "header:X Y", "header:X:", "nonsense"} {
		for _, c := range []struct{ method, args string }{
			{"Email/get", fmt.Sprintf(`"ids": [], "properties": [%q]`, bad)},
			{"Email/parse", fmt.Sprintf(`"blobIds": [], "properties": [%q]`, bad)},
			{"Email/get", fmt.Sprintf(`"ids": [], "bodyProperties": [%q]`, bad)},
		} {
			if r := h.try("alice", c.method, "alice", c.args); r["error"] != "invalidArguments" {
				t.Errorf("%s %s: %v", c.method, c.args, r)
			}
		}
	}
	for _, good := range []string{"header:X-A:asDate", "header:X-A:asURLs:all", "header:Sender:asGroupedAddresses", "header:Resent-To:asAddresses:all", "header:Keywords:asText",
		"header:List-Id:asText", "header:List-Archive:asURLs", "header:Comments:asText", "header:Resent-Message-ID:asMessageIds", "header:Received:asRaw:all"} {
		h.call("alice", "Email/get", "alice", fmt.Sprintf(`"ids": [], "properties": [%q]`, good))
	}
}

func TestGetMetadata(t *testing.T) {
	h := newBodyHouse(t, Options{})
	id := h.deliver("alice", structured, "INBOX", "Archive")
	o := h.get("alice", id, `"properties": ["mailboxIds", "keywords", "size", "receivedAt", "blobId", "threadId"]`)
	want := fmt.Sprintf(`{"id": %q, "mailboxIds": {%q: true, %q: true}, "keywords": {}, "size": %d, "receivedAt": "2026-12-01T10:00:00Z", "blobId": %q, "threadId": %q}`,
		id, h.box("alice", "INBOX"), h.box("alice", "Archive"), len(structured), "G"+id[1:], "T"+id[1:])
	same(t, "metadata", o, want)
	all := h.call("alice", "Email/get", "alice", fmt.Sprintf(`"ids": [%q, "M0000000000000", "nonsense", %q]`, id, id))
	same(t, "not found", all["notFound"], `["M0000000000000", "nonsense"]`)
	one, _ := at(all, "list", 0).(map[string]any)
	if len(one) != len(getDefaults) || len(all["list"].([]any)) != 1 {
		t.Errorf("%d of %d properties: %v", len(one), len(getDefaults), one)
	}
	same(t, "no bodies", one["bodyValues"], `{}`)
	if r := h.call("alice", "Email/get", "alice", `"ids": null, "properties": ["id"]`); len(r["list"].([]any)) != 1 {
		t.Errorf("all messages: %v", r)
	}
	ids, _ := json.Marshal(make([]string, 1001))
	if r := h.try("alice", "Email/get", "alice", `"ids": `+string(ids)); r["error"] != "requestTooLarge" {
		t.Errorf("1001 ids: %v", r)
	}
}

func TestBodyValues(t *testing.T) {
	h := newBodyHouse(t, Options{})
	text := func(header, body string) string {
		return h.deliver("alice", crlf("Subject: x\nMIME-Version: 1.0\n"+header+"\n")+body)
	}
	for _, c := range []struct {
		name, header, body string
		most               int
		want               string
	}{
		{"plain", "", "a\r\nb\r\n", 0, `{"value": "a\nb\n", "isEncodingProblem": false, "isTruncated": false}`},
		{"CR alone stays", "", "a\rb\r", 0, `{"value": "a\rb\r", "isEncodingProblem": false, "isTruncated": false}`},
		{"latin", "Content-Type: text/plain; charset=iso-8859-1\n", "gr\xfc\xdfe", 0, `{"value": "grüße", "isEncodingProblem": false, "isTruncated": false}`},
		{"ASCII that is none", "", "gr\xfc", 0, `{"value": "grü", "isEncodingProblem": true, "isTruncated": false}`},
		{"broken UTF-8", "Content-Type: text/plain; charset=utf-8\n", "gr\xfc", 0, `{"value": "gr\ufffd", "isEncodingProblem": true, "isTruncated": false}`},
		{"a charset that nobody knows", "Content-Type: text/plain; charset=klingon\n", "abc", 0, `{"value": "abc", "isEncodingProblem": true, "isTruncated": false}`},
		{"an encoding that nobody knows", "Content-Transfer-Encoding: x-zip\n", "abc", 0, `{"value": "abc", "isEncodingProblem": true, "isTruncated": false}`},
		{"quoted-printable", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n", "gr=C3=BC=\r\nn", 0, `{"value": "grün", "isEncodingProblem": false, "isTruncated": false}`},
		{"cut", "", "abcdef", 4, `{"value": "abcd", "isEncodingProblem": false, "isTruncated": true}`},
		{"not cut", "", "abcd", 4, `{"value": "abcd", "isEncodingProblem": false, "isTruncated": false}`},
		{"cut between characters", "Content-Type: text/plain; charset=utf-8\n", "aüü", 4, `{"value": "aü", "isEncodingProblem": false, "isTruncated": true}`},
		{"cut before a tag", "Content-Type: text/html\n", `<p>hello <a href="https://example.com">x</a>`, 20, `{"value": "<p>hello ", "isEncodingProblem": false, "isTruncated": true}`},
		{"a tag in quotes", "Content-Type: text/html\n", `ab<a title="> <b" x>c`, 17, `{"value": "ab", "isEncodingProblem": false, "isTruncated": true}`},
		{"cut before a comment", "Content-Type: text/html\n", `ab<!-- > comment -->c`, 12, `{"value": "ab", "isEncodingProblem": false, "isTruncated": true}`},
		{"cut before an entity", "Content-Type: text/html\n", `ab &amp; c`, 6, `{"value": "ab ", "isEncodingProblem": false, "isTruncated": true}`},
		{"a sign that is no tag", "Content-Type: text/html\n", `a < b and more`, 9, `{"value": "a < b and", "isEncodingProblem": false, "isTruncated": true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := h.get("alice", text(c.header, c.body), fmt.Sprintf(`"properties": ["bodyValues"], "fetchTextBodyValues": true, "maxBodyValueBytes": %d`, c.most))
			same(t, "value", at(o, "bodyValues", "1"), c.want)
		})
	}
	id := h.deliver("alice", structured)
	for args, want := range map[string]string{
		`"fetchTextBodyValues": true`: "1 2.1.1.1 2.1.1.3 3",
		`"fetchHTMLBodyValues": true`: "1 2.1.2.1 3",
		`"fetchAllBodyValues": true`:  "1 2.1.1.1 2.1.1.3 2.1.2.1 3",
	} {
		values, _ := h.get("alice", id, `"properties": ["bodyValues"], `+args)["bodyValues"].(map[string]any)
		for part := range strings.FieldsSeq(want) {
			if values[part] == nil {
				t.Errorf("%s: no part %s", args, part)
			}
		}
		if len(values) != len(strings.Fields(want)) {
			t.Errorf("%s: %v", args, values)
		}
	}
	for _, bad := range []string{`"maxBodyValueBytes": -1`, `"maxBodyValueBytes": 1.5`, `"fetchTextBodyValues": "yes"`, `"bodyProperties": {}`, `"more": 1`} {
		if r := h.try("alice", "Email/get", "alice", `"ids": [], `+bad); r["error"] != "invalidArguments" {
			t.Errorf("%s: %v", bad, r)
		}
	}
}
