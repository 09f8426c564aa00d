package search

import (
	"bytes"
	"io"

	"postroad/message"
)

// skipped are fields of signatures and of machines' notes, octets that nobody looks for
// and that would fill the dictionary (RFC 9051, 6.4.4: "servers are allowed to implement
// flexible searching"). SEARCH HEADER finds them by reading the message.
var skipped = [...]string{"DKIM-Signature", "ARC-Seal", "ARC-Message-Signature", "X-Google-DKIM-Signature", "DomainKey-Signature",
	"X-Gm-Message-State", "X-Google-Smtp-Source", "X-MS-Exchange-AntiSpam-MessageData-0", "X-MS-Exchange-AntiSpam-MessageData-ChunkCount",
	"X-Microsoft-Antispam-Message-Info", "X-Microsoft-Exchange-Diagnostics", "Autocrypt", "Face", "X-Face"}

// Searched tells whether a search of all of a message looks into fields of a name.
func Searched(f *message.Field) bool {
	for _, s := range skipped {
		if f.Is(s) {
			return false
		}
	}
	return true
}

// SearchedName is Searched for a name.
func SearchedName(name string) bool { return Searched(&message.Field{Name: []byte(name)}) }

// own are the fields that have a term field of their own.
var own = [...]struct {
	name  string
	field Field
}{{"Subject", FieldSubject}, {"From", FieldFrom}, {"To", FieldTo}, {"Cc", FieldCc}, {"Bcc", FieldBcc}}

// EachText calls f with each text of a message that belongs to one of the fields, decoded
// and in UTF-8, as SEARCH looks into it: header fields as "Name: value", HTML as its
// reader sees it. A text is read at most once, before f returns. An error of f or r ends
// it.
func EachText(m *message.Message, r io.ReaderAt, fields Fields, f func(field Field, text io.Reader) error) error {
	w := &texts{r: r, fields: fields, f: f}
	if err := w.summary(m); err != nil {
		return err
	}
	return w.part(m.Root, true, false)
}

// texts is one EachText under way.
type texts struct {
	r      io.ReaderAt
	fields Fields
	f      func(Field, io.Reader) error
	text   bytes.Reader
	buf    []byte
}

// give gives a text at hand.
func (w *texts) give(f Field, text []byte) error {
	if !w.fields.Has(f) || len(text) == 0 {
		return nil
	}
	w.text.Reset(text)
	return w.f(f, &w.text)
}

// summary gives the fields as ENVELOPE has them, which is what SUBJECT, FROM and their
// like are compared with.
func (w *texts) summary(m *message.Message) error {
	if err := w.give(FieldSubject, []byte(m.Subject)); err != nil {
		return err
	}
	for _, l := range [...]struct {
		field Field
		list  message.AddressList
	}{{FieldFrom, m.From}, {FieldTo, m.To}, {FieldCc, m.Cc}, {FieldBcc, m.Bcc}} {
		if len(l.list) == 0 || !w.fields.Has(l.field) {
			continue
		}
		w.buf = w.buf[:0]
		for i := range l.list {
			w.buf = append(w.buf, l.list[i].Name...)
			w.buf = append(w.buf, " <"...)
			w.buf = append(w.buf, l.list[i].Local...)
			w.buf = append(w.buf, '@')
			w.buf = append(w.buf, l.list[i].Host...)
			w.buf = append(w.buf, ">, "...)
		}
		if err := w.give(l.field, w.buf); err != nil {
			return err
		}
	}
	return nil
}

// part gives the texts of a part and of those below it. top is the whole message's root,
// inner the root of a message in it.
func (w *texts) part(p *message.Part, top, inner bool) error {
	if err := w.header(p, top, inner); err != nil {
		return err
	}
	if name := p.Filename(); name != "" && !top {
		if err := w.give(FieldFile, []byte(name)); err != nil {
			return err
		}
	}
	if p.Type == "text" && len(p.Children) == 0 && w.fields.Has(FieldBody) {
		if err := w.f(FieldBody, PartText(p, w.r)); err != nil {
			return err
		}
	}
	for _, c := range p.Children {
		if err := w.part(c, false, false); err != nil {
			return err
		}
	}
	if p.Message == nil {
		return nil
	}
	return w.part(p.Message.Root, false, true)
}

// PartText is the text of a part as SEARCH looks into it.
func PartText(p *message.Part, r io.ReaderAt) io.Reader {
	text := p.Text(r)
	if p.Subtype == "html" {
		return message.NewHTMLReader(text)
	}
	return text
}

// header gives the header fields of a part. Those of an inner message belong to the body
// of the outer one.
func (w *texts) header(p *message.Part, top, inner bool) error {
	needed := FieldsOf(FieldHeader)
	if top {
		needed |= FieldsOf(FieldSubject, FieldFrom, FieldTo, FieldCc, FieldBcc)
	}
	if inner {
		needed |= FieldsOf(FieldBody)
	}
	if w.fields&needed == 0 || p.Header.Size() == 0 {
		return nil
	}
	block := make([]byte, p.Header.Size())
	if _, err := w.r.ReadAt(block, p.Header.Start); err != nil && err != io.EOF {
		return err
	}
	for f := range message.Fields(block) {
		if err := w.headerField(&f, top, inner); err != nil {
			return err
		}
	}
	return nil
}

func (w *texts) headerField(f *message.Field, top, inner bool) error {
	if !Searched(f) {
		return nil
	}
	value := f.Text()
	if top {
		for i := range own {
			if f.Is(own[i].name) {
				if err := w.give(own[i].field, []byte(value)); err != nil {
					return err
				}
			}
		}
	}
	w.buf = append(append(append(w.buf[:0], f.Name...), ": "...), value...)
	if inner {
		if err := w.give(FieldBody, w.buf); err != nil {
			return err
		}
	}
	return w.give(FieldHeader, w.buf)
}
