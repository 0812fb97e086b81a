package tune

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/datasets/score"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Prediction is a model's answer to an example's question, as one line of a predictions file.
type Prediction struct {
	ID         string  `json:"id"`
	Category   string  `json:"category,omitempty"`
	Variant    string  `json:"variant,omitempty"`
	Gold       string  `json:"gold"`
	Prediction string  `json:"prediction"`
	Score      float64 `json:"score"`
	TokensIn   int     `json:"tokens_in"`
	TokensOut  int     `json:"tokens_out"`
	Dollars    float64 `json:"dollars"`
	// Signals tell how sure the answer is, by name; see bmem.LogProbMean. They are empty where the model tells no log-probabilities.
	Signals map[string]float64 `json:"signals,omitempty"`
	// Evidence is that of the example.
	Evidence *Evidence `json:"evidence,omitempty"`
}

// AnswerConfig says how examples are answered.
type AnswerConfig struct {
	Client llm.Client
	// Style is the form of the prompt for a model that is not tuned.
	Style tiers.AnswerStyle
	// Samples is how many replies are sampled for an answer; see tiers.Answerer.
	Samples int
	// Metric scores the answers; see score.Lookup.
	Metric score.Metric
	// InFlight is how many are answered at one time; 0 means 8.
	InFlight int
	// Progress, if not nil, is called after each answer, by one goroutine at a time.
	Progress func(done, total int)
}

// Answers has a model answer the examples' questions from their notes, by the product's own answer step, and scores the
// answers. The result is in the order of the examples. The first call that fails ends it.
func Answers(ctx context.Context, c AnswerConfig, examples []Example) ([]Prediction, error) {
	answerer := tiers.Answerer{Client: c.Client, Style: c.Style, Samples: c.Samples, LogProbs: true}
	out := make([]Prediction, len(examples))
	var mu sync.Mutex
	done := 0
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(c.InFlight, 8))
	for i, e := range examples {
		if gctx.Err() != nil {
			break
		}
		if e.Prompt != "" {
			return nil, fmt.Errorf("answer example %d: it has a prompt of its own; the answer step takes notes and question", i+1)
		}
		group.Go(func() error {
			a, err := answerer.Answer(gctx, e.Notes, e.Question, e.Date)
			if err != nil {
				return fmt.Errorf("answer example %d: %w", i+1, err)
			}
			result, err := c.Metric.Score(score.Item{Prediction: a.Text, Gold: []string{e.Answer}, Category: e.Category})
			if err != nil {
				return fmt.Errorf("score example %d: %w", i+1, err)
			}
			out[i] = Prediction{ID: e.ID, Category: e.Category, Variant: e.Variant, Gold: e.Answer, Prediction: a.Text,
				Score: result.Score, TokensIn: a.Usage.In, TokensOut: a.Usage.Out, Dollars: a.Usage.Dollars, Signals: bmem.AnswerSignals(a), Evidence: e.Evidence}
			if c.Progress != nil {
				mu.Lock()
				defer mu.Unlock()
				done++
				c.Progress(done, len(examples))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, ctx.Err()
}
