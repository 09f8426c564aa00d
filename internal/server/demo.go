package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"postroad/address"
	"postroad/internal/admin"
	"postroad/internal/config"
	"postroad/internal/mailflow"
	"postroad/message"
)

// demoDomain is reserved for such use (RFC 2606, 2).
const demoDomain = "example.test"

// demoUsers are the accounts of the demo.
var demoUsers = []string{"alice", "bob"}

// Demo is the whole system on loopback for somebody who wants to see it work.
type Demo struct {
	dir       string
	ports     int
	passwords map[string]string // by user
}

// NewDemo returns a demo that keeps everything in dir and listens above ports.
func NewDemo(dir string, ports int) *Demo {
	return &Demo{dir: dir, ports: ports, passwords: map[string]string{}}
}

// port is where a door of a standard port is in the demo: 143 at 2143, 25 at 2525.
func (d *Demo) port(standard int) int {
	if standard < 100 {
		standard += 500
	}
	return d.ports + standard
}

// Config is the demo's configuration.
func (d *Demo) Config() *config.Config {
	at := func(standard int) []string {
		return []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port(standard)))}
	}
	c := config.Default()
	c.Hostname = "mail." + demoDomain
	c.DataDirectory = d.dir
	c.Login.Origin = "https://" + net.JoinHostPort("localhost", strconv.Itoa(d.port(443)))
	c.Listen = config.Listen{SMTP: at(25), Submission: at(587), Submissions: at(465), LMTP: at(24),
		IMAP: at(143), IMAPS: at(993), POP3: at(110), POP3S: at(995), Sieve: at(4190), HTTPS: at(443)}
	return c
}

// passwordsFile has the passwords of the accounts, which exist nowhere else in the clear.
func (d *Demo) passwordsFile() string { return filepath.Join(d.dir, "demo-passwords.json") }

