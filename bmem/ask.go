package bmem

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Ask answers a question from a memory. On error the Answer still carries the trace of what ran and what that cost;
// errors.As with *StepError tells where it ended. Cancelling ctx ends every call under way.
//
// Errors: ErrNoQuestion, ErrNoMemory, ErrNoTurnsThen, ErrMaxCost with a *MaxCostError under WithMaxCost, ErrNoCalibration where an option needs one, and
// those of the models, such as llm.ErrBudget, llm.ErrAuth and llm.ErrUnavailable.
func (m *Memory) Ask(ctx context.Context, question string, opts ...Option) (answer Answer, err error) {
	start := time.Now()
	a, err := m.ask(question, opts)
	if err != nil {
		return Answer{}, err
	}
	t := &answer.Trace
	*t = *newTrace(a)
	defer func() { t.WallMS = msSince(start) }()
	ctx, end := begin(ctx, m.options.Observer, StepAsk)
	defer func() { end(asked(a, t.Usage()), err) }()

	p, ctx, err := m.extract(ctx, a, t)
	defer func() { t.AtMost = p.budget.spent() }()
	answer.Evidence = turnIDs(p.kept)
	if err != nil {
		return answer, err
	}
	if err := p.answer(ctx, &answer); err != nil {
		return answer, err
	}
	m.judge(a, &answer)
	return answer, nil
}

// Asked is an answer of AskEach, with its error.
type Asked struct {
	Answer
	Err error
}

// AskEach asks a question under several policies that choose the same notes and differ in the answer's tier alone: the first one
// decides for the notes, which are made and paid once, and each decides for its answer. Each trace tells of the whole way; in those
// after the first, the notes' calls count as answered from the cache. The options are those of Ask, WithMaxCost left out. The error
// is one of the notes, those of Ask; each answer has its own. Answers are returned, in the order of the policies, also with an error.
func (m *Memory) AskEach(ctx context.Context, question string, policies []router.Policy, opts ...Option) ([]Asked, error) {
	start := time.Now()
	out := make([]Asked, len(policies))
	if len(policies) == 0 {
		return nil, errors.New("ask under several policies: there are none")
	}
	a, err := m.ask(question, append(slices.Clone(opts), WithPolicy(policies[0])))
	switch {
	case err != nil:
		return out, err
	case a.maxCost != nil:
		return out, errors.New("ask under several policies: WithMaxCost limits a single answer")
	}
	ctx, end := begin(ctx, m.options.Observer, StepAsk)
	p, ctx, err := m.extract(ctx, a, newTrace(a))
	used := p.trace.Usage()
	defer func() { end(asked(a, used), errors.Join(err, firstOf(out))) }()
	for i, policy := range policies {
		t := &out[i].Trace
		*t = p.trace.again(i > 0)
		t.Policy = policy.Name()
		if out[i].Evidence = turnIDs(p.kept); err != nil {
			t.WallMS = msSince(start)
			continue
		}
		own := *p
		own.policy, own.trace = policy, t
		own.embedder = &meter{embedder: p.embedder.embedder, sum: &t.Embedding}
		if out[i].Err = own.answer(ctx, &out[i].Answer); out[i].Err == nil {
			judged := a
			judged.policy = policy
			m.judge(judged, &out[i].Answer)
		}
		t.WallMS = msSince(start)
		used = used.Add(t.AnswerUsage())
	}
	return out, err
}

// firstOf is the first error of several answers.
func firstOf(all []Asked) error {
	for _, a := range all {
		if a.Err != nil {
			return a.Err
		}
	}
	return nil
}

// asked is a question as an Observer sees it.
func asked(a ask, used llm.Usage) tiers.Step {
	return tiers.Step{Method: a.policy.Name(), Usage: used}
}

// newTrace begins the trace of a question.
func newTrace(a ask) *Trace {
	return &Trace{Memory: a.memory, Question: a.question, Date: a.date, Policy: a.policy.Name(), Retrieval: string(a.retrieval), TopK: a.topK}
}

// Notes returns what Ask would give the answering model to read, the summary module's text, and the chunks that were retrieved, best
// first. It takes the options of Ask and calls no model but those of the tiers. The errors are those of Ask.
func (m *Memory) Notes(ctx context.Context, question string, opts ...Option) (string, []Found, error) {
	a, err := m.ask(question, opts)
	if err != nil {
		return "", nil, err
	}
	var t Trace
	p, _, err := m.extract(ctx, a, &t)
	return p.notes.Text, t.Retrieved, err
}

