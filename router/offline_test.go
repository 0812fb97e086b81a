package router

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/router/portable"
)

// trace logs so many different combinations of every question, drawn evenly.
func (c *clusters) trace(combinations int, noise float64) []Logged {
	var out []Logged
	all, _ := c.shape.Modules.Combinations()
	for q := range c.n {
		rng := rand.New(rand.NewPCG(c.seed, uint64(q)))
		_, query := c.query(q)
		for _, i := range rng.Perm(len(all))[:combinations] {
			l := Logged{Question: q, Query: query, Choices: all[i], Outcome: c.outcome(q, all[i])}
			l.Outcome.Score += noise * rng.NormFloat64()
			for s := range c.shape.states() {
				_, memory := c.state(q, s, all[i][0])
				l.Memory = append(l.Memory, memory)
			}
			out = append(out, l)
		}
	}
	return out
}

func learnOffline(t *testing.T, shape Shape, logged []Logged, cfg OfflineConfig) (*portable.Router, *Reward) {
	t.Helper()
	n, reward, err := LearnOffline(context.Background(), open(t), shape, logged, cfg, nil, nil)
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

// 100 questions with 4 of the 162 combinations each are enough to route questions that were never seen, far better than
// any one assignment does.
func TestOfflineLearnsClusters(t *testing.T) {
	env := newClusters(24, 100, 1)
	env.shape.Hidden, env.shape.Actor = 64, 32
	logged := env.trace(4, 0.05)
	r, reward := learnOffline(t, env.shape, logged, DefaultOffline())
	fresh := newClusters(24, 256, 1)
	fresh.seed = 1 << 32
	for _, lambda := range []float64{0, 0.5, 1} {
		p, err := NewLearned(r, env.shape.Modules, lambda)
		if err != nil {
			t.Fatal(err)
		}
		oracle, static := fresh.oracle(reward, lambda)
		got := earned(t, fresh, p, reward, lambda)
		t.Logf("λ %.2f: earned %.1f%% of the oracle's return; the best static assignment %.1f%%", lambda, 100*got/oracle, 100*static/oracle)
		if got < 0.95*oracle || static > 0.9*oracle {
			t.Errorf("λ %.2f: earned %.3f of %.3f, static %.3f", lambda, got, oracle, static)
		}
	}
}

// Where questions differ in nothing that could be known, what is learned is the best assignment for all.
func TestOfflineFallsBackToTheBestStatic(t *testing.T) {
	env := newClusters(8, 60, 2)
	env.shape.Hidden, env.shape.Actor = 32, 16
	best := []int{2, 0, 1, 1, 2}
	logged := env.trace(6, 0)
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range logged {
		o := &logged[i].Outcome
		o.Score = 0.3 * rng.NormFloat64()
		for m, c := range logged[i].Choices {
			if c == best[m] {
				o.Score += 0.3
			}
		}
	}
	cfg := DefaultOffline()
	cfg.Epochs, cfg.LambdaMax, cfg.LearningRate, cfg.MaxWeight = 20, 0, 1e-2, 0
	r, _ := learnOffline(t, env.shape, logged, cfg)
	p, err := NewLearned(r, env.shape.Modules, 0)
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for _, l := range logged {
		for m, s := range env.shape.States {
			got, err := p.Decide(context.Background(), State{Module: m, Query: l.Query, Memory: func(context.Context) ([]float32, error) { return l.Memory[s], nil }})
			if err != nil {
				t.Fatal(err)
			}
			if got == best[m] {
				right++
			}
		}
	}
	if share := float64(right) / float64(5*len(logged)); share < 0.9 {
		t.Errorf("the best tier was chosen in %.2f of the decisions", share)
	}
}

// With every combination traced, the table is what was traced, whatever the model predicts.
func TestFullInformation(t *testing.T) {
	env := newClusters(8, 2, 3)
	all, err := env.shape.Modules.Combinations()
	if err != nil {
		t.Fatal(err)
	}
	logged := env.trace(len(all), 0.1)
	table, err := newTable(env.shape, logged, rewardOf(logged, true), DefaultOffline())
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string]Outcome{}
	for _, l := range logged {
		byKey[l.key()] = l.Outcome
	}
	for i, l := range logged {
		for c, choices := range all {
			o := byKey[Logged{Question: l.Question, Choices: choices}.key()]
			if got, want := float64(table.score[i][c]), table.reward.Scale()*o.Score; math.Abs(got-want) > 1e-5 {
				t.Fatalf("row %d, choices %v: score %v, traced was %v", i, choices, got, want)
			}
			if got, want := float64(table.efficiency[i][c]), table.reward.Efficiency(o.Dollars); math.Abs(got-want) > 1e-5 {
				t.Fatalf("row %d, choices %v: efficiency %v, traced was %v", i, choices, got, want)
			}
		}
	}
}

