package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/budgetmem/budgetmem/bmem/store"
)

// View implements store.Database.
func (db *database) View(ctx context.Context, fn func(store.Tx) error) error {
	return db.retry(ctx, func() error {
		return db.once(ctx, fmt.Sprintf("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = %s", pgx.Identifier{db.schema}.Sanitize()), false, fn)
	})
}

// Change implements store.Database.
func (db *database) Change(ctx context.Context, access store.Access, fn func(store.Tx) error) error {
	if db.readOnly {
		return errReadOnly
	}
	return db.retry(ctx, func() error { return db.once(ctx, db.begin(access), true, fn) })
}

// begin begins a transaction that changes: alone, or beside others that are not alone.
func (db *database) begin(access store.Access) string {
	lock := "pg_advisory_xact_lock"
	if access == store.Shared {
		lock += "_shared"
	}
	return fmt.Sprintf("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path = %s; SELECT pg_catalog.%s(%d)", pgx.Identifier{db.schema}.Sanitize(), lock, db.lock)
}

// attempts is how often a transaction is begun again at a server that answers.
const attempts = 8

// outage is how long a server that is away is waited for: restarts and failovers take seconds, and a run must not fail all of its
// questions over one.
const outage = 30 * time.Second

// retry does once again what failed because of another transaction, because the connection was of a server that has been
// restarted meanwhile, or because there is no server for now.
func (db *database) retry(ctx context.Context, once func() error) error {
	var away time.Time // since when
	for attempt := 1; ; attempt++ {
		err := once()
		var a *again
		if !errors.As(err, &a) {
			return err
		}
		if ctx.Err() != nil {
			return explain(a.err)
		}
		pause := time.Duration(attempt*attempt) * 2 * time.Millisecond
		if a.away {
			if away.IsZero() {
				away = time.Now()
			} else if time.Since(away) > outage {
				return fmt.Errorf("after %s: %w", outage, explain(a.err))
			}
			pause, attempt = 200*time.Millisecond, 0
		} else if attempt == attempts {
			return explain(a.err)
		}
		if a.lost {
			db.pool.Reset() // the other connections are likely lost as well
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// again is the error of a transaction of which nothing is stored and that may be begun again.
type again struct {
	err  error
	lost bool // the connection is gone
	away bool // there is no server, or it is starting or stopping
}

func (a *again) Error() string { return a.err.Error() }

// once runs a transaction. Its end has the time that a rollback needs, also if the context is done.
func (db *database) once(ctx context.Context, begin string, write bool, fn func(store.Tx) error) error {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		if ctx.Err() == nil && isAway(err) {
			return &again{err: err, away: true}
		}
		return explain(err)
	}
	defer conn.Release()
	t := &tx{ctx: ctx}
	if t.tx, err = conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin}); err != nil {
		return t.judge(err, conn.Conn())
	}
	err = fn(t)
	if err == nil && write {
		err = t.flush()
	}
	if err != nil || !write {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		_ = t.tx.Rollback(end) // if it fails, the connection is closed, which undoes all the same
		return t.judge(err, conn.Conn())
	}
	if err := t.tx.Commit(ctx); err != nil {
		if conn.Conn().IsClosed() {
			return fmt.Errorf("the connection ended while the change was being stored, so that it may be there or not: %w", explain(err))
		}
		t.failed = err
		return t.judge(err, conn.Conn())
	}
	return nil
}

// isAway says whether no server answers for now. One that refuses the user or the database is there.
func isAway(err error) bool {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code == starting
	}
	var connect *pgconn.ConnectError
	return errors.As(err, &connect)
}

// rollbackTimeout is how long a transaction is waited for whose caller has gone.
const rollbackTimeout = 500 * time.Millisecond

// tx is a transaction. What it writes is sent together, before the next that it reads and at its end.
type tx struct {
	ctx    context.Context
	tx     pgx.Tx
	batch  pgx.Batch
	failed error // the last error of the server or the connection
}

// maxBatch is how many statements are sent together.
const maxBatch = 256

// judge says what an error of fn, or of the transaction itself, means.
func (t *tx) judge(err error, conn *pgx.Conn) error {
	if err == nil {
		return nil
	}
	if cause := t.ctx.Err(); cause != nil {
		if errors.Is(err, cause) {
			return err
		}
		return fmt.Errorf("%w (%w)", cause, err)
	}
	if t.tx != nil && t.failed == nil {
		return err // of fn itself
	}
	var e *pgconn.PgError
	if errors.As(err, &e) && (e.Code == serializationFailure || e.Code == deadlock) {
		return &again{err: err}
	}
	if conn.IsClosed() {
		return &again{err: err, lost: true}
	}
	return explain(err)
}

// Exec implements store.Tx.
func (t *tx) Exec(query string, args ...any) error {
	t.batch.Queue(bind(query), escapeAll(args)...)
	if t.batch.Len() < maxBatch {
		return nil
	}
	return t.flush()
}

// flush sends what is to be written.
func (t *tx) flush() error {
	if t.batch.Len() == 0 {
		return nil
	}
	batch := t.batch
	t.batch = pgx.Batch{}
	return t.note(t.tx.SendBatch(t.ctx, &batch).Close())
}

// note keeps an error of the server or the connection.
func (t *tx) note(err error) error {
	if err != nil {
		t.failed = err
	}
	return err
}

// Query implements store.Tx.
func (t *tx) Query(query string, args ...any) (store.Rows, error) {
	if err := t.flush(); err != nil {
		return nil, err
	}
	found, err := t.tx.Query(t.ctx, bind(query), escapeAll(args)...)
	if err != nil {
		return nil, t.note(err)
	}
	return rows{found, t}, nil
}

// Lock implements store.Tx.
func (t *tx) Lock(memory int64) error {
	return t.Exec("SELECT 1 FROM memory WHERE id = ? FOR UPDATE", memory)
}

// rows are pgx.Rows as store.Rows.
type rows struct {
	pgx.Rows
	tx *tx
}

func (r rows) Err() error { return r.tx.note(r.Rows.Err()) }

func (r rows) Close() error {
	r.Rows.Close()
	return r.Err()
}

func (r rows) Scan(to ...any) error {
	if err := r.Rows.Scan(to...); err != nil {
		return r.tx.note(err)
	}
	for _, t := range to {
		if s, ok := t.(*string); ok {
			*s = unescape(*s)
		}
	}
	return nil
}

// bind writes the values of a statement as PostgreSQL does: ? and ?1 as $1. No statement has a ? elsewhere.
func bind(query string) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(query); i++ {
		if query[i] != '?' {
			b.WriteByte(query[i])
			continue
		}
		b.WriteByte('$')
		if i+1 == len(query) || query[i+1] < '0' || query[i+1] > '9' {
			n++
			b.WriteString(strconv.Itoa(n))
		}
	}
	return b.String()
}