// extract retrieves and runs the modules up to the notes. It fills the trace. The context that it returns is that of the answer.
func (m *Memory) extract(ctx context.Context, a ask, t *Trace) (*pipeline, context.Context, error) {
	p := &pipeline{observer: m.options.Observer, set: m.set, routed: m.routed, policy: a.policy, question: a.id, trace: t,
		embedder: &meter{embedder: stored{m.store, m.options.Embedder}, sum: &t.Embedding},
		in:       tiers.Input{Query: a.question, QueryDate: a.date, TopK: a.keepK, Style: a.style}}
	var err error
	if p.budget, err = m.newBudget(a); err != nil {
		return p, ctx, err
	}
	outer := llm.WithSession(llm.WithSources(p.budget.within(ctx)), a.memory, a.question) // from now on
	ctx = inMemory(outer, a.memory)
	rctx, end := begin(ctx, m.options.Observer, StepRetrieve)
	hits, query, err := m.retrieve(rctx, a, p.embedder, t)
	end(tiers.Step{}, err)
	if err != nil {
		return p, ctx, err
	}
	if len(hits) == 0 && !(a.after.IsZero() && a.before.IsZero()) {
		return p, ctx, noTurnsThen(a.after, a.before) // every way of ranking returns something of what may be seen
	}
	for _, h := range hits {
		ctx = madeFrom(ctx, h.Turns)
	}
	p.in.QueryVector, p.in.Language, p.in.Items = query, t.Language, items(hits)
	if err := p.run(ctx); err != nil {
		return p, ctx, err
	}
	t.Quoted, t.Signals = p.notes.Quoted, notesSignals(a, t.Language, hits, p.notes, m.options.Tokenizer.Count)
	if !slices.Contains(m.routed, tiers.Answering) {
		t.Answer.Model = m.options.Client.Model()
	}
	// The answer is made from what was kept; its decision embeds the notes for this memory.
	ctx = inMemory(outer, a.memory)
	for _, it := range p.kept {
		ctx = madeFrom(ctx, it.Turns)
	}
	return p, ctx, nil
}

// AskFrom answers a question straight from the given turns, quoted as a summary quotes them: no retrieval, no modules. With
// the turns that are known to hold the answer this is the ceiling of what extraction can reach. It takes the options of
// Ask that concern the answer: WithQuestionDate, WithAnswerStyle, WithMaxCost. Without turns it fails with ErrNoTurns; the other errors
// are those of Ask.
func (m *Memory) AskFrom(ctx context.Context, question string, turns []chunk.Turn, opts ...Option) (answer Answer, err error) {
	start := time.Now()
	a, err := m.ask(question, opts)
	if err != nil {
		return Answer{}, err
	}
	if len(turns) == 0 {
		return Answer{}, fmt.Errorf("answer from given turns: %w", ErrNoTurns)
	}
	answer.Trace = Trace{Memory: a.memory, Question: question, Date: a.date}
	defer func() { answer.Trace.WallMS = msSince(start) }()
	ctx, end := begin(ctx, m.options.Observer, StepAsk)
	defer func() { end(asked(a, answer.Trace.Usage()), err) }()
	for _, t := range turns {
		answer.Evidence = append(answer.Evidence, t.ID)
	}
	b, err := m.newBudget(a)
	if err != nil {
		return answer, err
	}
	read := readTimes(timesOfTurns(turns), m.options.Dates, retrieve.DetectLanguage([]chunk.Chunk{{Turns: turns}}))
	answer.Trace.Dates = read.reading()
	// The answer is not routed: its ceiling is that of the answering model.
	answer.Trace.Answer.Model = m.options.Client.Model()
	p := &pipeline{observer: m.options.Observer, set: m.set, budget: b, trace: &answer.Trace, notes: tiers.Output{Text: tiers.Quote(read.turns(turns))},
		in: tiers.Input{Query: question, QueryDate: a.date, Style: a.style}}
	p.set[tiers.Answering] = []tiers.Tier{m.answerer()}
	if b != nil {
		b.set = p.set
	}
	return answer, p.answer(madeFrom(b.within(ctx), turns), &answer)
}

// answerer answers by the answering model, in the one way of sets that do not route the answer.
func (m *Memory) answerer() tiers.Tier {
	return tiers.Answerer{Client: m.options.Client, Samples: m.options.AnswerSamples, LogProbs: m.options.LogProbs || m.options.Calibration != nil}.Tier("")
}

