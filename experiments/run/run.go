package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/router"
)

// Run asks the questions that are not answered yet and writes config.json, traces.jsonl, predictions.jsonl and metrics.jsonl.
// A question that fails is recorded and does not end the run. If ctx ends, the spend limit is reached or a data set's memory is changed
// by someone else, the files are written for what is done, and the Outcome comes with an error that wraps ctx's error, llm.ErrBudget or
// bmem.ErrMemoryChanged; the same call continues from there. The Outcome is nil only if the run could not be set up.
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
		return r, o, fmt.Errorf("run %s stopped after %d of %d answers, start it again to continue: %w", c.Dir, o.Done, o.Total, stopped)
	}
	return r, o, nil
}

// run is a run in progress.
type run struct {
	*Asker
	journal *journal
	// traced reports whether Traced has a question with these choices.
	traced func(id string, choices []int) bool
	// judgeInfos describes the judges of this start and of earlier ones.
	judgeInfos map[string]JudgeInfo

	mu       sync.Mutex
	done     map[key]Record
	progress Progress
}

func open(ctx context.Context, c Config) (*run, error) {
	a, err := NewAsker(ctx, c)
	if err != nil {
		return nil, err
	}
	r := &run{Asker: a}
	if c.Traced != nil {
		if diff := episodes.Difference(c.Traced.Header, r.header()); diff != "" {
			return nil, fmt.Errorf("the existing traces belong to another system or split, collect into another file: %s", diff)
		}
		r.traced = c.Traced.Holds()
	}
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
	for _, q := range r.chosen {
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
	var tasks []Task
	var unjudged []Record
	for _, j := range r.jobs() {
		r.progress.Total++
		switch rec, ok := r.done[j.key()]; {
		case !ok || !r.answered(rec):
			if n := len(tasks); n == 0 || tasks[n-1].Question != j.question.ID {
				tasks = append(tasks, Task{Question: j.question.ID})
			}
			t := &tasks[len(tasks)-1]
			t.Policies = append(t.Policies, j.policy.name)
		case r.unjudged(rec):
			unjudged = append(unjudged, rec)
		default:
			r.progress.Done++
			r.progress.Dollars += rec.Cost.Dollars()
		}
	}
	r.report(nil)
	if err := r.judgeAll(ctx, unjudged); err != nil {
		return err
	}
	return r.Executor.Execute(ctx, r.Asker, tasks, func(ctx context.Context, rec Record) error {
		return r.finish(ctx, rec, rec.Trace.Usage().Paid)
	})
}

// judgeAll has the answers of earlier starts judged.
func (r *run) judgeAll(ctx context.Context, answers []Record) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.InFlight)
	for _, rec := range answers {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return r.finish(ctx, rec, 0) })
	}
	return group.Wait()
}

// answered reports whether a record is complete, so that its question is not asked again.
func (r *run) answered(rec Record) bool {
	return !rec.Failed() && (!r.RecordStates || rec.Policy == Gold || rec.States != nil)
}

// finish has an answer judged, as far as that is not done yet, and records it. paid is what was paid for the answer, in dollars.
// Its error ends the run.
func (r *run) finish(ctx context.Context, rec Record, paid float64) error {
	var judgePaid float64
	var stopped error
	if r.unjudged(rec) {
		judgePaid, stopped = r.judge(ctx, &rec)
	}
	if err := r.journal.append(rec); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[key{rec.Policy, rec.ID}] = rec
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
