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
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
)

// comparison is a comparison in progress.
type comparison struct {
	Options
	space   router.Space
	entries []*entry
	keep    []int // questions that no policy failed on
	uniform []*entry
	static  *entry // the best assignment for each λ

	ticks       sync.Mutex         // guards done
	done        int                // questions played on test
	evaluations int                // of policies on test
	explained   *offline.Explained // what validation scores depend on; nil if not known
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
	returns     [][]float64 // [seed][question] sums over the λs; nil until they are needed
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
	if err := c.prepare(ctx); err != nil {
		return nil, fmt.Errorf("compare policies: %w", err)
	}
	how, err := c.evaluate(ctx)
	if err != nil {
		return nil, fmt.Errorf("compare policies: %w", err)
	}
	return c.measure(how)
}

func (c *comparison) prepare(ctx context.Context) error {
	if c.Validation == nil || c.Test == nil {
		return errors.New("Validation and Test are required")
	}
	t := c.Test.Header()
	for name, other := range map[string]*episodes.Replay{"validation": c.Validation, "train": c.Train} {
		if other == nil {
			continue
		}
		o := other.Header()
		if o.Shares(t) && o.DataHash == t.DataHash {
			for _, id := range c.Test.IDs() {
				if slices.Contains(other.IDs(), id) {
					return fmt.Errorf("question %s is in both %s and test: choose settings on other questions than those that are reported", id, name)
				}
			}
		}
		if fmt.Sprint(o.Space) != fmt.Sprint(t.Space) || o.Embedder != t.Embedder {
			return fmt.Errorf("%s has the tiers %v of embedder %s, test %v of %s", name, o.Space, o.Embedder, t.Space, t.Embedder)
		}
	}
	c.space = t.Space
	if c.Lambdas == nil {
		c.Lambdas = DefaultLambdas()
	}
	if c.InFlight < 1 {
		c.InFlight = 8
	}
	if c.Reward == nil {
		if err := c.scale(ctx); err != nil {
			return err
		}
		f, _ := c.Validation.Snapshot()
		if err := f.Usable(); err != nil {
			return err
		}
		c.Reward = f.Reward(true)
	}
	return nil
}

// scale asks the uniform policies on validation where nothing is traced yet: rewards are measured by what was earned and paid there.
func (c *comparison) scale(ctx context.Context) error {
	if f, _ := c.Validation.Snapshot(); len(f.Episodes) > 0 || !c.Validation.CanAsk() {
		return nil
	}
	same, err := uniform(c.space)
	if err != nil {
		return err
	}
	for _, p := range same {
		if _, err := Evaluate(ctx, c.Validation, p, c.InFlight); err != nil {
			return err
		}
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
			c.Progress(c.done, c.evaluations*c.Test.Len())
		}
	})
}

// evaluate evaluates all policies on test, and says how the static ones were found. What is chosen on other questions is chosen first.
func (c *comparison) evaluate(ctx context.Context) (string, error) {
	plans, how, err := c.plan(ctx)
	if err != nil {
		return "", err
	}
	c.evaluations = len(c.Lambdas) // of the oracle
	for _, p := range plans {
		for _, seed := range p.seeds {
			c.evaluations += len(seed)
		}
	}
	for _, p := range plans {
		e, err := c.add(ctx, p)
		if err != nil {
			return "", err
		}
		switch p.kind {
		case uniformKind:
			c.uniform = append(c.uniform, e)
		case staticKind:
			c.static = e
		}
	}
	grown, _ := c.Test.Snapshot()
	bound := plan{name: fmt.Sprintf("oracle, not reachable (K = %s)", known(grown.Stats())), lambdas: c.Lambdas, seeds: make([][]router.Policy, 1)}
	for _, lambda := range c.Lambdas {
		bound.seeds[0] = append(bound.seeds[0], oracle(grown, c.Test.IDs(), c.Reward, lambda))
	}
	e, err := c.add(ctx, bound)
	if err != nil {
		return "", err
	}
	e.Unreachable = true
	return how, nil
}

// plan is an entry to be evaluated: for each seed one policy, or one for each λ.
type plan struct {
	name    string
	kind    kind
	lambdas []float64
	seeds   [][]router.Policy
}

// kind marks the entries that have a part in the comparison's measures.
type kind int

const (
	otherKind kind = iota
	uniformKind
	staticKind
	trainedKind
)

