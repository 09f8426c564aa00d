package email

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/internal/objects"
	"postroad/jmap"
)

// octetsOf reads a blob as a user.
func (h *bodyHouse) octetsOf(user, account string, id jmap.ID) (string, error) {
	h.t.Helper()
	b, err := h.m.OpenBlob(context.Background(), h.users[user], h.open(user, account), id)
	if err != nil {
		return "", err
	}
	defer b.Close()
	octets, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	return string(octets), err
}

// TestNobodysBlobs: nobody reads another one's blobs, nor what is no blob.
func TestNobodysBlobs(t *testing.T) {
	h := newBodyHouse(t, Options{})
	private, shared := h.deliver("alice", structured), h.deliver("alice", structured, "Archive")
	h.share("alice", "Archive", "bob", "lr")
	own := h.upload("alice", "alice", "", "secret")
	guests := h.upload("bob", "bob", "", "bob's")
	g := func(id string) jmap.ID { return jmap.ID("G" + id[1:]) }
	for _, c := range []struct {
		name, user, account string
		id                  jmap.ID
		readable            bool
	}{
		{"her message", "alice", "alice", g(private), true},
		{"a part of it", "alice", "alice", g(private) + "-2_1_1_2", true},
		{"a part within a message in it", "alice", "alice", g(private) + "-2_4-1", true},
		{"her upload", "alice", "alice", own, true},
		{"a shared message", "bob", "alice", g(shared), true},
		{"a part of a shared message", "bob", "alice", g(shared) + "-1", true},
		{"a message in a mailbox that is not shared", "bob", "alice", g(private), false},
		{"a part of it", "bob", "alice", g(private) + "-1", false},
		{"a shared message by another account's id", "bob", "bob", g(shared), false},
		{"another one's upload in a shared account", "bob", "alice", own, false},
		{"another one's upload", "bob", "bob", own, false},
		{"one's own upload through another account", "bob", "alice", guests, false},
		{"an upload as a message", "alice", "alice", "G" + own[1:], false},
		{"a message as an upload", "alice", "alice", jmap.ID("U" + private[1:]), false},
		{"a multipart", "alice", "alice", g(private) + "-2", false},
		{"a part that is not there", "alice", "alice", g(private) + "-4", false},
		{"a part of a leaf", "alice", "alice", g(private) + "-1_1", false},
		{"a part of what is no message", "alice", "alice", g(private) + "-2_2-1", false},
		{"number 0", "alice", "alice", g(private) + "-0", false},
		{"a number with a zero before", "alice", "alice", g(private) + "-01", false},
		{"a huge number", "alice", "alice", g(private) + "-99999999999999999999", false},
		{"an empty path", "alice", "alice", g(private) + "-", false},
		{"too many steps", "alice", "alice", g(private) + jmap.ID(strings.Repeat("-1", 33)), false},
		{"nonsense", "alice", "alice", "nonsense", false},
		{"nothing", "alice", "alice", "", false},
		{"an account", "alice", "alice", h.account("alice"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.octetsOf(c.user, c.account, c.id)
			if c.readable && err != nil || !c.readable && !errors.Is(err, jmap.ErrBlobNotFound) {
				t.Errorf("open: %v", err)
			}
			args := fmt.Sprintf(`"ids": [%q]`, c.id)
			if found := len(h.call(c.user, "Blob/get", c.account, args)["list"].([]any)) == 1; found != c.readable {
				t.Errorf("Blob/get finds it: %v", found)
			}
			r := h.call(c.user, "Email/parse", c.account, fmt.Sprintf(`"blobIds": [%q]`, c.id))
			if missing := r["notFound"] != nil; missing == c.readable {
				t.Errorf("Email/parse: %v", r)
			}
			r = h.call(c.user, "Email/set", c.user, fmt.Sprintf(`"create": {"c": {"mailboxIds": {%q: true}, "attachments": [{"blobId": %q}]}}`, h.box(c.user, "INBOX"), c.id))
			own := c.readable && c.user == c.account || c.id == guests
			if (r["created"] != nil) != own {
				t.Errorf("Email/set: %v", r)
			}
			r = h.call(c.user, "Email/import", c.user, fmt.Sprintf(`"emails": {"c": {"mailboxIds": {%q: true}, "blobId": %q}}`, h.box(c.user, "INBOX"), c.id))
			if r["created"] != nil && !own {
				t.Errorf("Email/import: %v", r)
			}
			matched := at(h.call(c.user, "Blob/lookup", c.account, `"typeNames": ["Email"], `+args), "list", 0, "matchedIds", "Email").([]any)
			if len(matched) > 0 && !c.readable && strings.HasPrefix(string(c.id), "G") && c.user == "bob" {
				t.Errorf("Blob/lookup tells of %v", matched)
			}
		})
	}
	if _, _, err := h.m.Upload(t.Context(), h.users["bob"], h.open("bob", "alice"), "", strings.NewReader("x")); !errors.Is(err, jmap.ErrAccountReadOnly) {
		t.Errorf("an upload to an account that may only be read: %v", err)
	}
	h.share("alice", "Archive", "bob", "lri")
	id := h.upload("bob", "alice", "", "for alice")
	if text, err := h.octetsOf("bob", "alice", id); err != nil || text != "for alice" {
		t.Errorf("an upload of one's own in a shared account: %q %v", text, err)
	}
	if _, err := h.octetsOf("alice", "alice", id); !errors.Is(err, jmap.ErrBlobNotFound) {
		t.Errorf("the owner of the account reads a guest's upload: %v", err)
	}
	if r := h.try("carol", "Blob/get", "alice", `"ids": []`); r["error"] != "accountNotFound" {
		t.Errorf("a stranger: %v", r)
	}
}

