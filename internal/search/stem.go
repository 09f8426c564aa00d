package search

import (
	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/danish"
	"github.com/blevesearch/snowballstem/dutch"
	"github.com/blevesearch/snowballstem/english"
	"github.com/blevesearch/snowballstem/finnish"
	"github.com/blevesearch/snowballstem/french"
	"github.com/blevesearch/snowballstem/german"
	"github.com/blevesearch/snowballstem/hungarian"
	"github.com/blevesearch/snowballstem/italian"
	"github.com/blevesearch/snowballstem/norwegian"
	"github.com/blevesearch/snowballstem/portuguese"
	"github.com/blevesearch/snowballstem/romanian"
	"github.com/blevesearch/snowballstem/russian"
	"github.com/blevesearch/snowballstem/spanish"
	"github.com/blevesearch/snowballstem/swedish"
	"github.com/blevesearch/snowballstem/turkish"
)

// languages is a set of the languages in stemmers.
type languages uint32

// stemmers take the endings off words. The stop words tell, by how many messages have
// them, which languages an account's mail is in; so nothing is computed at delivery.
var stemmers = [...]struct {
	stem func(*snowballstem.Env) bool
	stop []string
}{
	{english.Stem, []string{"the", "and", "with", "this"}},
	{german.Stem, []string{"und", "nicht", "ist", "mit"}},
	{french.Stem, []string{"les", "vous", "est", "pour"}},
	{spanish.Stem, []string{"los", "las", "por", "una"}},
	{italian.Stem, []string{"che", "per", "sono", "della"}},
	{portuguese.Stem, []string{"não", "uma", "para", "com"}},
	{dutch.Stem, []string{"het", "een", "van", "niet"}},
	{swedish.Stem, []string{"och", "att", "inte", "som"}},
	{danish.Stem, []string{"og", "ikke", "af", "til"}},
	{norwegian.Stem, []string{"og", "ikke", "av", "til"}},
	{finnish.Stem, []string{"ja", "ei", "että", "on"}},
	{hungarian.Stem, []string{"és", "nem", "hogy", "az"}},
	{romanian.Stem, []string{"și", "nu", "este", "pentru"}},
	{turkish.Stem, []string{"ve", "bir", "için", "bu"}},
	{russian.Stem, []string{"не", "что", "это", "на"}},
}

const (
	russianIndex = 14
	latin        = languages(1<<russianIndex - 1)
	cyrillic     = languages(1 << russianIndex)
)

// census counts the stop words of a segment.
type census struct{ messages [len(stemmers)][4]int }

// stopWords finds the place of a stop word, by its key in a dictionary.
var stopWords = func() map[string][][2]int {
	m := map[string][][2]int{}
	for i := range stemmers {
		for j, w := range stemmers[i].stop {
			k := string(appendTermKey(nil, []byte(w)))
			m[k] = append(m[k], [2]int{i, j})
		}
	}
	return m
}()

func (c *census) count(key []byte, messages int) {
	for _, at := range stopWords[string(key)] {
		c.messages[at[0]][at[1]] = messages
	}
}

// languages are those with three stop words each in one message of fifty.
func (c *census) languages(of int) languages {
	var all languages
	for i := range c.messages {
		n := 0
		for _, messages := range c.messages[i] {
			if messages*50 >= of {
				n++
			}
		}
		if n >= 3 {
			all |= 1 << i
		}
	}
	return all
}

// stemLeast is the shortest stem, in octets, that stands for other words.
const stemLeast = 3

// stem is the plain form of a word's stem in language i.
func stem(i int, word []byte) string {
	env := snowballstem.NewEnv(string(word))
	stemmers[i].stem(env)
	return string(appendPlain(nil, []byte(env.Current())))
}

// stems are those of one word, by language.
type stems struct {
	of     languages
	stem   [len(stemmers)]string
	prefix string // that words of the same stem begin with, in plain form
}

// stemsOf makes the stems of a word in languages of its script. Digits have none.
func stemsOf(word []byte, of languages) stems {
	s := stems{prefix: string(appendPlain(nil, word))}
	script := cyrillic
	for _, r := range string(word) {
		switch {
		case r >= '0' && r <= '9':
			return s
		case r < 0x250:
			script = latin
		case r < 0x400 || r >= 0x530:
			return s
		}
	}
	for i := range stemmers {
		if of&script&(1<<i) == 0 {
			continue
		}
		t := stem(i, word)
		if len(t) < stemLeast {
			continue
		}
		s.of |= 1 << i
		s.stem[i] = t
		n := 0
		for n < len(t) && n < len(s.prefix) && t[n] == s.prefix[n] {
			n++
		}
		s.prefix = s.prefix[:n]
	}
	return s
}

// same tells whether a word has one of the stems.
func (s *stems) same(word []byte) bool {
	for i := range stemmers {
		if s.of&(1<<i) != 0 && stem(i, word) == s.stem[i] {
			return true
		}
	}
	return false
}
