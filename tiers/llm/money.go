package llm

import "math"

// picodollars counts money in 1e-12 dollars. Whole numbers add up without drift, so that a limit can hold exactly; any
// price with up to six decimals per million tokens is exact in them. Sums stop at mostPicodollars instead of wrapping.
type picodollars int64

const (
	perDollar       = 1e12
	mostPicodollars = picodollars(math.MaxInt64 / 4)
)

// roundUp is for what is spent.
func roundUp(dollars float64) picodollars {
	// The tiny slack keeps the float noise of an exact amount from adding a unit.
	return saturate(math.Ceil(dollars*perDollar*(1-1e-15) - 1e-6))
}

// roundDown is for limits. An infinite limit is no limit.
func roundDown(dollars float64) picodollars {
	return saturate(math.Floor(dollars*perDollar*(1+1e-15) + 1e-6))
}

// saturate clamps a number to the range; NaN counts as the maximum.
func saturate(v float64) picodollars {
	if !(v < float64(mostPicodollars)) {
		return mostPicodollars
	}
	return picodollars(max(v, 0))
}

// plus adds two amounts of 0 or more.
func (p picodollars) plus(q picodollars) picodollars { return min(p+q, mostPicodollars) }

func (p picodollars) dollars() float64 { return float64(p) / perDollar }
