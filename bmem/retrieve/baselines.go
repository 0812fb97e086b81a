package retrieve

import (
	"context"
	"fmt"
	"slices"

	"github.com/budgetmem/budgetmem/tiers/text"
)

// dense is the mode Dense: exact search, no approximation.
type dense struct{ Index }

// Retrieve implements Retriever.
func (d dense) Retrieve(ctx context.Context, q Query, k int) ([]Hit, error) {
	if err := checkQuery(q, d.Vectors); err != nil {
		return nil, err
	}
	scores := make([]float64, len(d.Chunks))
	for i, v := range d.Vectors {
		scores[i] = dot(q.Vector, v)
	}
	return hits(d.Index, scores, top(scores, k)), ctx.Err()
}

// bm25 is the mode BM25. Chunks that share no word with the question score 0 and come last.
type bm25 struct {
	Index
	vocabulary *vocabulary
	inChunks   *invertedIndex
}

func newBM25(ctx context.Context, ix Index) (*bm25, error) {
	b := &bm25{Index: ix, vocabulary: newVocabulary(ix.Language)}
	texts := make([][]int32, len(ix.Chunks))
	for i, c := range ix.Chunks {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("index chunk %d of %d: %w", i+1, len(ix.Chunks), err)
		}
		texts[i] = b.vocabulary.addAll(text.Tokens(c.Text()))
	}
	b.inChunks = newInvertedIndex(texts, len(b.vocabulary.ofStem))
	return b, nil
}

// Retrieve implements Retriever.
func (b *bm25) Retrieve(ctx context.Context, q Query, k int) ([]Hit, error) {
	var stems []int32
	for _, w := range b.vocabulary.language.ContentWords(q.Text) {
		if s := b.vocabulary.find(w); !slices.Contains(stems, s) {
			stems = append(stems, s)
		}
	}
	scores := b.inChunks.bm25(stems)
	return hits(b.Index, scores, top(scores, k)), ctx.Err()
}

// hits returns the chunks at these positions, in their order.
func hits(ix Index, scores []float64, order []int) []Hit {
	var found []Hit
	for _, i := range order {
		h := Hit{Chunk: ix.Chunks[i], Score: scores[i]}
		if ix.Vectors != nil {
			h.Vector = ix.Vectors[i]
		}
		found = append(found, h)
	}
	return found
}
