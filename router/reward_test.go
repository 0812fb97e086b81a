package router

import (
	"math"
	"math/rand/v2"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*max(1, math.Abs(b)) }

// Costs whose roots are 0 … 100 have the percentiles 5 and 95.
func TestEfficiency(t *testing.T) {
	r := NewReward(false)
	for i := range 101 {
		r.Observe(Outcome{Dollars: float64(i * i)})
	}
	for dollars, want := range map[float64]float64{0: 1, 25: 1, 50 * 50: 0.5, 14 * 14: 0.9, 95 * 95: 0, 1e9: 0} {
		if got := r.Efficiency(dollars); !near(got, want) {
			t.Errorf("efficiency of %v is %v, want %v", dollars, got, want)
		}
	}
	if got, want := r.Return(Outcome{Score: 0.25, Dollars: 50 * 50}, 0.8), 0.25+0.8*0.5; !near(got, want) {
		t.Errorf("return %v, want %v", got, want)
	}
	for range costWindow { // the old costs leave the window
		r.Observe(Outcome{Dollars: 4})
	}
	if got := [2]float64{r.Efficiency(4), r.Efficiency(4.1)}; got != [2]float64{1, 0} {
		t.Errorf("after 2,000 equal costs, efficiencies are %v", got)
	}
}

// By numpy: np.percentile([1, 2, 4, 8], [5, 95]) = [1.15, 7.4].
func TestPercentile(t *testing.T) {
	sorted := []float64{1, 2, 4, 8}
	if a, b := percentile(sorted, 0.05), percentile(sorted, 0.95); !near(a, 1.15) || !near(b, 7.4) {
		t.Errorf("percentiles %v and %v, want 1.15 and 7.4", a, b)
	}
	if percentile([]float64{3}, 0.95) != 3 {
		t.Error("the percentile of one number is not that number")
	}
}

// With alignment, the same λ trades the same whatever the scores' scale is.
func TestAlignment(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var outcomes []Outcome
	for range 500 {
		outcomes = append(outcomes, Outcome{Score: rng.Float64(), Dollars: rng.Float64()})
	}
	full, tenth, plain := NewReward(true), NewReward(true), NewReward(false)
	full.Observe(outcomes...)
	plain.Observe(outcomes...)
	for _, o := range outcomes {
		tenth.Observe(Outcome{Score: o.Score / 10, Dollars: o.Dollars})
	}
	var scores, efficiencies []float64
	for _, o := range outcomes {
		scores = append(scores, full.scale*o.Score)
		efficiencies = append(efficiencies, full.Efficiency(o.Dollars))
	}
	if !near(spread(scores), spread(efficiencies)) {
		t.Errorf("aligned scores spread by %v, efficiencies by %v", spread(scores), spread(efficiencies))
	}
	// One by one, early efficiencies were measured by early percentiles, so that this agrees closely and not exactly.
	if ratio := tenth.Scale() / full.Scale(); math.Abs(ratio-10) > 0.5 {
		t.Errorf("scores of a tenth are scaled %v times as much", ratio)
	}
	if plain.Scale() != 1 || NewReward(true).Scale() != 1 {
		t.Error("without alignment, or without outcomes, the scale is not 1")
	}
	constant := NewReward(true)
	constant.Observe(Outcome{Score: 1, Dollars: 1}, Outcome{Score: 1, Dollars: 2})
	if constant.Scale() != 1 {
		t.Errorf("scores without spread are scaled by %v", constant.Scale())
	}
	clone := full.Clone()
	clone.Observe(Outcome{Score: 1000, Dollars: 1000})
	if clone.Scale() == full.Scale() {
		t.Error("the clone's outcome changed nothing")
	}
}
