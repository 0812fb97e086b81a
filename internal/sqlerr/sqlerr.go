// Package sqlerr tells the failures of SQLite that a user can fix from the others.
package sqlerr

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrReadOnly is the error for a file that cannot be changed, with what to do.
var ErrReadOnly = errors.New("the file or its folder can only be read: change its mode, or choose another folder")

// IsReadOnly says whether SQLite could not write or open a file, or the log beside it.
func IsReadOnly(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff // the low byte is the class of an extended code
	return code == sqlite3.SQLITE_READONLY || code == sqlite3.SQLITE_CANTOPEN
}

// IsFull says whether the disk has no room for a file, or for the shared memory beside it.
func IsFull(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_FULL || e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE)
}
