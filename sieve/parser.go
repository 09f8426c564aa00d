package sieve

// node is a command or a test as it was written (RFC 5228, 8.2).
type node struct {
	name     string // in lower case
	at       position
	args     []*argument
	tests    []*node
	testList bool // the tests stand in parentheses
	block    []*node
	hasBlock bool
}

// argumentKind is what an argument is.
type argumentKind uint8

const (
	kindNumber argumentKind = iota + 1
	kindTag
	kindString
	kindStrings // a list; a single string will do (RFC 5228, 2.4.2.1)
)

var kindNames = map[argumentKind]string{
	kindNumber: "a number", kindTag: "a tag", kindString: "a string", kindStrings: "a string list",
}

// argument is one argument as it was written.
type argument struct {
	kind    argumentKind
	at      position
	tag     string
	number  uint64
	strings []literal
}

// literal is a string constant.
type literal struct {
	at    position
	value string
}

// parser turns tokens into nodes. After a fault it goes on behind the command.
type parser struct {
	lex    *lexer
	tok    token
	errors Errors
	limits Limits
	blocks int // open now
	tests  int
}

// parse reads a whole script.
func parse(src []byte, l Limits) ([]*node, Errors) {
	p := &parser{lex: newLexer(src), limits: l}
	p.advance()
	var commands []*node
	for p.tok.kind != tokenEnd && !p.full() {
		if p.tok.kind == '}' {
			p.fault(p.tok.at.errorf("this brace closes no block"))
			p.advance()
			continue
		}
		commands = append(commands, p.commands()...)
	}
	return commands, p.errors
}

func (p *parser) fault(e *Error) {
	if !p.full() {
		p.errors = append(p.errors, e)
	}
}

func (p *parser) full() bool { return len(p.errors) >= ErrorsMax }

// advance reads the next token that is none at fault.
func (p *parser) advance() {
	for {
		t, err := p.lex.next()
		if err == nil {
			p.tok = t
			return
		}
		p.fault(err)
		if p.full() {
			p.tok = token{at: p.lex.at()}
			return
		}
	}
}

// commands reads commands up to a closing brace or the end.
func (p *parser) commands() []*node {
	var list []*node
	for p.tok.kind != tokenEnd && p.tok.kind != '}' && !p.full() {
		if n := p.command(); n != nil {
			list = append(list, n)
		}
	}
	return list
}

// command reads one command; nil after a fault.
func (p *parser) command() *node {
	if p.tok.kind != tokenIdentifier {
		p.fault(p.tok.at.errorf("a command is expected here, not %s", p.tok))
		p.recover()
		return nil
	}
	n := p.head()
	if n == nil {
		p.recover()
		return nil
	}
	switch p.tok.kind {
	case ';':
		p.advance()
	case '{':
		if !p.readBlock(n) {
			return nil
		}
	default:
		p.fault(p.tok.at.errorf("%q must end with a semicolon or a block; %s stands here", n.name, p.tok))
		p.recover()
		return nil
	}
	return n
}

// readBlock reads the block that starts here.
func (p *parser) readBlock(n *node) bool {
	open := p.tok.at
	if p.blocks++; p.blocks > p.limits.BlockDepth {
		p.fault(open.errorf("blocks are nested deeper than %d", p.limits.BlockDepth))
		p.tok, p.lex.i = token{at: open}, len(p.lex.src) // the rest would only repeat it
		return false
	}
	p.advance()
	n.hasBlock = true
	n.block = p.commands()
	p.blocks--
	if p.tok.kind != '}' {
		if !p.full() {
			p.fault(open.errorf("the block that starts here is not closed"))
		}
		return false
	}
	p.advance()
	return true
}

// recover passes over the rest of a command: its semicolon, or its block unread.
func (p *parser) recover() {
	depth := 0
	for p.tok.kind != tokenEnd {
		switch p.tok.kind {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return // of the block around
			}
			if depth--; depth == 0 {
				p.advance()
				return
			}
		case ';':
			if depth == 0 {
				p.advance()
				return
			}
		}
		p.advance()
	}
}

// head reads name, arguments and tests; nil after a fault.
func (p *parser) head() *node {
	n := &node{name: p.tok.text, at: p.tok.at}
	p.advance()
	for {
		switch p.tok.kind {
		case tokenNumber:
			n.args = append(n.args, &argument{kind: kindNumber, at: p.tok.at, number: p.tok.number})
			p.advance()
		case tokenTag:
			n.args = append(n.args, &argument{kind: kindTag, at: p.tok.at, tag: p.tok.text})
			p.advance()
		case tokenString:
			n.args = append(n.args, &argument{kind: kindString, at: p.tok.at, strings: []literal{{p.tok.at, p.tok.text}}})
			p.advance()
		case '[':
			a := p.list()
			if a == nil {
				return nil
			}
			n.args = append(n.args, a)
		case tokenIdentifier:
			return p.below(n, p.oneTest)
		case '(':
			return p.below(n, p.testList)
		default:
			return n
		}
	}
}

// below reads the tests of a node, one floor deeper.
func (p *parser) below(n *node, read func(*node) bool) *node {
	if p.tests++; p.tests > p.limits.TestDepth {
		p.fault(p.tok.at.errorf("tests are nested deeper than %d", p.limits.TestDepth))
		p.tests--
		return nil
	}
	ok := read(n)
	p.tests--
	if !ok {
		return nil
	}
	return n
}

func (p *parser) oneTest(n *node) bool {
	t := p.head()
	if t == nil {
		return false
	}
	n.tests = []*node{t}
	return true
}

// testList reads tests in parentheses.
func (p *parser) testList(n *node) bool {
	n.testList = true
	for {
		p.advance() // over the parenthesis or comma
		if p.tok.kind != tokenIdentifier {
			p.fault(p.tok.at.errorf("a test is expected here, not %s", p.tok))
			return false
		}
		t := p.head()
		if t == nil {
			return false
		}
		n.tests = append(n.tests, t)
		switch p.tok.kind {
		case ',':
		case ')':
			p.advance()
			return true
		default:
			p.fault(p.tok.at.errorf("a comma or a closing parenthesis is expected here, not %s", p.tok))
			return false
		}
	}
}

// list reads a string list in brackets.
func (p *parser) list() *argument {
	a := &argument{kind: kindStrings, at: p.tok.at}
	for {
		p.advance() // over the bracket or comma
		if p.tok.kind != tokenString {
			p.fault(p.tok.at.errorf("a string is expected here, not %s", p.tok))
			return nil
		}
		a.strings = append(a.strings, literal{p.tok.at, p.tok.text})
		p.advance()
		switch p.tok.kind {
		case ',':
		case ']':
			p.advance()
			return a
		default:
			p.fault(p.tok.at.errorf("a comma or a closing bracket is expected here, not %s", p.tok))
			return nil
		}
	}
}

// String names a token in errors.
func (t token) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the script"
	case tokenIdentifier:
		return "the word \"" + t.text + "\""
	case tokenTag:
		return "the tag \":" + t.text + "\""
	case tokenNumber:
		return "a number"
	case tokenString:
		return "a string"
	}
	return "\"" + string(rune(t.kind)) + "\""
}
