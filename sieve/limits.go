package sieve

import "time"

// The defaults of Limits. What the RFCs ask for at least stands beside them.
const (
	ScriptOctetsMax      = 1 << 20
	BlockDepthMax        = 32 // RFC 5228, 2.10.5: at least 15
	TestDepthMax         = 32 // the same
	ErrorsMax            = 20 // errors of one compilation that are told
	ActionsMax           = 32 // of one run, edits of the message included
	RedirectsMax         = 4  // RFC 5228, 10: a limit is asked for, none is named
	NotificationsMax     = 4  // RFC 5435, 8
	StepsMax             = 5_000_000
	VariablesMax         = 128 // of one script, RFC 5229, 6: at least 128
	VariableOctetsMax    = 8000
	VariableNameMax      = 64 // octets; RFC 5229, 6: at least 32
	MatchVariablesMax    = 32 // RFC 5229, 6: at least 10
	IncludeDepthMax      = 10 // RFC 6609, 3.1: at least 3
	RegexOctetsMax       = 1024
	RegexRepeatMax       = 255     // RE_DUP_MAX of POSIX
	RegexInstructionsMax = 2000    // of one expression with its repetitions written out
	RegexScriptMax       = 100_000 // instructions of all expressions of a script
	BodyOctetsMax        = 1 << 20 // of one body or part that a test other than :contains sees, or extracttext
	StringOctetsMax      = 1 << 20 // of one string with its variables put in
	AddedHeaderMax       = 256 << 10
	FlagsMax             = 128 // of one message
	FlagOctetsMax        = 128 // of one flag
)

// Bounds of the intervals of vacation and duplicate.
const (
	VacationDefault  = 7 * 24 * time.Hour // RFC 5230, 4.1
	VacationMin      = 24 * time.Hour     // with :days (RFC 5230, 4.1: at least 1 day)
	VacationMax      = 31 * 24 * time.Hour
	DuplicateDefault = 7 * 24 * time.Hour
	DuplicateMax     = 90 * 24 * time.Hour
)

// Limits bound a compilation and the runs of what it made. A field that is zero means the
// default, the constant of the same name.
type Limits struct {
	ScriptOctets int // length of a script
	BlockDepth   int // nesting of blocks
	TestDepth    int // nesting of tests
	Variables    int // of one script
	RegexOctets  int // of one regular expression, with its variables put in

	// The following are those of the script that is run, whatever it includes.
	Actions        int
	Redirects      int
	Notifications  int
	Steps          int // commands, tests and comparisons; long texts count more
	IncludeDepth   int
	VariableOctets int // of one value; what is over is cut
	BodyOctets     int
}

// filled returns the limits with the defaults put in.
func (l Limits) filled() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.ScriptOctets, ScriptOctetsMax}, {&l.BlockDepth, BlockDepthMax}, {&l.TestDepth, TestDepthMax},
		{&l.Variables, VariablesMax}, {&l.RegexOctets, RegexOctetsMax}, {&l.Actions, ActionsMax},
		{&l.Redirects, RedirectsMax}, {&l.Notifications, NotificationsMax}, {&l.Steps, StepsMax},
		{&l.IncludeDepth, IncludeDepthMax}, {&l.VariableOctets, VariableOctetsMax}, {&l.BodyOctets, BodyOctetsMax},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return l
}
