package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
)

// embedBatch is how many texts are embedded between two writes: what a kill can lose.
const embedBatch = 128

// Vectors returns the embedder's unit vectors of texts such as questions and facts, in order: [n, d] float32. Vectors of an
// earlier call are read; the others are embedded and stored batch by batch, as made for the named memory, with which they are
// forgotten ("" is none). Two calls at once embed a text once.
func (s *Store) Vectors(ctx context.Context, memory string, e embed.Embedder, texts []string) ([][]float32, error) {
	b := batchOf(e, texts)
	put := func(ctx context.Context, keys []string, vectors [][]float32) error {
		return s.putVectors(ctx, memory, e, keys, vectors)
	}
	if err := s.resolve(ctx, e, b, put); err != nil {
		return nil, fmt.Errorf("vectors of %d texts by %s: %w", len(texts), e.ID(), err)
	}
	vectors := make([][]float32, len(texts))
	for i, text := range texts {
		vectors[i] = b.found[key(e.ID(), text)]
	}
	return vectors, nil
}

// texts are texts to find the vectors of.
type texts struct {
	byKey map[string]string
	found map[string][]float32
}

func batchOf(e embed.Embedder, list []string) texts {
	b := texts{make(map[string]string, len(list)), make(map[string][]float32, len(list))}
	for _, text := range list {
		b.byKey[key(e.ID(), text)] = text
	}
	return b
}

// putFunc stores vectors by their keys.
type putFunc func(ctx context.Context, keys []string, vectors [][]float32) error

// resolve finds the vectors of all texts: it reads those that are stored and embeds the others. put stores what was embedded.
func (s *Store) resolve(ctx context.Context, e embed.Embedder, b texts, put putFunc) error {
	for {
		if err := s.readVectors(ctx, e, b.byKey, b.found); err != nil {
			return err
		}
		missing := absent(b.byKey, b.found)
		if len(missing) == 0 {
			return nil
		}
		if err := s.embedMissing(ctx, e, b, missing, put); err != nil {
			return err
		}
	}
}

// embedMissing embeds those of the missing keys that no other call is at work on, adds them to found, and waits for the others.
func (s *Store) embedMissing(ctx context.Context, e embed.Embedder, b texts, missing []string, put putFunc) error {
	mine, busy := s.vectors.claim(missing)
	defer func() { s.vectors.release(mine) }()
	// A call that ended between our look and our claim has stored some of them.
	if err := s.readVectors(ctx, e, b.byKey, b.found); err != nil {
		return err
	}
	var todo []string
	for _, k := range mine {
		if b.found[k] == nil {
			todo = append(todo, k)
		}
	}
	// Equal lengths side by side: least padding in the embedder.
	sort.Slice(todo, func(i, j int) bool {
		x, y := b.byKey[todo[i]], b.byKey[todo[j]]
		if len(x) != len(y) {
			return len(x) < len(y)
		}
		return x < y
	})
	for done := 0; done < len(todo); {
		batch := todo[done:min(done+embedBatch, len(todo))]
		if err := embedOne(ctx, e, b, batch, put); err != nil {
			return err
		}
		done += len(batch)
	}
	s.vectors.release(mine)
	mine = nil
	return wait(ctx, busy)
}

// embedOne embeds the texts of a batch of keys and stores their vectors before it adds them to those found.
func embedOne(ctx context.Context, e embed.Embedder, b texts, batch []string, put putFunc) error {
	list := make([]string, len(batch))
	for i, k := range batch {
		list[i] = b.byKey[k]
	}
	vectors, err := e.Embed(ctx, list)
	if err != nil {
		return err
	}
	if len(vectors) != len(list) {
		return fmt.Errorf("embedder returned %d vectors for %d texts", len(vectors), len(list))
	}
	for i, v := range vectors {
		if len(v) != e.Dim() {
			return fmt.Errorf("embedder returned a vector of width %d for text %d, want %d", len(v), i, e.Dim())
		}
	}
	if err := put(ctx, batch, vectors); err != nil {
		return err
	}
	for i, k := range batch {
		b.found[k] = vectors[i]
	}
	return nil
}

