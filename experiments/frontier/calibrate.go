package frontier

import (
	"context"
	"fmt"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/confidence"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Calibrate evaluates a router at n λs, evenly spaced over its range, and returns the curve that turns a budget into a λ: the
// mean dollars of a question, made non-increasing in λ by isotonic regression (pool adjacent violators, Ayer et al. 1955), and
// the mean score. A router of one λ has a curve of one point. The counts say how many outcomes were traced. A router of another
// embedder, fewer than 2 points, and an ended context (match it with errors.Is) are errors.
func Calibrate(ctx context.Context, env *episodes.Replay, r *portable.Router, n, inFlight int) ([]portable.Point, episodes.Counts, error) {
	info := r.Info()
	if info.Embedder != env.Header().Embedder {
		return nil, episodes.Counts{}, fmt.Errorf("calibrate a router: it was trained on embeddings of %s, the traces are of %s", info.Embedder, env.Header().Embedder)
	}
	if n < 2 {
		return nil, episodes.Counts{}, fmt.Errorf("calibrate a router at %d points: at least 2 are needed", n)
	}
	if info.Lambda.Min == info.Lambda.Max {
		n = 1
	}
	var counts episodes.Counts
	points := make([]portable.Point, n)
	spent := make([]float64, n)
	for i := range points {
		lambda := info.Lambda.Min
		if i > 0 {
			lambda += (info.Lambda.Max - info.Lambda.Min) * float64(i) / float64(n-1)
		}
		p, err := router.NewLearned(r, env.Header().Space, min(lambda, info.Lambda.Max))
		if err != nil {
			return nil, counts, fmt.Errorf("calibrate a router: %w", err)
		}
		evaluation, err := Evaluate(ctx, env, p, inFlight)
		if err != nil {
			return nil, counts, fmt.Errorf("calibrate a router: %w", err)
		}
		counts = counts.Add(evaluation.Counts)
		mean := evaluation.Mean()
		points[i] = portable.Point{Lambda: p.Lambda(), Score: mean.Score}
		spent[i] = mean.Dollars
	}
	for i, d := range nonIncreasing(spent) {
		points[i].Dollars = d
	}
	return points, counts, nil
}

// nonIncreasing is the least-squares non-increasing fit of values.
func nonIncreasing(values []float64) []float64 {
	out := slices.Clone(values)
	slices.Reverse(out)
	out = confidence.NonDecreasing(out, nil)
	slices.Reverse(out)
	return out
}
