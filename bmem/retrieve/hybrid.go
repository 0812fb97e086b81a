package retrieve

import (
	"context"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// hybrid is the modes Hybrid and Rerank. Turns are ranked by a model of about thirty features of words, vectors, speakers and dates; a chunk's score
// is the probability that at least one of its turns is evidence, taking turns as independent: 1 − Π(1 − p).
//
// Of a long history only candidates are ranked so: the chunks that are best by words, by vectors, or by both.
//
// The probabilities of Hybrid are calibrated on LoCoMo, where an average question has about 1.5 evidence turns in 600. Where evidence is denser, as in
// ten paragraphs of HotpotQA, they rank as well but are too low; where turns are long, as an assistant's are, they rank worse than words
// alone. Rerank has weights of its own, from LoCoMo and LongMemEval. The weights belong to all-MiniLM-L6-v2: another embedder has other
// cosines.
type hybrid struct {
	base
	corpus *corpus
	model  *model
	// exhaustive is how many turns a history may have for all of them to be ranked.
	exhaustive int
	// perRanking is how many chunks each of the rankings by words and vectors gives.
	perRanking int
	// byWords says that candidates are chosen by words alone, since no vectors are there before a question asks for them.
	byWords bool
}

const (
	// exhaustiveTurns is more than the histories of the benchmarks have.
	exhaustiveTurns = 4096
	// candidateChunks is hybrid.perRanking but in tests.
	candidateChunks = 256
	// rerankedChunks is hybrid.perRanking where candidates are embedded for a question.
	rerankedChunks = 16
	// sampleTurns is how many of the other turns are looked at to estimate their share of the evidence.
	sampleTurns = 1024
)

func newHybrid(l text.Language) (*hybrid, error) {
	m, err := fittedHybrid()
	if err != nil {
		return nil, err
	}
	return &hybrid{base: base{language: l}, corpus: newCorpus(l), model: m, exhaustive: exhaustiveTurns, perRanking: candidateChunks}, nil
}

func newRerank(l text.Language) (*hybrid, error) {
	m, err := fittedRerank()
	if err != nil {
		return nil, err
	}
	return &hybrid{base: base{language: l}, corpus: newCorpus(l), model: m, perRanking: rerankedChunks, byWords: true}, nil
}

// build takes all chunks of a memory. Reading what turns say runs beside numbering their words.
func (h *hybrid) build(ctx context.Context, chunks []store.IndexedChunk) error {
	turns := 0
	for _, c := range chunks {
		turns += len(c.Turns)
	}
	h.base.reserve(len(chunks))
	h.corpus.reserve(len(chunks), turns)
	const ahead, batch = 64, 32 // batches, and chunks in each
	work, ctx := errgroup.WithContext(ctx)
	read := make(chan [][]readTurn, ahead)
	work.Go(func() error {
		defer close(read)
		for some := range slices.Chunk(chunks, batch) {
			if err := ctx.Err(); err != nil {
				return err
			}
			var r [][]readTurn
			for _, c := range some {
				r = append(r, readTurns(c.Turns))
			}
			select {
			case read <- r:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	stems := make([]stemsOf, 0, turns+len(chunks))
	work.Go(func() error {
		left := chunks
		for some := range read {
			for i, r := range some {
				stems = append(stems, h.growRead(left[i], true, 0, r)...)
			}
			left = left[len(some):]
		}
		return nil
	})
	if err := work.Wait(); err != nil {
		return fmt.Errorf("index %d chunks: %w", len(chunks), err)
	}
	h.corpus.indexAll(stems)
	return nil
}

func (h *hybrid) grow(c store.IndexedChunk, fresh bool, from int) {
	h.corpus.index(h.growRead(c, fresh, from, readTurns(c.Turns[from:])))
}

// growRead is grow with what the turns say by themselves. It returns the stems, which are to be indexed.
func (h *hybrid) growRead(c store.IndexedChunk, fresh bool, from int, read []readTurn) []stemsOf {
	h.base.grow(c, fresh, from)
	var vectors [][]float32
	if !h.byWords {
		vectors = c.TurnVectors[from:]
	}
	return h.corpus.grow(fresh, c.Session, c.Turns[from:], vectors, read)
}

// rank sets ByVectors and ByWords, and TurnScores to the probability of each turn to be evidence, between 0 and 1.
func (h *hybrid) rank(q Query, k int, known map[string][]float32) ([]Hit, []string) {
	var visible []bool
	if q.Sees != nil {
		visible = make([]bool, 0, len(h.corpus.turns))
		for c, ch := range h.chunks {
			for i := range ch.Turns {
				visible = append(visible, h.sees(q, c, i))
			}
		}
	}
	v, chunks, vectors, missing := h.look(q, visible, k, known)
	if len(missing) > 0 {
		return nil, missing
	}
	var turns []int
	for _, c := range chunks {
		for u := h.corpus.first[c]; u < h.corpus.first[c+1]; u++ {
			turns = append(turns, u)
		}
	}
	logits := h.model.logits(v.features(turns))
	var rest []float64
	weight := 0.0
	if !h.byWords {
		rest, weight = h.rest(v, chunks, len(turns))
	}
	p := h.model.probabilities(hide(logits, turns, visible), rest, weight)

	scores, parts := make([]float64, len(chunks)), make([][]float64, len(chunks))
	for i, c := range chunks {
		n := h.corpus.first[c+1] - h.corpus.first[c]
		parts[i], p = p[:n:n], p[n:]
		none := 0.0 // ln of the probability that no turn is evidence
		for _, x := range parts[i] {
			none += math.Log1p(-x)
		}
		scores[i] = -math.Expm1(none)
	}
	byVectors, byWords := top(v.cosChunk, k), top(v.bmChunk, k)
	var found []Hit
	for _, i := range top(scores, len(scores)) {
		if len(found) == k {
			break
		}
		if hit, ok := h.hit(chunks[i], scores[i], q, parts[i]); ok {
			hit.Vector = vectors[chunks[i]]
			hit.ByVectors, hit.ByWords = slices.Contains(byVectors, chunks[i]), slices.Contains(byWords, chunks[i])
			found = append(found, hit)
		}
	}
	return found, nil
}

// look prepares a question. It returns the chunks to rank, of which there are at least k that may be seen if there are so many, in their
// order, and the vectors by chunk; or the texts whose vectors are not known.
func (h *hybrid) look(q Query, visible []bool, k int, known map[string][]float32) (v *view, candidates []int, vectors [][]float32, missing []string) {
	if !h.byWords {
		v = h.corpus.look(q, h.vectors, visible)
		return v, h.candidates(v, k), h.vectors, nil
	}
	v = h.corpus.view(q, visible)
	v.compareWords()
	candidates = h.best(k, h.seen(v, v.bmChunk), h.bestTurn(v, v.bm), h.bestTurn(v, v.cover.window))
	vectors, turns := make([][]float32, len(h.chunks)), make([][]float32, len(h.corpus.turns))
	look := func(text string) []float32 {
		vector, ok := known[text]
		if !ok {
			missing = append(missing, text)
		}
		return vector
	}
	for _, c := range candidates {
		vectors[c] = look(h.chunks[c].Text())
		for i, text := range TurnTexts(h.chunks[c : c+1]) {
			turns[h.corpus.first[c]+i] = look(text)
		}
	}
	if len(missing) == 0 {
		v.compareVectors(vectors, turns)
		v.feedback()
	}
	return v, candidates, vectors, missing
}

// hide takes the turns that may not be seen out of the competition.
func hide(logits []float64, turns []int, visible []bool) []float64 {
	for i, u := range turns {
		if visible != nil && !visible[u] {
			logits[i] = math.Inf(-1)
		}
	}
	return logits
}

// candidates returns the chunks to rank, in their order.
func (h *hybrid) candidates(v *view, k int) []int {
	n := len(h.chunks)
	if len(h.corpus.turns) <= h.exhaustive {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all
	}
	return h.best(k, h.seen(v, v.cosChunk), h.seen(v, v.bmChunk), h.bestTurn(v, v.pair), h.bestTurn(v, v.bm), h.bestTurn(v, v.firstSight), h.bestTurn(v, v.cover.window))
}

// bestTurn is the highest score of a turn of each chunk, -∞ where none may be seen.
func (h *hybrid) bestTurn(v *view, scores []float64) []float64 {
	best := make([]float64, len(h.chunks))
	for c := range best {
		best[c] = math.Inf(-1)
		for u := h.corpus.first[c]; u < h.corpus.first[c+1]; u++ {
			if v.visible == nil || v.visible[u] {
				best[c] = max(best[c], scores[u])
			}
		}
	}
	return best
}

// seen is the score of each chunk, -∞ where no turn of it may be seen.
func (h *hybrid) seen(v *view, scores []float64) []float64 {
	if v.visible == nil {
		return scores
	}
	seen := slices.Clone(scores)
	for c := range seen {
		if !slices.Contains(v.visible[h.corpus.first[c]:h.corpus.first[c+1]], true) {
			seen[c] = math.Inf(-1)
		}
	}
	return seen
}

// best returns the chunks that are among the first ones of any ranking, at least k, in their order.
func (h *hybrid) best(k int, rankings ...[]float64) []int {
	chosen := make([]bool, len(h.chunks))
	for _, scores := range rankings {
		for _, c := range top(scores, max(k, h.perRanking)) {
			chosen[c] = chosen[c] || !math.IsInf(scores[c], -1)
		}
	}
	var out []int
	for c, yes := range chosen {
		if yes {
			out = append(out, c)
		}
	}
	return out
}

// rest returns the logits of a sample of the turns that are no candidates, and for how many turns each of them stands.
func (h *hybrid) rest(v *view, candidates []int, ranked int) (logits []float64, weight float64) {
	left := len(h.corpus.turns) - ranked
	if left == 0 {
		return nil, 0
	}
	chosen := make(map[int32]bool, len(candidates))
	for _, c := range candidates {
		chosen[int32(c)] = true
	}
	stride := max(1, len(h.corpus.turns)/sampleTurns)
	var turns []int
	for u := stride / 2; u < len(h.corpus.turns); u += stride {
		if !chosen[h.corpus.turns[u].chunk] {
			turns = append(turns, u)
		}
	}
	if len(turns) == 0 {
		return nil, 0
	}
	return hide(h.model.logits(v.features(turns)), turns, v.visible), float64(left) / float64(len(turns))
}
