package queue

import (
	"errors"
	"fmt"
	"runtime/debug"

	"postroad/internal/blob"
	"postroad/internal/kv"
)

// errPanic is a panic of a member that the queue asked.
var errPanic = errors.New("queue: panic")

// noticeError says that a notice could not be composed.
type noticeError struct{ err error }

func (e *noticeError) Error() string { return e.err.Error() }
func (e *noticeError) Unwrap() error { return e.err }

// guarded runs f and makes a panic an error. The queue's goroutines are nobody's session:
// a mail that shows a bug of ours must not end the program, which would find it again at
// the next start.
func (q *Queue) guarded(doing string, f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			q.stats.errors.Add(1)
			q.log.Error("panic in the queue", "doing", doing, "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %s: %v", errPanic, doing, v)
		}
	}()
	f()
	return nil
}

// isPoison tells an error that comes from the mail itself and will come again from one of
// the disk, which passes.
func isPoison(err error) bool {
	if errors.Is(err, kv.ErrFull) || errors.Is(err, blob.ErrFull) {
		return false
	}
	var n *noticeError
	return errors.As(err, &n) || errors.Is(err, errPanic)
}