// plan lists the entries but the oracle, and says how static assignments were found.
func (c *comparison) plan(ctx context.Context) (plans []plan, how string, err error) {
	same, err := uniform(c.space)
	if err != nil {
		return nil, "", err
	}
	one := func(name string, kind kind, p router.Policy) {
		plans = append(plans, plan{name: name, kind: kind, seeds: [][]router.Policy{{p}}})
	}
	for _, p := range same {
		one("uniform "+p.Name(), uniformKind, p)
	}
	random, err := router.NewRandomCombination(c.space, c.Seed, 1)
	if err != nil {
		return nil, "", err
	}
	one("random", otherKind, random)
	best, climbed, how, err := c.bestStatic(ctx)
	if err != nil {
		return nil, "", err
	}
	plans = append(plans, c.statics(staticName, staticKind, best))
	if climbed != nil {
		plans = append(plans, c.statics(climbedName, otherKind, climbed))
	}
	one("cue words", otherKind, cueRule(c.space, c.texts(c.Test)))
	regressions, err := c.regressions()
	if err != nil {
		return nil, "", err
	}
	plans = append(plans, regressions...)
	cascades, err := c.cascades()
	if err != nil {
		return nil, "", err
	}
	plans = append(plans, cascades...)
	for _, f := range c.Cascades {
		p, err := c.cascade(f.Name, f.Calibration)
		if err != nil {
			return nil, "", err
		}
		plans = append(plans, p)
	}
	for _, f := range c.Routers {
		family, err := c.family(ctx, f)
		if err != nil {
			return nil, "", err
		}
		plans = append(plans, family...)
	}
	return plans, how, nil
}

// statics is the entry of one static policy for each λ.
func (c *comparison) statics(name string, kind kind, policies []router.Policy) plan {
	return plan{name: name, kind: kind, lambdas: c.Lambdas, seeds: [][]router.Policy{policies}}
}

// texts has the text of each question of a replay; a question without episodes has none, and so no cues.
func (c *comparison) texts(r *episodes.Replay) map[string]string {
	file, _ := r.Snapshot()
	texts := map[string]string{}
	for _, id := range r.IDs() {
		texts[id] = ""
	}
	for _, t := range file.Episodes {
		texts[t.ID] = t.Question
	}
	return texts
}

// known says from how many known combinations of tiers the oracle chooses for a question.
func known(s episodes.Stats) string {
	if s.Fewest == s.Most {
		return strconv.Itoa(s.Most)
	}
	return fmt.Sprintf("%d to %d", s.Fewest, s.Most)
}

// The names of static assignments: the best ones, and those that a coordinate search finds where the best ones come from an estimate.
const (
	staticName  = "best static"
	climbedName = "static, coordinate search"
)

// add evaluates an entry.
func (c *comparison) add(ctx context.Context, p plan) (*entry, error) {
	e := &entry{Entry: Entry{Name: p.name, Seeds: len(p.seeds), Trained: p.kind == trainedKind}, lambdas: p.lambdas}
	for seed, policies := range p.seeds {
		var row []Evaluation
		for i, policy := range policies {
			evaluation, err := c.onTest(ctx, policy)
			if err != nil {
				return nil, err
			}
			row = append(row, evaluation)
			e.Counts = e.Counts.Add(evaluation.Counts)
			switch {
			case seed > 0:
			case p.lambdas != nil && (p.kind == trainedKind || len(p.seeds) > 1):
				e.names = append(e.names, fmt.Sprintf("%s@%g", p.name, p.lambdas[i]))
			default:
				e.names = append(e.names, policy.Name())
			}
		}
		e.evaluations = append(e.evaluations, row)
	}
	c.entries = append(c.entries, e)
	return e, nil
}

// family is the entry of trained routers, and that of the tiers that each gives most validation questions: what is left of a router
// that looks at nothing.
func (c *comparison) family(ctx context.Context, f Family) ([]plan, error) {
	trained := plan{name: f.Name, kind: trainedKind, lambdas: c.Lambdas}
	modal := plan{name: "modal tiers of " + f.Name, lambdas: c.Lambdas}
	if len(f.Seeds) == 0 {
		return nil, fmt.Errorf("family %q has no routers", f.Name)
	}
	for _, r := range f.Seeds {
		info := r.Info()
		if info.Embedder != c.Test.Header().Embedder {
			return nil, fmt.Errorf("a router of %q was trained on embeddings of %s, the traces are of %s", f.Name, info.Embedder, c.Test.Header().Embedder)
		}
		var policies, modes []router.Policy
		for _, lambda := range c.Lambdas {
			p, err := router.NewLearned(r, c.space, min(max(lambda, info.Lambda.Min), info.Lambda.Max))
			if err != nil {
				return nil, fmt.Errorf("family %q: %w", f.Name, err)
			}
			mode, err := c.mode(ctx, p)
			if err != nil {
				return nil, fmt.Errorf("family %q: %w", f.Name, err)
			}
			policies, modes = append(policies, p), append(modes, mode)
		}
		trained.seeds, modal.seeds = append(trained.seeds, policies), append(modal.seeds, modes)
	}
	return []plan{trained, modal}, nil
}

// mode is the static policy of the tiers that a policy gives most validation questions, module by module; of equal ones the cheapest.
func (c *comparison) mode(ctx context.Context, p router.Policy) (router.Policy, error) {
	evaluation, err := Evaluate(ctx, c.Validation, p, c.InFlight)
	if err != nil {
		return nil, err
	}
	choices := make([]int, len(c.space))
	for m, shares := range evaluation.Shares(c.space) {
		for t, share := range shares {
			if share > shares[choices[m]]+1e-9 { // shares are sums
				choices[m] = t
			}
		}
	}
	return router.NewStatic(c.space, choices)
}

// sample is a bootstrap resample of questions and seeds.
type sample struct {
	questions []int
	seeds     *rand.Rand // draws seeds; nil takes each seed once
}
