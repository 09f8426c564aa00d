package email

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"

	"postroad/internal/mua/jmapd/access"
	"postroad/jmap"
)

// CapabilityBlob is that of RFC 9404.
const CapabilityBlob = "urn:ietf:params:jmap:blob"

// capabilityCore is that of Blob/copy.
const capabilityCore = "urn:ietf:params:jmap:core"

// Limits of the methods about blobs.
const (
	blobSourcesMax = 64      // of one upload (RFC 9404, 3: at least 64)
	blobsMax       = 1000    // in one call
	blobDataMax    = 8 << 20 // octets of blobs that one Blob/get returns

	// blobWorkMax bounds the octets that one call reads to parse them, to make digests of
	// them, or to write them to new blobs.
	blobWorkMax = 512 << 20
)

// errBlobWork says that a call wants more done than one call may.
var errBlobWork = jmap.ErrRequestTooLarge.With("the blobs have more than %d octets in all: name fewer in one call", int64(blobWorkMax))

// lookupTypes are the data types of Blob/lookup.
var lookupTypes = []string{"Email", "Mailbox", "Thread"}

// errUnknownDataType is of RFC 9404, 4.3.
var errUnknownDataType = &jmap.MethodError{Type: "unknownDataType"}

// blobCapability is what an account tells of blobs (RFC 9404, 3.1).
func (m *Methods) blobCapability() map[string]any {
	return map[string]any{"maxSizeBlobSet": m.o.UploadBytesMax, "maxDataSources": blobSourcesMax,
		"supportedTypeNames": lookupTypes, "supportedDigestAlgorithms": digestNames}
}

// blobMethods are the methods of RFC 9404, and Blob/copy (RFC 8620, 6.3).
func (m *Methods) blobMethods() []jmap.Method {
	return []jmap.Method{
		{Name: "Blob/copy", Capability: capabilityCore, Do: m.copyBlobs},
		{Name: "Blob/upload", Capability: CapabilityBlob, Do: m.uploadBlobs},
		{Name: "Blob/get", Capability: CapabilityBlob, Do: m.getBlobs},
		{Name: "Blob/lookup", Capability: CapabilityBlob, Do: m.lookupBlobs},
	}
}

// accountOf finds the account that a method's arguments name.
func (m *Methods) accountOf(ctx context.Context, c *jmap.Call, args jmap.Properties, name string) (*access.Account, jmap.ID, error) {
	var id jmap.ID
	if err := argument(args, name, &id); err != nil {
		return nil, "", jmap.InvalidArguments("%s", err)
	}
	if id == "" {
		return nil, "", jmap.InvalidArguments("%s: missing", name)
	}
	a, err := m.house.Account(ctx, c, id)
	if name == "fromAccountId" && errors.Is(err, jmap.ErrAccountNotFound) {
		err = jmap.ErrFromAccountNotFound
	}
	return a, id, methodError(err)
}

// copyBlobs is Blob/copy: what is copied is an upload in the other account.
func (m *Methods) copyBlobs(ctx context.Context, c *jmap.Call) (any, error) {
	var args jmap.Properties
	if err := readArguments(c, &args, "fromAccountId", "accountId", "blobIds"); err != nil {
		return nil, err
	}
	from, fromID, err := m.accountOf(ctx, c, args, "fromAccountId")
	if err != nil {
		return nil, err
	}
	to, toID, err := m.accountOf(ctx, c, args, "accountId")
	if err != nil {
		return nil, err
	}
	var ids []jmap.ID
	if err := argument(args, "blobIds", &ids); err != nil || ids == nil || len(ids) > blobsMax {
		return nil, jmap.InvalidArguments("blobIds: not a list of at most %d ids", blobsMax)
	}
	var copied map[jmap.ID]jmap.ID
	var not map[jmap.ID]*jmap.SetError
	var work int64
	for _, id := range ids {
		if _, done := copied[id]; done {
			continue
		}
		var fresh jmap.ID
		err := error(jmap.NewSetError(jmap.SetRateLimit, "the blobs of one call have more than %d octets in all", int64(blobWorkMax)))
		if work < blobWorkMax {
			var size int64
			fresh, size, err = m.copyBlob(ctx, access.Of(c), from, to, id)
			work += size
		}
		if e := uploadError(err); e != nil {
			not = with(not, id, e)
			continue
		}
		if err != nil {
			return nil, methodError(err)
		}
		copied = with(copied, id, fresh)
	}
	return map[string]any{"fromAccountId": fromID, "accountId": toID, "copied": copied, "notCopied": not}, nil
}

