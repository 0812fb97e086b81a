package router

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/router/portable"
)

// Environment is where a router earns and spends: questions that can be asked under any policy, live or replayed. It must
// be safe for concurrent use.
type Environment interface {
	// Len is the number of questions.
	Len() int
	// Play asks question i once. It asks p for the tier of every module exactly once, in an order in which each State is
	// known, and gives what the question earned and cost. An error that wraps ErrFailed drops the episode, as when a
	// judge's reply cannot be read; any other ends the training.
	Play(ctx context.Context, i int, p Policy) (Outcome, error)
}

// ErrFailed marks an episode that says nothing about its choices: it is dropped and counted, not taken for a score of 0.
var ErrFailed = errors.New("the episode failed")

// Results are the outcomes of an environment's questions.
type Results struct {
	// Outcomes has one entry a question; those of failed ones are zero and say nothing.
	Outcomes []Outcome
	// Failures has one entry a question, nil where it went well.
	Failures []error
}

// Failed is how many questions failed.
func (r Results) Failed() int {
	n := 0
	for _, err := range r.Failures {
		if err != nil {
			n++
		}
	}
	return n
}

// Play asks every question of an environment once, inFlight at a time.
func Play(ctx context.Context, env Environment, p Policy, inFlight int) (Results, error) {
	all := make([]int, env.Len())
	for i := range all {
		all[i] = i
	}
	return play(ctx, env, all, inFlight, func(int) Policy { return p })
}

// play asks the given questions, the one at place n under policy(n).
func play(ctx context.Context, env Environment, questions []int, inFlight int, policy func(n int) Policy) (Results, error) {
	r := Results{Outcomes: make([]Outcome, len(questions)), Failures: make([]error, len(questions))}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	for n, q := range questions {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("play question %d: %w", q, err)
			}
			o, err := env.Play(ctx, q, policy(n))
			switch {
			case err == nil && !o.valid():
				return fmt.Errorf("play question %d: score %v at %v dollars is no outcome", q, o.Score, o.Dollars)
			case err == nil:
				r.Outcomes[n] = o
			case errors.Is(err, ErrFailed):
				r.Failures[n] = err
			default:
				return fmt.Errorf("play question %d: %w", q, err)
			}
			return nil
		})
	}
	return r, group.Wait()
}

// episode is what one question was decided on, and what was decided.
type episode struct {
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
	episode episode
}

// newExplorer makes the policy for one episode; the seed decides λ and every choice.
func newExplorer(shape Shape, cfg Config, r *portable.Router, seed uint64) *explorer {
	modules, states := len(shape.Modules), shape.states()
	return &explorer{shape: shape, router: r, seed: seed, seen: make([]bool, modules), known: make([]bool, states), episode: episode{
		memory: make([][]float32, states), lambda: cfg.lambda(rand.New(rand.NewPCG(seed, 0))),
		choices: make([]int, modules), logProb: make([]float64, modules)}}
}

// lambda draws an episode's λ.
func (c Config) lambda(rng *rand.Rand) float64 {
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
	if err := d.Question(s.Query, e.episode.lambda); err != nil {
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
	if e.known[state] && !slices.Equal(memory, e.episode.memory[state]) {
		return 0, fmt.Errorf("module %s was said to look at the memory embedding number %d, but looks at another", e.shape.Modules[s.Module].Name, state)
	}
	e.seen[s.Module], e.known[state] = true, true
	e.episode.query, e.episode.memory[state] = s.Query, memory
	e.episode.choices[s.Module], e.episode.logProb[s.Module] = choice, float64(logProbs[choice])
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
func (e *explorer) finish(o Outcome) (episode, error) {
	if i := slices.Index(e.seen, false); i >= 0 {
		return episode{}, fmt.Errorf("the environment did not ask for the tier of module %s", e.shape.Modules[i].Name)
	}
	e.episode.outcome = o
	return e.episode, nil
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
