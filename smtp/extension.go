package smtp

import (
	"strconv"
	"strings"
)

// Extension is a set of service extensions (RFC 5321, 2.2).
type Extension uint32

// The extensions this package has words for.
const (
	Pipelining          Extension = 1 << iota // RFC 2920
	Size                                      // RFC 1870
	EightBitMIME                              // RFC 6152
	SMTPUTF8                                  // RFC 6531
	Chunking                                  // RFC 3030
	BinaryMIME                                // RFC 3030
	DSN                                       // RFC 3461
	EnhancedStatusCodes                       // RFC 2034
	StartTLS                                  // RFC 3207
	Auth                                      // RFC 4954
	FutureRelease                             // RFC 4865
	MTPriority                                // RFC 6710
	DeliverByExtension                        // RFC 2852
	LimitsExtension                           // RFC 9422
)

// Has tells whether every extension of x is in e.
func (e Extension) Has(x Extension) bool { return e&x == x }

// keywords are the EHLO keywords, by extension.
var keywords = [...]struct {
	extension Extension
	keyword   string
}{
	{Pipelining, "PIPELINING"},
	{Size, "SIZE"},
	{EightBitMIME, "8BITMIME"},
	{SMTPUTF8, "SMTPUTF8"},
	{Chunking, "CHUNKING"},
	{BinaryMIME, "BINARYMIME"},
	{DSN, "DSN"},
	{EnhancedStatusCodes, "ENHANCEDSTATUSCODES"},
	{StartTLS, "STARTTLS"},
	{Auth, "AUTH"},
	{FutureRelease, "FUTURERELEASE"},
	{MTPriority, "MT-PRIORITY"},
	{DeliverByExtension, "DELIVERBY"},
	{LimitsExtension, "LIMITS"},
}

// Capabilities is what a server said in its reply to EHLO or LHLO.
type Capabilities struct {
	Extensions Extension
	SizeMax    int64    // octets, 0: not told
	Auth       []string // mechanisms, in upper case
	Limits     Limits
}

// Limits are those of RFC 9422; 0 is none told.
type Limits struct {
	MailMax       int // transactions a session
	RcptMax       int // recipients a transaction
	RcptDomainMax int // different recipient domains a transaction
}

// ParseCapabilities reads the lines of a reply to EHLO; the first, which greets, is
// skipped. What it does not know it ignores.
func ParseCapabilities(lines []string) Capabilities {
	var c Capabilities
	for i, line := range lines {
		if i == 0 {
			continue
		}
		keyword, args, _ := strings.Cut(line, " ")
		keyword = strings.ToUpper(keyword)
		// "AUTH=LOGIN PLAIN" is what servers told clients older than RFC 2554.
		if rest, ok := strings.CutPrefix(keyword, "AUTH="); ok {
			keyword, args = "AUTH", rest+" "+args
		}
		c.add(keyword, args)
	}
	return c
}

// add takes one line of the reply.
func (c *Capabilities) add(keyword, args string) {
	for _, k := range keywords {
		if k.keyword == keyword {
			c.Extensions |= k.extension
		}
	}
	switch keyword {
	case "SIZE":
		if n, err := strconv.ParseInt(strings.TrimSpace(args), 10, 64); err == nil && n > 0 {
			c.SizeMax = n
		}
	case "AUTH":
		for _, m := range strings.Fields(strings.ToUpper(args)) {
			if !c.HasAuth(m) {
				c.Auth = append(c.Auth, m)
			}
		}
	case "LIMITS":
		c.Limits = ParseLimits(args)
	}
}

// HasAuth tells whether the mechanism, in upper case, was offered.
func (c *Capabilities) HasAuth(mechanism string) bool {
	for _, m := range c.Auth {
		if m == mechanism {
			return true
		}
	}
	return false
}

// limitDigits is the longest value of a limit (RFC 9422, 3: six digits and no more).
const limitDigits = 6

// ParseLimits reads the arguments of LIMITS. What is unknown or wrong is ignored
// (RFC 9422, 3).
func ParseLimits(args string) Limits {
	var l Limits
	for _, f := range strings.Fields(args) {
		name, value, _ := strings.Cut(f, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || len(value) > limitDigits || value[0] == '+' || value[0] == '0' {
			continue
		}
		switch strings.ToUpper(name) {
		case "MAILMAX":
			l.MailMax = n
		case "RCPTMAX":
			l.RcptMax = n
		case "RCPTDOMAINMAX":
			l.RcptDomainMax = n
		}
	}
	return l
}

// String returns the arguments of LIMITS, empty when there is no limit.
func (l Limits) String() string {
	var b []byte
	add := func(name string, n int) {
		if n <= 0 {
			return
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, name...), '=')
		b = strconv.AppendInt(b, int64(min(n, 999_999)), 10)
	}
	add("MAILMAX", l.MailMax)
	add("RCPTMAX", l.RcptMax)
	add("RCPTDOMAINMAX", l.RcptDomainMax)
	return string(b)
}