// The corrections of a design have no bias: over all designs of one combination each, drawn evenly, the corrected
// predictions of a question are on average what is true.
func TestDoublyRobustCorrectionHasNoBias(t *testing.T) {
	env := newClusters(4, 2, 4)
	env.shape.Modules, env.shape.States = env.shape.Modules[:2], env.shape.States[:2]
	all, err := env.shape.Modules.Combinations()
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultOffline()
	cfg.MaxWeight = math.Inf(1)
	sum := make([]float64, len(all))
	truth := make([]float64, len(all))
	for drawn := range all {
		var logged []Logged
		for q := range 2 {
			_, query := env.query(q)
			choices := all[drawn]
			if q == 1 { // another question, always traced in the same way, so that the model predicts the same
				choices = all[0]
			}
			memory := [][]float32{query, query}
			logged = append(logged, Logged{Question: q, Query: query, Memory: memory, Choices: choices, Outcome: Outcome{Score: float64(10*drawn + q)}})
		}
		table := &table{shape: env.shape, logged: logged, combinations: all}
		model := &outcomeModel{space: env.shape.Modules, states: env.shape.States, logged: logged, gram: grams(env.shape, logged), alpha: []float64{0, 0}, mean: 3.5}
		rows := table.correct(model, []float64{logged[0].Outcome.Score, logged[1].Outcome.Score}, cfg)
		for c := range all {
			sum[c] += float64(rows[0][c]) / float64(len(all))
		}
		truth[drawn] = logged[0].Outcome.Score
	}
	for c := range all {
		if math.Abs(sum[c]-truth[c]) > 1e-4 {
			t.Errorf("combination %v: corrected to %v on average, true is %v", all[c], sum[c], truth[c])
		}
	}
}

