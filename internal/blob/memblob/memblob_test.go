package memblob_test

import (
	"testing"

	"postroad/internal/blob"
	"postroad/internal/blob/blobtest"
	"postroad/internal/blob/memblob"
)

func TestContract(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return memblob.New() })
}
