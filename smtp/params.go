package smtp

import (
	"strconv"
	"strings"
	"time"
)

// Body is the value of BODY: what the content may hold (RFC 6152, RFC 3030).
type Body uint8

// The values of BODY.
const (
	BodyUnset Body = iota // not given: 7BIT
	Body7Bit
	Body8BitMIME
	BodyBinaryMIME
)

// String returns the value of BODY, empty when it was not given.
func (b Body) String() string {
	return [...]string{"", "7BIT", "8BITMIME", "BINARYMIME"}[b&3]
}

// DeliverBy is the value of BY (RFC 2852, 4).
type DeliverBy struct {
	Within time.Duration // from the moment the command was received; may be negative with Notify
	Return bool          // by-mode R: not delivered in time, give it back; else N: tell of the delay
	Trace  bool          // by-trace T
}

// MailParams are the parameters of MAIL. The zero value has none.
type MailParams struct {
	Size        int64 // SIZE, 0: not given
	Body        Body  // BODY
	SMTPUTF8    bool  // SMTPUTF8
	Return      DSNReturn
	EnvID       string        // ENVID, decoded
	Auth        string        // AUTH, decoded; "<>" for nobody known, empty: not given (RFC 4954, 5)
	HoldFor     time.Duration // HOLDFOR, 0: not given (RFC 4865)
	HoldUntil   time.Time     // HOLDUNTIL, zero: not given
	Priority    int           // MT-PRIORITY, −9 to 9 (RFC 6710)
	HasPriority bool          // MT-PRIORITY was given
	By          *DeliverBy    // BY
}

// RcptParams are the parameters of RCPT. The zero value has none.
type RcptParams struct {
	Notify   DSNNotify
	Original string // ORCPT: "type;address", the address decoded from xtext
}

// Limits of parameter values, in octets.
const (
	envIDMax      = 100 // RFC 3461, 4.4
	orcptMax      = 500 // RFC 3461, 4.2
	authMax       = 500 // RFC 4954, 4.3
	sizeDigits    = 20  // RFC 1870, 5
	holdForDigits = 9   // RFC 4865, 4
	byDigits      = 9   // RFC 2852, 4
	priorityMax   = 9   // RFC 6710, 4.1
	holdUntilMax  = 64
	mailParamsMax = 16 // parameters of one command
)

// Errors for parameters.
var (
	errParamSyntax = NewError(501, EnhancedCode{5, 5, 4}, "Syntax error in parameters")
	// RFC 5321, 4.1.1.11: 555 for parameters that are not recognized.
	errParamUnknown = NewError(555, EnhancedCode{5, 5, 4}, "Parameter not recognized or not implemented")
)

// ParseMailParams reads what stands behind the path of MAIL. Parameters of extensions
// that are not in offered are unknown. The error is a *Error for the peer.
func ParseMailParams(s string, offered Extension) (MailParams, error) {
	var p MailParams
	var seen uint32
	err := eachParam(s, func(keyword, value string, has bool) error {
		i := lookupParam(mailParams[:], keyword)
		if i < 0 || !offered.Has(mailParams[i].extension) {
			return errParamUnknown
		}
		if seen&(1<<i) != 0 || has != mailParams[i].hasValue || !mailParams[i].parse(&p, value) {
			return errParamSyntax
		}
		seen |= 1 << i
		return nil
	})
	if err != nil {
		return MailParams{}, err
	}
	// RFC 4865, 4: one of the two at the most.
	if p.HoldFor != 0 && !p.HoldUntil.IsZero() {
		return MailParams{}, errParamSyntax
	}
	if !p.SMTPUTF8 && (!isASCII(p.EnvID) || !isASCII(p.Auth)) {
		return MailParams{}, errParamSyntax
	}
	return p, nil
}

// ParseRcptParams reads what stands behind the path of RCPT. Parameters of extensions
// that are not in offered are unknown. The error is a *Error for the peer.
func ParseRcptParams(s string, offered Extension) (RcptParams, error) {
	var p RcptParams
	var seenNotify, seenOriginal bool
	err := eachParam(s, func(keyword, value string, has bool) error {
		if !offered.Has(DSN) {
			return errParamUnknown
		}
		ok := false
		switch {
		case strings.EqualFold(keyword, "NOTIFY"):
			ok = !seenNotify
			if ok {
				p.Notify, ok = ParseDSNNotify(value)
			}
			seenNotify = true
		case strings.EqualFold(keyword, "ORCPT"):
			ok = !seenOriginal
			if ok {
				p.Original, ok = parseORCPT(value)
			}
			seenOriginal = true
		default:
			return errParamUnknown
		}
		if !ok {
			return errParamSyntax
		}
		return nil
	})
	if err != nil {
		return RcptParams{}, err
	}
	return p, nil
}

