package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// upgrade brings a store of an earlier schema to this one. Vectors stay where they are, under their texts' hashes, until their
// chunks are read; facts, which the rules of the middle tiers find again at once, go.
func upgrade(tx Tx) error {
	var version int
	if err := row(tx, []any{&version}, "PRAGMA user_version"); err != nil || version == schemaVersion {
		return err
	}
	if version == 3 {
		return tx.Exec(sealed + fmt.Sprintf("PRAGMA user_version = %d", schemaVersion))
	}
	type old struct {
		id   int64
		name string
	}
	var memories []old
	err := each(tx, func(rows Rows) error {
		var m old
		if err := rows.Scan(&m.id, &m.name); err != nil {
			return err
		}
		memories = append(memories, m)
		return nil
	}, "SELECT id, name FROM memory ORDER BY id")
	if err != nil {
		return err
	}
	tables := "ALTER TABLE memory RENAME TO old_memory; ALTER TABLE turn RENAME TO old_turn; ALTER TABLE chunk RENAME TO old_chunk; " +
		"ALTER TABLE vector RENAME TO old_vector; DROP TABLE pool;" + schema +
		"INSERT INTO vector (embedder, hash, value) SELECT embedder, hash, value FROM old_vector; DROP TABLE old_vector;"
	if err := tx.Exec(tables); err != nil {
		return err
	}
	for _, m := range memories {
		if err := upgradeMemory(tx, m.id, m.name); err != nil {
			return fmt.Errorf("memory %q: %w", m.name, err)
		}
		if err := tx.Exec(fmt.Sprintf("DROP TABLE IF EXISTS chunk_text_%d", m.id)); err != nil {
			return err
		}
	}
	// The pages of the old tables are given back, overwritten, by the scrubbing that follows.
	return tx.Exec(fmt.Sprintf("DROP TABLE old_memory; DROP TABLE old_turn; DROP TABLE old_chunk; "+
		"INSERT INTO forgotten (sources, words, replies, pages) VALUES (x'', x'', 0, 1); PRAGMA user_version = %d", schemaVersion))
}

func upgradeMemory(tx Tx, id int64, name string) error {
	turns, err := decode[chunk.Turn](tx, "SELECT body FROM old_turn WHERE memory = ? ORDER BY pos", id)
	if err != nil {
		return err
	}
	chunks, err := decode[chunk.Chunk](tx, "SELECT body FROM old_chunk WHERE memory = ? ORDER BY pos", id)
	if err != nil {
		return err
	}
	if err := tx.Exec("INSERT INTO memory (id, name) VALUES (?, ?)", id, name); err != nil {
		return err
	}
	w, err := newWriter(context.Background(), tx, id)
	if err != nil {
		return err
	}
	for _, t := range turns {
		if _, err := w.insertTurn(Turn{Turn: t}); err != nil {
			return err
		}
	}
	for _, c := range place(turns, chunks) {
		if err := w.putChunk(0, c); err != nil {
			return err
		}
		if err := w.countChunk(c.Session); err != nil {
			return err
		}
	}
	return w.close()
}

// place finds where the turns of chunks stand in their history. A long turn's parts are parts of its text in order.
func place(turns []chunk.Turn, chunks []chunk.Chunk) []stored {
	var out []stored
	turn, from, part := 0, 0, 0 // the turn that the next one of a chunk is, or is a part of from this byte on
	var firstBefore int64 = -1
	for _, c := range chunks {
		s := stored{Chunk: c}
		for _, t := range c.Turns {
			at := min(turn, len(turns)-1)
			s.At = append(s.At, int64(at))
			s.Added = append(s.Added, 0)
			rest := turns[at].Text[from:]
			if n := strings.Index(rest, t.Text); n >= 0 && strings.TrimSpace(rest[n+len(t.Text):]) != "" {
				from += n + len(t.Text)
			} else {
				turn, from = turn+1, 0
			}
		}
		if part++; len(s.At) > 0 && s.At[0] != firstBefore {
			firstBefore, part = s.At[0], 0
		}
		s.part = part
		out = append(out, s)
	}
	return out
}
