package imapd

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"

	"postroad/imap"
	"postroad/internal/blob"
	"postroad/internal/blob/memblob"
	"postroad/internal/kv/hlc"
	"postroad/internal/kv/memkv"
	"postroad/internal/mailflow"
	"postroad/internal/mailstore"
	"postroad/message"
)

// alphabets are texts in the charsets that mail of their languages comes in.
var alphabets = []struct{ charset, words string }{
	{"us-ascii", "the quick brown fox o'clock e-mail foo.bar@example.org v1.2.3 under_score https://example.com/a?b=c"},
	{"utf-8", "naïve café Größe STRASSE straße ﬁne ＷＩＤＥ İstanbul ǆ Ǆ 😀 e\u0301te\u0301"},
	{"iso-8859-1", "élève façon Übergröße mañana são Ångström"},
	{"iso-8859-2", "žluťoučký kůň příliš łódź őrült"},
	{"iso-8859-7", "ΚΑΛΗΜΕΡΑ κόσμος λόγος"},
	{"iso-8859-9", "ığdır şişe İzmir güneş"},
	{"koi8-r", "Привет СЛОВО дело ёлка"},
	{"windows-1251", "Україна їжак МОСКВА"},
	{"windows-1255", "שלום עולם"},
	{"windows-1256", "مرحبا بالعالم"},
	{"windows-874", "ภาษาไทย สวัสดีครับ"},
	{"shift_jis", "日本語の検索 テキスト ひらがな ｶﾀｶﾅ"},
	{"euc-jp", "東京都 京都 全文検索"},
	{"iso-2022-jp", "会議の議事録 カタカナ"},
	{"gb18030", "中文搜索 北京 你好"},
	{"big5", "繁體中文 搜尋 臺北"},
	{"euc-kr", "한국어 검색 안녕하세요"},
}

// randomMail makes a message, in one or two of the alphabets.
func randomMail(r *rand.Rand) []byte {
	var b bytes.Buffer
	pick := func() (string, encoding.Encoding, []string) {
		s := alphabets[r.Intn(len(alphabets))]
		e, err := htmlindex.Get(s.charset)
		if err != nil {
			panic(err)
		}
		return s.charset, e, strings.Fields(s.words)
	}
	text := func(e encoding.Encoding, words []string, n int) string {
		var t strings.Builder
		for range n {
			t.WriteString(words[r.Intn(len(words))])
			t.WriteString([]string{" ", " ", " ", "\r\n", "", "-", ", "}[r.Intn(7)])
		}
		out, err := e.NewEncoder().String(t.String())
		if err != nil {
			out, _ = encoding.ReplaceUnsupported(e.NewEncoder()).String(t.String())
		}
		return out
	}
	charset, e, words := pick()
	subject := strings.NewReplacer("\r", "", "\n", " ").Replace(text(e, words, 3))
	fmt.Fprintf(&b, "From: =?%s?b?%s?= <user%d@example.org>\r\nTo: list@example.net, \"A, B\" <c@d.example> (comment)\r\n", charset,
		base64.StdEncoding.EncodeToString([]byte(text(e, words, 1))), r.Intn(9))
	fmt.Fprintf(&b, "Subject: =?%s?b?%s?=\r\nX-Mailer: thing %d.%d\r\nDKIM-Signature: v=1; b=abcdefquickghi\r\nMIME-Version: 1.0\r\n", charset, base64.StdEncoding.EncodeToString([]byte(subject)), r.Intn(9), r.Intn(99))
	part := func() {
		charset, e, words := pick()
		body := text(e, words, 2+r.Intn(40))
		kind := "plain"
		if r.Intn(3) == 0 {
			kind, body = "html", "<html><style>p{}</style><p class=\"x\">"+strings.ReplaceAll(body, "\r\n", "<br>\r\n")+"</p>&eacute;t&#233;</html>"
		}
		if r.Intn(9) == 0 {
			body += "\xff\xc3(" + strings.Repeat("longword", 1+r.Intn(20))
		}
		fmt.Fprintf(&b, "Content-Type: text/%s; charset=%s\r\n", kind, charset)
		if r.Intn(2) == 0 {
			fmt.Fprintf(&b, "Content-Transfer-Encoding: base64\r\n\r\n%s\r\n", base64.StdEncoding.EncodeToString([]byte(body)))
		} else {
			fmt.Fprintf(&b, "Content-Transfer-Encoding: 8bit\r\n\r\n%s\r\n", body)
		}
	}
	switch r.Intn(3) {
	case 0:
		part()
	default:
		b.WriteString("Content-Type: multipart/mixed; boundary=bb\r\n\r\n")
		for n := 1 + r.Intn(2); n > 0; n-- {
			b.WriteString("--bb\r\n")
			part()
		}
		b.WriteString("--bb\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner letter\r\nX-Inner: yes\r\n\r\nwithin\r\n")
		b.WriteString("--bb\r\nContent-Type: application/pdf; name=\"Report 7.pdf\"\r\n\r\nx\r\n--bb--\r\n")
	}
	return b.Bytes()
}

