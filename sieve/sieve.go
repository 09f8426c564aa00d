// Package sieve compiles and runs Sieve scripts: a message goes in, actions come out, and
// nothing happens by itself.
//
// The main type is [Script], what [Compile] makes of a source. It does not change and may
// be run by many goroutines at once and kept in a cache. [Script.Run] is given the message
// by offset, the envelope and whom to ask ([Input]), and returns what is to be done
// ([Result]): a list of [Action], each of them judged by all rules of its RFC, what is to
// be remembered for vacation and duplicate when the actions are done ([Mark]), and the
// message as the script changed it ([Edited]), which is described by pieces of the
// original and read as a stream.
//
//	Compile   lexer → parser → compiler: nodes become commands and tests
//	Run       commands are executed; actions are noted, merged and checked against each other
//	finish    the implicit keep; or, after an error, the message is kept and nothing else done
//
// The package files nothing, sends nothing, and remembers nothing: its caller does that in
// one transaction of its own.
//
// RFC 5228 with the extensions of 3894, 5051, 5173, 5183, 5229, 5230, 5231, 5232, 5233,
// 5260, 5293, 5429, 5435, 5436, 5463, 5490, 5703, 6009, 6131, 6609, 6785, 7352, 8579, 8580,
// 9042 and draft-ietf-sieve-regex.
package sieve

import "slices"

// Options of a compilation. The zero value allows every extension.
type Options struct {
	Extensions []string // that may be required; nil: all of [Extensions]
	Limits     Limits
}

// Script is a compiled script. It is immutable and safe for concurrent use.
type Script struct {
	body     []statement
	limits   Limits
	required extensionSet
	allowed  extensionSet
	local    int // number of its variables
	needs    Requirements
	flags    bool // imap4flags is in use: the internal variable goes with keep and fileinto
}

// Requirements says what a script may ask for, so that a caller need not prepare the rest.
// A script that includes others may ask for whatever these ask for.
type Requirements struct {
	Extensions []string  // required, sorted
	Body       bool      // octets of the body are read, not only those of headers
	Structure  bool      // MIME parts are looked at, not only the top header
	Edits      bool      // the message may be changed
	Memory     bool      // Input.Memory is asked
	Mailboxes  bool      // Input.Mailboxes is asked
	Includes   []Include // in the order of the source, each once
}

// Include names a script that another includes (RFC 6609).
type Include struct {
	Name     string
	Global   bool // site-wide, not of the user
	Optional bool // may be missing
}

// Requirements tells what the script needs.
func (s *Script) Requirements() Requirements {
	n := s.needs
	n.Extensions = slices.Clone(n.Extensions)
	n.Includes = slices.Clone(n.Includes)
	return n
}

// Compile checks and compiles a script. With faults the script is nil and all that were
// found are returned, at most [ErrorsMax].
func Compile(src []byte, o Options) (*Script, Errors) {
	limits := o.Limits.filled()
	if len(src) > limits.ScriptOctets {
		return nil, Errors{position{1, 1}.errorf("the script has more than %d octets", limits.ScriptOctets)}
	}
	nodes, errs := parse(src, limits)
	c := newCompiler(o, limits)
	c.errors = errs
	if len(errs) == 0 {
		c.compile(nodes)
	}
	if len(c.errors) > 0 {
		return nil, c.errors.sorted()
	}
	return c.script, nil
}
