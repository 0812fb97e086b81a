package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/backend"
)

// clusters is a made-up task with a known best policy. A question belongs to a cluster, which its query shows, and its
// memories to one each, which shows in their embedding. What a tier of a module earns depends on the cluster that the
// module sees, and dearer tiers cost four times as much each.
type clusters struct {
	shape   Shape
	centres [][]float32
	gain    [][][]float64 // module, cluster, tier → score
	seed    uint64
	n       int
	fail    func(question int) bool
}

const numClusters = 4

func newClusters(dim, questions int, seed uint64) *clusters {
	rng := rand.New(rand.NewPCG(seed, 9))
	c := &clusters{shape: five(dim), seed: seed, n: questions}
	for range numClusters {
		c.centres = append(c.centres, vector(rng, dim))
	}
	for _, m := range c.shape.Modules {
		gain := make([][]float64, numClusters)
		for k := range gain {
			gain[k] = make([]float64, len(m.Tiers))
			gain[k][rng.IntN(len(m.Tiers))] = 0.2 // one tier earns, the others nothing
		}
		c.gain = append(c.gain, gain)
	}
	return c
}

// state gives what module m sees of a question: a cluster and an embedding near its centre. Modules of one state see the
// same; what the last state is depends on the first module's choice, as a summary depends on the filter.
func (c *clusters) state(question, state, first int) (cluster int, memory []float32) {
	if state < 2 {
		first = 0
	}
	rng := rand.New(rand.NewPCG(c.seed+uint64(question), uint64(10*state+first)))
	cluster = rng.IntN(numClusters)
	return cluster, c.near(rng, cluster)
}

func (c *clusters) near(rng *rand.Rand, cluster int) []float32 {
	v := vector(rng, c.shape.Dim)
	for i := range v {
		v[i] = c.centres[cluster][i] + 0.3*v[i]
	}
	return v
}

func (c *clusters) query(question int) (cluster int, query []float32) {
	rng := rand.New(rand.NewPCG(c.seed+uint64(question), 1000))
	cluster = rng.IntN(numClusters)
	return cluster, c.near(rng, cluster)
}

// sees is the cluster that decides what module m earns: the memory's for the first and the last module, the query's for others.
func (c *clusters) sees(question, m, first int) int {
	if m == 0 || m == len(c.shape.Modules)-1 {
		cluster, _ := c.state(question, c.shape.States[m], first)
		return cluster
	}
	cluster, _ := c.query(question)
	return cluster
}

func (c *clusters) outcome(question int, choices []int) Outcome {
	o := Outcome{Dollars: 1e-4}
	for m, t := range choices {
		o.Score += c.gain[m][c.sees(question, m, choices[0])][t]
		o.Dollars += []float64{1e-4, 4e-4, 16e-4}[t]
	}
	return o
}

func (c *clusters) Len() int { return c.n }

func (c *clusters) Play(ctx context.Context, i int, p Policy) (Outcome, error) {
	if c.fail != nil && c.fail(i) {
		return Outcome{}, fmt.Errorf("question %d: %w", i, ErrFailed)
	}
	choices := make([]int, len(c.shape.Modules))
	_, query := c.query(i)
	for m := range choices {
		_, memory := c.state(i, c.shape.States[m], choices[0])
		t, err := p.Decide(ctx, State{Question: fmt.Sprint(i), Module: m, Query: query,
			Memory: func(context.Context) ([]float32, error) { return memory, nil }})
		if err != nil {
			return Outcome{}, err
		}
		choices[m] = t
	}
	return c.outcome(i, choices), nil
}

// oracle is the mean over questions of the best return at λ, and static the best mean of one combination for all.
func (c *clusters) oracle(r *Reward, lambda float64) (oracle, static float64) {
	totals := map[int]float64{}
	for q := range c.n {
		best := -1.0
		all, _ := c.shape.Modules.Combinations()
		for i, choices := range all {
			value := r.Return(c.outcome(q, choices), lambda)
			best = max(best, value)
			totals[i] += value
		}
		oracle += best / float64(c.n)
	}
	for _, total := range totals {
		static = max(static, total/float64(c.n))
	}
	return oracle, static
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
	tr, err := NewTrainer(be, env, shape, cfg, nil)
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
// never saw.
func TestPPOLearnsClusters(t *testing.T) {
	start := time.Now()
	env := newClusters(24, 120, 1)
	env.shape.Hidden, env.shape.Actor = 64, 32
	tr, metrics := train(t, open(t), env, env.shape, Default())
	took := time.Since(start)
	fresh := newClusters(24, 256, 1)
	fresh.seed = 1 << 32
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
	t.Logf("%v for %d updates; last step %+v", took, last.Updates, last)
	if took > time.Minute {
		t.Errorf("training took %v", took)
	}
}
