package segblob

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// punch gives a range of the file back to the file system; it reads as zeros then. Where
// the file is none of the kernel's, or its file system cannot do it, the space comes back
// with the whole segment.
func punch(f vfs.File, off, length int64) error {
	fd := f.Fd()
	if fd == vfs.InvalidFd {
		return nil
	}
	err := unix.Fallocate(int(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}
