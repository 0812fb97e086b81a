package retrieve

import (
	"context"
	"math"
)

// hybrid is the mode Hybrid.
type hybrid struct {
	ix   Index
	lex  *lexicon
	unit []int // first turn of each chunk
}

func newHybrid(ix Index) (*hybrid, error) {
	h := &hybrid{ix: ix}
	var texts []string
	n := 0
	for _, c := range ix.Chunks {
		h.unit = append(h.unit, n)
		n += len(c.Turns)
		texts = append(texts, c.Text())
	}
	h.unit = append(h.unit, n)
	h.lex = newLexicon(texts)
	return h, nil
}

// Retrieve ranks by standardised BM25 of the chunk plus the standardised cosine of its best turn.
func (h *hybrid) Retrieve(ctx context.Context, q Query, k int) ([]Hit, error) {
	if err := checkQuery(q, h.ix.TurnVectors); err != nil {
		return nil, err
	}
	cosines := make([]float64, len(h.ix.TurnVectors))
	for i, v := range h.ix.TurnVectors {
		cosines[i] = dot(q.Vector, v)
	}
	best := make([]float64, len(h.ix.Chunks))
	for c := range best {
		best[c] = -1
		for u := h.unit[c]; u < h.unit[c+1]; u++ {
			best[c] = max(best[c], cosines[u])
		}
	}
	scores := standardise(h.lex.bm25(h.lex.query(q.Text)))
	for i, s := range standardise(best) {
		scores[i] += s
	}
	found := hits(h.ix, scores, k)
	for i, c := range top(scores, k) {
		found[i].TurnScores = cosines[h.unit[c]:h.unit[c+1]]
	}
	return found, ctx.Err()
}

// standardise shifts and scales to mean 0 and deviation 1.
func standardise(values []float64) []float64 {
	var mean, square float64
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		square += (v - mean) * (v - mean) / float64(len(values))
	}
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = (v - mean) / (math.Sqrt(square) + 1e-9)
	}
	return out
}
