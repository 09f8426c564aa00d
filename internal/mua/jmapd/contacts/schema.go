package contacts

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"postroad/jmap"
)

// The shape of a card (RFC 9553, 2): what each property that is known may be. Others are
// kept as they are, so that a card goes through whoever wrote it; they are bounded by the
// size of the whole.

// shape checks a value; where is its path, for the error.
type shape func(where string, raw json.RawMessage) error

// fields are the known properties of an object.
type fields map[string]shape

// Limits of a card's shape.
const (
	membersMax = 1000 // entries of a map
	depthMax   = 12   // of what is not known, too
)

func wrongShape(where, want string) error {
	top, _, _ := strings.Cut(where, "/")
	return jmap.InvalidProperties([]string{top}, "%s: must be %s", where, want)
}

// as is a shape for what encoding/json reads into a T.
func as[T any](want string) shape {
	return func(where string, raw json.RawMessage) error {
		var v *T
		if json.Unmarshal(raw, &v) != nil || v == nil {
			return wrongShape(where, want)
		}
		return nil
	}
}

var (
	text    = as[string]("a String")
	boolean = as[bool]("a Boolean")
	truth   = func(where string, raw json.RawMessage) error {
		if string(raw) != "true" {
			return wrongShape(where, "true")
		}
		return nil
	}
	anything = func(string, json.RawMessage) error { return nil }
)

// refused is for what is not kept: pictures are data: URIs, within the size of a card.
func refused(where string, _ json.RawMessage) error {
	return wrongShape(where, "left out: give the octets as a data: URI")
}

// number is an UnsignedInt within bounds.
func number(least, most float64) shape {
	return func(where string, raw json.RawMessage) error {
		var f *float64
		if json.Unmarshal(raw, &f) != nil || f == nil || *f < least || *f > most || *f != float64(int64(*f)) {
			return wrongShape(where, fmt.Sprintf("a whole number from %.0f to %.0f", least, most))
		}
		return nil
	}
}

// word is a text that is not empty.
func word(where string, raw json.RawMessage) error {
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil || *s == "" {
		return wrongShape(where, "a String that is not empty")
	}
	return nil
}

// moment is a UTCDateTime (RFC 9553, 1.4.5).
func moment(where string, raw json.RawMessage) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		if _, ok := jmap.ParseUTCDate(s); ok {
			return nil
		}
	}
	return wrongShape(where, "a UTCDateTime")
}

// kind is the @type of an object.
func kind(name string) shape {
	return func(where string, raw json.RawMessage) error {
		var s string
		if json.Unmarshal(raw, &s) != nil || s != name {
			return wrongShape(where, fmt.Sprintf("%q", name))
		}
		return nil
	}
}

// object is an object of a type; needs are the properties that it must have.
func object(name string, known fields, needs ...string) shape {
	return func(where string, raw json.RawMessage) error {
		var members jmap.Properties
		if json.Unmarshal(raw, &members) != nil || members == nil {
			return wrongShape(where, "an object")
		}
		for _, need := range needs {
			if members[need] == nil {
				return wrongShape(where+"/"+need, "there")
			}
		}
		for member, v := range members {
			check := known[member]
			if member == "@type" {
				check = kind(name)
			}
			if check == nil {
				continue
			}
			if err := check(where+"/"+member, v); err != nil {
				return err
			}
		}
		return nil
	}
}

// each is a map with entries of one shape; byID with ids for keys.
func each(entry shape) shape { return entries(entry, false) }
func byID(entry shape) shape { return entries(entry, true) }

func entries(entry shape, ids bool) shape {
	return func(where string, raw json.RawMessage) error {
		var members jmap.Properties
		if json.Unmarshal(raw, &members) != nil || members == nil {
			return wrongShape(where, "an object")
		}
		if len(members) > membersMax {
			return wrongShape(where, fmt.Sprintf("of at most %d entries", membersMax))
		}
		for name, v := range members {
			if ids && !jmap.ID(name).Valid() {
				return wrongShape(where+"/"+name, "under an Id")
			}
			if err := entry(where+"/"+name, v); err != nil {
				return err
			}
		}
		return nil
	}
}

// list is an array with elements of one shape.
func list(element shape) shape {
	return func(where string, raw json.RawMessage) error {
		var elements []json.RawMessage
		if json.Unmarshal(raw, &elements) != nil || elements == nil {
			return wrongShape(where, "an array")
		}
		if len(elements) > membersMax {
			return wrongShape(where, fmt.Sprintf("of at most %d elements", membersMax))
		}
		for i, v := range elements {
			if err := element(fmt.Sprintf("%s/%d", where, i), v); err != nil {
				return err
			}
		}
		return nil
	}
}

