//go:build !linux

package server

import "syscall"

// childAttributes start a process as the user.
func childAttributes(a *account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}}
}
