package router

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/budgetmem/budgetmem/router/portable"
)

// rollout is one question played by the sampling policy: what was decided, on what, and what came of it.
type rollout struct {
	query   []float32
	memory  [][]float32        // by memory embedding; nil counts as zeros
	signals map[string]float64 // of the last module
	lambda  float64
	choices []int     // [modules]
	logProb []float64 // [modules] of the choice
	outcome Outcome
	value   float32 // the return that the critic expected
}

// sampler is the behaviour policy of one rollout: it samples tiers by the router's probabilities and records what it saw.
type sampler struct {
	shape  Shape
	router *portable.Router
	seed   uint64

	mu      sync.Mutex
	seen    []bool // by module
	known   []bool // by memory embedding
	rollout rollout
}

// newSampler makes the policy for one rollout; the seed decides λ and every choice.
func newSampler(shape Shape, cfg Config, r *portable.Router, seed uint64) *sampler {
	modules, memories := len(shape.Modules), shape.Memories()
	return &sampler{shape: shape, router: r, seed: seed, seen: make([]bool, modules), known: make([]bool, memories), rollout: rollout{
		memory: make([][]float32, memories), lambda: cfg.DrawLambda(rand.New(rand.NewPCG(seed, 0))),
		choices: make([]int, modules), logProb: make([]float64, modules)}}
}

// DrawLambda samples the λ of an episode: either end of the range with probability 1/8, else uniformly between them.
func (c Config) DrawLambda(rng *rand.Rand) float64 {
	if c.LambdaMin == c.LambdaMax {
		return c.LambdaMin
	}
	switch rng.IntN(8) {
	case 0:
		return c.LambdaMin
	case 1:
		return c.LambdaMax
	}
	return c.LambdaMin + rng.Float64()*(c.LambdaMax-c.LambdaMin)
}

// Name implements Policy.
func (e *sampler) Name() string { return "sampler" }

// Decide implements Policy.
func (e *sampler) Decide(ctx context.Context, s State) (int, error) {
	memory, err := s.Memory(ctx)
	if err != nil {
		return 0, err
	}
	d := e.router.NewDecider()
	if err := d.Question(s.Query, e.rollout.lambda); err != nil {
		return 0, err
	}
	if err := d.Memory(memory); err != nil {
		return 0, err
	}
	last := s.Module == len(e.shape.Modules)-1
	if last {
		if err := d.Signals(signalValues(e.shape.Signals, s.Signals)); err != nil {
			return 0, err
		}
	}
	logProbs := d.LogProbs(s.Module)
	// Each module has its own random stream, so that modules that run at once do not disturb each other.
	choice := sample(logProbs, rand.New(rand.NewPCG(e.seed, 1+uint64(s.Module))).Float64())

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen[s.Module] {
		return 0, fmt.Errorf("module %s is decided twice in an episode", e.shape.Modules[s.Module].Name)
	}
	at := e.shape.MemoryIndex[s.Module]
	if e.known[at] && !slices.Equal(memory, e.rollout.memory[at]) {
		return 0, fmt.Errorf("module %s should look at memory embedding %d, but looks at another", e.shape.Modules[s.Module].Name, at)
	}
	e.seen[s.Module], e.known[at] = true, true
	e.rollout.query, e.rollout.memory[at] = s.Query, memory
	if last {
		e.rollout.signals = s.Signals
	}
	e.rollout.choices[s.Module], e.rollout.logProb[s.Module] = choice, float64(logProbs[choice])
	return choice, nil
}

// sample returns the index at which the cumulative probability passes u in [0, 1).
func sample(logProbs []float32, u float64) int {
	for i, l := range logProbs[:len(logProbs)-1] {
		if u -= math.Exp(float64(l)); u < 0 {
			return i
		}
	}
	return len(logProbs) - 1
}

// finish returns the rollout once its outcome is known.
func (e *sampler) finish(o Outcome) (rollout, error) {
	if i := slices.Index(e.seen, false); i >= 0 {
		return rollout{}, fmt.Errorf("the environment did not ask for the tier of module %s", e.shape.Modules[i].Name)
	}
	e.rollout.outcome = o
	return e.rollout, nil
}

// seedOf hashes numbers to a seed, so that the randomness of a rollout does not depend on when it is played.
func seedOf(parts ...int64) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		for shift := 0; shift < 64; shift += 8 {
			h.Write([]byte{byte(p >> shift)})
		}
	}
	return h.Sum64()
}
