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
// at the end, it is the whole memory. What is not embedded yet is embedded first; see Embed. Without an embedder (nil) nothing is,
// and chunks come without vectors.
func (s *Store) ReadIndex(ctx context.Context, name string, e embed.Embedder, turns bool, since int64, progress func(done, total int)) (Index, error) {
	for {
		if e != nil {
			if err := s.Embed(ctx, name, e, turns, progress); err != nil {
				return Index{}, err
			}
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
		if e == nil {
			if ix.Whole {
				since = -1
			}
			ix.Chunks, err = readPlain(tx, memory, since)
			return err
		}
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
		if ix.Chunks, err = unpackRows(rows, scanPacked, e.Dim(), turns); err == nil && len(ix.Chunks) < chunks {
			err = errUnembedded
		}
		return err
	})
	return ix, err
}

// readPlain reads the chunks of a memory that have changed since a generation, without vectors.
func readPlain(tx Tx, memory, since int64) ([]IndexedChunk, error) {
	rows, err := tx.Query("SELECT id, first, part, generation, source, body, sum FROM chunk WHERE memory = ? AND generation > ?", memory, since)
	if err != nil {
		return nil, err
	}
	defer rows.Close() // its error is that of Err
	scan := func(rows Rows) (c packedChunk, err error) {
		err = rows.Scan(&c.row, &c.first, &c.part, &c.generation, &c.source, &c.body.text, &c.body.sum)
		return c, err
	}
	return unpackRows(rows, scan, 0, false)
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

// unpackRows unpacks the chunks of rows while the next ones are read, and puts them in order. A dim of 0 is for chunks without vectors.
func unpackRows(rows Rows, scan func(Rows) (packedChunk, error), dim int, turns bool) ([]IndexedChunk, error) {
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
		if c, failed = scan(rows); failed == nil {
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
	if dim == 0 {
		return c, nil
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
