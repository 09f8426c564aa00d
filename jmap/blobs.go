package jmap

import (
	"context"
	"errors"
	"io"
)

// Errors of [Blobs], besides those of accounts; test with errors.Is.
var (
	ErrBlobNotFound = errors.New("jmap: no such blob")
	ErrOverQuota    = errors.New("jmap: no room for the upload")
)

// Blobs is where the octets of uploads go and those of downloads come from (RFC 8620, 6).
// Methods may be called at once. The errors of accounts are [ErrAccountNotFound],
// [ErrAccountReadOnly], [ErrForbidden].
type Blobs interface {
	// Upload reads r to its end and keeps what it had. When r fails nothing is kept, and its
	// error is returned. ErrOverQuota.
	Upload(ctx context.Context, user any, account ID, mediaType string, r io.Reader) (blob ID, size int64, err error)
	// Open opens a blob; the caller closes it. ErrBlobNotFound.
	Open(ctx context.Context, user any, account, blob ID) (Blob, error)
}

// Blob is the octets behind a blobId; they never change.
type Blob interface {
	io.ReaderAt
	io.Closer
	Size() int64
}
