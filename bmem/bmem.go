package bmem

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// Memory holds named histories and answers questions about them. It is safe for concurrent use.
type Memory struct {
	*Archive
	options Options
	set     tiers.Set // with one tier for answers if the set does not route them
	routed  []tiers.Module
	space   router.Space

	open *openHistories
}

// Open opens the memory in the file o.Path, which it creates if there is none, or in o.Store. The caller closes it.
//
// Errors: store.ErrNotStore, store.ErrNewer or store.ErrCorrupt for a file that cannot be used; what is missing or out of range in o is
// named.
func Open(ctx context.Context, o Options) (*Memory, error) {
	given := o.Store
	o, err := o.withDefaults()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a memory: %w", err), closeStore(given))
	}
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(err, closeStore(given))
	}
	s := given
	if s == nil {
		if s, err = store.Open(o.Path); err != nil {
			return nil, err
		}
	}
	archive, err := NewArchive(ctx, s, o.Replies)
	if err != nil {
		return nil, err
	}
	set, err := o.Tiers(tiers.Deps{
		Client: o.Client, Models: o.Models, Embedder: stored{s, o.Embedder}, Facts: s, CountTokens: o.Tokenizer.Count, Options: o.TierOptions,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open memory %s: build the tiers: %w", s, err), s.Close())
	}
	m := &Memory{Archive: archive, options: o, set: set, routed: set.Routed(), space: Space(set), open: newOpenHistories(o.OpenChunks)}
	if len(set[tiers.Answering]) == 0 {
		m.set[tiers.Answering] = []tiers.Tier{m.answerer()}
	} else if o.AnswerSamples > 1 {
		return nil, errors.Join(fmt.Errorf("open memory %s: %d samples of an answer, but the tier set says how answers are written: sample by a tier of it", s, o.AnswerSamples), s.Close())
	}
	if m.options.Policy == nil {
		if m.options.Policy, err = router.NewStatic(m.space, make([]int, len(m.space))); err != nil {
			return nil, errors.Join(fmt.Errorf("open memory %s: %w", s, err), s.Close())
		}
	}
	return m, nil
}

// closeStore closes a store that was given, which may be nil.
func closeStore(s *store.Store) error {
	if s == nil {
		return nil
	}
	return s.Close()
}

// ChunkTokens is the size of the chunks that Add makes, in tokens.
func (m *Memory) ChunkTokens() int { return m.options.ChunkTokens }

// AnswerSamples is the number of replies that are sampled for an answer; 0 where it is one, which is not sampled.
func (m *Memory) AnswerSamples() int {
	if m.options.AnswerSamples < 2 {
		return 0
	}
	return m.options.AnswerSamples
}

// Space returns the decisions that policies make: the modules in order, each with its tiers, cheapest first.
func (m *Memory) Space() router.Space { return m.space }

// Dim is the width of the embedder's vectors, which policies look at.
func (m *Memory) Dim() int { return m.options.Embedder.Dim() }

// Space describes a set of tiers to a router.
func Space(set tiers.Set) router.Space {
	var space router.Space
	for _, module := range set.Routed() {
		m := router.Module{Name: module.String()}
		for _, t := range set[module] {
			m.Tiers = append(m.Tiers, t.Name())
		}
		space = append(space, m)
	}
	return space
}

// memoryOf says what each module's tier is decided on: the mean of the retrieved chunks, that of the kept chunks, that of the
// facts, or the notes.
var memoryOf = [tiers.NumModules]string{
	tiers.Filter: "retrieved", tiers.Entity: "kept", tiers.Temporal: "kept", tiers.Topic: "kept", tiers.Summary: "facts", tiers.Answering: "notes",
}

// Shape is that of a router which decides for the memory, with the default widths. Of the memory embeddings, that of the filter is the mean
// of the retrieved chunks, that of entity, temporal and topic the mean of the kept chunks, that of the summary the mean of the
// facts, or of the kept chunks without any, and that of the answer the notes'.
func (m *Memory) Shape() router.Shape {
	shape := router.Shape{Dim: m.Dim(), Embedder: m.options.Embedder.ID(), Modules: m.space}
	var seen []string
	for _, module := range m.routed {
		if !slices.Contains(seen, memoryOf[module]) {
			seen = append(seen, memoryOf[module])
		}
		shape.MemoryIndex = append(shape.MemoryIndex, slices.Index(seen, memoryOf[module]))
	}
	if slices.Contains(m.routed, tiers.Answering) {
		shape.Signals = Signals()
	}
	return shape
}

