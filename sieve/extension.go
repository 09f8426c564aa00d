package sieve

import (
	"slices"
	"strings"
)

// extension is one capability that a script may require (RFC 5228, 3.2).
type extension uint8

const (
	base extension = iota // needs no require
	extBody
	extNumeric
	extUnicode
	extCopy
	extDate
	extDuplicate
	extEditHeader
	extEnclose
	extEncodedCharacter
	extNotify
	extEnvelope
	extEnvelopeDeliverBy
	extEnvelopeDSN
	extEnvironment
	extEReject
	extExtractText
	extFcc
	extFileInto
	extForEveryPart
	extIHave
	extFlags
	extIMAPSieve
	extInclude
	extIndex
	extMailbox
	extMailboxID
	extMboxMetadata
	extMIME
	extRedirectDeliverBy
	extRedirectDSN
	extRegex
	extReject
	extRelational
	extReplace
	extServerMetadata
	extSpecialUse
	extSubaddress
	extVacation
	extVacationSeconds
	extVariables
	extensionCount
)

// extensionNames is the one list of what is supported.
var extensionNames = [extensionCount]string{
	extBody:              "body",                         // RFC 5173
	extNumeric:           "comparator-i;ascii-numeric",   // RFC 4790, 9.1
	extUnicode:           "comparator-i;unicode-casemap", // RFC 5051
	extCopy:              "copy",                         // RFC 3894
	extDate:              "date",                         // RFC 5260
	extDuplicate:         "duplicate",                    // RFC 7352
	extEditHeader:        "editheader",                   // RFC 5293
	extEnclose:           "enclose",                      // RFC 5703
	extEncodedCharacter:  "encoded-character",            // RFC 5228, 2.4.2.4
	extNotify:            "enotify",                      // RFC 5435
	extEnvelope:          "envelope",                     // RFC 5228, 5.4
	extEnvelopeDeliverBy: "envelope-deliverby",           // RFC 6009
	extEnvelopeDSN:       "envelope-dsn",                 // RFC 6009
	extEnvironment:       "environment",                  // RFC 5183
	extEReject:           "ereject",                      // RFC 5429
	extExtractText:       "extracttext",                  // RFC 5703
	extFcc:               "fcc",                          // RFC 8580
	extFileInto:          "fileinto",                     // RFC 5228, 4.1
	extForEveryPart:      "foreverypart",                 // RFC 5703
	extIHave:             "ihave",                        // RFC 5463
	extFlags:             "imap4flags",                   // RFC 5232
	extIMAPSieve:         "imapsieve",                    // RFC 6785
	extInclude:           "include",                      // RFC 6609
	extIndex:             "index",                        // RFC 5260
	extMailbox:           "mailbox",                      // RFC 5490
	extMailboxID:         "mailboxid",                    // RFC 9042
	extMboxMetadata:      "mboxmetadata",                 // RFC 5490
	extMIME:              "mime",                         // RFC 5703
	extRedirectDeliverBy: "redirect-deliverby",           // RFC 6009
	extRedirectDSN:       "redirect-dsn",                 // RFC 6009
	extRegex:             "regex",                        // draft-ietf-sieve-regex
	extReject:            "reject",                       // RFC 5429
	extRelational:        "relational",                   // RFC 5231
	extReplace:           "replace",                      // RFC 5703
	extServerMetadata:    "servermetadata",               // RFC 5490
	extSpecialUse:        "special-use",                  // RFC 8579
	extSubaddress:        "subaddress",                   // RFC 5233
	extVacation:          "vacation",                     // RFC 5230
	extVacationSeconds:   "vacation-seconds",             // RFC 6131
	extVariables:         "variables",                    // RFC 5229
}

// notifyMethods are the URI schemes that notify can use.
var notifyMethods = []string{"mailto"}

// Extensions returns the names of all extensions, sorted: the SIEVE capability of
// ManageSieve (RFC 5804, 1.7).
func Extensions() []string {
	names := slices.Clone(extensionNames[1:])
	slices.Sort(names)
	return names
}

// NotifyMethods returns the URI schemes that notify can use: the NOTIFY capability of
// ManageSieve (RFC 5804, 1.7).
func NotifyMethods() []string { return slices.Clone(notifyMethods) }

// extensionSet is a set of extensions.
type extensionSet uint64

func (s extensionSet) has(e extension) bool { return s&(1<<e) != 0 }

func (s *extensionSet) add(e extension) { *s |= 1 << e }

func (s extensionSet) contains(t extensionSet) bool { return s&t == t }

// allExtensions is every extension, with base.
const allExtensions = extensionSet(1<<extensionCount - 1)

// alwaysThere are comparators that may be required but need not be (RFC 5228, 2.7.3).
var alwaysThere = []string{"comparator-i;octet", "comparator-i;ascii-casemap"}

// extensionNamed returns an extension by its name, which is compared by octets (RFC 5228,
// 3.2). ok is true with base for what is always there.
func extensionNamed(name string) (extension, bool) {
	if slices.Contains(alwaysThere, name) {
		return base, true
	}
	for e := extension(1); e < extensionCount; e++ {
		if extensionNames[e] == name {
			return e, true
		}
	}
	return base, false
}

// implied adds what comes with an extension (RFC 6131, 2: vacation-seconds).
func implied(e extension) extensionSet {
	s := extensionSet(1) << e
	if e == extVacationSeconds {
		s.add(extVacation)
	}
	return s
}

// names lists the set in words.
func (s extensionSet) names() string {
	var list []string
	for e := extension(1); e < extensionCount; e++ {
		if s.has(e) {
			list = append(list, "\""+extensionNames[e]+"\"")
		}
	}
	return strings.Join(list, ", ")
}
