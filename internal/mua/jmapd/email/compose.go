package email

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
	"postroad/message"
)

// Bounds of a message that is composed.
const (
	composedPartsMax = 1000
	composedDepthMax = 50
)

// composer makes a message of the properties of an Email (RFC 8621, 4.6). What is wrong is
// gathered, so that the client is told all of it at once.
type composer struct {
	m       *Methods
	ctx     context.Context // of the call that this is the work of
	call    *jmap.Call
	account *access.Account

	values  map[string]string // bodyValues by partId
	parts   int
	top     map[string]bool // fields of the message by their names in lower case
	fields  []composedField // of the message
	open    []io.Closer     // blobs
	invalid []string        // names of properties
	why     string          // what is wrong with the first of them
	missing []jmap.ID       // blobs that are not there
	failed  error           // what is not the client's fault
}

// composedField is one property's share of a header.
type composedField struct {
	rank int // where it stands
	name string
	h    message.Header
}

// bad notes that a property is wrong.
func (k *composer) bad(property, format string, args ...any) {
	if len(k.invalid) == 0 {
		k.why = property + ": " + fmt.Sprintf(format, args...)
	}
	if !slices.Contains(k.invalid, property) {
		k.invalid = append(k.invalid, property)
	}
}

// close gives blobs back.
func (k *composer) close() {
	for _, c := range k.open {
		c.Close()
	}
}

// err tells what is wrong with the object as a whole.
func (k *composer) err() error {
	switch {
	case k.failed != nil:
		return k.failed
	case len(k.invalid) > 0:
		slices.Sort(k.invalid)
		return jmap.InvalidProperties(k.invalid, "%s", k.why)
	case len(k.missing) > 0:
		return blobNotFound(k.missing...)
	}
	return nil
}

// compose makes the message. Its octets are read from the blobs while it is written, until
// close.
func (k *composer) compose(o jmap.Properties) (*message.Entity, error) {
	o = maps.Clone(o)
	k.top = map[string]bool{}
	k.readValues(o)
	k.header(o)
	root := k.structure(o)
	for name := range o {
		k.bad(name, "not a property that can be set")
	}
	if err := k.err(); err != nil {
		return nil, err
	}
	k.finish(root)
	return root, nil
}

// given takes a property that is there and not null.
func given(o jmap.Properties, name string) (json.RawMessage, bool) {
	raw, ok := o[name]
	delete(o, name)
	return raw, ok && string(raw) != "null"
}

// readValues reads bodyValues.
func (k *composer) readValues(o jmap.Properties) {
	k.values = map[string]string{}
	raw, ok := given(o, "bodyValues")
	if !ok {
		return
	}
	var values map[string]map[string]any
	if json.Unmarshal(raw, &values) != nil {
		k.bad("bodyValues", "not a map of EmailBodyValue")
		return
	}
	for id, v := range values {
		text, isText := v["value"].(string)
		for name, member := range v {
			switch flag, isFlag := member.(bool); {
			case name == "value":
			case name != "isEncodingProblem" && name != "isTruncated", !isFlag || flag:
				k.bad("bodyValues/"+escapePointer(id)+"/"+name, "must be false or omitted")
			}
		}
		if !isText {
			k.bad("bodyValues/"+escapePointer(id)+"/value", "no String")
		}
		k.values[id] = text
	}
}

// escapePointer writes a name as a step of a JSON pointer (RFC 6901, 3).
func escapePointer(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

// header reads the properties that stand for fields of the message.
func (k *composer) header(o jmap.Properties) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		h, rank, ok := composedProperty(name)
		if !ok {
			continue
		}
		raw, there := given(o, name)
		if strings.HasPrefix(strings.ToLower(h.name), "content-") {
			k.bad(name, "fields of a part are set there")
			continue
		}
		if there && k.claim(k.top, name, h.name) {
			k.field(name, h, rank, raw)
		}
	}
}

// composedProperty tells which field a property stands for, and where that is written.
func composedProperty(name string) (h headerProperty, rank int, ok bool) {
	for i, c := range convenience {
		if c.property == name {
			return headerProperty{name: c.field, form: c.form}, i, true
		}
	}
	if h, ok = parseHeaderProperty(name); !ok {
		return h, 0, false
	}
	for i, c := range convenience {
		if strings.EqualFold(c.field, h.name) {
			return h, i, true
		}
	}
	return h, len(convenience), true
}

// claim notes that a field is set; false where another property has set it.
func (k *composer) claim(set map[string]bool, property, field string) bool {
	field = strings.ToLower(field)
	if set[field] || k.top[field] {
		k.bad(property, "another property sets the same field")
		return false
	}
	set[field] = true
	return true
}

// field writes a property of the message.
func (k *composer) field(property string, h headerProperty, rank int, raw json.RawMessage) {
	f := composedField{rank: rank, name: h.name}
	if err := h.write(&f.h, raw); err != nil {
		k.bad(property, "%s", err)
		return
	}
	k.fields = append(k.fields, f)
}

