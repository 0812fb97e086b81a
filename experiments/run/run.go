package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/datasets/score"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// Run asks the questions that are not answered yet and writes config.json, traces.jsonl, predictions.jsonl and metrics.jsonl.
// A question that fails is recorded and does not end the run. If ctx ends or the spend limit is reached, the files are written
// for what is done, and the Outcome comes with an error that wraps ctx's error or llm.ErrBudget; the same call continues from
// there. The Outcome is nil only if the run could not be set up.
func Run(ctx context.Context, c Config) (*Outcome, error) {
	_, o, err := execute(ctx, c)
	return o, err
}

// execute is Run that also returns the closed run, nil if it could not be set up.
func execute(ctx context.Context, c Config) (*run, *Outcome, error) {
	if err := c.check(); err != nil {
		return nil, nil, fmt.Errorf("set up the run: %w", err)
	}
	r, err := open(ctx, c)
	if err != nil {
		return nil, nil, fmt.Errorf("set up run %s: %w", c.Dir, err)
	}
	defer func() { _ = r.journal.Close() }() // every record was written when it was made
	stopped := r.answerAll(ctx)
	o, err := r.outcome()
	if err == nil {
		err = o.write() // after a cancellation too
	}
	if err != nil {
		return r, o, errors.Join(fmt.Errorf("write the results of run %s: %w", c.Dir, err), stopped)
	}
	if stopped != nil {
		return r, o, fmt.Errorf("run %s stopped after %d of %d questions, start it again to continue: %w", c.Dir, o.Done, o.Total, stopped)
	}
	return r, o, nil
}

// run is a run in progress.
type run struct {
	Config
	questions []datasets.Question
	policies  []policy // in the table's order, the ceiling first
	metric    string
	journal   *journal
	histories histories
	// traced reports whether Traced has a question with these choices.
	traced func(id string, choices []int) bool
	// judgeInfos describes the judges of this start and of earlier ones.
	judgeInfos map[string]JudgeInfo

	mu       sync.Mutex
	done     map[key]Record
	progress Progress
}

// policy is a column of the run. A nil Policy is the ceiling.
type policy struct {
	name string
	router.Policy
}

func open(ctx context.Context, c Config) (*run, error) {
	r := &run{Config: c, policies: []policy{{name: Gold}}}
	for _, spec := range c.Policies {
		p, err := router.Parse(spec, c.Memory.Space(), c.Seed)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(r.policies, func(q policy) bool { return q.name == p.Name() }) {
			return nil, fmt.Errorf("policy %q is named twice", p.Name())
		}
		r.policies = append(r.policies, policy{p.Name(), p})
	}
	r.metric = c.Dataset.Metric()
	if _, err := score.Lookup(r.metric); err != nil {
		return nil, err
	}
	if c.Traced != nil {
		if diff := episodes.Difference(c.Traced.Header, r.header()); diff != "" {
			return nil, fmt.Errorf("the existing traces belong to another system or split, collect into another file: %s", diff)
		}
		r.traced = c.Traced.Holds()
	}
	var err error
	if r.questions, err = c.choose(ctx); err != nil {
		return nil, err
	}
	r.histories = newHistories(c)
	if err := private.Dir(c.Dir); err != nil {
		return nil, err
	}
	// The journal is locked before the config is touched, so that two processes cannot both record a start.
	if r.journal, r.done, err = openJournal(filepath.Join(c.Dir, tracesName)); err != nil {
		return nil, err
	}
	file, err := c.recordConfig()
	if err == nil {
		err = rescore(r.done, r.metric)
	}
	if err != nil {
		return nil, errors.Join(err, r.journal.Close())
	}
	r.judgeInfos = file.Judges
	if r.journal.dropped != "" {
		r.System.Warnings = append(slices.Clone(r.System.Warnings), r.journal.dropped)
	}
	if w := file.otherVersions(); w != "" && len(r.done) > 0 {
		r.System.Warnings = append(slices.Clone(r.System.Warnings), w)
	}
	return r, nil
}

// choose returns the chosen questions of the split.
func (c Config) choose(ctx context.Context) (all []datasets.Question, err error) {
	if c.Split == TestSplit {
		all, err = c.Dataset.Test(ctx)
	} else {
		all, err = c.Dataset.Questions(ctx, datasets.Split(c.Split))
	}
	if err != nil {
		return nil, err
	}
	return Choose(all, c.Questions, c.Seed, c.Sample)
}

// rescore scores the records of earlier starts, perhaps of other versions, again.
func rescore(records map[key]Record, metric string) error {
	for k, rec := range records {
		if err := rec.score(metric); err != nil {
			return err
		}
		records[k] = rec
	}
	return nil
}

// job is a question to ask under a policy.
type job struct {
	policy   policy
	question datasets.Question
}

func (j job) key() key { return key{j.policy.name, j.question.ID} }

// jobs lists all questions and policies of the run, all policies of a question together: they share most of their prompts, and
// a stopped run has asked about as many questions under each policy.
func (r *run) jobs() []job {
	var jobs []job
	for _, q := range r.questions {
		for _, p := range r.policies {
			if p.name == Gold && (r.NoCeiling || len(q.Evidence) == 0) {
				continue // not wanted, or nothing to answer from
			}
			if j := (job{p, q}); !r.isTraced(j) {
				jobs = append(jobs, j)
			}
		}
	}
	return jobs
}

// isTraced reports whether an earlier run's traces hold the job's episode.
func (r *run) isTraced(j job) bool {
	if r.traced == nil {
		return false
	}
	choices, ok := router.NonContextual(j.policy.Policy, r.Memory.Space(), j.question.ID)
	return ok && r.traced(j.question.ID, choices)
}

