package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
)

// smallMessage is a mail of 4 KB as programs write them.
func smallMessage() []byte {
	var b strings.Builder
	b.WriteString("Return-Path: <alice@example.org>\r\n")
	for i := range 3 {
		fmt.Fprintf(&b, "Received: from mx%d.example.org (mx%d.example.org [192.0.2.%d])\r\n\tby mail.example.com (Postfix) with ESMTPS id 4QxYz%d\r\n\tfor <bob@example.com>; Mon, 23 Nov 2026 17:00:0%d +0100 (CET)\r\n", i, i, i, i, i)
	}
	b.WriteString("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=2026;\r\n\tt=1795449600; h=from:to:subject:date:message-id; bh=" + strings.Repeat("A", 43) + "=;\r\n\tb=" + strings.Repeat("B", 344) + "\r\n" +
		"From: =?utf-8?Q?Alice_M=C3=BCller?= <alice@example.org>\r\n" +
		"To: Bob <bob@example.com>, \"Carol, the other\" <carol@example.net>\r\n" +
		"Cc: dave@example.org\r\n" +
		"Subject: =?utf-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?= and more\r\n" +
		"Date: Mon, 23 Nov 2026 17:00:00 +0100\r\n" +
		"Message-ID: <20261123170000.1234@example.org>\r\n" +
		"In-Reply-To: <1@example.com>\r\nReferences: <0@example.com>\r\n\t<1@example.com>\r\n" +
		"MIME-Version: 1.0\r\nUser-Agent: Mutt/2.2.9\r\n" +
		"Content-Type: multipart/alternative; boundary=\"=_b1_3c\"\r\n\r\n" +
		"--=_b1_3c\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	for b.Len() < 2900 {
		b.WriteString("The quick brown fox jumps over the lazy dog, again and again, gr=C3=BC=C3=9Fe.\r\n")
	}
	b.WriteString("--=_b1_3c\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body>")
	for b.Len() < 4000 {
		b.WriteString("<p>The quick brown fox jumps over the lazy dog.</p>\r\n")
	}
	b.WriteString("</body></html>\r\n--=_b1_3c--\r\n")
	return []byte(b.String())
}

// largeMessage has a text and attachments in base64.
func largeMessage(size int) []byte {
	var b bytes.Buffer
	b.WriteString("From: a@example.org\r\nSubject: large\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=XXXX\r\n\r\n--XXXX\r\n\r\nHello\r\n")
	line := []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb, 0x17, 0x93}, 19)) + "\r\n")
	for b.Len() < size {
		b.WriteString("--XXXX\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n")
		for range 20_000 {
			b.Write(line)
		}
	}
	b.WriteString("--XXXX--\r\n")
	return b.Bytes()
}

func BenchmarkParse4K(b *testing.B) {
	msg := smallMessage()
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		p := NewParser(Limits{})
		p.Write(msg)
		if _, err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseLarge parses chunks as they come from the network.
func BenchmarkParseLarge(b *testing.B) {
	msg := largeMessage(20 << 20)
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		p := NewParser(Limits{})
		for rest := msg; len(rest) > 0; {
			n := min(len(rest), 32<<10)
			p.Write(rest[:n])
			rest = rest[n:]
		}
		if _, err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseAndDecodeLarge parses and reads every part decoded.
func BenchmarkParseAndDecodeLarge(b *testing.B) {
	msg := largeMessage(20 << 20)
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		p := NewParser(Limits{})
		p.Write(msg)
		m, err := p.Close()
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range m.Root.Children {
			if _, err := io.Copy(io.Discard, c.Decoded(bytes.NewReader(msg))); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	m := mustParse(b, smallMessage())
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = m.AppendBinary(buf[:0])
	}
	b.ReportMetric(float64(len(buf)), "stored-B")
}

func BenchmarkDecode(b *testing.B) {
	stored := mustParse(b, smallMessage()).AppendBinary(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(stored); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	stored := mustParse(b, smallMessage()).AppendBinary(nil)
	b.ReportAllocs()
	path := []int{2}
	for b.Loop() {
		if _, ok, err := Find(stored, path...); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHTMLText(b *testing.B) {
	h := bytes.Repeat([]byte("<p class=\"x\">The quick brown fox &amp; the <b>lazy</b> dog.</p>\r\n"), 1000)
	b.SetBytes(int64(len(h)))
	for b.Loop() {
		HTMLText(h)
	}
}

func BenchmarkQuotedPrintable(b *testing.B) {
	q := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, again and again, gr=C3=BC=C3=9Fe=\r\n"), 10_000)
	b.SetBytes(int64(len(q)))
	for b.Loop() {
		io.Copy(io.Discard, NewDecoder(bytes.NewReader(q), "quoted-printable"))
	}
}
