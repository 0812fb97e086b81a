package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Info describes a memory.
type Info struct {
	Name     string    `json:"name"`
	Turns    int       `json:"turns"`
	Sessions int       `json:"sessions"`
	Bytes    int64     `json:"bytes"`            // of text
	Created  time.Time `json:"created,omitzero"` // zero in stores of earlier versions
	Changed  time.Time `json:"changed,omitzero"`
	Expires  time.Time `json:"expires,omitzero"` // of the whole memory
	// TurnExpires is when the first of its turns expires that have a time of their own; zero if none has.
	TurnExpires time.Time `json:"turn_expires,omitzero"`
}

// Turn is a turn as it is stored.
type Turn struct {
	chunk.Turn
	Added   time.Time `json:"added,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// Pages of turns.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// TurnQuery says which turns to read.
type TurnQuery struct {
	Cursor  string // of the page before; "" begins at the start
	Limit   int    // the most turns to return (default DefaultPage, at most MaxPage)
	Session string // only of this session, if not ""
	Speaker string // only by this speaker, if not ""
}

// List describes all memories, sorted by name.
func (s *Store) List(ctx context.Context) ([]Info, error) {
	infos, err := s.describe(ctx, "ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list memories: %w", err)
	}
	return infos, nil
}

// Describe describes a memory; ErrNoMemory if there is none of that name.
func (s *Store) Describe(ctx context.Context, name string) (Info, error) {
	infos, err := s.describe(ctx, "WHERE name = ?", name)
	if err == nil && len(infos) == 0 {
		err = ErrNoMemory
	}
	if err != nil {
		return Info{}, fmt.Errorf("memory %q: %w", name, err)
	}
	return infos[0], nil
}

func (s *Store) describe(ctx context.Context, where string, args ...any) ([]Info, error) {
	if _, err := s.ForgetExpired(ctx, time.Now()); err != nil {
		return nil, err
	}
	var infos []Info
	err := s.db.View(ctx, func(tx Tx) error {
		infos = []Info{}
		return each(tx, func(rows Rows) error {
			var i Info
			var created, changed int64
			var expires, turnExpires sql.NullInt64
			err := rows.Scan(&i.Name, &i.Turns, &i.Bytes, &created, &changed, &expires, &i.Sessions, &turnExpires)
			i.Created, i.Changed, i.Expires, i.TurnExpires = fromSeconds(created), fromSeconds(changed), fromSeconds(expires.Int64), fromSeconds(turnExpires.Int64)
			infos = append(infos, i)
			return err
		}, `SELECT name, turns, bytes, created, changed, expires,
			(SELECT count(*) FROM session WHERE session.memory = memory.id AND session.turns > 0),
			(SELECT min(expires) FROM turn WHERE turn.expires IS NOT NULL AND turn.memory = memory.id) FROM memory `+where, args...)
	})
	return infos, err
}

// Turns returns the turns that a query selects and the cursor of the next page, "" if there is none.
func (s *Store) Turns(ctx context.Context, name string, q TurnQuery) (page []Turn, next string, err error) {
	fail := func(err error) ([]Turn, string, error) {
		return nil, "", fmt.Errorf("turns of memory %q: %w", name, err)
	}
	from, err := parseCursor(q.Cursor)
	if err != nil {
		return fail(err)
	}
	if q.Limit <= 0 {
		q.Limit = DefaultPage
	}
	q.Limit = min(q.Limit, MaxPage)
	if _, err := s.ForgetExpired(ctx, time.Now()); err != nil {
		return fail(err)
	}
	err = s.db.View(ctx, func(tx Tx) error {
		page, next = []Turn{}, ""
		id, err := find(tx, name)
		if err != nil {
			return err
		}
		where, args := "WHERE memory = ? AND pos >= ?", []any{id, from}
		if q.Session != "" {
			where, args = where+" AND session = ?", append(args, q.Session)
		}
		if q.Speaker != "" {
			where, args = where+" AND speaker = ?", append(args, q.Speaker)
		}
		turns, err := queryTurns(tx, where+" ORDER BY pos LIMIT ?", append(args, q.Limit+1)...)
		if err != nil {
			return err
		}
		if len(turns) > q.Limit {
			next = cursor(turns[q.Limit].pos)
			turns = turns[:q.Limit]
		}
		for _, t := range turns {
			page = append(page, t.Turn)
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return page, next, nil
}

// A cursor is the position of the next turn; its form is nobody's business, so that it can change.
func cursor(pos int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte("t" + strconv.FormatInt(pos, 10)))
}

func parseCursor(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		if digits, ok := strings.CutPrefix(string(b), "t"); ok {
			if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n >= 0 {
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: %q", ErrCursor, s)
}

// Turn returns one turn.
func (s *Store) Turn(ctx context.Context, name, id string) (t Turn, err error) {
	if _, err := s.ForgetExpired(ctx, time.Now()); err != nil {
		return t, err
	}
	err = s.db.View(ctx, func(tx Tx) error {
		memory, err := find(tx, name)
		if err != nil {
			return err
		}
		found, err := (&writer{ctx: ctx, tx: tx, memory: memory}).turnOf(id)
		t = found.Turn
		return err
	})
	if err != nil {
		return Turn{}, fmt.Errorf("memory %q: %w", name, err)
	}
	return t, nil
}

// writerOf returns a writer of the named memory, or ErrNoMemory.
func writerOf(ctx context.Context, tx Tx, name string) (*writer, error) {
	id, err := find(tx, name)
	if err != nil {
		return nil, err
	}
	return newWriter(ctx, tx, id)
}

// SetExpiry sets when turns expire, or without ids when the whole memory does. The zero time is never: without ids it is that for all turns.
func (s *Store) SetExpiry(ctx context.Context, name string, at time.Time, ids []string) error {
	err := s.db.Change(ctx, Shared, func(tx Tx) error {
		w, err := writerOf(ctx, tx, name)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			if at.IsZero() {
				if err := w.exec("UPDATE turn SET expires = NULL WHERE memory = ? AND expires IS NOT NULL", w.memory); err != nil {
					return err
				}
			}
			return w.exec("UPDATE memory SET expires = ? WHERE id = ?", expiry(at), w.memory)
		}
		for _, id := range ids {
			t, err := w.turnOf(id)
			if err != nil {
				return err
			}
			if err := w.exec("UPDATE turn SET expires = ? WHERE memory = ? AND pos = ?", expiry(at), w.memory, t.pos); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set when memory %q expires: %w", name, err)
	}
	_, err = s.ForgetExpired(ctx, time.Now())
	return err
}
