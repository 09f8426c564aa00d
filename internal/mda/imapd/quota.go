package imapd

import (
	"context"
	"errors"

	"postroad/imap"
	"postroad/imap/imapserver"
	"postroad/internal/mailstore"
)

var _ imapserver.Quoter = (*Session)(nil)

// The quota roots (RFC 9208, 3.2). Everything of an account counts to both. Neither can be
// set here: see docs/decisions/0013-quotaset.md.
const (
	quotaRoot    = "Account"      // the account as a whole
	quotaRootOrg = "Organisation" // all accounts of its organisation
)

// QuotaResources implements imapserver.Quoter.
func (*Session) QuotaResources() []imap.QuotaResource {
	return []imap.QuotaResource{imap.QuotaStorage, imap.QuotaMessage}
}

// GetQuota implements imapserver.Quoter.
func (s *Session) GetQuota(ctx context.Context, root string) (*imap.Quota, error) {
	ask := map[string]func(context.Context) (mailstore.Quota, mailstore.Usage, error){
		quotaRoot: s.account.Quota, quotaRootOrg: s.account.Pool}[root]
	if ask == nil {
		return nil, imap.No(imap.CodeNonExistent, "No such quota root")
	}
	limit, used, err := ask(ctx)
	if err != nil {
		return nil, answer(err)
	}
	q := &imap.Quota{Root: root}
	if limit.Bytes > 0 {
		q.Resources = append(q.Resources, imap.QuotaUsage{Resource: imap.QuotaStorage,
			Usage: imap.StorageUnits(uint64(max(0, used.Bytes))), Limit: imap.StorageUnits(uint64(limit.Bytes))})
	}
	if limit.Messages > 0 {
		q.Resources = append(q.Resources, imap.QuotaUsage{Resource: imap.QuotaMessage,
			Usage: uint64(max(0, used.Messages)), Limit: uint64(limit.Messages)})
	}
	if root == quotaRootOrg && len(q.Resources) == 0 {
		return nil, imap.No(imap.CodeNonExistent, "No such quota root")
	}
	return q, nil
}

// GetQuotaRoot implements imapserver.Quoter: the roots that have limits. What was deleted
// has no quota, and that of others is not told.
func (s *Session) GetQuotaRoot(ctx context.Context, name string) ([]imap.Quota, error) {
	p, err := s.enter(ctx, cmdGetQuotaRoot, name, imap.CodeNonExistent)
	if err != nil || p.mailbox.Recovery != nil || p.foreign() {
		return nil, err
	}
	var roots []imap.Quota
	for _, root := range []string{quotaRoot, quotaRootOrg} {
		q, err := s.GetQuota(ctx, root)
		var no *imap.Error
		if errors.As(err, &no) && no.Code == imap.CodeNonExistent {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(q.Resources) > 0 {
			roots = append(roots, *q)
		}
	}
	return roots, nil
}
