// Package retrieve ranks the chunks of a memory for a question: dense, BM25, or a learned fusion of both on single turns (hybrid).
package retrieve

import (
	"container/heap"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// Query is a question and its unit embedding [d] float32.
type Query struct {
	Text   string
	Vector []float32
	// Sees, if not nil, says which turns may be found. added is when the turn was added; zero if that is not known.
	Sees func(t chunk.Turn, added time.Time) bool
	// Embed returns the unit embeddings [n, d] float32 of n texts of the memory. Rerank needs it; BM25 has what is found embedded by it.
	Embed func(ctx context.Context, texts []string) ([][]float32, error)
}

// Hit is a retrieved chunk.
type Hit struct {
	chunk.Chunk
	// Vector is the chunk's unit embedding [d] float32; nil where there are neither vectors nor Query.Embed.
	Vector []float32
	// Score is the mode's own score; larger is better.
	Score float64
	// TurnScores holds for each turn of the chunk the probability in [0,1] that it is evidence; nil in modes that rank chunks only.
	TurnScores []float64
	// ByVectors and ByWords say whether the chunk is as near the top by its vector alone and by its words alone; only Hybrid and, among its
	// candidates, Rerank tell.
	ByVectors, ByWords bool
}

// Retriever ranks the chunks of one memory. It is safe for concurrent use.
type Retriever struct {
	mode Mode
	mu   sync.RWMutex
	ranker
}

// ranker is a mode's way of ranking. Its memory grows at its end.
type ranker interface {
	// grow takes the next chunk if it is fresh, else the last one with more turns, those from a number on.
	grow(c store.IndexedChunk, fresh bool, from int)
	// rank returns at most k hits, best first; ties are broken by the chunks' order. known has vectors of texts that were embedded for the
	// question; where more are needed, it returns these texts and no hits.
	rank(q Query, k int, known map[string][]float32) (hits []Hit, missing []string)
	size() int
	width() int // of the vectors
	lang() text.Language
}

// Len is how many chunks are ranked.
func (r *Retriever) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.size()
}

// Lang is the language of the memory, in which words are compared.
func (r *Retriever) Lang() text.Language {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lang()
}

// Retrieve returns at most k hits, best first; ties are broken by the chunks' order. What has to be embedded for the question is
// embedded beside other questions and changes of the memory.
func (r *Retriever) Retrieve(ctx context.Context, q Query, k int) ([]Hit, error) {
	var hits []Hit
	err := q.embedding(ctx, func(known map[string][]float32) (missing []string, err error) {
		hits, missing, err = r.try(q, k, known)
		return missing, err
	})
	if err != nil {
		return nil, err
	}
	return hits, ctx.Err()
}

// embedding calls f with the vectors of the texts that it missed before, until it misses none.
func (q Query) embedding(ctx context.Context, f func(known map[string][]float32) (missing []string, err error)) error {
	known := map[string][]float32{}
	for {
		missing, err := f(known)
		if err != nil || len(missing) == 0 {
			return err
		}
		if q.Embed == nil {
			return fmt.Errorf("retrieval mode %s needs Query.Embed", Rerank)
		}
		vectors, err := q.Embed(ctx, missing)
		if err != nil {
			return fmt.Errorf("embed %d texts that are best by words: %w", len(missing), err)
		}
		for i, text := range missing {
			known[text] = vectors[i]
		}
	}
}

// try ranks with the vectors of texts that are known. It returns the texts whose vectors are missing.
func (r *Retriever) try(q Query, k int, known map[string][]float32) (hits []Hit, missing []string, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	w := r.width()
	for _, v := range known {
		w = len(v)
		break
	}
	if w > 0 && r.mode != BM25 && len(q.Vector) != w {
		return nil, nil, fmt.Errorf("question %q has a vector of width %d, the index of width %d", strings.TrimSpace(q.Text), len(q.Vector), w)
	}
	hits, missing = r.rank(q, k, known)
	if q.Embed == nil {
		return hits, missing, nil
	}
	for i, h := range hits {
		if h.Vector != nil {
			continue
		}
		text := h.Text()
		if hits[i].Vector = known[text]; hits[i].Vector == nil {
			missing = append(missing, text)
		}
	}
	return hits, missing, nil
}

