// Package money counts dollars exactly, so that limits can hold.
package money

import (
	"math"
	"strconv"
	"strings"
)

// Picodollars counts money in 1e-12 dollars. Whole numbers add up without drift, so that a limit can hold exactly; any
// price with up to six decimals per million tokens is exact in them. Sums stop at Most instead of wrapping.
type Picodollars int64

const perDollar = 1e12

// Most is the largest amount.
const Most = Picodollars(math.MaxInt64 / 4)

// RoundUp is for what is spent.
func RoundUp(dollars float64) Picodollars {
	// The tiny slack keeps the float noise of an exact amount from adding a unit.
	return saturate(math.Ceil(dollars*perDollar*(1-1e-15) - 1e-6))
}

// RoundDown is for limits. An infinite limit is no limit.
func RoundDown(dollars float64) Picodollars {
	return saturate(math.Floor(dollars*perDollar*(1+1e-15) + 1e-6))
}

// saturate clamps a number to the range; NaN counts as the maximum.
func saturate(v float64) Picodollars {
	if !(v < float64(Most)) {
		return Most
	}
	return Picodollars(max(v, 0))
}

// Plus adds two amounts of 0 or more.
func (p Picodollars) Plus(q Picodollars) Picodollars { return min(p+q, Most) }

// Dollars is the amount in dollars.
func (p Picodollars) Dollars() float64 { return float64(p) / perDollar }

// Text writes dollars with six decimals, and small amounts, such as a question to a local model costs, with four significant digits.
func Text(dollars float64) string {
	abs := math.Abs(dollars)
	if abs == 0 || !(abs < 1e-3) {
		return strconv.FormatFloat(dollars, 'f', 6, 64)
	}
	decimals := 3 - int(math.Floor(math.Log10(abs)))
	return strings.TrimRight(strconv.FormatFloat(dollars, 'f', decimals, 64), "0")
}
