package router

import (
	"context"
	"fmt"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/router/internal/routertest"
)

// clusters is the task of package routertest as an environment.
type clusters struct {
	*routertest.Clusters
	shape Shape
	fail  func(question int) bool
}

func newClusters(dim, questions int, seed uint64) *clusters {
	return &clusters{Clusters: routertest.NewClusters(dim, questions, seed), shape: five(dim)}
}

// withAnswer is the task with a sixth module and signals.
func withAnswer(dim, questions int, seed uint64) *clusters {
	return &clusters{Clusters: routertest.NewAnswers(dim, questions, seed), shape: six(dim)}
}

func (c *clusters) Play(ctx context.Context, i int, p Policy) (Outcome, error) {
	if c.fail != nil && c.fail(i) {
		return Outcome{}, fmt.Errorf("question %d: %w", i, ErrFailed)
	}
	choices, err := c.Clusters.Play(i, func(m int, query, memory []float32, signals map[string]float64) (int, error) {
		return p.Decide(ctx, State{Question: fmt.Sprint(i), Module: m, Query: query, Signals: signals,
			Memory: func(context.Context) ([]float32, error) { return memory, nil }})
	})
	if err != nil {
		return Outcome{}, err
	}
	score, dollars := c.Outcome(i, choices)
	return Outcome{Score: score, Dollars: dollars}, nil
}

// oracle is the mean over questions of the best return at λ, and static the best mean of one combination for all.
func (c *clusters) oracle(r *Reward, lambda float64) (oracle, static float64) {
	all, _ := c.shape.Modules.Combinations()
	return c.Best(all, func(score, dollars float64) float64 { return r.Return(Outcome{score, dollars}, lambda) })
}

// earned is the mean return of a policy at λ.
func earned(t testing.TB, env Environment, p Policy, r *Reward, lambda float64) float64 {
	t.Helper()
	results, err := Play(context.Background(), env, p, 4)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, o := range results.Outcomes {
		sum += r.Return(o, lambda)
	}
	return sum / float64(len(results.Outcomes))
}

func train(t testing.TB, be *backend.Backend, env Environment, shape Shape, cfg Config) (*Trainer, []Metrics) {
	t.Helper()
	tr, err := NewTrainer(be, env, shape, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	var all []Metrics
	for !tr.Done() {
		m, err := tr.Step(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return tr, all
}

// One router, trained once by the preset on 120 questions, earns nearly what is possible at every λ, on questions that it
// never saw: with five modules, and with a sixth whose best tier only signals tell.
func TestPPOLearnsClusters(t *testing.T) {
	for name, task := range map[string]func(dim, questions int, seed uint64) *clusters{"five": newClusters, "six": withAnswer} {
		t.Run(name, func(t *testing.T) {
			env := task(24, 120, 1)
			env.shape.Hidden, env.shape.Actor = 64, 32
			cfg := Default()
			if name == "six" {
				cfg.Epochs = 60 // twice the preset's, as there is more to tell apart
			}
			tr, metrics := train(t, routertest.Open(t), env, env.shape, cfg)
			fresh := task(24, 256, 1)
			fresh.Seed = 1 << 32
			r, err := tr.Portable()
			if err != nil {
				t.Fatal(err)
			}
			for _, lambda := range []float64{0, 0.25, 0.5, 1} {
				p, err := NewLearned(r, env.shape.Modules, lambda)
				if err != nil {
					t.Fatal(err)
				}
				oracle, static := fresh.oracle(tr.Reward(), lambda)
				got := earned(t, fresh, p, tr.Reward(), lambda)
				t.Logf("λ %.2f: earned %.3f of the oracle's %.3f (%.1f%%); the best static assignment %.1f%%", lambda, got, oracle, 100*got/oracle, 100*static/oracle)
				if got < 0.95*oracle {
					t.Errorf("λ %.2f: earned %.3f, less than 95%% of the oracle's %.3f", lambda, got, oracle)
				}
				if static > 0.9*oracle {
					t.Errorf("λ %.2f: one assignment for all earns %.3f of %.3f: the task asks for no routing", lambda, static, oracle)
				}
			}
			last := metrics[len(metrics)-1]
			t.Logf("%d updates; last step %+v", last.Updates, last) // BenchmarkUpdate measures the time
		})
	}
}
