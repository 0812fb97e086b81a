package offline

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"
)

// Where the best tiers depend on the question, choosing by embeddings earns more on questions that were held out, near the best
// of what is measured; where they do not, it earns no more. A category that decides is found as well.
func TestLearnable(t *testing.T) {
	env := newClusters(24, 60, 1)
	same := newClusters(24, 60, 1)
	for m := range same.Gain {
		for k := range same.Gain[m] {
			same.Gain[m][k] = same.Gain[m][0]
		}
	}
	lambdas := []float64{0, 0.5}
	for name, tt := range map[string]struct {
		env    *clusters
		routes bool
	}{"by question": {env, true}, "the same for all": {same, false}} {
		episodes := tt.env.episodes(5, 0.05)
		for i, e := range episodes {
			cluster, _ := tt.env.Query(number(t, e))
			episodes[i].Category = fmt.Sprint(cluster)
		}
		reward := observed(episodes, true)
		calls, last := 0, 0
		held, err := Learnable(context.Background(), tt.env.shape, episodes, reward, LearnableOptions{Lambdas: lambdas, Seed: 1, Progress: func(done, of int) {
			if calls, last = calls+1, done; of != 15 {
				t.Errorf("%d fits, want 15", of)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if calls != 15 || last != 15 || len(held) != 3 {
			t.Errorf("%s: %d calls, %d views", name, calls, len(held))
		}
		for l, lambda := range lambdas {
			best := 0.0
			for _, rows := range byQuestion(episodes) {
				top := math.Inf(-1)
				for _, r := range rows {
					top = max(top, reward.Return(episodes[r].Outcome(), lambda))
				}
				best += top / float64(env.N)
			}
			nonContextual, seen, told := stat.Mean(held[0].Returns[l], nil), stat.Mean(held[1].Returns[l], nil), stat.Mean(held[2].Returns[l], nil)
			t.Logf("%s, λ %g: non-contextual %.3f, by embeddings %.3f, by category %.3f of %.3f", name, lambda, nonContextual, seen, told, best)
			switch {
			case nonContextual > best || seen > best || told > best:
				t.Errorf("%s: more than the best of what is measured", name)
			case tt.routes && seen-nonContextual < 0.6*(best-nonContextual):
				t.Errorf("%s, λ %g: embeddings add %.3f of %.3f that there is", name, lambda, seen-nonContextual, best-nonContextual)
			case tt.routes && told-nonContextual < 0.2*(best-nonContextual): // it decides three of five modules
				t.Errorf("%s, λ %g: the category adds %.3f of %.3f that there is", name, lambda, told-nonContextual, best-nonContextual)
			case !tt.routes && math.Abs(seen-nonContextual) > 0.02:
				t.Errorf("%s, λ %g: embeddings add %.3f", name, lambda, seen-nonContextual)
			}
		}
	}
}

// Further views are measured also where the last module sees signals.
func TestLearnableByFeaturesWithSignals(t *testing.T) {
	env := withAnswer(24, 30, 1)
	episodes := env.episodes(4, 0.05)
	values := make([][]float64, len(episodes))
	for i, e := range episodes {
		cluster, _ := env.Query(number(t, e))
		values[i] = []float64{float64(cluster)}
	}
	held, err := Learnable(t.Context(), env.shape, episodes, observed(episodes, true),
		LearnableOptions{Lambdas: []float64{0.2}, Seed: 1, Features: []FeatureView{{View: "cluster", Values: values}}})
	if err != nil {
		t.Fatal(err)
	}
	if last := held[len(held)-1]; last.View != "cluster" || len(last.Returns[0]) != 30 {
		t.Errorf("%+v", last)
	}
}

func TestLearnableRefuses(t *testing.T) {
	env := newClusters(12, 20, 1)
	episodes := env.episodes(2, 0)
	reward := observed(episodes, true)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for want, call := range map[string]func() error{
		"at least 10 are needed": func() error {
			_, err := Learnable(context.Background(), env.shape, episodes[:6], reward, LearnableOptions{Lambdas: []float64{0}})
			return err
		},
		"context canceled": func() error {
			_, err := Learnable(gone, env.shape, episodes, reward, LearnableOptions{Lambdas: []float64{0}})
			return err
		},
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
