package email

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
	"postroad/message"
)

// part makes an entity of an EmailBodyPart (RFC 8621, 4.1.4 and 4.6); nil where something is
// wrong with it.
func (k *composer) part(o jmap.Properties, path string, depth int) *message.Entity {
	before := len(k.invalid)
	o = maps.Clone(o)
	e := new(message.Entity)
	if k.parts++; k.parts > composedPartsMax || depth > composedDepthMax {
		k.bad(path, "more than %d parts, or nested more than %d deep", composedPartsMax, composedDepthMax)
		return nil
	}
	set := map[string]bool{}
	k.partFields(e, o, set, path, depth)
	k.partType(e, o, set, path)
	k.partName(e, o, path)
	if raw, ok := given(o, "subParts"); ok || e.Type == "multipart" {
		k.subParts(e, raw, path, depth)
		delete(o, "partId")
		delete(o, "blobId")
	} else {
		k.body(e, o, path)
	}
	delete(o, "size")
	delete(o, "charset")
	for name := range o {
		k.bad(path+"/"+escapePointer(name), "no property of a part that can be set")
	}
	if len(k.invalid) > before {
		return nil
	}
	return e
}

// partFields reads "header:…" and what stands for one field alone. In the root fields of the
// message may be among them.
func (k *composer) partFields(e *message.Entity, o jmap.Properties, set map[string]bool, path string, depth int) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		h, ok := parseHeaderProperty(name)
		if !ok {
			continue
		}
		raw, there := given(o, name)
		at := path + "/" + escapePointer(name)
		field := strings.ToLower(h.name)
		switch {
		case !there:
		case field == "content-transfer-encoding":
			k.bad(at, "the server chooses it")
		case !k.claim(set, at, h.name):
		case field == "content-type" || field == "content-disposition":
			k.structured(e, field, at, h, raw)
		case depth == 0 && !strings.HasPrefix(field, "content-"):
			_, rank, _ := composedProperty(name)
			k.top[field] = true
			k.field(at, h, rank, raw)
		default:
			if err := h.write(&e.Header, raw); err != nil {
				k.bad(at, "%s", err)
			}
		}
	}
	k.simple(e, o, set, path)
}

// simple reads the properties that are one field with one text.
func (k *composer) simple(e *message.Entity, o jmap.Properties, set map[string]bool, path string) {
	for _, p := range []struct{ property, field string }{{"cid", "Content-ID"}, {"location", "Content-Location"}} {
		raw, ok := given(o, p.property)
		if !ok || !k.claim(set, path+"/"+p.property, p.field) {
			continue
		}
		var s string
		if json.Unmarshal(raw, &s) != nil || s == "" || strings.ContainsAny(s, " \t\r\n<>") || !isPrintable(s) {
			k.bad(path+"/"+p.property, "not a word of printable ASCII")
			continue
		}
		if p.property == "cid" {
			s = "<" + s + ">"
		}
		e.Header.Add(p.field, s)
	}
	raw, ok := given(o, "language")
	if !ok || !k.claim(set, path+"/language", "Content-Language") {
		return
	}
	var tags []string
	if json.Unmarshal(raw, &tags) != nil || len(tags) == 0 || len(tags) > message.ParamsMax || slices.ContainsFunc(tags, func(s string) bool {
		return s == "" || !isPrintable(s) || strings.ContainsAny(s, ",() \t")
	}) {
		k.bad(path+"/language", "not a list of language tags")
		return
	}
	e.Header.Add("Content-Language", strings.Join(tags, ", "))
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// structured reads Content-Type or Content-Disposition as a field.
func (k *composer) structured(e *message.Entity, field, at string, h headerProperty, raw json.RawMessage) {
	var s string
	if h.all || h.form != formRaw && h.form != formText || json.Unmarshal(raw, &s) != nil || strings.ContainsAny(s, "\r\n\x00") {
		k.bad(at, "not a String on one line")
		return
	}
	first, params := message.ParseParams(strings.TrimSpace(s))
	if field == "content-disposition" {
		if !isWord(first) {
			k.bad(at, "no disposition")
		}
		e.Disposition, e.DispParams = strings.ToLower(first), params
		return
	}
	params = slices.DeleteFunc(params, func(p message.Param) bool { return p.Name == "boundary" })
	k.mediaType(e, first, at)
	e.Params = params
}

// mediaType sets the type.
func (k *composer) mediaType(e *message.Entity, media, at string) {
	typ, subtype, ok := strings.Cut(strings.ToLower(strings.TrimSpace(media)), "/")
	if !ok || !isWord(typ) || !isWord(subtype) {
		k.bad(at, "no media type")
		return
	}
	e.Type, e.Subtype = typ, subtype
}

// isWord tells whether s is a token (RFC 2045, 5.1).
func isWord(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`()<>@,;:\"/[]?=`, s[i]) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= 127 // RFC 6838, 4.2
}

// partType reads type and disposition.
func (k *composer) partType(e *message.Entity, o jmap.Properties, set map[string]bool, path string) {
	var s string
	if raw, ok := given(o, "type"); ok && k.claim(set, path+"/type", "Content-Type") {
		if json.Unmarshal(raw, &s) != nil {
			k.bad(path+"/type", "no String")
		} else {
			k.mediaType(e, s, path+"/type")
		}
	}
	if raw, ok := given(o, "disposition"); ok && k.claim(set, path+"/disposition", "Content-Disposition") {
		if json.Unmarshal(raw, &s) != nil || !isWord(s) {
			k.bad(path+"/disposition", "no disposition")
		}
		e.Disposition = strings.ToLower(s)
	}
}

