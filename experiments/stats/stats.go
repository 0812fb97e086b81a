// Package stats holds the statistics of reports: means with bootstrap intervals, and quantiles.
package stats

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// resamples is the number of bootstrap resamples behind an interval.
const resamples = 10_000

// Interval is an estimate with its 95 % bootstrap interval [Low, High], in the unit of the values.
type Interval struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// N is the number of questions (or pairs of them) behind the estimate; 0 means that there is no estimate.
	N int `json:"n"`
}

// Bootstrap estimates the mean of values and its 95 % interval by the percentile bootstrap (Efron and Tibshirani 1993,
// chapter 13): 10,000 means of n draws with replacement, and of these the 2.5 and 97.5 percentiles. The same values
// and seed give the same interval.
//
// For a difference between two policies, pass the differences question by question: resampling pairs keeps the difficulty
// of single questions out of the interval.
func Bootstrap(values []float64, seed int64) Interval {
	n := len(values)
	if n == 0 {
		return Interval{}
	}
	rng := rand.New(rand.NewPCG(uint64(seed), uint64(n)))
	means := make([]float64, resamples)
	for i := range means {
		var sum float64
		for range n {
			sum += values[rng.IntN(n)]
		}
		means[i] = sum / float64(n)
	}
	slices.Sort(means)
	return Interval{Mean: Mean(values), Low: sortedQuantile(means, 0.025), High: sortedQuantile(means, 0.975), N: n}
}

// Quantile returns the p-quantile (p in [0,1]) of values by linear interpolation between order statistics (type 7 of
// Hyndman and Fan 1996, the default of NumPy and R, which gonum does not have); 0 for no values.
func Quantile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return sortedQuantile(slices.Sorted(slices.Values(values)), p)
}

func sortedQuantile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	lo := int(math.Floor(at))
	hi := min(lo+1, len(sorted)-1)
	return sorted[lo] + (at-float64(lo))*(sorted[hi]-sorted[lo])
}

// Mean returns the arithmetic mean; 0 for no values.
func Mean(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return stat.Mean(values, nil)
}
