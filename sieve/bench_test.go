package sieve

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"postroad/message"
)

// benchScript has 20 rules as people have them; none but the last fits.
func benchScript() string {
	var b strings.Builder
	b.WriteString("require [\"fileinto\", \"imap4flags\", \"envelope\", \"variables\", \"regex\"];\r\n")
	for i := range 19 {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "if header :contains \"subject\" \"[list-%d]\" { fileinto \"Lists/%d\"; stop; }\r\n", i, i)
		case 1:
			fmt.Fprintf(&b, "if address :is [\"from\", \"sender\"] \"boss%d@example.org\" { addflag \"\\\\Flagged\"; }\r\n", i)
		case 2:
			fmt.Fprintf(&b, "if anyof (header :contains \"list-id\" \"<dev%d.example.org>\", address :domain \"to\" \"d%d.example\") { fileinto \"x\"; stop; }\r\n", i, i)
		case 3:
			fmt.Fprintf(&b, "if allof (header :matches \"subject\" \"*ticket #%d*\", exists \"x-tracker\") { fileinto \"t/${1}\"; stop; }\r\n", i)
		}
	}
	b.WriteString("if header :matches \"subject\" \"*report*\" { fileinto \"Reports\"; }\r\n")
	return b.String()
}

func benchInput(b *testing.B) *Input {
	var h strings.Builder
	for i := range 6 {
		fmt.Fprintf(&h, "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\n\tby mail.example.com with ESMTPS id %dABCDEF; Fri, 27 Nov 2026 08:59:0%d -0800\n", i, i, i, i, i)
	}
	h.WriteString("From: \"A Sender\" <sender@example.net>\nTo: \"B\" <b@example.com>, other@example.org\nCc: third@example.org\n" +
		"Subject: the weekly report of everything\nDate: Fri, 27 Nov 2026 08:59:07 -0800\nMessage-ID: <1@example.net>\n" +
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nX-Mailer: something\nList-Id: <news.example.net>\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=x;\n\th=from:to:subject; bh=" + strings.Repeat("A", 44) + ";\n\tb=" + strings.Repeat("B", 300) + "\n\n")
	body := h.String()
	return input(b, body+strings.Repeat("A line of text that is like others.\n", (4096-len(body))/36))
}

// reportCPU reports the processor time of the rest of a benchmark, which on a machine that
// others use says more than the clock.
func reportCPU(b *testing.B) {
	used := func() float64 {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return float64(r.Utime.Nano() + r.Stime.Nano())
	}
	before := used()
	b.Cleanup(func() { b.ReportMetric((used()-before)/float64(b.N)/1e3, "cpu-µs/op") })
}

func BenchmarkRun20Rules(b *testing.B) {
	s, in := compile(b, benchScript()), benchInput(b)
	reportCPU(b)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := s.Run(context.Background(), in); err != nil || r.Failure != nil || len(r.Actions) != 1 {
			b.Fatal(r, err)
		}
	}
}

func BenchmarkRunTrivial(b *testing.B) {
	s, in := compile(b, "keep;"), benchInput(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Run(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile20Rules(b *testing.B) {
	src := []byte(benchScript())
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := Compile(src, Options{}); errs != nil {
			b.Fatal(errs)
		}
	}
}

func BenchmarkBodyContains1MB(b *testing.B) {
	body := "Subject: x\r\n\r\n" + strings.Repeat("A line of text that is like others.\r\n", 1<<20/38)
	m, err := message.Parse(strings.NewReader(body), message.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	s, in := compile(b, `require "body"; if body :contains ["needle", "thread"] { discard; }`), &Input{Body: strings.NewReader(body), Message: m}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := s.Run(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}
