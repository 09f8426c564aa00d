package peer

import (
	"testing"

	"postroad/dns/dnstest"
)

// StartDNS serves zones (master file lines) on port 53 of a loopback address and returns
// the address, for resolv.conf files.
func StartDNS(t testing.TB, host, zones string) string {
	t.Helper()
	s, err := dnstest.Start(host+":53", zones)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return host
}
