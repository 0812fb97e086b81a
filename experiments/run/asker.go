package run

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/datasets/score"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// Asker answers questions of a run one at a time. It writes nothing into the run's folder, and does not judge.
type Asker struct {
	Config
	metric    string
	policies  []policy            // in the table's order, the ceiling first
	chosen    []datasets.Question // those of the run, in their order
	questions map[string]datasets.Question
	histories histories
}

// policy is a column of the run. A nil Policy is the ceiling.
type policy struct {
	name string
	router.Policy
}

// NewAsker prepares to answer the questions of c. Its folder and judges are not used. Settings that do not fit together are an
// error, as are data files that are not there (match it with datasets.ErrMissingData).
func NewAsker(ctx context.Context, c Config) (*Asker, error) {
	if err := c.checkSystem(); err != nil {
		return nil, err
	}
	a := &Asker{Config: c, policies: []policy{{name: Gold}}, metric: c.Dataset.Metric(), histories: newHistories(c), questions: map[string]datasets.Question{}}
	for _, spec := range c.Policies {
		p, err := router.Parse(spec, c.Memory.Space(), c.Seed)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(a.policies, func(q policy) bool { return q.name == p.Name() }) {
			return nil, fmt.Errorf("policy %q is named twice", p.Name())
		}
		a.policies = append(a.policies, policy{p.Name(), p})
	}
	if _, err := score.Lookup(a.metric); err != nil {
		return nil, err
	}
	var err error
	if a.chosen, err = c.choose(ctx); err != nil {
		return nil, err
	}
	for _, q := range a.chosen {
		a.questions[q.ID] = q
	}
	return a, nil
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

// Settings are those that decide the answers.
func (a *Asker) Settings() Settings { return a.settings() }

// Ask answers a question, by its ID, under a policy, by its name. A question that fails is a Record with an Error. The error is
// one that the question did not cause, and that would meet the next one too: ctx's, or an llm.ErrBudget, llm.ErrCache or
// llm.ErrLedger.
func (a *Asker) Ask(ctx context.Context, question, policy string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	q, ok := a.questions[question]
	if !ok {
		return Record{}, fmt.Errorf("question %s is not among those of the run", question)
	}
	for _, p := range a.policies {
		if p.name != policy {
			continue
		}
		rec, err := a.attempt(ctx, job{p, q})
		if err != nil {
			if stops(ctx.Err(), err) {
				return Record{}, err // the question did not cause it: the next start asks it again
			}
			rec.Error = err.Error()
		}
		return rec, nil
	}
	return Record{}, fmt.Errorf("policy %s is not among those of the run", policy)
}

// FailedRecord is the record of a question, by its ID, that could not be answered under a policy.
func (a *Asker) FailedRecord(question, policy, reason string) Record {
	rec := newRecord(policy, a.questions[question])
	rec.Error = reason
	return rec
}

func newRecord(policy string, q datasets.Question) Record {
	return Record{Prediction: Prediction{Policy: policy, ID: q.ID, Category: q.Category, Abstention: q.Abstention, Question: q.Text, Gold: q.Gold}}
}

// attempt asks the question and scores the answer.
func (a *Asker) attempt(ctx context.Context, j job) (Record, error) {
	q := j.question
	rec := newRecord(j.policy.name, q)
	h, err := a.histories.get(ctx, q.History)
	if err != nil {
		return rec, err
	}
	opts := []bmem.Option{bmem.WithMemory(h.memory), bmem.WithQuestionID(q.ID), bmem.WithQuestionDate(q.Date),
		bmem.WithAnswerStyle(tiers.StyleFor(a.Dataset.Name()))}
	var answer bmem.Answer
	if j.policy.name == Gold {
		answer, err = a.Memory.AskFrom(ctx, q.Text, pick(h.turns, q.Evidence), opts...)
	} else {
		opts = append(opts, bmem.WithPolicy(j.policy.Policy), bmem.WithTopK(a.TopK), bmem.WithKeepK(a.KeepK), bmem.WithRetrieval(a.Retrieval))
		if a.RecordStates {
			seen := observe(j.policy.Policy)
			answer, err = a.Memory.Ask(ctx, q.Text, append(opts, bmem.WithPolicy(seen))...)
			rec.States = seen.states()
		} else {
			answer, err = a.Memory.Ask(ctx, q.Text, opts...)
		}
	}
	rec.fill(answer.Trace, q, h.turns)
	if err == nil {
		err = outOfBudget(answer.Trace)
	}
	if err != nil {
		return rec, err
	}
	rec.Prediction.Prediction = answer.Text
	return rec, rec.score(a.metric)
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
