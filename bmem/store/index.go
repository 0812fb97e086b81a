package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

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

// IndexedChunk is a chunk with what it is found by.
type IndexedChunk struct {
	chunk.Chunk
	// Added says when each turn was added; zero if that is not known.
	Added []time.Time
	// Vector is the unit embedding of the chunk's text, [d] float32.
	Vector []float32
	// TurnVectors are those of its turns, [turns, d] float32, if they were asked for.
	TurnVectors [][]float32

	row, generation int64
	first, part     int64 // its place in the memory
}

// Row identifies the chunk in its store, as long as it is there.
func (c IndexedChunk) Row() int64 { return c.row }

// Index is what is read of a memory to rank it.
type Index struct {
	// Chunks are the memory's in order, or, if Whole is false, those that are new or have grown since the generation asked for.
	Chunks []IndexedChunk
	Whole  bool
	// Generation is what to ask for next time.
	Generation int64
}

// ReadIndex reads what has changed of a memory since a generation, -1 for all of it. If more has changed than turns being added
// at the end, it is the whole memory. What is not embedded yet is embedded first; see Embed.
func (s *Store) ReadIndex(ctx context.Context, name string, e embed.Embedder, turns bool, since int64, progress func(done, total int)) (Index, error) {
	for {
		if err := s.Embed(ctx, name, e, turns, progress); err != nil {
			return Index{}, err
		}
		ix, err := s.readIndex(ctx, name, e, turns, since)
		if errors.Is(err, errUnembedded) {
			continue // it has grown meanwhile
		}
		if err != nil {
			return Index{}, fmt.Errorf("read memory %q: %w", name, err)
		}
		return ix, nil
	}
}

// Generation counts the changes of a memory. ErrNoMemory if there is none of that name.
func (s *Store) Generation(ctx context.Context, name string) (generation int64, err error) {
	err = s.db.View(ctx, func(tx Tx) error {
		return row(tx, []any{&generation}, "SELECT generation FROM memory WHERE name = ?", name)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoMemory
	}
	if err != nil {
		return 0, fmt.Errorf("memory %q: %w", name, err)
	}
	return generation, nil
}

var errUnembedded = errors.New("a chunk has no vectors yet")

func (s *Store) readIndex(ctx context.Context, name string, e embed.Embedder, turns bool, since int64) (Index, error) {
	var ix Index
	err := s.db.View(ctx, func(tx Tx) error {
		var memory, rewritten int64
		err := row(tx, []any{&memory, &ix.Generation, &rewritten}, "SELECT id, generation, rewritten FROM memory WHERE name = ?", name)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNoMemory
		} else if err != nil {
			return err
		}
		ix.Whole = since < 0 || since < rewritten
		from, args, chunks := byChunk+" AND c.generation > ?3", []any{since}, 0
		if ix.Whole {
			if from, args, chunks, err = whole(tx, memory); err != nil {
				return err
			}
		}
		rows, err := tx.Query("SELECT c.id, c.first, c.part, c.generation, c.source, c.body, c.sum, v.generation, v.vectors, v.sum FROM "+from,
			append([]any{e.ID(), memory}, args...)...)
		if err != nil {
			return err
		}
		defer rows.Close() // its error is that of Err
		if ix.Chunks, err = unpackRows(rows, e.Dim(), turns); err == nil && len(ix.Chunks) < chunks {
			err = errUnembedded
		}
		return err
	})
	return ix, err
}

// Two ways to the chunks of the memory ?2 with their vectors by the embedder ?1: chunk by chunk, and in the order of the vectors
// of the chunks from ?3 to ?4, which leaves out those without.
const (
	byChunk = `chunk c LEFT JOIN embedded v ON v.chunk = c.id AND v.embedder = (SELECT id FROM embedder WHERE name = ?1)
		WHERE c.memory = ?2`
	byVectors = `embedded v CROSS JOIN chunk c WHERE c.id = v.chunk AND v.embedder = (SELECT id FROM embedder WHERE name = ?1)
		AND c.memory = ?2 AND v.chunk BETWEEN ?3 AND ?4`
)