// ask settles what a question is asked with.
func (m *Memory) ask(question string, opts []Option) (ask, error) {
	o := m.options
	a := ask{memory: DefaultMemory, question: question, id: question, policy: o.Policy, topK: o.TopK, keepK: o.KeepK,
		retrieval: o.Retrieval, style: o.AnswerStyle}
	for _, opt := range opts {
		opt(&a)
	}
	if strings.TrimSpace(question) == "" {
		return a, ErrNoQuestion
	}
	if a.topK < 1 || a.keepK < 1 {
		return a, fmt.Errorf("retrieve %d chunks and keep %d: both must be at least 1", a.topK, a.keepK)
	}
	mode, err := retrieve.ParseMode(string(a.retrieval))
	if err != nil {
		return a, err
	}
	a.retrieval = mode
	if a.policySpec != "" {
		p, own, err := m.ownCascade(a.policySpec)
		if !own && err == nil {
			p, err = router.Parse(a.policySpec, m.space, 0)
		}
		if err != nil {
			return a, err
		}
		a.policy = p
	}
	for _, least := range []struct {
		name  string
		value *float64
	}{{"WithMinConfidence", a.minConfidence}, {"WithMinAnswerable", a.minAnswerable}} {
		if least.value == nil {
			continue
		}
		if !(*least.value >= 0 && *least.value <= 1) {
			return a, fmt.Errorf("%s: %v must be in 0 to 1", least.name, *least.value)
		}
		if m.calibration(a.policy) == nil {
			return a, fmt.Errorf("%s: %w", least.name, ErrNoCalibration)
		}
	}
	if a.minAnswerable != nil && !m.calibration(a.policy).KnowsAnswerable() {
		return a, fmt.Errorf("WithMinAnswerable: %w", ErrNoAnswerable)
	}
	return a, a.atLambda(m.options.Embedder.ID())
}

// retrieve finds the chunks for a question and returns the question's vector with them.
func (m *Memory) retrieve(ctx context.Context, a ask, e *meter, t *Trace) ([]retrieve.Hit, []float32, error) {
	fail := func(err error) ([]retrieve.Hit, []float32, error) {
		return nil, nil, &StepError{Step: "retrieve", Err: err}
	}
	retriever, dates, err := m.retriever(ctx, view{a.memory, a.retrieval})
	if err != nil {
		return fail(err)
	}
	t.Dates, t.Language = dates, retriever.Lang()
	vecs, err := e.Embed(ctx, []string{a.question})
	if err != nil {
		return fail(fmt.Errorf("embed the question: %w", err))
	}
	start, embedding := time.Now(), t.Embedding.MS
	query := retrieve.Query{Text: a.question, Vector: vecs[0], Sees: bounds(a.after, a.before), Embed: e.Embed}
	hits, err := retriever.Retrieve(ctx, query, a.topK)
	if err != nil {
		return fail(err)
	}
	t.RetrievalMS = max(0, msSince(start)-(t.Embedding.MS-embedding))
	for _, h := range hits {
		t.Retrieved = append(t.Retrieved, found(h.Chunk, h.Score))
	}
	return hits, vecs[0], nil
}

func items(hits []retrieve.Hit) []tiers.Item {
	out := make([]tiers.Item, len(hits))
	for i, h := range hits {
		out[i] = tiers.Item{Chunk: h.Chunk, Vector: h.Vector, Score: h.Score, TurnScores: h.TurnScores}
	}
	return out
}

// stored is an embedder that keeps its vectors in the store, as made for the memory that is asked.
type stored struct {
	store    *store.Store
	embedder embed.Embedder
}

type memoryKey struct{}

// inMemory marks what is done for a question of a memory.
func inMemory(ctx context.Context, memory string) context.Context {
	return context.WithValue(ctx, memoryKey{}, memory)
}

// madeFrom marks the calls of models as made from what the turns say, so that their replies are forgotten with it.
func madeFrom(ctx context.Context, turns []chunk.Turn) context.Context {
	sources := make([][]byte, len(turns))
	for i, t := range turns {
		sources[i] = store.SourceOf(t.Text)
	}
	return llm.WithSources(ctx, sources...)
}

func (s stored) ID() string { return s.embedder.ID() }
func (s stored) Dim() int   { return s.embedder.Dim() }
func (s stored) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	memory, _ := ctx.Value(memoryKey{}).(string)
	return s.store.Vectors(ctx, memory, s.embedder, texts)
}
