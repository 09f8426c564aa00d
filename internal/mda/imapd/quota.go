package imapd

import (
	"context"

	"postroad/imap"
	"postroad/imap/imapserver"
)

var _ imapserver.Quoter = (*Session)(nil)

// quotaRoot is the one quota root there is: the account as a whole.
const quotaRoot = "Account"

// QuotaResources implements imapserver.Quoter.
func (*Session) QuotaResources() []imap.QuotaResource {
	return []imap.QuotaResource{imap.QuotaStorage, imap.QuotaMessage}
}

// GetQuota implements imapserver.Quoter.
func (s *Session) GetQuota(ctx context.Context, root string) (*imap.Quota, error) {
	if root != quotaRoot {
		return nil, imap.No(imap.CodeNonExistent, "No such quota root")
	}
	limit, used, err := s.account.Quota(ctx)
	if err != nil {
		return nil, answer(err)
	}
	q := &imap.Quota{Root: quotaRoot}
	if limit.Bytes > 0 {
		q.Resources = append(q.Resources, imap.QuotaUsage{Resource: imap.QuotaStorage,
			Usage: imap.StorageUnits(uint64(max(0, used.Bytes))), Limit: imap.StorageUnits(uint64(limit.Bytes))})
	}
	if limit.Messages > 0 {
		q.Resources = append(q.Resources, imap.QuotaUsage{Resource: imap.QuotaMessage,
			Usage: uint64(max(0, used.Messages)), Limit: uint64(limit.Messages)})
	}
	return q, nil
}

// GetQuotaRoot implements imapserver.Quoter. What was deleted has no quota, and
// that of others is not told.
func (s *Session) GetQuotaRoot(ctx context.Context, name string) ([]imap.Quota, error) {
	p, err := s.enter(ctx, cmdGetQuotaRoot, name, imap.CodeNonExistent)
	if err != nil || p.mailbox.Recovery != nil || p.foreign() {
		return nil, err
	}
	q, err := s.GetQuota(ctx, quotaRoot)
	if err != nil || len(q.Resources) == 0 {
		return nil, err
	}
	return []imap.Quota{*q}, nil
}