// TestDecodedRanges reads decoded parts at any place.
func TestDecodedRanges(t *testing.T) {
	h := newBodyHouse(t, Options{})
	want := make([]byte, 50_000)
	for i := range want {
		want[i] = byte(i * 7)
	}
	encoded := base64.StdEncoding.EncodeToString(want)
	var lines strings.Builder
	for ; len(encoded) > 76; encoded = encoded[76:] {
		lines.WriteString(encoded[:76] + "\r\n")
	}
	id := h.deliver("alice", crlf("Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n")+lines.String()+encoded)
	b, err := h.m.OpenBlob(t.Context(), h.users["alice"], h.open("alice", "alice"), jmap.ID("G"+id[1:]+"-1"))
	must(t, err)
	defer b.Close()
	if b.Size() != int64(len(want)) {
		t.Fatalf("size %d", b.Size())
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		from := random.IntN(len(want) + 10)
		p := make([]byte, random.IntN(3000))
		n, err := b.ReadAt(p, int64(from))
		end := min(len(want), from+len(p))
		if from < end && string(p[:n]) != string(want[from:end]) || (n < len(p)) != (err == io.EOF) {
			t.Fatalf("%d octets at %d: %d, %v", len(p), from, n, err)
		}
	}
}

// TestUploadBounds holds the bounds of what nothing refers to.
func TestUploadBounds(t *testing.T) {
	h := newBodyHouse(t, Options{UploadBytesMax: 1000, UploadsBytesMax: 2500})
	a, u := h.open("alice", "alice"), h.users["alice"]
	if _, _, err := h.m.Upload(t.Context(), u, a, "", strings.NewReader(strings.Repeat("x", 1001))); !errors.Is(err, jmap.ErrOverQuota) {
		t.Errorf("too large an upload: %v", err)
	}
	broken := errors.New("the client went away")
	if _, _, err := h.m.Upload(t.Context(), u, a, "", iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("a broken upload: %v", err)
	}
	var ids []jmap.ID
	for i := range 4 {
		ids = append(ids, h.upload("alice", "alice", "", strings.Repeat(fmt.Sprint(i), 800)))
	}
	for i, id := range ids {
		_, err := h.octetsOf("alice", "alice", id)
		if gone := errors.Is(err, jmap.ErrBlobNotFound); gone != (i == 0) {
			t.Errorf("upload %d: %v", i, err)
		}
	}
}