// whole says how to read all chunks of a memory, with the values of ?3 and ?4, and how many there are.
func whole(tx Tx, memory int64) (from string, args []any, chunks int, err error) {
	var first, last int64
	err = row(tx, []any{&chunks, &first, &last}, "SELECT count(*), coalesce(min(id), 0), coalesce(max(id), 0) FROM chunk WHERE memory = ?", memory)
	// SQLite compares whole rows of embedded, with their vectors, to find one. Passing rows of other memories is quicker, if there
	// are not too many.
	const passed = 8
	if last-first < passed*int64(chunks) {
		return byVectors, []any{first, last}, chunks, err
	}
	return byChunk, nil, chunks, err
}

// unpackRows unpacks the chunks of rows while the next ones are read, and puts them in order.
func unpackRows(rows Rows, dim int, turns bool) ([]IndexedChunk, error) {
	const share = 256
	var parts [][]IndexedChunk
	var read []packedChunk
	workers, ctx := errgroup.WithContext(context.Background())
	workers.SetLimit(runtime.GOMAXPROCS(0))
	unpack := func() {
		from, to := read, make([]IndexedChunk, len(read))
		read, parts = nil, append(parts, to)
		workers.Go(func() (err error) {
			for i := range from {
				if to[i], err = from[i].unpack(dim, turns); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var failed error
	for failed == nil && ctx.Err() == nil && rows.Next() {
		var c packedChunk
		if c, failed = scanPacked(rows); failed == nil {
			read = append(read, c)
		}
		if len(read) == share {
			unpack()
		}
	}
	unpack()
	err := workers.Wait()
	if failed = cmp.Or(failed, rows.Err()); failed != nil {
		return nil, failed
	}
	chunks := slices.Concat(parts...)
	slices.SortFunc(chunks, func(a, b IndexedChunk) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.part, b.part))
	})
	return chunks, err
}

// packedChunk is a chunk as it lies in the file.
type packedChunk struct {
	row, generation int64
	first, part     int64
	source          []byte
	body            sealedBody
	vectors         []float32
}

func scanPacked(rows Rows) (packedChunk, error) {
	var c packedChunk
	var packed Vectors
	var generation, sum sql.NullInt64
	if err := rows.Scan(&c.row, &c.first, &c.part, &c.generation, &c.source, &c.body.text, &c.body.sum, &generation, &packed, &sum); err != nil {
		return c, err
	}
	if generation.Int64 != c.generation {
		return c, errUnembedded
	}
	if err := fits(sum, packed.sum, "the vectors of a chunk"); err != nil {
		return c, err
	}
	c.vectors = packed.Numbers
	return c, nil
}

func (p packedChunk) unpack(dim int, turns bool) (IndexedChunk, error) {
	c := IndexedChunk{row: p.row, generation: p.generation, first: p.first, part: p.part}
	var st stored
	if err := p.body.open(&st); err != nil {
		return c, err
	}
	if err := st.verify(p.source); err != nil {
		return c, err
	}
	c.Chunk = st.Chunk
	c.Added = make([]time.Time, len(st.Added))
	for i, at := range st.Added {
		c.Added[i] = fromSeconds(at)
	}
	all, want := p.vectors, 1
	if turns {
		want += len(c.Turns)
	}
	if len(all)%dim != 0 {
		return c, fmt.Errorf("%w: vectors of chunk %q have %d numbers", ErrCorrupt, c.ID, len(all))
	}
	if len(all) < want*dim {
		return c, errUnembedded
	}
	c.Vector = all[:dim:dim]
	if turns {
		c.TurnVectors = make([][]float32, len(c.Turns))
		for i := range c.Turns {
			c.TurnVectors[i] = all[(i+1)*dim : (i+2)*dim : (i+2)*dim]
		}
	}
	return c, nil
}
