package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Sendmail is Debian's Sendmail, unpacked beside Postfix by test/peers.sh.
type Sendmail struct {
	*Process
	Host string // loopback address; SMTP is on port 25
	dir  string
	conf string
	cmd  []string // what runs sendmail within its name spaces
}

// SendmailOptions say what Sendmail serves.
type SendmailOptions struct {
	Host string // 127.0.0.x to listen on, port 25
	Name string // its host name and only local domain; every local part has a mailbox
	DNS  string // address of the test DNS server, port 53
}

// peers is where test/peers.sh puts packages that conflict with installed ones.
func peers(t testing.TB) string {
	t.Helper()
	if base := os.Getenv("POSTROAD_PEERS"); base != "" {
		return base
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(home, ".cache", "postroad", "peers")
}

// unpacked is the root of what test/peers.sh unpacked for a peer.
func unpacked(t testing.TB, name string) string {
	t.Helper()
	root := filepath.Join(peers(t), name)
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("%v: run test/peers.sh", err)
	}
	return root
}

// sendmailMC is the configuration before m4: root, directory, address, name.
const sendmailMC = `divert(-1)
define(` + "`_CF_DIR_', `%[1]s/usr/share/sendmail/cf/'" + `)dnl
include(_CF_DIR_` + "`m4/cf.m4'" + `)
divert(0)
OSTYPE(` + "`linux'" + `)
define(` + "`LOCAL_MAILER_PATH', `%[2]s/deliver'" + `)
define(` + "`LOCAL_MAILER_ARGS', `deliver $u'" + `)
define(` + "`LOCAL_MAILER_FLAGS', `SPhn9'" + `)
define(` + "`QUEUE_DIR', `%[2]s/queue'" + `)
define(` + "`STATUS_FILE', `%[2]s/stats'" + `)
define(` + "`ALIAS_FILE', `%[2]s/aliases'" + `)
define(` + "`confPID_FILE', `%[2]s/pid'" + `)
define(` + "`confDOMAIN_NAME', `%[4]s'" + `)
define(` + "`confDONT_BLAME_SENDMAIL', `RunProgramInUnsafeDirPath,NonRootSafeAddr,MapInUnsafeDirPath,LinkedMapInWritableDir'" + `)
define(` + "`confTO_IDENT', `0'" + `)
FEATURE(` + "`no_default_msa'" + `)
FEATURE(` + "`accept_unresolvable_domains'" + `)
LOCAL_DOMAIN(` + "`%[4]s'" + `)
DAEMON_OPTIONS(` + "`Name=MTA, Addr=%[3]s, Port=25'" + `)
CLIENT_OPTIONS(` + "`Family=inet, Addr=%[3]s'" + `)
MAILER(local)dnl
MAILER(smtp)dnl
`

// sendmailDeliver is the local delivery agent: a file for each message.
const sendmailDeliver = `#!/bin/sh
umask 022
mkdir -p "%[1]s/mail/$1"
f="%[1]s/mail/$1/$(date +%%s%%N)-$$"
cat > "$f.part" && mv "$f.part" "$f"
`

// StartSendmail runs Sendmail. It needs root.
func StartSendmail(t testing.TB, o SendmailOptions) *Sendmail {
	t.Helper()
	NeedRoot(t)
	root, dir := unpacked(t, "sendmail"), Dir(t, "sendmail")
	s := &Sendmail{Host: o.Host, dir: dir}
	if err := os.Mkdir(dir+"/queue", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/mail", 0o777); err != nil {
		t.Fatal(err)
	}
	Run(t, "chmod", "777", dir+"/mail")
	Write(t, dir, "aliases", "")
	Run(t, "chmod", "755", Write(t, dir, "deliver", fmt.Sprintf(sendmailDeliver, dir)))
	mc := Write(t, dir, "sendmail.mc", fmt.Sprintf(sendmailMC, root, dir, o.Host, o.Name))
	cf := Run(t, "sh", "-c", `m4 "$1" 2>/dev/null`, "sh", mc)
	// Local users need no entry in the machine's passwd file, and there are no aliases.
	cf = strings.Replace(cf, "F=lsDFMAw5", "F=lsDFM5", 1)
	s.conf = Write(t, dir, "sendmail.cf", cf)
	Write(t, dir, "hosts", "127.0.0.1 localhost\n"+o.Host+" "+o.Name+"\n")
	Write(t, dir, "resolv.conf", "nameserver "+o.DNS+"\n")
	// It sleeps a minute at its start where the host name has no domain.
	s.cmd = []string{"unshare", "-m", "-u", "sh", "-c",
		`mount --bind "$1/resolv.conf" /etc/resolv.conf && mount --bind "$1/hosts" /etc/hosts && hostname "$2" && shift 2 && exec "$@"`,
		"sh", dir, o.Name, root + "/usr/libexec/sendmail/sendmail", "-C" + s.conf}
	s.Process = Start(t, "sendmail", dir, append(s.cmd, "-bD", "-q5s", "-X", dir+"/traffic")...)
	s.WaitPort(o.Host + ":25")
	return s
}

// Messages returns what arrived for a local user, in no order.
func (s *Sendmail) Messages(t testing.TB, user string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "mail", user, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		if strings.HasSuffix(f, ".part") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

// Inject hands a message to Sendmail as a local program does.
func (s *Sendmail) Inject(t testing.TB, from, to, message string) {
	t.Helper()
	if out, err := TryInput(message, append(s.cmd, "-i", "-f", from, to)...); err != nil {
		t.Fatalf("sendmail: %v\n%s", err, out)
	}
}
