package router

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/budgetmem/budgetmem/router/cascade"
)

// The sizes of a Reward's windows.
const (
	costWindow  = 2_000  // costs, for the percentiles
	alignWindow = 20_000 // scores and efficiencies, for their spread
)

// Reward computes the return of an outcome, which training maximises:
//
//	return = α·score + λ·e        e = 1 − clip((√dollars − p₅) / (p₉₅ − p₅), 0, 1)
//
// p₅ and p₉₅ are percentiles of √dollars over the last 2,000 outcomes, with linear interpolation. α = std(e)/std(score) over
// the last 20,000 outcomes, so that λ means the same whatever the spread of the scores (reward-scale alignment of BudgetMem);
// without alignment α = 1. The windows of past outcomes are part of a training's checkpoint.
type Reward struct {
	align        bool
	costs        []float64 // √dollars
	scores       []float64
	efficiencies []float64
	low, high    float64 // the percentiles
	scale        float64 // α
}

// NewReward returns a reward with empty windows, with or without alignment.
func NewReward(align bool) *Reward { return &Reward{align: align, scale: 1} }

// Observe adds outcomes to the windows, which changes later returns.
func (r *Reward) Observe(outcomes ...Outcome) {
	for _, o := range outcomes {
		r.costs = append(r.costs, math.Sqrt(o.Dollars))
	}
	r.costs = last(r.costs, costWindow)
	r.percentiles()
	for _, o := range outcomes {
		r.scores = append(r.scores, o.Score)
		r.efficiencies = append(r.efficiencies, r.Efficiency(o.Dollars))
	}
	r.scores, r.efficiencies = last(r.scores, alignWindow), last(r.efficiencies, alignWindow)
	r.alignment()
}

func (r *Reward) percentiles() {
	if len(r.costs) == 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(r.costs))
	r.low, r.high = percentile(sorted, 0.05), percentile(sorted, 0.95)
}

func (r *Reward) alignment() {
	r.scale = 1
	if s, e := spread(r.scores), spread(r.efficiencies); r.align && s > 0 && e > 0 {
		r.scale = e / s
	}
}

// Fixed is the reward as it is now, whatever is observed later.
func (r *Reward) Fixed() cascade.Reward {
	return cascade.Reward{Scale: r.scale, Low: r.low, High: r.high}
}

// Efficiency is e for the price of a question in dollars, in [0, 1].
func (r *Reward) Efficiency(dollars float64) float64 { return r.Fixed().Efficiency(dollars) }

// Scale is α.
func (r *Reward) Scale() float64 { return r.scale }

// Return is the return of an outcome at λ.
func (r *Reward) Return(o Outcome, lambda float64) float64 {
	return r.Fixed().Return(o.Score, o.Dollars, lambda)
}

// Clone returns an independent copy, for example to compare all checkpoints of a training by the same measure.
func (r *Reward) Clone() *Reward {
	c := *r
	c.costs, c.scores, c.efficiencies = slices.Clone(r.costs), slices.Clone(r.scores), slices.Clone(r.efficiencies)
	return &c
}

// last returns the last n of values.
func last(values []float64, n int) []float64 { return values[max(0, len(values)-n):] }

// percentile returns the p-quantile of sorted values, interpolated linearly between neighbours as in NumPy.
func percentile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// spread is the standard deviation of values as a whole population, 0 for none.
func spread(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return stat.PopStdDev(values, nil)
}
