package llm

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/internal/sqlfile"
	"time"
)

var ledgerFile = sqlfile.Kind{What: "spend ledger", App: 0x424d4c67, Wait: time.Second, Schema: `
	CREATE TABLE calls (
		id     INTEGER PRIMARY KEY,
		model  TEXT NOT NULL,
		need   INTEGER NOT NULL, -- most the call can cost, 1e-12 dollars
		cost   INTEGER,          -- what it did cost; NULL while in flight
		sure   INTEGER,          -- 0: cost is only a bound
		sum    BLOB              -- checksum of the row; NULL in what earlier versions stored
	);
	CREATE INDEX in_flight ON calls (id) WHERE cost IS NULL`,
	Updates: []string{"ALTER TABLE calls ADD COLUMN sum BLOB"}}

// journal keeps a ledger's reservations on disk, so that a limit holds across a crash. A nil journal keeps nothing.
type journal struct {
	db    *sql.DB
	batch batch
}

// OpenLedger returns a ledger kept in the SQLite file at path: the limit, in dollars, holds over all runs with the file
// together. A reservation is on disk before its call is made; one that a crash left open counts as spent, as Uncertain,
// because it is not known whether the call went out. One process at a time may have the file open. A file that is damaged
// or belongs to something else is refused. The caller closes the ledger.
func OpenLedger(path string, limit float64) (*Ledger, error) {
	l, err := NewLedger(limit)
	if err != nil {
		return nil, fmt.Errorf("open %s %s: %w", ledgerFile.What, path, err)
	}
	db, err := sqlfile.Open(path, ledgerFile)
	if err != nil {
		return nil, err
	}
	l.journal = &journal{db: db, batch: batch{db: db}}
	if err := l.resume(); err != nil {
		db.Close()
		return nil, fmt.Errorf("open %s %s: %w", ledgerFile.What, path, sqlfile.Explain(err))
	}
	return l, nil
}

// resume locks the file for this process and reads what was spent.
func (l *Ledger) resume() error {
	db := l.journal.db
	db.SetMaxOpenConns(1)
	for _, q := range []string{
		"PRAGMA locking_mode = EXCLUSIVE",
		"UPDATE calls SET cost = need, sure = 0 WHERE cost IS NULL", // a write takes the lock, even if nothing matches
	} {
		if _, err := db.Exec(q); err != nil {
			return err
		}
	}
	rows, err := db.Query("SELECT id, model, need, cost, sure, sum FROM calls")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var model string
		var need, cost money.Picodollars
		var sure bool
		var sum []byte
		if err := rows.Scan(&id, &model, &need, &cost, &sure, &sum); err != nil {
			return err
		}
		// A call that was in flight when its program ended has the checksum of its reservation.
		interrupted := cost == need && !sure && bytes.Equal(sum, sqlfile.Checksum(id, model, need))
		if sum != nil && !interrupted && !bytes.Equal(sum, sqlfile.Checksum(id, model, need, cost, sure)) || need < 0 || cost < 0 {
			return fmt.Errorf("call %d: its checksum is wrong, so that what was spent is not known: restore the file, or start another with what is left of the limit", id)
		}
		if sure {
			l.spent = l.spent.Plus(cost)
		} else {
			l.unsure = l.unsure.Plus(cost)
		}
		if cost > need {
			l.overruns++
		}
	}
	return rows.Err()
}

// Close closes the ledger's file, if it has one, and gives back what is left of a shared limit. Calls in flight count as spent
// when it is opened again. The error is an ErrLedger if what a call cost could not be written, or the rest not given back.
func (l *Ledger) Close() error {
	left := l.leave()
	if l.journal == nil {
		return left
	}
	l.mu.Lock()
	failed := l.failed
	l.mu.Unlock()
	return errors.Join(left, failed, l.journal.db.Close())
}

func (j *journal) reserve(model string, need money.Picodollars) (int64, error) {
	if j == nil {
		return 0, nil
	}
	var row int64
	err := j.batch.do(func(tx *sql.Tx) error {
		res, err := tx.Exec("INSERT INTO calls (model, need) VALUES (?, ?)", model, int64(need))
		if err != nil {
			return err
		}
		if row, err = res.LastInsertId(); err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE calls SET sum = ? WHERE id = ?", sqlfile.Checksum(row, model, need), row)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%w: write: %w", ErrLedger, sqlfile.Explain(err))
	}
	return row, nil
}

func (j *journal) settle(row int64, model string, need, cost money.Picodollars, sure bool) error {
	if j == nil {
		return nil
	}
	err := j.batch.do(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE calls SET cost = ?, sure = ?, sum = ? WHERE id = ?", int64(cost), sure, sqlfile.Checksum(row, model, need, cost, sure), row)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: write: %w", ErrLedger, sqlfile.Explain(err))
	}
	return nil
}
