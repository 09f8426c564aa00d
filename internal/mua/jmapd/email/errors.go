package email

import (
	"errors"

	"postroad/internal/mailstore"
	"postroad/jmap"
)

// methodError makes of an error of the mail store what a method answers with (RFC 8620,
// 3.6.2). What is not the client's fault stays as it is, and becomes serverFail.
func methodError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, mailstore.ErrNoAccount):
		return jmap.ErrAccountNotFound
	case errors.Is(err, mailstore.ErrRights):
		return jmap.ErrForbidden
	case errors.Is(err, mailstore.ErrTemporary), errors.Is(err, mailstore.ErrFull):
		return jmap.ErrServerUnavailable
	}
	return err
}

// setError makes of an error of the mail store what is told of one object in a response of
// /set (RFC 8620, 5.3); nil where it is none of the closed set, so that the whole method
// fails.
func setError(err error) *jmap.SetError {
	var e *jmap.SetError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, mailstore.ErrNoMailbox), errors.Is(err, mailstore.ErrNoMessage):
		return jmap.NewSetError(jmap.SetNotFound, "no such object")
	case errors.Is(err, mailstore.ErrRights):
		return jmap.NewSetError(jmap.SetForbidden, "you have not the right to do that")
	case errors.Is(err, mailstore.ErrOverQuota):
		return jmap.NewSetError(jmap.SetOverQuota, "the account is full")
	case errors.Is(err, mailstore.ErrTooLarge):
		return jmap.NewSetError(jmap.SetTooLarge, "too large")
	case errors.Is(err, mailstore.ErrLimit):
		return jmap.NewSetError(jmap.SetOverQuota, "%s", limitText(err))
	}
	return nil
}

// limitText is what a client may read of a limit: the store's own words, which name it.
func limitText(err error) string { return err.Error() }
