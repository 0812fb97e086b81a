package run

import (
	"context"
	"errors"
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

// Ask answers a task. Policies that differ in the answer's tier alone share their notes; see Parts. There is a record for each policy,
// in their order, but for those whose answer another error kept from being there; that is returned then. A question that fails is a Record with an
// Error. The error is one that the question did not cause, and that would meet the next one too: ctx's, or an llm.ErrBudget,
// llm.ErrCache, llm.ErrLedger or bmem.ErrMemoryChanged.
func (a *Asker) Ask(ctx context.Context, t Task) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q, ok := a.questions[t.Question]
	if !ok {
		return nil, fmt.Errorf("question %s is not among those of the run", t.Question)
	}
	var done []Record
	for _, names := range a.sharing(t.Policies) {
		var jobs []job
		for _, name := range names {
			p, ok := a.policy(name)
			if !ok {
				return done, fmt.Errorf("policy %s is not among those of the run", name)
			}
			jobs = append(jobs, job{p, q})
		}
		records, err := a.answer(ctx, jobs)
		if done = append(done, records...); err != nil {
			return done, err
		}
	}
	return done, nil
}

// answer attempts jobs that share their notes. Its results are as Ask's.
func (a *Asker) answer(ctx context.Context, jobs []job) (done []Record, stopped error) {
	records, errs := a.attempt(ctx, jobs)
	for i, rec := range records {
		if errs[i] != nil && stops(ctx.Err(), errs[i]) {
			stopped = errs[i] // the question did not cause it: the next start asks it again
			continue
		}
		if errs[i] != nil {
			rec.Error = errs[i].Error()
		}
		done = append(done, rec)
	}
	return done, stopped
}

// AskUnder answers a question, by its ID, under a policy that need not be among those of the run. Its results are as Ask's.
func (a *Asker) AskUnder(ctx context.Context, question string, p router.Policy) (Record, error) {
	q, ok := a.questions[question]
	if !ok {
		return Record{}, fmt.Errorf("question %s is not among those that can be asked", question)
	}
	records, err := a.answer(ctx, []job{{policy{p.Name(), p}, q}})
	if err != nil {
		return Record{}, err
	}
	return records[0], nil
}

// Parts divides a task into parts that may be done at the same time: the policies of a part share their notes.
func (a *Asker) Parts(t Task) []Task {
	var out []Task
	for _, names := range a.sharing(t.Policies) {
		out = append(out, Task{t.Question, names})
	}
	return out
}

// sharing puts policies together that have the same notes: those that differ in the last module's tier alone, where that is the answer's.
func (a *Asker) sharing(policies []string) [][]string {
	var out [][]string
	at := map[string]int{}
	for _, name := range policies {
		p, _ := a.policy(name)
		last, ok := p.Policy.(*router.FixedLast)
		if !ok || !a.routesAnswers() {
			out = append(out, []string{name})
			continue
		}
		first := last.First().Name()
		n, there := at[first]
		if !there {
			n, at[first] = len(out), len(out)
			out = append(out, nil)
		}
		out[n] = append(out[n], name)
	}
	return out
}

func (a *Asker) routesAnswers() bool {
	space := a.Memory.Space()
	return space[len(space)-1].Name == tiers.Answering.String()
}

func (a *Asker) policy(name string) (policy, bool) {
	i := slices.IndexFunc(a.policies, func(p policy) bool { return p.name == name })
	if i < 0 {
		return policy{}, false
	}
	return a.policies[i], true
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

// attempt asks the question of jobs that share their notes and scores the answers. There is an error for each.
func (a *Asker) attempt(ctx context.Context, jobs []job) ([]Record, []error) {
	q := jobs[0].question
	records, errs := make([]Record, len(jobs)), make([]error, len(jobs))
	for i, j := range jobs {
		records[i] = newRecord(j.policy.name, q)
	}
	h, err := a.histories.get(ctx, q.History)
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
		return records, errs
	}
	opts := []bmem.Option{bmem.WithMemory(h.memory.Name), bmem.WithQuestionID(q.ID), bmem.WithQuestionDate(q.Date),
		bmem.WithAnswerStyle(tiers.StyleFor(a.Dataset.Name()))}
	var answers []bmem.Asked
	if jobs[0].policy.name == Gold {
		answer, err := a.Memory.AskFrom(ctx, q.Text, pick(h.turns, q.Evidence), opts...)
		answers = []bmem.Asked{{Answer: answer, Err: err}}
	} else {
		opts = append(opts, bmem.WithTopK(a.TopK), bmem.WithKeepK(a.KeepK), bmem.WithRetrieval(a.Retrieval))
		answers = a.ask(ctx, jobs, records, opts)
	}
	changed := h.memory.Check(ctx)
	for i, answer := range answers {
		if answer.Err == nil || errors.Is(changed, bmem.ErrMemoryChanged) {
			answer.Err = changed // whatever was answered, it was not from what the data set holds
		}
		rec := &records[i]
		rec.fill(answer.Trace, q, h.turns)
		if errs[i] = answer.Err; errs[i] == nil {
			errs[i] = outOfBudget(answer.Trace)
		}
		if errs[i] == nil {
			rec.Prediction.Prediction = answer.Text
			errs[i] = rec.score(a.metric)
		}
	}
	return records, errs
}

// ask asks the question under the jobs' policies, which choose the same notes, and notes the states in the records if they are
// wanted.
func (a *Asker) ask(ctx context.Context, jobs []job, records []Record, opts []bmem.Option) []bmem.Asked {
	policies := make([]router.Policy, len(jobs))
	seen := newObserved(a.Memory.Shape())
	for i, j := range jobs {
		policies[i] = j.policy.Policy
		if a.RecordStates {
			policies[i] = seen.observe(j.policy.Policy)
		}
	}
	var answers []bmem.Asked
	if len(policies) == 1 {
		answer, err := a.Memory.Ask(ctx, jobs[0].question.Text, append(opts, bmem.WithPolicy(policies[0]))...)
		answers = []bmem.Asked{{Answer: answer, Err: err}}
	} else {
		var err error
		answers, err = a.Memory.AskEach(ctx, jobs[0].question.Text, policies, opts...)
		for i := range answers {
			answers[i].Err = errors.Join(err, answers[i].Err)
		}
	}
	if a.RecordStates {
		for i := range records {
			records[i].States = seen.states()
		}
	}
	return answers
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
	mu     sync.Mutex          // held while the history is added
	memory *bmem.DatasetMemory // nil until it is added
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
	if h.memory != nil {
		return h, nil
	}
	data, err := hs.dataset.History(ctx, id)
	if err != nil {
		return nil, err
	}
	h.memory, err = hs.memory.OpenDataset(ctx, bmem.DatasetConversation{Dataset: hs.dataset.Name(), ID: id, Hash: hs.dataset.Hash(), Turns: data.Turns})
	h.turns = data.Turns
	return h, err
}
