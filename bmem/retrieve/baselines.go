package retrieve

import (
	"context"

	"github.com/budgetmem/budgetmem/bmem/store"
)

// dense is the mode Dense: exact search, no approximation.
type dense struct{ Index }

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

// bm25 is the mode BM25. Chunks that share no term with the question score 0 and come last.
type bm25 struct{ Index }

func (b bm25) Retrieve(ctx context.Context, q Query, k int) ([]Hit, error) {
	var found []store.Match
	if terms := contentWords(q.Text); len(terms) > 0 {
		var err error
		if found, err = b.Search(ctx, terms, k); err != nil {
			return nil, err
		}
	}
	scores := make([]float64, len(b.Chunks))
	for _, m := range found {
		scores[m.Pos] = m.Score
	}
	return hits(b.Index, scores, top(scores, k)), nil
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
