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
func openReadOnly(path, abs string) (*Store, error) {
	version := 0
	if log, err := os.Stat(abs + "-wal"); err != nil || log.Size() == 0 {
		db, err := sql.Open("sqlite", dsn(abs, "ro")+"&immutable=1")
		if err != nil {
			return nil, err
		}
		db.SetMaxIdleConns(idleConnections)
		if err := identify(context.Background(), db); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		if err := db.QueryRowContext(context.Background(), "SELECT user_version FROM pragma_user_version").Scan(&version); err != nil {
			return nil, errors.Join(classify(err), db.Close())
		}
		if version == schemaVersion {
			return &Store{db: db, path: path, readOnly: true}, nil
		}
		if err := db.Close(); err != nil {
			return nil, err
		}
	}
	to, done, err := sqlfile.Copy(abs)
	if err != nil {
		return nil, fmt.Errorf("%w, and could not be copied to be read: %w", ErrReadOnly, err)
	}
	s, err := openWritable(path, to)
	if err != nil {
		return nil, errors.Join(err, done())
	}
	s.readOnly, s.done = true, done
	return s, nil
}

// keep is change for what is only kept to be quicker next time; nothing is done if the file can only be read.
func (s *Store) keep(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	if s.readOnly {
		return nil
	}
	return s.change(ctx, fn)
}
