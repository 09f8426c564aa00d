package diskkv

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logFS stands between Pebble and the file system and looks at the write-ahead log: a
// write, sync or new file of it that fails, or a directory that cannot be synced, is the
// end. Pebble is never told. It would panic with some of its locks held and some not, so
// that the program ended in a heap of stacks instead of one line in the log.
type logFS struct {
	vfs.FS
	fail  func(error)
	armed atomic.Bool // while the store is being opened, Open itself returns the error
}

// check ends the program over an error of the log. Where Options.Fatal returns, as in
// tests, the goroutine stands still for good.
func (l *logFS) check(what, name string, err error) {
	if err == nil || !l.armed.Load() {
		return
	}
	l.fail(fmt.Errorf("%s %s: %w", what, name, err))
	select {}
}

// isLog tells a write-ahead log by its name.
func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// wrap looks after a file that was opened, or was not.
func (l *logFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	l.check("make", name, err)
	if err != nil {
		return nil, err
	}
	return &logFile{File: f, fs: l, name: name}, nil
}

// Create implements vfs.FS.
func (l *logFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.Create(name, c)
	if !isLog(name) {
		return f, err
	}
	return l.wrap(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (l *logFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := l.FS.ReuseForWrite(oldname, newname, c)
	if !isLog(newname) {
		return f, err
	}
	return l.wrap(newname, f, err)
}

// OpenDir implements vfs.FS.
func (l *logFS) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	return l.wrap(name, f, err)
}

// Unwrap implements vfs.FS.
func (l *logFS) Unwrap() vfs.FS { return l.FS }

// logFile is a log, or a directory.
type logFile struct {
	vfs.File
	fs   *logFS
	name string
}

func (f *logFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.fs.check("write", f.name, err)
	return n, err
}

func (f *logFile) Sync() error {
	err := f.File.Sync()
	f.fs.check("sync", f.name, err)
	return err
}

func (f *logFile) SyncData() error {
	err := f.File.SyncData()
	f.fs.check("sync", f.name, err)
	return err
}

func (f *logFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.fs.check("sync", f.name, err)
	return full, err
}

func (f *logFile) Close() error {
	err := f.File.Close()
	f.fs.check("close", f.name, err)
	return err
}
