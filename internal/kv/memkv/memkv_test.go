package memkv_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"postroad/internal/kv/kvtest"
	"postroad/internal/kv/memkv"
)

// open is an engine; nothing of it outlives Close.
func open(t kvtest.TB, now func() time.Time) *kvtest.Store {
	e := memkv.NewAt(now)
	t.Cleanup(func() { e.Close() })
	return &kvtest.Store{Engine: e}
}

func TestContract(t *testing.T) { kvtest.Run(t, open) }

func TestAgreesWithTheModel(t *testing.T) { kvtest.Agree(t, open) }

func TestCheckpointIsRefused(t *testing.T) {
	if err := memkv.New().Checkpoint(context.Background(), t.TempDir()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("checkpoint: %v", err)
	}
}
