package sandbox

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// denied are calls that no mail server makes, and that most ways out of a broken one do.
// They fail with EPERM. A list of what is allowed would be stricter and would break with
// each new Go or libc.
var denied = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_FSCONFIG,
	unix.SYS_REBOOT, unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_PERSONALITY,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SETTIMEOFDAY,
	unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_IO_URING_SETUP,
}

// audit is the name of the architecture in seccomp's data, 0 where it is not known.
func audit() uint32 {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64
	}
	return 0
}

// Offsets into struct seccomp_data.
const (
	offsetNumber = 0
	offsetArch   = 4
)

// x32Bit marks calls of the x32 ABI, which would go around the list on amd64.
const x32Bit = 0x40000000

// filter is the deny list as a program for the kernel: calls of another architecture and
// those on the list fail, the others go on.
func filter(arch uint32) []unix.SockFilter {
	const (
		load      = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jumpAbove = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret       = unix.BPF_RET | unix.BPF_K
		refuse    = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	)
	program := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: jumpEqual, Jt: 1, K: arch},
		{Code: ret, K: refuse},
		{Code: load, K: offsetNumber},
	}
	if arch == unix.AUDIT_ARCH_X86_64 {
		program = append(program, unix.SockFilter{Code: jumpAbove, Jf: 1, K: x32Bit}, unix.SockFilter{Code: ret, K: refuse})
	}
	for _, n := range denied {
		program = append(program, unix.SockFilter{Code: jumpEqual, Jf: 1, K: n}, unix.SockFilter{Code: ret, K: refuse})
	}
	return append(program, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}

// seccomp puts the deny list into force for the thread. Without seccomp in the kernel, or
// on an architecture that is not known, it returns false.
func seccomp() (bool, error) {
	arch := audit()
	if arch == 0 {
		return false, nil
	}
	program := filter(arch)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(program)
	if errors.Is(errno, unix.ENOSYS) || errors.Is(errno, unix.EINVAL) {
		return false, nil
	}
	if errno != 0 {
		return false, errno
	}
	return true, nil
}
