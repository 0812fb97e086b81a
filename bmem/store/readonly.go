package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
)

// openReadOnly opens a file that cannot be written. SQLite then reads no log beside it, so one that holds changes is refused.
func openReadOnly(path, abs string) (*Store, error) {
	if log, err := os.Stat(abs + "-wal"); err == nil && log.Size() > 0 {
		return nil, fmt.Errorf("%w (its log %s-wal holds changes, which can only be read by a program that may write)", ErrReadOnly, path)
	}
	db, err := sql.Open("sqlite", dsn(abs, "ro")+"&immutable=1")
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(idleConnections)
	s := &Store{db: db, path: path, readOnly: true}
	if err := identify(context.Background(), db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	var version int
	if err := db.QueryRowContext(context.Background(), "SELECT user_version FROM pragma_user_version").Scan(&version); err != nil {
		return nil, errors.Join(classify(err), db.Close())
	}
	if version != schemaVersion {
		return nil, errors.Join(fmt.Errorf("%w (it is of schema %d, and has to be brought to %d first)", ErrReadOnly, version, schemaVersion), db.Close())
	}
	return s, nil
}

// keep is change for what is only kept to be quicker next time; nothing is done if the file can only be read.
func (s *Store) keep(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	if s.readOnly {
		return nil
	}
	return s.change(ctx, fn)
}
