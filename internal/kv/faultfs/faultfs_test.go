package faultfs_test

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"postroad/internal/kv/faultfs"
)

// create makes a file or ends the test.
func create(t *testing.T, f *faultfs.FS, name string) vfs.File {
	t.Helper()
	w, err := f.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// content reads a whole file.
func content(t *testing.T, f vfs.FS, name string) string {
	t.Helper()
	r, err := f.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNthFailsOnce(t *testing.T) {
	f := faultfs.New(vfs.NewMem())
	w := create(t, f, "a")
	f.Inject(faultfs.Nth(2, faultfs.Sync, faultfs.Fail(syscall.EIO)))
	for i, want := range []error{nil, syscall.EIO, nil} {
		if err := w.Sync(); !errors.Is(err, want) {
			t.Errorf("sync %d: %v, want %v", i+1, err, want)
		}
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Errorf("a write failed with the syncs: %v", err)
	}
}

func TestFromFailsFromThenOn(t *testing.T) {
	f := faultfs.New(vfs.NewMem())
	w := create(t, f, "a")
	f.Inject(faultfs.From(2, faultfs.Write, faultfs.Fail(syscall.EIO)))
	for i, want := range []error{nil, syscall.EIO, syscall.EIO} {
		if _, err := w.Write([]byte("x")); !errors.Is(err, want) {
			t.Errorf("write %d: %v, want %v", i+1, err, want)
		}
	}
	f.Inject()
	if _, err := w.Write([]byte("y")); err != nil {
		t.Errorf("after the hook was taken away: %v", err)
	}
	if got := content(t, f, "a"); got != "xy" {
		t.Errorf("content %q, want what was not failed", got)
	}
}

func TestFullAfterCutsTheWriteShort(t *testing.T) {
	f := faultfs.New(vfs.NewMem())
	w := create(t, f, "a")
	full, relieve := faultfs.FullAfter(5)
	f.Inject(full)
	if n, err := w.Write([]byte("1234567")); n != 5 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write over the line: %d, %v", n, err)
	}
	if n, err := w.Write([]byte("8")); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write when full: %d, %v", n, err)
	}
	if _, err := f.Create("b", vfs.WriteCategoryUnspecified); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("create when full: %v", err)
	}
	if err := f.Remove("a"); err != nil {
		t.Errorf("remove when full: %v", err)
	}
	relieve()
	w = create(t, f, "a")
	if _, err := w.Write([]byte("12345678")); err != nil {
		t.Errorf("after relief: %v", err)
	}
}

func TestCrashCloneInAHook(t *testing.T) {
	mem := vfs.NewCrashableMem()
	f := faultfs.New(mem)
	dir, err := f.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	w := create(t, f, "a")
	if err := dir.Sync(); err != nil {
		t.Fatal(err)
	}
	var clone *vfs.MemFS
	var n atomic.Int64
	f.Inject(faultfs.Count(faultfs.Change, &n), faultfs.Nth(2, faultfs.Sync, func(faultfs.Op) error {
		clone = mem.CrashClone(vfs.CrashCloneCfg{})
		return nil
	}))
	for _, s := range []string{"kept", "lost"} {
		if _, err := w.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		if err := w.SyncData(); err != nil {
			t.Fatal(err)
		}
	}
	if got := content(t, clone, "a"); got != "kept" {
		t.Errorf("after the cut %q, want only what was synced before", got)
	}
	if n.Load() != 4 {
		t.Errorf("counted %d operations, want 4", n.Load())
	}
}
