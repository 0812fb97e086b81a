package tiers

import (
	"context"
	"fmt"
	"math"

	"github.com/budgetmem/budgetmem/tiers/lingua"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Weights of the standardised signals that turns are ranked by. They were chosen on LoCoMo's training conversations.
const (
	questionWeight  = 1.0 // log-probability of the question after the turn, a token
	usefulWeight    = 1.0 // log-odds of "Yes" to "does it hold the answer"
	retrievalWeight = 1.0 // the retriever's own score of the turn
)

// rankTurns sets the score of each line: the standardised log-probability, a token, of the question as one that the turn
// answers, plus the standardised log-odds of a yes to whether the turn holds the answer, plus the standardised score by
// retrieval that the lines come with. It returns the lines best first. A turn comes first in its prompts, so that the
// requests about it share its computation. All scores are asked for in one batch.
func (k *kit) rankTurns(ctx context.Context, scorer llm.Scorer, lines []line, in Input, step *Step) ([]line, error) {
	var reqs []llm.ScoreRequest
	for _, l := range lines {
		said, _ := lingua.ParseTime(l.time)
		text := "[" + place(in.Items[l.item].Chunk) + "] " + withDates(l.turn.String(), said)
		d := promptData{Memory: oneLine(text), Question: oneLine(in.Query)}
		ask, err := prompt("rank_question", d)
		if err != nil {
			return nil, err
		}
		useful, err := prompt("rank_useful", d)
		if err != nil {
			return nil, err
		}
		reqs = append(reqs, scoreRequest(ask, d.Question), scoreRequest(useful, "Yes"), scoreRequest(useful, "No"))
	}
	scores, usage, err := scorer.Score(ctx, reqs)
	step.Usage = step.Usage.Add(usage)
	if err != nil {
		return nil, fmt.Errorf("likelihoods by %s: %w", k.Client.Model(), err)
	}
	if len(scores) != len(reqs) {
		return nil, fmt.Errorf("likelihoods by %s: %d scores for %d requests", k.Client.Model(), len(scores), len(reqs))
	}
	question, useful, retrieval := make([]float64, len(lines)), make([]float64, len(lines)), make([]float64, len(lines))
	for i, l := range lines {
		q := scores[3*i]
		question[i] = q.LogProb / float64(max(q.Tokens, 1))
		useful[i] = scores[3*i+1].LogProb - scores[3*i+2].LogProb
		retrieval[i] = l.score
		if math.IsNaN(question[i]+useful[i]) || math.IsInf(question[i]+useful[i], 0) {
			return nil, fmt.Errorf("likelihoods by %s: turn %q has no finite score", k.Client.Model(), l.turn.ID)
		}
	}
	for i, s := range combine([]float64{questionWeight, usefulWeight, retrievalWeight}, question, useful, retrieval) {
		lines[i].score = s
	}
	return bestFirst(lines), nil
}

func scoreRequest(prompt, continuation string) llm.ScoreRequest {
	return llm.ScoreRequest{Messages: []llm.Message{{Role: llm.User, Content: prompt}}, Continuation: continuation}
}

// combine returns the weighted sum of standardised signals of equal length.
func combine(weights []float64, signals ...[]float64) []float64 {
	out := make([]float64, len(signals[0]))
	for s, signal := range signals {
		for i, z := range standardise(signal) {
			out[i] += weights[s] * z
		}
	}
	return out
}

// standardise returns values less their mean, over their standard deviation; zeros when they do not differ.
func standardise(values []float64) []float64 {
	mean, square := 0.0, 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		square += (v - mean) * (v - mean) / float64(len(values))
	}
	out := make([]float64, len(values))
	if sd := math.Sqrt(square); sd > 1e-12 {
		for i, v := range values {
			out[i] = (v - mean) / sd
		}
	}
	return out
}

// logistic maps a standardised score into (0,1).
func logistic(z float64) float64 { return 1 / (1 + math.Exp(-z)) }