// randomText is something to look for: a piece of the words of a script, or of a header.
func randomText(r *rand.Rand) string {
	source := []rune(alphabets[r.Intn(len(alphabets))].words)
	if r.Intn(6) == 0 {
		source = []rune([]string{"Subject: inner letter", "X-Mailer: thing 3.14", "longwordlongwordlongwordlongwordlongword", "Report 7.pdf", "été", "user3@example.org", "content-type", "<p class=", "list@example.net, A, B", "abcdefquickghi"}[r.Intn(10)])
	}
	from := r.Intn(len(source))
	text := string(source[from:min(len(source), from+1+r.Intn([]int{2, 6, 24}[r.Intn(3)]))])
	switch r.Intn(4) {
	case 0:
		return strings.ToUpper(text)
	case 1:
		return strings.ToLower(text)
	}
	return text
}

// randomKey is a search of some depth.
func randomKey(r *rand.Rand, depth int) imap.SearchKey {
	if depth > 0 {
		switch r.Intn(5) {
		case 0:
			return imap.SearchKey{Op: imap.SearchAnd, Keys: []imap.SearchKey{randomKey(r, depth-1), randomKey(r, depth-1)}}
		case 1:
			return imap.SearchKey{Op: imap.SearchOr, Keys: []imap.SearchKey{randomKey(r, depth-1), randomKey(r, depth-1)}}
		case 2:
			return imap.SearchKey{Op: imap.SearchNot, Keys: []imap.SearchKey{randomKey(r, depth-1)}}
		}
	}
	ops := []imap.SearchOp{imap.SearchBody, imap.SearchBody, imap.SearchText, imap.SearchText, imap.SearchSubject, imap.SearchFrom, imap.SearchTo, imap.SearchHeader}
	k := imap.SearchKey{Op: ops[r.Intn(len(ops))], Text: randomText(r)}
	if k.Op == imap.SearchHeader {
		k.Field = []string{"Subject", "X-Mailer", "DKIM-Signature", "X-None", "To"}[r.Intn(5)]
		if r.Intn(4) == 0 {
			k.Text = ""
		}
	}
	return k
}

// TestSearchEqualsScan holds answers with the index against answers without, on random
// mail in many charsets. POSTROAD_SEARCH_QUERIES says how many queries: 10,000 are the
// whole of it.
func TestSearchEqualsScan(t *testing.T) {
	queries, seed := 150, int64(1)
	if v := os.Getenv("POSTROAD_SEARCH_QUERIES"); v != "" {
		var err error
		if queries, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
		seed = time.Now().UnixNano()
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewSource(seed))
	engine, clock := memkv.New(), hlc.NewClock(1)
	t.Cleanup(func() { engine.Close() })
	bodies := blob.NewBodies(engine, memblob.New(), clock)
	store := mailstore.New(mailstore.Options{Committer: &mailflow.Committer{Engine: engine, Bodies: bodies}, Clock: clock})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id := clock.Next()
	must(store.Create(ctx, id, mailstore.Quota{}))
	a, err := store.Account(ctx, id)
	must(err)
	tree, err := a.Tree(ctx)
	must(err)
	inbox := tree.Name(imap.Inbox)
	for i := range 230 {
		raw := randomMail(r)
		body, err := bodies.Stage(ctx, bytes.NewReader(raw), 1<<20)
		must(err)
		m, err := message.Parse(bytes.NewReader(raw), message.Limits{})
		must(err)
		_, err = a.Append(ctx, inbox.ID, &mailstore.Incoming{Body: body, Message: m, InternalDate: time.Now()})
		must(err)
		if i == 99 || i == 199 { // the last 30 stay records
			must(a.TendIndex(ctx, nil))
		}
	}
	view, err := a.View(ctx, inbox.ID)
	must(err)
	defer view.Close()
	snapshot, err := view.Snapshot(ctx)
	must(err)
	s := &Session{backend: New(Options{Store: store}), account: a}
	m := &selected{account: a, id: inbox.ID, own: true, view: view, snapshot: snapshot}
	hits, some := 0, 0
	for range queries {
		key := randomKey(r, 2)
		with := newQuery(s, m, &key, time.Now())
		got, err := with.find(ctx, &key, everything)
		must(err)
		plain := newQuery(s, m, &key, time.Now())
		plain.index = indexed{}
		want, err := plain.find(ctx, &key, everything)
		must(err)
		if got.String() != want.String() {
			t.Fatalf("%+v: with the index %s, without %s", key, got, want)
		}
		if hits += int(got.Count()); got.Count() > 0 {
			some++
		}
	}
	t.Logf("%d queries, %d found something, %d messages in all", queries, some, hits)
	if some < queries/4 {
		t.Fatalf("only %d of %d queries found something", some, queries)
	}
	must(a.Check(ctx, true, func(f mailstore.Finding) { t.Error(f) }))
}
