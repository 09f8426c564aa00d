package imap

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/ianaindex"
)

// ErrCharset says that a search's charset is not known: NO [BADCHARSET] (RFC 9051, 6.4.4).
var ErrCharset = errors.New("imap: unknown charset")

// SearchProgram reads an optional CHARSET and search keys to the end. Strings come out
// as UTF-8. ErrCharset, which is no syntax error, stands besides Err.
func (d *Decoder) SearchProgram() (SearchKey, error) {
	if d.SkipWord("CHARSET") {
		d.SP()
		return d.CharsetProgram()
	}
	return d.program(nil)
}

// CharsetProgram reads the name of a charset and search keys to the end, as SORT and THREAD
// have them (search-criteria of RFC 5256, 5).
func (d *Decoder) CharsetProgram() (SearchKey, error) {
	name := d.AString()
	d.SP()
	if !d.OK() {
		return SearchKey{}, nil
	}
	decoder, known := charset(name)
	if !known {
		return SearchKey{}, ErrCharset
	}
	return d.program(decoder)
}

// program reads search keys to the end. Their strings are UTF-8 if there is no decoder.
func (d *Decoder) program(decoder *encoding.Decoder) (SearchKey, error) {
	d.keys = 0
	keys := []SearchKey{d.SearchKey(0)}
	for !d.Done() {
		d.SP()
		keys = append(keys, d.SearchKey(0))
	}
	if !d.OK() {
		return SearchKey{}, nil
	}
	program := keys[0]
	if len(keys) > 1 {
		program = SearchKey{Op: SearchAnd, Keys: keys}
	}
	bad := false
	program.Walk(func(k *SearchKey) {
		if decoder != nil {
			text, err := decoder.String(k.Text)
			bad = bad || err != nil
			k.Text = text
		}
		bad = bad || !utf8.ValidString(k.Text)
	})
	if bad {
		d.Fail("text that is not of the charset")
	}
	return program, nil
}

// charset returns what decodes a charset, nil for UTF-8 and ASCII.
func charset(name string) (*encoding.Decoder, bool) {
	if EqualFold(name, "UTF-8") || EqualFold(name, "US-ASCII") || EqualFold(name, "UTF8") {
		return nil, true
	}
	e, err := ianaindex.IANA.Encoding(name)
	if err != nil || e == nil {
		return nil, false
	}
	return e.NewDecoder(), true
}

// searchFlags are the keys that ask for a flag, and with UN or OLD for its absence.
var searchFlags = map[string]Flag{
	"ANSWERED": FlagAnswered, "DELETED": FlagDeleted, "DRAFT": FlagDraft, "FLAGGED": FlagFlagged,
	"SEEN": FlagSeen, "RECENT": FlagRecent,
}

// searchTexts are the keys that take a string.
var searchTexts = map[string]SearchOp{
	"BCC": SearchBcc, "BODY": SearchBody, "CC": SearchCc, "FROM": SearchFrom, "SUBJECT": SearchSubject,
	"TEXT": SearchText, "TO": SearchTo, "EMAILID": SearchEmailID, "THREADID": SearchThreadID,
}

// searchDates are the keys that take a date.
var searchDates = map[string]SearchOp{
	"BEFORE": SearchBefore, "ON": SearchOn, "SINCE": SearchSince,
	"SENTBEFORE": SearchSentBefore, "SENTON": SearchSentOn, "SENTSINCE": SearchSentSince,
	"SAVEDBEFORE": SearchSavedBefore, "SAVEDON": SearchSavedOn, "SAVEDSINCE": SearchSavedSince,
}

// SearchKey reads one search key, depth levels down.
func (d *Decoder) SearchKey(depth int) SearchKey {
	if d.keys++; d.keys > SearchKeysMax {
		d.Fail("too many search keys")
	}
	if depth > SearchDepthMax {
		d.Fail("search keys too deep")
	}
	if !d.OK() {
		return SearchKey{}
	}
	switch c := d.peek(); {
	case c >= '0' && c <= '9', c == '*', c == '$':
		return SearchKey{Op: SearchNumbers, Set: d.NumSet(false)}
	case c == '(':
		return d.searchList(depth)
	}
	at := d.pos
	word := d.Keyword()
	if k, ok := searchFlag(word); ok {
		return k
	}
	if op, ok := searchTexts[word]; ok {
		d.SP()
		return SearchKey{Op: op, Text: d.AString()}
	}
	if op, ok := searchDates[word]; ok {
		d.SP()
		return SearchKey{Op: op, Date: d.Date()}
	}
	k, ok := d.searchOther(word, depth)
	if !ok && d.err == nil {
		d.err = &SyntaxError{at, "unknown search key"}
	}
	return k
}

