package email

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"postroad/internal/mailstore"
	"postroad/internal/search"
	"postroad/jmap"
	"postroad/message"
)

// Limits of snippets.
const (
	snippetsMax    = 500     // in one call: each reads a message
	previewMax     = 255     // octets, marks and entities included (RFC 8621, 5)
	snippetTextMax = 4 << 20 // octets of one message's texts that are looked through
	snippetPart    = 64 << 10
	snippetBefore  = 60 // octets of a preview before the first hit
)

// snippets is the response of SearchSnippet/get.
type snippets struct {
	AccountID jmap.ID   `json:"accountId"`
	List      []snippet `json:"list"`
	NotFound  []jmap.ID `json:"notFound"` // null: all were found
}

// snippet is a SearchSnippet (RFC 8621, 5).
type snippet struct {
	EmailID jmap.ID `json:"emailId"`
	Subject *string `json:"subject"`
	Preview *string `json:"preview"`
}

// snippetGet answers SearchSnippet/get (RFC 8621, 5.1).
func (m *Methods) snippetGet(ctx context.Context, c *jmap.Call) (any, error) {
	var args jmap.Properties
	if err := readArguments(c, &args, "accountId", "filter", "emailIds"); err != nil {
		return nil, err
	}
	a, id, err := m.accountOf(ctx, c, args, "accountId")
	if err != nil {
		return nil, err
	}
	given, err := jmap.ParseFilter(args["filter"])
	if err != nil {
		return nil, err
	}
	f, err := parseEmailFilter(given)
	if err != nil {
		return nil, err
	}
	ids, ok := readMember[[]jmap.ID](args["emailIds"])
	switch {
	case !ok:
		return nil, jmap.InvalidArguments("emailIds: not a list of ids")
	case len(ids) > snippetsMax:
		return nil, jmap.ErrRequestTooLarge.With("more than %d ids", snippetsMax)
	}
	e, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return nil, methodError(err)
	}
	out := &snippets{AccountID: id, List: []snippet{}}
	var messages []mailstore.MessageID
	seen := map[jmap.ID]bool{}
	for _, given := range ids {
		id, there := c.Resolve(given)
		email, err := mailstore.ParseEmailID(string(id))
		_, found := e.FindID(email)
		switch {
		case seen[id]:
		case !there || err != nil || !found:
			out.NotFound = append(out.NotFound, given)
		default:
			messages = append(messages, email.Message)
			out.List = append(out.List, snippet{EmailID: id})
		}
		seen[id] = true
	}
	return out, methodError(m.snippets(ctx, a.Account, f, messages, out.List))
}

// snippets fills in the snippets of messages.
func (m *Methods) snippets(ctx context.Context, a *mailstore.Account, f *emailFilter, messages []mailstore.MessageID, list []snippet) error {
	queries := f.wanted()
	if len(queries) == 0 {
		return nil
	}
	for r, err := range a.Records(ctx, messages, mailstore.WantStructure) {
		if err != nil {
			return err
		}
		if r.Missing {
			continue
		}
		if err := m.snippet(ctx, a, r, queries, &list[r.Index]); err != nil {
			return err
		}
	}
	return nil
}

// wanted are the queries of a filter whose hits are shown: not those behind NOT, nor those
// for other header fields.
func (f *emailFilter) wanted() []*search.Query {
	var out []*search.Query
	var walk func(n *filterNode, not bool)
	walk = func(n *filterNode, not bool) {
		if n.op == opText && !not {
			out = append(out, n.text.query)
		}
		for _, k := range n.kids {
			walk(k, not != (n.op == opNot))
		}
	}
	walk(&f.root, false)
	return out
}

// marks are where the words of some queries stand in a text, in order and apart.
func marks(queries []*search.Query, field search.Field, text []byte) []search.Mark {
	var all []search.Mark
	for _, q := range queries {
		all = append(all, q.Marks(field, text)...)
	}
	slices.SortFunc(all, func(a, b search.Mark) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End)) })
	out := all[:0]
	for _, m := range all {
		if n := len(out); n > 0 && m.Start < out[n-1].End {
			out[n-1].End = max(out[n-1].End, m.End)
			continue
		}
		out = append(out, m)
	}
	return out
}

