package email

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"postroad/internal/search"
)

// addText adds the text of a condition to a filter (RFC 8621, 4.4.1): words that must all
// be there, and phrases in matched single or double quotes, in which a backslash stands
// before a quote or a backslash. A quote that nothing matches, or within a word ("don't"),
// is a sign like others. NOT before a word or phrase, as people type it, is without it. A
// word that ends with * is the beginning of one.
func (f *emailFilter) addText(fields search.Fields, header, text string) *filterNode {
	all := &filterNode{op: opAnd}
	not := false
	add := func(q *search.Query) {
		n := f.leaf(&textTest{fields: fields, header: header, query: q})
		if not {
			n = &filterNode{op: opNot, kids: []*filterNode{n}}
		}
		all.kids = append(all.kids, n)
		not = false
	}
	for {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
		if text == "" {
			return all
		}
		if words, rest, ok := cutPhrase(text); ok {
			// What ParseQueryIn takes for a phrase ends at a double quote, which no word has.
			add(search.ParseQueryIn(fields, `"`+strings.ReplaceAll(words, `"`, " ")+`"`))
			text = rest
			continue
		}
		end := strings.IndexFunc(text, unicode.IsSpace)
		if end < 0 {
			end = len(text)
		}
		word := text[:end]
		text = text[end:]
		switch {
		case word == "NOT" && strings.TrimSpace(text) != "":
			not = true
		case isPrefix(word):
			add(search.ParseQueryIn(fields, word))
		default:
			add(search.Words(fields, word))
		}
	}
}

// leaf adds a test of texts.
func (f *emailFilter) leaf(t *textTest) *filterNode {
	t.number = len(f.texts)
	f.texts = append(f.texts, t)
	n := &filterNode{op: opText, text: t}
	if t.header != "" {
		n.op = opHeader
	}
	return n
}

// isPrefix tells whether a word is letters and digits with a * behind them.
func isPrefix(word string) bool {
	letters, ok := strings.CutSuffix(word, "*")
	return ok && letters != "" && strings.IndexFunc(letters, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) < 0
}

// cutPhrase cuts a phrase off the front of a text, without its quotes; false where there is
// none.
func cutPhrase(text string) (words, rest string, ok bool) {
	quote := text[0]
	if quote != '"' && quote != '\'' {
		return "", text, false
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`'"\`, text[i+1]) >= 0:
			i++
			b.WriteByte(text[i])
		case c == quote:
			next, _ := utf8.DecodeRuneInString(text[i+1:])
			if quote == '\'' && (unicode.IsLetter(next) || unicode.IsDigit(next)) {
				b.WriteByte(c) // an apostrophe
				continue
			}
			return b.String(), text[i+1:], true
		default:
			b.WriteByte(c)
		}
	}
	return "", text, false
}
