// Package store keeps memories in one SQLite file: turns, chunks, vectors, and what extraction without a query found in each chunk
// ("pools").
//
// Guarantees: a change is made whole or not at all, also when the process is killed; adding turns takes time for these and not
// for those that are there; a text is embedded or worked on once however many memories hold it; what is forgotten leaves no byte
// of its text in the file; several goroutines and several processes may use one file at the same time. A power cut may take the
// last changes with it, never the file's consistency (SQLite's WAL with synchronous=NORMAL).
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
	"sync/atomic"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/internal/sqlerr"
)

// Errors to match with errors.Is.
var (
	// ErrNotStore: Open was given a file that this package did not write.
	ErrNotStore = errors.New("not a memory store")
	// ErrNewer: the file was written by a later version of this package.
	ErrNewer = errors.New("memory store of a newer version")
	// ErrCorrupt: the file is a memory store, but its content is damaged.
	ErrCorrupt = errors.New("damaged memory store: restore the file, or move it away and add its conversations again")
	// ErrNoMemory: no memory of that name is in the store.
	ErrNoMemory = errors.New("no such memory")
	// ErrMemoryExists: another memory has the name already.
	ErrMemoryExists = errors.New("a memory of that name exists")
	// ErrNoTurn: the memory has no such turn.
	ErrNoTurn = errors.New("no such turn")
	// ErrTurnExists: a turn has an id that another turn of the memory has already.
	ErrTurnExists = errors.New("the id is already used by another turn")
	// ErrSession: an edited turn would move to another session.
	ErrSession = errors.New("a turn keeps its session")
	// ErrReadOnly: the file or its folder cannot be written, so that nothing can be changed.
	ErrReadOnly = sqlerr.ErrReadOnly
	// ErrCursor: a page was asked for by a cursor that no page gave.
	ErrCursor = errors.New("not the cursor of a page")
)

const (
	applicationID = 0x424d454d // "BMEM", in the SQLite header
	// schemaVersion 4 has checksums of turns, chunks and vectors; version 3 kept turns in columns, knew where a chunk's turns stand, and kept the vectors of a chunk side by side.
	// Version 2 had no full-text index of each memory's chunks, which version 1 had.
	schemaVersion = 4

	// A chunk's place among the others is the position of its first turn and the part of that turn it begins with. generation
	// counts the changes of a memory, so that a reader finds what is new.
	schema = `
CREATE TABLE memory (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL DEFAULT 0,
	expires INTEGER, turns INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0,
	generation INTEGER NOT NULL DEFAULT 0, rewritten INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE turn (memory INTEGER NOT NULL, pos INTEGER NOT NULL, id TEXT NOT NULL, session TEXT NOT NULL, time TEXT NOT NULL, speaker TEXT NOT NULL,
	text TEXT NOT NULL, added INTEGER NOT NULL, expires INTEGER, sum INTEGER, PRIMARY KEY (memory, pos)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX turn_id ON turn (memory, id) WHERE id <> '';
CREATE INDEX turn_session ON turn (memory, session);
CREATE INDEX turn_expires ON turn (expires) WHERE expires IS NOT NULL;
CREATE TABLE session (memory INTEGER NOT NULL, name TEXT NOT NULL, turns INTEGER NOT NULL, chunks INTEGER NOT NULL, PRIMARY KEY (memory, name)) STRICT, WITHOUT ROWID;
CREATE TABLE chunk (id INTEGER PRIMARY KEY AUTOINCREMENT, memory INTEGER NOT NULL, first INTEGER NOT NULL, part INTEGER NOT NULL,
	generation INTEGER NOT NULL, source BLOB NOT NULL, body TEXT NOT NULL, sum INTEGER) STRICT;
CREATE INDEX chunk_source ON chunk (source);
CREATE UNIQUE INDEX chunk_place ON chunk (memory, first, part);
CREATE INDEX chunk_generation ON chunk (memory, generation);
CREATE TABLE embedder (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE embedded (chunk INTEGER NOT NULL, embedder INTEGER NOT NULL, generation INTEGER NOT NULL, vectors BLOB NOT NULL,
	sum INTEGER, PRIMARY KEY (chunk, embedder)) STRICT, WITHOUT ROWID;
CREATE TABLE progress (memory INTEGER NOT NULL, embedder INTEGER NOT NULL, kind INTEGER NOT NULL, generation INTEGER NOT NULL, PRIMARY KEY (memory, embedder, kind)) STRICT, WITHOUT ROWID;
CREATE TABLE text (hash BLOB PRIMARY KEY, chunk INTEGER NOT NULL, slot INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX text_chunk ON text (chunk);
CREATE TABLE forgotten (id INTEGER PRIMARY KEY AUTOINCREMENT, sources BLOB NOT NULL, words BLOB NOT NULL, replies INTEGER NOT NULL, pages INTEGER NOT NULL) STRICT;
` + cacheSchema
	// cacheSchema is for what is computed again if it is not there: vectors of texts that are no turns or chunks, for the memory
	// that was asked, and the facts of chunks by their words.
	cacheSchema = `
CREATE TABLE vector (embedder TEXT NOT NULL, hash BLOB NOT NULL, value BLOB NOT NULL, memory INTEGER, sum INTEGER, PRIMARY KEY (embedder, hash)) STRICT, WITHOUT ROWID;
CREATE INDEX vector_memory ON vector (memory) WHERE memory IS NOT NULL;
CREATE TABLE pool (method TEXT NOT NULL, hash BLOB NOT NULL, facts TEXT NOT NULL, source BLOB NOT NULL, PRIMARY KEY (method, hash)) STRICT, WITHOUT ROWID;
CREATE INDEX pool_source ON pool (source);`
)

