// Package smtp has the words of SMTP, submission and LMTP that client and server share:
// replies, enhanced status codes, parameters of MAIL and RCPT.
//
// The main type is [Reply]. The server is in smtpserver, the client in smtpclient.
//
// RFC 5321, 2033, 2034, 3463, 6409.
package smtp

// EnhancedCode is class, subject and detail (RFC 3463, 2). The zero value is none.
type EnhancedCode [3]int

// Reply is a server's answer to one command (RFC 5321, 4.2).
type Reply struct {
	Code     int          // 200 to 599
	Enhanced EnhancedCode // printed at the start of each line where the code has one
	Lines    []string     // text without code, CR or LF; at least one line, may be empty
}

// Temporary tells whether the reply is 4yz: the client may try again later.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent tells whether the reply is 5yz.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }
