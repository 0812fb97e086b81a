package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Memory is one named history as it is stored.
type Memory struct {
	Name   string
	Turns  []chunk.Turn
	Chunks []chunk.Chunk
}

// SplitFunc cuts a whole history into chunks; see chunk.Split.
type SplitFunc func(ctx context.Context, turns []chunk.Turn) ([]chunk.Chunk, error)

// Append adds turns at the end of the named memory, which is created if need be, and returns what it holds then. Turns whose id is there already with the same content are skipped, so adding one file twice
// changes nothing; the same id with another content is an error, and nothing is added. It is one transaction: two processes that append
// at once both succeed, one after the other.
func (s *Store) Append(ctx context.Context, name string, turns []chunk.Turn, split SplitFunc) (Memory, error) {
	var m Memory
	err := s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		old, err := load(ctx, tx, name)
		if err != nil && !errors.Is(err, ErrNoMemory) {
			return err
		}
		all, err := merge(old.Turns, turns)
		if err != nil {
			return err
		}
		chunks, err := split(ctx, all)
		if err != nil {
			return err
		}
		m = Memory{Name: name, Turns: all, Chunks: chunks}
		return put(ctx, tx, name, m.Turns, m.Chunks)
	})
	if err != nil {
		return Memory{}, fmt.Errorf("append to memory %q: %w", name, err)
	}
	return m, nil
}

// merge appends the turns that are new.
func merge(old, added []chunk.Turn) ([]chunk.Turn, error) {
	known := make(map[string]chunk.Turn, len(old))
	for _, t := range old {
		known[t.ID] = t
	}
	all := old[:len(old):len(old)]
	for i, t := range added {
		was, ok := known[t.ID]
		switch {
		case !ok || t.ID == "":
			all = append(all, t)
			known[t.ID] = t
		case was != t:
			return nil, fmt.Errorf("turn %d: id %q: %w; give it an id of its own, or edit that one", i+1, t.ID, ErrTurnExists)
		}
	}
	return all, nil
}

// Memory returns the named memory, or ErrNoMemory.
func (s *Store) Memory(ctx context.Context, name string) (Memory, error) {
	var m Memory
	err := s.view(ctx, func(tx *sql.Tx) (err error) {
		m, err = load(ctx, tx, name)
		return err
	})
	if err != nil {
		return Memory{}, fmt.Errorf("read memory %q: %w", name, err)
	}
	return m, nil
}

// Memories returns the names of all memories, sorted.
func (s *Store) Memories(ctx context.Context) ([]string, error) {
	names, err := column[string](ctx, s.db, "SELECT name FROM memory ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list memories: %w", err)
	}
	return names, nil
}

// DeleteMemory removes the named memory, or returns ErrNoMemory. Vectors and pools stay, since other memories may share them.
func (s *Store) DeleteMemory(ctx context.Context, name string) error {
	err := s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		id, err := find(ctx, tx, name)
		if err != nil {
			return err
		}
		for _, query := range []string{"DELETE FROM turn WHERE memory = ?", "DELETE FROM chunk WHERE memory = ?", "DELETE FROM memory WHERE id = ?"} {
			if _, err := tx.ExecContext(ctx, query, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete memory %q: %w", name, err)
	}
	return nil
}

// find returns the row id of the named memory, or ErrNoMemory.
func find(ctx context.Context, tx *sql.Tx, name string) (int64, error) {
	var id int64
	err := tx.QueryRowContext(ctx, "SELECT id FROM memory WHERE name = ?", name).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, ErrNoMemory
	}
	return id, err
}

func load(ctx context.Context, tx *sql.Tx, name string) (Memory, error) {
	id, err := find(ctx, tx, name)
	if err != nil {
		return Memory{}, err
	}
	m := Memory{Name: name}
	if m.Turns, err = decode[chunk.Turn](ctx, tx, "SELECT body FROM turn WHERE memory = ? ORDER BY pos", id); err != nil {
		return Memory{}, err
	}
	m.Chunks, err = decode[chunk.Chunk](ctx, tx, "SELECT body FROM chunk WHERE memory = ? ORDER BY pos", id)
	return m, err
}

func put(ctx context.Context, tx *sql.Tx, name string, turns []chunk.Turn, chunks []chunk.Chunk) error {
	id, err := find(ctx, tx, name)
	if errors.Is(err, ErrNoMemory) {
		id, err = add(ctx, tx, name)
	}
	if err != nil {
		return err
	}
	if err := replaceTail(ctx, tx, "turn", id, turns); err != nil {
		return err
	}
	return replaceTail(ctx, tx, "chunk", id, chunks)
}

// add makes an empty memory.
func add(ctx context.Context, tx *sql.Tx, name string) (int64, error) {
	result, err := tx.ExecContext(ctx, "INSERT INTO memory (name) VALUES (?)", name)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// replaceTail makes the rows of a memory in a table (turn or chunk) equal to items. Rows at the start that stay the same are
// not written again.
func replaceTail[T any](ctx context.Context, tx *sql.Tx, table string, memory int64, items []T) error {
	old, err := column[string](ctx, tx, "SELECT body FROM "+table+" WHERE memory = ? ORDER BY pos", memory)
	if err != nil {
		return err
	}
	bodies := make([]string, len(items))
	for i, item := range items {
		body, err := json.Marshal(item)
		if err != nil {
			return err
		}
		bodies[i] = string(body)
	}
	kept := 0
	for kept < len(old) && kept < len(bodies) && old[kept] == bodies[kept] {
		kept++
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE memory = ? AND pos >= ?", memory, kept); err != nil {
		return err
	}
	for pos := kept; pos < len(bodies); pos++ {
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+table+" (memory, pos, body) VALUES (?, ?, ?)", memory, pos, bodies[pos]); err != nil {
			return err
		}
	}
	return nil
}

// view runs fn in a read transaction: all it reads is of one moment.
func (s *Store) view(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback() // nothing was written; the error could only be that of a transaction already ended
	return classify(fn(tx))
}

// rowsQuerier is a database or a transaction.
type rowsQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// column returns the one column that a query selects.
func column[T any](ctx context.Context, q rowsQuerier, query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	var values []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, classify(err)
		}
		values = append(values, v)
	}
	return values, classify(rows.Err())
}

// decode returns the JSON values that a query selects.
func decode[T any](ctx context.Context, q rowsQuerier, query string, args ...any) ([]T, error) {
	bodies, err := column[string](ctx, q, query, args...)
	if err != nil {
		return nil, err
	}
	values := make([]T, len(bodies))
	for i, body := range bodies {
		if err := json.Unmarshal([]byte(body), &values[i]); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrCorrupt, i, err)
		}
	}
	return values, nil
}
