package rules

import (
	"time"

	"postroad/imap"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/sieve"
	"postroad/smtp"
)

// Redirect addresses a mail as a redirect says: its recipient, with notify unless the script
// has its own (RFC 6009, 6), what a notification returns, and until when it is to be
// delivered (RFC 6009, 7).
func Redirect(m *mailflow.Mail, a *sieve.Redirect, notify smtp.DSNNotify, now time.Time) {
	if a.Notify != "" {
		notify, _ = smtp.ParseDSNNotify(a.Notify) // sieve has checked it
	}
	switch a.Return {
	case "FULL":
		m.Return = smtp.ReturnFull
	case "HDRS":
		m.Return = smtp.ReturnHeaders
	}
	if by := a.DeliverBy; by != nil {
		m.DeliverBy = &smtp.DeliverBy{Within: by.By.Sub(now), Return: by.Return, Trace: by.Trace}
	}
	m.Recipients = []mailflow.Recipient{{Address: a.Address, Notify: notify}}
}

// Flags are the flags and keywords that a script names.
func Flags(words []string) (mailstore.Flags, []string) {
	flags := make([]imap.Flag, len(words))
	for i, w := range words {
		flags[i] = imap.Flag(w)
	}
	return mailstore.ParseFlags(flags)
}