// TestUploadLife ends uploads an hour after their last use, also those of a server that was
// stopped meanwhile, and leaves what a message holds.
func TestUploadLife(t *testing.T) {
	h := newBodyHouse(t, Options{})
	used, unused := h.upload("alice", "alice", "", "used"), h.upload("alice", "alice", "", "unused")
	kept := h.upload("alice", "alice", "message/rfc822", "Subject: kept\r\n\r\nbody\r\n")
	r := h.call("alice", "Email/import", "alice", fmt.Sprintf(`"emails": {"c": {"mailboxIds": {%q: true}, "blobId": %q}}`, h.box("alice", "INBOX"), kept))
	message, _ := at(r, "created", "c", "id").(string)
	ctx, now := t.Context(), time.Now()

	b, _ := parseBlobID(used)
	up, err := h.m.findUpload(ctx, h.users["alice"], h.open("alice", "alice"), b.of)
	must(t, err)
	_, err = h.m.touchUpload(ctx, up, now.Add(59*time.Minute))
	must(t, err)
	fresh := New(h.access, Options{}) // after a restart
	must(t, fresh.sweepUploads(ctx, now.Add(uploadLife)))
	if _, err := h.octetsOf("alice", "alice", unused); err != nil {
		t.Errorf("within the hour: %v", err)
	}
	must(t, fresh.sweepUploads(ctx, now.Add(uploadLife+uploadTouch+time.Minute)))
	for id, there := range map[jmap.ID]bool{used: true, unused: false, kept: false} {
		if _, err := h.octetsOf("alice", "alice", id); (err == nil) != there || err != nil && !errors.Is(err, jmap.ErrBlobNotFound) {
			t.Errorf("upload %s: %v", id, err)
		}
	}
	if n, err := blob.NewCollector(h.access.Bodies, blob.CollectorOptions{}).Collect(ctx); err != nil || n != 1 {
		t.Errorf("%d bodies collected: %v", n, err)
	}
	if text := h.raw("alice", message); text != "Subject: kept\r\n\r\nbody\r\n" {
		t.Errorf("the message is %q", text)
	}
	must(t, h.access.Mail.Delete(ctx, h.users["alice"].ID))
	must(t, fresh.sweepUploads(ctx, now.Add(24*time.Hour)))
	if over, err := fresh.uploadsOver(ctx, now.Add(48*time.Hour)); err != nil || len(over) != 0 {
		t.Errorf("uploads of an account that is gone: %v %v", over, err)
	}
}

// TestKeepBlob links uploads and copies other blobs.
func TestKeepBlob(t *testing.T) {
	h := newBodyHouse(t, Options{})
	up, id := h.upload("alice", "alice", "", "octets"), h.deliver("alice", structured)
	for _, given := range []jmap.ID{up, jmap.ID("G" + id[1:] + "-1")} { // the upload ends meanwhile
		want := map[bool]string{true: "octets", false: "A"}[given == up]
		var body blob.Body
		must(t, h.access.Committer.Commit(t.Context(), func(ctx context.Context, u *mailflow.Unit) (err error) {
			body, err = h.m.KeepBlob(ctx, u, h.users["alice"], h.open("alice", "alice"), given, "x/"+string(given))
			return err
		}))
		must(t, h.m.sweepUploads(t.Context(), time.Now().Add(2*time.Hour)))
		if _, err := blob.NewCollector(h.access.Bodies, blob.CollectorOptions{}).Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, err := h.access.Bodies.Open(t.Context(), blob.Body{ID: body.ID, Size: body.Size})
		must(t, err)
		got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q %v", given, got, err)
		}
	}
	if list, _, err := h.access.Objects.All(t.Context(), h.users["alice"].ID, objects.Upload, 0, 0); err != nil || len(list) != 0 {
		t.Errorf("%d uploads are left: %v", len(list), err)
	}
}

