// Package frontier compares routers with everything simpler, by what each costs and earns on questions that none of them was
// made on: uniform tiers, random ones, the best static assignment for each λ, a rule on cue words, and, as a bound that
// nothing can be expected to reach, the best choice of each question in hindsight.
package frontier

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Options says what is compared.
type Options struct {
	// Validation is what static assignments are chosen on, Test what all policies are compared on.
	Validation, Test *episodes.Replay
	// Routers are the trained ones, by family.
	Routers []Family
	// Reward measures returns, for all policies alike; nil takes one with alignment that has seen the traces of validation.
	Reward *router.Reward
	// Lambdas are the weights of cost that policies which know λ are asked at; nil means DefaultLambdas. Routers that were
	// trained for one λ, or a smaller range, are asked within it.
	Lambdas []float64
	// Seed drives the random policy and the bootstrap. With the seed that the traces were collected with, the random policy is
	// the design's first one, and traced.
	Seed int64
	// InFlight is how many questions are played at once (default 8).
	InFlight int
	// Progress, if not nil, is called after each question that a policy was played on, of so many; never twice at one time. What is
	// played to find static assignments does not count.
	Progress func(done, of int)
}

// Family is routers that differ in the seed of their training only.
type Family struct {
	Name  string
	Seeds []*portable.Router
}

// DefaultLambdas are those of the comparison.
func DefaultLambdas() []float64 {
	return []float64{0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1}
}

// Resamples is how many bootstrap resamples the intervals of curves are made of.
const Resamples = 1000

// Result is a comparison.
type Result struct {
	Dataset   string `json:"dataset"`
	Split     string `json:"split"`
	Metric    string `json:"metric"`
	Questions int    `json:"questions"`
	// Of is how many questions there are; those on which some policy failed are left out.
	Of      int            `json:"of"`
	Seed    int64          `json:"seed"`
	Lambdas []float64      `json:"lambdas"`
	System  map[string]any `json:"system,omitempty"`
	// Scale is the reward's α.
	Scale float64 `json:"reward_scale"`
	// Weak and Strong are the policies that curves are measured between.
	Weak   string `json:"weak"`
	Strong string `json:"strong"`
	// StaticSearch says how the static assignments were found.
	StaticSearch string `json:"static_search"`
	// Validated says in what the validation traces differ from the test traces beside the split; "" where it is the same system asked
	// questions of the same data set.
	Validated string `json:"validation_differs,omitempty"`
	// Explained says what the validation scores depend on, where static assignments were found by an estimate.
	Explained *offline.Explained `json:"explained,omitempty"`
	// Modules are the decisions, which the points' shares are of.
	Modules router.Space `json:"modules"`
	Entries []Entry      `json:"entries"`
}

// Entry is a policy, or a family of policies over λ.
type Entry struct {
	Name string `json:"name"`
	// Unreachable marks the oracle, Trained routers.
	Unreachable bool `json:"unreachable,omitempty"`
	Trained     bool `json:"trained,omitempty"`
	// Seeds is how many trainings the entry is the mean of; 1 for what is not trained.
	Seeds  int     `json:"seeds"`
	Points []Point `json:"points"`
	// Curve has the measures of the points, the mean over seeds; intervals are over questions and seeds.
	Curve          Curve                 `json:"curve"`
	CurveIntervals map[string][2]float64 `json:"curve_intervals"`
	// AreaVersus is the difference of the area to that of the best static assignments, with its interval over questions and
	// seeds, and Return that of the mean return over the λs; nil for the static ones themselves.
	AreaVersus   *Difference `json:"area_versus_static,omitempty"`
	ReturnVersus *Difference `json:"return_versus_static,omitempty"`
	// MeanReturn is the mean return over the λs.
	MeanReturn float64 `json:"mean_return"`
	// Counts says how the outcomes came about.
	Counts episodes.Counts `json:"counts"`
}

// Difference is one with 95 % bootstrap intervals: over questions with the seeds as they are, and over questions and seeds.
type Difference struct {
	Mean      float64    `json:"mean"`
	Questions [2]float64 `json:"interval_questions"`
	Seeds     [2]float64 `json:"interval_questions_and_seeds"`
}