func (d *Decoder) searchList(depth int) SearchKey {
	k := SearchKey{Op: SearchAnd}
	d.Expect('(')
	for {
		k.Keys = append(k.Keys, d.SearchKey(depth+1))
		if d.Skip(')') || !d.OK() {
			return k
		}
		d.SP()
	}
}

// searchFlag returns the key of a word such as SEEN, UNSEEN, OLD.
func searchFlag(word string) (SearchKey, bool) {
	recent := SearchKey{Op: SearchFlag, Flag: FlagRecent}
	switch word {
	case "ALL":
		return SearchKey{Op: SearchAnd}, true
	case "OLD":
		return SearchKey{Op: SearchNot, Keys: []SearchKey{recent}}, true
	case "NEW": // RFC 3501, 6.4.4: RECENT UNSEEN
		unseen := SearchKey{Op: SearchNot, Keys: []SearchKey{{Op: SearchFlag, Flag: FlagSeen}}}
		return SearchKey{Op: SearchAnd, Keys: []SearchKey{recent, unseen}}, true
	}
	if f, ok := searchFlags[word]; ok {
		return SearchKey{Op: SearchFlag, Flag: f}, true
	}
	if rest, ok := strings.CutPrefix(word, "UN"); ok && rest != "RECENT" {
		if f, ok := searchFlags[rest]; ok {
			return SearchKey{Op: SearchNot, Keys: []SearchKey{{Op: SearchFlag, Flag: f}}}, true
		}
	}
	return SearchKey{}, false
}

// searchOther reads the arguments of the keys that are of no family.
func (d *Decoder) searchOther(word string, depth int) (SearchKey, bool) {
	k := SearchKey{}
	if word == "SAVEDATESUPPORTED" {
		return SearchKey{Op: SearchSaveDate}, true
	}
	switch word {
	case "KEYWORD", "UNKEYWORD", "HEADER", "LARGER", "SMALLER", "OLDER", "YOUNGER", "UID", "NOT", "OR", "MODSEQ", "FUZZY":
		d.SP()
	default:
		return k, false
	}
	switch word {
	case "KEYWORD":
		return SearchKey{Op: SearchFlag, Flag: d.Flag()}, true
	case "UNKEYWORD":
		return SearchKey{Op: SearchNot, Keys: []SearchKey{{Op: SearchFlag, Flag: d.Flag()}}}, true
	case "HEADER":
		k.Op, k.Field = SearchHeader, d.AString()
		d.SP()
		k.Text = d.AString()
	case "LARGER":
		k.Op, k.Number = SearchLarger, d.Number64()
	case "SMALLER":
		k.Op, k.Number = SearchSmaller, d.Number64()
	case "OLDER":
		k.Op, k.Number = SearchOlder, uint64(d.NonZero())
	case "YOUNGER":
		k.Op, k.Number = SearchYounger, uint64(d.NonZero())
	case "UID":
		k.Op, k.Set = SearchNumbers, d.NumSet(true)
	case "NOT":
		k.Op, k.Keys = SearchNot, []SearchKey{d.SearchKey(depth + 1)}
	case "FUZZY":
		k.Op, k.Keys = SearchFuzzy, []SearchKey{d.SearchKey(depth + 1)}
	case "OR":
		k.Op, k.Keys = SearchOr, []SearchKey{d.SearchKey(depth + 1)}
		d.SP()
		k.Keys = append(k.Keys, d.SearchKey(depth+1))
	case "MODSEQ":
		d.modSeqEntry()
		k.Op, k.Number = SearchModSeq, d.Number64()
	}
	return k, true
}

// modSeqEntry reads the optional entry name and type before a mod-sequence (RFC 7162,
// 3.1.5). Mod-sequences are kept for whole messages, so every entry has the message's.
func (d *Decoder) modSeqEntry() {
	if !d.Next('"') {
		return
	}
	d.ReadString()
	d.SP()
	if !d.SkipWord("priv") && !d.SkipWord("shared") && !d.SkipWord("all") {
		d.Fail(`expected "priv", "shared" or "all"`)
	}
	d.SP()
}
