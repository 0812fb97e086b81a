package experiments

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// Design returns the policies of a plan for collecting traces: "uniform" asks every question with each of the tiers that all
// modules have, "random:K" with K combinations of its own, drawn evenly without putting back, "full" with all there are.
// Policies as router.Parse takes them, and several of all of these joined by "+", are taken too: "uniform+random:3".
func Design(spec string, space router.Space) ([]string, error) {
	var out []string
	for _, part := range strings.Split(spec, "+") {
		name, number, _ := strings.Cut(strings.TrimSpace(part), ":")
		n := 0
		switch {
		case name == "uniform":
			out = append(out, space.Uniform()...)
			continue
		case name == "full":
			all, err := space.Combinations()
			if err != nil {
				return nil, fmt.Errorf("design %q: %w", spec, err)
			}
			n = len(all)
		case name == "random" && number != "":
			var err error
			if n, err = strconv.Atoi(number); err != nil || n < 1 {
				return nil, fmt.Errorf("design %q: %q is no number of combinations", spec, number)
			}
		default:
			out = append(out, strings.TrimSpace(part))
			continue
		}
		for k := range n {
			out = append(out, "random:"+strconv.Itoa(k+1))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("design %q: no tier is one of all modules", spec)
	}
	for _, p := range out {
		if _, err := router.Parse(p, space, 0); err != nil {
			return nil, fmt.Errorf("design %q: %w", spec, err)
		}
	}
	return out, nil
}

// Collect is a Run that records states, without ceilings, and the traces of its questions as far as they are answered; these
// come also with the error of a run that was stopped. Failed questions leave no trace. What Traced holds comes first.
func Collect(ctx context.Context, c Config) (Summary, *episodes.File, error) {
	c.RecordStates, c.NoCeiling = true, true
	r, s, err := execute(ctx, c)
	if r == nil {
		return s, nil, err
	}
	f := &episodes.File{Header: r.traceHeader()}
	for _, q := range r.questions {
		for _, p := range r.policies {
			rec, ok := r.done[key{p.name, q.ID}]
			if !ok || rec.Failed() || rec.States == nil {
				continue
			}
			t, terr := traceOf(f.Space, rec, r.metric)
			if terr != nil {
				return s, nil, errors.Join(terr, err)
			}
			f.Traces = append(f.Traces, t)
		}
	}
	files := []*episodes.File{f}
	if c.Traced != nil {
		files = []*episodes.File{c.Traced, f}
	}
	f, merr := episodes.Merge(files...) // two policies may have chosen the same tiers
	return s, f, errors.Join(err, merr)
}

// traceHeader says what the run's traces are of.
func (r *run) traceHeader() episodes.Header {
	system := fields(r.settings())
	// These stand in fields of their own, or choose questions and combinations only.
	for _, name := range []string{"dataset", "data_hash", "split", "metric", "embedder", "seed"} {
		delete(system, name)
	}
	return episodes.Header{Format: episodes.Format, Version: episodes.Version, Dataset: r.Dataset.Name(), DataHash: r.Dataset.Hash(), Split: r.Split,
		Metric: r.metric, Space: r.Memory.Space(), States: bmem.States(), Embedder: r.System.Embedder, Dim: r.Memory.Dim(), System: system, Commit: Commit()}
}

// traceOf turns a record into a trace.
func traceOf(space router.Space, rec Record, metric string) (episodes.Trace, error) {
	t := episodes.Trace{ID: rec.ID, Category: rec.Category, Question: rec.Question, Served: rec.Served, Score: rec.Scores[metric],
		ModulesDollars: rec.Cost.ModulesDollars, AnswerDollars: rec.Cost.AnswerDollars, In: rec.Cost.In, Out: rec.Cost.Out, MS: rec.MS,
		Query: rec.States.Query, Memory: rec.States.Memory}
	var err error
	if t.Choices, err = space.Choices(rec.Asked); err != nil { // modules are recorded in their order
		return t, fmt.Errorf("question %s under policy %s: %w", rec.ID, rec.Policy, err)
	}
	return t, nil
}

// Live asks a system a data set's questions, as a router's environment or beside traces.
type Live struct {
	run run
	ids []string
	of  map[string]datasets.Question
}

// NewLive prepares to ask the questions of a run's configuration. Its policies, folder and judges are not used.
func NewLive(ctx context.Context, c Config) (*Live, error) {
	c.Policies, c.Dir, c.RecordStates = []string{tiers.Low}, ".", true
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("ask live: %w", err)
	}
	questions, err := c.choose(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask live: %w", err)
	}
	l := &Live{run: run{Config: c, metric: c.Dataset.Metric(), histories: newHistories(c)}, of: map[string]datasets.Question{}}
	for _, q := range questions {
		l.ids = append(l.ids, q.ID)
		l.of[q.ID] = q
	}
	return l, nil
}

// Header says what traces of the system are of.
func (l *Live) Header() episodes.Header { return l.run.traceHeader() }

// IDs implements episodes.Live.
func (l *Live) IDs() []string { return l.ids }

// Ask implements episodes.Live. A question that the system fails on is a failed episode; that the spend limit is reached, or ctx
// is at its end, ends the training.
func (l *Live) Ask(ctx context.Context, id string, p router.Policy) (episodes.Trace, error) {
	q, ok := l.of[id]
	if !ok {
		return episodes.Trace{}, fmt.Errorf("question %s is not among those that can be asked", id)
	}
	rec, err := l.run.attempt(ctx, job{policy{p.Name(), p}, q})
	if err != nil {
		if stops(ctx.Err(), err) {
			return episodes.Trace{}, err
		}
		return episodes.Trace{}, fmt.Errorf("%w: question %s: %w", router.ErrFailed, id, err)
	}
	return traceOf(l.run.Memory.Space(), rec, l.run.metric)
}
