// Package store keeps memories in one SQLite file: turns, chunks, vectors, and what extraction without a query found in each chunk
// ("pools").
//
// Guarantees: a change is made whole or not at all, also when the process is killed; vectors and pools are keyed by content, so a text is
// embedded or worked on once however many memories hold it; several goroutines and several processes may use one file at the same time.
// A power cut may take the last changes with it, never the file's consistency (SQLite's WAL with synchronous=NORMAL).
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/budgetmem/budgetmem/internal/private"
)

// Errors to match with errors.Is.
var (
	// ErrNotStore: Open was given a file that this package did not write.
	ErrNotStore = errors.New("not a memory store")
	// ErrNewer: the file was written by a later version of this package.
	ErrNewer = errors.New("memory store of a newer version")
	// ErrCorrupt: the file is a memory store, but its content is damaged.
	ErrCorrupt = errors.New("damaged memory store")
	// ErrNoMemory: no memory of that name is in the store.
	ErrNoMemory = errors.New("no such memory")
	// ErrNoTurn: the memory has no such turn.
	ErrNoTurn = errors.New("no such turn")
	// ErrTurnExists: a turn has an id that another turn of the memory has already.
	ErrTurnExists = errors.New("the id is already used by another turn")
	// ErrCursor: a page was asked for by a cursor that no page gave.
	ErrCursor = errors.New("not the cursor of a page")
)

const (
	applicationID = 0x424d454d // "BMEM", in the SQLite header
	// schemaVersion 2 has no full-text index of each memory's chunks, which version 1 had.
	schemaVersion = 2

	schema = `
CREATE TABLE memory (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE turn   (memory INTEGER NOT NULL, pos INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (memory, pos)) STRICT, WITHOUT ROWID;
CREATE TABLE chunk  (memory INTEGER NOT NULL, pos INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (memory, pos)) STRICT, WITHOUT ROWID;
CREATE TABLE vector (embedder TEXT NOT NULL, hash BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (embedder, hash)) STRICT, WITHOUT ROWID;
CREATE TABLE pool   (method TEXT NOT NULL, hash BLOB NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (method, hash)) STRICT, WITHOUT ROWID;`
)

// Store is an open store. It is safe for concurrent use.
type Store struct {
	db    *sql.DB
	path  string
	write sync.Mutex // one writer a process: SQLite's own waiting is by polling, and not fair

	vectors flights // texts being embedded now
	pools   flights // chunks being worked on now
}

// Open opens the store in the file at path and creates it if there is none. A file that is something else is refused unchanged, with
// ErrNotStore.
func Open(path string) (*Store, error) {
	s, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open memory store %s: %w", path, err)
	}
	return s, nil
}

func open(path string) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(abs)); err != nil {
			return nil, fmt.Errorf("its folder is missing: %w", err)
		}
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%w: it is a folder", ErrNotStore)
	case info.Size() > 0:
		// Looked at read-only first, since opening for use would turn a foreign database to WAL.
		if err := inspect(abs); err != nil {
			return nil, err
		}
	}
	if err := private.File(abs); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(abs, "rwc", "journal_mode(WAL)", "synchronous(NORMAL)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(idleConnections)
	s := &Store{db: db, path: path}
	if err := s.change(context.Background(), create); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// idleConnections is how many connections are kept for the next query: opening one takes longer than most queries.
const idleConnections = 8

// dsn writes the address of the file for the driver. Transactions that may write take their lock at the start, so that they never fail
// half way for want of it.
func dsn(abs, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(60000)"}, pragmas...)}
	slashed := filepath.ToSlash(abs)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: slashed, RawQuery: q.Encode()}).String()
}

// inspect tells whether an existing file is a store of this version, without changing it.
func inspect(abs string) error {
	if err := checkHeader(abs); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(abs, "ro"))
	if err != nil {
		return err
	}
	defer db.Close()
	return identify(context.Background(), db)
}

// checkHeader refuses a file that does not begin as every SQLite database does. SQLite itself takes a very short file for an empty one.
func checkHeader(abs string) error {
	f, err := os.Open(abs)
	if err != nil {
		return err
	}
	defer f.Close()
	const magic = "SQLite format 3\x00"
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(f, head); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if string(head) != magic {
		return fmt.Errorf("%w: it is not an SQLite database; choose another file", ErrNotStore)
	}
	return nil
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// identify returns nil for a store of this version or an earlier one, and for an empty database.
func identify(ctx context.Context, q querier) error {
	var app, version, tables int
	err := q.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`).Scan(&app, &version, &tables)
	switch {
	case err != nil:
		return classify(err)
	case app == 0 && version == 0 && tables == 0:
		return nil
	case app != applicationID:
		return fmt.Errorf("%w: it is another program's database; choose another file", ErrNotStore)
	case version > schemaVersion:
		return fmt.Errorf("%w: schema %d, this program knows %d; use a newer program", ErrNewer, version, schemaVersion)
	case version < 1:
		return fmt.Errorf("%w: schema %d is unknown", ErrCorrupt, version)
	}
	return nil
}

// create makes the tables in an empty database, brings a store of an earlier version to this one, and leaves others as they are. Inside a write transaction, it is safe against a second
// process that does the same.
func create(ctx context.Context, tx *sql.Tx) error {
	if err := identify(ctx, tx); err != nil {
		return err
	}
	var tables int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	if tables > 0 {
		return upgrade(ctx, tx)
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; %s", applicationID, schemaVersion, schema))
	return err
}

// upgrade drops what schema version 1 had beside this one.
func upgrade(ctx context.Context, tx *sql.Tx) error {
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil || version == schemaVersion {
		return err
	}
	memories, err := column[int64](ctx, tx, "SELECT id FROM memory")
	if err != nil {
		return err
	}
	for _, id := range memories {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("DROP TABLE IF EXISTS chunk_text_%d", id)); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion))
	return err
}

// Close closes the store. Calls still under way end with an error.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close memory store %s: %w", s.path, err)
	}
	return nil
}

// Check reads the whole file and returns ErrCorrupt, with what was found, if anything in it is damaged.
func (s *Store) Check(ctx context.Context) error {
	rows, err := s.db.QueryContext(ctx, "PRAGMA integrity_check(5)")
	if err != nil {
		return fmt.Errorf("check memory store %s: %w", s.path, classify(err))
	}
	defer rows.Close()
	var faults []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return fmt.Errorf("check memory store %s: %w", s.path, classify(err))
		}
		if line != "ok" {
			faults = append(faults, line)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("check memory store %s: %w", s.path, classify(err))
	}
	if len(faults) > 0 {
		return fmt.Errorf("check memory store %s: %w: %s", s.path, ErrCorrupt, strings.Join(faults, "; "))
	}
	return nil
}

// change runs fn in one write transaction: all of it happens or nothing.
func (s *Store) change(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	s.write.Lock()
	defer s.write.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	if err := fn(ctx, tx); err != nil {
		return errors.Join(classify(err), tx.Rollback())
	}
	return classify(tx.Commit())
}

// classify adds the matching error of this package to what SQLite says of the file's content.
func classify(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff { // the low byte is the class of an extended code
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrNotStore, err)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}
