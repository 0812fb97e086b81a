package router

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
)

// Where the best tiers depend on the question, choosing by embeddings earns more on questions that were held out, near the best
// of what is traced; where they do not, it earns no more. A label that decides is found as well.
func TestLearnable(t *testing.T) {
	env := newClusters(24, 60, 1)
	same := newClusters(24, 60, 1)
	for m := range same.gain {
		for k := range same.gain[m] {
			same.gain[m][k] = same.gain[m][0]
		}
	}
	lambdas := []float64{0, 0.5}
	for name, tt := range map[string]struct {
		env    *clusters
		routes bool
	}{"by question": {env, true}, "the same for all": {same, false}} {
		logged := tt.env.trace(5, 0.05)
		labels := make([]string, len(logged))
		for i, l := range logged {
			cluster, _ := tt.env.query(l.Question)
			labels[i] = fmt.Sprint(cluster)
		}
		reward := rewardOf(logged, true)
		calls, last := 0, 0
		held, err := Learnable(context.Background(), tt.env.shape, logged, labels, reward, lambdas, 1, func(done, of int) {
			if calls, last = calls+1, done; of != 15 {
				t.Errorf("%d fits, want 15", of)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if calls != 15 || last != 15 || len(held) != 3 {
			t.Errorf("%s: %d calls, %d views", name, calls, len(held))
		}
		for l, lambda := range lambdas {
			best := 0.0
			for _, rows := range byQuestion(logged) {
				top := math.Inf(-1)
				for _, r := range rows {
					top = max(top, reward.Return(logged[r].Outcome, lambda))
				}
				best += top / float64(env.n)
			}
			blind, seen, told := mean(held[0].Returns[l]), mean(held[1].Returns[l]), mean(held[2].Returns[l])
			t.Logf("%s, λ %g: blind %.3f, by embeddings %.3f, by label %.3f of %.3f", name, lambda, blind, seen, told, best)
			switch {
			case blind > best || seen > best || told > best:
				t.Errorf("%s: more than the best of what is traced", name)
			case tt.routes && seen-blind < 0.6*(best-blind):
				t.Errorf("%s, λ %g: embeddings add %.3f of %.3f that there is", name, lambda, seen-blind, best-blind)
			case tt.routes && told-blind < 0.2*(best-blind): // it decides three of five modules
				t.Errorf("%s, λ %g: the label adds %.3f of %.3f that there is", name, lambda, told-blind, best-blind)
			case !tt.routes && math.Abs(seen-blind) > 0.02:
				t.Errorf("%s, λ %g: embeddings add %.3f", name, lambda, seen-blind)
			}
		}
	}
}

func TestLearnableRefuses(t *testing.T) {
	env := newClusters(12, 20, 1)
	logged := env.trace(2, 0)
	reward := rewardOf(logged, true)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for want, call := range map[string]func() error{
		"at least 10 are needed": func() error {
			_, err := Learnable(context.Background(), env.shape, logged[:6], nil, reward, []float64{0}, 1, nil)
			return err
		},
		"1 labels for 40": func() error {
			_, err := Learnable(context.Background(), env.shape, logged, []string{"a"}, reward, []float64{0}, 1, nil)
			return err
		},
		"context canceled": func() error {
			_, err := Learnable(gone, env.shape, logged, nil, reward, []float64{0}, 1, nil)
			return err
		},
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
