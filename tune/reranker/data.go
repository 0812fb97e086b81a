// Package reranker trains the cross-encoder of bmem/rerank on evidence: which turns of a history the data set names as holding a
// question's answer, among the turns that retrieval finds. It learns what the probabilities of retrieval do not know yet.
package reranker

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/tiers"
)

// Example is a question with the turns that retrieval found best, best first.
type Example struct {
	ID       string `json:"id"`
	Category string `json:"category,omitempty"`
	Question string `json:"question"`
	// Turns are quoted as the answering model reads them.
	Turns []string `json:"turns"`
	// LogOdds of each turn to be evidence, by retrieval.
	LogOdds []float64 `json:"log_odds"`
	// Gold says which turns are evidence, and Missed how many more are that retrieval did not find.
	Gold   []bool `json:"gold"`
	Missed int    `json:"missed"`
}

// DataConfig says which examples to make.
type DataConfig struct {
	Dataset   datasets.Dataset
	Questions []datasets.Question
	// Memory retrieves. Its tiers are not used.
	Memory *bmem.Memory
	// Turns is how many turns of each question are taken; 0 means Candidates.
	Turns int
	// InFlight is how many questions are retrieved at one time; 0 means 4.
	InFlight int
	// Progress, if not nil, is called after each question, by one goroutine at a time.
	Progress func(done, total int)
}

// Candidates is how many of the turns that retrieval finds best are ranked again.
const Candidates = 32

// MakeExamples retrieves for each question, in order. Questions without evidence are left out.
func MakeExamples(ctx context.Context, c DataConfig) ([]Example, error) {
	questions := slices.DeleteFunc(slices.Clone(c.Questions), func(q datasets.Question) bool { return len(q.Evidence) == 0 })
	memories, err := c.addHistories(ctx, questions)
	if err != nil {
		return nil, fmt.Errorf("make examples: %w", err)
	}
	out := make([]Example, len(questions))
	finished := make(chan struct{}, len(questions))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(c.InFlight, 4) + 1)
	group.Go(func() error {
		for done := 1; done <= len(questions); done++ {
			select {
			case <-gctx.Done():
				return gctx.Err()
			case <-finished:
				if c.Progress != nil {
					c.Progress(done, len(questions))
				}
			}
		}
		return nil
	})
	for i, q := range questions {
		group.Go(func() (err error) {
			if out[i], err = c.example(gctx, q, memories[q.History]); err != nil {
				return fmt.Errorf("make examples: question %s: %w", q.ID, err)
			}
			finished <- struct{}{}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// addHistories puts the questions' histories into memories that runs of experiments share, and returns these by the histories' ids.
func (c DataConfig) addHistories(ctx context.Context, questions []datasets.Question) (map[string]*bmem.DatasetMemory, error) {
	out := map[string]*bmem.DatasetMemory{}
	for _, q := range questions {
		if out[q.History] != nil {
			continue
		}
		h, err := c.Dataset.History(ctx, q.History)
		if err != nil {
			return nil, err
		}
		if out[q.History], err = c.Memory.OpenDataset(ctx, bmem.DatasetConversation{Dataset: c.Dataset.Name(), ID: q.History, Hash: c.Dataset.Hash(), Turns: h.Turns}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c DataConfig) example(ctx context.Context, q datasets.Question, memory *bmem.DatasetMemory) (Example, error) {
	hits, err := c.Memory.Search(ctx, q.Text, bmem.WithMemory(memory.Name), bmem.WithTopK(cmp.Or(c.Turns, Candidates)))
	if err := cmp.Or(memory.Check(ctx), err); err != nil {
		return Example{}, err
	}
	e := Example{ID: q.ID, Category: q.Category, Question: q.Text, Missed: len(q.Evidence)}
	for _, h := range hits {
		line := tiers.Quote([]chunk.Turn{h.Turn})
		if line == "" {
			continue
		}
		gold := slices.Contains(q.Evidence, h.Turn.ID)
		if gold {
			e.Missed--
		}
		e.Turns, e.LogOdds, e.Gold = append(e.Turns, line), append(e.LogOdds, logOdds(h.Score)), append(e.Gold, gold)
	}
	return e, nil
}

func logOdds(p float64) float64 {
	p = min(max(p, 1e-6), 1-1e-6)
	return math.Log(p / (1 - p))
}

// Recall is the share of each example's evidence that is among its n best turns, by log-odds and, if not nil, what scores add to
// these.
func Recall(examples []Example, scores [][]float64, n int) []float64 {
	out := make([]float64, len(examples))
	for i, e := range examples {
		order := make([]int, len(e.Turns))
		rank := slices.Clone(e.LogOdds)
		for j := range order {
			order[j] = j
			if scores != nil {
				rank[j] += scores[i][j]
			}
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rank[b], rank[a]) })
		gold := e.Missed
		for _, g := range e.Gold {
			if g {
				gold++
			}
		}
		for _, j := range order[:min(n, len(order))] {
			if e.Gold[j] {
				out[i] += 1 / float64(gold)
			}
		}
	}
	return out
}
