package imap

// Section reads what follows an item's name: "[1.2.TEXT]<0.512>". The item is s.Item; of
// BINARY and BINARY.SIZE only part numbers are read.
func (d *Decoder) Section(s *Section) {
	d.Expect('[')
	for c := d.peek(); c >= '1' && c <= '9'; c = d.peek() {
		n := d.NonZero()
		if s.Part = append(s.Part, int(n)); len(s.Part) > SectionDepthMax {
			d.Fail("section too deep")
		}
		if !d.Skip('.') {
			break
		}
		if c := d.peek(); (c < '1' || c > '9') && s.Item != ItemBody {
			d.Fail("expected a part number")
		}
		if c := d.peek(); c == ']' {
			d.Fail("expected a part number or specifier")
		}
	}
	if s.Item == ItemBody && !d.Next(']') {
		d.specifier(s)
	}
	d.Expect(']')
	if s.Item == ItemBinarySize || !d.Skip('<') {
		return
	}
	s.Partial = &Partial{Offset: d.Number64()}
	d.Expect('.')
	if s.Partial.Size = d.Number64(); s.Partial.Size == 0 {
		d.Fail("0 is not allowed here")
	}
	d.Expect('>')
}

func (d *Decoder) specifier(s *Section) {
	if k := len(s.Part); k > 0 && d.b[d.pos-1] != '.' {
		d.Fail(`expected "." or "]"`)
		return
	}
	at := d.pos
	switch word := d.Keyword(); word {
	case "HEADER":
		s.Specifier = Header
	case "HEADER.FIELDS":
		s.Specifier = HeaderFields
	case "HEADER.FIELDS.NOT":
		s.Specifier = HeaderFieldsNot
	case "TEXT":
		s.Specifier = Text
	case "MIME":
		s.Specifier = MIME
		if len(s.Part) == 0 {
			d.Fail("MIME needs a part number")
		}
	default:
		if d.err == nil {
			d.err = &SyntaxError{at, "unknown section"}
		}
		return
	}
	if s.Specifier != HeaderFields && s.Specifier != HeaderFieldsNot {
		return
	}
	d.SP()
	d.List(func() {
		if s.Fields = append(s.Fields, d.AString()); len(s.Fields) > SectionFieldsMax {
			d.Fail("too many header fields")
		}
	})
	if d.err == nil && len(s.Fields) == 0 {
		d.Fail("expected a header field")
	}
}
