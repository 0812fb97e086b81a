package bmem

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// pipeline is one question's way through the modules: filter, then entity, temporal and topic at once, then summary, then the
// answer. Each module's tier is decided by the policy right before the module runs. A module without tiers does not run.
type pipeline struct {
	observer Observer // nil for none
	set      tiers.Set
	routed   []tiers.Module // the modules that the policy decides on, in the order of its space
	policy   router.Policy
	budget   *budget // nil without a cost limit
	question string  // identifies the question to the policy
	in       tiers.Input
	embedder *meter
	trace    *Trace

	kept  []tiers.Item
	notes tiers.Output // of the summary
}

// run runs the modules up to the notes, and fills the trace.
func (p *pipeline) run(ctx context.Context) error {
	retrieved := p.in.Items
	out, err := p.step(ctx, tiers.Filter, p.in, once(func(context.Context) ([]float32, error) {
		return meanOf(vectors(retrieved)), nil
	}))
	if err != nil {
		return err
	}
	kept := out.Kept
	for _, it := range kept {
		p.trace.Kept = append(p.trace.Kept, found(it.Chunk, it.Relevance))
	}

	p.in.Items = kept
	keptMean := once(func(context.Context) ([]float32, error) { return meanOf(vectors(kept)), nil })
	relations := [...]tiers.Module{tiers.Entity, tiers.Temporal, tiers.Topic}
	var results [len(relations)]result
	group, gctx := errgroup.WithContext(ctx)
	if p.budget != nil {
		group.SetLimit(1) // what one may spend depends on what the one before it has
	}
	for i, m := range relations {
		if len(p.set[m]) == 0 {
			continue
		}
		group.Go(func() error {
			results[i] = p.attempt(gctx, m, p.in, keptMean)
			return results[i].err
		})
	}
	err = group.Wait()
	for _, r := range results {
		p.record(r)
	}
	if err != nil {
		return err
	}
	p.in.Entity, p.in.Temporal, p.in.Topic = results[0].out.Facts, results[1].out.Facts, results[2].out.Facts

	lists := [][]string{p.in.Entity, p.in.Temporal, p.in.Topic}
	p.notes, err = p.step(ctx, tiers.Summary, p.in, once(func(ctx context.Context) ([]float32, error) {
		return p.summaryState(ctx, lists, kept)
	}))
	if err != nil {
		return err
	}
	p.kept = kept
	return nil
}

// summaryState is the mean over the non-empty relation lists of each list's mean embedding, or the kept chunks' mean
// when all lists are empty.
func (p *pipeline) summaryState(ctx context.Context, lists [][]string, kept []tiers.Item) ([]float32, error) {
	var all []string
	for _, list := range lists {
		all = append(all, list...)
	}
	if len(all) == 0 {
		return meanOf(vectors(kept)), nil
	}
	vecs, err := p.embedder.Embed(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("embed %d facts for the summary's decision: %w", len(all), err)
	}
	var means [][]float32
	for _, list := range lists {
		if len(list) > 0 {
			means = append(means, meanOf(vecs[:len(list)]))
			vecs = vecs[len(list):]
		}
	}
	return meanOf(means), nil
}

// result is what one module did.
type result struct {
	module tiers.Module
	asked  string // "" if no tier was decided
	out    tiers.Output
	err    error
}

func (p *pipeline) step(ctx context.Context, m tiers.Module, in tiers.Input, memory func(context.Context) ([]float32, error)) (tiers.Output, error) {
	r := p.attempt(ctx, m, in, memory)
	p.record(r)
	return r.out, r.err
}

// attempt decides the tier of a module and runs it.
func (p *pipeline) attempt(ctx context.Context, m tiers.Module, in tiers.Input, memory func(context.Context) ([]float32, error)) (r result) {
	ctx, end := begin(ctx, p.observer, m.String())
	defer func() { end(r.step(), r.err) }()
	r.module = m
	fail := func(err error) result {
		r.err = &StepError{Step: m.String(), Tier: r.asked, Err: err}
		return r
	}
	i, err := p.decide(ctx, m, router.State{Query: in.QueryVector, Memory: memory})
	if err != nil {
		return fail(err)
	}
	r.asked = p.set[m][i].Name()
	why := ""
	if p.budget != nil {
		if i, why, err = p.budget.choose(ctx, m, i, in); err != nil {
			return fail(err)
		}
	}
	r.out, err = p.set[m][i].Run(ctx, in)
	if why != "" {
		r.out.Step.Served = cmp.Or(r.out.Step.Served, p.set[m][i].Name())
		r.out.Step.Asked, r.out.Step.Why = r.asked, strings.TrimPrefix(r.out.Step.Why+"; "+why, "; ")
	}
	if err != nil {
		return fail(err)
	}
	return r
}

// decide asks the policy for a module's tier; the state has all but the question and the module.
func (p *pipeline) decide(ctx context.Context, m tiers.Module, s router.State) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.Question, s.Module = p.question, slices.Index(p.routed, m)
	i, err := p.policy.Decide(ctx, s)
	if err != nil {
		return 0, fmt.Errorf("decide: %w", err)
	}
	if i < 0 || i >= len(p.set[m]) {
		return 0, fmt.Errorf("policy %s chose tier %d of %d", p.policy.Name(), i, len(p.set[m]))
	}
	return i, nil
}

// record puts a module's step into the trace, also when it failed after spending something.
func (p *pipeline) record(r result) {
	if r.asked == "" {
		return
	}
	step := r.step()
	if r.err != nil {
		step.Notes = append(step.Notes, "failed: "+r.err.Error())
	}
	p.trace.Modules = append(p.trace.Modules, Module{Module: r.module.String(), Step: step, Facts: r.out.Facts})
}

// step is the module's step, with the tier that was asked for.
func (r result) step() tiers.Step {
	step := r.out.Step
	step.Asked = cmp.Or(step.Asked, r.asked)
	if r.err == nil {
		step.Served = cmp.Or(step.Served, r.asked)
	}
	return step
}

// meter counts what is embedded for one question, in its trace.
type meter struct {
	embedder embed.Embedder
	mu       sync.Mutex
	sum      *Embedding
}

func (m *meter) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	start := time.Now()
	vecs, err := m.embedder.Embed(ctx, texts)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum.Texts += len(texts)
	m.sum.MS += msSince(start)
	return vecs, err
}

// once returns f's result, computed at most once. A failure is not kept.
func once(f func(context.Context) ([]float32, error)) func(context.Context) ([]float32, error) {
	var mu sync.Mutex
	var v []float32
	return func(ctx context.Context) ([]float32, error) {
		mu.Lock()
		defer mu.Unlock()
		if v != nil {
			return v, nil
		}
		var err error
		v, err = f(ctx)
		return v, err
	}
}

func vectors(items []tiers.Item) [][]float32 {
	out := make([][]float32, len(items))
	for i, it := range items {
		out[i] = it.Vector
	}
	return out
}

// meanOf averages vectors of one width, [n, d] → [d]; nil for none.
func meanOf(vecs [][]float32) []float32 {
	if len(vecs) == 0 {
		return nil
	}
	out := make([]float32, len(vecs[0]))
	for _, v := range vecs {
		for i, x := range v {
			out[i] += x
		}
	}
	for i := range out {
		out[i] /= float32(len(vecs))
	}
	return out
}

func msSince(start time.Time) float64 { return float64(time.Since(start).Microseconds()) / 1000 }
