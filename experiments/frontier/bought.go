package frontier

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

// Bought says what money buys: by the combinations of tiers that every question was asked with, and by cascades over their answers.
type Bought struct {
	// Policies are ordered by price, the cheapest first.
	Policies []Priced `json:"policies"`
	// Base is the index of the cheapest combination that costs something and scores more than all cheaper ones, or, where there is none,
	// of the cheapest that costs something; Times is the multiple of its price that may be spent, and Best the index of the policy that
	// earns most for it. A cascade is not the base: a file would have as many as there are sets of signals.
	Base  int     `json:"base"`
	Times float64 `json:"times"`
	Best  int     `json:"best"`
	// Gain is by how much the best one within that price beats Base, where for each half of the questions it was chosen on the
	// other half, so that nothing is gained by the choice itself.
	Gain stats.Interval `json:"gain"`
	// Routed compares cascades with fixed choices; nil where answers come without signals, or are too few.
	Routed *Advantage `json:"routed,omitempty"`
}

// Priced is a policy with what it earned and cost on all questions.
type Priced struct {
	// Name has a combination's tiers joined by commas, or a cascade's λ.
	Name  string         `json:"name"`
	Score stats.Interval `json:"score"`
	// Dollars is the mean price of a question.
	Dollars float64 `json:"dollars"`
	// Versus is the score minus that of the cheapest policy, question by question.
	Versus stats.Interval `json:"versus_cheapest"`
	// Pareto says that no cheaper one earns as much.
	Pareto bool `json:"pareto"`
	// Cascade says that it is a cascade, not a combination of tiers for all questions.
	Cascade bool `json:"cascade,omitempty"`

	scores, dollars []float64 // in the order of the questions
}

// BoughtOptions says what WhatMoneyBuys compares.
type BoughtOptions struct {
	// Times is the multiple of the price of Bought.Base, up to which may be spent, and a hundredth more; at least 1, and finite.
	Times float64
	// Signals are the names of the signals that cascades use; nil uses all that nine tenths of the answers have. With names, that there
	// can be no cascades is an error.
	Signals []string
	// Seed draws the halves, the folds and the intervals.
	Seed int64
}

// WhatMoneyBuys compares the combinations of a file that have an episode for every question, and cascades over answers that come with
// signals, cross-validated. Fewer than two such combinations are an error.
func WhatMoneyBuys(f *episodes.File, o BoughtOptions) (*Bought, error) {
	r, err := episodes.NewReplay(f, nil)
	if err != nil {
		return nil, err
	}
	everywhere := r.FullyObserved()
	if len(everywhere) < 2 {
		return nil, fmt.Errorf("%d combinations of tiers were asked with every question; two are needed to compare", len(everywhere))
	}
	if !(o.Times >= 1) || math.IsInf(o.Times, 0) {
		return nil, fmt.Errorf("the price may be %v times the cheapest one's: must be at least 1, and finite", o.Times)
	}
	ids := r.IDs()
	at := map[string]int{}
	for i, id := range ids {
		at[id] = i
	}
	b := &Bought{Times: o.Times}
	for _, choices := range everywhere {
		var tiers []string
		for m, t := range choices {
			tiers = append(tiers, f.Space[m].Tiers[t])
		}
		c := Priced{Name: strings.Join(tiers, ","), scores: make([]float64, len(ids)), dollars: make([]float64, len(ids))}
		for _, e := range f.Episodes {
			if slices.Equal(e.Choices, choices) {
				c.scores[at[e.ID]], c.dollars[at[e.ID]] = e.Score, e.Outcome().Dollars
				c.Dollars += e.Outcome().Dollars / float64(len(ids))
			}
		}
		b.Policies = append(b.Policies, c)
	}
	crossed, err := crossCascades(f, ids, o)
	if err != nil && (len(o.Signals) > 0 || !errors.Is(err, errNoCascade)) {
		return nil, fmt.Errorf("compare cascades: %w", err)
	}
	if crossed != nil {
		b.Routed = crossed.advantage(b.Policies, o.Seed)
		b.Policies = append(b.Policies, crossed.shown()...)
	}
	slices.SortStableFunc(b.Policies, func(x, y Priced) int {
		return cmp.Or(cmp.Compare(x.Dollars, y.Dollars), cmp.Compare(stats.Mean(y.scores), stats.Mean(x.scores)))
	})
	top := -1.0
	for i := range b.Policies {
		c := &b.Policies[i]
		c.Score = stats.Bootstrap(c.scores, o.Seed)
		c.Versus = stats.Bootstrap(differences(c.scores, b.Policies[0].scores), o.Seed)
		if c.Score.Mean > top {
			top, c.Pareto = c.Score.Mean, true
		}
	}
	b.Base = b.base()
	all := make([]int, len(ids))
	for i := range all {
		all[i] = i
	}
	b.Best = b.best(all)
	b.Gain = b.gain(o.Seed)
	return b, nil
}

