package email

import (
	"fmt"
	"strings"
	"testing"

	"postroad/jmap/jmaptest"
)

// TestScripts runs the examples of the RFCs on messages that are like theirs.
func TestScripts(t *testing.T) {
	r := &jmaptest.Runner{}
	r.Start = func(t *testing.T) map[string]any {
		h := newBodyHouse(t, Options{})
		r.Methods, r.User = h.m.Methods(), h.users["alice"]
		listmail := h.deliver("alice", crlf(`From: Joe Bloggs <joe@example.com>
Subject: Dinner on Thursday?
List-Post: <mailto:partytime@lists.example.com>
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html

<html><body><p>Hello `+strings.Repeat("World, ", 60)+`</p></body></html>
--b

-- Sent by your friendly mailing list
--b--
`))
		first := h.deliver("alice", crlf(`From: Jane Doe <jdoe@example.com>
Subject: The Big Reveal
Message-ID: <reveal@example.com>
Content-Type: multipart/mixed; boundary=b

--b

As you may be aware, we are required to prepare a presentation where
we wow a panel.
--b
Content-Type: application/pdf; name=plan.pdf
Content-Disposition: attachment

%PDF
--b--
`))
		h.call("alice", "Email/set", "alice", fmt.Sprintf(`"update": {%q: {"keywords": {"$seen": true, "$flagged": true}}}`, first))
		second := h.deliver("alice", crlf("From: Joe <joe@example.com>\nSubject: Re: The Big Reveal\nIn-Reply-To: <reveal@example.com>\n\nReally?\n"))
		return map[string]any{"account": string(h.account("alice")), "inbox": h.box("alice", "INBOX"), "drafts": h.box("alice", "Drafts"),
			"listmail": listmail, "first": first, "second": second}
	}
	r.Files(t, "testdata/*.jmap")
}
