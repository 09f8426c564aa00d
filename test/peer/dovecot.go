package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Dovecot is Debian's Dovecot with mail in Maildirs.
type Dovecot struct {
	*Process
	Host string // loopback address: IMAP on 143, LMTP on 24
	Conf string // its configuration file
	dir  string
}

// DovecotOptions say what Dovecot serves.
type DovecotOptions struct {
	Host     string
	Users    []string // full addresses
	Password string   // of all
	Extra    string   // more lines for dovecot.conf
}

// StartDovecot runs Dovecot. It needs root.
func StartDovecot(t testing.TB, o DovecotOptions) *Dovecot {
	t.Helper()
	NeedRoot(t)
	dir := Dir(t, "dovecot")
	d := &Dovecot{Host: o.Host, dir: dir, Conf: filepath.Join(dir, "dovecot.conf")}
	mail := filepath.Join(dir, "mail")
	if err := os.MkdirAll(mail, 0o755); err != nil {
		t.Fatal(err)
	}
	Run(t, "chown", "nobody:nogroup", mail)
	passwd := ""
	for _, u := range o.Users {
		passwd += u + ":{PLAIN}" + o.Password + "::::::\n"
	}
	Write(t, dir, "passwd", passwd)
	Write(t, dir, "dovecot.conf", fmt.Sprintf(dovecotConf, dir, o.Host)+o.Extra)
	d.Process = Start(t, "dovecot", dir, "dovecot", "-F", "-c", d.Conf)
	d.WaitPort(o.Host+":143", o.Host+":24")
	return d
}

const dovecotConf = `base_dir = %[1]s/run
state_dir = %[1]s/state
instance_name = postroad-test
log_path = %[1]s/dovecot-own.log
listen = %[2]s
protocols = imap lmtp
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:~/Maildir
first_valid_uid = 100
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%%u %[1]s/passwd
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=%[1]s/mail/%%n
}
namespace inbox {
  inbox = yes
}
service imap-login {
  inet_listener imap {
    port = 143
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    address = %[2]s
    port = 24
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  unix_listener stats-writer {
    mode = 0666
  }
}
`

// Doveadm runs doveadm with this Dovecot's configuration.
func (d *Dovecot) Doveadm(t testing.TB, args ...string) string {
	t.Helper()
	return Run(t, append([]string{"doveadm", "-c", d.Conf}, args...)...)
}

// Messages returns the messages in a user's INBOX, in no order.
func (d *Dovecot) Messages(t testing.TB, user string) []string {
	t.Helper()
	var all []string
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(d.dir, "mail", strings.SplitN(user, "@", 2)[0], "Maildir", sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(b))
		}
	}
	return all
}
