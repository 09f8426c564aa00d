package access

import (
	"context"
	"io"

	"postroad/internal/blob"
	"postroad/internal/mailflow"
	"postroad/jmap"
)

// Blobs is how octets come into accounts and out of them (RFC 8620, 6). Package email has
// it; package jmapd gives it to the protocol.
type Blobs interface {
	// Upload reads r to its end and keeps what it had as a blob that nothing refers to yet,
	// for an hour at least (RFC 8620, 6). An error of r is returned as it is, and nothing is
	// kept then. jmap.ErrAccountReadOnly, jmap.ErrForbidden, jmap.ErrOverQuota.
	Upload(ctx context.Context, u *User, a *Account, mediaType string, r io.Reader) (id jmap.ID, size int64, err error)
	// OpenBlob opens a blob that the user may read in the account; the caller closes it.
	// jmap.ErrBlobNotFound, also where there is one that he may not read.
	OpenBlob(ctx context.Context, u *User, a *Account, id jmap.ID) (jmap.Blob, error)
	// KeepBlob gives the octets of a blob one more holder within the unit: they stay as long
	// as the holder's link does, whatever becomes of the blob. Those of an upload are linked,
	// others are copied. jmap.ErrBlobNotFound.
	KeepBlob(ctx context.Context, unit *mailflow.Unit, u *User, a *Account, id jmap.ID, holder string) (blob.Body, error)
}

// BlobSource opens blobs of one kind, which the first letter of their ids tells.
type BlobSource interface {
	OpenBlob(ctx context.Context, u *User, a *Account, id jmap.ID) (jmap.Blob, error)
}

// WithSources is b with further kinds of blobs to open, by the first letter of their ids.
func WithSources(b Blobs, sources map[byte]BlobSource) Blobs { return &sourced{b, sources} }

type sourced struct {
	Blobs
	sources map[byte]BlobSource
}

// OpenBlob implements Blobs.
func (s *sourced) OpenBlob(ctx context.Context, u *User, a *Account, id jmap.ID) (jmap.Blob, error) {
	if len(id) > 0 {
		if source, ok := s.sources[id[0]]; ok {
			return source.OpenBlob(ctx, u, a, id)
		}
	}
	return s.Blobs.OpenBlob(ctx, u, a, id)
}