// Store is an open store. It is safe for concurrent use.
type Store struct {
	db   *sql.DB
	path string
	// readOnly is set for a file that cannot be written. What is only kept to be quicker next time is then not kept.
	readOnly bool
	done     func() error // removes the copy that is read instead of the file; nil if there is none
	write    sync.Mutex   // one writer a process: SQLite's own waiting is by polling, and not fair

	vectors flights // texts being embedded now
	pools   flights // chunks being worked on now

	replies atomic.Pointer[Replies]
}

// Open opens the store in the file at path and creates it if there is none. A file that cannot be written, such as one on a
// disk that can only be read, can be asked; changes fail with ErrReadOnly. A file that is something else is refused unchanged, with
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
		if err := inspect(abs); sqlerr.IsReadOnly(err) {
			return openReadOnly(path, abs)
		} else if err != nil {
			return nil, err
		}
	}
	if err := private.File(abs); err != nil {
		return nil, err
	}
	s, err := openWritable(path, abs)
	if sqlerr.IsReadOnly(err) && info != nil && info.Size() > 0 {
		return openReadOnly(path, abs)
	}
	return s, err
}

func openWritable(path, abs string) (*Store, error) {
	db, err := sql.Open("sqlite", dsn(abs, "rwc", "journal_mode(WAL)", "synchronous(NORMAL)", "secure_delete(1)", "cache_size(-16384)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(idleConnections)
	s := &Store{db: db, path: path}
	if err := s.change(context.Background(), create); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	// A process that was killed while it forgot has left the pages.
	if err := s.scrub(context.Background()); err != nil {
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

// create makes the tables in an empty database, brings a store of an earlier version to this one, and leaves others as they
// are. Inside a write transaction, it is safe against a second process that does the same.
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

// Close closes the store. Calls still under way end with an error.
func (s *Store) Close() error {
	err := s.db.Close()
	if s.done != nil {
		err = errors.Join(err, s.done())
	}
	if err != nil {
		return fmt.Errorf("close memory store %s: %w", s.path, err)
	}
	return nil
}

// change runs fn in one write transaction: all of it happens or nothing.
func (s *Store) change(ctx context.Context, fn func(context.Context, *sql.Tx) error) error {
	if s.readOnly {
		return ErrReadOnly
	}
	s.write.Lock()
	defer s.write.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	if err := fn(ctx, tx); err != nil {
		if undo := tx.Rollback(); !errors.Is(undo, sql.ErrTxDone) { // a cancel has rolled it back already
			return errors.Join(classify(err), undo)
		}
		return classify(err)
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
	if sqlerr.IsFull(err) {
		return fmt.Errorf("the disk is full (%w)", err)
	}
	return err
}