// Point is a policy at a λ; Lambda is nil where the policy knows none.
type Point struct {
	Name    string         `json:"name"`
	Lambda  *float64       `json:"lambda,omitempty"`
	Score   stats.Interval `json:"score"`
	Dollars float64        `json:"dollars"`
	Return  float64        `json:"return"` // at Lambda
	// Versus is the difference of the return to that of the static assignment of this λ, question by question.
	Versus *stats.Interval `json:"return_versus_static,omitempty"`
	// Shares[m][t] is the share of the questions that asked for tier t in module m.
	Shares [][]float64 `json:"shares"`
}

// comparison is one under way.
type comparison struct {
	Options
	space   router.Space
	entries []*entry
	keep    []int // questions that no policy failed on
	uniform []*entry
	static  *entry // the best assignment for each λ

	ticks     sync.Mutex         // guards done
	done      int                // questions played on test
	explained *offline.Explained // what validation scores depend on; nil if not known
	// The cheapest and the dearest uniform policy.
	weak, strong *entry
}

// entry is a policy's outcomes.
type entry struct {
	Entry
	// played[seed][point]; lambdas has one λ a point, or is nil.
	played  [][]Played
	names   []string
	lambdas []float64
}

// at returns the outcomes of a seed at the λ number l of the comparison.
func (e *entry) at(seed, l int) Played {
	if e.lambdas == nil {
		return e.played[seed][0] // a policy that knows no λ; entries of several points are split
	}
	return e.played[seed][l]
}

// Compare plays all policies on test and measures them. It changes no trace except by adding what was asked live.
func Compare(ctx context.Context, o Options) (*Result, error) {
	c := &comparison{Options: o}
	if err := c.prepare(); err != nil {
		return nil, fmt.Errorf("compare policies: %w", err)
	}
	how, err := c.play(ctx)
	if err != nil {
		return nil, fmt.Errorf("compare policies: %w", err)
	}
	return c.measure(how)
}

func (c *comparison) prepare() error {
	if c.Validation == nil || c.Test == nil {
		return errors.New("Validation and Test are required")
	}
	v, t := c.Validation.Header(), c.Test.Header()
	if v.Split == t.Split && v.DataHash == t.DataHash {
		for _, id := range c.Test.IDs() {
			if slices.Contains(c.Validation.IDs(), id) {
				return fmt.Errorf("question %s is in both validation and test: choose settings on other questions than those that are reported", id)
			}
		}
	}
	c.space = t.Space
	if fmt.Sprint(v.Space) != fmt.Sprint(t.Space) || v.Embedder != t.Embedder {
		return fmt.Errorf("validation has the tiers %v of embedder %s, test %v of %s", v.Space, v.Embedder, t.Space, t.Embedder)
	}
	if c.Lambdas == nil {
		c.Lambdas = DefaultLambdas()
	}
	if c.InFlight < 1 {
		c.InFlight = 8
	}
	if c.Reward == nil {
		f, _ := c.Validation.Grown()
		if err := f.Usable(); err != nil {
			return err
		}
		c.Reward = f.Reward(true)
	}
	return nil
}

// onTest plays a policy on test.
func (c *comparison) onTest(ctx context.Context, p router.Policy) (Played, error) {
	return play(ctx, c.Test, p, c.InFlight, func() {
		if c.Progress != nil {
			c.ticks.Lock()
			defer c.ticks.Unlock()
			c.done++
			c.Progress(c.done, c.policies()*c.Test.Len())
		}
	})
}

// policies counts what is played on test: uniform tiers, the random policy, the rule on cue words; and at each λ the static
// assignment, the oracle and every router.
func (c *comparison) policies() int {
	atEach := 2
	for _, f := range c.Routers {
		atEach += len(f.Seeds)
	}
	return len(c.space.Uniform()) + 2 + atEach*len(c.Lambdas)
}