func (m *Methods) copyBlob(ctx context.Context, u *access.User, from, to *access.Account, id jmap.ID) (jmap.ID, int64, error) {
	o, err := m.openBlob(ctx, u, from, id)
	if err != nil {
		return "", 0, err
	}
	defer o.Close()
	media := ""
	if o.upload != nil {
		media = o.upload.media
	}
	return m.Upload(ctx, u, to, media, o.reader())
}

// with adds to a map that may be nil.
func with[V any](m map[jmap.ID]V, id jmap.ID, v V) map[jmap.ID]V {
	if m == nil {
		m = map[jmap.ID]V{}
	}
	m[id] = v
	return m
}

// uploadError tells why one blob was not made, nil where the whole method fails.
func uploadError(err error) *jmap.SetError {
	var e *jmap.SetError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, jmap.ErrBlobNotFound):
		return jmap.NewSetError(jmap.SetNotFound, "no such blob")
	case errors.Is(err, jmap.ErrOverQuota):
		return jmap.NewSetError(jmap.SetOverQuota, "no room for the upload")
	case errors.Is(err, jmap.ErrAccountReadOnly):
		return jmap.NewSetError(jmap.SetForbidden, "you may not put anything into this account")
	}
	return nil
}

// uploaded is what is told of a blob that was made.
type uploaded struct {
	ID   jmap.ID `json:"id"`
	Type any     `json:"type"`
	Size int64   `json:"size"`
}

// uploadBlobs is Blob/upload (RFC 9404, 4.1). Uploads are made in their order: later ones
// may be made of earlier ones.
func (m *Methods) uploadBlobs(ctx context.Context, c *jmap.Call) (any, error) {
	var args jmap.Properties
	if err := readArguments(c, &args, "accountId", "create"); err != nil {
		return nil, err
	}
	a, id, err := m.accountOf(ctx, c, args, "accountId")
	if err != nil {
		return nil, err
	}
	creations, err := inOrder("create", args["create"])
	if err != nil {
		return nil, err
	}
	if len(creations) > blobsMax {
		return nil, jmap.ErrRequestTooLarge.With("more than %d uploads", blobsMax)
	}
	var created map[jmap.ID]uploaded
	var not map[jmap.ID]*jmap.SetError
	var work int64
	for _, made := range creations {
		var up uploaded
		err := error(jmap.NewSetError(jmap.SetRateLimit, "the uploads of one call have more than %d octets in all", int64(blobWorkMax)))
		if work < blobWorkMax {
			up, err = m.uploadBlob(ctx, c, a, made.Object)
			work += up.Size
		}
		if e := uploadError(err); e != nil {
			not = with(not, made.ID, e)
			continue
		}
		if err != nil {
			return nil, methodError(err)
		}
		c.Created(made.ID, up.ID)
		created = with(created, made.ID, up)
	}
	return map[string]any{"accountId": id, "created": created, "notCreated": not}, nil
}

// inOrder reads creations in the order in which they are written.
func inOrder(argument string, raw json.RawMessage) ([]jmap.Creation, error) {
	bad := jmap.InvalidArguments("%s: not a map of objects", argument)
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, bad
	}
	var list []jmap.Creation
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var o jmap.Properties
		if err != nil || !ok || d.Decode(&o) != nil || o == nil || !jmap.ID(name).Valid() {
			return nil, bad
		}
		list = append(list, jmap.Creation{ID: jmap.ID(name), Object: o})
	}
	return list, nil
}

// uploadBlob makes one blob.
func (m *Methods) uploadBlob(ctx context.Context, c *jmap.Call, a *access.Account, o jmap.Properties) (up uploaded, err error) {
	var sources []jmap.Properties
	var media *string
	for name := range o {
		if name != "data" && name != "type" {
			return up, jmap.InvalidProperties([]string{name}, "no property of an upload")
		}
	}
	if argument(o, "data", &sources) != nil || sources == nil || len(sources) > blobSourcesMax {
		return up, jmap.InvalidProperties([]string{"data"}, "not a list of at most %d sources", blobSourcesMax)
	}
	if argument(o, "type", &media) != nil {
		return up, jmap.InvalidProperties([]string{"type"}, "no String")
	}
	var readers []io.Reader
	var total int64
	for _, s := range sources {
		r, n, closer, err := m.dataSource(ctx, c, a, s)
		if closer != nil {
			defer closer.Close()
		}
		if err != nil {
			return up, err
		}
		if total += n; total > m.o.UploadBytesMax {
			return up, jmap.NewSetError(jmap.SetTooLarge, "more than %d octets", m.o.UploadBytesMax)
		}
		readers = append(readers, r)
	}
	name := ""
	if media != nil {
		name, up.Type = *media, *media
	}
	up.ID, up.Size, err = m.Upload(ctx, access.Of(c), a, name, io.MultiReader(readers...))
	return up, err
}

