package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postroad/internal/blob"
	"postroad/internal/kv"
	"postroad/internal/mailflow"
	"postroad/smtp"
)

// Submit implements mailflow.Submitter. The order of its steps: route the recipients;
// prepare the local ones, and all that these give rise to, in one unit; make items of the
// others in the same unit; commit it. Only then are we responsible, and only then does
// the scheduler hear of the items.
//
// The mail's id, if it has one, was never submitted before. The status of a recipient that is in the queue is Delayed with a reply of 250.
func (q *Queue) Submit(ctx context.Context, m *mailflow.Mail, o mailflow.SubmitOptions) ([]mailflow.Status, error) {
	if err := q.check(m); err != nil {
		q.stats.refused.Add(1)
		return nil, err
	}
	var statuses []mailflow.Status
	err := q.run(ctx, func(ctx context.Context, p *plan) error {
		var err error
		if statuses, err = p.submit(ctx, m, o); err != nil {
			return err
		}
		q.record(p.u, Event{Kind: EventAccepted, Item: ItemID{Mail: m.ID}, Mail: m, Statuses: statuses})
		if o.Also != nil {
			err = o.Also(ctx, p.u, m, statuses)
		}
		return err
	})
	if err != nil {
		q.stats.refused.Add(1)
		if errors.Is(err, kv.ErrFull) || errors.Is(err, blob.ErrFull) {
			err = mailflow.ErrSpace.With(err)
		}
		return nil, err
	}
	q.stats.submitted.Add(1)
	return statuses, nil
}

// check refuses what must not come in, and gives the mail an id if it has none.
func (q *Queue) check(m *mailflow.Mail) error {
	switch {
	case len(m.Recipients) == 0:
		return smtp.NewError(554, smtp.EnhancedCode{5, 5, 1}, "No recipients")
	case len(m.Recipients) > recipientsMax:
		return smtp.NewError(452, smtp.EnhancedCode{4, 5, 3}, "Too many recipients")
	case m.Message != nil && m.Message.Received > q.options.HopsMax:
		return smtp.NewError(554, smtp.EnhancedCode{5, 4, 6}, "Too many hops: the mail goes in a circle")
	case m.Body.IsZero():
		return fmt.Errorf("submit %s: the mail has no body", m.ID)
	}
	if m.ID == 0 {
		m.ID = q.options.Clock.Next()
	}
	if m.Received.IsZero() {
		m.Received = time.Now()
	}
	return nil
}

// submit prepares the mail's share of the unit and decides who hears of failures: the
// peer where it can still be told in the dialogue, else the return path by a notice in
// the same unit.
func (p *plan) submit(ctx context.Context, m *mailflow.Mail, o mailflow.SubmitOptions) ([]mailflow.Status, error) {
	statuses, err := p.place(ctx, m, placement{perRecipient: o.PerRecipient, first: true})
	if err != nil {
		return nil, err
	}
	if o.PerRecipient {
		return statuses, p.notify(ctx, m, statuses, 0, mailflow.Relayed, wantsSuccess)
	}
	if allFailed(statuses) {
		// RFC 5321, 4.2.5: better told now than by a notice to who knows whom.
		return nil, &smtp.Error{Reply: statuses[0].Reply}
	}
	return statuses, p.report(ctx, m, statuses, 0)
}

func allFailed(statuses []mailflow.Status) bool {
	for i := range statuses {
		if statuses[i].Action != mailflow.Failed {
			return false
		}
	}
	return true
}
