package retrieve

import (
	"context"
	"sync"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// Live is a Retriever over a stored memory that follows it as it grows. Turns that were added at its end, by whatever process,
// are taken up one by one; after other changes it is read again.
type Live struct {
	*Retriever

	store    *store.Store
	embedder embed.Embedder
	memory   string
	options  LoadOptions

	update     sync.Mutex // one at a time reads
	generation int64
	row        int64 // of the last chunk
	turns      int   // of the last chunk
	detector   text.Detector
	names      map[string]string
}

// LoadOptions are settings of a Live.
type LoadOptions struct {
	// Prepare, if not nil, may change the times of chunks, whose memory is in that language, before they are ranked by them. whole says whether these are all
	// chunks of the memory, or those after the ones it was called with before; in that case it returns false to be called
	// with all of them again.
	Prepare func(chunks []chunk.Chunk, l text.Language, whole bool) bool
	// Progress, if not nil, is told how many of the texts that are new are embedded.
	Progress func(done, total int)
}

// Load returns a retriever over a stored memory. Of modes that need all vectors, chunks and, for Hybrid, turns that have none are
// embedded now. The memory is one of s; ErrNoMemory of package store if it is not there.
func Load(ctx context.Context, s *store.Store, e embed.Embedder, memory string, mode Mode, o LoadOptions) (*Live, error) {
	mode, err := ParseMode(string(mode))
	if err != nil {
		return nil, err
	}
	l := &Live{Retriever: &Retriever{mode: mode}, store: s, embedder: e, memory: memory, options: o, generation: -1}
	if err := l.Refresh(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Refresh takes up what has changed since the last time.
func (l *Live) Refresh(ctx context.Context) error {
	l.update.Lock()
	defer l.update.Unlock()
	if l.generation >= 0 {
		now, err := l.store.Generation(ctx, l.memory)
		if err != nil || now == l.generation {
			return err
		}
	}
	ix, err := l.read(ctx, l.generation)
	if err != nil {
		return err
	}
	l.generation = -1 // until all is taken up: what is noted on the way is not of the ranker that is there
	if !ix.Whole && !l.extend(ix) {
		if ix, err = l.read(ctx, -1); err != nil {
			return err
		}
	}
	if ix.Whole {
		if err := l.rebuild(ctx, ix); err != nil {
			return err
		}
	}
	l.generation = ix.Generation
	return nil
}

// read reads what has changed since a generation.
func (l *Live) read(ctx context.Context, since int64) (store.Index, error) {
	if !l.mode.EmbedsAll() {
		return l.store.ReadIndex(ctx, l.memory, nil, false, since, nil)
	}
	return l.store.ReadIndex(ctx, l.memory, l.embedder, l.mode == Hybrid, since, l.options.Progress)
}

// rebuild begins with all chunks of the memory.
func (l *Live) rebuild(ctx context.Context, ix store.Index) error {
	l.detector = text.Detector{}
	for _, c := range ix.Chunks {
		if !l.detect(c.Turns) {
			break
		}
	}
	l.prepare(ix.Chunks, true)
	fresh, err := newRanker(l.mode, l.detector.Language())
	if err != nil {
		return err
	}
	l.names, l.row, l.turns = map[string]string{}, 0, 0
	for i, c := range ix.Chunks {
		ix.Chunks[i] = l.shared(c)
		l.row, l.turns = c.Row(), len(c.Turns)
	}
	if err := build(ctx, fresh, ix.Chunks); err != nil {
		return err
	}
	l.mu.Lock()
	l.ranker = fresh
	l.mu.Unlock()
	return nil
}

// extend adds what is new; false if the memory has to be read as a whole.
func (l *Live) extend(ix store.Index) bool {
	if !l.prepare(ix.Chunks, false) {
		return false
	}
	language := l.detector.Language()
	for _, c := range ix.Chunks {
		from := 0
		if c.Row() == l.row {
			from = l.turns
		}
		if !l.detect(c.Turns[from:]) {
			break
		}
	}
	if l.detector.Language() != language {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range ix.Chunks {
		l.add(l.ranker, c)
	}
	return true
}

// add takes the next chunk or the grown last one.
func (l *Live) add(r ranker, c store.IndexedChunk) {
	fresh, from := c.Row() != l.row, 0
	if !fresh {
		from = l.turns
	}
	l.row, l.turns = c.Row(), len(c.Turns)
	r.grow(l.shared(c), fresh, from)
}

// shared returns the chunk with one copy of the strings that many turns share. Its turns are changed.
func (l *Live) shared(c store.IndexedChunk) store.IndexedChunk {
	c.Session, c.Time = l.name(c.Session), l.name(c.Time)
	for i := range c.Turns {
		t := &c.Turns[i]
		t.Session, t.Time, t.Speaker = l.name(t.Session), l.name(t.Time), l.name(t.Speaker)
	}
	return c
}

// name returns the one copy of a string that many turns share.
func (l *Live) name(s string) string {
	if one, ok := l.names[s]; ok {
		return one
	}
	l.names[s] = s
	return s
}

func (l *Live) detect(turns []chunk.Turn) bool {
	for _, t := range turns {
		if !l.detector.Add(t.Text) {
			return false
		}
	}
	return true
}

func (l *Live) prepare(chunks []store.IndexedChunk, whole bool) bool {
	if l.options.Prepare == nil {
		return true
	}
	list := make([]chunk.Chunk, len(chunks))
	for i, c := range chunks {
		list[i] = c.Chunk
	}
	ok := l.options.Prepare(list, l.detector.Language(), whole)
	for i := range chunks {
		chunks[i].Chunk = list[i]
	}
	return ok
}
