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
	"slices"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/internal/sqlerr"
	"github.com/budgetmem/budgetmem/internal/sqlfile"
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

// Open opens the store in the file at path and creates it if there is none. A file that cannot be written, such as one on a
// disk that can only be read, can be asked; changes fail with ErrReadOnly. A file that is something else is refused unchanged, with
// ErrNotStore.
func Open(path string) (*Store, error) {
	f, err := SQLite(path)
	if err != nil {
		return nil, err
	}
	s, err := New(context.Background(), f)
	if err != nil {
		return nil, fmt.Errorf("open memory store %s: %w", path, errors.Join(err, f.Close()))
	}
	return s, nil
}

// SQLite opens the file alone, as Open does, for a Store to be made of it by New.
func SQLite(path string) (Database, error) {
	f, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open memory store %s: %w", path, err)
	}
	return f, nil
}

func open(path string) (*file, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err == nil && info.IsDir() {
		return nil, fmt.Errorf("%w: it is a folder", ErrNotStore)
	}
	missing, err := sqlfile.Missing(abs)
	switch {
	case errors.Is(err, sqlfile.ErrCut):
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case err != nil:
		return nil, err
	case missing:
		if _, err := os.Stat(filepath.Dir(abs)); err != nil {
			return nil, fmt.Errorf("its folder is missing: %w", err)
		}
		if err := sqlfile.Create(abs, func(tmp string) error {
			f, err := openWritable(path, tmp)
			if err != nil {
				return err
			}
			return f.Close()
		}); err != nil {
			return nil, err
		}
		return openWritable(path, abs)
	}
	// Looked at read-only first, since opening for use would turn a foreign database to WAL.
	if err := inspect(abs); sqlerr.IsReadOnly(err) {
		return openReadOnly(path, abs)
	} else if err != nil {
		return nil, err
	}
	if err := private.File(abs); err != nil {
		return nil, err
	}
	f, err := openWritable(path, abs)
	if sqlerr.IsReadOnly(err) {
		return openReadOnly(path, abs)
	}
	return f, err
}

func openWritable(path, abs string) (*file, error) {
	db, err := sql.Open("sqlite", dsn(abs, "rwc", "journal_mode(WAL)", "synchronous(NORMAL)", "secure_delete(1)", "cache_size(-16384)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(idleConnections)
	f := newFile(db, path)
	if err := f.Change(context.Background(), Exclusive, create); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return f, nil
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
	return newFile(db, "").View(context.Background(), identify)
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

// identify returns nil for a store of this version or an earlier one, and for an empty database.
func identify(tx Tx) error {
	var app, version, tables int
	err := row(tx, []any{&app, &version, &tables}, `SELECT (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)`)
	switch {
	case err != nil:
		return err
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
func create(tx Tx) error {
	if err := identify(tx); err != nil {
		return err
	}
	var tables int
	if err := row(tx, []any{&tables}, "SELECT count(*) FROM sqlite_schema"); err != nil {
		return err
	}
	if tables > 0 {
		return upgrade(tx)
	}
	return tx.Exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; %s", applicationID, schemaVersion, schema))
}

// file is a SQLite file as a Database.
type file struct {
	db   *sql.DB
	path string
	// readOnly is set for a file that cannot be written.
	readOnly bool
	done     func() error  // removes the copy that is read instead of the file; nil if there is none
	write    chan struct{} // holds the turn to write, of one writer a process: SQLite's own waiting is by polling, and not fair
}

// newFile returns the open file db as a Database.
func newFile(db *sql.DB, path string) *file {
	return &file{db: db, path: path, write: make(chan struct{}, 1)}
}

// begin waits for the turn to write.
func (f *file) begin(ctx context.Context) error {
	select {
	case f.write <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *file) end() { <-f.write }

func (f *file) String() string { return f.path }

func (f *file) ReadOnly() bool { return f.readOnly }

// Shared implements Database: the replies lie in the folder of the file.
func (f *file) Shared() bool { return false }

func (f *file) Close() error {
	err := f.db.Close()
	if f.done != nil {
		err = errors.Join(err, f.done())
	}
	return err
}

// View implements Database.
func (f *file) View(ctx context.Context, fn func(Tx) error) error {
	tx, err := f.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback() // nothing was written; the error could only be that of a transaction already ended
	return classify(fn(&fileTx{ctx: ctx, tx: tx}))
}

// Change implements Database. One change runs at a time, whatever its access.
func (f *file) Change(ctx context.Context, _ Access, fn func(Tx) error) error {
	if f.readOnly {
		return ErrReadOnly
	}
	if err := f.begin(ctx); err != nil {
		return err
	}
	defer f.end()
	tx, err := f.db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	t := &fileTx{ctx: ctx, tx: tx, prepared: map[string]*sql.Stmt{}}
	defer t.close()
	if err := fn(t); err != nil {
		if undo := tx.Rollback(); !errors.Is(undo, sql.ErrTxDone) { // a cancel has rolled it back already
			return errors.Join(classify(err), undo)
		}
		return classify(err)
	}
	return classify(tx.Commit())
}

// Scrub writes the file again without its free pages, since SQLite's secure_delete misses what it has moved between pages, and
// empties the log.
func (f *file) Scrub(ctx context.Context) error {
	if err := f.begin(ctx); err != nil {
		return err
	}
	defer f.end()
	if _, err := f.db.ExecContext(ctx, "VACUUM"); err != nil {
		return classify(err)
	}
	// The log is moved into the file and emptied. Readers hold that up for as long as they read.
	var busy, log, moved int
	for {
		if err := f.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
			return classify(err)
		}
		if busy == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Verify implements Database.
func (f *file) Verify(ctx context.Context) error {
	var faults []string
	err := f.View(ctx, func(tx Tx) (err error) {
		faults, err = column[string](tx, "PRAGMA integrity_check(5)")
		return err
	})
	if err == nil && !slices.Equal(faults, []string{"ok"}) {
		err = fmt.Errorf("%w: %s", ErrCorrupt, strings.Join(faults, "; "))
	}
	return err
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
