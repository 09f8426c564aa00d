// Package jmap is the JSON Meta Application Protocol (RFC 8620) for servers: requests with
// their references and created ids, the standard methods, and the way over HTTP, EventSource
// and WebSocket.
//
// The main type is [Server]. What a method does is a [Method]; the standard ones (/get,
// /set, /changes, /query, /queryChanges, /copy) are made by [Get], [Set], [Changes], [Query],
// [QueryChanges] and [Copy] from a function that is given parsed arguments and returns a
// result, so that every data type obeys the same rules. The package stores nothing, knows no
// data type but those of RFC 8620 itself, and logs nobody in: it asks.
//
// RFC 8620, RFC 7493 (I-JSON), RFC 8887 (WebSocket).
package jmap

import (
	"encoding/json"
	"time"
)

// ID names an object (RFC 8620, 1.2): 1 to 255 characters of the URL-safe base64 alphabet.
type ID string

// IDMax is the length of the longest ID, in octets.
const IDMax = 255

// Valid tells whether the id is one.
func (id ID) Valid() bool {
	if len(id) == 0 || len(id) > IDMax {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// MaxInt is the largest number of the types Int and UnsignedInt (RFC 8620, 1.3): 2^53-1.
const MaxInt = 1<<53 - 1

// Object is what /get returns of an object: values by property. Values are anything that
// encoding/json writes.
type Object map[string]any

// Properties are the values of an object as a client gave them.
type Properties map[string]json.RawMessage

// FormatDate writes a time as Date (RFC 8620, 1.4), in the time's own zone, without a
// fraction of zero.
func FormatDate(t time.Time) string { return t.Format("2006-01-02T15:04:05.999999999Z07:00") }

// FormatUTCDate writes a time as UTCDate (RFC 8620, 1.4).
func FormatUTCDate(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999999Z") }

// ParseUTCDate reads a UTCDate: a date-time of RFC 3339 with letters in upper case, in UTC.
func ParseUTCDate(s string) (time.Time, bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[10] != 'T' || s[len(s)-1] != 'Z' {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	return t, err == nil
}
