// Package frontier compares routers with simpler policies by cost and score on test questions: uniform tiers, random tiers,
// the best static assignment at each λ, and a rule on cue words. The oracle, which knows the outcomes, is an upper bound that no
// policy can be expected to reach.
package frontier

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Options says what is compared.
type Options struct {
	// Static assignments are chosen on Validation; all policies are compared on Test.
	Validation, Test *episodes.Replay
	// Routers are the trained policies, by family.
	Routers []Family
	// Reward computes the returns of all policies; nil means one with alignment that has observed the validation traces.
	Reward *router.Reward
	// Lambdas are the weights of cost at which policies that depend on λ are evaluated; nil means DefaultLambdas. A router is
	// evaluated at the nearest λ of the range that it was trained for.
	Lambdas []float64
	// Seed drives the random policy and the bootstrap. With the seed of the collection, the random policy's combinations are
	// the first ones of the design random:K, and traced.
	Seed int64
	// InFlight is the number of questions asked at one time (default 8).
	InFlight int
	// Progress, if not nil, is called after each of the total evaluations of a policy on a test question, never concurrently.
	Progress func(done, total int)
}

// Family is a set of routers that differ only in the seed of their training.
type Family struct {
	Name  string
	Seeds []*portable.Router
}

// DefaultLambdas returns the λs of a comparison.
func DefaultLambdas() []float64 {
	return []float64{0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1}
}

// curveResamples is the number of bootstrap resamples behind the intervals of curves.
const curveResamples = 1000

// Result is a comparison.
type Result struct {
	Dataset   string `json:"dataset"`
	Split     string `json:"split"`
	Metric    string `json:"metric"`
	Questions int    `json:"questions"`
	// Of is the number of all questions; those on which some policy failed are left out.
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
	// Validated lists the differences of system and data set between validation and test traces; "" if there are none.
	Validated string `json:"validation_differs,omitempty"`
	// Explained decomposes the variance of validation scores where static assignments were found by an estimate.
	Explained *offline.Explained `json:"explained,omitempty"`
	// Modules are the decisions, in the order of the points' shares.
	Modules router.Space `json:"modules"`
	Entries []Entry      `json:"entries"`
	// Verdicts compare each trained family with the best static assignments.
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// Entry is a policy, or a family of policies over λ.
type Entry struct {
	Name string `json:"name"`
	// Unreachable marks the oracle, Trained routers.
	Unreachable bool `json:"unreachable,omitempty"`
	Trained     bool `json:"trained,omitempty"`
	// Seeds is the number of trainings that the entry averages; 1 for policies without training.
	Seeds  int     `json:"seeds"`
	Points []Point `json:"points"`
	// Curve holds measures of the points, means over seeds; the 95 % intervals are over questions and seeds.
	Curve          Curve                 `json:"curve"`
	CurveIntervals map[string][2]float64 `json:"curve_intervals"`
	// AreaVersus is the difference of the area to that of the best static assignments, ReturnVersus that of the mean return
	// over the λs; nil for the static assignments themselves.
	AreaVersus   *Difference `json:"area_versus_static,omitempty"`
	ReturnVersus *Difference `json:"return_versus_static,omitempty"`
	// MeanReturn is the mean return over the λs.
	MeanReturn float64 `json:"mean_return"`
	// Counts says where the outcomes come from.
	Counts episodes.Counts `json:"counts"`
}

// Difference is a mean difference with its 95 % bootstrap intervals [low, high]: over questions with fixed seeds, and over
// questions and seeds.
type Difference struct {
	Mean      float64    `json:"mean"`
	Questions [2]float64 `json:"interval_questions"`
	Seeds     [2]float64 `json:"interval_questions_and_seeds"`
}

// Point is a policy at a λ, with its mean score and dollars per question; Lambda is nil for a policy that does not depend on λ.
type Point struct {
	Name    string         `json:"name"`
	Lambda  *float64       `json:"lambda,omitempty"`
	Score   stats.Interval `json:"score"`
	Dollars float64        `json:"dollars"`
	Return  float64        `json:"return"` // at Lambda
	// Versus is the difference of the return to that of the static assignment of this λ, question by question.
	Versus *stats.Interval `json:"return_versus_static,omitempty"`
	// Shares[m][t] is the share of the questions that requested tier t of module m.
	Shares [][]float64 `json:"shares"`
}

// comparison is a comparison in progress.
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
	// evaluations[seed][point]; lambdas has one λ per point, or is nil.
	evaluations [][]Evaluation
	names       []string
	lambdas     []float64
}

