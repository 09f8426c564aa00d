package smtp

import (
	"crypto/tls"
	"net/netip"
	"testing"
	"time"

	"postroad/address"
)

func TestTrace(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", -5*3600))
	for _, tt := range []struct {
		name  string
		trace Trace
		want  string
	}{
		{"least", Trace{By: "mx.test", At: at}, "Received: by mx.test;\r\n\tFri, 2 Jan 2026 03:04:05 -0500\r\n"},
		{"all", Trace{Helo: "there.example", Name: "mail.there.example", Client: netip.MustParseAddr("2001:db8::1"), By: "mx.test", With: "ESMTPS", ID: "q1",
			For: address.Address{Local: "a b", Domain: "bücher.example"}, TLS: &tls.ConnectionState{CipherSuite: tls.TLS_AES_128_GCM_SHA256}, At: at},
			"Received: from there.example (mail.there.example [IPv6:2001:db8::1])\r\n\tby mx.test with ESMTPS id q1\r\n\tfor <\"a b\"@xn--bcher-kva.example>\r\n\ttls TLS_AES_128_GCM_SHA256;\r\n\tFri, 2 Jan 2026 03:04:05 -0500\r\n"},
		{"a name made to confuse", Trace{Helo: "x(y);\r\nFrom:z by evil", Client: netip.MustParseAddr("::ffff:192.0.2.1"), By: "mx.test", At: at},
			"Received: from x?y????From:z?by?evil ([192.0.2.1])\r\n\tby mx.test;\r\n\tFri, 2 Jan 2026 03:04:05 -0500\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.trace.AppendTo(nil)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
