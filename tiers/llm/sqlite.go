package llm

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// fileKind is what this package keeps in a SQLite file.
type fileKind struct {
	what   string        // in error messages
	app    int32         // the application id that marks the file
	schema string        // made in a new file
	wait   time.Duration // how long to wait for another process that holds the file
}

// connections is how many a file has at most, all kept: opening one takes longer than most queries, and a thousand callers
// at one time must not have one each.
const connections = 8

// openFile opens or creates the file at path. A file that is damaged or belongs to something else is refused, and not changed.
// Commits survive a power cut (WAL with synchronous=FULL).
func openFile(path string, kind fileKind) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind.what, path, err)
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind.what, path, err)
	}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: url.Values{
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", kind.wait.Milliseconds()), "synchronous(FULL)"}, "_txlock": {"immediate"}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind.what, path, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := prepare(db, kind); err != nil {
		db.Close()
		return nil, fmt.Errorf("open %s %s: %w", kind.what, path, explain(err))
	}
	return db, nil
}

// prepare checks whose file it is and gives a new one its mark and schema.
func prepare(db *sql.DB, kind fileKind) error {
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var app, objects int32
	if err := tx.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&objects); err != nil {
		return err
	}
	if err := tx.QueryRow("PRAGMA application_id").Scan(&app); err != nil {
		return err
	}
	switch {
	case app == kind.app:
		return nil
	case app != 0 || objects > 0:
		return fmt.Errorf("the file is a database, but not a %s: choose another path", kind.what)
	}
	if _, err := tx.Exec(fmt.Sprintf("PRAGMA application_id = %d; %s", kind.app, kind.schema)); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = db.Exec("PRAGMA journal_mode = WAL") // kept in the file; not possible inside the transaction
	return err
}

// explain adds what to do about the failures that a user can mend.
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("the file is no SQLite database: choose another path (%w)", err)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("the file is damaged: move it away to start anew, at the price of asking again (%w)", err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk is full (%w)", err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("another process holds the file (%w)", err)
	}
	return err
}
