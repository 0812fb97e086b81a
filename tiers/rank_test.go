package tiers

import (
	"math"
	"testing"
)

// Chances that retrieval knows are updated as Bayes' rule has it, so that a near-certain turn stays ahead of one that only
// sounds like the question.
func TestLikelihoodUpdatesChances(t *testing.T) {
	lines := []line{{score: 0.95, chance: 0.95}, {score: 0.02, chance: 0.02}, {score: 0.5, chance: 0.5}}
	addLikelihood(lines, []float64{-5, -2.5, -4.5}) // mean -4
	for i, want := range []float64{0.95 / 0.05 * math.Exp(-1), 0.02 / 0.98 * math.Exp(1.5), math.Exp(-0.5)} {
		if odds := lines[i].chance / (1 - lines[i].chance); math.Abs(odds-want) > 1e-9*want {
			t.Errorf("line %d: odds %g, want %g", i, odds, want)
		}
		if got := math.Exp(lines[i].score); math.Abs(got-want) > 1e-9*want {
			t.Errorf("line %d: score of odds %g, want %g", i, got, want)
		}
	}
}

func TestLikelihoodWithoutChances(t *testing.T) {
	lines := []line{{score: 1}, {score: 3, chance: 0.3}} // standardised -1 and 1, as the log-probabilities are 1 and -1
	addLikelihood(lines, []float64{-2, -3})
	if lines[0].score != 0 || lines[1].score != 0 || lines[0].chance != 0 || lines[1].chance != 0.3 {
		t.Errorf("%+v", lines)
	}
}

func TestLogOddsOfCertainty(t *testing.T) {
	for _, p := range []float64{0, 1e-9, 0.5, 1} {
		if z := logOdds(p); math.IsInf(z, 0) || math.IsNaN(z) || math.Abs(logistic(z)-p) > 1e-5 {
			t.Errorf("p %g: %g", p, z)
		}
	}
}
