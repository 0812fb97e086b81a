package offline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/internal/routertest"
	"github.com/budgetmem/budgetmem/router/portable"
)

// clusters is the task of package routertest as an environment.
type clusters struct {
	*routertest.Clusters
	shape router.Shape
}

func newClusters(dim, questions int, seed uint64) *clusters {
	return &clusters{routertest.NewClusters(dim, questions, seed),
		router.Shape{Dim: dim, Embedder: "test", MemoryIndex: routertest.Inputs(), Modules: routertest.Modules()}}
}

// withAnswer is the task with a sixth module and signals.
func withAnswer(dim, questions int, seed uint64) *clusters {
	c := routertest.NewAnswers(dim, questions, seed)
	return &clusters{c, router.Shape{Dim: dim, Embedder: "test", MemoryIndex: c.Inputs(), Modules: c.Modules(), Signals: routertest.Signals()}}
}

func (c *clusters) outcome(question int, choices []int) router.Outcome {
	score, dollars := c.Outcome(question, choices)
	return router.Outcome{Score: score, Dollars: dollars}
}

// oracle is the mean over questions of the best return at λ, and static the best mean of one combination for all.
func (c *clusters) oracle(r *router.Reward, lambda float64) (oracle, static float64) {
	all, _ := c.shape.Modules.Combinations()
	return c.Best(all, func(score, dollars float64) float64 {
		return r.Return(router.Outcome{Score: score, Dollars: dollars}, lambda)
	})
}

// earned is the mean return of a policy at λ.
func (c *clusters) earned(t *testing.T, p router.Policy, r *router.Reward, lambda float64) float64 {
	t.Helper()
	sum := 0.0
	for q := range c.N {
		choices, err := c.Play(q, func(m int, query, memory []float32, signals map[string]float64) (int, error) {
			return p.Decide(t.Context(), router.State{Module: m, Query: query, Signals: signals, Memory: func(context.Context) ([]float32, error) { return memory, nil }})
		})
		if err != nil {
			t.Fatal(err)
		}
		sum += r.Return(c.outcome(q, choices), lambda)
	}
	return sum / float64(c.N)
}

// episodes measures a number of different combinations of every question, drawn uniformly.
func (c *clusters) episodes(combinations int, noise float64) []router.Episode {
	var out []router.Episode
	all, _ := c.shape.Modules.Combinations()
	for q := range c.N {
		rng := rand.New(rand.NewPCG(c.Seed, uint64(q)))
		_, query := c.Query(q)
		for _, i := range rng.Perm(len(all))[:combinations] {
			o := c.outcome(q, all[i])
			e := router.Episode{ID: fmt.Sprint(q), Query: query, Choices: all[i], Score: o.Score + noise*rng.NormFloat64(), ModulesDollars: o.Dollars}
			for s := range c.shape.Memories() {
				_, memory := c.Memory(q, s, all[i][0])
				e.Memory = append(e.Memory, memory)
			}
			if c.Answer {
				_, e.Signals = c.Signals(q)
			}
			out = append(out, e)
		}
	}
	return out
}

