package managesieve

import (
	"context"
	"errors"

	"postroad/sasl"
)

// Session is one client's dialogue, as its owner sees it. Methods come one at a time.
type Session interface {
	// SASL returns what the session offers for AUTHENTICATE. It is called again after
	// STARTTLS; b is nil without TLS. Delays after failures are the Backend's, which may
	// return an *Error (AUTH-TOO-WEAK, TRANSITION-NEEDED).
	SASL(b *sasl.Bindings) *sasl.Options
	// Authenticated opens the scripts of the identity that the Backend returned. With an
	// error the connection stays in the non-authenticated state.
	Authenticated(ctx context.Context, identity any) (Scripts, error)
	// Close is the last call: the connection is gone.
	Close()
}

// Scripts are those of the user who logged in. Names are as CleanName returns them. An
// *Error is told to the client; anything else is logged and answered with TRYLATER. What
// changes something has made it durable when it returns nil.
type Scripts interface {
	// Owner is the canonical name of the user: the OWNER capability (RFC 5804, 1.7).
	Owner() string
	// HaveSpace tells whether a script of so many octets could be put now
	// (RFC 5804, 2.5): nil or a quota's error.
	HaveSpace(ctx context.Context, name string, sizeBytes int64) error
	// PutScript stores a script that compiles, in place of one of that name
	// (RFC 5804, 2.6). The content is the callee's. Warnings, lines parted by CRLF, may be
	// empty; the error's Text has the line number of what is wrong.
	PutScript(ctx context.Context, name string, content []byte) (warnings string, err error)
	// CheckScript is PutScript without storing, and without quotas (RFC 5804, 2.12).
	CheckScript(ctx context.Context, content []byte) (warnings string, err error)
	// ListScripts lists all scripts; at most one is active (RFC 5804, 2.7).
	ListScripts(ctx context.Context) ([]Script, error)
	// SetActive makes a script the active one, "" none (RFC 5804, 2.8).
	SetActive(ctx context.Context, name string) error
	// GetScript returns a script's content, which is only read (RFC 5804, 2.9).
	GetScript(ctx context.Context, name string) ([]byte, error)
	// DeleteScript deletes a script that is not active (RFC 5804, 2.10).
	DeleteScript(ctx context.Context, name string) error
	// RenameScript gives a script, active or not, another name (RFC 5804, 2.11).
	RenameScript(ctx context.Context, from, to string) error
	// Close is called once, at UNAUTHENTICATE or at the end.
	Close()
}

// Script is one line of LISTSCRIPTS.
type Script struct {
	Name   string
	Active bool
}

// Code is a response code (RFC 5804, 1.3).
type Code string

// The response codes. Those with data are made by the server, but for REFERRAL.
const (
	CodeAuthTooWeak      Code = "AUTH-TOO-WEAK"     // the mechanism is not allowed to this user
	CodeEncryptNeeded    Code = "ENCRYPT-NEEDED"    // TLS first
	CodeQuota            Code = "QUOTA"             // over a quota
	CodeQuotaMaxScripts  Code = "QUOTA/MAXSCRIPTS"  // over the number of scripts
	CodeQuotaMaxSize     Code = "QUOTA/MAXSIZE"     // over the size of a script
	CodeReferral         Code = "REFERRAL"          // another server has the scripts: see Error.Referral
	CodeSASL             Code = "SASL"              // data with success
	CodeTransitionNeeded Code = "TRANSITION-NEEDED" // log in with PLAIN once
	CodeTryLater         Code = "TRYLATER"          // temporary
	CodeActive           Code = "ACTIVE"            // not allowed on the active script
	CodeNonexistent      Code = "NONEXISTENT"       // no such script
	CodeAlreadyExists    Code = "ALREADYEXISTS"     // there is such a script
	CodeTag              Code = "TAG"               // of NOOP
	CodeWarnings         Code = "WARNINGS"          // the script is valid, and doubtful
)

// Error is an answer fit for the client. What a session returns besides is logged, and
// answered with TRYLATER and a text that tells nothing.
type Error struct {
	Code Code   // may be empty
	Text string // UTF-8, lines parted by CRLF; in "i-default" unless Options.Language says otherwise
	// Referral is the sieve: URL of the server to go to (RFC 5804, 1.3 and 3), without a
	// script's name. With it the answer is BYE, and the connection ends.
	Referral string
}

func (e *Error) Error() string {
	if e.Code == "" {
		return "managesieve: " + e.Text
	}
	return "managesieve: (" + string(e.Code) + ") " + e.Text
}

// The answers of the server's own.
var (
	errInternal = &Error{Code: CodeTryLater, Text: "Not possible now, try again later"}
	errWrong    = &Error{Text: "Wrong user name or password"}
	errNeedsTLS = &Error{Code: CodeEncryptNeeded, Text: "Use STARTTLS first"}
)

// answer finds what to tell the client of an error; own tells that it is to be logged.
func answer(err error) (e *Error, own bool) {
	if errors.As(err, &e) {
		return e, false
	}
	return errInternal, true
}