// Fill makes domain, accounts and messages in the server, once.
func (d *Demo) Fill(ctx context.Context, s *Server) error {
	text, err := os.ReadFile(d.passwordsFile())
	if err == nil {
		return json.Unmarshal(text, &d.passwords)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	verbs := s.Verbs()
	err = verbs.Call(ctx, "domain.add", admin.Domain{Name: demoDomain}, nil, nil)
	if err != nil && !hasCode(err, admin.Exists) {
		return err
	}
	for _, user := range demoUsers {
		if err := d.account(ctx, verbs, user); err != nil {
			return err
		}
	}
	for i := range demoMessages {
		if err := d.send(ctx, s, &demoMessages[i]); err != nil {
			return err
		}
	}
	if text, err = json.Marshal(d.passwords); err != nil {
		return err
	}
	// Last: a start that was interrupted before this is done again.
	return os.WriteFile(d.passwordsFile(), text, 0o600)
}

func hasCode(err error, code admin.Code) bool {
	var e *admin.Error
	return errors.As(err, &e) && e.Code == code
}

// account makes an account; one that an interrupted start left gets a new password.
func (d *Demo) account(ctx context.Context, verbs *admin.Verbs, user string) error {
	login := user + "@" + demoDomain
	d.passwords[user] = admin.GeneratePassword()
	in := admin.NewAccount{Addresses: []string{login}, Name: strings.ToUpper(user[:1]) + user[1:], Password: d.passwords[user]}
	err := verbs.Call(ctx, "account.add", in, nil, nil)
	if hasCode(err, admin.Exists) {
		err = verbs.Call(ctx, "account.password", admin.PasswordChange{Account: login, Password: d.passwords[user]}, nil, nil)
	}
	return err
}

// demoMessage is one message that is there from the start.
type demoMessage struct {
	from, to      string
	subject, text string
}

var demoMessages = []demoMessage{
	{"bob", "alice", "Welcome to postroad", "Hello Alice,\n\nthis message came in by the one door that every message takes, and was on the disk\nbefore anybody said yes to it.\n\nReply to it: it goes to my inbox on the same machine.\n\nBob\n"},
	{"alice", "bob", "Welcome to you, too", "Hello Bob,\n\nwrite to alice+anything@example.test and it still comes to me.\n\nAlice\n"},
	{"bob", "alice", "Grüße aus dem Süden ☀", "Schöne Grüße,\n\nein Text mit Umlauten, in UTF-8 und unverändert.\n\nBob\n"},
}

// format writes the message as it is on the wire.
func (m *demoMessage) format(at time.Time) string {
	head := []string{
		"From: " + m.from + "@" + demoDomain, "To: " + m.to + "@" + demoDomain,
		"Subject: " + message.EncodeWords(m.subject), "Date: " + message.FormatDate(at),
		"Message-ID: " + message.NewMessageID("mail."+demoDomain),
		"MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "",
	}
	return strings.Join(head, "\r\n") + "\r\n" + strings.ReplaceAll(m.text, "\n", "\r\n")
}

// send gives a message to the one door.
func (d *Demo) send(ctx context.Context, s *Server, m *demoMessage) error {
	now := time.Now()
	content := strings.NewReader(m.format(now))
	body, parsed, err := mailflow.Arrive(ctx, s.Bodies, nil, content, mailflow.ContentLimits{Size: content.Size()})
	if err != nil {
		return fmt.Errorf("demo message: %w", err)
	}
	_, err = s.Queue.Submit(ctx, &mailflow.Mail{
		ID: s.Clock.Next(), ReturnPath: address.Address{Local: m.from, Domain: demoDomain},
		Recipients: []mailflow.Recipient{{Address: address.Address{Local: m.to, Domain: demoDomain}}},
		Body:       body, Message: parsed, Received: now, EightBit: true, Origin: mailflow.Origin{Protocol: "demo"},
	}, mailflow.SubmitOptions{})
	if err != nil {
		s.Bodies.Discard(body)
		return fmt.Errorf("demo message: %w", err)
	}
	return nil
}

// explanation tells what to type.
var explanation = template.Must(template.New("demo").Parse(`
postroad serves {{.Domain}} on this machine. Everything is in {{.Dir}}; stop with Ctrl-C.

  account             password
{{range .Users}}  {{printf "%-18s" .Login}}  {{.Password}}
{{end}}
Mutt, as alice; it asks for the password, and whether to trust the certificate:

  mutt -n -F /dev/null \
    -e 'set from=alice@{{.Domain}} realname=Alice ssl_force_tls=yes' \
    -e 'set folder=imaps://alice%40{{.Domain}}@127.0.0.1:{{.IMAPS}}/ spoolfile=+INBOX record=+Sent postponed=+Drafts' \
    -e 'set smtp_url=smtps://alice%40{{.Domain}}@127.0.0.1:{{.Submissions}}/'

Thunderbird: New account, your name, alice@{{.Domain}}, the password, then "Configure manually":

  incoming   IMAP   127.0.0.1   port {{.IMAPS}}   SSL/TLS   normal password   alice@{{.Domain}}
  outgoing   SMTP   127.0.0.1   port {{.Submissions}}   SSL/TLS   normal password   alice@{{.Domain}}
  and accept the certificate, which was made for this demo ({{.Certificate}}).

A message from a stranger's server, and what became of it:

  swaks --server 127.0.0.1:{{.SMTP}} --from carol@example.org --to alice@{{.Domain}}
  curl -s --cacert {{.Certificate}} -u alice@{{.Domain}} 'imaps://localhost:{{.IMAPS}}/INBOX;MAILINDEX=*'

Also: submission with STARTTLS {{.Submission}}, IMAP {{.IMAP}}, POP3 {{.POP3}} and {{.POP3S}} (TLS), LMTP {{.LMTP}},
ManageSieve {{.Sieve}}. JMAP, for programs that speak it, begins at https://localhost:{{.HTTPS}}/.well-known/jmap:

  curl -s --cacert {{.Certificate}} -u alice@{{.Domain}} https://localhost:{{.HTTPS}}/.well-known/jmap

To administer it: postroad --config {{.File}} account list
`))

// shown is an account as it is printed.
type shown struct{ Login, Password string }

// Explain prints what to type into Mutt, Thunderbird and a shell.
func (d *Demo) Explain(w io.Writer, s *Server) error {
	file := filepath.Join(d.dir, "demo.toml")
	text := fmt.Sprintf("# Written by `postroad demo`.\nhostname = %q\ndata_directory = %q\n", d.Config().Hostname, d.dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	users := make([]shown, len(demoUsers))
	for i, u := range demoUsers {
		users[i] = shown{u + "@" + demoDomain, d.passwords[u]}
	}
	return explanation.Execute(w, map[string]any{
		"Domain": demoDomain, "Dir": d.dir, "File": file, "Users": users, "Certificate": s.Certs.File(),
		"SMTP": d.port(25), "Submission": d.port(587), "Submissions": d.port(465), "LMTP": d.port(24),
		"IMAP": d.port(143), "IMAPS": d.port(993), "POP3": d.port(110), "POP3S": d.port(995), "Sieve": d.port(4190), "HTTPS": d.port(443),
	})
}