// number is the question of an episode of clusters.
func number(t *testing.T, e router.Episode) int {
	t.Helper()
	q, err := strconv.Atoi(e.ID)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func learn(t *testing.T, shape router.Shape, episodes []router.Episode, cfg Config) (*portable.Router, *router.Reward) {
	t.Helper()
	n, reward, err := Learn(context.Background(), routertest.Open(t), episodes, Options{Shape: shape, Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r, err := n.Portable(cfg.Lambdas())
	if err != nil {
		t.Fatal(err)
	}
	return r, reward
}

// 100 questions with 4 of the 162 combinations each (486 with a sixth module, which is decided on signals) are enough to route
// questions that were never seen, far better than any one assignment does.
func TestOfflineLearnsClusters(t *testing.T) {
	for name, task := range map[string]func(dim, questions int, seed uint64) *clusters{"five": newClusters, "six": withAnswer} {
		t.Run(name, func(t *testing.T) {
			env := task(24, 100, 1)
			env.shape.Hidden, env.shape.Actor = 64, 32
			episodes := env.episodes(4, 0.05)
			r, reward := learn(t, env.shape, episodes, DefaultConfig())
			fresh := task(24, 256, 1)
			fresh.Seed = 1 << 32
			for _, lambda := range []float64{0, 0.5, 1} {
				p, err := router.NewLearned(r, env.shape.Modules, lambda)
				if err != nil {
					t.Fatal(err)
				}
				oracle, static := fresh.oracle(reward, lambda)
				got := fresh.earned(t, p, reward, lambda)
				t.Logf("λ %.2f: earned %.1f%% of the oracle's return; the best static assignment %.1f%%", lambda, 100*got/oracle, 100*static/oracle)
				if got < 0.95*oracle || static > 0.9*oracle {
					t.Errorf("λ %.2f: earned %.3f of %.3f, static %.3f", lambda, got, oracle, static)
				}
			}
		})
	}
}

// Where questions differ in nothing that could be known, what is learned is the best assignment for all.
func TestOfflineFallsBackToTheBestStatic(t *testing.T) {
	env := newClusters(8, 60, 2)
	env.shape.Hidden, env.shape.Actor = 32, 16
	best := []int{2, 0, 1, 1, 2}
	episodes := env.episodes(6, 0)
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range episodes {
		o := &episodes[i]
		o.Score = 0.3 * rng.NormFloat64()
		for m, c := range episodes[i].Choices {
			if c == best[m] {
				o.Score += 0.3
			}
		}
	}
	cfg := DefaultConfig()
	cfg.Epochs, cfg.LambdaMax, cfg.LearningRate, cfg.MaxWeight = 20, 0, 1e-2, 0
	r, _ := learn(t, env.shape, episodes, cfg)
	p, err := router.NewLearned(r, env.shape.Modules, 0)
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for _, l := range episodes {
		for m, s := range env.shape.MemoryIndex {
			got, err := p.Decide(context.Background(), router.State{Module: m, Query: l.Query, Memory: func(context.Context) ([]float32, error) { return l.Memory[s], nil }})
			if err != nil {
				t.Fatal(err)
			}
			if got == best[m] {
				right++
			}
		}
	}
	if share := float64(right) / float64(5*len(episodes)); share < 0.9 {
		t.Errorf("the best tier was chosen in %.2f of the decisions", share)
	}
}

// If every combination is measured, the estimates are what was measured, whatever the model predicts.
func TestFullInformation(t *testing.T) {
	env := newClusters(8, 2, 3)
	all, err := env.shape.Modules.Combinations()
	if err != nil {
		t.Fatal(err)
	}
	episodes := env.episodes(len(all), 0.1)
	table, err := newOutcomes(env.shape, episodes, observed(episodes, true), DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]router.Outcome{}
	for _, l := range episodes {
		byKey[key(l)] = l.Outcome()
	}
	for i, l := range episodes {
		for c, choices := range all {
			o := byKey[key(router.Episode{ID: l.ID, Choices: choices})]
			if got, want := float64(table.score[i][c]), table.reward.Scale()*o.Score; math.Abs(got-want) > 1e-5 {
				t.Fatalf("row %d, choices %v: score %v, measured was %v", i, choices, got, want)
			}
			if got, want := float64(table.efficiency[i][c]), table.reward.Efficiency(o.Dollars); math.Abs(got-want) > 1e-5 {
				t.Fatalf("row %d, choices %v: efficiency %v, measured was %v", i, choices, got, want)
			}
		}
	}
}

// The corrections of a design have no bias: over all designs of one combination each, drawn evenly, the corrected
// predictions of a question are on average what is true.
func TestDoublyRobustCorrectionHasNoBias(t *testing.T) {
	env := newClusters(4, 2, 4)
	env.shape.Modules, env.shape.MemoryIndex = env.shape.Modules[:2], env.shape.MemoryIndex[:2]
	all, err := env.shape.Modules.Combinations()
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.MaxWeight = math.Inf(1)
	sum := make([]float64, len(all))
	truth := make([]float64, len(all))
	for drawn := range all {
		var episodes []router.Episode
		for q := range 2 {
			_, query := env.Query(q)
			choices := all[drawn]
			if q == 1 { // another question, always measured in the same way, so that the model predicts the same
				choices = all[0]
			}
			memory := [][]float32{query, query}
			episodes = append(episodes, router.Episode{ID: fmt.Sprint(q), Query: query, Memory: memory, Choices: choices, Score: float64(10*drawn + q)})
		}
		table := &outcomes{shape: env.shape, episodes: episodes, combinations: all}
		model := &GaussianProcess{modules: env.shape.Modules, inputs: env.shape.MemoryIndex, episodes: episodes, question: questionIndices(episodes), gram: grams(env.shape, episodes), alpha: []float64{0, 0}, mean: 3.5}
		rows := table.correct(model, []float64{episodes[0].Score, episodes[1].Score}, cfg)
		for c := range all {
			sum[c] += float64(rows[0][c]) / float64(len(all))
		}
		truth[drawn] = episodes[0].Score
	}
	for c := range all {
		if math.Abs(sum[c]-truth[c]) > 1e-4 {
			t.Errorf("combination %v: corrected to %v on average, true is %v", all[c], sum[c], truth[c])
		}
	}
}

func TestOfflineIsDeterministicAndRefuses(t *testing.T) {
	env := newClusters(12, 40, 3)
	env.shape.Hidden, env.shape.Actor = 32, 16
	episodes := env.episodes(4, 0)
	cfg := DefaultConfig()
	cfg.Epochs = 3
	var files [2][]byte
	for i := range files {
		r, _ := learn(t, env.shape, episodes, cfg)
		var err error
		if files[i], err = r.Marshal(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same traces and seed gave two routers")
	}
	be := routertest.Open(t)
	for want, change := range map[string]func(*router.Shape, *router.Episode, *Config){
		"query of 3 numbers":  func(_ *router.Shape, l *router.Episode, _ *Config) { l.Query = l.Query[:3] },
		"2 memories":          func(_ *router.Shape, l *router.Episode, _ *Config) { l.Memory = l.Memory[:2] },
		"no tier 2":           func(_ *router.Shape, l *router.Episode, _ *Config) { l.Choices = []int{0, 0, 2, 0, 0} },
		"propensity 2":        func(_ *router.Shape, l *router.Episode, _ *Config) { l.Propensity = 2 },
		"dollars -1":          func(_ *router.Shape, l *router.Episode, _ *Config) { l.ModulesDollars = -1 },
		"epochs is 0":         func(_ *router.Shape, _ *router.Episode, c *Config) { c.Epochs = 0 },
		"max_weight is -1":    func(_ *router.Shape, _ *router.Episode, c *Config) { c.MaxWeight = -1 },
		"widths must be at l": func(s *router.Shape, _ *router.Episode, _ *Config) { s.Dim = 0 },
	} {
		shape, changed, c := env.shape, append([]router.Episode(nil), episodes...), cfg
		change(&shape, &changed[1], &c)
		if _, _, err := Learn(context.Background(), be, changed, Options{Shape: shape, Config: c}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	stop := errors.New("enough")
	epochs := 0
	_, _, err := Learn(context.Background(), be, episodes, Options{Shape: env.shape, Config: cfg, AfterEpoch: func(int, *router.Network, float64) error {
		epochs++
		return stop
	}})
	if !errors.Is(err, stop) || epochs != 1 {
		t.Errorf("%d epochs, error %v", epochs, err)
	}
}

// An estimate's variance covers how far it is off, and is smallest for what is measured for every question.
func TestEstimateKnowsWhatItDoesNotKnow(t *testing.T) {
	env := newClusters(8, 60, 1)
	all, err := env.shape.Modules.Combinations()
	if err != nil {
		t.Fatal(err)
	}
	covered, total := 0, 0
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 1))
		effects := make([][]float64, len(env.shape.Modules)) // of each tier, the same for all questions
		for m, module := range env.shape.Modules {
			for range module.Tiers {
				effects[m] = append(effects[m], 0.1*rng.NormFloat64())
			}
		}
		truth := make([]float64, len(all))
		for c, choices := range all {
			for m, tier := range choices {
				truth[c] += effects[m][tier]
			}
		}
		var episodes []router.Episode
		for q := range env.N {
			_, query := env.Query(q)
			for _, c := range []int{0, 1 + rng.IntN(len(all)-1), 1 + rng.IntN(len(all)-1)} {
				l := router.Episode{ID: fmt.Sprint(q), Query: query, Choices: all[c], Score: 0.5 + truth[c] + 0.1*rng.NormFloat64(), ModulesDollars: 1}
				for range env.shape.Memories() {
					l.Memory = append(l.Memory, query)
				}
				episodes = append(episodes, l)
			}
		}
		estimates, err := EstimateCombinations(env.shape, episodes, observed(episodes, true))
		if err != nil {
			t.Fatal(err)
		}
		values := estimates.Combinations
		alpha := observed(episodes, true).Scale()
		for c, v := range values[1:] {
			if v.ScoreVariance < values[0].ScoreVariance {
				t.Errorf("seed %d: %v, hardly measured, has a smaller variance than %v", seed, v.Choices, values[0].Choices)
			}
			if v.LowerBound(0) >= v.Return(0) {
				t.Errorf("seed %d: %v is at least %v, on average %v", seed, v.Choices, v.LowerBound(0), v.Return(0))
			}
			off := (v.Score - values[0].Score) - alpha*(truth[c+1]-truth[0])
			if total++; math.Abs(off) < 2*math.Sqrt(v.ScoreVariance+values[0].ScoreVariance) {
				covered++
			}
		}
	}
	if share := float64(covered) / float64(total); share < 0.9 {
		t.Errorf("two standard deviations cover %.0f %% of the estimates' errors", 100*share)
	}
}

// What outcomes are made of is found in them.
func TestExplained(t *testing.T) {
	env := newClusters(8, 60, 1)
	explained := func(score func(episodes router.Episode, rng *rand.Rand) float64) Explained {
		t.Helper()
		episodes := env.episodes(5, 0)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range episodes {
			episodes[i].Score = score(episodes[i], rng)
		}
		estimates, err := EstimateCombinations(env.shape, episodes, observed(episodes, true))
		if err != nil {
			t.Fatal(err)
		}
		e := estimates.Scores
		if sum := e.Question + e.Tiers + e.TiersByQuestion + e.Rest; math.Abs(sum-1) > 1e-9 {
			t.Errorf("%+v add up to %v", e, sum)
		}
		return e
	}
	levels := make([]float64, env.N)
	rng := rand.New(rand.NewPCG(5, 5))
	for q := range levels {
		levels[q] = rng.NormFloat64()
	}
	if e := explained(func(l router.Episode, rng *rand.Rand) float64 { return levels[number(t, l)] + 0.05*rng.NormFloat64() }); e.Question < 0.8 {
		t.Errorf("only the question matters: %+v", e)
	}
	if e := explained(func(l router.Episode, rng *rand.Rand) float64 { return float64(l.Choices[0]) + 0.05*rng.NormFloat64() }); e.Tiers < 0.5 || e.TiersByQuestion > 0.3 {
		t.Errorf("only the filter's tier matters: %+v", e)
	}
	if e := explained(func(_ router.Episode, rng *rand.Rand) float64 { return rng.NormFloat64() }); e.Rest < 0.6 {
		t.Errorf("only noise matters: %+v", e)
	}
	if e := explained(func(l router.Episode, _ *rand.Rand) float64 { return env.outcome(number(t, l), l.Choices).Score }); e.TiersByQuestion < e.Tiers || e.TiersByQuestion < 0.3 {
		t.Errorf("tiers earn by the question's cluster: %+v", e)
	}
}

// Settings of offline learning are its own and those that it shares.
func TestConfigSet(t *testing.T) {
	c := DefaultConfig()
	if err := errors.Join(c.Set("max_weight=0.5"), c.Merge([]byte(`{"seed": 7}`))); err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.MaxWeight, want.Seed = 0.5, 7
	if c != want {
		t.Errorf("settings %+v, want %+v", c, want)
	}
	if err := c.Set("max_wait=1"); err == nil || c != want {
		t.Errorf("an unknown setting was taken (%v)", err)
	}
}