// mailParam is a parameter of MAIL and the extension that brings it.
type mailParam struct {
	keyword   string
	extension Extension
	hasValue  bool
	parse     func(p *MailParams, value string) bool
}

var mailParams = [...]mailParam{
	{"SIZE", Size, true, parseSize},
	{"BODY", EightBitMIME, true, parseBody},
	{"SMTPUTF8", SMTPUTF8, false, func(p *MailParams, _ string) bool { p.SMTPUTF8 = true; return true }},
	{"RET", DSN, true, parseReturn},
	{"ENVID", DSN, true, parseEnvID},
	{"AUTH", Auth, true, parseAuth},
	{"HOLDFOR", FutureRelease, true, parseHoldFor},
	{"HOLDUNTIL", FutureRelease, true, parseHoldUntil},
	{"MT-PRIORITY", MTPriority, true, parsePriority},
	{"BY", DeliverByExtension, true, parseBy},
}

func lookupParam(params []mailParam, keyword string) int {
	for i := range params {
		if strings.EqualFold(params[i].keyword, keyword) {
			return i
		}
	}
	return -1
}

// eachParam calls f for each esmtp-param (RFC 5321, 4.1.2). Runs of spaces are allowed
// between them, because clients send them.
func eachParam(s string, f func(keyword, value string, has bool) error) error {
	for n := 0; ; n++ {
		for s != "" && s[0] == ' ' {
			s = s[1:]
		}
		if s == "" {
			return nil
		}
		if n == mailParamsMax {
			return errParamSyntax
		}
		var word string
		word, s, _ = strings.Cut(s, " ")
		keyword, value, has := strings.Cut(word, "=")
		if !isKeyword(keyword) || has && !isParamValue(value) {
			return errParamSyntax
		}
		if err := f(keyword, value, has); err != nil {
			return err
		}
	}
}

// isKeyword is esmtp-keyword: a letter or digit, then letters, digits and hyphens.
func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}

// isParamValue is esmtp-value with RFC 6531's UTF-8: neither controls, space nor "=".
func isParamValue(s string) bool { return s != "" && isXchars(s) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func isDigits(s string, max int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= max
}

func parseSize(p *MailParams, value string) bool {
	if !isDigits(value, sizeDigits) {
		return false
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		n = 1<<63 - 1 // twenty digits may be more than an int64: as large as can be
	}
	p.Size = n
	return true
}

func parseBody(p *MailParams, value string) bool {
	for b := Body7Bit; b <= BodyBinaryMIME; b++ {
		if strings.EqualFold(value, b.String()) {
			p.Body = b
			return true
		}
	}
	return false
}

func parseReturn(p *MailParams, value string) bool {
	switch {
	case strings.EqualFold(value, "FULL"):
		p.Return = ReturnFull
	case strings.EqualFold(value, "HDRS"):
		p.Return = ReturnHeaders
	default:
		return false
	}
	return true
}

func parseEnvID(p *MailParams, value string) bool {
	id, ok := DecodeXtext(value)
	p.EnvID = id
	return ok && len(value) <= envIDMax && isPrintable(id)
}

func parseAuth(p *MailParams, value string) bool {
	mailbox, ok := DecodeXtext(value)
	p.Auth = mailbox
	return ok && len(value) <= authMax && isPrintable(mailbox)
}

func parseHoldFor(p *MailParams, value string) bool {
	if !isDigits(value, holdForDigits) {
		return false
	}
	n, err := strconv.Atoi(value)
	p.HoldFor = time.Duration(n) * time.Second
	return err == nil && n > 0
}

func parseHoldUntil(p *MailParams, value string) bool {
	if len(value) > holdUntilMax {
		return false
	}
	t, err := time.Parse(time.RFC3339, value)
	p.HoldUntil = t
	return err == nil && !t.IsZero()
}

func parsePriority(p *MailParams, value string) bool {
	digits := strings.TrimPrefix(value, "-")
	if !isDigits(digits, 1) {
		return false
	}
	n := int(digits[0] - '0')
	if digits != value {
		n = -n
	}
	p.Priority, p.HasPriority = n, true
	return -priorityMax <= n && n <= priorityMax
}

// parseBy reads by-time ";" by-mode [by-trace] (RFC 2852, 4).
func parseBy(p *MailParams, value string) bool {
	seconds, mode, _ := strings.Cut(value, ";")
	digits := strings.TrimLeft(seconds, "+-")
	if len(seconds)-len(digits) > 1 || !isDigits(digits, byDigits) {
		return false
	}
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return false
	}
	by := &DeliverBy{Within: time.Duration(n) * time.Second}
	switch strings.ToUpper(mode) {
	case "R":
		by.Return = true
	case "RT":
		by.Return, by.Trace = true, true
	case "N":
	case "NT":
		by.Trace = true
	default:
		return false
	}
	p.By = by
	// RFC 2852, 4.1: with by-mode R the time is greater than zero.
	return !by.Return || n > 0
}

