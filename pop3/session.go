package pop3

import (
	"context"
	"errors"
	"io"

	"postroad/sasl"
)

// Session is one client's dialogue, as its owner sees it. Methods come one at a time.
type Session interface {
	// SASL returns what the session offers for AUTH; PASS asks its Backend's Password. It is
	// called again after STLS; b is nil without TLS. Delays after failures are the
	// Backend's.
	SASL(b *sasl.Bindings) *sasl.Options
	// Authenticated opens and locks the maildrop of the identity that the Backend returned.
	// With an error the connection stays in the AUTHORIZATION state (RFC 1939, 4).
	Authenticated(ctx context.Context, identity any) (Maildrop, error)
	// Close is the last call: the connection is gone.
	Close()
}

// Maildrop is a locked maildrop as it was when it was opened. Messages are numbered from
// 0; their number for the client is one more.
type Maildrop interface {
	// Len is the number of messages.
	Len() int
	// Size is the size of a message in octets, line ends as CRLF.
	Size(i int) int64
	// AppendUID appends the message's unique id: 1 to 70 octets from 0x21 to 0x7e, the same
	// in all sessions (RFC 1939, 7).
	AppendUID(dst []byte, i int) []byte
	// Open opens a message.
	Open(ctx context.Context, i int) (Message, error)
	// Update removes the messages, which are in ascending order, for good and at once: nil
	// means that it is durable. It is called at most once, when the client says QUIT
	// (RFC 1939, 6), not for an empty list.
	Update(ctx context.Context, deleted []int) error
	// Close unlocks the maildrop; it is called once.
	Close()
}

// Message is one open message: internet message format, not stuffed. It is read piece by
// piece as the client takes it.
type Message interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Code is an extended response code (RFC 2449, 8).
type Code string

// The response codes.
const (
	CodeInUse   Code = "IN-USE"   // RFC 2449, 8.1.2: another session has the maildrop
	CodeAuth    Code = "AUTH"     // RFC 3206, 4: the credentials are wrong
	CodeSysTemp Code = "SYS/TEMP" // RFC 3206, 4: try later
	CodeSysPerm Code = "SYS/PERM" // RFC 3206, 4: somebody must mend it
	CodeUTF8    Code = "UTF8"     // RFC 6856, 5: to be read in UTF-8 mode only
)

// Error is an answer fit for the client. What a session returns besides is logged, and
// answered with SYS/TEMP and a text that tells nothing.
type Error struct {
	Code Code   // may be empty
	Text string // one line of ASCII
}

func (e *Error) Error() string {
	if e.Code == "" {
		return "pop3: " + e.Text
	}
	return "pop3: [" + string(e.Code) + "] " + e.Text
}

// The answers of the server's own.
var (
	errInternal = &Error{CodeSysTemp, "Not possible now, try again later"}
	errWrong    = &Error{CodeAuth, "Wrong user name or password"}
	errNeedsTLS = &Error{"", "Use TLS first"}
)

// answer finds what to tell the client of an error; own tells that it is to be logged.
func answer(err error) (e *Error, own bool) {
	if errors.As(err, &e) {
		return e, false
	}
	return errInternal, true
}