// dataSource opens a DataSourceObject (RFC 9404, 4.1).
func (m *Methods) dataSource(ctx context.Context, c *jmap.Call, a *access.Account, s jmap.Properties) (io.Reader, int64, io.Closer, error) {
	bad := func(format string, args ...any) (io.Reader, int64, io.Closer, error) {
		return nil, 0, nil, jmap.InvalidProperties([]string{"data"}, format, args...)
	}
	var text, encoded *string
	var blob *jmap.ID
	var offset, length *float64
	for name, into := range map[string]any{"data:asText": &text, "data:asBase64": &encoded, "blobId": &blob, "offset": &offset, "length": &length} {
		if argument(s, name, into) != nil {
			return bad("%s: of the wrong type", name)
		}
		delete(s, name)
	}
	for name := range s {
		return bad("%q is no member of a source", name)
	}
	if blob == nil && (offset != nil || length != nil) {
		return bad("offset and length are for blobId only")
	}
	switch {
	case text != nil && encoded == nil && blob == nil:
		return bytes.NewReader([]byte(*text)), int64(len(*text)), nil, nil
	case encoded != nil && text == nil && blob == nil:
		octets, err := base64.StdEncoding.Strict().DecodeString(*encoded)
		if err != nil {
			return bad("data:asBase64: no base64")
		}
		return bytes.NewReader(octets), int64(len(octets)), nil, nil
	case blob == nil || text != nil || encoded != nil:
		return bad("a source is one of data:asText, data:asBase64 and blobId")
	}
	id, ok := c.Resolve(*blob)
	if !ok {
		return nil, 0, nil, blobNotFound(*blob)
	}
	o, err := m.openBlob(ctx, access.Of(c), a, id)
	if errors.Is(err, jmap.ErrBlobNotFound) {
		return nil, 0, nil, blobNotFound(*blob)
	}
	if err != nil {
		return nil, 0, nil, err
	}
	from, n, whole := span(offset, length, o.size)
	if !whole {
		o.Close()
		return bad("offset and length are not within the %d octets of the blob", o.size)
	}
	return io.NewSectionReader(o, from, n), n, o, nil
}

// blobNotFound is the error of Email/set of RFC 8621, 4.6, for blobs that are not there.
func blobNotFound(ids ...jmap.ID) *jmap.SetError {
	return &jmap.SetError{Type: "blobNotFound", Description: "no such blob", Extra: map[string]any{"notFound": ids}}
}

// span is the part of size octets that offset and length choose; whole is false where they
// reach beyond them, or are no UnsignedInt.
func span(offset, length *float64, size int64) (from, n int64, whole bool) {
	whole = true
	number := func(f *float64, none int64) int64 {
		if f == nil {
			return none
		}
		if *f < 0 || *f > jmap.MaxInt || *f != float64(int64(*f)) {
			whole = false
			return 0
		}
		return int64(*f)
	}
	from = number(offset, 0)
	if from > size {
		from, whole = size, false
	}
	if n = number(length, size-from); n > size-from {
		n, whole = size-from, false
	}
	return from, n, whole
}

// lookupBlobs is Blob/lookup (RFC 9404, 4.3). Of a blob that is not there, or that the user
// may not read, it tells the same: that nothing has it.
func (m *Methods) lookupBlobs(ctx context.Context, c *jmap.Call) (any, error) {
	var args jmap.Properties
	if err := readArguments(c, &args, "accountId", "typeNames", "ids"); err != nil {
		return nil, err
	}
	a, account, err := m.accountOf(ctx, c, args, "accountId")
	if err != nil {
		return nil, err
	}
	var names []string
	var ids []jmap.ID
	if err := errors.Join(argument(args, "typeNames", &names), argument(args, "ids", &ids)); err != nil || names == nil || ids == nil {
		return nil, jmap.InvalidArguments("typeNames and ids must be lists")
	}
	if len(ids) > blobsMax {
		return nil, jmap.ErrRequestTooLarge.With("more than %d ids", blobsMax)
	}
	for _, n := range names {
		if n != "Email" && n != "Mailbox" && n != "Thread" {
			return nil, errUnknownDataType.With("%q", n)
		}
	}
	all, err := a.Emails(ctx, a.Reader)
	if err != nil {
		return nil, methodError(err)
	}
	list := []jmap.Object{}
	for _, given := range ids {
		matched := map[string][]string{}
		for _, n := range names {
			matched[n] = []string{}
		}
		id, _ := c.Resolve(given)
		if b, ok := parseBlobID(id); ok && b.kind == blobMessage {
			if p, found := all.Find(b.of); found {
				matches(matched, all.Email(p))
			}
		}
		list = append(list, jmap.Object{"id": given, "matchedIds": matched})
	}
	return map[string]any{"accountId": account, "list": list, "notFound": []jmap.ID{}}, nil
}
