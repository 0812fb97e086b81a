package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/budgetmem/budgetmem/internal/sqlfile"
)

// openReadOnly opens a file that cannot be written. One with a log beside it, which SQLite would not read, or of an earlier schema, is
// copied into a temporary folder and read there.
func openReadOnly(path, abs string) (*file, error) {
	version := 0
	if log, err := os.Stat(abs + "-wal"); err != nil || log.Size() == 0 {
		db, err := sql.Open("sqlite", dsn(abs, "ro")+"&immutable=1")
		if err != nil {
			return nil, err
		}
		db.SetMaxIdleConns(idleConnections)
		f := newFile(db, path)
		f.readOnly = true
		err = f.View(context.Background(), func(tx Tx) error {
			if err := identify(tx); err != nil {
				return err
			}
			return row(tx, []any{&version}, "SELECT user_version FROM pragma_user_version")
		})
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		if version == schemaVersion {
			return f, nil
		}
		if err := db.Close(); err != nil {
			return nil, err
		}
	}
	to, done, err := sqlfile.Copy(abs)
	if err != nil {
		return nil, fmt.Errorf("%w, and could not be copied to be read: %w", ErrReadOnly, err)
	}
	f, err := openWritable(path, to)
	if err != nil {
		return nil, errors.Join(err, done())
	}
	// What a killed process began to forget is gone from the copy too.
	if _, err := New(context.Background(), f); err != nil {
		return nil, errors.Join(err, f.Close(), done())
	}
	f.readOnly, f.done = true, done
	return f, nil
}
