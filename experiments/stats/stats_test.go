package stats

import (
	"math"
	"math/rand/v2"
	"sort"
	"testing"
)

// The wanted values are those of Python's statistics.quantiles with method="inclusive".
func TestQuantile(t *testing.T) {
	values := []float64{10, 7, 4, 3, 2, 1}
	for p, want := range map[float64]float64{0: 1, 0.05: 1.25, 0.3: 2.5, 0.5: 3.5, 0.95: 9.25, 1: 10} {
		if got := Quantile(values, p); math.Abs(got-want) > 1e-12 {
			t.Errorf("Quantile(%v) = %v, want %v", p, got, want)
		}
	}
	if values[0] != 10 {
		t.Error("Quantile sorted its caller's slice")
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("Quantile of nothing = %v", got)
	}
	if got := Quantile([]float64{4}, 0.95); got != 4 {
		t.Errorf("Quantile of one value = %v, want 4", got)
	}
}

// With four values all 4^4 resamples can be listed, so the bootstrap distribution is known exactly.
func TestBootstrapAgainstEnumeration(t *testing.T) {
	values := []float64{0, 0.1, 0.4, 1}
	var all []float64
	for a := range 4 {
		for b := range 4 {
			for c := range 4 {
				for d := range 4 {
					all = append(all, (values[a]+values[b]+values[c]+values[d])/4)
				}
			}
		}
	}
	sort.Float64s(all)
	// The smallest value at or above each exact percentile, with room for one step of the distribution.
	got := Bootstrap(values, 3)
	if got.Mean != 0.375 || got.N != 4 {
		t.Fatalf("mean %v of %d, want 0.375 of 4", got.Mean, got.N)
	}
	for name, pair := range map[string][2]float64{"low": {got.Low, 0.025}, "high": {got.High, 0.975}} {
		lo, hi := sortedQuantile(all, pair[1]-0.006), sortedQuantile(all, pair[1]+0.006)
		if pair[0] < lo || pair[0] > hi {
			t.Errorf("%s end %v outside the exact [%v, %v]", name, pair[0], lo, hi)
		}
	}
}

// For many values the interval is mean ± 1.96 standard errors.
func TestBootstrapAgainstNormal(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([]float64, 2000)
	var sum, sq float64
	for i := range values {
		values[i] = 0.05 + rng.NormFloat64()*0.4
		sum += values[i]
		sq += values[i] * values[i]
	}
	m := sum / 2000
	se := math.Sqrt((sq/2000 - m*m) / 2000)
	got := Bootstrap(values, 1)
	if math.Abs(got.Low-(m-1.96*se)) > 0.1*se || math.Abs(got.High-(m+1.96*se)) > 0.1*se {
		t.Errorf("interval [%v, %v], want about [%v, %v]", got.Low, got.High, m-1.96*se, m+1.96*se)
	}
	if again := Bootstrap(values, 1); again != got {
		t.Error("the same seed gave another interval")
	}
	if other := Bootstrap(values, 2); other == got {
		t.Error("another seed gave the same interval: the seed is not used")
	}
}

func TestBootstrapEdges(t *testing.T) {
	if got := Bootstrap(nil, 1); got != (Interval{}) {
		t.Errorf("no values: %+v", got)
	}
	got := Bootstrap([]float64{0.25, 0.25, 0.25}, 1)
	if got.Low != 0.25 || got.High != 0.25 {
		t.Errorf("a constant has an interval of no width, got %+v", got)
	}
}