// answerAll does the jobs that have no answer yet. Its error is why it stopped before the end.
func (r *run) answerAll(ctx context.Context) error {
	var todo []job
	for _, j := range r.jobs() {
		r.progress.Total++
		if rec, ok := r.done[j.key()]; ok && r.answered(rec) && !r.unjudged(rec) {
			r.progress.Done++
			r.progress.Dollars += rec.Cost.Dollars()
		} else {
			todo = append(todo, j)
		}
	}
	r.report(nil)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(r.InFlight)
	for _, j := range todo {
		if gctx.Err() != nil {
			break
		}
		group.Go(func() error { return r.answer(gctx, j) })
	}
	return group.Wait()
}

// answered reports whether a record is complete, so that its question is not asked again.
func (r *run) answered(rec Record) bool {
	return !rec.Failed() && (!r.RecordStates || rec.Policy == Gold || rec.States != nil)
}

// answer answers and judges one job as far as that is not done yet, and records it. Its error ends the run.
func (r *run) answer(ctx context.Context, j job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	rec, answered := r.done[j.key()]
	r.mu.Unlock()
	answered = answered && r.answered(rec)
	var paid, judgePaid float64
	if !answered {
		var err error
		if rec, err = r.attempt(ctx, j); err != nil {
			if stops(ctx.Err(), err) {
				return err // the question did not cause it: the next start asks it again
			}
			rec.Error = err.Error()
		}
		paid = rec.Trace.Usage().Paid
	}
	var stopped error
	if r.unjudged(rec) {
		judgePaid, stopped = r.judge(ctx, &rec)
	}
	if err := r.journal.append(rec); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[j.key()] = rec
	r.progress.Done++
	if rec.Failed() {
		r.progress.Failed++
	}
	r.progress.Dollars += rec.Cost.Dollars()
	r.progress.Paid += paid
	r.progress.JudgePaid += judgePaid
	r.report(&rec)
	return stopped
}

func (r *run) report(last *Record) {
	if r.Progress != nil {
		p := r.progress
		p.Last = last
		r.Progress(p)
	}
}

// attempt asks the question and scores the answer.
func (r *run) attempt(ctx context.Context, j job) (Record, error) {
	q := j.question
	rec := Record{Prediction: Prediction{Policy: j.policy.name, ID: q.ID, Category: q.Category, Abstention: q.Abstention, Question: q.Text, Gold: q.Gold}}
	h, err := r.histories.get(ctx, q.History)
	if err != nil {
		return rec, err
	}
	opts := []bmem.Option{bmem.WithMemory(h.memory), bmem.WithQuestionID(q.ID), bmem.WithQuestionDate(q.Date),
		bmem.WithAnswerStyle(tiers.StyleFor(r.Dataset.Name()))}
	var a bmem.Answer
	if j.policy.name == Gold {
		a, err = r.Memory.AskFrom(ctx, q.Text, pick(h.turns, q.Evidence), opts...)
	} else {
		opts = append(opts, bmem.WithPolicy(j.policy.Policy), bmem.WithTopK(r.TopK), bmem.WithKeepK(r.KeepK), bmem.WithRetrieval(r.Retrieval))
		if r.RecordStates {
			seen := observe(j.policy.Policy)
			a, err = r.Memory.Ask(ctx, q.Text, append(opts, bmem.WithPolicy(seen))...)
			rec.States = seen.states()
		} else {
			a, err = r.Memory.Ask(ctx, q.Text, opts...)
		}
	}
	rec.fill(a.Trace, q, h.turns)
	if err == nil {
		err = outOfBudget(a.Trace)
	}
	if err != nil {
		return rec, err
	}
	rec.Prediction.Prediction = a.Text
	return rec, rec.score(r.metric)
}

// pick returns the turns of these ids in the history's order.
func pick(turns []chunk.Turn, ids []string) []chunk.Turn {
	want := map[string]bool{}
	for _, id := range ids {
		want[id] = true
	}
	var out []chunk.Turn
	for _, t := range turns {
		if want[t.ID] {
			out = append(out, t)
		}
	}
	return out
}

// histories adds each history to the memory when the first question about it comes.
type histories struct {
	dataset datasets.Dataset
	memory  *bmem.Memory
	mu      sync.Mutex
	loaded  map[string]*history
}

func newHistories(c Config) histories {
	return histories{dataset: c.Dataset, memory: c.Memory, loaded: map[string]*history{}}
}

type history struct {
	mu     sync.Mutex // held while the history is added
	memory string     // its name in the memory; "" until it is added
	turns  []chunk.Turn
}

func (hs *histories) get(ctx context.Context, id string) (*history, error) {
	hs.mu.Lock()
	h := hs.loaded[id]
	if h == nil {
		h = &history{}
		hs.loaded[id] = h
	}
	hs.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.memory != "" {
		return h, nil
	}
	data, err := hs.dataset.History(ctx, id)
	if err != nil {
		return nil, err
	}
	// The data set's hash keeps a corrected edition of the data from being appended to the old one, and the
	// chunk size two runs with different ones from changing each other's chunks.
	name := fmt.Sprintf("%s/%s@%.12s/%d", hs.dataset.Name(), id, hs.dataset.Hash(), hs.memory.ChunkTokens())
	if _, err := hs.memory.Add(ctx, name, data.Turns); err != nil {
		return nil, err
	}
	h.turns, h.memory = data.Turns, name
	return h, nil
}
