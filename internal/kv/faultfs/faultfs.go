// Package faultfs is a file system for tests that fails, fills up, slows down and loses
// what was not synced, on purpose and at a chosen operation.
//
// The main type is [FS]: it wraps a Pebble vfs.FS and asks a [Hook] before each
// operation. Hooks are put together from small ones:
//
//	f := faultfs.New(vfs.NewCrashableMem())
//	f.Inject(faultfs.Nth(7, faultfs.Sync, faultfs.Fail(syscall.EIO)))
//
// For power cuts, the hook takes vfs.MemFS.CrashClone of the file system below. What goes
// through File.Fd past the vfs is not seen.
package faultfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Kind is what an operation does; kinds are bits, so that hooks can ask for several.
type Kind uint8

// The kinds of operations.
const (
	Create Kind = 1 << iota // a file or directory comes into being, or is opened for writing
	Write                   // Write, WriteAt, Preallocate
	Sync                    // Sync, SyncData, SyncTo, of files and directories
	Rename                  // Rename, Link
	Remove                  // Remove, RemoveAll
	Read                    // Open, Read, ReadAt

	// Change is every kind that alters the disk or makes it durable.
	Change = Create | Write | Sync | Rename | Remove
	// Grow is every kind that needs room.
	Grow = Create | Write
)

// Op is one operation about to happen.
type Op struct {
	Kind Kind
	Path string
	Size int64 // octets to write or read, 0 where it does not apply
}

// Hook is called before each operation and may wait, look or fail it. Hooks are called by
// many goroutines at once.
type Hook func(Op) error

// ShortWrite makes a Write put down its first N octets before it fails with Err, as a disk
// does that fills up in the middle.
type ShortWrite struct {
	N   int
	Err error
}

func (e *ShortWrite) Error() string { return "short write: " + e.Err.Error() }

// Unwrap gives the error that the writer sees.
func (e *ShortWrite) Unwrap() error { return e.Err }

// FS passes everything on to the file system below unless its hook says otherwise.
type FS struct {
	vfs.FS
	hook atomic.Pointer[Hook]
}

// New wraps base; without a call of Inject nothing fails.
func New(base vfs.FS) *FS { return &FS{FS: base} }

// Inject replaces the hook by all of these, asked in order until one fails. With none,
// nothing fails any more.
func (f *FS) Inject(hooks ...Hook) {
	all := Hook(func(op Op) error {
		for _, h := range hooks {
			if err := h(op); err != nil {
				return err
			}
		}
		return nil
	})
	f.hook.Store(&all)
}

// ask gives the hook's word on an operation, as the os package would wrap it.
func (f *FS) ask(name string, op Op) error {
	h := f.hook.Load()
	if h == nil {
		return nil
	}
	err := (*h)(op)
	if err == nil {
		return nil
	}
	if short := (*ShortWrite)(nil); errors.As(err, &short) {
		return err
	}
	return &fs.PathError{Op: name, Path: op.Path, Err: err}
}

// Fail fails every operation with err.
func Fail(err error) Hook { return func(Op) error { return err } }

// Slow delays every operation.
func Slow(d time.Duration) Hook {
	return func(Op) error {
		time.Sleep(d)
		return nil
	}
}

// On asks h about operations of these kinds only.
func On(kinds Kind, h Hook) Hook {
	return func(op Op) error {
		if op.Kind&kinds == 0 {
			return nil
		}
		return h(op)
	}
}

// Nth asks h about the nth operation of these kinds only, counted from 1.
func Nth(n int64, kinds Kind, h Hook) Hook {
	var seen atomic.Int64
	return On(kinds, func(op Op) error {
		if seen.Add(1) != n {
			return nil
		}
		return h(op)
	})
}

// From asks h about the nth operation of these kinds and all later ones.
func From(n int64, kinds Kind, h Hook) Hook {
	var seen atomic.Int64
	return On(kinds, func(op Op) error {
		if seen.Add(1) < n {
			return nil
		}
		return h(op)
	})
}

// Count adds up operations of these kinds; it fails none.
func Count(kinds Kind, n *atomic.Int64) Hook {
	return On(kinds, func(Op) error {
		n.Add(1)
		return nil
	})
}

