package bmem

import (
	"context"
	"fmt"
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
func (m *Memory) Ask(ctx context.Context, question string, opts ...Option) (answer Answer, err error) {
	start := time.Now()
	a, err := m.ask(question, opts)
	if err != nil {
		return Answer{}, err
	}
	t := &answer.Trace
	*t = Trace{Memory: a.memory, Question: question, Date: a.date, Policy: a.policy.Name(), Retrieval: string(a.retrieval), TopK: a.topK}
	defer func() { t.WallMS = msSince(start) }()

	b, err := m.newBudget(a)
	if err != nil {
		return answer, err
	}
	defer func() { t.AtMost = b.spent() }()
	ctx = llm.WithSources(b.within(ctx)) // from now on
	kept, summary, err := m.summarize(ctx, a, b, t)
	answer.Evidence = turnIDs(kept)
	if err != nil {
		return answer, err
	}
	for _, it := range kept {
		ctx = madeFrom(ctx, it.Turns)
	}
	return answer, m.answer(ctx, a, b, summary, &answer)
}

// Notes returns what Ask would give the answering model to read: the summary module's text. It takes the options of Ask and
// calls no model but those of the tiers.
func (m *Memory) Notes(ctx context.Context, question string, opts ...Option) (string, error) {
	a, err := m.ask(question, opts)
	if err != nil {
		return "", err
	}
	b, err := m.newBudget(a)
	if err != nil {
		return "", err
	}
	_, summary, err := m.summarize(llm.WithSources(b.within(ctx)), a, b, &Trace{})
	return summary, err
}

// summarize retrieves and runs the five modules. It returns the kept chunks and the summary, and fills the trace.
func (m *Memory) summarize(ctx context.Context, a ask, b *budget, t *Trace) ([]tiers.Item, string, error) {
	ctx = inMemory(ctx, a.memory)
	meter := &meter{embedder: stored{m.store, m.options.Embedder}}
	defer func() { t.Embedding = meter.sum }()
	hits, query, err := m.retrieve(ctx, a, meter, t)
	if err != nil {
		return nil, "", err
	}
	for _, h := range hits {
		ctx = madeFrom(ctx, h.Turns)
	}
	p := pipeline{budget: b, set: m.set, policy: a.policy, question: a.id, embedder: meter, trace: t, in: tiers.Input{
		Query: a.question, QueryVector: query, Language: t.Language, QueryDate: a.date, Items: items(hits), TopK: a.keepK,
	}}
	return p.run(ctx)
}

// AskFrom answers a question straight from the given turns, quoted as a summary quotes them: no retrieval, no modules. With
// the turns that are known to hold the answer this is the ceiling of what extraction can reach. It takes the options of
// Ask that concern the answer: WithQuestionDate, WithAnswerStyle, WithMaxCost.
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
	for _, t := range turns {
		answer.Evidence = append(answer.Evidence, t.ID)
	}
	b, err := m.newBudget(a)
	if err != nil {
		return answer, err
	}
	read := readTimes(timesOfTurns(turns), m.options.Dates, retrieve.DetectLanguage([]chunk.Chunk{{Turns: turns}}))
	answer.Trace.Dates = read.reading()
	return answer, m.answer(madeFrom(b.within(ctx), turns), a, b, tiers.Quote(read.turns(turns)), &answer)
}

func (m *Memory) answerer(a ask) tiers.Answerer {
	return tiers.Answerer{Client: m.options.Client, Style: a.style, Samples: m.options.AnswerSamples}
}

// answer makes the answer call.
func (m *Memory) answer(ctx context.Context, a ask, b *budget, summary string, answer *Answer) error {
	t := &answer.Trace
	t.Answer.Model = m.options.Client.Model()
	if b != nil {
		fitting, note, err := b.fit(summary)
		if err != nil {
			return &StepError{Step: "answer", Err: err}
		}
		if summary = fitting; note != "" {
			t.Answer.Notes = append(t.Answer.Notes, note)
		}
	}
	t.Summary = summary
	got, err := m.answerer(a).Answer(ctx, summary, a.question, a.date)
	t.Answer.Raw, t.Answer.Usage = got.Raw, got.Usage
	if err != nil {
		return &StepError{Step: "answer", Err: err}
	}
	answer.Text = got.Text
	return nil
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
		p, err := router.Parse(a.policySpec, m.space, 0)
		if err != nil {
			return a, err
		}
		a.policy = p
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
	start := time.Now()
	query := retrieve.Query{Text: a.question, Vector: vecs[0], Sees: bounds(a.after, a.before)}
	hits, err := retriever.Retrieve(ctx, query, a.topK)
	if err != nil {
		return fail(err)
	}
	t.RetrievalMS = msSince(start)
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
