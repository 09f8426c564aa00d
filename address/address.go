// Package address parses, compares and prints mail addresses and SMTP paths.
//
// The main type is [Address]. The package looks nothing up and knows no mailboxes.
//
// RFC 5321 (4.1.2), RFC 5322 (3.4.1), RFC 6531, RFC 5890 (IDNA), RFC 8265 (PRECIS).
package address

// Address is a mailbox at a domain, as RFC 5321 means it. Local is without quotes and
// backslashes, in the case it was given; Domain is in lower case, Unicode (U-labels) for
// international names, or an address literal with its brackets. The zero Address is the
// null path <> (RFC 5321, 4.5.5); Local "postmaster" with no Domain is <Postmaster>.
type Address struct {
	Local, Domain string
}

// IsNull tells whether a is the null path.
func (a Address) IsNull() bool { return a == Address{} }
