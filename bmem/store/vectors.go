package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/internal/f32"
)

// embedBatch is how many texts are embedded between two writes: what a kill can lose.
const embedBatch = 128

// Vectors returns the embedder's unit vectors of the texts, in order: [n, d] float32. Vectors of an earlier call, for any memory, are
// read; the others are embedded and stored batch by batch. Two calls at once embed a text once. progress, which may be nil, is told
// after each batch how many of the total texts that this call has to embed are done.
func (s *Store) Vectors(ctx context.Context, e embed.Embedder, texts []string, progress func(done, total int)) ([][]float32, error) {
	vectors, err := s.vectorsOf(ctx, e, texts, progress)
	if err != nil {
		return nil, fmt.Errorf("vectors of %d texts by %s: %w", len(texts), e.ID(), err)
	}
	return vectors, nil
}

func (s *Store) vectorsOf(ctx context.Context, e embed.Embedder, texts []string, progress func(done, total int)) ([][]float32, error) {
	byKey := make(map[string]string, len(texts))
	keys := make([]string, len(texts))
	for i, text := range texts {
		keys[i] = key(e.ID(), text)
		byKey[keys[i]] = text
	}
	found := make(map[string][]float32, len(byKey))
	for {
		if err := s.readVectors(ctx, e, byKey, found); err != nil {
			return nil, err
		}
		missing := absent(byKey, found)
		if len(missing) == 0 {
			break
		}
		if err := s.embedMissing(ctx, e, byKey, found, missing, progress); err != nil {
			return nil, err
		}
	}
	vectors := make([][]float32, len(texts))
	for i, k := range keys {
		vectors[i] = found[k]
	}
	return vectors, nil
}

// embedMissing embeds those of the missing keys that no other call is at work on, adds them to found, and waits for the others.
func (s *Store) embedMissing(ctx context.Context, e embed.Embedder, byKey map[string]string, found map[string][]float32, missing []string,
	progress func(done, total int)) error {
	mine, busy := s.vectors.claim(missing)
	defer func() { s.vectors.release(mine) }()
	// A call that ended between our look and our claim has stored some of them.
	if err := s.readVectors(ctx, e, byKey, found); err != nil {
		return err
	}
	var todo []string
	for _, k := range mine {
		if found[k] == nil {
			todo = append(todo, k)
		}
	}
	// Equal lengths side by side: least padding in the embedder.
	sort.Slice(todo, func(i, j int) bool {
		a, b := byKey[todo[i]], byKey[todo[j]]
		if len(a) != len(b) {
			return len(a) < len(b)
		}
		return a < b
	})
	for done := 0; done < len(todo); {
		batch := todo[done:min(done+embedBatch, len(todo))]
		if err := s.embedBatch(ctx, e, byKey, found, batch); err != nil {
			return err
		}
		done += len(batch)
		if progress != nil {
			progress(done, len(todo))
		}
	}
	s.vectors.release(mine)
	mine = nil
	return wait(ctx, busy)
}

// embedBatch embeds the texts of the keys and stores their vectors before it adds them to found.
func (s *Store) embedBatch(ctx context.Context, e embed.Embedder, byKey map[string]string, found map[string][]float32, batch []string) error {
	texts := make([]string, len(batch))
	for i, k := range batch {
		texts[i] = byKey[k]
	}
	vectors, err := e.Embed(ctx, texts)
	if err != nil {
		return err
	}
	if len(vectors) != len(texts) {
		return fmt.Errorf("embedder returned %d vectors for %d texts", len(vectors), len(texts))
	}
	for i, v := range vectors {
		if len(v) != e.Dim() {
			return fmt.Errorf("embedder returned a vector of width %d for text %d, want %d", len(v), i, e.Dim())
		}
	}
	err = s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, "INSERT OR IGNORE INTO vector (embedder, hash, value) VALUES (?, ?, ?)")
		if err != nil {
			return err
		}
		defer insert.Close()
		for i, k := range batch {
			if _, err := insert.ExecContext(ctx, e.ID(), []byte(k), f32.Bytes(vectors[i])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, k := range batch {
		found[k] = vectors[i]
	}
	return nil
}

// readVectors adds the stored vectors of keys not yet in found.
func (s *Store) readVectors(ctx context.Context, e embed.Embedder, byKey map[string]string, found map[string][]float32) error {
	const most = 500 // bound values of one statement
	missing := absent(byKey, found)
	for len(missing) > 0 {
		part := missing[:min(most, len(missing))]
		missing = missing[len(part):]
		args := []any{e.ID()}
		for _, k := range part {
			args = append(args, []byte(k))
		}
		rows, err := s.db.QueryContext(ctx, "SELECT hash, value FROM vector WHERE embedder = ? AND hash IN (?"+strings.Repeat(",?", len(part)-1)+")", args...)
		if err != nil {
			return classify(err)
		}
		for rows.Next() {
			var hash, value []byte
			if err := rows.Scan(&hash, &value); err != nil {
				return errors.Join(classify(err), rows.Close())
			}
			if len(value) != 4*e.Dim() {
				return errors.Join(fmt.Errorf("%w: vector of %d bytes, want %d", ErrCorrupt, len(value), 4*e.Dim()), rows.Close())
			}
			found[string(hash)] = f32.FromBytes(value)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return classify(err)
		}
	}
	return nil
}

// absent returns the keys not in found, in no order.
func absent(byKey map[string]string, found map[string][]float32) []string {
	var missing []string
	for k := range byKey {
		if found[k] == nil {
			missing = append(missing, k)
		}
	}
	return missing
}

// Facts returns what the named method extracts from a chunk: the stored list, or that of compute, which is then stored. Two calls at once
// compute once. The key is the method and the chunk's content (session, time, turns), not its memory. method must name everything else
// that the result depends on, versions included.
func (s *Store) Facts(ctx context.Context, method string, c chunk.Chunk, compute func(context.Context) ([]string, error)) ([]string, error) {
	facts, err := s.pool(ctx, method, c, compute)
	if err != nil {
		return nil, fmt.Errorf("pool %s of chunk %s: %w", method, c.ID, err)
	}
	return facts, nil
}

func (s *Store) pool(ctx context.Context, method string, c chunk.Chunk, compute func(context.Context) ([]string, error)) ([]string, error) {
	c.ID, c.Tokens = "", 0
	content, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	k := key(method, string(content))
	for {
		mine, busy := s.pools.claim([]string{k})
		if len(mine) == 0 {
			if err := wait(ctx, busy); err != nil {
				return nil, err
			}
			continue
		}
		return s.poolOnce(ctx, method, k, compute)
	}
}

// poolOnce reads or computes the pool of a claimed key and releases it.
func (s *Store) poolOnce(ctx context.Context, method, k string, compute func(context.Context) ([]string, error)) ([]string, error) {
	defer s.pools.release([]string{k})
	stored, err := decode[[]string](ctx, s.db, "SELECT facts FROM pool WHERE method = ? AND hash = ?", method, []byte(k))
	if err != nil {
		return nil, err
	}
	if len(stored) > 0 {
		return stored[0], nil
	}
	facts, err := compute(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(facts)
	if err != nil {
		return nil, err
	}
	return facts, s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO pool (method, hash, facts) VALUES (?, ?, ?)", method, []byte(k), string(body))
		return err
	})
}

// key is the sha256 of what a value depends on: who makes it, and from what.
func key(maker, content string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(maker), maker)
	h.Write([]byte(content))
	return string(h.Sum(nil))
}