func differences(x, y []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] - y[i]
	}
	return out
}

// base is the index of the policy that Bought.Base describes.
func (b *Bought) base() int {
	cheapest, top := -1, -1.0
	for i, c := range b.Policies {
		if c.Cascade {
			continue
		}
		if c.Dollars > 0 && c.Score.Mean > top {
			return i
		}
		if c.Dollars > 0 && cheapest < 0 {
			cheapest = i
		}
		top = max(top, c.Score.Mean)
	}
	return max(0, cheapest)
}

// priceTolerance is how far above the multiple a price may be. A model of three times the price costs three times as much but for the
// tokens that it writes.
const priceTolerance = 1.01

// best is the index of the policy within the price that earns most on some questions.
func (b *Bought) best(questions []int) int {
	best, top := 0, -1.0
	for i, c := range b.Policies {
		if c.Dollars > b.Times*b.Policies[b.Base].Dollars*priceTolerance {
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
	base := b.Policies[b.Base].scores
	order := rand.New(rand.NewPCG(uint64(seed), 3)).Perm(len(base))
	halves := [][]int{order[:len(order)/2], order[len(order)/2:]}
	gains := make([]float64, len(base))
	for i, half := range halves {
		chosen := b.Policies[b.best(halves[1-i])].scores
		for _, q := range half {
			gains[q] = chosen[q] - base[q]
		}
	}
	return stats.Bootstrap(gains, seed)
}

// String is the result in one sentence.
func (b *Bought) String() string {
	base, best := b.Policies[b.Base], b.Policies[b.Best]
	if best.Dollars < base.Dollars {
		return fmt.Sprintf("Nothing up to %g times the price of %s (%.2f µ$ a question) scores above %s for %.2f µ$, on %d questions: chosen on one half and measured on the other %+.4f %s against the first.",
			b.Times, base.Name, 1e6*base.Dollars, best.Name, 1e6*best.Dollars, b.Gain.N, b.Gain.Mean, spread(b.Gain, "%+.4f"))
	}
	return fmt.Sprintf("Up to %g times the price of %s (%.2f µ$ a question) buys %+.4f %s of score on %d questions (chosen on one half, measured on the other); best on all is %s for %.2f µ$.",
		b.Times, base.Name, 1e6*base.Dollars, b.Gain.Mean, spread(b.Gain, "%+.4f"), b.Gain.N,
		best.Name, 1e6*best.Dollars)
}

// WriteTable prints the policies as aligned text, and the sentence. The error is that of w.
func (b *Bought) WriteTable(w io.Writer) error {
	rows := [][]string{{"policy", "score", "95 %", "against the cheapest", "95 %", "µ$/question", "frontier"}}
	for _, c := range b.Policies {
		mark := ""
		if c.Pareto {
			mark = "*"
		}
		rows = append(rows, []string{c.Name, fmt.Sprintf("%.4f", c.Score.Mean), spread(c.Score, "%.3f"),
			fmt.Sprintf("%+.4f", c.Versus.Mean), spread(c.Versus, "%+.4f"), fmt.Sprintf("%.2f", 1e6*c.Dollars), mark})
	}
	if err := report.WriteTables(w, []chart.Table{{Title: "tiers that every question was asked with, and cascades, cross-validated; the cheapest first", Rows: rows}}); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, b)
	if err == nil && b.Routed != nil {
		_, err = fmt.Fprintln(w, b.Routed)
	}
	return err
}
