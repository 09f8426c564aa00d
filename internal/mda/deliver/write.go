package deliver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"postroad/address"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/internal/mda/rules"
	"postroad/internal/scripts"
	"postroad/message"
	"postroad/sieve"
	"postroad/smtp"
)

// What rules write to others goes onward with the null return path, so that nothing
// answers it (RFC 5230, 5.1; RFC 5436, 2.7).

// answer sends a vacation answer.
func (d *delivery) answer(ctx context.Context, v *sieve.Vacation) error {
	text, err := v.Compose(message.NewMessageID(d.o.Host), d.now)
	if err != nil {
		return fmt.Errorf("write an answer: %w", err)
	}
	return d.send(ctx, text, address.Address{}, v.Fcc, v.To)
}

// notify sends a notification.
func (d *delivery) notify(ctx context.Context, n *sieve.Notify) error {
	text, err := n.Compose(message.NewMessageID(d.o.Host), d.now)
	if err != nil {
		return fmt.Errorf("write a notification: %w", err)
	}
	return d.send(ctx, text, n.ReturnPath, n.Fcc, n.Recipients...)
}

// send lets a written message go onward, and keeps a copy where the script wants one
// (RFC 8580).
func (d *delivery) send(ctx context.Context, text []byte, from address.Address, fcc *sieve.Target, to ...address.Address) error {
	w, err := d.write(ctx, bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	m := &mailflow.Mail{ReturnPath: from, Body: w.body, Message: w.parsed, Received: d.now,
		Origin: mailflow.Origin{Protocol: "sieve", Helo: d.o.Host, Account: d.filing.id}, EightBit: w.parsed.EightBit}
	for _, a := range to {
		m.Recipients = append(m.Recipients, mailflow.Recipient{Address: a, Notify: smtp.NotifyNever})
		m.SMTPUTF8 = m.SMTPUTF8 || a.NeedsUTF8()
	}
	d.u.Onward(m)
	if fcc == nil {
		return nil
	}
	id, err := d.target(ctx, fcc)
	if err != nil {
		return err
	}
	d.copies = append(d.copies, copyOf{written: w, flags: fcc.Flags, boxes: []mailstore.MailboxID{id}})
	return nil
}

// tell puts a message about a fault of a script into its owner's INBOX, once in a while. A
// script that is not the owner's own is the administrator's, who reads the log.
func (d *delivery) tell(ctx context.Context, f *rules.Failure) error {
	d.o.Log.Warn("a rule went wrong; the mail is kept", "id", d.m.ID, "account", d.filing.id, "script", f.Script.Name, "error", f.Err)
	if f.Script.Scope != scripts.Personal {
		return nil
	}
	h := sha256.Sum256([]byte(f.Script.Version.String() + "\x00" + f.Err.Error()))
	mark := "fault " + hex.EncodeToString(h[:16])
	told, err := d.account.Remembers(ctx, mark, d.now)
	if err != nil || told {
		return err
	}
	d.remember[mark] = d.now.Add(failureToldFor)
	r, err := d.complaint(f).Reader()
	if err != nil {
		return fmt.Errorf("write about a fault of a script: %w", err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("write about a fault of a script: %w", err)
	}
	w, err := d.write(ctx, bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	d.copies = append(d.copies, copyOf{written: w, boxes: []mailstore.MailboxID{d.tree.Inbox().ID}})
	return nil
}

// complaint is the message about a fault.
func (d *delivery) complaint(f *rules.Failure) *message.Entity {
	var h message.Header
	h.AddDate("Date", d.now)
	h.AddAddresses("From", message.AddressList{{Name: "Mail System", Local: "postmaster", Host: d.o.Host}})
	h.AddAddresses("To", message.AddressList{{Local: d.filing.address.Local, Host: d.filing.address.Domain}})
	h.AddText("Subject", fmt.Sprintf("Your mail rules (%s) have an error", f.Script.Name))
	h.Add("Message-ID", message.NewMessageID(d.o.Host))
	h.Add("Auto-Submitted", "auto-generated")
	h.Add("MIME-Version", "1.0")
	var b strings.Builder
	fmt.Fprintf(&b, "The script %q went wrong on a message:\r\n\r\n", f.Script.Name)
	for _, line := range strings.Split(f.Err.Error(), "\n") {
		fmt.Fprintf(&b, "    %s\r\n", strings.TrimRight(line, "\r"))
	}
	fmt.Fprintf(&b, "\r\nThe message was kept in your mailbox, and nothing else was done with it:\r\n\r\n    Subject: %s\r\n", d.m.Message.Subject)
	b.WriteString("\r\nMail that comes until you have changed the script may be kept in the same way.\r\nYou will not be told of the same error again for a week.\r\n")
	return &message.Entity{Header: h, Body: strings.NewReader(b.String())}
}