// play plays all policies on test, and says how static ones were found.
func (c *comparison) play(ctx context.Context) (string, error) {
	same, err := uniform(c.space)
	if err != nil {
		return "", err
	}
	for _, p := range same {
		e, err := c.add(ctx, "uniform "+p.Name(), nil, []router.Policy{p})
		if err != nil {
			return "", err
		}
		c.uniform = append(c.uniform, e)
	}
	random, err := router.NewShuffled(c.space, c.Seed, 1)
	if err != nil {
		return "", err
	}
	if _, err := c.add(ctx, "random", nil, []router.Policy{random}); err != nil {
		return "", err
	}
	best, how, err := c.bestStatic(ctx)
	if err != nil {
		return "", err
	}
	var policies []router.Policy
	for _, choices := range best {
		p, err := router.NewStatic(c.space, choices)
		if err != nil {
			return "", err
		}
		policies = append(policies, p)
	}
	if c.static, err = c.add(ctx, staticName, c.Lambdas, policies); err != nil {
		return "", err
	}
	grown, _ := c.Test.Grown()
	texts := map[string]string{}
	for _, t := range grown.Traces {
		texts[t.ID] = t.Question
	}
	for _, id := range c.Test.IDs() {
		texts[id] += "" // a question that is not traced is asked without cues
	}
	if _, err := c.add(ctx, "cue words", nil, []router.Policy{cueRule(c.space, texts)}); err != nil {
		return "", err
	}
	for _, f := range c.Routers {
		if err := c.addRouters(ctx, f); err != nil {
			return "", err
		}
	}
	policies = nil
	for _, lambda := range c.Lambdas {
		policies = append(policies, oracle(grown, c.Test.IDs(), c.Reward, lambda))
	}
	bound, err := c.add(ctx, "oracle, not reachable", c.Lambdas, policies)
	if err != nil {
		return "", err
	}
	bound.Unreachable = true
	return how, nil
}

// staticName is what the best static assignments are called.
const staticName = "best static"

// add plays the policies of an entry, one a λ if there are λs.
func (c *comparison) add(ctx context.Context, name string, lambdas []float64, policies []router.Policy) (*entry, error) {
	e := &entry{Entry: Entry{Name: name, Seeds: 1}, played: make([][]Played, 1), lambdas: lambdas}
	for _, p := range policies {
		played, err := c.onTest(ctx, p)
		if err != nil {
			return nil, err
		}
		e.played[0] = append(e.played[0], played)
		e.names = append(e.names, p.Name())
		e.Counts = e.Counts.Add(played.Counts)
	}
	c.entries = append(c.entries, e)
	return e, nil
}

func (c *comparison) addRouters(ctx context.Context, f Family) error {
	e := &entry{Entry: Entry{Name: f.Name, Seeds: len(f.Seeds), Trained: true}, lambdas: c.Lambdas}
	if len(f.Seeds) == 0 {
		return fmt.Errorf("family %q has no routers", f.Name)
	}
	for seed, r := range f.Seeds {
		info := r.Info()
		if info.Embedder != c.Test.Header().Embedder {
			return fmt.Errorf("a router of %q was trained on embeddings of %s, the traces are of %s", f.Name, info.Embedder, c.Test.Header().Embedder)
		}
		var row []Played
		for _, lambda := range c.Lambdas {
			p, err := router.NewLearned(r, c.space, min(max(lambda, info.Lambda.Min), info.Lambda.Max))
			if err != nil {
				return fmt.Errorf("family %q: %w", f.Name, err)
			}
			played, err := c.onTest(ctx, p)
			if err != nil {
				return err
			}
			row = append(row, played)
			e.Counts = e.Counts.Add(played.Counts)
			if seed == 0 {
				e.names = append(e.names, fmt.Sprintf("%s@%g", f.Name, lambda))
			}
		}
		e.played = append(e.played, row)
	}
	c.entries = append(c.entries, e)
	return nil
}

// sample is a bootstrap resample: questions, and a number to draw seeds by.
type sample struct {
	questions []int
	seeds     *rand.Rand // nil takes each seed once
}
