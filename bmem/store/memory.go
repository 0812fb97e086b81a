package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Memory is one named history as it is stored.
type Memory struct {
	Name   string
	Turns  []chunk.Turn
	Chunks []chunk.Chunk
}

// PutMemory makes the named memory hold exactly these turns and chunks, whether it existed or not. Rows that stay the same are not
// written again, so putting the same twice changes nothing, and a memory that grew at its end costs only what is new.
func (s *Store) PutMemory(ctx context.Context, name string, turns []chunk.Turn, chunks []chunk.Chunk) error {
	err := s.change(ctx, func(ctx context.Context, tx *sql.Tx) error { return put(ctx, tx, name, turns, chunks) })
	if err != nil {
		return fmt.Errorf("store memory %q: %w", name, err)
	}
	return nil
}

// Append adds turns at the end of the named memory, which is created if need be, and returns what it holds then. split cuts the whole
// history into chunks (see chunk.Split). Turns whose id is there already with the same content are skipped, so adding one file twice
// changes nothing; the same id with another content is an error, and nothing is added. It is one transaction: two processes that append
// at once both succeed, one after the other.
func (s *Store) Append(ctx context.Context, name string, turns []chunk.Turn, split func([]chunk.Turn) []chunk.Chunk) (Memory, error) {
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
		m = Memory{Name: name, Turns: all, Chunks: split(all)}
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
			return nil, fmt.Errorf("turn %d: id %q is already used by another turn; give it an id of its own", i+1, t.ID)
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
		if _, err := tx.ExecContext(ctx, "DROP TABLE "+textIndex(id)); err != nil {
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

// Match is a chunk found by Search.
type Match struct {
	// Pos is the chunk's place in its memory, from 0.
	Pos int
	// Score is BM25, larger is better (SQLite's value with its sign turned).
	Score float64
}

// Search returns the at most k chunks of the named memory that score best by BM25 (SQLite FTS5, Porter stems, k1 = 1.2, b = 0.75) for any
// of the terms; equal scores stand in the chunks' order. Terms may hold any characters. Document frequencies are the memory's own.
func (s *Store) Search(ctx context.Context, name string, terms []string, k int) ([]Match, error) {
	query := ftsQuery(terms)
	var found []Match
	err := s.view(ctx, func(tx *sql.Tx) error {
		id, err := find(ctx, tx, name)
		if err != nil || query == "" || k <= 0 {
			return err
		}
		index := textIndex(id)
		rows, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT rowid, bm25(%s) AS score FROM %s WHERE %s MATCH ? ORDER BY score, rowid LIMIT ?",
			index, index, index), query, k)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m Match
			if err := rows.Scan(&m.Pos, &m.Score); err != nil {
				return err
			}
			m.Score = -m.Score
			found = append(found, m)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("search memory %q: %w", name, err)
	}
	return found, nil
}

// ftsQuery writes an FTS5 query that matches any of the terms, each as a quoted string so that nothing in it is syntax; "" if none is left.
// A zero byte would end the query early, and cannot occur in the index.
func ftsQuery(terms []string) string {
	var quoted []string
	for _, t := range terms {
		t = strings.ReplaceAll(strings.ToValidUTF8(t, " "), "\x00", " ")
		if strings.TrimSpace(t) != "" {
			quoted = append(quoted, `"`+strings.ReplaceAll(t, `"`, `""`)+`"`)
		}
	}
	return strings.Join(quoted, " OR ")
}

// textIndex names the full-text table of a memory. Each memory has its own, so that document frequencies do not mix.
func textIndex(memory int64) string { return fmt.Sprintf("chunk_text_%d", memory) }

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
	if _, err := replaceTail(ctx, tx, "turn", id, turns); err != nil {
		return err
	}
	kept, err := replaceTail(ctx, tx, "chunk", id, chunks)
	if err != nil {
		return err
	}
	index := textIndex(id)
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+index+" WHERE rowid >= ?", kept); err != nil {
		return err
	}
	for i, c := range chunks[kept:] {
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+index+" (rowid, body) VALUES (?, ?)", kept+i, c.Text()); err != nil {
			return err
		}
	}
	return nil
}

// add makes an empty memory.
func add(ctx context.Context, tx *sql.Tx, name string) (int64, error) {
	result, err := tx.ExecContext(ctx, "INSERT INTO memory (name) VALUES (?)", name)
	if err != nil {
		return 0, err
	}
	id, err := result.LastInsertId()
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, "CREATE VIRTUAL TABLE "+textIndex(id)+
		" USING fts5 (body, content='', contentless_delete=1, tokenize='porter unicode61 remove_diacritics 2')")
	return id, err
}

// replaceTail makes the rows of a memory in a table (turn or chunk) equal to items and returns how many rows stayed as they were.
func replaceTail[T any](ctx context.Context, tx *sql.Tx, table string, memory int64, items []T) (kept int, err error) {
	old, err := column[string](ctx, tx, "SELECT body FROM "+table+" WHERE memory = ? ORDER BY pos", memory)
	if err != nil {
		return 0, err
	}
	bodies := make([]string, len(items))
	for i, item := range items {
		body, err := json.Marshal(item)
		if err != nil {
			return 0, err
		}
		bodies[i] = string(body)
	}
	for kept < len(old) && kept < len(bodies) && old[kept] == bodies[kept] {
		kept++
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE memory = ? AND pos >= ?", memory, kept); err != nil {
		return 0, err
	}
	for pos := kept; pos < len(bodies); pos++ {
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+table+" (memory, pos, body) VALUES (?, ?, ?)", memory, pos, bodies[pos]); err != nil {
			return 0, err
		}
	}
	return kept, nil
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
