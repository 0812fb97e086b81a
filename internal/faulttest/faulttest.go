// Package faulttest lets file operations of a test's child process fail: the n-th write, sync, rename or read below a folder,
// whoever makes it, SQLite included. The child runs unchanged. The kernel asks the test about each of these calls, by a
// seccomp filter with user notification, so that it works on Linux alone, 5.7 or newer.
package faulttest

import "syscall"

// Kind is a kind of operation on files.
type Kind string

// The kinds of operations that can fail.
const (
	Write  Kind = "write"
	Sync   Kind = "sync"
	Rename Kind = "rename"
	Read   Kind = "read"
)

// Kinds are all of them.
var Kinds = []Kind{Write, Sync, Rename, Read}

// Fault says which operation fails.
type Fault struct {
	Kind Kind
	// N counts the operations of the kind below the folder from 1; 0 lets none fail.
	N int
	// Error is what it fails with, such as syscall.ENOSPC.
	Error syscall.Errno
	// Stays lets all later operations of the kind fail, too, as on a full disk.
	Stays bool
}