// finish puts the fields of the message before those of its root.
func (k *composer) finish(root *message.Entity) {
	add := func(rank int, name string, write func(h *message.Header)) {
		if !k.top[strings.ToLower(name)] {
			f := composedField{rank: rank, name: name}
			write(&f.h)
			k.fields = append(k.fields, f)
		}
	}
	rankOf := func(field string) int {
		return slices.IndexFunc(convenience, func(c struct {
			property, field string
			form            form
		}) bool {
			return c.field == field
		})
	}
	add(rankOf("Date"), "Date", func(h *message.Header) { h.AddDate("Date", time.Now().UTC()) })
	add(rankOf("Message-ID"), "Message-ID", func(h *message.Header) { h.Add("Message-ID", message.NewMessageID(k.m.house.Host)) })
	add(len(convenience)+1, "MIME-Version", func(h *message.Header) { h.Add("MIME-Version", "1.0") })
	slices.SortStableFunc(k.fields, func(a, b composedField) int { return a.rank - b.rank })
	var h message.Header
	for i := range k.fields {
		h.AddFields(&k.fields[i].h)
	}
	h.AddFields(&root.Header)
	root.Header = h
}

// structure reads the body in one of its two forms.
func (k *composer) structure(o jmap.Properties) *message.Entity {
	raw, tree := given(o, "bodyStructure")
	lists := map[string]json.RawMessage{}
	for _, name := range []string{"textBody", "htmlBody", "attachments"} {
		if raw, ok := given(o, name); ok {
			lists[name] = raw
			if tree {
				k.bad(name, "must not be given beside bodyStructure")
			}
		}
	}
	if tree {
		var part jmap.Properties
		if json.Unmarshal(raw, &part) != nil || part == nil {
			k.bad("bodyStructure", "no EmailBodyPart")
			return nil
		}
		return k.part(part, "bodyStructure", 0)
	}
	return k.flat(k.one(lists["textBody"], "textBody", "text/plain"), k.one(lists["htmlBody"], "htmlBody", "text/html"),
		k.attachments(lists["attachments"]))
}

// one reads a list that has exactly one part, of one type.
func (k *composer) one(raw json.RawMessage, name, media string) *message.Entity {
	if raw == nil {
		return nil
	}
	var list []jmap.Properties
	if json.Unmarshal(raw, &list) != nil || len(list) != 1 || list[0] == nil {
		k.bad(name, "not a list of exactly one EmailBodyPart")
		return nil
	}
	if _, ok := list[0]["type"]; !ok {
		list[0]["type"] = json.RawMessage(`"` + media + `"`)
	}
	e := k.part(list[0], name+"/0", 1)
	if e != nil && e.Type+"/"+e.Subtype != media {
		k.bad(name, "must be of type %s", media)
	}
	return e
}

// attachments reads a list of parts. One that does not say how it is to be shown is an
// attachment.
func (k *composer) attachments(raw json.RawMessage) []*message.Entity {
	if raw == nil {
		return nil
	}
	var list []jmap.Properties
	if json.Unmarshal(raw, &list) != nil {
		k.bad("attachments", "not a list of EmailBodyPart")
		return nil
	}
	var all []*message.Entity
	for i, part := range list {
		path := fmt.Sprintf("attachments/%d", i)
		if part == nil {
			k.bad(path, "no EmailBodyPart")
			continue
		}
		if _, ok := part["subParts"]; ok {
			k.bad(path+"/subParts", "an attachment has no parts")
		}
		_, header := given(maps.Clone(part), "header:Content-Disposition")
		if _, ok := given(maps.Clone(part), "disposition"); !ok && !header {
			part["disposition"] = json.RawMessage(`"attachment"`)
		}
		if e := k.part(part, path, 1); e != nil {
			all = append(all, e)
		}
	}
	return all
}

// flat arranges bodies and attachments: what the HTML shows by its Content-ID stands
// together with it (RFC 2387), the rest behind both.
func (k *composer) flat(text, html *message.Entity, attached []*message.Entity) *message.Entity {
	multipart := func(subtype string, parts ...*message.Entity) *message.Entity {
		return &message.Entity{Type: "multipart", Subtype: subtype, Parts: parts}
	}
	var within, behind []*message.Entity
	for _, a := range attached {
		if html != nil && a.Disposition == "inline" && hasField(&a.Header, "Content-ID") {
			within = append(within, a)
		} else {
			behind = append(behind, a)
		}
	}
	if len(within) > 0 {
		related := multipart("related", append([]*message.Entity{html}, within...)...)
		related.Params = message.Params{{Name: "type", Value: "text/html"}}
		html = related
	}
	var body *message.Entity
	switch {
	case text != nil && html != nil:
		body = multipart("alternative", text, html)
	case text != nil:
		body = text
	case html != nil:
		body = html
	}
	switch {
	case len(behind) == 0 && body == nil:
		return &message.Entity{Type: "text", Subtype: "plain"}
	case len(behind) == 0:
		return body
	case body == nil && len(behind) == 1:
		return behind[0]
	case body == nil:
		return multipart("mixed", behind...)
	}
	return multipart("mixed", append([]*message.Entity{body}, behind...)...)
}

// hasField tells whether a header has a field.
func hasField(h *message.Header, name string) bool {
	for f := range message.Fields(h.Bytes()) {
		if f.Is(name) {
			return true
		}
	}
	return false
}

// errNoBlob tells a blob that is not there from other errors.
func errNoBlob(err error) bool { return errors.Is(err, jmap.ErrBlobNotFound) }
