package retrieve

import (
	"slices"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// base holds the chunks of a memory, in order.
type base struct {
	language text.Language
	chunks   []chunk.Chunk
	added    [][]time.Time // when the turns of each chunk were added
	vectors  [][]float32
}

func (b *base) lang() text.Language { return b.language }
func (b *base) size() int           { return len(b.chunks) }

func (b *base) width() int {
	if len(b.vectors) == 0 {
		return 0
	}
	return len(b.vectors[0])
}

// reserve makes room for chunks.
func (b *base) reserve(chunks int) {
	b.chunks, b.added, b.vectors = make([]chunk.Chunk, 0, chunks), make([][]time.Time, 0, chunks), make([][]float32, 0, chunks)
}

// grow takes the next chunk, or the last one with more turns.
func (b *base) grow(c store.IndexedChunk, fresh bool, _ int) {
	if !fresh {
		n := len(b.chunks) - 1
		b.chunks, b.added, b.vectors = b.chunks[:n], b.added[:n], b.vectors[:min(n, len(b.vectors))]
	}
	b.chunks, b.added = append(b.chunks, c.Chunk), append(b.added, c.Added)
	if c.Vector != nil {
		b.vectors = append(b.vectors, c.Vector)
	}
}

// sees says whether a question may see a turn of a chunk.
func (b *base) sees(q Query, c, turn int) bool {
	if q.Sees == nil {
		return true
	}
	var added time.Time
	if turn < len(b.added[c]) {
		added = b.added[c][turn]
	}
	return q.Sees(b.chunks[c].Turns[turn], added)
}

// hit makes the hit of a chunk, without the turns that the question may not see; ok is false if it may see none.
func (b *base) hit(c int, score float64, q Query, turnScores []float64) (h Hit, ok bool) {
	h = Hit{Chunk: b.chunks[c], Score: score, TurnScores: turnScores}
	if c < len(b.vectors) {
		h.Vector = b.vectors[c]
	}
	if q.Sees == nil {
		return h, true
	}
	h.Turns, h.TurnScores = nil, nil
	for i, t := range b.chunks[c].Turns {
		if b.sees(q, c, i) {
			h.Turns = append(h.Turns, t)
			if turnScores != nil {
				h.TurnScores = append(h.TurnScores, turnScores[i])
			}
		}
	}
	return h, len(h.Turns) > 0
}

// hits returns the k best chunks that the question may see.
func (b *base) hits(scores []float64, q Query, k int) []Hit {
	var found []Hit
	if q.Sees == nil {
		for _, c := range top(scores, k) {
			h, _ := b.hit(c, scores[c], q, nil)
			found = append(found, h)
		}
		return found
	}
	for _, c := range top(scores, len(scores)) {
		if len(found) >= k {
			break
		}
		if h, ok := b.hit(c, scores[c], q, nil); ok {
			found = append(found, h)
		}
	}
	return found
}

// dense is the mode Dense: exact search, no approximation.
type dense struct{ base }

func (d *dense) rank(q Query, k int, _ map[string][]float32) ([]Hit, []string) {
	return d.hits(dots(q.Vector, d.vectors), q, k), nil
}

// bm25 is the mode BM25. Chunks that share no word with the question score 0 and come last.
type bm25 struct {
	base
	vocabulary *vocabulary
	inChunks   *invertedIndex
}

func newBM25(l text.Language) *bm25 {
	return &bm25{base: base{language: l}, vocabulary: newVocabulary(l), inChunks: &invertedIndex{}}
}

func (b *bm25) grow(c store.IndexedChunk, fresh bool, from int) {
	b.base.grow(c, fresh, from)
	for _, t := range c.Turns[from:] {
		b.inChunks.add(len(b.chunks)-1, b.vocabulary.addAll(text.Tokens(t.Raw())))
	}
}

func (b *bm25) rank(q Query, k int, _ map[string][]float32) ([]Hit, []string) {
	var stems []int32
	for _, w := range b.vocabulary.language.ContentWords(q.Text) {
		if s := b.vocabulary.find(w); !slices.Contains(stems, s) {
			stems = append(stems, s)
		}
	}
	return b.hits(b.inChunks.bm25(stems), q, k), nil
}
