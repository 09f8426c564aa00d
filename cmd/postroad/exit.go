package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"postroad/internal/admin"
	"postroad/internal/config"
	"postroad/internal/server"
)

// Exit codes of sysexits.h.
const (
	exitOK          = 0
	exitUsage       = 64 // the command line
	exitData        = 65 // what was given is not valid, or conflicts with what is there
	exitNoInput     = 66 // a file is not there
	exitNoUser      = 67 // no such account, domain, mail
	exitUnavailable = 69 // something needed is not there
	exitSoftware    = 70 // ours
	exitOSErr       = 71
	exitTempFail    = 75 // try again
	exitNoPerm      = 77
	exitConfig      = 78
)

// exitError is an error with the code it ends the program with.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// fail prints an error and returns its exit code.
func (p *program) fail(err error) int {
	var child *server.ExitError
	if errors.As(err, &child) { // has said why itself
		return child.Code
	}
	fmt.Fprintln(p.errOut, "postroad:", err)
	return codeOf(err)
}

var adminCodes = map[admin.Code]int{
	admin.NotFound: exitNoUser, admin.Exists: exitData, admin.InUse: exitData, admin.Invalid: exitData,
	admin.Unknown: exitUnavailable, admin.Temporary: exitTempFail, admin.Internal: exitSoftware,
}

func codeOf(err error) int {
	var e *exitError
	var a *admin.Error
	var c *config.Error
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.As(err, &a):
		return adminCodes[a.Code]
	case errors.As(err, &c):
		return exitConfig
	case errors.Is(err, fs.ErrPermission):
		return exitNoPerm
	case errors.Is(err, fs.ErrNotExist):
		return exitNoInput
	case errors.Is(err, server.ErrRunning), errors.Is(err, context.Canceled):
		return exitTempFail
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EADDRNOTAVAIL):
		return exitOSErr
	}
	return exitSoftware
}

// nobodyServes tells whether an error of connecting means that no server is running.
func nobodyServes(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// mayOpen keeps root from opening another user's store: what it would write there the
// server could not read. It also says what is wrong where there is no store at all.
func mayOpen(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &exitError{exitUnavailable, fmt.Errorf("no server is running, and there is no store in %s yet: start `postroad serve`", dir)}
	}
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && os.Geteuid() == 0 && st.Uid != 0 {
		return &exitError{exitUnavailable, fmt.Errorf("no server is running, and the store in %s is of the user with id %d: start the server, or run this as that user", dir, st.Uid)}
	}
	return nil
}