func (s *Store) putVectors(ctx context.Context, memory string, e embed.Embedder, keys []string, vectors [][]float32) error {
	// In one order, so that two transactions that insert the same do not wait for each other.
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(keys[i], keys[j]) })
	return s.keep(ctx, func(tx Tx) error {
		var of any // the memory
		if memory != "" {
			var id int64
			if err := row(tx, []any{&id}, "SELECT id FROM memory WHERE name = ?", memory); errors.Is(err, sql.ErrNoRows) {
				return nil // it was forgotten meanwhile, and its vectors with it
			} else if err != nil {
				return err
			}
			of = id
		}
		for _, i := range order {
			value := pack(vectors[i], len(vectors[i]))
			err := tx.Exec("INSERT INTO vector (embedder, hash, value, sum, memory) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
				e.ID(), []byte(keys[i]), value, value.sum, of)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// readVectors adds the stored vectors of keys not yet in found: those kept by themselves, and those of chunks.
func (s *Store) readVectors(ctx context.Context, e embed.Embedder, byKey map[string]string, found map[string][]float32) error {
	missing := absent(byKey, found)
	if len(missing) == 0 {
		return nil
	}
	return s.db.View(ctx, func(tx Tx) error {
		for part := range slices.Chunk(missing, maxBound) {
			hashes := make([]any, len(part))
			for i, k := range part {
				hashes[i] = []byte(k)
			}
			in, args := inList([]any{e.ID()}, hashes)
			err := each(tx, func(rows Rows) error { return scanVector(rows, e.Dim(), found) },
				"SELECT hash, value, sum, 0 FROM vector WHERE embedder = ?1 AND hash"+in+
					" UNION ALL SELECT hash, vectors, sum, slot FROM text CROSS JOIN embedded WHERE embedded.chunk = text.chunk"+
					" AND embedder = (SELECT id FROM embedder WHERE name = ?1) AND hash"+in, args...)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// scanVector adds the vector of a row to those found.
func scanVector(rows Rows, dim int, found map[string][]float32) error {
	var hash []byte
	var vectors Vectors
	var sum sql.NullInt64
	var slot int
	if err := rows.Scan(&hash, &vectors, &sum, &slot); err != nil {
		return err
	}
	if err := fits(sum, vectors.sum, "a vector"); err != nil {
		return err
	}
	if slot < 0 || vectors.size < 4*dim*(slot+1) {
		return fmt.Errorf("%w: vectors of %d bytes, want %d", ErrCorrupt, vectors.size, 4*dim*(slot+1))
	}
	found[string(hash)] = slices.Clone(vectors.Numbers[slot*dim : (slot+1)*dim])
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
// that the result depends on, versions included. Facts of a chunk that no memory holds (any more) are not stored.
func (s *Store) Facts(ctx context.Context, method string, c chunk.Chunk, compute func(context.Context) ([]string, error)) ([]string, error) {
	facts, err := s.pool(ctx, method, c, compute)
	if err != nil {
		return nil, fmt.Errorf("pool %s of chunk %s: %w", method, c.ID, err)
	}
	return facts, nil
}

func (s *Store) pool(ctx context.Context, method string, c chunk.Chunk, compute func(context.Context) ([]string, error)) ([]string, error) {
	source := sourceOf(c)
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
		return s.poolOnce(ctx, method, k, source, compute)
	}
}

// poolOnce reads or computes the pool of a claimed key and releases it.
func (s *Store) poolOnce(ctx context.Context, method, k string, source []byte, compute func(context.Context) ([]string, error)) ([]string, error) {
	defer s.pools.release([]string{k})
	var stored []string
	err := s.db.View(ctx, func(tx Tx) (err error) {
		stored, err = column[string](tx, "SELECT facts FROM pool WHERE method = ? AND hash = ?", method, []byte(k))
		return err
	})
	if err != nil {
		return nil, err
	}
	var facts []string
	if len(stored) > 0 && readFacts(stored[0], &facts) == nil { // what is damaged is computed again
		return facts, nil
	}
	facts, err = compute(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(facts)
	if err != nil {
		return nil, err
	}
	return facts, s.keep(ctx, func(tx Tx) error {
		var there bool
		if err := row(tx, []any{&there}, "SELECT EXISTS (SELECT 1 FROM chunk WHERE source = ?)", source); err != nil || !there {
			return err
		}
		return tx.Exec(`INSERT INTO pool (method, hash, facts, source) VALUES (?, ?, ?, ?)
			ON CONFLICT (method, hash) DO UPDATE SET facts = excluded.facts, source = excluded.source`, method, []byte(k), string(body)+"\n"+factsSum(string(body)), source)
	})
}

// readFacts reads a stored list: JSON and, behind a line break, its checksum, which earlier versions did not write.
func readFacts(text string, to *[]string) error {
	body, sum, found := strings.Cut(text, "\n")
	if found && sum != factsSum(body) {
		return fmt.Errorf("%w: the checksum of facts is wrong", ErrCorrupt)
	}
	return unmarshal(body, to)
}

func factsSum(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:8])
}

// key is the sha256 of what a value depends on: who makes it, and from what.
func key(maker, content string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(maker), maker)
	h.Write([]byte(content))
	return string(h.Sum(nil))
}
