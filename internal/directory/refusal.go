package directory

import "postroad/smtp"

// What a door says of an address that it does not take (RFC 5321, 3.6; RFC 3463).
var (
	errRelay    = smtp.NewError(550, smtp.EnhancedCode{5, 7, 1}, "Relaying denied")
	errUser     = smtp.NewError(550, smtp.EnhancedCode{5, 1, 1}, "No such user here")
	errDisabled = smtp.NewError(550, smtp.EnhancedCode{5, 2, 1}, "Mailbox disabled")
	errLoop     = smtp.NewError(554, smtp.EnhancedCode{5, 4, 6}, "Address leads to itself")
)

// Refusal returns what to say to who sends mail for the address, nil when there is
// somebody who gets it. An address that is not ours is refused as relaying: who may relay
// asks for the Kind first.
func (t *Target) Refusal() *smtp.Error {
	switch t.Kind {
	case NotLocal:
		return errRelay
	case Disabled:
		return errDisabled
	case Loop:
		return errLoop
	case Mailbox, Alias, Group:
		if len(t.Accounts) > 0 || len(t.Outside) > 0 {
			return nil
		}
	}
	return errUser
}
