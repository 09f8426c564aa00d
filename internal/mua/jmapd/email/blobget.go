package email

import (
	"context"
	"crypto/sha1" // of RFC 9404's digest:sha; nothing is trusted because of it
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"postroad/internal/mailstore"
	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// digestNames are the algorithms of "digest:…", by their names in the IANA registry of HTTP
// digests.
var digestNames = []string{"sha", "sha-256", "sha-512"}

// newDigest begins a digest; nil for one that is not known.
func newDigest(name string) hash.Hash {
	switch name {
	case "sha":
		return sha1.New()
	case "sha-256":
		return sha256.New()
	case "sha-512":
		return sha512.New()
	}
	return nil
}

// matches sorts a message into what Blob/lookup asks for.
func matches(matched map[string][]string, e mailstore.Email) {
	for name := range matched {
		switch name {
		case "Email":
			matched[name] = []string{e.ID.String()}
		case "Thread":
			matched[name] = []string{mailstore.FormatThreadID(e.Thread)}
		case "Mailbox":
			for _, id := range e.Mailboxes {
				matched[name] = append(matched[name], mailstore.FormatMailboxID(id))
			}
		}
	}
}

// isBlobProperty tells whether a name is a property of Blob/get (RFC 9404, 4.2).
func isBlobProperty(name string) bool {
	switch name {
	case "id", "data", "data:asText", "data:asBase64", "size":
		return true
	}
	digest, ok := strings.CutPrefix(name, "digest:")
	return ok && slices.Contains(digestNames, digest)
}

// blobRange is what a Blob/get wants of each blob.
type blobRange struct {
	properties     []string
	offset, length *float64
	left           int64 // octets that may still be returned
	work           int64 // octets that digests were made of
}

// wants tells whether one of the properties is asked for.
func (r *blobRange) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(r.properties, n) })
}

// getBlobs is Blob/get (RFC 9404, 4.2).
func (m *Methods) getBlobs(ctx context.Context, c *jmap.Call) (any, error) {
	var args jmap.Properties
	if err := readArguments(c, &args, "accountId", "ids", "properties", "offset", "length"); err != nil {
		return nil, err
	}
	a, account, err := m.accountOf(ctx, c, args, "accountId")
	if err != nil {
		return nil, err
	}
	var ids []jmap.ID
	r := &blobRange{left: blobDataMax}
	err = errors.Join(argument(args, "ids", &ids), argument(args, "properties", &r.properties), argument(args, "offset", &r.offset), argument(args, "length", &r.length))
	if err != nil {
		return nil, jmap.InvalidArguments("%s", err)
	}
	if ids == nil {
		return nil, jmap.InvalidArguments("ids: missing")
	}
	if len(ids) > blobsMax {
		return nil, jmap.ErrRequestTooLarge.With("more than %d ids", blobsMax)
	}
	if r.properties == nil {
		r.properties = []string{"data", "size"}
	}
	for _, p := range r.properties {
		if !isBlobProperty(p) {
			return nil, jmap.InvalidArguments("properties: %q is no property of a blob", p)
		}
	}
	for _, n := range []*float64{r.offset, r.length} {
		if n != nil && (*n < 0 || *n > jmap.MaxInt || *n != float64(int64(*n))) {
			return nil, jmap.InvalidArguments("offset, length: no UnsignedInt")
		}
	}
	list, missing := []jmap.Object{}, []jmap.ID{}
	for _, given := range ids {
		id, ok := c.Resolve(given)
		var o jmap.Object
		err := jmap.ErrBlobNotFound
		if ok {
			o, err = m.getBlob(ctx, access.Of(c), a, id, r)
		}
		if errors.Is(err, jmap.ErrBlobNotFound) {
			missing = append(missing, given)
			continue
		}
		if err != nil {
			return nil, methodError(err)
		}
		list = append(list, o)
	}
	return map[string]any{"accountId": account, "list": list, "notFound": missing}, nil
}

// getBlob makes the object of one blob.
func (m *Methods) getBlob(ctx context.Context, u *access.User, a *access.Account, id jmap.ID, r *blobRange) (jmap.Object, error) {
	blob, err := m.openBlob(ctx, u, a, id)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	from, n, whole := span(r.offset, r.length, blob.size)
	out := jmap.Object{"id": id, "isTruncated": !whole, "isEncodingProblem": false}
	if r.wants("size") {
		out["size"] = blob.size
	}
	if err := digests(out, r, io.NewSectionReader(blob, from, n)); err != nil {
		return nil, err
	}
	if !r.wants("data", "data:asText", "data:asBase64") {
		return out, nil
	}
	if r.left -= n; r.left < 0 {
		return nil, jmap.ErrRequestTooLarge.With("the data asked for has more than %d octets: download it", blobDataMax)
	}
	data, err := io.ReadAll(io.NewSectionReader(blob, from, n))
	if err != nil {
		return nil, err
	}
	text := utf8.Valid(data)
	if r.wants("data", "data:asText") {
		out["isEncodingProblem"] = !text
	}
	switch {
	case text && r.wants("data", "data:asText"):
		out["data:asText"] = string(data)
	case r.wants("data:asText"):
		out["data:asText"] = nil
	}
	if r.wants("data:asBase64") || r.wants("data") && !text {
		out["data:asBase64"] = base64.StdEncoding.EncodeToString(data)
	}
	return out, nil
}

// digests adds the digests that were asked for.
func digests(out jmap.Object, r *blobRange, octets *io.SectionReader) error {
	hashes := map[string]hash.Hash{}
	var writers []io.Writer
	for _, p := range r.properties {
		if name, ok := strings.CutPrefix(p, "digest:"); ok && hashes[p] == nil {
			hashes[p] = newDigest(name)
			writers = append(writers, hashes[p])
		}
	}
	if len(writers) == 0 {
		return nil
	}
	if r.work += octets.Size() * int64(len(writers)); r.work > blobWorkMax {
		return errBlobWork
	}
	if _, err := io.Copy(io.MultiWriter(writers...), octets); err != nil {
		return err
	}
	for p, h := range hashes {
		out[p] = base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return nil
}