// Add appends turns to the memory of that name, which is created if need be: it cuts the whole history into chunks and
// embeds what is new. Turns whose id is there already with the same content are skipped, so adding a history twice
// changes nothing; the same id with other content is an error, and nothing is added. A picture or file inside a text, as a data:
// URL or in base64, is replaced by a note of its type and size. ErrNoTurns if there is nothing to add, ErrTurnExists for
// an id that is taken.
func (m *Memory) Add(ctx context.Context, memory string, turns []chunk.Turn, opts ...AddOption) (Added, error) {
	if len(turns) == 0 {
		return Added{}, fmt.Errorf("add to memory %q: %w", memory, ErrNoTurns)
	}
	var o store.AddOptions
	for _, opt := range opts {
		opt(&o)
	}
	added, err := m.store.Append(ctx, memory, conversation.WithoutAttachments(turns), m.cutter(), o)
	if err != nil {
		return Added{}, err
	}
	return Added{added, len(turns) - added}, m.embedNew(ctx, memory)
}

func (m *Memory) cutter() store.Cutter {
	return store.Cutter{Count: m.options.Tokenizer.Count, MaxTokens: m.options.ChunkTokens}
}

// embedNew embeds what was added, now and not in the first question, if the mode of retrieval needs all vectors.
func (m *Memory) embedNew(ctx context.Context, memory string) error {
	if !m.options.Retrieval.EmbedsAll() {
		return nil
	}
	return m.store.Embed(ctx, memory, m.options.Embedder, m.options.Retrieval == retrieve.Hybrid, m.progress(memory))
}

func (m *Memory) progress(memory string) func(done, total int) {
	if m.options.Progress == nil {
		return nil
	}
	return func(done, total int) { m.options.Progress(memory, done, total) }
}

// Retrieve returns the chunks of a memory that are nearest to the question, best first. It takes the options of Ask that
// concern retrieval: WithMemory, WithTopK, WithRetrieval. Their times are in an unambiguous form; see Options.Dates.
//
// Errors: ErrNoQuestion, and ErrNoMemory in a *StepError.
func (m *Memory) Retrieve(ctx context.Context, question string, opts ...Option) ([]retrieve.Hit, error) {
	a, err := m.ask(question, opts)
	if err != nil {
		return nil, err
	}
	return m.hits(ctx, a)
}

// hits retrieves for what was asked, without a trace.
func (m *Memory) hits(ctx context.Context, a ask) ([]retrieve.Hit, error) {
	var t Trace
	hits, _, err := m.retrieve(inMemory(ctx, a.memory), a, &meter{embedder: stored{m.store, m.options.Embedder}, sum: &t.Embedding}, &t)
	return hits, err
}

// retriever returns the retriever of a view as it is now, and how its times were read. Only one caller at a time opens one.
func (m *Memory) retriever(ctx context.Context, v view) (*retrieve.Live, *text.Reading, error) {
	fail := func(err error) (*retrieve.Live, *text.Reading, error) {
		if errors.Is(err, store.ErrNoMemory) {
			m.open.forget(v.memory)
			return nil, nil, fmt.Errorf("%w %q: add turns to it first", ErrNoMemory, v.memory)
		}
		return nil, nil, fmt.Errorf("open memory %q for %s retrieval: %w", v.memory, v.mode, err)
	}
	if _, err := m.store.ForgetExpired(ctx, time.Now()); err != nil {
		return fail(err)
	}
	o := m.open.get(v)
	o.once.Lock()
	defer o.once.Unlock()
	var err error
	if o.retriever != nil {
		err = o.retriever.Refresh(ctx)
	} else {
		o.retriever, err = retrieve.Load(ctx, m.store, m.options.Embedder, v.memory, v.mode, retrieve.LoadOptions{
			Prepare: func(chunks []chunk.Chunk, l text.Language, whole bool) bool {
				return o.readTimes(chunks, l, whole, m.options.Dates)
			},
			Progress: m.progress(v.memory),
		})
	}
	if err != nil {
		return fail(err)
	}
	m.open.loaded(v, o, o.retriever.Len())
	return o.retriever, o.times.reading(), nil
}
