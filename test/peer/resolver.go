package peer

import "testing"

// withResolver makes a command see one DNS server: in a mount name space of its own with
// another /etc/resolv.conf.
func withResolver(t testing.TB, dir, dns string, argv ...string) []string {
	t.Helper()
	if dns == "" {
		return argv
	}
	conf := Write(t, dir, "resolv.conf", "nameserver "+dns+"\noptions timeout:2 attempts:2\n")
	return append([]string{"unshare", "-m", "sh", "-c", `mount --bind "$1" /etc/resolv.conf && shift && exec "$@"`, "sh", conf}, argv...)
}
