package stats

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestTooFew(t *testing.T) {
	if TooFew(Enough) != "" || TooFew(0) != "" {
		t.Error("said without need")
	}
	if s := TooFew(9); !strings.HasPrefix(s, "9 questions are too few") || !strings.Contains(s, "below about 0.20") {
		t.Errorf("9 questions: %s", s)
	}
	// The bootstrap over differences of that deviation agrees with the formula.
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([]float64, Enough)
	for i := range values {
		values[i] = rng.NormFloat64() * pairSD
	}
	b := Bootstrap(values, 1)
	if got, want := (b.High-b.Low)/2, halfWidth(Enough); got < 0.7*want || got > 1.4*want {
		t.Errorf("half width %.3f by bootstrap, %.3f by the formula", got, want)
	}
}
