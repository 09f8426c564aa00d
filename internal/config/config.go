// Package config reads the one file that boots a node: a TOML tree with a default for
// everything, so that an empty file works.
//
// The main type is [Config]; the comment over each of its fields is its manual entry, and
// [Doc] prints them. An unknown key is an error that names its line. Only internal/server
// reads a Config; other packages are given plain option structs. What changes while the
// program runs is in internal/directory.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Default is what an empty file means. Limits are those of every installation; each may
// be set both ways.
func Default() *Config {
	return &Config{
		DataDirectory: "/var/lib/postroad",
		User:          "postroad",
		Listen: Listen{
			SMTP: []string{":25"}, Submission: []string{":587"}, Submissions: []string{":465"}, LMTP: []string{},
			IMAP: []string{":143"}, IMAPS: []string{":993"}, POP3: []string{":110"}, POP3S: []string{":995"},
			Sieve: []string{":4190"}, HTTPS: []string{":443"}, HTTP: []string{},
			Metrics: []string{},
		},
		TLS:   TLS{MinVersion: "1.2"},
		DNS:   DNS{Servers: []string{}, Timeout: Duration(2 * time.Second)},
		Login: Login{FailureDelay: Duration(2 * time.Second)},
		Queue: Queue{
			RetryMin: Duration(5 * time.Minute), RetryMax: Duration(4 * time.Hour), Expire: Duration(5 * day),
			WarnAfter: Duration(4 * time.Hour), DestinationConnections: 20, Connections: 500,
		},
		Limits: Limits{
			Message: 50 << 20, Recipients: 1000, SessionMessages: 1000, SessionBytes: 1 << 30,
			Header: 1 << 20, HeaderFields: 1000, Hops: 100, Connections: 20_000, AddressConnections: 50, UserConnections: 50,
			BadCommands: 10, SMTPTimeout: Duration(300 * time.Second), QuotaWarnings: []int{80, 95},
			IMAPLoginTimeout: Duration(60 * time.Second), IMAPIdleTimeout: Duration(30 * time.Minute), DiskReserve: 256 << 20,
		},
		Keep: Keep{Undelete: Duration(7 * day), UndeleteBytes: 1 << 30},
		Log:  Log{Level: "info", Format: "text"},
	}
}

// fileMax is the largest file that is read, in octets.
const fileMax = 1 << 20

// Error is what is wrong with a configuration, at a line of its file where that is known.
type Error struct {
	File string
	Line int // 0: of the file as a whole
	Text string
}

func (e *Error) Error() string {
	switch {
	case e.Line > 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
	case e.File != "":
		return e.File + ": " + e.Text
	}
	return e.Text
}

// Load reads a file. An empty name is no file, which is the default. A missing file is
// an error that wraps fs.ErrNotExist.
func Load(name string) (*Config, error) {
	if name == "" {
		return Parse("", nil)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if info.Size() > fileMax {
		return nil, &Error{File: name, Text: fmt.Sprintf("larger than %d octets", fileMax)}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(name, text)
}

// DefaultFile is read by Find when nothing else is named.
const DefaultFile = "/etc/postroad/postroad.toml"

// Find loads the named file, or DefaultFile where there is one, or the default.
func Find(name string) (*Config, error) {
	if name != "" {
		return Load(name)
	}
	c, err := Load(DefaultFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Load("")
	}
	return c, err
}

// Parse reads the text of a file, whose name is for errors only.
func Parse(name string, text []byte) (*Config, error) {
	c := Default()
	meta, err := toml.Decode(string(text), c)
	if err != nil {
		return nil, decodeError(name, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		key := unknown[0].String()
		return nil, &Error{File: name, Line: lineOf(text, key), Text: fmt.Sprintf("unknown key %q%s", key, suggestion(key))}
	}
	for i := range c.Routes {
		if c.Routes[i].Transport == "" {
			c.Routes[i].Transport = "smtp"
		}
	}
	if err := c.check(); err != nil {
		var bad *keyError
		if errors.As(err, &bad) {
			return nil, &Error{File: name, Line: lineOf(text, bad.key), Text: bad.Error()}
		}
		return nil, err
	}
	return c, nil
}

// decodeError gives a syntax or type error the form of the others.
func decodeError(name string, err error) error {
	var p toml.ParseError
	if errors.As(err, &p) {
		text := p.Message
		if text == "" {
			text = p.Error()
		}
		if p.LastKey != "" {
			text = p.LastKey + ": " + text
		}
		return &Error{File: name, Line: p.Position.Line, Text: text}
	}
	// A value of the wrong type: the library has the line in the text only.
	e := &Error{File: name, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	if n, _ := fmt.Sscanf(e.Text, "line %d", &e.Line); n == 1 {
		_, e.Text, _ = strings.Cut(e.Text, " (last key ")
		e.Text = strings.Replace(e.Text, ")", "", 1)
	}
	return e
}

// lineOf finds the line on which a key is set, 0 when it is nowhere: the first line
// without which the key is not there. The library does not keep positions of keys, and
// this runs only to word an error.
func lineOf(text []byte, key string) int {
	lines := bytes.SplitAfter(text, []byte("\n"))
	whole := 0 // the last line with which what precedes is a whole file
	for n := 1; n <= len(lines); n++ {
		var tree map[string]any
		meta, err := toml.Decode(string(bytes.Join(lines[:n], nil)), &tree)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(meta.Keys(), func(k toml.Key) bool { return k.String() == key }) {
			return whole + 1
		}
		whole = n
	}
	return 0
}

// suggestion names a known key that is nearly the unknown one.
func suggestion(key string) string {
	at := strings.LastIndexByte(key, '.') + 1
	best, bestDistance := "", 3
	for _, e := range entries() {
		if d := distance(key, e.Key); d < bestDistance {
			best, bestDistance = e.Key, d
		} else if strings.HasSuffix(e.Key, "."+key[at:]) && best == "" {
			best = e.Key
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (is %q meant?)", best)
}

// distance is how many octets must change, come or go (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
