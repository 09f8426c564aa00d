package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"postroad/internal/config"
)

// print writes a result: as JSON where that was asked for, else by text.
func (p *program) print(v any, text func()) error {
	if !p.cli.JSON {
		text()
		return nil
	}
	e := json.NewEncoder(p.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// say writes a line that is for people only.
func (p *program) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

// table writes rows in columns; the first is the heading.
func (p *program) table(rows [][]string) {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	w.Flush()
}

// fields writes names and values below each other; empty ones are left out.
func (p *program) fields(pairs ...string) {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", pairs[i], pairs[i+1])
		}
	}
	w.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// octets is a number of octets for people.
func octets(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), -1
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %cB", value, units[unit])
}

func limit(n int64, print func(int64) string) string {
	if n == 0 {
		return "no limit"
	}
	return print(n)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// parseSize reads "1GB"; "" is nil.
func parseSize(text *string) (*int64, error) {
	if text == nil {
		return nil, nil
	}
	var s config.Size
	if err := s.UnmarshalText([]byte(*text)); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	n := int64(s)
	return &n, nil
}
