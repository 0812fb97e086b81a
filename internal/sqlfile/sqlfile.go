// Package sqlfile opens SQLite files that hold what must not be lost: replies that were paid for, and what was spent.
package sqlfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/internal/sqlerr"
)

// Kind says what a file holds.
type Kind struct {
	What    string        // in error messages
	App     int32         // the application id that marks the file
	Schema  string        // of a new file
	Updates []string      // each from a version of the schema to the next
	Wait    time.Duration // how long to wait for another process that holds the file
}

// connections is how many a file has at most, all kept open: opening one takes longer than most queries, and a thousand
// concurrent callers must not have one each.
const connections = 8

// Open opens or creates the file at path, which only its owner can read. A file that is damaged, was made by a newer
// version or belongs to something else is refused, and not changed. Commits survive a power cut (WAL with
// synchronous=FULL).
func Open(path string, kind Kind) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind.What, path, err)
	}
	missing := false
	if err = private.Dir(filepath.Dir(abs)); err == nil {
		missing, err = Missing(abs)
	}
	switch {
	case errors.Is(err, ErrCut):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
	case missing:
		err = Explain(Create(abs, func(tmp string) error {
			db, err := openDatabase(tmp, kind)
			if err != nil {
				return err
			}
			return db.Close()
		}))
	default:
		err = checkLength(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind.What, path, err)
	}
	db, err := openDatabase(abs, kind)
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", kind.What, path, Explain(err))
	}
	if err := private.File(abs); err != nil { // now that it is known to be ours
		db.Close()
		return nil, fmt.Errorf("open %s %s: %w", kind.What, path, err)
	}
	return db, nil
}

// Missing reports whether there is no file at path, so that Create may make one. It returns ErrCut if there was one.
func Missing(path string) (bool, error) {
	// The log is looked at first: another process makes the file before its log.
	log := path + "-wal"
	logged, err := os.Stat(log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.Size() == 0:
		return false, fmt.Errorf("%w: it is empty, which a new one never is", ErrCut)
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return false, err
	case logged != nil && logged.Size() > 0: // SQLite would play it into the new file
		return false, fmt.Errorf("%w: only its log %s is left; move that away too", ErrCut, log)
	}
	return true, nil
}

// ErrCut is the error for a file whose content is gone.
var ErrCut = errors.New("its content is gone")

// Create makes the file at path, which is missing. fill makes it under another name in the same folder and closes it; then it
// gets its own, so that an empty file is always one that was cut. If another process was quicker, its file stays.
func Create(path string, fill func(tmp string) error) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*") // its owner's alone
	if err != nil {
		return err
	}
	name := tmp.Name()
	defer func() {
		for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
			os.Remove(name + suffix) // most are not there
		}
	}()
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := fill(name); err != nil {
		return err
	}
	// SQLite writes the log into the file when it closes it, and says nothing where it cannot: the file alone would be damaged.
	if log, err := os.Stat(name + "-wal"); err == nil && log.Size() > 0 {
		return fmt.Errorf("make %s: its log could not be written into it: is the disk full?", path)
	}
	// Some file systems have no links.
	if err := os.Link(name, path); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		if err := os.Rename(name, path); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// openDatabase opens a file that is there.
func openDatabase(abs string, kind Kind) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: url.Values{
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", kind.Wait.Milliseconds()), "synchronous(FULL)", "secure_delete(1)"}, "_txlock": {"immediate"}}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := prepare(db, kind); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// prepare checks whose file it is and gives a new one its mark and schema.
func prepare(db *sql.DB, kind Kind) error {
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var app, objects, version int32
	if err := tx.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&objects); err != nil {
		return err
	}
	if err := tx.QueryRow("PRAGMA application_id").Scan(&app); err != nil {
		return err
	}
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	newest := int32(len(kind.Updates))
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; ", kind.App, newest)
	switch {
	case app == kind.App && version > newest:
		return newerError(version, newest)
	case app == kind.App && version == newest:
		return nil
	case app == kind.App:
		if _, err := tx.Exec(mark + strings.Join(kind.Updates[version:], "; ")); err != nil {
			return err
		}
		return tx.Commit()
	case app != 0 || objects > 0:
		return fmt.Errorf("the file is a database, but not a %s: choose another path", kind.What)
	}
	if _, err := tx.Exec(mark + kind.Schema); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = db.Exec("PRAGMA journal_mode = WAL") // kept in the file; not possible inside the transaction
	return err
}

func newerError(version, newest int32) error {
	return fmt.Errorf("the file has version %d, this program knows up to %d: use a newer program, or another path", version, newest)
}

// checkLength refuses a file that is shorter than its header says: SQLite would take some of these for files with empty tables.
// While there is a log beside the file, that may hold the rest.
func checkLength(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return nil
	}
	var header [100]byte // https://sqlite.org/fileformat.html#the_database_header
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return fmt.Errorf("%w: it has %d bytes", ErrDamaged, info.Size())
	}
	pageSize, pages := int64(binary.BigEndian.Uint16(header[16:])), int64(binary.BigEndian.Uint32(header[28:]))
	if pageSize == 1 {
		pageSize = 1 << 16
	}
	valid := bytes.HasPrefix(header[:], []byte("SQLite format 3\x00")) && bytes.Equal(header[24:28], header[92:96])
	if valid && info.Size() < pageSize*pages {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), pageSize*pages)
	}
	return nil
}

// ErrDamaged is the error for a file that was changed by something else than its program.
var ErrDamaged = errors.New("the file is damaged: restore it, or move it away to start with an empty one, at the price of asking again")

// Checksum is stored beside a record, so that damage to it is noticed.
func Checksum(parts ...any) []byte {
	b, err := json.Marshal(parts)
	if err != nil {
		panic(err) // only numbers, strings and bytes come here
	}
	sum := sha256.Sum256(b)
	return sum[:8]
}

// Explain adds what to do about failures that a user can fix.
func Explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	if sqlerr.IsFull(err) {
		return fmt.Errorf("the disk is full (%w)", err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("the file is no SQLite database: choose another path (%w)", err)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%w (%w)", sqlerr.ErrReadOnly, err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("another process holds the file (%w)", err)
	}
	return err
}
