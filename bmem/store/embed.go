package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
)

// textsOf lists what is embedded of a chunk: its text, and if asked the texts of its turns.
func textsOf(c chunk.Chunk, turns bool) []string {
	texts := []string{c.Text()}
	if turns {
		for _, t := range c.Turns {
			texts = append(texts, t.String())
		}
	}
	return texts
}

// Embed embeds what is new of a memory: its chunks, and if asked their turns. The time it takes depends on what is new only.
// progress, which may be nil, is called with how many of the texts are done. It may be called by several processes at once, and
// after a kill it goes on with the batch that was under way.
func (s *Store) Embed(ctx context.Context, name string, e embed.Embedder, turns bool, progress func(done, total int)) error {
	if err := s.embed(ctx, name, e, turns, progress); err != nil {
		return fmt.Errorf("embed memory %q by %s: %w", name, e.ID(), err)
	}
	return nil
}

// pending is what is to be embedded of a memory.
type pending struct {
	memory, embedder  int64
	since, generation int64 // what has changed after since, up to generation
	total             int   // texts
}

func (s *Store) embed(ctx context.Context, name string, e embed.Embedder, turns bool, progress func(done, total int)) error {
	p, err := s.pending(ctx, name, e, turns)
	if err != nil || p.since == p.generation {
		return err
	}
	done := 0
	for after := int64(0); ; {
		chunks, err := s.unembedded(ctx, p, after)
		if err != nil {
			return err
		}
		if len(chunks) == 0 {
			break
		}
		if err := s.embedChunks(ctx, p, e, chunks, turns); err != nil {
			return err
		}
		after = chunks[len(chunks)-1].row
		for _, c := range chunks {
			done += len(textsOf(c.Chunk, turns))
		}
		if progress != nil {
			progress(done, max(done, p.total))
		}
	}
	return s.db.Change(ctx, Shared, func(tx Tx) error {
		var there bool
		if err := row(tx, []any{&there}, "SELECT EXISTS (SELECT 1 FROM memory WHERE id = ?)", p.memory); err != nil || !there {
			return err
		}
		return tx.Exec(`INSERT INTO progress (memory, embedder, kind, generation) VALUES (?, ?, ?, ?)
			ON CONFLICT (memory, embedder, kind) DO UPDATE SET generation = excluded.generation WHERE excluded.generation > progress.generation`,
			p.memory, p.embedder, kindOf(turns), p.generation)
	})
}

// kindOf is 1 if turns have vectors too, otherwise 0.
func kindOf(turns bool) int {
	if turns {
		return 1
	}
	return 0
}

// pending finds out what is to be embedded.
func (s *Store) pending(ctx context.Context, name string, e embed.Embedder, turns bool) (pending, error) {
	var p pending
	read := func() error {
		return s.db.View(ctx, func(tx Tx) (err error) {
			if p.memory, err = find(tx, name); err != nil {
				return err
			}
			if err = row(tx, []any{&p.embedder}, "SELECT id FROM embedder WHERE name = ?", e.ID()); err != nil {
				return err
			}
			err = row(tx, []any{&p.generation, &p.since}, `SELECT generation, coalesce((SELECT max(generation) FROM progress WHERE memory = ?1 AND embedder = ?2 AND kind >= ?3), -1)
				FROM memory WHERE id = ?1`, p.memory, p.embedder, kindOf(turns))
			if err != nil || p.since == p.generation {
				return err
			}
			// Each turn of a body has one key "text", which no text itself holds, as its quotes are escaped.
			return row(tx, []any{&p.total}, `SELECT coalesce(sum(1 + ?1 * ((length(body) - length(replace(body, '"text":', ''))) / 7)), 0)
				FROM chunk WHERE memory = ?2 AND generation > ?3`, kindOf(turns), p.memory, p.since)
		})
	}
	err := read()
	if !errors.Is(err, sql.ErrNoRows) {
		return p, err
	}
	err = s.db.Change(ctx, Shared, func(tx Tx) error {
		return tx.Exec("INSERT INTO embedder (name) VALUES (?) ON CONFLICT DO NOTHING", e.ID())
	})
	if err != nil {
		return p, err
	}
	return p, read()
}

