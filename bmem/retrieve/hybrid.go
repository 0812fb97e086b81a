package retrieve

import (
	"context"
	"math"
)

// hybrid is the mode Hybrid. Turns are ranked by a model of about thirty features of words, vectors, speakers and dates; a chunk's score
// is the probability that at least one of its turns is evidence, taking turns as independent: 1 − Π(1 − p).
//
// The probabilities are calibrated on LoCoMo, where an average question has about 1.5 evidence turns in 600. Where evidence is denser, as in
// ten paragraphs of HotpotQA, they rank as well but are too low. The weights belong to all-MiniLM-L6-v2: another embedder has other
// cosines.
type hybrid struct {
	Index
	corpus *corpus
	model  *model
}

func newHybrid(ctx context.Context, ix Index) (*hybrid, error) {
	m, err := fitted()
	if err != nil {
		return nil, err
	}
	c, err := newCorpus(ctx, ix)
	if err != nil {
		return nil, err
	}
	return &hybrid{Index: ix, corpus: c, model: m}, nil
}

// Retrieve sets TurnScores to the probability of each turn to be evidence, between 0 and 1.
func (h *hybrid) Retrieve(ctx context.Context, q Query, k int) ([]Hit, error) {
	if err := checkQuery(q, h.Vectors); err != nil {
		return nil, err
	}
	p := h.model.probabilities(h.corpus.features(q, h.Vectors))
	scores := make([]float64, len(h.Chunks))
	for c := range scores {
		none := 0.0 // ln of the probability that no turn is evidence
		for _, x := range p[h.corpus.first[c]:h.corpus.first[c+1]] {
			none += math.Log1p(-x)
		}
		scores[c] = -math.Expm1(none)
	}
	best := top(scores, k)
	found := hits(h.Index, scores, best)
	for i, c := range best {
		found[i].TurnScores = p[h.corpus.first[c]:h.corpus.first[c+1]:h.corpus.first[c+1]]
	}
	return found, ctx.Err()
}
