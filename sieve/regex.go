package sieve

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// Faults of regular expressions.
var (
	errRegexLong   = errors.New("it is too long")
	errRegexLarge  = errors.New("it repeats too much")
	errRegexEscape = errors.New("a backslash may only stand before a character that is no letter or digit")
	errRegexClass  = errors.New("a bracket expression has no end")
	errRegexRepeat = fmt.Errorf("a repetition goes over %d", RegexRepeatMax)
	errRegexGroup  = errors.New("\"(?\" is no extended regular expression")
)

// regex is a compiled expression with its size in instructions: with the length of a text
// that bounds what matching it costs.
type regex struct {
	*regexp.Regexp
	instructions int
}

// compileRegex compiles a POSIX extended regular expression (draft-ietf-sieve-regex) for
// Go's engine, whose time is linear in the text: brackets and escapes are written anew, so
// that nothing of Perl's syntax has a meaning, and the longest match is taken.
func compileRegex(pattern string, c comparator, octetsMax int) (*regex, error) {
	if len(pattern) > octetsMax {
		return nil, errRegexLong
	}
	b := strings.Builder{}
	b.WriteString("(?s)")
	if c != octet {
		b.WriteString("(?i)")
	}
	for i := 0; i < len(pattern); {
		n, err := translateRegex(&b, pattern[i:])
		if err != nil {
			return nil, err
		}
		i += n
	}
	tree, err := syntax.Parse(b.String(), syntax.Perl)
	if err != nil {
		return nil, regexFault(err)
	}
	size := regexSize(tree)
	if size > RegexInstructionsMax {
		return nil, errRegexLarge
	}
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, regexFault(err)
	}
	re.Longest()
	return &regex{re, size}, nil
}

// regexFault takes the beginning off an error of the engine.
func regexFault(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}

// regexSize counts the instructions of an expression before its repetitions are written
// out. The parser bounds the depth of the tree.
func regexSize(t *syntax.Regexp) int {
	n := 1
	if t.Op == syntax.OpLiteral {
		n = len(t.Rune)
	}
	for _, sub := range t.Sub {
		n += regexSize(sub)
	}
	if t.Op == syntax.OpRepeat {
		n *= max(t.Min, t.Max, 1)
	}
	return min(n, 1<<30)
}

// translateRegex writes the first element of s and returns its length.
func translateRegex(b *strings.Builder, s string) (int, error) {
	switch s[0] {
	case '\\':
		if len(s) < 2 || isAlpha(s[1]) && s[1] != '_' || isDigit(s[1]) {
			return 0, errRegexEscape
		}
		b.WriteString(regexp.QuoteMeta(s[1:2]))
		return 2, nil
	case '[':
		return translateBrackets(b, s)
	case '(':
		if strings.HasPrefix(s, "(?") {
			return 0, errRegexGroup
		}
	case '*', '+', '?':
		b.WriteByte(s[0])
		n := 1
		for n < len(s) && strings.IndexByte("*+?", s[n]) >= 0 {
			n++ // repeated operators: what they mean together is the star, or itself
		}
		if n > 1 {
			return 0, errors.New("repetition operators stand one behind the other")
		}
		return 1, nil
	case '{':
		return translateInterval(b, s)
	}
	b.WriteByte(s[0])
	return 1, nil
}

// translateInterval checks {n}, {n,} and {n,m}; other braces stand for themselves.
func translateInterval(b *strings.Builder, s string) (int, error) {
	end := strings.IndexByte(s, '}')
	if end < 2 || !isDigit(s[1]) {
		b.WriteString(`\{`)
		return 1, nil
	}
	low, high, _ := strings.Cut(s[1:end], ",")
	for _, number := range []string{low, high} {
		if number == "" {
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil {
			b.WriteString(`\{`)
			return 1, nil
		}
		if n > RegexRepeatMax {
			return 0, errRegexRepeat
		}
	}
	b.WriteString(s[:end+1])
	return end + 1, nil
}

// translateBrackets writes a bracket expression, in which POSIX knows no escapes.
func translateBrackets(b *strings.Builder, s string) (int, error) {
	b.WriteByte('[')
	i := 1
	if i < len(s) && s[i] == '^' {
		b.WriteByte('^')
		i++
	}
	for start := i; i < len(s); {
		switch c := s[i]; {
		case c == ']' && i > start:
			b.WriteByte(']')
			return i + 1, nil
		case c == '[' && i+1 < len(s) && strings.IndexByte(":.=", s[i+1]) >= 0:
			end := strings.Index(s[i+2:], s[i+1:i+2]+"]")
			if end < 0 {
				return 0, errRegexClass
			}
			inner := s[i+2 : i+2+end]
			if s[i+1] == ':' {
				b.WriteString("[:" + inner + ":]")
			} else {
				b.WriteString(regexp.QuoteMeta(inner)) // one collating element is itself
			}
			i += end + 4
		case c == '\\' || c == '[' || c == ']' || c == '^' || c == '&' || c == '~':
			b.WriteByte('\\')
			b.WriteByte(c)
			i++
		default:
			b.WriteByte(c)
			i++
		}
	}
	return 0, errRegexClass
}