// TestBlobMethods is RFC 9404.
func TestBlobMethods(t *testing.T) {
	h := newBodyHouse(t, Options{UploadBytesMax: 1000})
	request := jmap.NewCall("Blob/upload", h.args("alice", `"create": {
		"b4": {"data": [{"data:asText": "The quick brown fox jumped over the lazy dog."}]},
		"cat": {"type": "text/plain", "data": [{"data:asText": "How"}, {"blobId": "#b4", "length": 7, "offset": 3}, {"data:asText": "was t"}, {"blobId": "#b4", "length": 1, "offset": 1}, {"data:asBase64": "YXQ/"}]},
		"empty": {"data": []},
		"binary": {"data": [{"data:asBase64": "/wA="}]}}`), h.users["alice"], nil)
	r := h.within(request)
	ids := map[string]string{}
	for name, size := range map[string]float64{"b4": 45, "cat": 19, "empty": 0, "binary": 2} {
		ids[name], _ = at(r, "created", name, "id").(string)
		if at(r, "created", name, "size") != size {
			t.Errorf("%s: %v", name, r)
		}
	}
	same(t, "type", at(r, "created", "cat", "type"), `"text/plain"`)
	for _, c := range []struct{ name, args, want string }{
		{"all", `"ids": ["CAT"]`, `{"id": "CAT", "data:asText": "How quick was that?", "size": 19, "isTruncated": false, "isEncodingProblem": false}`},
		{"binary", `"ids": ["BINARY"]`, `{"id": "BINARY", "data:asBase64": "/wA=", "size": 2, "isTruncated": false, "isEncodingProblem": true}`},
		{"binary as text", `"ids": ["BINARY"], "properties": ["data:asText"]`, `{"id": "BINARY", "data:asText": null, "isTruncated": false, "isEncodingProblem": true}`},
		{"base64", `"ids": ["CAT"], "properties": ["data:asBase64"], "offset": 4, "length": 5}`[:len(`"ids": ["CAT"], "properties": ["data:asBase64"], "offset": 4, "length": 5`)], `{"id": "CAT", "data:asBase64": "cXVpY2s=", "isTruncated": false, "isEncodingProblem": false}`},
		{"beyond the end", `"ids": ["CAT"], "properties": ["data"], "offset": 15, "length": 50`, `{"id": "CAT", "data:asText": "hat?", "isTruncated": true, "isEncodingProblem": false}`},
		{"digests", `"ids": ["B4"], "properties": ["digest:sha", "digest:sha-256"], "offset": 4, "length": 9`, `{"id": "B4", "digest:sha": "QiRAPtfyX8K6tm1iOAtZ87Xj3Ww=", "digest:sha-256": "gdg9INW7lwHK6OQ9u0dwDz2ZY/gubi0En0xlFpKt0OA=", "isTruncated": false, "isEncodingProblem": false}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			fill := strings.NewReplacer("B4", ids["b4"], "CAT", ids["cat"], "BINARY", ids["binary"])
			same(t, "blob", at(h.call("alice", "Blob/get", "alice", fill.Replace(c.args)), "list", 0), fill.Replace(c.want))
		})
	}
	for _, bad := range []string{
		`{"data": [{"data:asText": "a", "data:asBase64": "YQ=="}]}`, `{"data": [{}]}`, `{"data": [{"data:asBase64": "YQ"}]}`, `{"data": [{"data:asBase64": "Y Q="}]}`,
		`{"data": [{"blobId": "` + ids["b4"] + `", "offset": 40, "length": 6}]}`, `{"data": [{"blobId": "` + ids["b4"] + `", "offset": 46}]}`, `{"data": [{"blobId": "` + ids["b4"] + `", "offset": -1}]}`,
		`{"data": [{"data:asText": "a", "offset": 1}]}`, `{"data": [{"data:asText": 1}]}`, `{"data": "a"}`, `{}`, `{"data": [], "more": 1}`, `{"data": [{"data:asText": "a", "more": 1}]}`,
	} {
		r := h.call("alice", "Blob/upload", "alice", `"create": {"c": `+bad+`}`)
		if at(r, "notCreated", "c", "type") != "invalidProperties" {
			t.Errorf("%s: %v", bad, r)
		}
	}
	r = h.call("alice", "Blob/upload", "alice", `"create": {"c": {"data": [{"data:asText": "`+strings.Repeat("x", 1001)+`"}]}, "d": {"data": [{"blobId": "U0000000000001"}]}, "e": {"data": [{"blobId": "#later"}]}}`)
	for name, kind := range map[string]string{"c": "tooLarge", "d": "blobNotFound", "e": "blobNotFound"} {
		if at(r, "notCreated", name, "type") != kind {
			t.Errorf("%s: %v", name, r)
		}
	}
	for _, c := range []struct{ method, args, kind string }{
		{"Blob/get", `"ids": [], "properties": ["digest:crc"]`, "invalidArguments"},
		{"Blob/get", `"ids": [], "offset": -1`, "invalidArguments"},
		{"Blob/get", `"ids": null`, "invalidArguments"},
		{"Blob/lookup", `"typeNames": ["Calendar"], "ids": []`, "unknownDataType"},
		{"Blob/lookup", `"ids": []`, "invalidArguments"},
		{"Blob/copy", `"fromAccountId": "Anothere", "blobIds": []`, "fromAccountNotFound"},
		{"Blob/upload", `"create": []`, "invalidArguments"},
		{"Blob/upload", `"create": {"a b": {}}`, "invalidArguments"},
	} {
		if r := h.try("alice", c.method, "alice", c.args); r["error"] != c.kind {
			t.Errorf("%s %s: %v", c.method, c.args, r)
		}
	}
}

func TestLookupAndCopy(t *testing.T) {
	h := newBodyHouse(t, Options{})
	id := h.deliver("alice", structured)
	h.share("alice", "INBOX", "bob", "lr")
	g := "G" + id[1:]
	r := h.call("alice", "Blob/lookup", "alice", fmt.Sprintf(`"typeNames": ["Mailbox", "Thread", "Email"], "ids": [%q, "not-a-blob", %q]`, g+"-1", g))
	want := fmt.Sprintf(`{"Mailbox": [%q], "Thread": [%q], "Email": [%q]}`, h.box("alice", "INBOX"), "T"+id[1:], id)
	same(t, "lookup", r["list"], fmt.Sprintf(`[{"id": %q, "matchedIds": %s}, {"id": "not-a-blob", "matchedIds": {"Mailbox": [], "Thread": [], "Email": []}}, {"id": %q, "matchedIds": %s}]`, g+"-1", want, g, want))
	r = h.call("bob", "Blob/copy", "bob", fmt.Sprintf(`"fromAccountId": %q, "blobIds": [%q, "U0000000000001"]`, h.account("alice"), g+"-2_1_1_2"))
	copied, _ := at(r, "copied", g+"-2_1_1_2").(string)
	if text, err := h.octetsOf("bob", "bob", jmap.ID(copied)); err != nil || text != "C" {
		t.Errorf("the copy: %q %v", text, err)
	}
	same(t, "not copied", at(r, "notCopied", "U0000000000001", "type"), `"notFound"`)
}

func FuzzParseBlobID(f *testing.F) {
	for _, s := range []string{"G0sd1xggh00101", "G0sd1xggh00101-1_2-3", "U0sd1xggh00101-1", "G-", "U__-_1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, ok := parseBlobID(jmap.ID(s))
		if !ok {
			return
		}
		again := string(b.kind) + b.of.String()
		for _, p := range b.path {
			again += "-" + number(p, '_')
		}
		if !strings.EqualFold(again, s) {
			t.Errorf("%q is written %q", s, again)
		}
	})
}

// TestRun sweeps as time passes: an upload that is used lives on, one that is not goes.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newBodyHouse(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.m.Run(ctx) }()
		used, unused := h.upload("alice", "alice", "", "used"), h.upload("alice", "alice", "", "unused")
		for range 10 {
			time.Sleep(20 * time.Minute)
			if _, err := h.octetsOf("alice", "alice", used); err != nil {
				t.Fatalf("the upload that is used: %v", err)
			}
		}
		list, _, err := h.access.Objects.All(ctx, h.users["alice"].ID, objects.Upload, 0, 0)
		if err != nil || len(list) != 1 {
			t.Errorf("%d uploads are left: %v", len(list), err)
		}
		if _, err := h.octetsOf("alice", "alice", unused); !errors.Is(err, jmap.ErrBlobNotFound) {
			t.Errorf("the upload that is not used: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := h.octetsOf("alice", "alice", used); !errors.Is(err, jmap.ErrBlobNotFound) {
			t.Errorf("two hours after the last use: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestWorkBounds holds what one call may want done.
func TestWorkBounds(t *testing.T) {
	h := newBodyHouse(t, Options{UploadBytesMax: 48 << 20, MessageBytesMax: 48 << 20})
	big := h.upload("alice", "alice", "", "Subject: x\r\n\r\n"+strings.Repeat("x", 48<<20-20))
	ids := strings.Repeat(fmt.Sprintf("%q,", big), 12)
	if r := h.try("alice", "Blob/get", "alice", `"properties": ["digest:sha-256"], "ids": [`+ids[:len(ids)-1]+`]`); r["error"] != "requestTooLarge" {
		t.Errorf("digests of %d MB: %v", 12*48, r["error"])
	}
	if r := h.try("alice", "Blob/get", "alice", fmt.Sprintf(`"ids": [%q]`, big)); r["error"] != "requestTooLarge" {
		t.Errorf("data of 48 MB: %v", r["error"])
	}
	many := make([]string, propertiesMax+1)
	for i := range many {
		many[i] = fmt.Sprintf(`"header:X-%d"`, i)
	}
	for _, argument := range []string{"properties", "bodyProperties"} {
		if r := h.try("alice", "Email/get", "alice", fmt.Sprintf(`"ids": [], %q: [%s]`, argument, strings.Join(many, ","))); r["error"] != "invalidArguments" {
			t.Errorf("%d %s: %v", len(many), argument, r)
		}
	}
}
