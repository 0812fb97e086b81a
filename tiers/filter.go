package tiers

import (
	"context"
	"fmt"
	"sort"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The filter keeps at most TopK of the retrieved chunks; all keeps each.
//
//	keywords    share of the question's content words that occur in the chunk; chunks with none are dropped
//	evidence    the probability that some turn of the chunk is evidence, 1 − ∏(1 − p), where retrieval gives each turn's p;
//	            without those, 0.7 · cosine(question, chunk) + 0.3 · that share, kept if at least 0.3
//	all         every chunk, the likeliest first, for a summary that chooses turns itself
//	likelihood  a language model's likelihoods rank each chunk's best turns (see rankTurns); llm, if it gives none
//	reranked    as evidence, where a cross-encoder that has read the question and each of the likeliest turns corrects p, also for
//	            the summary that quotes turns by it
//	llm         a language model writes a mark from 0 to 10 for every chunk, which is added to what retrieval found of it
//
// A method that keeps nothing returns the first TopK chunks, best by its own score first. If the model fails, evidence serves.

const (
	cosineWeight = 0.7
	midThreshold = 0.3
)

func (tb *toolbox) filterKeywords(_ context.Context, in Input, step *Step) (Output, error) {
	step.Method = "keyword share"
	return keep(in, keywordShares(in), func(s float64) bool { return s > 0 }, step), nil
}

func (tb *toolbox) filterEvidence(_ context.Context, in Input, step *Step) (Output, error) {
	if scores, ok := evidenceProbabilities(in); ok {
		step.Method = "probability of evidence"
		return keep(in, scores, func(float64) bool { return true }, step), nil
	}
	step.Method = "cosine + keyword share"
	scores := keywordShares(in)
	for i, it := range in.Items {
		cos, err := cosine(in.QueryVector, it.Vector)
		if err != nil {
			return Output{}, fmt.Errorf("comparing the question with chunk %q: %w", it.ID, err)
		}
		scores[i] = cosineWeight*max(cos, 0) + (1-cosineWeight)*scores[i]
	}
	return keep(in, scores, func(s float64) bool { return s >= midThreshold }, step), nil
}

func (tb *toolbox) filterAll(_ context.Context, in Input, step *Step) (Output, error) {
	step.Method = "all"
	scores, ok := evidenceProbabilities(in)
	if !ok {
		scores = keywordShares(in)
	}
	in.TopK = 0
	return keep(in, scores, func(float64) bool { return true }, step), nil
}

// evidenceProbabilities returns, for every item, the probability that at least one of its turns is evidence, the turns taken as
// independent; false if retrieval gave some turn no probability.
func evidenceProbabilities(in Input) ([]float64, bool) {
	probabilities := make([]float64, len(in.Items))
	for i, it := range in.Items {
		if len(it.TurnScores) != len(it.Turns) {
			return nil, false
		}
		none := 1.0
		for _, p := range it.TurnScores {
			none *= 1 - min(max(p, 0), 1)
		}
		probabilities[i] = 1 - none
	}
	return probabilities, len(probabilities) > 0
}

// keywordShares returns, for every item, the share of the question's distinct content words that occur in it.
func keywordShares(in Input) []float64 {
	var asked []string
	seen := map[string]bool{}
	for _, w := range in.Language.ContentWords(in.Query) {
		if !seen[w] {
			seen[w] = true
			asked = append(asked, w)
		}
	}
	shares := make([]float64, len(in.Items))
	for i, it := range in.Items {
		words := map[string]bool{}
		for _, w := range text.Words(it.Text()) {
			words[w] = true
		}
		shares[i] = text.Overlap(asked, words)
	}
	return shares
}

// cosine is the inner product of two unit vectors [d].
func cosine(a, b []float32) (float64, error) {
	if len(a) == 0 || len(a) != len(b) {
		return 0, fmt.Errorf("vectors of %d and %d numbers", len(a), len(b))
	}
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum, nil
}

// keep returns the items that pass, best first and at most TopK, with their scores in [0,1] as relevance. If none
// passes, all compete.
func keep(in Input, scores []float64, pass func(float64) bool, step *Step) Output {
	order := make([]int, 0, len(in.Items))
	for i := range in.Items {
		if pass(scores[i]) {
			order = append(order, i)
		}
	}
	if len(order) == 0 && len(in.Items) > 0 {
		step.note("no chunk passed; kept the first")
		for i := range in.Items {
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return scores[order[a]] > scores[order[b]] })
	if in.TopK > 0 && len(order) > in.TopK {
		order = order[:in.TopK]
	}
	kept := make([]Item, len(order))
	for n, i := range order {
		kept[n] = in.Items[i]
		kept[n].Relevance = min(max(scores[i], 0), 1)
	}
	return Output{Kept: kept}
}

// marker returns a model's verdict on every item, in [0,1].
type marker func(ctx context.Context, in Input, step *Step) ([]float64, error)

func (tb *toolbox) filterAsked(mark marker) runFunc {
	return func(ctx context.Context, in Input, step *Step) (Output, error) {
		if len(in.Items) == 0 {
			step.Method = "nothing to filter"
			return Output{}, nil
		}
		scores, err := mark(ctx, in, step)
		if err == nil {
			return keep(in, scores, func(float64) bool { return true }, step), nil
		}
		if err := step.stepDown(ctx, tb.served(evidenceMethod), err); err != nil {
			return Output{}, err
		}
		return tb.filterEvidence(ctx, in, step)
	}
}

func (tb *toolbox) marksRequest(in Input) (llm.Request, error) {
	return tb.request(Filter.String(), tb.promptFor(in, len(in.Items)), tb.Options.ReplyTokens)
}

func (tb *toolbox) marksWritten(ctx context.Context, in Input, step *Step) ([]float64, error) {
	step.Method = "llm scores"
	req, err := tb.marksRequest(in)
	reply, err := tb.generate(ctx, req, err, step)
	if err != nil {
		return nil, err
	}
	marks, notes, err := parseInts(reply, len(in.Items))
	step.Notes = append(step.Notes, notes...)
	if err != nil {
		return nil, err
	}
	scores := make([]float64, len(marks))
	for i, m := range marks {
		scores[i] = float64(min(max(m, 0), 10)) / 10
	}
	if probabilities, ok := evidenceProbabilities(in); ok {
		step.Method = "llm scores + probability of evidence"
		for i, z := range centred(scores) {
			scores[i] = logistic(logOdds(probabilities[i]) + verdict*z)
		}
	}
	return scores, nil
}

// probes is how many turns of a chunk are asked about: what a chunk is worth, its best turn decides.
const probes = 2

// marksByLikelihood ranks the turns of each chunk that retrieval likes best, and rates the chunk as its best turn.
func (tb *toolbox) marksByLikelihood(ctx context.Context, in Input, step *Step) ([]float64, error) {
	scorer, ok := llm.AsScorer(tb.Client)
	if !ok {
		return tb.marksWritten(ctx, in, step)
	}
	step.Method = "llm likelihood of each chunk's best turns + retrieval score"
	lines, err := tb.probed(ctx, in)
	if err != nil {
		return nil, err
	}
	lines, err = tb.rankTurns(ctx, scorer, lines, in, step)
	if err != nil {
		return nil, err
	}
	scores := make([]float64, len(in.Items)) // 0 for a chunk without turns
	for _, l := range lines {
		scores[l.item] = max(scores[l.item], logistic(l.score))
	}
	return scores, nil
}

// probed returns the turns that likelihoods are asked for: those of each chunk that retrieval likes best.
func (tb *toolbox) probed(ctx context.Context, in Input) ([]turnRef, error) {
	all, err := tb.turnsByRetrieval(ctx, in)
	if err != nil {
		return nil, err
	}
	var lines []turnRef
	taken := make([]int, len(in.Items))
	for _, l := range all {
		if taken[l.item] < probes {
			taken[l.item]++
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// filterScoring plans marksByLikelihood.
func (tb *toolbox) filterScoring(ctx context.Context, in Input) (plan, error) {
	return tb.scoring(ctx, in, tb.probed, tb.marksRequest)
}
