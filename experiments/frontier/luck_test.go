package frontier

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/router"
)

// Where draws are coins, the oracle's whole lead is luck; where a draw says what all say, none is.
func TestLuck(t *testing.T) {
	for name, coin := range map[string]bool{"coins": true, "certain": false} {
		f := answersFile("test", 150, 1)
		rng := rand.New(rand.NewPCG(2, 2))
		for i := range f.Episodes {
			e := &f.Episodes[i]
			certain := float64(rng.IntN(2))
			for range 4 {
				d := router.Draw{Score: certain}
				if coin {
					d.Score = float64(rng.IntN(2))
				}
				e.Draws = append(e.Draws, d)
			}
		}
		c := &comparison{Options: Options{Lambdas: []float64{0}, Reward: f.Reward(false), Seed: 1}}
		l := c.luck(f)
		if l == nil || l.Questions != 150 || l.Combinations != 6 {
			t.Fatalf("%s: %+v", name, l)
		}
		if l.Lead.Low <= 0.1 || coin && (l.Real.Low > 0 || l.Real.High < 0) || !coin && l.Real.Mean != l.Lead.Mean {
			t.Errorf("%s: %+v", name, l)
		}
		if !strings.Contains(l.String(), "150 questions with several draws of each of 6 combinations") {
			t.Error(l)
		}
	}
	c := &comparison{Options: Options{Lambdas: []float64{0}}}
	if l := c.luck(answersFile("test", 5, 1)); l != nil {
		t.Errorf("without draws: %+v", l)
	}
}