// snippet makes one snippet.
func (m *Methods) snippet(ctx context.Context, a *mailstore.Account, r *mailstore.Record, queries []*search.Query, s *snippet) error {
	parsed, err := message.Decode(r.Structure)
	if err != nil {
		return err
	}
	subject := []byte(parsed.Subject)
	if at := marks(queries, search.FieldSubject, subject); len(at) > 0 {
		text := marked(subject, at)
		s.Subject = &text
	}
	body, err := a.Open(ctx, r.Body)
	if err != nil {
		return err
	}
	defer body.Close()
	left := snippetTextMax
	err = search.EachText(parsed, body, search.FieldsOf(search.FieldBody), func(_ search.Field, text io.Reader) error {
		preview, err := findPreview(text, queries, &left)
		if preview != "" {
			s.Preview = &preview
		}
		if err == nil && (preview != "" || left <= 0) {
			err = errSnippet
		}
		return err
	})
	if errors.Is(err, errSnippet) {
		err = nil
	}
	return err
}

// errSnippet ends the reading of texts.
var errSnippet = errors.New("found, or enough was read")

// findPreview reads a text piece by piece until a hit is in one. Pieces overlap, so that
// none cuts a hit, nor what is before it.
func findPreview(text io.Reader, queries []*search.Query, left *int) (string, error) {
	buf := make([]byte, 0, snippetPart)
	for {
		n, err := io.ReadFull(text, buf[len(buf):cap(buf)])
		*left -= n
		buf = buf[:len(buf)+n]
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			return "", err
		}
		whole := buf[:len(buf)-search.Partial(buf)]
		if at := marks(queries, search.FieldBody, whole); len(at) > 0 && (end || at[0].Start < len(whole)-2*previewMax) {
			return preview(whole, at), nil
		}
		if end || *left <= 0 {
			return "", nil
		}
		keep := min(len(buf), 4*previewMax)
		buf = buf[:copy(buf, buf[len(buf)-keep:])]
		for len(buf) > 0 && !utf8.RuneStart(buf[0]) {
			buf = buf[:copy(buf, buf[1:])]
		}
	}
}

// preview is the part of a text around its first hit, as HTML within previewMax octets.
func preview(text []byte, at []search.Mark) string {
	from := max(0, at[0].Start-snippetBefore)
	for from > 0 && from < at[0].Start && text[from-1] != ' ' && text[from-1] != '\n' {
		from++
	}
	const more = "…"
	var b strings.Builder
	if from > 0 {
		b.WriteString(more)
	}
	blank, shown := from > 0, false
	for i := from; i < len(text); {
		var piece string
		next, hit := i, false
		if len(at) > 0 && at[0].Start == i {
			piece, next = marked(text[i:at[0].End], []search.Mark{{End: at[0].End - i}}), at[0].End
			at, hit = at[1:], true
		} else {
			r, size := utf8.DecodeRune(text[i:])
			next = i + size
			if r == ' ' || r == '\n' || r == '\r' || r == '\t' { // lines mean nothing here
				if piece = " "; blank {
					piece = ""
				}
			} else {
				piece = escapeHTML(text[i:next])
			}
		}
		if b.Len()+len(piece)+len(more) > previewMax {
			if hit && !shown { // longer than a preview
				b.WriteString(cutMarked(text[i:next], previewMax-b.Len()-len(more)))
			}
			b.WriteString(more)
			break
		}
		if piece != "" {
			blank = piece == " "
		}
		b.WriteString(piece)
		i, shown = next, shown || hit
	}
	return strings.TrimSpace(b.String())
}

// cutMarked is as much of a hit as fits into so many octets.
func cutMarked(text []byte, most int) string {
	for len(text) > 0 {
		if s := marked(text, []search.Mark{{End: len(text)}}); len(s) <= most {
			return s
		}
		_, size := utf8.DecodeLastRune(text)
		text = text[:len(text)-size]
	}
	return ""
}

// marked is a text as HTML with hits in <mark> (RFC 8621, 5).
func marked(text []byte, at []search.Mark) string {
	var b strings.Builder
	done := 0
	for _, m := range at {
		b.WriteString(escapeHTML(text[done:m.Start]))
		b.WriteString("<mark>")
		b.WriteString(escapeHTML(text[m.Start:m.End]))
		b.WriteString("</mark>")
		done = m.End
	}
	b.WriteString(escapeHTML(text[done:]))
	return b.String()
}

// htmlEscaper puts entities in place of what means something in HTML.
var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")

func escapeHTML(text []byte) string {
	return htmlEscaper.Replace(strings.ToValidUTF8(string(text), "\ufffd"))
}
