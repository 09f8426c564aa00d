package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Cyrus serves IMAP at port 143 and JMAP at port 80 of Host.
type Cyrus struct {
	*Process
	Host string
	dir  string
	libs string // as a variable of the environment
	bin  string
}

// CyrusOptions say what Cyrus serves.
type CyrusOptions struct {
	Host   string
	Domain string
	Users  []string // local parts, all with Password
}

// cyrusUser is whom Cyrus runs as.
const cyrusUser = "nobody"

// StartCyrus runs Cyrus IMAP out of Debian's packages, which are unpacked for the test: they
// conflict with Dovecot's. JMAP needs conversations and httpd, which is in cyrus-caldav.
func StartCyrus(t testing.TB, o CyrusOptions) *Cyrus {
	t.Helper()
	NeedRoot(t)
	dir := Dir(t, "cyrus")
	root := filepath.Join(dir, "root")
	for _, name := range []string{"cyrus-common", "cyrus-imapd", "cyrus-caldav", "libxapian30"} {
		debs, err := filepath.Glob(filepath.Join(peers(t), "debs", name+"_*.deb"))
		if err != nil || len(debs) == 0 {
			t.Fatalf("no package %s: run test/peers.sh", name)
		}
		Run(t, "dpkg", "-x", debs[len(debs)-1], root)
	}
	for _, d := range []string{"db", "socket", "proc", "lock", "log", "ptclient", "../spool", "../search", "../sieve"} {
		if err := os.MkdirAll(filepath.Join(dir, "conf", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	replace := strings.NewReplacer("$DIR", dir, "$BIN", filepath.Join(root, "usr/lib/cyrus/bin"), "$HOST", o.Host, "$USER", cyrusUser, "$DOMAIN", o.Domain)
	conf := Write(t, dir, "imapd.conf", replace.Replace(cyrusConf))
	master := Write(t, dir, "cyrus.conf", replace.Replace(cyrusServices))
	for _, u := range o.Users {
		Run(t, "sh", "-c", fmt.Sprintf("echo %s | saslpasswd2 -p -c -f %s/sasldb2 -u %s %s", Password, dir, o.Domain, u))
	}
	Run(t, "chmod", "755", root)
	Run(t, "sh", "-c", fmt.Sprintf("chown %s:mail %[2]s && chown -R %[1]s:mail %[2]s/conf %[2]s/spool %[2]s/search %[2]s/sieve %[2]s/sasldb2", cyrusUser, dir))
	c := &Cyrus{Host: o.Host, dir: dir, libs: "LD_LIBRARY_PATH=" + filepath.Join(root, "usr/lib/x86_64-linux-gnu"), bin: filepath.Join(root, "usr/lib/cyrus/bin")}
	c.Process = Start(t, "cyrus", dir, "env", c.libs, filepath.Join(c.bin, "master"), "-C", conf, "-M", master, "-p", filepath.Join(dir, "master.pid"), "-L", filepath.Join(dir, "stderr.log"), "-D")
	c.WaitPort(o.Host+":143", o.Host+":80")
	return c
}

// Index makes the index of words, without which text is not found.
func (c *Cyrus) Index(t testing.TB) {
	t.Helper()
	Run(t, "env", c.libs, filepath.Join(c.bin, "squatter"), "-C", filepath.Join(c.dir, "imapd.conf"))
}

const cyrusConf = `configdirectory: $DIR/conf
partition-default: $DIR/spool
defaultpartition: default
defaultsearchtier: t1
t1searchpartition-default: $DIR/search
search_engine: xapian
search_batchsize: 1000
sievedir: $DIR/sieve
cyrus_user: $USER
cyrus_group: mail
servername: cyrus.test
defaultdomain: internal
virtdomains: userid
unixhierarchysep: yes
altnamespace: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: $DIR/sasldb2
sasl_mech_list: PLAIN LOGIN
allowplaintext: yes
autocreate_quota: 0
autocreate_post: yes
autocreate_inbox_folders: Archive|Drafts|Junk|Sent|Trash
autocreate_subscribe_folders: Archive|Drafts|Junk|Sent|Trash
xlist-junk: Junk
xlist-archive: Archive
xlist-drafts: Drafts
xlist-sent: Sent
xlist-trash: Trash
conversations: yes
conversations_db: twoskip
conversations_counted_flags: \Flagged
search_index_headers: yes
search_fuzzy_always: no
httpmodules: jmap
jmap_nonstandard_extensions: no
lmtpsocket: $DIR/conf/socket/lmtp
idlesocket: $DIR/conf/socket/idle
notifysocket: $DIR/conf/socket/notify
sendmail: /bin/true
`

const cyrusServices = `START {
  recover cmd="$BIN/ctl_cyrusdb -C $DIR/imapd.conf -r"
}
SERVICES {
  imap cmd="$BIN/imapd -C $DIR/imapd.conf -U 250" listen="$HOST:143" prefork=0
  http cmd="$BIN/httpd -C $DIR/imapd.conf -U 250" listen="$HOST:80" prefork=0
}
EVENTS {
  checkpoint cmd="$BIN/ctl_cyrusdb -C $DIR/imapd.conf -c" period=30
}
`
