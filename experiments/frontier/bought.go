package frontier

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

// Bought says what money buys without any choice by the question: the combinations of tiers that every question was asked with.
type Bought struct {
	// Combinations are ordered by price, the cheapest first.
	Combinations []Combination `json:"combinations"`
	// Times is the multiple of the cheapest one's price that may be spent, and Best the index of the one that earns most for it.
	Times float64 `json:"times"`
	Best  int     `json:"best"`
	// Gain is by how much the best one within that price beats the cheapest, where for each half of the questions it was chosen on the
	// other half, so that nothing is gained by the choice itself.
	Gain stats.Interval `json:"gain"`
}

// Combination is a combination of tiers with what it earned and cost on all questions.
type Combination struct {
	Tiers []string       `json:"tiers"`
	Score stats.Interval `json:"score"`
	// Dollars is the mean price of a question.
	Dollars float64 `json:"dollars"`
	// Versus is the score minus that of the cheapest combination, question by question.
	Versus stats.Interval `json:"versus_cheapest"`
	// Pareto says that no cheaper one earns as much.
	Pareto bool `json:"pareto"`

	scores []float64 // in the order of the questions
}

// WhatMoneyBuys compares the combinations of a file that have an episode for every question, at up to times the cheapest one's price. The
// seed draws the halves and the intervals. Fewer than two such combinations are an error.
func WhatMoneyBuys(f *episodes.File, times float64, seed int64) (*Bought, error) {
	r, err := episodes.NewReplay(f, nil)
	if err != nil {
		return nil, err
	}
	everywhere := r.FullyObserved()
	if len(everywhere) < 2 {
		return nil, fmt.Errorf("%d combinations of tiers were asked with every question; two are needed to compare", len(everywhere))
	}
	if !(times >= 1) {
		return nil, fmt.Errorf("the price may be %v times the cheapest one's: must be at least 1", times)
	}
	ids := r.IDs()
	at := map[string]int{}
	for i, id := range ids {
		at[id] = i
	}
	b := &Bought{Times: times}
	for _, choices := range everywhere {
		c := Combination{scores: make([]float64, len(ids))}
		for m, t := range choices {
			c.Tiers = append(c.Tiers, f.Space[m].Tiers[t])
		}
		for _, e := range f.Episodes {
			if slices.Equal(e.Choices, choices) {
				c.scores[at[e.ID]] = e.Score
				c.Dollars += e.Outcome().Dollars / float64(len(ids))
			}
		}
		c.Score = stats.Bootstrap(c.scores, seed)
		b.Combinations = append(b.Combinations, c)
	}
	slices.SortStableFunc(b.Combinations, func(x, y Combination) int { return cmp.Compare(x.Dollars, y.Dollars) })
	top := -1.0
	for i := range b.Combinations {
		c := &b.Combinations[i]
		c.Versus = stats.Bootstrap(differences(c.scores, b.Combinations[0].scores), seed)
		if c.Score.Mean > top {
			top, c.Pareto = c.Score.Mean, true
		}
	}
	all := make([]int, len(ids))
	for i := range all {
		all[i] = i
	}
	b.Best = b.best(all)
	b.Gain = b.gain(seed)
	return b, nil
}

func differences(x, y []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] - y[i]
	}
	return out
}

// best is the index of the combination within the price that earns most on some questions.
func (b *Bought) best(questions []int) int {
	best, top := 0, -1.0
	for i, c := range b.Combinations {
		if c.Dollars > b.Times*b.Combinations[0].Dollars {
			break
		}
		sum := 0.0
		for _, q := range questions {
			sum += c.scores[q]
		}
		if sum > top {
			best, top = i, sum
		}
	}
	return best
}

func (b *Bought) gain(seed int64) stats.Interval {
	cheapest := b.Combinations[0].scores
	order := rand.New(rand.NewPCG(uint64(seed), 3)).Perm(len(cheapest))
	halves := [][]int{order[:len(order)/2], order[len(order)/2:]}
	gains := make([]float64, len(cheapest))
	for i, half := range halves {
		chosen := b.Combinations[b.best(halves[1-i])].scores
		for _, q := range half {
			gains[q] = chosen[q] - cheapest[q]
		}
	}
	return stats.Bootstrap(gains, seed)
}

// String is the result in one sentence.
func (b *Bought) String() string {
	cheapest, best := b.Combinations[0], b.Combinations[b.Best]
	return fmt.Sprintf("Up to %g times the price of %s (%.2f µ$ a question) buys %+.4f %s of score on %d questions (chosen on one half, measured on the other); best on all is %s for %.2f µ$.",
		b.Times, strings.Join(cheapest.Tiers, ","), 1e6*cheapest.Dollars, b.Gain.Mean, bracket([2]float64{b.Gain.Low, b.Gain.High}, "%+.4f"), b.Gain.N,
		strings.Join(best.Tiers, ","), 1e6*best.Dollars)
}

// WriteTable prints the combinations as aligned text, and the sentence. The error is that of w.
func (b *Bought) WriteTable(w io.Writer) error {
	rows := [][]string{{"tiers", "score", "95 %", "against the cheapest", "95 %", "µ$/question", "frontier"}}
	for _, c := range b.Combinations {
		mark := ""
		if c.Pareto {
			mark = "*"
		}
		rows = append(rows, []string{strings.Join(c.Tiers, ","), fmt.Sprintf("%.4f", c.Score.Mean), bracket([2]float64{c.Score.Low, c.Score.High}, "%.3f"),
			fmt.Sprintf("%+.4f", c.Versus.Mean), bracket([2]float64{c.Versus.Low, c.Versus.High}, "%+.4f"), fmt.Sprintf("%.2f", 1e6*c.Dollars), mark})
	}
	if err := report.WriteTables(w, []chart.Table{{Title: "combinations of tiers that every question was asked with, the cheapest first", Rows: rows}}); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, b)
	return err
}