// Mode is a way of ranking.
type Mode string

// The modes.
const (
	// Dense ranks by the inner product of the question's and the chunk's vector, the paper's way.
	Dense Mode = "dense"
	// BM25 ranks by the words that question and chunk share, by their stems (Robertson and Zaragoza 2009). Only what is found is embedded.
	BM25 Mode = "bm25"
	// Rerank ranks the chunks that are best by words as Hybrid does, by weights of its own. Only they are embedded, when the first question
	// finds them, so that a long history costs next to nothing before it is asked.
	Rerank Mode = "rerank"
	// Hybrid estimates for every turn the probability that it is evidence, from words and vectors, and ranks chunks by that.
	Hybrid Mode = "hybrid"
)

// Modes lists all modes, the default last.
func Modes() []Mode { return []Mode{Dense, BM25, Rerank, Hybrid} }

// EmbedsAll says whether the mode needs the vectors of a whole memory.
func (m Mode) EmbedsAll() bool { return m == Dense || m == Hybrid }

// ParseMode returns the mode of that name; "" is Hybrid. An unknown name is refused with the list.
func ParseMode(name string) (Mode, error) {
	if name == "" {
		return Hybrid, nil
	}
	if !slices.Contains(Modes(), Mode(name)) {
		return "", fmt.Errorf("retrieval mode %q is unknown; the modes are %v", name, Modes())
	}
	return Mode(name), nil
}

// Index is what a memory is ranked by.
type Index struct {
	// Chunks are the memory's chunks in order.
	Chunks []chunk.Chunk
	// Vectors are the unit embeddings of the chunks' texts: [n, d] float32.
	Vectors [][]float32
	// TurnVectors are the unit embeddings of TurnTexts(Chunks): [turns of all chunks, d] float32. Only Hybrid needs them.
	TurnVectors [][]float32
	// Language is the language of the memory; see DetectLanguage.
	Language text.Language
}

// TurnTexts returns the text of every turn of every chunk, in order, as it is embedded for Index.TurnVectors and by Rerank.
func TurnTexts(chunks []chunk.Chunk) []string {
	var texts []string
	for _, c := range chunks {
		for _, t := range c.Turns {
			texts = append(texts, t.Raw())
		}
	}
	return texts
}

// New returns a retriever of the given mode ("" is Hybrid) over what is there already. It keeps the index's slices.
func New(ctx context.Context, mode Mode, ix Index) (*Retriever, error) {
	mode, err := ParseMode(string(mode))
	if err != nil {
		return nil, err
	}
	if mode.EmbedsAll() || ix.Vectors != nil {
		if err := checkVectors("chunk", ix.Vectors, len(ix.Chunks)); err != nil {
			return nil, err
		}
	}
	if mode == Hybrid {
		if err := checkVectors("turn", ix.TurnVectors, len(TurnTexts(ix.Chunks))); err != nil {
			return nil, err
		}
	}
	ranker, err := newRanker(mode, ix.Language)
	if err != nil {
		return nil, err
	}
	chunks := make([]store.IndexedChunk, len(ix.Chunks))
	turn := 0
	for i, c := range ix.Chunks {
		chunks[i].Chunk = c
		if ix.Vectors != nil {
			chunks[i].Vector = ix.Vectors[i]
		}
		if mode == Hybrid {
			chunks[i].TurnVectors = ix.TurnVectors[turn : turn+len(c.Turns)]
		}
		turn += len(c.Turns)
	}
	if err := build(ctx, ranker, chunks); err != nil {
		return nil, err
	}
	return &Retriever{mode: mode, ranker: ranker}, nil
}

// build gives an empty ranker all chunks of a memory.
func build(ctx context.Context, r ranker, chunks []store.IndexedChunk) error {
	if h, ok := r.(*hybrid); ok {
		return h.build(ctx, chunks)
	}
	for i, c := range chunks {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("index chunk %d of %d: %w", i+1, len(chunks), err)
		}
		r.grow(c, true, 0)
	}
	return nil
}

