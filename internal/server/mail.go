package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postroad/imap"
	"postroad/internal/config"
	"postroad/internal/mailstore"
)

// mailOptions are what the mail store works with.
func (s *Store) mailOptions() mailstore.Options {
	o := mailstore.Options{Committer: s.Committer, Clock: s.Clock, Log: s.log, Warning: s.quotaWarning,
		WarnPercent: s.config.Limits.QuotaWarnings, Undelete: s.config.Keep.Undelete.Std(),
		UndeleteBytes: int64(s.config.Keep.UndeleteBytes), DiskFull: s.diskFull, Passing: s.passing,
		Retention: map[imap.MailboxAttr]mailstore.Retention{}}
	for role, after := range map[imap.MailboxAttr]config.Duration{imap.AttrJunk: s.config.Keep.Junk, imap.AttrTrash: s.config.Keep.Trash} {
		if after > 0 {
			o.Retention[role] = mailstore.Retention{After: after.Std()}
		}
	}
	return o
}

// quotaWarning writes the message that tells the owner of an account how full it is.
func (s *Store) quotaWarning(ctx context.Context, w mailstore.Warning) (string, error) {
	a, err := s.Directory.Account(ctx, w.Account)
	if err != nil {
		return "", err
	}
	postmaster := "postmaster@" + a.Login.Domain
	now := time.Now()
	var b strings.Builder
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	field("Date", now.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	field("From", "Mail system <"+postmaster+">")
	field("To", "<"+a.Login.String()+">")
	field("Subject", fmt.Sprintf("Your mailbox is %d%% full", w.Percent))
	field("Message-ID", fmt.Sprintf("<%s.quota@%s>", s.Clock.Next(), hostname(s.config)))
	field("Auto-Submitted", "auto-generated") // RFC 3834, 5: nobody answers it
	field("MIME-Version", "1.0")
	field("Content-Type", "text/plain; charset=utf-8")
	b.WriteString("\r\n")
	if w.Quota.Bytes > 0 {
		fmt.Fprintf(&b, "%s of %s are in use.\r\n", megabytes(w.Usage.Bytes), megabytes(w.Quota.Bytes))
	}
	if w.Quota.Messages > 0 {
		fmt.Fprintf(&b, "%d of %d messages are there.\r\n", w.Usage.Messages, w.Quota.Messages)
	}
	b.WriteString("\r\nWhen the mailbox is full, new mail cannot be delivered. Please delete what you\r\nno longer need, for instance large messages in Sent and Trash.\r\n")
	return b.String(), nil
}

// megabytes writes octets for people.
func megabytes(n int64) string { return strconv.FormatInt((n+1<<20-1)>>20, 10) + " MB" }

// scarceShare is the free space, in times the reserve, below which deleted mail is not kept.
const scarceShare = 2

// diskFull tells that free space has come near the reserve. Where it cannot be told, writing
// will say so.
func (s *Store) diskFull() bool {
	free, err := freeBytes(s.config.DataDirectory)
	return err == nil && free < scarceShare*int64(s.config.Limits.DiskReserve)
}
