package managesieve

import (
	"bytes"
	"unicode/utf8"
)

// Limits of the grammar (RFC 5804, 4).
const (
	// QuotedMax is the longest quoted string, in octets between the quotes.
	QuotedMax = 1024
	// argumentsMax is above what any command takes.
	argumentsMax = 3
	// numberMax is the largest number.
	numberMax = 1<<32 - 1
)

// argument is one argument of a command.
type argument struct {
	number bool
	value  int64  // of a number
	text   []byte // of a string, unquoted
	huge   bool   // a literal over the limit, which was read over
}

// syntaxError tells what is wrong with a command. After a fatal one nobody knows where the
// next command begins.
type syntaxError struct {
	text  string
	fatal bool
}

func (e *syntaxError) Error() string { return "managesieve: " + e.text }

// noLiteral is returned where no literal follows.
const noLiteral = -1

// parseArguments reads what follows the command's name, or a literal, to the end of the
// line: a space before each argument. literal is the size of the literal that follows.
func parseArguments(line []byte, args []argument) (_ []argument, literal int64, err error) {
	for len(line) > 0 {
		switch {
		case line[0] != ' ':
			return args, noLiteral, &syntaxError{text: "A space parts arguments"}
		case len(args) >= argumentsMax:
			return args, noLiteral, &syntaxError{text: "Too many arguments"}
		case len(line) == 1:
			return args, noLiteral, &syntaxError{text: "A space at the end of the line"}
		}
		var a argument
		switch first := line[1]; {
		case first == '"':
			a.text, line, err = parseQuoted(line[2:])
		case first == '{':
			literal, err = parseLiteral(line[1:])
			return args, literal, err
		case '0' <= first && first <= '9':
			a.number = true
			a.value, line, err = parseNumber(line[1:])
		default:
			err = &syntaxError{text: "Neither a string nor a number"}
		}
		if err != nil {
			return args, noLiteral, err
		}
		args = append(args, a)
	}
	return args, noLiteral, nil
}

// parseQuoted reads a quoted string from behind its first quote.
func parseQuoted(p []byte) (text, rest []byte, err error) {
	for i := 0; i < len(p); i++ {
		switch b := p[i]; {
		case i > QuotedMax:
			// The quote that ends it may be anywhere.
			return nil, nil, &syntaxError{text: "A quoted string is too long, send a literal", fatal: true}
		case b == '"':
			if !utf8.Valid(text) {
				return nil, nil, &syntaxError{text: "A quoted string is not UTF-8"}
			}
			return text, p[i+1:], nil
		case b == '\\':
			if i++; i == len(p) || p[i] != '"' && p[i] != '\\' {
				return nil, nil, &syntaxError{text: "Only a quote or a backslash follows a backslash", fatal: true}
			}
			text = append(text, p[i])
		case b == 0 || b == '\r' || b == '\n':
			return nil, nil, &syntaxError{text: "NUL, CR or LF in a quoted string", fatal: true}
		default:
			text = append(text, b)
		}
	}
	return nil, nil, &syntaxError{text: "A quoted string does not end", fatal: true}
}

// parseNumber reads a number, which has no zeros before it (RFC 5804, 4).
func parseNumber(p []byte) (n int64, rest []byte, err error) {
	i := 0
	for ; i < len(p) && '0' <= p[i] && p[i] <= '9'; i++ {
		if n = n*10 + int64(p[i]-'0'); n > numberMax {
			return 0, nil, &syntaxError{text: "The number is too large"}
		}
	}
	if i == 0 || i > 1 && p[0] == '0' {
		return 0, nil, &syntaxError{text: "Not a number"}
	}
	return n, p[i:], nil
}

// parseLiteral reads the head of a literal, which is the end of its line: {n+}. The other
// kind, {n}, only servers send (RFC 5804, 4): a client that does waits for an answer, or
// sends what would be taken for commands.
func parseLiteral(p []byte) (int64, error) {
	n, rest, err := parseNumber(p[1:])
	if err != nil || string(rest) != "+}" {
		return noLiteral, &syntaxError{text: "A literal begins with {n+} at the end of the line", fatal: true}
	}
	return n, nil
}

// trailingLiteral finds out, of a line that is wrong, whether its end announces a literal
// and so octets that are no command.
func trailingLiteral(line []byte) (int64, error) {
	if !bytes.HasSuffix(line, []byte{'}'}) {
		return noLiteral, nil
	}
	at := bytes.LastIndexByte(line, '{')
	if at < 0 {
		return noLiteral, nil
	}
	return parseLiteral(line[at:])
}
