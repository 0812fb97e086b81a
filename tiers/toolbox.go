package tiers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The names of the tiers on the shipped axes.
const (
	Low  = "low"
	Mid  = "mid"
	High = "high"
	// None is what serves a relation module whose model failed: an empty list.
	None = "none"
)

// Deps is what the tiers work with.
type Deps struct {
	// Client is the model that tiers ask which name no other. If it is an llm.Scorer too, methods can rank by likelihood
	// instead of by generated text.
	Client llm.Client
	// Models are the models that tier sets name by a role, such as "small".
	Models map[string]llm.Client
	// Embedder gives turns a score of their own when retrieval gave none; nil leaves those to word overlap.
	Embedder embed.Embedder
	// FactCache keeps what Low and Mid extract from each chunk; nil keeps it in memory.
	Facts FactCache
	// CountTokens measures texts against the budgets; nil estimates by characters.
	CountTokens func(text string) int
	Options     Options
}

// Options are the settings of the tiers; a zero field takes its default.
type Options struct {
	// MaxFacts is the most facts that a relation module returns (default 10).
	MaxFacts int
	// LowTokens, MidTokens and HighTokens bound the summaries, in tokens (defaults 2500, 600, 450).
	LowTokens, MidTokens, HighTokens int
	// Turns is the most turns that a summary quotes (default 10). Of these it quotes as few as hold the share Coverage, in
	// (0,1], of all turns' probabilities to be evidence (default 0.9).
	Turns    int
	Coverage float64
	// TurnTokens is the longest that one turn is quoted by Mid and High, in tokens; of a longer one the sentences nearest to
	// the question stay (default 120).
	TurnTokens int
	// ScoredTurns is the most turns whose likelihood the High summary computes, best by retrieval first (default 20).
	ScoredTurns int
	// ReplyTokens bounds the replies of the relation modules' and the filter's generated text (default 128).
	ReplyTokens int
	// ThinkTokens is the room for thinking on top of that: once with prompts that ask for steps, twice with those that ask
	// to plan, act and reflect (default 160).
	ThinkTokens int
}

func (o Options) withDefaults() Options {
	set := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	set(&o.MaxFacts, 10)
	set(&o.LowTokens, 2500)
	set(&o.MidTokens, 600)
	set(&o.HighTokens, 450)
	set(&o.Turns, 10)
	if o.Coverage <= 0 {
		o.Coverage = 0.9
	}
	set(&o.TurnTokens, 120)
	set(&o.ScoredTurns, 20)
	set(&o.ReplyTokens, 128)
	set(&o.ThinkTokens, 160)
	return o
}

// toolbox is what a tier works with: what the tiers of one set share, and what it alone is asked with.
type toolbox struct {
	Deps
	tagger  *text.Tagger
	style   string // of prompts
	samples int    // of answers by mbr
	// served names in a Step the method that served in place of the tier's own.
	served func(method string) string
}

func (tb *toolbox) answerer() Answerer {
	return Answerer{Client: tb.Client, Short: tb.style == Short, Samples: tb.samples, LogProbs: true}
}

func newToolbox(deps Deps) *toolbox {
	deps.Options = deps.Options.withDefaults()
	if deps.Facts == nil {
		deps.Facts = newFactCache()
	}
	if deps.CountTokens == nil {
		deps.CountTokens = estimateTokens
	}
	return &toolbox{Deps: deps, tagger: &text.Tagger{}}
}

// estimateTokens takes four characters for a token, which is near the truth for English.
func estimateTokens(s string) int { return (len(s) + 3) / 4 }

// runFunc is a module's method. It fills the step's Method, Usage and Notes, and Served and Why if it had to step down.
type runFunc func(ctx context.Context, in Input, step *Step) (Output, error)

// plan holds the calls that a method makes of its model: one chat each, and one batch of scores if there are any.
type plan struct {
	chat  []llm.Request
	score []llm.ScoreRequest
}

// worstCase is the most that the calls can cost at c, in dollars.
func (p plan) worstCase(c llm.Client) (float64, error) {
	if len(p.chat) == 0 && len(p.score) == 0 {
		return 0, nil
	}
	b, ok := c.(llm.Bounder)
	if !ok {
		return 0, fmt.Errorf("the worst case of a call of %s: %w: make the client by llm.Stack", c.Model(), llm.ErrUnpriced)
	}
	sum := 0.0
	for _, req := range p.chat {
		sum += b.Bound(req).Dollars
	}
	if len(p.score) > 0 {
		sum += b.ScoreBound(p.score).Dollars
	}
	return sum, nil
}

// planFunc plans the calls of a method without making them.
type planFunc func(ctx context.Context, in Input) (plan, error)

// tier gives a method its name and its Step.
func (tb *toolbox) tier(m Module, name string, how method) Tier {
	t := &timed{module: m, name: name, client: tb.Client, run: how.make(tb), keepsAll: how.keepsAll}
	if how.plan != nil {
		t.plan = how.plan(tb)
	}
	return t
}

type timed struct {
	module Module
	name   string
	client llm.Client // the one that run may ask
	run    runFunc
	plan   planFunc // nil if run asks no model
	// keepsAll says of a filter that it keeps every chunk.
	keepsAll bool
}

func (t *timed) Name() string { return t.name }

// Run implements Tier. The Output carries its Step on error too, so that what a failed module consumed is never free.
func (t *timed) Run(ctx context.Context, in Input) (Output, error) {
	step := Step{Asked: t.name, Served: t.name}
	start := time.Now()
	in.Items = quotable(in.Items)
	out, err := t.run(ctx, in, &step)
	for i, f := range out.Facts {
		if strings.ContainsAny(f, "\n\u2028\u2029") { // a line of its own in notes
			out.Facts = slices.Clone(out.Facts)
			out.Facts[i] = strings.Join(strings.Fields(f), " ")
		}
	}
	step.MS = float64(time.Since(start)) / float64(time.Millisecond)
	if step.Usage.Calls > 0 {
		step.Model = cmp.Or(step.Model, t.client.Model())
	}
	out.Step = step
	if err != nil && t.module != Answering { // whose tiers say so themselves
		err = fmt.Errorf("%s module at tier %s: %w", t.module, t.name, err)
	}
	return out, err
}

// KeepsAll implements Keeper.
func (t *timed) KeepsAll() bool { return t.keepsAll }

// WorstCase implements Tier.
func (t *timed) WorstCase(ctx context.Context, in Input) (float64, error) {
	in.Items = quotable(in.Items)
	if t.plan == nil {
		return 0, nil
	}
	p, err := t.plan(ctx, in)
	if err != nil {
		return 0, fmt.Errorf("%s module at tier %s: worst case: %w", t.module, t.name, err)
	}
	return p.worstCase(t.client)
}

// stepDown records that a lower tier serves, and why. It gives the cause back when there is no point in going on: the
// question was cancelled, which the error then tells, or the set-up is at fault.
func (s *Step) stepDown(ctx context.Context, served string, cause error) error {
	if err := ctx.Err(); err != nil && !errors.Is(cause, err) {
		return fmt.Errorf("%w, and %w", err, cause)
	} else if err != nil || configurationFault(cause) {
		return cause
	}
	s.Served, s.Why, s.Cause = served, cause.Error(), cause
	return nil
}

func (s *Step) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}
