package outbox

import (
	"context"
	"strconv"
	"strings"

	"postroad/imap"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// Store is told of mail by the queue.
var _ mailflow.Tracker = (*Store)(nil)

// Told implements mailflow.Tracker.
func (s *Store) Told(ctx context.Context, u *mailflow.Unit, m *mailflow.Mail, statuses []mailflow.Status) error {
	return s.change(ctx, u, m.Origin.Account, m.ID, func(sub *Submission) error {
		sub.told(m, statuses)
		return nil
	})
}

// Withdrawn implements mailflow.Tracker.
func (s *Store) Withdrawn(ctx context.Context, u *mailflow.Unit, m *mailflow.Mail) error {
	err := s.change(ctx, u, m.Origin.Account, m.ID, func(sub *Submission) error {
		if sub.Undo == Pending {
			sub.Undo = Canceled
		}
		sub.withdrawn(m.Recipients)
		return nil
	})
	if err != nil {
		return err
	}
	return s.letGo(ctx, u, m, imap.AttrDrafts)
}

// withdrawn notes that recipients will not get the mail.
func (sub *Submission) withdrawn(of []mailflow.Recipient) {
	statuses := make([]mailflow.Status, len(of))
	for i := range statuses {
		statuses[i] = mailflow.Status{Action: mailflow.Failed, LocalMTA: true,
			Reply: smtp.NewError(554, smtp.EnhancedCode{5, 7, 0}, "Taken back before it was sent").Reply}
	}
	sub.told(&mailflow.Mail{Recipients: of}, statuses)
}

// told takes over what is known of recipients now. Where somebody is named twice the last
// one counts.
func (sub *Submission) told(m *mailflow.Mail, statuses []mailflow.Status) {
	at := make(map[string]int, len(sub.To))
	for i := range sub.To {
		at[strings.ToLower(sub.To[i].Email)] = i
	}
	for i := range min(len(statuses), len(m.Recipients)) {
		k, ok := at[strings.ToLower(m.Recipients[i].Address.String())]
		if !ok || statuses[i].Action == 0 {
			continue
		}
		to := &sub.To[k]
		to.Reply, to.Delivered = oneLine(&statuses[i].Reply), delivered(&statuses[i])
	}
}

// delivered is what an outcome means. That another server took the mail does not mean that
// it reached anybody (RFC 8621, 7).
func delivered(s *mailflow.Status) Delivered {
	switch s.Action {
	case mailflow.Delivered:
		return Yes
	case mailflow.Failed:
		return No
	case mailflow.Delayed:
		return Queued
	}
	return Unknown
}

// oneLine writes a reply as RFC 8621, 7, wants it: the lines one behind the other, what they
// begin with in common once.
func oneLine(r *smtp.Reply) string {
	parts := []string{strconv.Itoa(r.Code)}
	if !r.Enhanced.IsZero() {
		parts = append(parts, r.Enhanced.String())
	}
	for _, l := range r.Lines {
		if l = strings.TrimSpace(l); l != "" {
			parts = append(parts, l)
		}
	}
	return strings.Join(parts, " ")
}
