package contacts

import (
	"encoding/json"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"postroad/jmap"
)

// texts are what the conditions on text look into (RFC 9610, 3.3.1), by the condition's
// name.
var texts = map[string]func(c *card) []string{
	"text":          allTexts,
	"name":          func(c *card) []string { return append(nameComponents(c, ""), member(c.value["name"], "full")...) },
	"name/given":    func(c *card) []string { return nameComponents(c, "given") },
	"name/surname":  func(c *card) []string { return nameComponents(c, "surname") },
	"name/surname2": func(c *card) []string { return nameComponents(c, "surname2") },
	"nickname":      func(c *card) []string { return members(c.value["nicknames"], "name") },
	"organization":  func(c *card) []string { return members(c.value["organizations"], "name") },
	"email":         func(c *card) []string { return members(c.value["emails"], "address", "label") },
	"phone":         func(c *card) []string { return members(c.value["phones"], "number", "label") },
	"onlineService": func(c *card) []string { return members(c.value["onlineServices"], "service", "uri", "user", "label") },
	"address":       addressTexts,
	"note":          func(c *card) []string { return members(c.value["notes"], "note") },
}

// nameComponents are the values of the components of a kind; of all for "".
func nameComponents(c *card, kind string) []string {
	var name struct {
		Components []struct{ Kind, Value string } `json:"components"`
	}
	if json.Unmarshal(c.value["name"], &name) != nil {
		return nil
	}
	var out []string
	for _, part := range name.Components {
		if kind == "" || part.Kind == kind {
			out = append(out, part.Value)
		}
	}
	return out
}

// member are the String properties of those names of an object.
func member(raw json.RawMessage, names ...string) []string {
	var o jmap.Properties
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	var out []string
	for _, name := range names {
		if s := stringOf(o[name]); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// members is member of each entry of a map.
func members(raw json.RawMessage, names ...string) []string {
	var entries jmap.Properties
	if json.Unmarshal(raw, &entries) != nil {
		return nil
	}
	var out []string
	for _, entry := range entries {
		out = append(out, member(entry, names...)...)
	}
	return out
}

// addressTexts are the components and the full forms of the addresses.
func addressTexts(c *card) []string {
	var entries map[string]struct {
		Full       string                   `json:"full"`
		Components []struct{ Value string } `json:"components"`
	}
	if json.Unmarshal(c.value["addresses"], &entries) != nil {
		return nil
	}
	var out []string
	for _, a := range entries {
		out = append(out, a.Full)
		for _, part := range a.Components {
			out = append(out, part.Value)
		}
	}
	return out
}

// allTexts is every text of a card but those that no person wrote.
func allTexts(c *card) []string {
	var out []string
	for _, name := range []string{"name", "nicknames", "organizations", "titles", "emails", "phones", "onlineServices", "addresses", "notes", "keywords", "personalInfo", "anniversaries", "links"} {
		var v any
		if json.Unmarshal(c.value[name], &v) == nil {
			out = appendTexts(out, v)
		}
	}
	return out
}

// appendTexts gathers the Strings within a value.
func appendTexts(out []string, v any) []string {
	switch v := v.(type) {
	case string:
		return append(out, v)
	case []any:
		for _, e := range v {
			out = appendTexts(out, e)
		}
	case map[string]any:
		for name, e := range v {
			switch {
			case name == "@type" || name == "kind" || name == "contexts":
			case e == true:
				out = append(out, name) // a set, of keywords
			default:
				out = appendTexts(out, e)
			}
		}
	}
	return out
}

// needle is what a text condition looks for: tokens and phrases, which must all be there.
type needle []string

// parseNeedle parts a condition's text: phrases in single or double quotes, tokens between
// white space outside of them.
func parseNeedle(s string) needle {
	var n needle
	var part strings.Builder
	var quote rune
	end := func() {
		if t := fold(strings.TrimSpace(part.String())); t != "" {
			n = append(n, t)
		}
		part.Reset()
	}
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case quote != 0 && r == '\\' && i+1 < len(runes):
			i++
			part.WriteRune(runes[i])
		case quote != 0 && r == quote:
			quote = 0
			end()
		case quote == 0 && (r == '"' || r == '\'') && part.Len() == 0:
			quote = r
		case quote == 0 && unicode.IsSpace(r):
			end()
		default:
			part.WriteRune(r)
		}
	}
	end()
	return n
}

// in tells whether all parts are in some of the texts.
func (n needle) in(texts []string) bool {
	if len(n) == 0 {
		return true
	}
	folded := make([]string, len(texts))
	for i, t := range texts {
		folded[i] = fold(t)
	}
	all := strings.Join(folded, "\n")
	for _, part := range n {
		if !strings.Contains(all, part) {
			return false
		}
	}
	return true
}

// fold takes case, marks and differences of spacing away.
func fold(s string) string {
	s = cases.Fold().String(norm.NFKD.String(s))
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}
