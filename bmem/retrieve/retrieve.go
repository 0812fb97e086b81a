// Package retrieve ranks the chunks of a memory for a question: dense, BM25, or a learned fusion of both on single turns (hybrid).
package retrieve

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// Query is a question and its unit embedding [d] float32.
type Query struct {
	Text   string
	Vector []float32
}

// Hit is a retrieved chunk.
type Hit struct {
	chunk.Chunk
	// Vector is the chunk's unit embedding [d] float32.
	Vector []float32
	// Score is the mode's own score; larger is better.
	Score float64
	// TurnScores holds for each turn of the chunk the probability in [0,1] that it is evidence; nil in modes that rank chunks only.
	TurnScores []float64
}

// Retriever ranks the chunks of one memory.
type Retriever interface {
	// Retrieve returns at most k hits, best first; ties are broken by the chunks' order.
	Retrieve(ctx context.Context, q Query, k int) ([]Hit, error)
	// Len is how many chunks are ranked.
	Len() int
	// Lang is the language of the memory.
	Lang() text.Language
}

// Mode is a way of ranking.
type Mode string

// The modes.
const (
	// Dense ranks by the inner product of the question's and the chunk's vector, the paper's way.
	Dense Mode = "dense"
	// BM25 ranks by the words that question and chunk share, by their stems (Robertson and Zaragoza 2009).
	BM25 Mode = "bm25"
	// Hybrid estimates for every turn the probability that it is evidence, from words and vectors, and ranks chunks by that.
	Hybrid Mode = "hybrid"
)

// Modes lists all modes, the default last.
func Modes() []Mode { return []Mode{Dense, BM25, Hybrid} }

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

// Len is how many chunks there are.
func (ix Index) Len() int { return len(ix.Chunks) }

// Lang is the language that words are compared in.
func (ix Index) Lang() text.Language { return ix.Language }

// TurnTexts returns the text of every turn of every chunk, in order, as it is embedded for Index.TurnVectors.
func TurnTexts(chunks []chunk.Chunk) []string {
	var texts []string
	for _, c := range chunks {
		for _, t := range c.Turns {
			texts = append(texts, t.String())
		}
	}
	return texts
}

// New returns a retriever of the given mode ("" is Hybrid). It is safe for concurrent use, and keeps the index's slices.
func New(ctx context.Context, mode Mode, ix Index) (Retriever, error) {
	mode, err := ParseMode(string(mode))
	if err != nil {
		return nil, err
	}
	if mode != BM25 || ix.Vectors != nil {
		if err := checkVectors("chunk", ix.Vectors, len(ix.Chunks)); err != nil {
			return nil, err
		}
	}
	switch mode {
	case Dense:
		return dense{ix}, nil
	case BM25:
		return newBM25(ctx, ix)
	default:
		if err := checkVectors("turn", ix.TurnVectors, len(TurnTexts(ix.Chunks))); err != nil {
			return nil, err
		}
		return newHybrid(ctx, ix)
	}
}

// Load returns a retriever over a stored memory. Chunks and, for Hybrid, turns that have no stored vector are embedded now; progress,
// which may be nil, is told how many of them are done. prepare, if not nil, may change the times of the chunks that were read,
// before they are ranked by them.
func Load(ctx context.Context, s *store.Store, e embed.Embedder, memory string, mode Mode, prepare func([]chunk.Chunk), progress func(done, total int)) (Retriever, error) {
	mode, err := ParseMode(string(mode))
	if err != nil {
		return nil, err
	}
	m, err := s.Memory(ctx, memory)
	if err != nil {
		return nil, err
	}
	if prepare != nil {
		prepare(m.Chunks)
	}
	texts := make([]string, len(m.Chunks))
	for i, c := range m.Chunks {
		texts[i] = c.Text()
	}
	if mode == Hybrid {
		texts = append(texts, TurnTexts(m.Chunks)...)
	}
	vectors, err := s.Vectors(ctx, e, texts, progress)
	if err != nil {
		return nil, err
	}
	n := len(m.Chunks)
	return New(ctx, mode, Index{
		Chunks:      m.Chunks,
		Vectors:     vectors[:n:n],
		TurnVectors: vectors[n:],
		Language:    DetectLanguage(m.Chunks),
	})
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

// checkQuery reports a question without the vector that the index needs.
func checkQuery(q Query, vectors [][]float32) error {
	if len(vectors) > 0 && len(q.Vector) != len(vectors[0]) {
		return fmt.Errorf("question %q has a vector of width %d, the index of width %d", strings.TrimSpace(q.Text), len(q.Vector), len(vectors[0]))
	}
	return nil
}

// dot is the inner product of two vectors of equal width.
func dot(a, b []float32) float64 {
	var s0, s1, s2, s3 float32 // four sums: the processor does not wait for each addition
	i := 0
	for ; i+4 <= len(a) && i+4 <= len(b); i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < len(a) && i < len(b); i++ {
		s0 += a[i] * b[i]
	}
	return float64(s0) + float64(s1) + float64(s2) + float64(s3)
}

// top returns the positions of the k largest scores, best first, equal ones in order.
func top(scores []float64, k int) []int {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	return order[:max(0, min(k, len(order)))]
}
