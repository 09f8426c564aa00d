package peer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Postfix is Debian's Postfix with a configuration and queue of its own.
type Postfix struct {
	*Process
	Host string // loopback address; SMTP is on port 25
	Etc  string // its configuration directory
	Mail string // virtual mailboxes: Mail/USER/ is a Maildir
}

// PostfixOptions say what Postfix serves.
type PostfixOptions struct {
	Host      string   // 127.0.0.x to listen on, port 25
	Name      string   // myhostname
	Domain    string   // virtual mailbox domain
	Users     []string // its mailboxes
	DNS       string   // address of the test DNS server, port 53; empty: no DNS
	RelayHost string   // next hop for everything else, "[host]:port"; empty: by MX
	TLS       bool     // offer STARTTLS
	Main      string   // more lines for main.cf
}

// StartPostfix runs Postfix. It needs root.
func StartPostfix(t testing.TB, o PostfixOptions) *Postfix {
	t.Helper()
	NeedRoot(t)
	dir := Dir(t, "postfix")
	p := &Postfix{Host: o.Host, Etc: filepath.Join(dir, "etc"), Mail: filepath.Join(dir, "mail")}
	for _, d := range []string{p.Etc, p.Mail, dir + "/spool", dir + "/lib"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	Run(t, "chown", "postfix", dir+"/lib")
	Run(t, "chown", "nobody:nogroup", p.Mail)
	Write(t, p.Etc, "master.cf", postfixMaster(t, o.Host))
	Write(t, p.Etc, "main.cf", postfixMain(t, dir, o))
	boxes := ""
	for _, u := range o.Users {
		boxes += fmt.Sprintf("%s@%s %s/\n", u, o.Domain, u)
	}
	Write(t, p.Etc, "boxes", boxes)
	Run(t, "postfix", "-c", p.Etc, "check") // makes the queue's directories
	p.Process = Start(t, "postfix", dir, withResolver(t, dir, o.DNS, "/usr/lib/postfix/sbin/master", "-c", p.Etc, "-d")...)
	p.WaitPort(o.Host + ":25")
	return p
}

// postfixMaster is Debian's master.cf, not in a chroot, with SMTP on one address.
func postfixMaster(t testing.TB, host string) string {
	b, err := os.ReadFile("/usr/share/postfix/master.cf.dist")
	if err != nil {
		t.Fatalf("%v: run test/peers.sh", err)
	}
	var out strings.Builder
	for _, l := range strings.Split(string(b), "\n") {
		f := strings.Fields(l)
		if len(f) >= 8 && l[0] != '#' && l[0] != ' ' {
			f[4] = "n"
			if f[0] == "smtp" && f[1] == "inet" {
				f[0] = host + ":25"
			}
			l = strings.Join(f, " ")
		}
		out.WriteString(l + "\n")
	}
	return out.String()
}

func postfixMain(t testing.TB, dir string, o PostfixOptions) string {
	main := fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/lib
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = %[2]s
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
smtp_bind_address = %[3]s
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
maillog_file = %[1]s/maillog
maillog_file_prefixes = %[1]s
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains = %[4]s
virtual_mailbox_maps = texthash:%[1]s/etc/boxes
virtual_mailbox_base = %[1]s/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 100
`, dir, o.Name, o.Host, o.Domain)
	if o.DNS == "" {
		main += "smtp_dns_support_level = disabled\nsmtp_host_lookup = native\n"
	}
	if o.RelayHost != "" {
		main += "relayhost = " + o.RelayHost + "\n"
	}
	if o.TLS {
		c := MakeCert(t, dir, o.Name)
		main += fmt.Sprintf("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\nsmtpd_tls_security_level = may\nsmtpd_tls_received_header = yes\n", c.Cert, c.Key)
	}
	return main + o.Main
}

// Messages returns the messages in a user's Maildir, in no order.
func (p *Postfix) Messages(t testing.TB, user string) []string {
	t.Helper()
	var all []string
	for _, d := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(p.Mail, user, d, "*"))
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

// Maillog returns what Postfix logged.
func (p *Postfix) Maillog() string {
	return tail(filepath.Join(filepath.Dir(p.Etc), "maillog"), 1<<20)
}

// Sendmail hands a message to Postfix as a local program does.
func (p *Postfix) Sendmail(t testing.TB, from, to, message string) {
	t.Helper()
	if out, err := TryInput(message, "/usr/sbin/sendmail", "-C", p.Etc, "-i", "-f", from, to); err != nil {
		t.Fatalf("postfix's sendmail: %v\n%s", err, out)
	}
}
