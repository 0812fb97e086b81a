package offline

import (
	"math"
	"testing"
)

// Questions are divided among models where there are many; each predicts its own, a single episode too.
func TestPredictorDivides(t *testing.T) {
	env := newClusters(24, 40, 1)
	episodes := env.episodes(8, 0)
	all, _ := env.shape.Modules.Combinations()
	for most, want := range map[int]int{2000: 1, 160: 2, 159: 3, 1: 40} {
		p, err := newPredictor(env.shape, episodes, most)
		if err != nil || len(p.experts) != want {
			t.Fatalf("at most %d rows: %d models, want %d; %v", most, len(p.experts), want, err)
		}
		off := 0.0
		for r, l := range episodes {
			for _, choices := range all {
				got, truth := p.Predict(r, choices), env.outcome(number(t, l), choices)
				if !(got.Score >= 0 && got.Score <= 1 && got.Dollars >= 0) || math.IsInf(got.Dollars, 0) {
					t.Fatalf("%+v", got)
				}
				off += math.Abs(got.Score-truth.Score) / float64(len(episodes)*len(all))
			}
		}
		if t.Logf("at most %d rows: mean error %.3f", most, off); most > 1 && off > 0.1 {
			t.Errorf("at most %d rows: scores are off by %.3f on average", most, off)
		}
	}
	p, err := NewPredictor(env.shape, episodes[:1])
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Predict(0, []int{0, 0, 0, 0, 0}); math.Abs(got.Score-episodes[0].Score) > 1e-12 {
		t.Errorf("%+v of one episode, which brought %+v", got, episodes[0].Outcome())
	}
	if _, err := NewPredictor(env.shape, nil); err == nil {
		t.Error("predicted from nothing")
	}
}
