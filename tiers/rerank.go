package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// errNoProbabilities is the cause when turns are to be reranked that retrieval gave no probability.
var errNoProbabilities = errors.New("retrieval gave the turns no probability to be evidence; hybrid retrieval does")

// rerankedMethod is the filter's method that asks a reranker.
const rerankedMethod = "reranked"

// filterReranked corrects the probabilities of the turns that retrieval finds likeliest by a model that has read each beside the
// question. The kept items carry the corrected probabilities, so that the summary quotes by them.
func (tb *toolbox) filterReranked(ctx context.Context, in Input, step *Step) (Output, error) {
	if len(in.Items) == 0 {
		step.Method = "nothing to filter"
		return Output{}, nil
	}
	items, err := tb.rerank(ctx, in, step)
	if err != nil {
		if err := step.stepDown(ctx, tb.served(evidenceMethod), err); err != nil {
			return Output{}, err
		}
		return tb.filterEvidence(ctx, in, step)
	}
	step.Method = "reranked probability of evidence"
	in.Items = items
	scores, _ := evidenceProbabilities(in)
	return keep(in, scores, func(float64) bool { return true }, step), nil
}

// rerank returns the items with the likeliest turns' probabilities corrected.
func (tb *toolbox) rerank(ctx context.Context, in Input, step *Step) ([]Item, error) {
	if _, ok := evidenceProbabilities(in); !ok {
		return nil, errNoProbabilities
	}
	scorer, ok := llm.AsScorer(tb.Client)
	if !ok {
		return nil, fmt.Errorf("%s gives no scores", tb.Client.Model())
	}
	lines, err := tb.scoredTurns(ctx, in)
	if err != nil {
		return nil, err
	}
	if lines, err = tb.rankBy(ctx, scorer, rerankRequests(lines, in), lines, step); err != nil {
		return nil, err
	}
	items := slices.Clone(in.Items)
	for i := range items {
		items[i].TurnScores = slices.Clone(items[i].TurnScores)
	}
	for _, l := range lines {
		items[l.item].TurnScores[l.at] = l.probability
	}
	return items, nil
}

// rerankRequests pairs each line, quoted as summaries quote it, with the question.
func rerankRequests(lines []turnRef, in Input) []llm.ScoreRequest {
	question := oneLine(in.Query)
	reqs := make([]llm.ScoreRequest, len(lines))
	for i, l := range lines {
		reqs[i] = llm.ScoreRequest{Messages: []llm.Message{{Role: llm.User, Content: strings.Join(quote([]turnRef{l}), "\n")}}, Continuation: question}
	}
	return reqs
}

// rerankPlan plans filterReranked.
func (tb *toolbox) rerankPlan(ctx context.Context, in Input) (plan, error) {
	if _, ok := evidenceProbabilities(in); !ok || len(in.Items) == 0 {
		return plan{}, nil
	}
	lines, err := tb.scoredTurns(ctx, in)
	return plan{score: rerankRequests(lines, in)}, err
}
