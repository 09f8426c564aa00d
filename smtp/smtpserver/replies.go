package smtpserver

import "postroad/smtp"

// Replies of the server itself.
var (
	tooManyConns  = smtp.NewError(421, smtp.EnhancedCode{4, 7, 0}, "Too many connections, try again later")
	tooManyErrors = smtp.NewError(421, smtp.EnhancedCode{4, 7, 0}, "Too many errors, closing")
	tooManyOctets = smtp.NewError(421, smtp.EnhancedCode{4, 7, 0}, "Too much data in one connection, closing")
	tooManyMails  = smtp.NewError(421, smtp.EnhancedCode{4, 7, 0}, "Too many messages in one connection, closing")
	tooManyAuth   = smtp.NewError(421, smtp.EnhancedCode{4, 7, 0}, "Too many failed log-ins, closing")
	tooManyRcpts  = smtp.NewError(452, smtp.EnhancedCode{4, 5, 3}, "Too many recipients")
	shuttingDown  = smtp.NewError(421, smtp.EnhancedCode{4, 3, 2}, "Shutting down, try again later")
	timedOut      = smtp.NewError(421, smtp.EnhancedCode{4, 4, 2}, "Timeout, closing")
	panicked      = smtp.NewError(421, smtp.EnhancedCode{4, 3, 0}, "Internal error, closing")
	internalError = smtp.NewError(451, smtp.EnhancedCode{4, 3, 0}, "Internal error, try again later")
	earlyTalker   = smtp.NewError(554, smtp.EnhancedCode{5, 5, 0}, "You spoke before the greeting")

	unknownCommand = smtp.NewError(500, smtp.EnhancedCode{5, 5, 2}, "Command not recognized")
	notImplemented = smtp.NewError(502, smtp.EnhancedCode{5, 5, 1}, "Command not implemented")
	lineTooLong    = smtp.NewError(500, smtp.EnhancedCode{5, 5, 2}, "Line too long")
	lineControl    = smtp.NewError(500, smtp.EnhancedCode{5, 5, 2}, "CR or NUL within a command line")
	lineEnd        = smtp.NewError(521, smtp.EnhancedCode{5, 5, 2}, "Lines must end in CRLF, closing")
	pipelined      = smtp.NewError(521, smtp.EnhancedCode{5, 5, 0}, "Improper use of pipelining, closing")
	notSMTP        = smtp.NewError(521, smtp.EnhancedCode{5, 7, 0}, "This is not what you are looking for")
	badSyntax      = smtp.NewError(501, smtp.EnhancedCode{5, 5, 4}, "Syntax error in arguments")
	noArguments    = smtp.NewError(501, smtp.EnhancedCode{5, 5, 4}, "No arguments allowed")
	badSequence    = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "Bad sequence of commands")
	sayHello       = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "Say hello first")
	needMail       = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "MAIL first")
	nestedMail     = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "Nested MAIL")
	noRecipients   = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "No valid recipients")
	needBDAT       = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "This content needs BDAT")
	needTLS        = smtp.NewError(530, smtp.EnhancedCode{5, 7, 0}, "STARTTLS first")
	needAuth       = smtp.NewError(530, smtp.EnhancedCode{5, 7, 0}, "Authentication required")
	badSender      = smtp.NewError(501, smtp.EnhancedCode{5, 1, 7}, "Bad sender address syntax")
	badRecipient   = smtp.NewError(501, smtp.EnhancedCode{5, 1, 3}, "Bad recipient address syntax")
	needUTF8       = smtp.NewError(553, smtp.EnhancedCode{5, 6, 7}, "Address needs SMTPUTF8")
	tooLarge       = smtp.NewError(552, smtp.EnhancedCode{5, 3, 4}, "Message too large")
	holdTooLong    = smtp.NewError(501, smtp.EnhancedCode{5, 5, 4}, "Release time out of range")
	byTooSoon      = smtp.NewError(501, smtp.EnhancedCode{5, 5, 4}, "Deliver-by time too small")

	badContent = smtp.NewError(554, smtp.EnhancedCode{5, 6, 0}, "Content must have CRLF line ends, and no bare CR, LF or NUL")
	unsureEnd  = smtp.NewError(521, smtp.EnhancedCode{5, 6, 0}, "End of content with a bare CR or LF, closing")
	aborted    = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "Content was broken off")

	tlsUnavailable = smtp.NewError(502, smtp.EnhancedCode{5, 5, 1}, "STARTTLS is not offered here")
	tlsAlready     = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "TLS is active already")
	authNotHere    = smtp.NewError(502, smtp.EnhancedCode{5, 5, 1}, "AUTH is not offered here")
	authNeedsTLS   = smtp.NewError(538, smtp.EnhancedCode{5, 7, 11}, "Encryption required for authentication")
	authAlready    = smtp.NewError(503, smtp.EnhancedCode{5, 5, 1}, "Authenticated already")
	authUnknown    = smtp.NewError(504, smtp.EnhancedCode{5, 5, 4}, "No such authentication mechanism")
	authMalformed  = smtp.NewError(501, smtp.EnhancedCode{5, 5, 2}, "Malformed authentication response")
	authTooLong    = smtp.NewError(500, smtp.EnhancedCode{5, 5, 6}, "Authentication exchange line too long")
	authCancelled  = smtp.NewError(501, smtp.EnhancedCode{5, 7, 0}, "Authentication cancelled")
	authFailed     = smtp.NewError(535, smtp.EnhancedCode{5, 7, 8}, "Authentication credentials invalid")
	authTemporary  = smtp.NewError(454, smtp.EnhancedCode{4, 7, 0}, "Temporary authentication failure")
	xclientDenied  = smtp.NewError(550, smtp.EnhancedCode{5, 7, 0}, "XCLIENT is not for you")
)

// Replies that are ready for the wire.
const (
	okReply        = "250 2.0.0 OK\r\n"
	mailReply      = "250 2.1.0 OK\r\n"
	rcptReply      = "250 2.1.5 OK\r\n"
	dataReply      = "354 Start mail input; end with <CRLF>.<CRLF>\r\n"
	quitReply      = "221 2.0.0 Bye\r\n"
	tlsReply       = "220 2.0.0 Ready to start TLS\r\n"
	authReply      = "235 2.7.0 Authentication succeeded\r\n"
	vrfyReply      = "252 2.5.0 Send some mail, I'll try my best\r\n"
	helpReply      = "214 2.0.0 See RFC 5321\r\n"
	challengeReply = "334 "
)
