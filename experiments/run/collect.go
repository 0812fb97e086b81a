package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// Design returns the policies of a design for collecting traces: "uniform" asks every question with each tier that all modules
// have, "random:K" with K combinations, drawn for each question uniformly without replacement, "full" with all combinations. A
// part may also be a policy as router.Parse takes it; parts are joined by "+": "uniform+random:3". An unknown part, a number
// below 1, more combinations than router.Space.Combinations lists, and a cascade are errors.
//
// Where the last module is the answer, a design is one of notes: each of its policies is asked with every tier of the answer, which
// share the notes. A policy that names the answer's tier is asked with that one alone.
func Design(spec string, space router.Space) ([]string, error) {
	last := len(space) - 1
	if last < 1 || space[last].Name != tiers.Answering.String() {
		return design(spec, space, space)
	}
	notes, err := design(spec, space[:last], space)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range notes {
		each := []string{p}
		if _, err := router.Parse(p+"/"+space[last].Tiers[0], space, 0); err == nil {
			each = nil
			for _, tier := range space[last].Tiers {
				each = append(each, p+"/"+tier)
			}
		}
		for _, p := range each {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// design is Design for the modules of space; all are the modules that policies may name.
func design(spec string, space, all router.Space) ([]string, error) {
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
				return nil, fmt.Errorf("design %q: %q is not a number of combinations", spec, number)
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
		return nil, fmt.Errorf("design %q: there is no tier that all modules have", spec)
	}
	for _, p := range out {
		policy, err := router.Parse(p, space, 0)
		if err != nil && len(all) > len(space) {
			policy, err = router.Parse(p, all, 0)
		}
		if err != nil {
			return nil, fmt.Errorf("design %q: %w", spec, err)
		}
		if _, ok := policy.(*router.Cascade); ok {
			return nil, fmt.Errorf("design %q: a cascade may ask two models for one answer, and an episode holds one: name the tiers that it chooses from", spec)
		}
	}
	return out, nil
}

// Collect is a Run that records states, without ceilings, and also returns the episodes of the answered questions; these come
// with the error of a stopped run too. Failed questions leave no episode. The episodes of Config.Traced come first.
func Collect(ctx context.Context, c Config) (*Outcome, *episodes.File, error) {
	c.RecordStates, c.NoCeiling = true, true
	r, o, err := execute(ctx, c)
	if r == nil {
		return nil, nil, err
	}
	f := &episodes.File{Header: r.header()}
	for _, q := range r.chosen {
		for _, p := range r.policies {
			rec, ok := r.done[key{p.name, q.ID}]
			if !ok || rec.Failed() || rec.States == nil {
				continue
			}
			t, terr := rec.episode(f.Space, r.metric)
			if terr != nil {
				return o, nil, errors.Join(terr, err)
			}
			f.Episodes = append(f.Episodes, t)
		}
	}
	files := []*episodes.File{f}
	if c.Traced != nil {
		files = []*episodes.File{c.Traced, f}
	}
	f, merr := episodes.Merge(files...) // two policies may have chosen the same tiers
	return o, f, errors.Join(err, merr)
}

// header describes the run's episodes.
func (a *Asker) header() episodes.Header {
	system := fields(a.settings())
	// These have fields of their own, or only choose questions and combinations.
	for _, name := range []string{"dataset", "data_hash", "split", "metric", "embedder", "seed"} {
		delete(system, name)
	}
	shape := a.Memory.Shape()
	return episodes.Header{Format: episodes.Format, Version: episodes.Version, Dataset: a.Dataset.Name(), DataHash: a.Dataset.Hash(), Split: a.Split,
		Metric: a.metric, Space: shape.Modules, MemoryIndex: shape.MemoryIndex, Signals: shape.Signals, Embedder: a.System.Embedder, Dim: shape.Dim, System: system, Commit: Commit()}
}

// episode is what a router learns from a record.
func (r Record) episode(space router.Space, metric string) (router.Episode, error) {
	t := router.Episode{ID: r.ID, Category: r.Category, Question: r.Question, Served: r.Served, Score: r.Scores[metric],
		ModulesDollars: r.Cost.ModulesDollars, AnswerDollars: r.Cost.AnswerDollars, In: r.Cost.In, Out: r.Cost.Out, MS: r.MS,
		Query: r.States.Query, Answer: r.Prediction.Prediction, Quoted: r.Trace.Quoted, Signals: r.Trace.Signals, AnswerSignals: r.Trace.Answer.Signals}
	for _, m := range r.States.Memory {
		t.Memory = append(t.Memory, m)
	}
	for _, step := range append(slices.Clone(r.Trace.Modules), bmem.Module{Module: tiers.Answering.String(), Step: tiers.Step{Model: r.Trace.Answer.Model, Usage: r.Trace.AnswerUsage()}}) {
		if u := step.Usage; u.Calls > 0 {
			t.Calls = append(t.Calls, router.Calls{Step: step.Module, Model: step.Model, Calls: u.Calls, In: u.In, Out: u.Out, Dollars: u.Dollars})
		}
	}
	fail := func(err error) (router.Episode, error) {
		return t, fmt.Errorf("question %s under policy %s: %w", r.ID, r.Policy, err)
	}
	for _, d := range r.Trace.Answer.Draws {
		one := r.Prediction
		one.Prediction = d.Text
		if err := one.score(metric); err != nil {
			return fail(err)
		}
		t.Draws = append(t.Draws, router.Draw{Answer: d.Text, Score: one.Scores[metric], LogProb: d.LogProb})
	}
	var err error
	if t.Choices, err = space.Choices(r.Asked); err != nil { // modules are recorded in their order
		return fail(err)
	}
	return t, nil
}
