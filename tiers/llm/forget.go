package llm

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/budgetmem/budgetmem/internal/sqlerr"
)

// sourceSize is the length of a source in bytes.
const sourceSize = 16

// made says what calls are made from.
type made struct {
	sources []byte    // one after the other
	since   time.Time // when that was read
}

type madeKey struct{}

// WithSources marks the calls under ctx as made from texts that are identified by sources of 16 bytes each, so that Forget finds
// their replies. Sources of an outer context count too.
func WithSources(ctx context.Context, sources ...[]byte) context.Context {
	m, ok := ctx.Value(madeKey{}).(made)
	if !ok {
		m.since = time.Now()
	}
	m.sources = slices.Clone(m.sources)
	for _, s := range sources {
		if len(s) != sourceSize {
			panic(fmt.Sprintf("llm: a source of %d bytes, want %d", len(s), sourceSize))
		}
		m.sources = append(m.sources, s...)
	}
	return context.WithValue(ctx, madeKey{}, m)
}

// Forget removes the replies that were made from one of the sources, and those that do not say from what they were made but
// quote what is forgotten. It leaves no byte of them in the file. Calls that are under way, and were begun with one of the
// sources, get their reply, and it is not stored. After a kill it is called again.
func (c *Cache) Forget(ctx context.Context, sources map[string]bool, quotes func(reply string) bool) error {
	if c.readOnly {
		return c.fail("forget in", sqlerr.ErrReadOnly)
	}
	now := time.Now()
	keys, err := c.madeFrom(ctx, sources, quotes)
	if err != nil {
		return c.fail("forget in", err)
	}
	err = c.batch.do(func(tx *sql.Tx) error {
		if _, err := tx.Exec("DELETE FROM forgotten WHERE at < ? AND scrubbed", now.Add(-24*time.Hour).UnixNano()); err != nil {
			return err
		}
		for s := range sources {
			if _, err := tx.Exec("INSERT OR REPLACE INTO forgotten (source, at, scrubbed) VALUES (?, ?, 0)", []byte(s), now.UnixNano()); err != nil {
				return err
			}
		}
		return nil
	})
	// What was stored between the look and the mark is found by a second look.
	if err == nil {
		var late [][]byte
		if late, err = c.madeFrom(ctx, sources, quotes); err == nil {
			keys = append(keys, late...)
			err = c.batch.do(func(tx *sql.Tx) error {
				for _, k := range keys {
					if _, err := tx.Exec("DELETE FROM replies WHERE key = ?", k); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err == nil {
		err = c.scrub(ctx, len(keys) > 0)
	}
	if err != nil {
		return c.fail("forget in", err)
	}
	return nil
}

// madeFrom returns the keys of the replies to forget.
func (c *Cache) madeFrom(ctx context.Context, sources map[string]bool, quotes func(reply string) bool) ([][]byte, error) {
	rows, err := c.db.QueryContext(ctx, "SELECT key, reply, sources FROM replies")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys [][]byte
	for rows.Next() {
		var key, from []byte
		var reply sql.RawBytes
		if err := rows.Scan(&key, &reply, &from); err != nil {
			return nil, err
		}
		forget := false
		if from == nil {
			var e entry
			forget = json.Unmarshal(reply, &e) != nil || quotes(e.Text)
		}
		for s := range slices.Chunk(from, sourceSize) {
			forget = forget || sources[string(s)]
		}
		if forget {
			keys = append(keys, key)
		}
	}
	return keys, rows.Err()
}

// scrub writes the file anew without its free pages and empties the log, if something was deleted now or before a kill.
func (c *Cache) scrub(ctx context.Context, deleted bool) error {
	var free int
	if err := c.db.QueryRowContext(ctx, "SELECT freelist_count FROM pragma_freelist_count").Scan(&free); err != nil {
		return err
	}
	var left bool
	if err := c.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM forgotten WHERE NOT scrubbed)").Scan(&left); err != nil {
		return err
	}
	if deleted || left || free > 0 {
		if _, err := c.db.ExecContext(ctx, "VACUUM"); err != nil {
			return err
		}
	}
	for busy := 1; busy != 0; {
		var log, moved int
		if err := c.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
			return err
		}
	}
	_, err := c.db.ExecContext(ctx, "UPDATE forgotten SET scrubbed = 1")
	return err
}

// anyForgotten says whether one of sources, 16 bytes each and one after the other, was forgotten since a moment. Mostly nothing ever was.
// Else it looks each up by its key: a memory that was forgotten has left as many rows as it had turns.
const anyForgotten = `SELECT EXISTS (SELECT 1 FROM forgotten) AND EXISTS (
	WITH RECURSIVE place(i) AS (SELECT 1 UNION ALL SELECT i + 16 FROM place WHERE i + 16 < length(?1))
	SELECT 1 FROM place CROSS JOIN forgotten ON source = substr(?1, i, 16) WHERE at >= ?2)`

// forgotten says whether one of the sources of a call was forgotten after they were read.
func forgotten(tx *sql.Tx, statement *sql.Stmt, m made) (gone bool, err error) {
	if len(m.sources) == 0 {
		return false, nil
	}
	err = tx.Stmt(statement).QueryRow(m.sources, m.since.UnixNano()).Scan(&gone)
	return gone, err
}