// at returns the evaluation of a seed at the comparison's λ with index l.
func (e *entry) at(seed, l int) Evaluation {
	if e.lambdas == nil {
		return e.evaluations[seed][0] // the policy does not depend on λ
	}
	return e.evaluations[seed][l]
}

// Compare evaluates all policies on the test questions. It changes the replays only by adding episodes that are asked live.
// Missing or unusable traces, a question in both splits, different tiers or embedders, and an ended context (match it with
// errors.Is) are errors.
func Compare(ctx context.Context, o Options) (*Result, error) {
	c := &comparison{Options: o}
	if err := c.prepare(); err != nil {
		return nil, fmt.Errorf("compare policies: %w", err)
	}
	how, err := c.evaluate(ctx)
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
		f, _ := c.Validation.Snapshot()
		if err := f.Usable(); err != nil {
			return err
		}
		c.Reward = f.Reward(true)
	}
	return nil
}

// onTest evaluates a policy on test.
func (c *comparison) onTest(ctx context.Context, p router.Policy) (Evaluation, error) {
	return evaluate(ctx, c.Test, p, c.InFlight, func() {
		if c.Progress != nil {
			c.ticks.Lock()
			defer c.ticks.Unlock()
			c.done++
			c.Progress(c.done, c.policies()*c.Test.Len())
		}
	})
}

// policies is the number of evaluations on test: uniform tiers, the random policy and the rule on cue words; and at each λ the
// static assignment, the oracle and every router.
func (c *comparison) policies() int {
	atEach := 2
	for _, f := range c.Routers {
		atEach += len(f.Seeds)
	}
	return len(c.space.Uniform()) + 2 + atEach*len(c.Lambdas)
}

// evaluate evaluates all policies on test, and says how the static ones were found.
func (c *comparison) evaluate(ctx context.Context) (string, error) {
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
	random, err := router.NewRandomCombination(c.space, c.Seed, 1)
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
	grown, _ := c.Test.Snapshot()
	texts := map[string]string{}
	for _, t := range grown.Episodes {
		texts[t.ID] = t.Question
	}
	for _, id := range c.Test.IDs() {
		texts[id] += "" // a question without episodes has no text, and so no cues
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
	bound, err := c.add(ctx, fmt.Sprintf("oracle, not reachable (K = %s)", known(grown.Stats())), c.Lambdas, policies)
	if err != nil {
		return "", err
	}
	bound.Unreachable = true
	return how, nil
}

// known says from how many known combinations of tiers the oracle chooses for a question.
func known(s episodes.Stats) string {
	if s.Fewest == s.Most {
		return strconv.Itoa(s.Most)
	}
	return fmt.Sprintf("%d to %d", s.Fewest, s.Most)
}

// staticName is the name of the best static assignments.
const staticName = "best static"

// add evaluates the policies of an entry, one per λ if there are λs.
func (c *comparison) add(ctx context.Context, name string, lambdas []float64, policies []router.Policy) (*entry, error) {
	e := &entry{Entry: Entry{Name: name, Seeds: 1}, evaluations: make([][]Evaluation, 1), lambdas: lambdas}
	for _, p := range policies {
		evaluation, err := c.onTest(ctx, p)
		if err != nil {
			return nil, err
		}
		e.evaluations[0] = append(e.evaluations[0], evaluation)
		e.names = append(e.names, p.Name())
		e.Counts = e.Counts.Add(evaluation.Counts)
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
		var row []Evaluation
		for _, lambda := range c.Lambdas {
			p, err := router.NewLearned(r, c.space, min(max(lambda, info.Lambda.Min), info.Lambda.Max))
			if err != nil {
				return fmt.Errorf("family %q: %w", f.Name, err)
			}
			evaluation, err := c.onTest(ctx, p)
			if err != nil {
				return err
			}
			row = append(row, evaluation)
			e.Counts = e.Counts.Add(evaluation.Counts)
			if seed == 0 {
				e.names = append(e.names, fmt.Sprintf("%s@%g", f.Name, lambda))
			}
		}
		e.evaluations = append(e.evaluations, row)
	}
	c.entries = append(c.entries, e)
	return nil
}

// sample is a bootstrap resample of questions and seeds.
type sample struct {
	questions []int
	seeds     *rand.Rand // draws seeds; nil takes each seed once
}