func TestOfflineIsDeterministicAndRefuses(t *testing.T) {
	env := smallTask()
	logged := env.trace(4, 0)
	cfg := DefaultOffline()
	cfg.Epochs = 3
	var files [2][]byte
	for i := range files {
		r, _ := learnOffline(t, env.shape, logged, cfg)
		var err error
		if files[i], err = r.Marshal(); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same traces and seed gave two routers")
	}
	be := open(t)
	for want, change := range map[string]func(*Shape, *Logged, *OfflineConfig){
		"query of 3 numbers":  func(_ *Shape, l *Logged, _ *OfflineConfig) { l.Query = l.Query[:3] },
		"2 memories":          func(_ *Shape, l *Logged, _ *OfflineConfig) { l.Memory = l.Memory[:2] },
		"no tier 2":           func(_ *Shape, l *Logged, _ *OfflineConfig) { l.Choices = []int{0, 0, 2, 0, 0} },
		"propensity 2":        func(_ *Shape, l *Logged, _ *OfflineConfig) { l.Propensity = 2 },
		"dollars -1":          func(_ *Shape, l *Logged, _ *OfflineConfig) { l.Outcome.Dollars = -1 },
		"epochs is 0":         func(_ *Shape, _ *Logged, c *OfflineConfig) { c.Epochs = 0 },
		"max_weight is -1":    func(_ *Shape, _ *Logged, c *OfflineConfig) { c.MaxWeight = -1 },
		"widths must be at l": func(s *Shape, _ *Logged, _ *OfflineConfig) { s.Dim = 0 },
	} {
		shape, changed, c := env.shape, append([]Logged(nil), logged...), cfg
		change(&shape, &changed[1], &c)
		if _, _, err := LearnOffline(context.Background(), be, shape, changed, c, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	stop := errors.New("enough")
	epochs := 0
	_, _, err := LearnOffline(context.Background(), be, env.shape, logged, cfg, nil, func(int, *Network, float64) error {
		epochs++
		return stop
	})
	if !errors.Is(err, stop) || epochs != 1 {
		t.Errorf("%d epochs, error %v", epochs, err)
	}
}

// An estimate's variance covers how far it is off, and is smallest for what is traced for every question.
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
		var logged []Logged
		for q := range env.n {
			_, query := env.query(q)
			for _, c := range []int{0, 1 + rng.IntN(len(all)-1), 1 + rng.IntN(len(all)-1)} {
				l := Logged{Question: q, Query: query, Choices: all[c], Outcome: Outcome{Score: 0.5 + truth[c] + 0.1*rng.NormFloat64(), Dollars: 1}}
				for range env.shape.states() {
					l.Memory = append(l.Memory, query)
				}
				logged = append(logged, l)
			}
		}
		estimates, err := EstimateCombinations(env.shape, logged, rewardOf(logged, true))
		if err != nil {
			t.Fatal(err)
		}
		values := estimates.Combinations
		alpha := rewardOf(logged, true).Scale()
		for c, v := range values[1:] {
			if v.ScoreVariance < values[0].ScoreVariance {
				t.Errorf("seed %d: %v, hardly traced, is held to be surer than %v", seed, v.Choices, values[0].Choices)
			}
			if v.AtLeast(0) >= v.Return(0) {
				t.Errorf("seed %d: %v is at least %v, on average %v", seed, v.Choices, v.AtLeast(0), v.Return(0))
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
	explained := func(score func(logged Logged, rng *rand.Rand) float64) Explained {
		t.Helper()
		logged := env.trace(5, 0)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range logged {
			logged[i].Outcome.Score = score(logged[i], rng)
		}
		estimates, err := EstimateCombinations(env.shape, logged, rewardOf(logged, true))
		if err != nil {
			t.Fatal(err)
		}
		e := estimates.Scores
		if sum := e.Question + e.Tiers + e.TiersByQuestion + e.Rest; math.Abs(sum-1) > 1e-9 {
			t.Errorf("%+v add up to %v", e, sum)
		}
		return e
	}
	levels := make([]float64, env.n)
	rng := rand.New(rand.NewPCG(5, 5))
	for q := range levels {
		levels[q] = rng.NormFloat64()
	}
	if e := explained(func(l Logged, rng *rand.Rand) float64 { return levels[l.Question] + 0.05*rng.NormFloat64() }); e.Question < 0.8 {
		t.Errorf("only the question matters: %+v", e)
	}
	if e := explained(func(l Logged, rng *rand.Rand) float64 { return float64(l.Choices[0]) + 0.05*rng.NormFloat64() }); e.Tiers < 0.5 || e.TiersByQuestion > 0.3 {
		t.Errorf("only the filter's tier matters: %+v", e)
	}
	if e := explained(func(_ Logged, rng *rand.Rand) float64 { return rng.NormFloat64() }); e.Rest < 0.6 {
		t.Errorf("only chance matters: %+v", e)
	}
	if e := explained(func(l Logged, _ *rand.Rand) float64 { return env.outcome(l.Question, l.Choices).Score }); e.TiersByQuestion < e.Tiers || e.TiersByQuestion < 0.3 {
		t.Errorf("tiers earn by the question's cluster: %+v", e)
	}
}
