package reach

import (
	"net/netip"
	"testing"
)

func TestMay(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false,
		"::1": false, "::": false, "fe80::1%eth0": false, "fd00::1": false, "ff02::1": false, "fec0::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "::127.0.0.1": false,
	} {
		if got := May(netip.MustParseAddr(text), nil); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	home := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for text, want := range map[string]bool{"10.9.9.9": true, "::ffff:10.9.9.9": true, "127.0.0.1": false} {
		if got := May(netip.MustParseAddr(text), home); got != want {
			t.Errorf("%s with a network allowed: %v", text, got)
		}
	}
}
