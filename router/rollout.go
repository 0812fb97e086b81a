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

// rollout is what one question was decided on, and what was decided.
type rollout struct {
	query   []float32
	memory  [][]float32 // one a state; nil counts as zeros
	lambda  float64
	choices []int     // one a module
	logProb []float64 // one a module, of the choice
	outcome Outcome
	value   float32 // what the critic expected it to return
}

// explorer is the policy that plays an episode: it draws tiers by the router's chances and notes what it saw.
type explorer struct {
	shape  Shape
	router *portable.Router
	seed   uint64

	mu      sync.Mutex
	seen    []bool // by module
	known   []bool // by state
	rollout rollout
}

// newExplorer makes the policy for one episode; the seed decides λ and every choice.
func newExplorer(shape Shape, cfg Config, r *portable.Router, seed uint64) *explorer {
	modules, states := len(shape.Modules), shape.Memories()
	return &explorer{shape: shape, router: r, seed: seed, seen: make([]bool, modules), known: make([]bool, states), rollout: rollout{
		memory: make([][]float32, states), lambda: cfg.DrawLambda(rand.New(rand.NewPCG(seed, 0))),
		choices: make([]int, modules), logProb: make([]float64, modules)}}
}

// DrawLambda draws an episode's λ.
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
func (e *explorer) Name() string { return "explorer" }

// Decide implements Policy.
func (e *explorer) Decide(ctx context.Context, s State) (int, error) {
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
	logProbs := d.LogProbs(s.Module)
	// A stream for each module: modules that run at once must not take each other's draws.
	choice := draw(logProbs, rand.New(rand.NewPCG(e.seed, 1+uint64(s.Module))).Float64())

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen[s.Module] {
		return 0, fmt.Errorf("module %s is decided twice in an episode", e.shape.Modules[s.Module].Name)
	}
	state := e.shape.States[s.Module]
	if e.known[state] && !slices.Equal(memory, e.rollout.memory[state]) {
		return 0, fmt.Errorf("module %s was said to look at the memory embedding number %d, but looks at another", e.shape.Modules[s.Module].Name, state)
	}
	e.seen[s.Module], e.known[state] = true, true
	e.rollout.query, e.rollout.memory[state] = s.Query, memory
	e.rollout.choices[s.Module], e.rollout.logProb[s.Module] = choice, float64(logProbs[choice])
	return choice, nil
}

// draw returns the index at which the chances, summed up, pass u in [0, 1).
func draw(logProbs []float32, u float64) int {
	for i, l := range logProbs[:len(logProbs)-1] {
		if u -= math.Exp(float64(l)); u < 0 {
			return i
		}
	}
	return len(logProbs) - 1
}

// finish returns the episode once its outcome is known.
func (e *explorer) finish(o Outcome) (rollout, error) {
	if i := slices.Index(e.seen, false); i >= 0 {
		return rollout{}, fmt.Errorf("the environment did not ask for the tier of module %s", e.shape.Modules[i].Name)
	}
	e.rollout.outcome = o
	return e.rollout, nil
}

// seedOf mixes numbers into a seed, so that each episode's chance depends on what it is and not on when it is played.
func seedOf(parts ...int64) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		for shift := 0; shift < 64; shift += 8 {
			h.Write([]byte{byte(p >> shift)})
		}
	}
	return h.Sum64()
}
