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
