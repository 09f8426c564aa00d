package access

import (
	"context"
	"io"

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
}