// either is one of two shapes.
func either(a, b shape) shape {
	return func(where string, raw json.RawMessage) error {
		if a(where, raw) == nil {
			return nil
		}
		return b(where, raw)
	}
}

// with are the properties that most objects have, and others.
func with(more fields) fields {
	all := fields{"contexts": each(truth), "pref": number(1, 100), "label": text}
	for name, s := range more {
		all[name] = s
	}
	return all
}

// resource is what calendars, keys, directories, links and media have (RFC 9553, 1.4.4).
func resource(name string, more fields) shape {
	all := with(fields{"kind": word, "uri": word, "mediaType": word})
	for field, s := range more {
		all[field] = s
	}
	return byID(object(name, all))
}

var (
	component = object("NameComponent", fields{"value": text, "kind": word, "phonetic": text}, "value", "kind")
	name      = object("Name", fields{"components": list(component), "isOrdered": boolean, "defaultSeparator": text,
		"full": text, "sortAs": each(text), "phoneticScript": text, "phoneticSystem": text})
	place = object("Address", with(fields{"components": list(object("AddressComponent", fields{"value": text, "kind": word, "phonetic": text}, "value", "kind")),
		"isOrdered": boolean, "countryCode": text, "coordinates": text, "timeZone": text, "full": text, "defaultSeparator": text,
		"phoneticScript": text, "phoneticSystem": text}))
	date = either(object("PartialDate", fields{"year": number(0, 9999), "month": number(1, 12), "day": number(1, 31), "calendarScale": word}),
		object("Timestamp", fields{"utc": moment}, "utc"))
	author = object("Author", fields{"name": text, "uri": word})
)

// cardShape is the shape of a card.
var cardShape = fields{
	"@type": kind("Card"), "version": kind("1.0"), "created": moment, "kind": word, "language": word,
	"members": each(truth), "prodId": text, "relatedTo": each(object("Relation", fields{"relation": each(truth)})),
	"uid": word, "updated": moment,
	"name": name, "nicknames": byID(object("Nickname", with(fields{"name": text}), "name")),
	"organizations": byID(object("Organization", with(fields{"name": text, "sortAs": text,
		"units": list(object("OrgUnit", fields{"name": text, "sortAs": text}, "name"))}))),
	"speakToAs":           object("SpeakToAs", fields{"grammaticalGender": word, "pronouns": byID(object("Pronouns", with(fields{"pronouns": text}), "pronouns"))}),
	"titles":              byID(object("Title", fields{"name": text, "kind": word, "organizationId": word}, "name")),
	"emails":              byID(object("EmailAddress", with(fields{"address": word}), "address")),
	"onlineServices":      byID(object("OnlineService", with(fields{"service": text, "uri": word, "user": text}))),
	"phones":              byID(object("Phone", with(fields{"number": word, "features": each(truth)}), "number")),
	"preferredLanguages":  byID(object("LanguagePref", with(fields{"language": word}), "language")),
	"calendars":           resource("Calendar", nil),
	"schedulingAddresses": byID(object("SchedulingAddress", with(fields{"uri": word}), "uri")),
	"addresses":           byID(place),
	"cryptoKeys":          resource("CryptoKey", nil), "directories": resource("Directory", fields{"listAs": number(1, jmap.MaxInt)}),
	"links": resource("Link", nil), "media": resource("Media", fields{"blobId": refused}),
	"localizations": each(each(anything)),
	"anniversaries": byID(object("Anniversary", fields{"kind": word, "date": date, "place": place, "contexts": each(truth)}, "kind", "date")),
	"keywords":      each(truth), "notes": byID(object("Note", fields{"note": text, "created": moment, "author": author}, "note")),
	"personalInfo": byID(object("PersonalInfo", fields{"kind": word, "value": text, "level": word, "listAs": number(1, jmap.MaxInt), "label": text}, "kind", "value")),
}

// checkSchema holds a card to its shape.
func checkSchema(p jmap.Properties) error {
	if _, has := p["id"]; has {
		return jmap.InvalidProperties([]string{"id"}, "the id is set by the server")
	}
	for property, raw := range p {
		if depth(raw) > depthMax {
			return wrongShape(property, fmt.Sprintf("nested at most %d deep", depthMax))
		}
		if check := cardShape[property]; check != nil {
			if err := check(property, raw); err != nil {
				return err
			}
		}
	}
	if p["uid"] == nil {
		return wrongShape("uid", "there")
	}
	return nil
}

// depth is how deep a value is nested; it is valid JSON.
func depth(raw json.RawMessage) int {
	now, deepest, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// timeOf reads a UTCDateTime that was checked before; the zero time where there is none.
func timeOf(raw json.RawMessage) time.Time {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return time.Time{}
	}
	t, _ := jmap.ParseUTCDate(s)
	return t
}
