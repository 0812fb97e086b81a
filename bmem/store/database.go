package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/internal/f32"
)

// Database holds the tables of a store. SQLite is one ([Open]), PostgreSQL another (package postgres). What a store does is written
// once, over these methods, so that both cut, find and forget alike. Ranking is no part of it: a [Store] hands out vectors, and
// the process that asks compares them.
//
// A database has the tables of this package's schema, with these columns. It takes the statements of this package as they are, with ? or
// ?1 for values, and orders text by its bytes.
type Database interface {
	// View runs fn in a transaction that only reads. All that fn reads is of one moment, whatever others write meanwhile. fn may be run
	// again if it failed, so it begins with nothing.
	View(ctx context.Context, fn func(Tx) error) error
	// Change runs fn in a transaction that writes. When it returns nil, all that fn wrote is stored and seen by every View that begins
	// later, in any process; when it returns an error, nothing is. An error of fn is returned with its chain. fn may be run again if
	// it failed, so it begins with nothing. The error of a database that can only be read is ErrReadOnly.
	Change(ctx context.Context, access Access, fn func(Tx) error) error
	// Scrub removes what deleted rows have left in the database's files, as far as the database lets its users do that. It is called
	// after a Change that forgot something, and again by the next process if it did not end.
	Scrub(ctx context.Context) error
	// Verify reads what the database knows to check by itself; the error wraps ErrCorrupt if something is damaged.
	Verify(ctx context.Context) error
	// ReadOnly reports whether nothing can be changed. What would only make the next call quicker is then not kept.
	ReadOnly() bool
	// Shared reports whether machines use it that keep replies of their own. It then has the table reader.
	Shared() bool
	// String names the database in errors, without a password.
	String() string
	// Close ends the connections. Calls still under way end with an error.
	Close() error
}

// Access says what a Change may run beside.
type Access int

const (
	// Shared changes may run at once: they add rows, or replace those of memories that they hold by Tx.Lock.
	Shared Access = iota
	// Exclusive changes run alone. What they delete can then not be added by another change that still saw it.
	Exclusive
)

// Tx is a transaction, with the context of the call that began it. It is for one goroutine.
type Tx interface {
	// Exec writes. The error may come later, from the next Query or the end of the transaction.
	Exec(query string, args ...any) error
	// Query reads. The caller closes the rows before it uses the transaction again.
	Query(query string, args ...any) (Rows, error)
	// Lock makes other changes that lock the same memory wait until this one has ended.
	Lock(memory int64) error
}

// Rows are what a Query found, as sql.Rows are.
type Rows interface {
	Next() bool
	Scan(to ...any) error
	Err() error
	Close() error
}

// Vectors are the value of a column that holds vectors of one width side by side, [n, d] float32.
type Vectors struct {
	Numbers []float32
	Dim     int // of each; 0 in those that were read
	sum     int64
	size    int // bytes
}

// Value returns the bytes of the numbers, little-endian.
func (v Vectors) Value() (driver.Value, error) { return f32.Bytes(v.Numbers), nil }

// Scan reads the bytes of numbers; NULL is none.
func (v *Vectors) Scan(from any) error {
	b, ok := from.([]byte)
	if !ok && from != nil {
		return fmt.Errorf("vectors stored as %T", from)
	}
	*v = Vectors{Numbers: f32.FromBytes(b), sum: sumOfBytes(b), size: len(b)}
	return nil
}

// row reads one row; sql.ErrNoRows if there is none.
func row(tx Tx, to []any, query string, args ...any) error {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() // its error is that of Err
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	if err := rows.Scan(to...); err != nil {
		return err
	}
	return rows.Close()
}

// each calls scan for every row that a query selects.
func each(tx Tx, scan func(Rows) error, query string, args ...any) error {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() // its error is that of Err
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// column returns the one column that a query selects.
func column[T any](tx Tx, query string, args ...any) (values []T, err error) {
	err = each(tx, func(rows Rows) error {
		var v T
		if err := rows.Scan(&v); err != nil {
			return err
		}
		values = append(values, v)
		return nil
	}, query, args...)
	return values, err
}

// maxBound is how many values of a list one statement has.
const maxBound = 512

// inList writes the condition that a column is one of the values, which are bound behind the others.
func inList(others, values []any) (in string, args []any) {
	args = slices.Clone(others)
	var b strings.Builder
	// Few lengths of lists are few statements to prepare; a value may be there twice.
	for i := range 1 << bits.Len(uint(len(values)-1)) {
		args = append(args, values[min(i, len(values)-1)])
		fmt.Fprintf(&b, ",?%d", len(args))
	}
	return " IN (" + b.String()[1:] + ")", args
}