// unembedded returns the next chunks that have changed, with some embedBatch texts.
func (s *Store) unembedded(ctx context.Context, p pending, after int64) ([]IndexedChunk, error) {
	var chunks []IndexedChunk
	err := s.db.View(ctx, func(tx Tx) error {
		chunks = nil
		rows, err := tx.Query("SELECT id, generation, body, sum FROM chunk WHERE memory = ? AND generation > ? AND id > ? ORDER BY id LIMIT ?",
			p.memory, p.since, after, embedBatch)
		if err != nil {
			return err
		}
		defer rows.Close() // its error is that of Err
		for texts := 0; texts < embedBatch && rows.Next(); {
			var c IndexedChunk
			var st stored
			var body sealedBody
			if err := rows.Scan(&c.row, &c.generation, &body.text, &body.sum); err != nil {
				return err
			}
			if err := body.open(&st); err != nil {
				return err
			}
			c.Chunk = st.Chunk
			chunks = append(chunks, c)
			texts += 1 + len(c.Turns)
		}
		return rows.Err()
	})
	return chunks, err
}

// embedChunks embeds the texts of chunks that have no vector yet and puts the vectors of each chunk side by side.
func (s *Store) embedChunks(ctx context.Context, p pending, e embed.Embedder, chunks []IndexedChunk, turns bool) error {
	var list []string
	for _, c := range chunks {
		list = append(list, textsOf(c.Chunk, turns)...)
	}
	b := batchOf(e, list)
	put := func(ctx context.Context, keys []string, vectors [][]float32) error {
		return s.putVectors(ctx, "", e, keys, vectors)
	}
	if err := s.resolve(ctx, e, b, put); err != nil {
		return err
	}
	return s.db.Change(ctx, Shared, func(tx Tx) error {
		if err := tx.Lock(p.memory); err != nil {
			return err
		}
		w := &writer{ctx: ctx, tx: tx}
		for _, c := range chunks {
			if err := w.pack(p, e, c, b, turns); err != nil {
				return err
			}
		}
		return nil
	})
}

// pack moves the vectors of a chunk to one place, unless it has changed meanwhile or is gone.
func (w *writer) pack(p pending, e embed.Embedder, c IndexedChunk, b texts, turns bool) error {
	var generation int64
	err := w.row([]any{&generation}, "SELECT generation FROM chunk WHERE id = ?", c.row)
	if errors.Is(err, sql.ErrNoRows) || err == nil && generation != c.generation {
		// What it said may be forgotten by now. Texts that are still there are embedded again.
		for _, text := range textsOf(c.Chunk, turns) {
			if err := w.exec("DELETE FROM vector WHERE embedder = ? AND hash = ? AND memory IS NULL", e.ID(), []byte(key(e.ID(), text))); err != nil {
				return err
			}
		}
		return nil
	} else if err != nil {
		return err
	}
	if err := w.exec("DELETE FROM text WHERE chunk = ?", c.row); err != nil {
		return err
	}
	var packed []float32
	for slot, text := range textsOf(c.Chunk, turns) {
		k := key(e.ID(), text)
		packed = append(packed, b.found[k]...)
		if err := w.exec("INSERT INTO text (hash, chunk, slot) VALUES (?, ?, ?) ON CONFLICT (hash) DO UPDATE SET chunk = excluded.chunk, slot = excluded.slot", []byte(k), c.row, slot); err != nil {
			return err
		}
		if err := w.exec("DELETE FROM vector WHERE embedder = ? AND hash = ? AND memory IS NULL", e.ID(), []byte(k)); err != nil {
			return err
		}
	}
	v := pack(packed, e.Dim())
	return w.exec(`INSERT INTO embedded (chunk, embedder, generation, vectors, sum) VALUES (?, ?, ?, ?, ?) ON CONFLICT (chunk, embedder)
		DO UPDATE SET generation = excluded.generation, vectors = excluded.vectors, sum = excluded.sum`, c.row, p.embedder, generation, v, v.sum)
}
