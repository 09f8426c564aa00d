package mailstore

import "context"

// Finding is something that Check found wrong.
type Finding struct {
	Account AccountID
	Mailbox MailboxID // 0: the account as a whole
	UID     uint32
	Message MessageID
	Text    string
}

func (a *Account) Check(ctx context.Context, bodies bool, found func(Finding)) error { return nil }