// partName reads the name, which goes where the disposition is, or else to the type.
func (k *composer) partName(e *message.Entity, o jmap.Properties, path string) {
	raw, ok := given(o, "name")
	if !ok {
		return
	}
	var s string
	if json.Unmarshal(raw, &s) != nil || strings.ContainsAny(s, "\r\n\x00") {
		k.bad(path+"/name", "no String on one line")
		return
	}
	switch {
	case e.DispParams.Get("filename") != "" || e.Disposition == "" && e.Params.Get("name") != "":
		k.bad(path+"/name", "another property sets the name")
	case e.Disposition != "":
		e.DispParams = append(e.DispParams, message.Param{Name: "filename", Value: s})
	default:
		e.Params = append(e.Params, message.Param{Name: "name", Value: s})
	}
}

// subParts makes the parts of a multipart.
func (k *composer) subParts(e *message.Entity, raw json.RawMessage, path string, depth int) {
	if e.Type == "" {
		e.Type, e.Subtype = "multipart", "mixed"
	}
	var list []jmap.Properties
	if raw == nil || json.Unmarshal(raw, &list) != nil || len(list) == 0 || e.Type != "multipart" || slices.ContainsFunc(list, func(p jmap.Properties) bool { return p == nil }) {
		k.bad(path+"/subParts", "a multipart has some parts, and nothing else has any")
		return
	}
	for i, p := range list {
		if sub := k.part(p, path+"/subParts/"+number([]int{i}, '/'), depth+1); sub != nil {
			e.Parts = append(e.Parts, sub)
		}
	}
}

// body sets what is in a part: a text of bodyValues, or a blob.
func (k *composer) body(e *message.Entity, o jmap.Properties, path string) {
	var id *string
	var blob *jmap.ID
	_, sized := given(maps.Clone(o), "size")
	charset, charsetGiven := given(o, "charset")
	if argument(o, "partId", &id) != nil || argument(o, "blobId", &blob) != nil {
		k.bad(path, "partId and blobId are Strings")
	}
	delete(o, "partId")
	delete(o, "blobId")
	switch {
	case id != nil && blob != nil, id == nil && blob == nil:
		k.bad(path, "a part has either a partId or a blobId")
	case id != nil:
		if charsetGiven {
			k.bad(path+"/charset", "the server chooses it")
		}
		if sized {
			k.bad(path+"/size", "the server counts it")
		}
		k.text(e, *id, path)
	default:
		if charsetGiven {
			k.charset(e, charset, path)
		}
		k.blob(e, *blob, path)
	}
}

// charset sets the charset that a client says a blob has.
func (k *composer) charset(e *message.Entity, raw json.RawMessage, path string) {
	var s string
	if json.Unmarshal(raw, &s) != nil || !isWord(s) || e.Params.Get("charset") != "" {
		k.bad(path+"/charset", "no charset, or set twice")
		return
	}
	e.Params = append(e.Params, message.Param{Name: "charset", Value: s})
}

// text sets a text of bodyValues.
func (k *composer) text(e *message.Entity, id, path string) {
	if e.Type == "" {
		e.Type, e.Subtype = "text", "plain"
	}
	value, ok := k.values[id]
	if !ok || e.Type != "text" {
		k.bad(path+"/partId", "names no value in bodyValues, or the part is no text")
		return
	}
	e.Params = slices.DeleteFunc(e.Params, func(p message.Param) bool { return p.Name == "charset" })
	if e.Subtype != "plain" && e.Subtype != "html" && !isASCII(value) {
		e.Params = append(e.Params, message.Param{Name: "charset", Value: "utf-8"})
	}
	e.Body = strings.NewReader(value)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// blob sets the octets of a blob.
func (k *composer) blob(e *message.Entity, given jmap.ID, path string) {
	id, ok := k.call.Resolve(given)
	var o *octets
	err := jmap.ErrBlobNotFound
	if ok {
		o, err = k.m.openBlob(k.ctx, access.Of(k.call), k.account, id)
	}
	if errNoBlob(err) {
		if !slices.Contains(k.missing, given) {
			k.missing = append(k.missing, given)
		}
		return
	}
	if err != nil {
		k.failed = err
		return
	}
	k.open = append(k.open, o)
	if e.Type == "" {
		e.Type, e.Subtype = "application", "octet-stream"
		if o.upload != nil {
			if typ, subtype, ok := strings.Cut(strings.ToLower(o.upload.media), "/"); ok && isWord(typ) && isWord(subtype) && typ != "multipart" {
				e.Type, e.Subtype = typ, subtype
			}
		}
	}
	e.Body, e.Verbatim = o.reader(), true
	if e.Type == "text" && e.Params.Get("charset") == "" {
		if utf8, err := isUTF8(o.reader()); err != nil {
			k.failed = err
		} else if !utf8 {
			e.Params = append(e.Params, message.Param{Name: "charset", Value: "unknown-8bit"}) // RFC 1428, 3
		}
	}
}

// isUTF8 tells whether octets are UTF-8 as a whole.
func isUTF8(r io.Reader) (bool, error) {
	text := message.NewTextReader(r, "utf-8")
	_, err := io.Copy(io.Discard, text)
	return !text.Malformed(), err
}
