package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"postroad/address"
	"postroad/internal/scripts"
	"postroad/message"
)

// FaultToldFor is how long the owner of a script is not told again of the same fault.
const FaultToldFor = 7 * 24 * time.Hour

// Personal tells that the owner of the account is the one to be told. A script that is not
// his own is the administrator's, who reads the log.
func (f *Failure) Personal() bool { return f.Script.Scope == scripts.Personal }

// Mark is what an account remembers once its owner was told of the fault.
func (f *Failure) Mark() string {
	h := sha256.Sum256([]byte(f.Script.Version.String() + "\x00" + f.Err.Error()))
	return "fault " + hex.EncodeToString(h[:16])
}

// Complaint is what the owner is told of a fault.
type Complaint struct {
	Host    string
	To      address.Address
	Now     time.Time
	Subject string // of the message on which the script went wrong
	Event   bool   // it lay in a mailbox already; else it was being delivered
}

// What became of the message, and what will of others.
var complaints = map[bool][2]string{
	false: {"The message was kept in your mailbox, and nothing else was done with it:", "Mail that comes until you have changed the script may be kept in the same way."},
	true:  {"The message lies in your mailbox as your mail program has put it there:", "The script may go wrong in the same way until you have changed it."},
}

// Text is the message about a fault.
func (c *Complaint) Text(f *Failure) ([]byte, error) {
	var h message.Header
	h.AddDate("Date", c.Now)
	h.AddAddresses("From", message.AddressList{{Name: "Mail System", Local: "postmaster", Host: c.Host}})
	h.AddAddresses("To", message.AddressList{{Local: c.To.Local, Host: c.To.Domain}})
	h.AddText("Subject", fmt.Sprintf("Your mail rules (%s) have an error", f.Script.Name))
	h.Add("Message-ID", message.NewMessageID(c.Host))
	h.Add("Auto-Submitted", "auto-generated")
	h.Add("MIME-Version", "1.0")
	words := complaints[c.Event]
	var b strings.Builder
	fmt.Fprintf(&b, "The script %q went wrong on a message:\r\n\r\n", f.Script.Name)
	for _, line := range strings.Split(f.Err.Error(), "\n") {
		fmt.Fprintf(&b, "    %s\r\n", strings.TrimRight(line, "\r"))
	}
	fmt.Fprintf(&b, "\r\n%s\r\n\r\n    Subject: %s\r\n", words[0], c.Subject)
	fmt.Fprintf(&b, "\r\n%s\r\nYou will not be told of the same error again for a week.\r\n", words[1])
	r, err := (&message.Entity{Header: h, Body: strings.NewReader(b.String())}).Reader()
	if err != nil {
		return nil, fmt.Errorf("write about a fault of a script: %w", err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("write about a fault of a script: %w", err)
	}
	return text, nil
}
