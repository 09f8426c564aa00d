package peer

import (
	"testing"

	"postroad/dns/dnstest"
)

// StartDNS serves names below "test" (master file lines with whole names) on port 53 of a loopback address and returns
// the address, for resolv.conf files.
func StartDNS(t testing.TB, host, zones string) string {
	t.Helper()
	// One zone for all: without it names that have no such record could not be told from
	// names that belong to others.
	s, err := dnstest.Start(host+":53", "$ORIGIN test.\n"+zones)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return host
}