func newRanker(mode Mode, l text.Language) (ranker, error) {
	switch mode {
	case Dense:
		return &dense{base{language: l}}, nil
	case BM25:
		return newBM25(l), nil
	case Rerank:
		return newRerank(l)
	}
	return newHybrid(l)
}

// DetectLanguage returns the language that most of the chunks' turns are in.
func DetectLanguage(chunks []chunk.Chunk) text.Language {
	return text.Detect(func(yield func(string) bool) {
		for _, c := range chunks {
			for _, t := range c.Turns {
				if !yield(t.Text) {
					return
				}
			}
		}
	})
}

// checkVectors reports missing vectors and vectors of unequal width.
func checkVectors(of string, vectors [][]float32, want int) error {
	if len(vectors) != want {
		return fmt.Errorf("index holds %d %s vectors, want %d", len(vectors), of, want)
	}
	for i, v := range vectors {
		if len(v) == 0 || len(v) != len(vectors[0]) {
			return fmt.Errorf("%s vector %d is of width %d, the first of width %d", of, i, len(v), len(vectors[0]))
		}
	}
	return nil
}

// dot is the inner product of two vectors of equal width.
func dot(a, b []float32) float64 {
	var s0, s1, s2, s3 float32 // four sums: the processor does not wait for each addition
	for len(a) >= 8 && len(b) >= 8 {
		x, y := (*[8]float32)(a), (*[8]float32)(b) // no index is checked in these
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
		s0 += x[4] * y[4]
		s1 += x[5] * y[5]
		s2 += x[6] * y[6]
		s3 += x[7] * y[7]
		a, b = a[8:], b[8:]
	}
	if len(a) >= 4 && len(b) >= 4 {
		x, y := (*[4]float32)(a), (*[4]float32)(b)
		s0 += x[0] * y[0]
		s1 += x[1] * y[1]
		s2 += x[2] * y[2]
		s3 += x[3] * y[3]
		a, b = a[4:], b[4:]
	}
	for i := range min(len(a), len(b)) {
		s0 += a[i] * b[i]
	}
	return float64(s0) + float64(s1) + float64(s2) + float64(s3)
}

// dots returns the inner product of a vector with each of others, by all processors if these are many.
func dots(v []float32, others [][]float32) []float64 {
	out := make([]float64, len(others))
	const share = 4096
	if len(others) < 2*share {
		for i, o := range others {
			out[i] = dot(v, o)
		}
		return out
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				end := int(next.Add(share))
				if end-share >= len(others) {
					return
				}
				for i := end - share; i < min(end, len(others)); i++ {
					out[i] = dot(v, others[i])
				}
			}
		})
	}
	workers.Wait()
	return out
}

// top returns the positions of the k largest scores, best first, equal ones in order.
func top(scores []float64, k int) []int {
	k = max(0, min(k, len(scores)))
	better := func(a, b int) bool { return scores[a] > scores[b] || scores[a] == scores[b] && a < b }
	if k*8 < len(scores) {
		return best(len(scores), k, better)
	}
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if better(a, b) {
			return -1
		}
		return 1
	})
	return order[:k]
}

// best returns the k best of n, best first.
func best(n, k int, better func(a, b int) bool) []int {
	h := worstFirst{nil, better}
	for i := range n {
		if len(h.items) < k {
			heap.Push(&h, i)
		} else if k > 0 && better(i, h.items[0]) {
			h.items[0] = i
			heap.Fix(&h, 0)
		}
	}
	out := make([]int, len(h.items))
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = heap.Pop(&h).(int)
	}
	return out
}

// worstFirst is a heap with the worst of the best at its top.
type worstFirst struct {
	items  []int
	better func(a, b int) bool
}

func (h worstFirst) Len() int           { return len(h.items) }
func (h worstFirst) Less(i, j int) bool { return h.better(h.items[j], h.items[i]) }
func (h worstFirst) Swap(i, j int)      { h.items[i], h.items[j] = h.items[j], h.items[i] }
func (h *worstFirst) Push(x any)        { h.items = append(h.items, x.(int)) }
func (h *worstFirst) Pop() any {
	last := h.items[len(h.items)-1]
	h.items = h.items[:len(h.items)-1]
	return last
}
