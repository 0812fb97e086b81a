// Package store keeps memories in a database: turns, chunks, vectors, and what extraction without a query found in each chunk
// ("pools"). [Open] keeps them in one SQLite file; package postgres in a PostgreSQL server that several machines share. See [Database]
// for what a further one needs.
//
// Guarantees: a change is made whole or not at all, also when the process is killed; adding turns takes time for these and not
// for those that are there; a text is embedded or worked on once however many memories hold it; what is forgotten leaves no byte
// of its text in the file; several goroutines and several processes may use one database at the same time. A power cut may take the
// last changes of a file with it, never the file's consistency (SQLite's WAL with synchronous=NORMAL).
package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/budgetmem/budgetmem/internal/sqlerr"
)

// Errors to match with errors.Is.
var (
	// ErrNotStore: Open was given a file or a database that this package did not write.
	ErrNotStore = errors.New("not a memory store")
	// ErrNewer: the store was written by a later version of this package.
	ErrNewer = errors.New("memory store of a newer version")
	// ErrCorrupt: it is a memory store, but its content is damaged.
	ErrCorrupt = errors.New("damaged memory store: restore it, or move it away and add its conversations again")
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

// Store is an open store. It is safe for concurrent use.
type Store struct {
	db Database

	vectors flights // texts being embedded now
	pools   flights // chunks being worked on now

	replies atomic.Pointer[Replies]
	// Of a shared database: the last of what was forgotten that the replies here were looked through for, and when that was noted.
	scrubbed, noted atomic.Int64
}

// New returns the store in a database that has its tables. It ends what a process began to forget and did not end because it was
// killed. The Store closes the database.
func New(ctx context.Context, db Database) (*Store, error) {
	s := &Store{db: db}
	if err := s.scrub(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// String names the store in messages: the path of its file, or the address of its server without a password.
func (s *Store) String() string { return s.db.String() }

// Close closes the store. Calls still under way end with an error.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close memory store %s: %w", s.db, err)
	}
	return nil
}

// keep is for what is only kept to be quicker next time: nothing is done if the database can only be read.
func (s *Store) keep(ctx context.Context, fn func(Tx) error) error {
	if s.db.ReadOnly() {
		return nil
	}
	return s.db.Change(ctx, Shared, fn)
}
