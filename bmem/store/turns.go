package store

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// placedTurn is a turn with its position.
type placedTurn struct {
	Turn
	pos int64
}

// turnOf returns the turn of an id; ErrNoTurn if there is none, and for no id.
func (w *writer) turnOf(id string) (t placedTurn, err error) {
	if id == "" {
		return t, ErrNoTurn
	}
	turns, err := queryTurns(w.tx, "WHERE memory = ? AND id = ? AND id <> ''", w.memory, id)
	if err != nil {
		return t, err
	}
	if len(turns) == 0 {
		return t, fmt.Errorf("turn %q: %w", id, ErrNoTurn)
	}
	return turns[0], nil
}

const turnColumns = "id, session, time, speaker, text, added, expires, sum"

// scanTurn reads pos and the turnColumns of a row.
func scanTurn(row Rows) (placedTurn, error) {
	var t placedTurn
	var added int64
	var expires, sum sql.NullInt64
	err := row.Scan(&t.pos, &t.ID, &t.Session, &t.Time, &t.Speaker, &t.Text, &added, &expires, &sum)
	t.Added = fromSeconds(added)
	if expires.Valid {
		t.Expires = fromSeconds(expires.Int64)
	}
	if err == nil {
		err = fits(sum, turnSum(t.Turn.Turn), "turn %q", t.ID)
	}
	return t, err
}

// allTurns returns the turns of a memory, the damaged ones too: they are to be forgotten.
func allTurns(tx Tx, memory int64) ([]placedTurn, error) {
	return readTurns(tx, func(err error) error {
		if errors.Is(err, ErrCorrupt) {
			return nil
		}
		return err
	}, "WHERE memory = ? ORDER BY pos", memory)
}

// turnSum is the checksum of what a turn says, when, and by whom.
func turnSum(t chunk.Turn) int64 { return sumOf(t.ID, t.Session, t.Time, t.Speaker, t.Text) }

// Times are kept as Unix seconds, the zero time as 0, and no expiry as NULL.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func fromSeconds(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

func expiry(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}

// queryTurns returns the turns that the rest of a query selects.
func queryTurns(tx Tx, where string, args ...any) ([]placedTurn, error) {
	return readTurns(tx, func(err error) error { return err }, where, args...)
}

// readTurns reads turns; fault says which error of a turn ends that.
func readTurns(tx Tx, fault func(error) error, where string, args ...any) (turns []placedTurn, err error) {
	err = each(tx, func(rows Rows) error {
		t, err := scanTurn(rows)
		turns = append(turns, t)
		return fault(err)
	}, "SELECT pos, "+turnColumns+" FROM turn "+where, args...)
	return turns, err
}
