package tiers

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// rankTurns sets the score of each turn and returns the turns best first. The score is the retriever's opinion of the turn
// plus the log-probability per token of the question, when the model is asked for a question that the turn answers. All
// log-probabilities are computed in one batch.
//
// The retriever's opinion is the log-odds of the turn's probability to be evidence. The log-probability, less its mean over
// the turns, is added as it is, and the probability updated by the sum. Where a probability is unknown, both terms are
// standardised instead. A small model ranks better by the likelihood of the question than by that of Yes against No to
// "does this hold the answer".
func (tb *toolbox) rankTurns(ctx context.Context, scorer llm.Scorer, lines []turnRef, in Input, step *Step) ([]turnRef, error) {
	reqs, err := rankRequests(lines, in)
	if err != nil {
		return nil, err
	}
	return tb.rankBy(ctx, scorer, reqs, lines, step)
}

// rankBy is rankTurns with the requests given, one a line.
func (tb *toolbox) rankBy(ctx context.Context, scorer llm.Scorer, reqs []llm.ScoreRequest, lines []turnRef, step *Step) ([]turnRef, error) {
	scores, usage, err := scorer.Score(ctx, reqs)
	step.Usage = step.Usage.Add(usage)
	if err != nil {
		return nil, fmt.Errorf("likelihoods by %s: %w", tb.Client.Model(), err)
	}
	if len(scores) != len(reqs) {
		return nil, fmt.Errorf("likelihoods by %s: %d scores for %d requests", tb.Client.Model(), len(scores), len(reqs))
	}
	question := make([]float64, len(lines))
	for i, l := range lines {
		question[i] = scores[i].LogProb / float64(max(scores[i].Tokens, 1))
		if math.IsNaN(question[i]) || math.IsInf(question[i], 0) {
			return nil, fmt.Errorf("likelihoods by %s: turn %q has score %g", tb.Client.Model(), l.turn.ID, question[i])
		}
	}
	weigh(lines, question)
	return bestFirst(lines), nil
}

// rankRequests asks for the log-probability of the question behind each line.
func rankRequests(lines []turnRef, in Input) ([]llm.ScoreRequest, error) {
	question := oneLine(in.Query)
	reqs := make([]llm.ScoreRequest, len(lines))
	for i, l := range lines {
		said, _ := text.ParseTime(l.time)
		turn := "[" + place(in.Items[l.item].Chunk) + "] " + withDates(l.turn.Line(), said)
		text, err := prompt("rank", promptData{Memory: oneLine(turn)})
		if err != nil {
			return nil, err
		}
		reqs[i] = llm.ScoreRequest{Messages: []llm.Message{{Role: llm.User, Content: text}}, Continuation: question}
	}
	return reqs, nil
}

// scoring plans a method that asks for the likelihoods of some turns, or writes a request if the model gives none.
func (tb *toolbox) scoring(ctx context.Context, in Input, turns func(context.Context, Input) ([]turnRef, error), otherwise func(Input) (llm.Request, error)) (plan, error) {
	if _, ok := llm.AsScorer(tb.Client); !ok {
		return oneCall(otherwise)(ctx, in)
	}
	lines, err := turns(ctx, in)
	if err != nil {
		return plan{}, err
	}
	reqs, err := rankRequests(lines, in)
	return plan{score: reqs}, err
}

// verdict is how much a model's written verdict changes the log-odds that a turn or chunk is evidence, between the worst and
// the best verdict. Where retrieval is unsure, this decides.
const verdict = 2.0

// weigh adds to the score of each turn the evidence that a model gives for it, in log-odds, less the mean over the turns.
func weigh(lines []turnRef, evidence []float64) {
	if slices.ContainsFunc(lines, func(l turnRef) bool { return l.probability == 0 }) {
		found := make([]float64, len(lines))
		for i, l := range lines {
			found[i] = l.score
		}
		found, evidence = standardise(found), standardise(evidence)
		for i := range lines {
			lines[i].score = found[i] + evidence[i]
		}
		return
	}
	for i, z := range centred(evidence) {
		l := &lines[i]
		l.score = logOdds(l.probability) + z
		l.probability = logistic(l.score)
	}
}

// centred returns values less their mean.
func centred(values []float64) []float64 {
	mean := 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = v - mean
	}
	return out
}

// standardise returns values less their mean, over their standard deviation; zeros when they do not differ.
func standardise(values []float64) []float64 {
	out, square := centred(values), 0.0
	for _, v := range out {
		square += v * v / float64(len(out))
	}
	sd := math.Sqrt(square)
	for i := range out {
		if sd > 1e-12 {
			out[i] /= sd
		} else {
			out[i] = 0
		}
	}
	return out
}

// logistic is the probability with log-odds z.
func logistic(z float64) float64 { return 1 / (1 + math.Exp(-z)) }

// logOdds is the inverse of logistic, finite for all p in [0,1].
func logOdds(p float64) float64 {
	const least = 1e-6
	p = min(max(p, least), 1-least)
	return math.Log(p / (1 - p))
}
