package jmap

import "encoding/json"

// ParseFilter reads a filter (RFC 8620, 5.5) that is an argument of another method than the
// standard ones, such as SearchSnippet/get; null is nil.
func ParseFilter(raw json.RawMessage) (*Filter, error) {
	var f *Filter
	err := arguments{"filter": raw}.filter("filter", &f)
	return f, err
}
