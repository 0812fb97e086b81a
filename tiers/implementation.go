package tiers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/tiers/lingua"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The names of the tiers on the implementation axis.
const (
	Low  = "low"
	Mid  = "mid"
	High = "high"
	// None is what serves a relation module whose model failed: an empty list.
	None = "none"
)

// Deps is what the tiers work with.
type Deps struct {
	// Client is the model of the High tiers. If it is an llm.Scorer too, the filter and the summary rank by likelihood
	// instead of by generated text.
	Client llm.Client
	// Embedder gives turns a score of their own when retrieval gave none; nil leaves those to word overlap.
	Embedder embed.Embedder
	// Pool keeps what Low and Mid extract from each chunk; nil keeps it in memory.
	Pool Pool
	// CountTokens measures texts against the budgets; nil estimates by characters.
	CountTokens func(text string) int
	Options     Options
}

// Options are the settings of the tiers; a zero field takes its default.
type Options struct {
	// MaxFacts is the most facts that a relation module returns (default 10).
	MaxFacts int
	// LowTokens, MidTokens and HighTokens bound the summaries, in tokens (defaults 2500, 450, 320).
	LowTokens, MidTokens, HighTokens int
	// HighTurns is the most turns that the High summary quotes, those added to make a reply readable not counted (default 8).
	HighTurns int
	// TurnTokens is the longest that one turn is quoted by Mid and High, in tokens; of a longer one the sentences nearest to
	// the question stay (default 120).
	TurnTokens int
	// ScoredTurns is the most turns whose likelihood the High summary computes, best by retrieval first (default 20).
	ScoredTurns int
	// ReplyTokens bounds the replies of the relation modules' and the filter's generated text (default 128).
	ReplyTokens int
}

func (o Options) withDefaults() Options {
	set := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	set(&o.MaxFacts, 10)
	set(&o.LowTokens, 2500)
	set(&o.MidTokens, 450)
	set(&o.HighTokens, 320)
	set(&o.HighTurns, 8)
	set(&o.TurnTokens, 120)
	set(&o.ScoredTurns, 20)
	set(&o.ReplyTokens, 128)
	return o
}

// Implementation returns the tiers of the implementation axis: every module by rules (Low), by a stronger method without
// a language model (Mid), and by a language model (High). It returns an error without a Client.
func Implementation(deps Deps) (Set, error) {
	if deps.Client == nil {
		return Set{}, errors.New("tiers: the implementation axis needs a Client for its High tiers")
	}
	k := newKit(deps)
	return Set{
		Filter:   {k.tier(Filter, Low, k.filterLow), k.tier(Filter, Mid, k.filterMid), k.tier(Filter, High, k.filterHigh)},
		Entity:   k.relation(Entity, entityLow{}, entityMid{tagger: k.tagger}),
		Temporal: k.relation(Temporal, temporalLow{}, temporalMid{tagger: k.tagger}),
		Topic:    k.relation(Topic, topicLow{}, topicMid{tagger: k.tagger}),
		Summary:  {k.tier(Summary, Low, k.summaryLow), k.tier(Summary, Mid, k.summaryMid), k.tier(Summary, High, k.summaryHigh)},
	}, nil
}

// kit is what the tiers of one set share.
type kit struct {
	Deps
	tagger *lingua.Tagger
}

func newKit(deps Deps) *kit {
	deps.Options = deps.Options.withDefaults()
	if deps.Pool == nil {
		deps.Pool = NewMemoryPool()
	}
	if deps.CountTokens == nil {
		deps.CountTokens = estimateTokens
	}
	return &kit{Deps: deps, tagger: &lingua.Tagger{}}
}

// estimateTokens takes four characters for a token, which is near the truth for English.
func estimateTokens(s string) int { return (len(s) + 3) / 4 }

// work is a module's method. It fills the step's Method, Usage and Notes, and Served and Why if it had to step down.
type work func(ctx context.Context, in Input, step *Step) (Output, error)

// tier gives a method its name and its Step.
func (k *kit) tier(m Module, name string, w work) Tier { return &timed{module: m, name: name, work: w} }

type timed struct {
	module Module
	name   string
	work   work
}

func (t *timed) Name() string { return t.name }

// Run implements Tier. The Output carries its Step on error too, so that what a failed module consumed is never free.
func (t *timed) Run(ctx context.Context, in Input) (Output, error) {
	step := Step{Asked: t.name, Served: t.name}
	start := time.Now()
	out, err := t.work(ctx, in, &step)
	step.MS = float64(time.Since(start)) / float64(time.Millisecond)
	out.Step = step
	if err != nil {
		return out, fmt.Errorf("%s module at tier %s: %w", t.module, t.name, err)
	}
	return out, nil
}

// stepDown records that a lower tier serves, and why. It gives the cause back when there is no point in going on: the
// question was cancelled, or the set-up is at fault.
func (s *Step) stepDown(ctx context.Context, served string, cause error) error {
	if ctx.Err() != nil || configurationFault(cause) {
		return cause
	}
	s.Served, s.Why = served, cause.Error()
	return nil
}

func (s *Step) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}
