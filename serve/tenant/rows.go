package tenant

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/internal/sqlfile"
)

// row is what a tenant spent in an hour or, with an id, what a question of it holds.
type row struct {
	id     int64
	tenant string
	hour   int64
	amount money.Picodollars
	asked  int   // of what was spent
	at     int64 // of what is held
}

// The columns of a row, in the order of its fields, and its checksum.
const (
	spentColumns = "0, tenant, hour, amount, asked, 0, sum"
	heldColumns  = "id, tenant, hour, amount, 0, at, sum"
)

func (r row) sum() []byte { return sqlfile.Checksum(r.id, r.tenant, r.hour, r.amount, r.asked, r.at) }

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// rows reads rows of spentColumns or heldColumns. One whose checksum is wrong is an sqlfile.ErrDamaged: what is left of a limit is not
// known then.
func rows(ctx context.Context, q querier, query string, args ...any) (out []row, err error) {
	found, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	for found.Next() {
		var r row
		var sum []byte
		if err := found.Scan(&r.id, &r.tenant, &r.hour, &r.amount, &r.asked, &r.at, &sum); err != nil {
			return nil, fmt.Errorf("%w (%w)", errDamaged, err)
		}
		if r.amount < 0 || !bytes.Equal(sum, r.sum()) {
			return nil, fmt.Errorf("an entry of %.40q: its checksum is wrong: %w", r.tenant, errDamaged)
		}
		out = append(out, r)
	}
	return out, found.Err()
}

// errDamaged is the error for a ledger that is not as it was written.
var errDamaged = errors.New("what was spent is not known, so that nothing may be spent: restore the file, or move it away to start with an empty one, which knows of no spending")

// put adds what a question holds, and returns its id.
func put(ctx context.Context, tx *sql.Tx, r row) (int64, error) {
	res, err := tx.ExecContext(ctx, "INSERT INTO held (tenant, hour, amount, at) VALUES (?, ?, ?, ?)", r.tenant, r.hour, int64(r.amount), r.at)
	if err != nil {
		return 0, err
	}
	if r.id, err = res.LastInsertId(); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, "UPDATE held SET sum = ? WHERE id = ?", r.sum(), r.id)
	return r.id, err
}

// drop removes what a question holds.
func drop(tx *sql.Tx, id int64) error {
	res, err := tx.Exec("DELETE FROM held WHERE id = ?", id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fmt.Errorf("hold %d is gone", id))
	}
	return nil
}

// spend adds to what a tenant spent in an hour.
func spend(tx *sql.Tx, tenant string, hour int64, amount money.Picodollars, asked int) error {
	r := row{tenant: tenant, hour: hour, amount: amount, asked: asked}
	before, err := rows(context.Background(), tx, "SELECT "+spentColumns+" FROM spent WHERE tenant = ? AND hour = ?", tenant, hour)
	if err != nil {
		return err
	}
	for _, b := range before {
		r.amount, r.asked = r.amount.Plus(b.amount), r.asked+b.asked
	}
	_, err = tx.Exec("INSERT OR REPLACE INTO spent (tenant, hour, amount, asked, sum) VALUES (?, ?, ?, ?, ?)", r.tenant, r.hour, int64(r.amount), r.asked, r.sum())
	return err
}

// Check reads the ledger in full, and compares each entry with its checksum. n is the number of entries.
func (l *Ledger) Check(ctx context.Context) (n int, err error) {
	if n, err = l.check(ctx); err != nil {
		return n, failure(err)
	}
	return n, nil
}

func (l *Ledger) check(ctx context.Context) (n int, err error) {
	// An entry that nothing leads to any more has no checksum to compare.
	var structure string
	if err := l.db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&structure); err != nil {
		return 0, err
	}
	if structure != "ok" {
		return 0, fmt.Errorf("%s: %w", structure, errDamaged)
	}
	all, err := rows(ctx, l.db, "SELECT "+spentColumns+" FROM spent UNION ALL SELECT "+heldColumns+" FROM held")
	return len(all), err
}

// seal gives the entries of earlier versions, which had none, their checksums.
func (l *Ledger) seal() error {
	return l.change(context.Background(), func(tx *sql.Tx) error {
		for _, q := range []struct{ query, update string }{
			{"SELECT " + spentColumns + " FROM spent WHERE sum IS NULL", "UPDATE spent SET sum = ?1 WHERE tenant = ?2 AND hour = ?3"},
			{"SELECT " + heldColumns + " FROM held WHERE sum IS NULL", "UPDATE held SET sum = ?1 WHERE id = ?4"},
		} {
			found, err := tx.Query(q.query)
			if err != nil {
				return err
			}
			var bare []row
			for found.Next() {
				var r row
				var none []byte
				if err := found.Scan(&r.id, &r.tenant, &r.hour, &r.amount, &r.asked, &r.at, &none); err != nil {
					return errors.Join(err, found.Close())
				}
				bare = append(bare, r)
			}
			if err := found.Err(); err != nil {
				return err
			}
			for _, r := range bare {
				if _, err := tx.Exec(q.update, r.sum(), r.tenant, r.hour, r.id); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
