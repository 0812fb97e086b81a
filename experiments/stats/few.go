package stats

import (
	"fmt"
	"math"
)

// pairSD is the standard deviation of the difference of two tiers' scores of one question, about what the benchmarks' traces
// have, and Enough the number of questions from which on reports say nothing about it.
const (
	pairSD = 0.3
	Enough = 50
)

// TooFew says what differences n questions cannot show, half the width of a 95 % interval being 1.96·s/√n for the standard
// deviation s of a question's difference; "" from Enough questions on.
func TooFew(n int) string {
	if n >= Enough || n <= 0 {
		return ""
	}
	return fmt.Sprintf("%d questions are too few for a claim: a difference in score below about %.2f cannot be told from chance; with %d it would be %.2f, with 200 %.2f",
		n, halfWidth(n), Enough, halfWidth(Enough), halfWidth(200))
}

func halfWidth(n int) float64 { return 1.96 * pairSD / math.Sqrt(float64(n)) }
