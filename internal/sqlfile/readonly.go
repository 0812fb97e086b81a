package sqlfile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/budgetmem/budgetmem/internal/private"
)

// OpenForReading opens a file that cannot be written. One with a log beside it, or of an earlier version, is copied into a
// temporary folder, for SQLite has to write there before it can read. The caller calls done after closing db.
func OpenForReading(path string, kind Kind) (db *sql.DB, done func() error, err error) {
	fail := func(err error) (*sql.DB, func() error, error) {
		return nil, nil, fmt.Errorf("open %s %s for reading: %w", kind.What, path, Explain(err))
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fail(err)
	}
	if log, err := os.Stat(abs + "-wal"); err != nil || log.Size() == 0 {
		db, err := openImmutable(abs, kind)
		if err == nil {
			return db, func() error { return nil }, nil
		} else if !errors.Is(err, errEarlier) {
			return fail(err)
		}
	}
	to, done, err := Copy(abs)
	if err != nil {
		return fail(err)
	}
	if db, err = Open(to, kind); err != nil {
		return fail(errors.Join(err, done()))
	}
	return db, done, nil
}

// Copy copies a database that can only be read, and its log, into a temporary folder, since SQLite has to write before it can read a
// log. done removes the copy.
func Copy(path string) (to string, done func() error, err error) {
	dir, err := os.MkdirTemp("", "budgetmem-")
	if err != nil {
		return "", nil, err
	}
	done = func() error { return os.RemoveAll(dir) }
	to = filepath.Join(dir, filepath.Base(path))
	if err := errors.Join(copyFile(path, to), copyFile(path+"-wal", to+"-wal")); err != nil {
		return "", nil, errors.Join(err, done())
	}
	return to, done, nil
}

// errEarlier is the error for a file that has to be updated before it is read.
var errEarlier = errors.New("the file is of an earlier version")

// openImmutable opens a file that nobody writes to.
func openImmutable(abs string, kind Kind) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: url.Values{"mode": {"ro"}, "immutable": {"1"}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	var app, version int32
	err = db.QueryRowContext(context.Background(), "SELECT * FROM pragma_application_id, pragma_user_version").Scan(&app, &version)
	switch {
	case err != nil:
	case app != kind.App:
		err = fmt.Errorf("the file is not a %s: choose another path", kind.What)
	case int(version) > len(kind.Updates):
		err = newerError(version, int32(len(kind.Updates)))
	case version < 1: // the versions since differ in what is written only
		err = errEarlier
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// copyFile copies a file, if it is there, for its owner alone.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, private.FileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
