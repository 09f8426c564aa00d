package sending

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"postroad/internal/outbox"
	"postroad/jmap"
	"postroad/sieve"
	"postroad/smtp"
)

const everything = smtp.Size | smtp.EightBitMIME | smtp.DSN | smtp.SMTPUTF8 | smtp.DeliverByExtension | smtp.FutureRelease | smtp.MTPriority

// FuzzParameters: no name or value of one parameter becomes another one.
func FuzzParameters(f *testing.F) {
	for _, seed := range [][2]string{{"RET", "FULL"}, {"RET", "FULL HOLDFOR=9"}, {"RET FULL", ""}, {"ENVID", "a b+c=ü"}, {"ENVID", "x HOLDFOR=9"}, {"BY", "9;R\tRET=HDRS"}, {"=", "="}, {"", ""}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		text := parameters(map[string]*string{name: &value})
		p, err := smtp.ParseMailParams(text, everything)
		if err != nil {
			return
		}
		given := 0
		for _, is := range []bool{p.Size != 0, p.Body != 0, p.SMTPUTF8, p.Return != 0, p.EnvID != "", p.HoldFor != 0, !p.HoldUntil.IsZero(), p.HasPriority, p.By != nil} {
			if is {
				given++
			}
		}
		if given > 1 || given == 1 && p.EnvID != "" && p.EnvID != value || p.HoldFor != 0 && !strings.EqualFold(name, "HOLDFOR") {
			t.Errorf("%q=%q becomes %+v", name, value, p)
		}
		if _, err := smtp.ParseRcptParams(text, everything); err == nil && text != "" && !strings.EqualFold(name, "NOTIFY") && !strings.EqualFold(name, "ORCPT") {
			t.Errorf("%q=%q is taken for a recipient", name, value)
		}
	})
}

// FuzzVacation: whatever a user writes, the script that we write compiles.
func FuzzVacation(f *testing.F) {
	f.Add("away", "text \"quoted\" \\ .\r\n.\r\n", "<p>html</p>", true)
	f.Add("a\r\nb", "\x00", "", false)
	f.Add("${x}", "${unicode:40}", "--=_", true)
	f.Fuzz(func(t *testing.T, subject, text, html string, with bool) {
		for _, s := range []string{subject, text, html} {
			if !utf8.ValidString(s) || len(s) > bodyMax {
				return // no string of JSON, or refused before
			}
		}
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		v := &vacation{Enabled: true, From: &at, Subject: &subject, Text: &text}
		if with {
			v.HTML, v.To = &html, &at
		}
		if _, errs := sieve.Compile(v.script(), sieve.Options{}); errs != nil {
			t.Errorf("%s: %v", v.script(), errs)
		}
	})
}

// FuzzArguments: envelopes, receipts and filters of any JSON are read or refused.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{`{"mailFrom":{"email":"a@b"},"rcptTo":[{"email":"c@d","parameters":{"NOTIFY":null}}]}`, `{"mailFrom":null}`, `[]`,
		`{"forEmailId":"M1","disposition":{"actionMode":"manual-action","sendingMode":"mdn-sent-manually","type":"displayed"},"extensionFields":{"a":"b"}}`,
		`{"undoStatus":"pending","before":"2026-01-01T00:00:00Z","emailIds":["M1"]}`, `{"emailIds":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := readEnvelope(raw); err == nil && e != nil && (e.MailFrom == nil || e.MailFrom.Email == nil) {
			t.Errorf("%s is an envelope without a sender", raw)
		}
		if arg, err := readMDN(raw); err == nil && (arg.ForEmailID == nil || arg.Disposition == nil) {
			t.Errorf("%s is a receipt for nothing", raw)
		}
		var p jmap.Properties
		if json.Unmarshal(raw, &p) == nil {
			if match, err := condition(p); err == nil {
				match(&sampleSubmission)
			}
		}
	})
}

// TestOperators: the operators of filters (RFC 8620, 5.5).
func TestOperators(t *testing.T) {
	is := func(undo string) *jmap.Filter {
		return &jmap.Filter{Condition: jmap.Properties{"undoStatus": json.RawMessage(`"` + undo + `"`)}}
	}
	for _, test := range []struct {
		operator string
		of       []*jmap.Filter
		want     bool
	}{
		{"AND", nil, true}, {"AND", []*jmap.Filter{is("pending"), is("pending")}, true}, {"AND", []*jmap.Filter{is("pending"), is("final")}, false},
		{"OR", nil, false}, {"OR", []*jmap.Filter{is("final"), is("pending")}, true}, {"OR", []*jmap.Filter{is("final")}, false},
		{"NOT", nil, true}, {"NOT", []*jmap.Filter{is("final"), is("canceled")}, true}, {"NOT", []*jmap.Filter{is("final"), is("pending")}, false},
	} {
		match, err := compile(&jmap.Filter{Operator: test.operator, Conditions: test.of})
		if err != nil || match(&sampleSubmission) != test.want {
			t.Errorf("%s of %d: %v, %v", test.operator, len(test.of), !test.want, err)
		}
	}
}

var sampleSubmission = outbox.Submission{ID: 7, Email: "M1", Undo: outbox.Pending}