// parseORCPT reads addr-type ";" xtext (RFC 3461, 4.2).
func parseORCPT(value string) (string, bool) {
	kind, encoded, ok := strings.Cut(value, ";")
	if !ok || !isKeyword(kind) || len(value) > orcptMax {
		return "", false
	}
	a, ok := DecodeXtext(encoded)
	if !ok || a == "" || !isPrintable(a) {
		return "", false
	}
	return kind + ";" + a, true
}

// isPrintable tells that s, decoded, may go into a header field or a log: no controls.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// Needs returns the extensions that the parameters need to be sent at all. Those that
// only inform (SIZE, and RET, ENVID, AUTH) are left out by a client that cannot send them.
func (p *MailParams) Needs() Extension {
	var e Extension
	if p.SMTPUTF8 {
		e |= SMTPUTF8
	}
	switch p.Body {
	case Body8BitMIME:
		e |= EightBitMIME
	case BodyBinaryMIME:
		e |= BinaryMIME | Chunking
	}
	return e
}

// AppendTo appends the parameters that offered allows, each with a space before it.
func (p *MailParams) AppendTo(b []byte, offered Extension) []byte {
	if p.Size > 0 && offered.Has(Size) {
		b = strconv.AppendInt(append(b, " SIZE="...), p.Size, 10)
	}
	if p.Body != BodyUnset && offered.Has(EightBitMIME) {
		b = append(append(b, " BODY="...), p.Body.String()...)
	}
	if p.SMTPUTF8 && offered.Has(SMTPUTF8) {
		b = append(b, " SMTPUTF8"...)
	}
	if offered.Has(DSN) {
		if p.Return != ReturnUnset {
			b = append(append(b, " RET="...), p.Return.String()...)
		}
		if p.EnvID != "" {
			b = AppendXtext(append(b, " ENVID="...), p.EnvID)
		}
	}
	if p.Auth != "" && offered.Has(Auth) {
		b = AppendXtext(append(b, " AUTH="...), p.Auth)
	}
	if offered.Has(FutureRelease) {
		if p.HoldFor > 0 {
			b = strconv.AppendInt(append(b, " HOLDFOR="...), int64(p.HoldFor/time.Second), 10)
		} else if !p.HoldUntil.IsZero() {
			b = p.HoldUntil.UTC().AppendFormat(append(b, " HOLDUNTIL="...), time.RFC3339)
		}
	}
	if p.HasPriority && offered.Has(MTPriority) {
		b = strconv.AppendInt(append(b, " MT-PRIORITY="...), int64(p.Priority), 10)
	}
	if p.By != nil && offered.Has(DeliverByExtension) {
		b = p.By.appendTo(append(b, " BY="...))
	}
	return b
}

func (d *DeliverBy) appendTo(b []byte) []byte {
	b = strconv.AppendInt(b, int64(d.Within/time.Second), 10)
	mode := byte('N')
	if d.Return {
		mode = 'R'
	}
	b = append(b, ';', mode)
	if d.Trace {
		b = append(b, 'T')
	}
	return b
}

// AppendTo appends the parameters if offered has DSN, each with a space before it.
func (p *RcptParams) AppendTo(b []byte, offered Extension) []byte {
	if !offered.Has(DSN) {
		return b
	}
	if p.Notify != 0 {
		b = append(append(b, " NOTIFY="...), p.Notify.String()...)
	}
	if kind, a, ok := strings.Cut(p.Original, ";"); ok {
		b = append(append(append(b, " ORCPT="...), kind...), ';')
		b = AppendXtext(b, a)
	}
	return b
}
