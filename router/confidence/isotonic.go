package confidence

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Isotonic is a function that never falls: it is linear between its points and constant outside of them.
type Isotonic struct {
	// X are the points in ascending order, Y the values there, which do not fall.
	X []float64 `json:"x"`
	Y []float64 `json:"y"`
}

// FitIsotonic returns the function closest to the points (x, y) in least squares among those that never fall, by pooling adjacent
// violators (Ayer et al. 1955; Robertson, Wright and Dykstra 1988, section 1.4). Points with equal x count as one with their
// mean y. weights may be nil for equal ones. Slices of other lengths, no points, numbers that are not finite, and weights that are
// not positive are errors.
func FitIsotonic(x, y, weights []float64) (Isotonic, error) {
	if weights == nil {
		weights = slices.Repeat([]float64{1}, len(x))
	}
	if len(x) == 0 || len(y) != len(x) || len(weights) != len(x) {
		return Isotonic{}, fmt.Errorf("isotonic regression of %d x, %d y and %d weights: their number must be the same and at least 1", len(x), len(y), len(weights))
	}
	order := make([]int, len(x))
	for i := range order {
		if !finite(x[i]) || !finite(y[i]) || !finite(weights[i]) || weights[i] <= 0 {
			return Isotonic{}, fmt.Errorf("isotonic regression: point %d is x %v, y %v, weight %v; all must be finite and the weight positive", i, x[i], y[i], weights[i])
		}
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	var at, sums, mass []float64 // of different x
	for _, i := range order {
		if n := len(at); n == 0 || at[n-1] != x[i] {
			at, sums, mass = append(at, x[i]), append(sums, 0), append(mass, 0)
		}
		sums[len(sums)-1] += weights[i] * y[i]
		mass[len(mass)-1] += weights[i]
	}
	for i := range sums {
		sums[i] /= mass[i]
	}
	values := NonDecreasing(sums, mass)
	var f Isotonic
	for i := range at {
		inner := i > 0 && i+1 < len(at) && values[i] == values[i-1] && values[i] == values[i+1]
		if !inner { // the points inside of a level add nothing
			f.X, f.Y = append(f.X, at[i]), append(f.Y, values[i])
		}
	}
	return f, nil
}

// NonDecreasing returns the sequence closest to values in weighted least squares among those that never fall, by pooling adjacent
// violators. weights, one for each value, must be positive; nil means equal ones.
func NonDecreasing(values, weights []float64) []float64 {
	type block struct {
		mean, weight float64
		n            int
	}
	var blocks []block
	for i, v := range values {
		b := block{v, 1, 1}
		if weights != nil {
			b.weight = weights[i]
		}
		for n := len(blocks); n > 0 && blocks[n-1].mean >= b.mean; n = len(blocks) {
			before := blocks[n-1]
			sum := before.weight + b.weight
			b = block{(before.mean*before.weight + b.mean*b.weight) / sum, sum, before.n + b.n}
			blocks = blocks[:n-1]
		}
		blocks = append(blocks, b)
	}
	out := make([]float64, 0, len(values))
	for _, b := range blocks {
		for range b.n {
			out = append(out, b.mean)
		}
	}
	return out
}

// At is the function's value at x.
func (f Isotonic) At(x float64) float64 {
	i, exact := slices.BinarySearch(f.X, x)
	switch {
	case exact:
		return f.Y[i]
	case i == 0:
		return f.Y[0]
	case i == len(f.X):
		return f.Y[i-1]
	}
	share := (x - f.X[i-1]) / (f.X[i] - f.X[i-1])
	return f.Y[i-1] + share*(f.Y[i]-f.Y[i-1])
}

// check refuses what FitIsotonic would not return.
func (f Isotonic) check() error {
	if len(f.X) == 0 || len(f.Y) != len(f.X) {
		return fmt.Errorf("isotonic function with %d x and %d y: their number must be the same and at least 1", len(f.X), len(f.Y))
	}
	for i := range f.X {
		if !finite(f.X[i]) || !finite(f.Y[i]) || i > 0 && (f.X[i] <= f.X[i-1] || f.Y[i] < f.Y[i-1]) {
			return fmt.Errorf("isotonic function: point %d is (%v, %v); x must rise, y must not fall, and both be finite", i, f.X[i], f.Y[i])
		}
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

var errNoAnswers = errors.New("there are no answers")
