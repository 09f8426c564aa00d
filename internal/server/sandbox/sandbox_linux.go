package sandbox

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Enter confines the calling thread, so the caller has locked it (runtime.LockOSThread)
// and executes a program next, in which all threads are confined: Go gives no way to
// confine those that run already. There is no way back.
func Enter(r Rules) (Report, error) {
	var report Report
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return report, fmt.Errorf("no_new_privs: %w", err)
	}
	report.NoNewPrivs = true
	var err error
	if report.Landlock, err = landlock(r); err != nil {
		return report, fmt.Errorf("landlock: %w", err)
	}
	if report.Seccomp, err = seccomp(); err != nil {
		return report, fmt.Errorf("seccomp: %w", err)
	}
	return report, nil
}

// The rights of Landlock, by what they are for.
const (
	readRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	execRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	allRights1 = 1<<13 - 1 // of the first version
	fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// rightsOf returns the rights that a version of Landlock knows and that are asked for
// here: moving between folders came with 2, truncating with 3. What came later does not
// concern files that can be opened at all.
func rightsOf(version int) uint64 {
	rights := uint64(allRights1)
	if version >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	return rights
}

// landlock limits the thread to the rules and returns the kernel's version, 0 when there
// is no Landlock.
func landlock(r Rules) (version int, err error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	version = int(v)
	rights := rightsOf(version)
	attr := unix.LandlockRulesetAttr{Handled_access_fs: rights}
	// Only the first field: older kernels know no others.
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(int(fd))
	for _, part := range []struct {
		paths  []string
		rights uint64
	}{{r.Read, readRights}, {withInterpreters(r.Exec), execRights}, {r.Write, rights &^ unix.LANDLOCK_ACCESS_FS_EXECUTE}} {
		for _, p := range part.paths {
			if err := allow(int(fd), p, part.rights&rights); err != nil {
				return 0, fmt.Errorf("allow %s: %w", p, err)
			}
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return 0, errno
	}
	return version, nil
}

// withInterpreters adds the dynamic loaders of programs that have one (those built with
// cgo): executing such a program executes the loader.
func withInterpreters(programs []string) []string {
	all := programs
	for _, p := range programs {
		f, err := elf.Open(p)
		if err != nil {
			continue // no ELF program: a script would need its own entry
		}
		if s := f.Section(".interp"); s != nil {
			if name, err := s.Data(); err == nil {
				all = append(all[:len(all):len(all)], strings.TrimRight(string(name), "\x00"))
			}
		}
		f.Close()
	}
	return all
}

// allow adds a path to a rule set. What is not there needs no right.
func allow(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