// FullAfter answers ENOSPC once that many octets were written, with the write that
// crosses the line cut short, until relieve is called.
func FullAfter(octets int64) (h Hook, relieve func()) {
	var written atomic.Int64
	var relieved atomic.Bool
	h = On(Grow, func(op Op) error {
		if relieved.Load() {
			return nil
		}
		before := written.Add(op.Size) - op.Size
		switch {
		case before+op.Size <= octets && before < octets:
			return nil
		case op.Kind == Write && before < octets:
			return &ShortWrite{N: int(octets - before), Err: syscall.ENOSPC}
		}
		return syscall.ENOSPC
	})
	return h, func() { relieved.Store(true) }
}

// Create implements vfs.FS.
func (f *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.ask("create", Op{Kind: Create, Path: name}); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.Create(name, c))
}

// Link implements vfs.FS.
func (f *FS) Link(oldname, newname string) error {
	if err := f.ask("link", Op{Kind: Rename, Path: newname}); err != nil {
		return err
	}
	return f.FS.Link(oldname, newname)
}

// Open implements vfs.FS.
func (f *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := f.ask("open", Op{Kind: Read, Path: name}); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.Open(name, opts...))
}

// OpenReadWrite implements vfs.FS.
func (f *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := f.ask("open", Op{Kind: Create, Path: name}); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.OpenReadWrite(name, c, opts...))
}

// OpenDir implements vfs.FS.
func (f *FS) OpenDir(name string) (vfs.File, error) {
	if err := f.ask("open", Op{Kind: Read, Path: name}); err != nil {
		return nil, err
	}
	return f.wrap(name)(f.FS.OpenDir(name))
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	if err := f.ask("remove", Op{Kind: Remove, Path: name}); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (f *FS) RemoveAll(name string) error {
	if err := f.ask("remove", Op{Kind: Remove, Path: name}); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

// Rename implements vfs.FS.
func (f *FS) Rename(oldname, newname string) error {
	if err := f.ask("rename", Op{Kind: Rename, Path: newname}); err != nil {
		return err
	}
	return f.FS.Rename(oldname, newname)
}

// ReuseForWrite implements vfs.FS.
func (f *FS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.ask("rename", Op{Kind: Create, Path: newname}); err != nil {
		return nil, err
	}
	return f.wrap(newname)(f.FS.ReuseForWrite(oldname, newname, c))
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(dir string, perm os.FileMode) error {
	if err := f.ask("mkdir", Op{Kind: Create, Path: dir}); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

// Unwrap implements vfs.FS.
func (f *FS) Unwrap() vfs.FS { return f.FS }

// wrap makes a file of the file system below ask the hook too.
func (f *FS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(below vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		return &file{File: below, fs: f, name: name}, nil
	}
}

// file asks the hook of its file system before what matters.
type file struct {
	vfs.File
	fs   *FS
	name string
}

// write asks for leave to write p and does what is left of it.
func (f *file) write(p []byte, do func([]byte) (int, error)) (int, error) {
	err := f.fs.ask("write", Op{Kind: Write, Path: f.name, Size: int64(len(p))})
	if err == nil {
		return do(p)
	}
	short := (*ShortWrite)(nil)
	if !errors.As(err, &short) {
		return 0, err
	}
	n, below := do(p[:min(short.N, len(p))])
	if below != nil {
		return n, below
	}
	return n, &fs.PathError{Op: "write", Path: f.name, Err: short.Err}
}

func (f *file) Write(p []byte) (int, error) { return f.write(p, f.File.Write) }

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	return f.write(p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *file) Preallocate(off, length int64) error {
	if err := f.fs.ask("fallocate", Op{Kind: Write, Path: f.name}); err != nil {
		return err
	}
	return f.File.Preallocate(off, length)
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.fs.ask("read", Op{Kind: Read, Path: f.name, Size: int64(len(p))}); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.ask("read", Op{Kind: Read, Path: f.name, Size: int64(len(p))}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *file) Sync() error {
	if err := f.fs.ask("sync", Op{Kind: Sync, Path: f.name}); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *file) SyncData() error {
	if err := f.fs.ask("sync", Op{Kind: Sync, Path: f.name}); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *file) SyncTo(length int64) (bool, error) {
	if err := f.fs.ask("sync", Op{Kind: Sync, Path: f.name}); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

var (
	_ vfs.FS    = (*FS)(nil)
	_ vfs.File  = (*file)(nil)
	_ io.Closer = (*file)(nil)
)
