// Package memory offers the memories of a bmem.Memory to other programs: a Service with plain requests and results, which
// the REST handler here and the MCP tools of package serve/mcp share.
package memory

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Limits of requests.
const (
	MaxName   = 100  // characters of a memory's name
	MaxTurns  = 1000 // of one Add
	MaxFound  = 100  // turns that one Search returns
	maxAsking = 8000 // bytes of a question or query
)

// Service answers requests about the memories of one file. It is safe for concurrent use.
type Service struct {
	mem     *bmem.Memory
	options Options
}

// Options are settings of a Service.
type Options struct {
	// Activity counts what is done; nil if that does not matter.
	Activity *Activity
	// Routing are options of questions that name no budget, such as bmem.WithPolicy; nil for the memory's usual policy.
	Routing []bmem.Option
	// Log gets what callers cannot mend; nil means slog.Default.
	Log *slog.Logger
}

// New returns a service over mem, which stays the caller's.
func New(mem *bmem.Memory, o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Activity == nil {
		o.Activity = NewActivity(nil, o.Log)
	}
	return &Service{mem: mem, options: o}
}

// Add adds turns.
func (s *Service) Add(ctx context.Context, scope Scope, r AddRequest) (_ AddResult, err error) {
	name, err := scope.name(r.Memory)
	if err != nil {
		return AddResult{}, err
	}
	e := about(scope, adding, name)
	defer func() { s.options.Activity.ended(e, err) }()
	if len(r.Turns) == 0 || len(r.Turns) > MaxTurns {
		return AddResult{}, bad("turns: want 1 to %d", MaxTurns)
	}
	now := time.Now().UTC()
	turns := make([]chunk.Turn, len(r.Turns))
	ids := make([]string, len(r.Turns))
	for i, t := range r.Turns {
		if strings.TrimSpace(t.Text) == "" {
			return AddResult{}, bad("turns[%d].text: missing or empty", i)
		}
		if t.Session == "" {
			t.Session = now.Format(time.DateOnly)
		}
		if t.Time == "" {
			t.Time = now.Format("2006-01-02 15:04")
		}
		if t.ID == "" {
			t.ID = t.Session + ":" + rand.Text()[:12] // no other client can have made the same
		}
		turns[i], ids[i] = chunk.Turn{ID: t.ID, Session: t.Session, Time: t.Time, Speaker: t.Speaker, Text: t.Text}, t.ID
	}
	var opts []bmem.AddOption
	if r.Expires != "" {
		at, err := bmem.ParseExpiry(r.Expires, now)
		if err != nil {
			return AddResult{}, bad("expires: %v", err)
		}
		opts = append(opts, bmem.WithExpiry(at))
	}
	leave, err := enter(ctx)
	if err != nil {
		return AddResult{}, err
	}
	defer leave()
	added, err := s.mem.Add(ctx, name, turns, opts...)
	if errors.Is(err, bmem.ErrTurnExists) && s.again(ctx, name, r.Turns, turns) {
		added, err = s.mem.Add(ctx, name, turns, opts...)
	}
	if err != nil {
		return AddResult{}, err
	}
	e.Turns = added.New
	shown, _ := scope.shown(name)
	return AddResult{Memory: shown, New: added.New, Skipped: added.Skipped, IDs: ids}, nil
}

// again gives turns that were sent before the session and time that they left out then, so that they can be sent again. It reports whether
// any turn is another now.
func (s *Service) again(ctx context.Context, name string, sent []NewTurn, turns []chunk.Turn) (changed bool) {
	for i, t := range sent {
		if t.ID == "" || t.Session != "" && t.Time != "" {
			continue
		}
		if old, err := s.mem.Turn(ctx, name, t.ID); err == nil && old.Text == t.Text && old.Speaker == t.Speaker {
			was := turns[i]
			turns[i].Session, turns[i].Time = cmp.Or(t.Session, old.Session), cmp.Or(t.Time, old.Time)
			changed = changed || turns[i] != was
		}
	}
	return changed
}

// Search looks for turns.
func (s *Service) Search(ctx context.Context, scope Scope, r SearchRequest) (_ SearchResult, err error) {
	name, opts, err := s.optionsOf(scope, r.Memory, r.Query, r.Before, r.After)
	if err != nil {
		return SearchResult{}, err
	}
	e := about(scope, searching, name)
	defer func() { s.options.Activity.ended(e, err) }()
	switch {
	case r.Limit < 0 || r.Limit > MaxFound:
		return SearchResult{}, bad("limit: want 1 to %d", MaxFound)
	case r.Limit > 0:
		opts = append(opts, bmem.WithTopK(int(r.Limit)))
	}
	leave, err := enter(ctx)
	if err != nil {
		return SearchResult{}, err
	}
	defer leave()
	hits, err := s.mem.Search(ctx, r.Query, opts...)
	if err != nil {
		return SearchResult{}, err
	}
	out := SearchResult{Turns: []Found{}}
	for _, h := range hits {
		out.Turns = append(out.Turns, Found{turnOf(h.Turn), h.Score})
	}
	return out, nil
}

// optionsOf are those that a search and a question share, with the stored name of the memory.
func (s *Service) optionsOf(scope Scope, memory, text, before, after string) (name string, opts []bmem.Option, err error) {
	if name, err = scope.name(memory); err != nil {
		return "", nil, err
	}
	if strings.TrimSpace(text) == "" || len(text) > maxAsking {
		return "", nil, bad("the question or query: want 1 to %d bytes of text", maxAsking)
	}
	opts = []bmem.Option{bmem.WithMemory(name)}
	for field, with := range map[string]func(time.Time) bmem.Option{"before": bmem.WithBefore, "after": bmem.WithAfter} {
		value := map[string]string{"before": before, "after": after}[field]
		if value == "" {
			continue
		}
		at, err := bmem.ParseTime(value)
		if err != nil {
			return "", nil, bad("%s: %v", field, err)
		}
		opts = append(opts, with(at))
	}
	return name, opts, nil
}

// Budgets are what AskRequest.Budget may name, cheapest first: the tiers that all modules of the memory's tier set have, such as "low",
// "mid" and "high"; none where the modules have no tier in common.
func (s *Service) Budgets() []string { return s.mem.Space().Uniform() }

// Ask answers a question within what the scope's account has left.
func (s *Service) Ask(ctx context.Context, scope Scope, r AskRequest) (out AskResult, err error) {
	name, opts, err := s.optionsOf(scope, r.Memory, r.Question, r.Before, r.After)
	if err != nil {
		return AskResult{}, err
	}
	if r.Budget != "" {
		if budgets := s.Budgets(); len(budgets) == 0 {
			return AskResult{}, bad("budget: the modules of this server's tier set have no tier in common; leave it out")
		} else if !slices.Contains(budgets, r.Budget) {
			return AskResult{}, bad("budget: %.40q: want one of %v", r.Budget, budgets)
		}
		opts = append(opts, bmem.WithTiers(r.Budget))
	} else {
		opts = append(opts, s.options.Routing...)
	}
	for _, least := range []struct {
		name  string
		value *float64
		with  func(float64) bmem.Option
	}{{"min_confidence", r.MinConfidence, bmem.WithMinConfidence}, {"min_answerable", r.MinAnswerable, bmem.WithMinAnswerable}} {
		if least.value == nil {
			continue
		}
		if !(*least.value >= 0 && *least.value <= 1) {
			return AskResult{}, bad("%s: want 0 to 1", least.name)
		}
		opts = append(opts, least.with(*least.value))
	}
	want := math.Inf(1)
	if r.MaxDollars != nil {
		if want = *r.MaxDollars; !(want > 0) {
			return AskResult{}, bad("max_dollars: want more than 0")
		}
	}
	e := about(scope, asking, name)
	defer func() { s.options.Activity.ended(e, err) }()
	leave, err := enter(ctx)
	if err != nil {
		return AskResult{}, err
	}
	defer leave()
	var a bmem.Answer
	left, err := Spend(ctx, scope.Account, want, 0, s.options.Log, func(most float64) (spent float64, err error) {
		if !math.IsInf(most, 1) {
			opts = append(opts, bmem.WithMaxCost(most))
		}
		a, err = s.mem.Ask(ctx, r.Question, opts...)
		return max(a.Trace.AtMost, a.Trace.Usage().Dollars), err
	})
	e.asked(a.Trace)
	if err != nil {
		return AskResult{}, err
	}
	return s.answered(ctx, a, left, r.Steps), nil
}

// answered is what the caller gets to see of an answer.
func (s *Service) answered(ctx context.Context, a bmem.Answer, left *Budget, steps bool) AskResult {
	usage := a.Trace.Usage()
	out := AskResult{Answer: a.Text, Confidence: a.Confidence, Answerable: a.Answerable, Abstained: a.Abstained, Evidence: []Turn{}, Tiers: servedTiers(a.Trace), TokensIn: usage.In, TokensOut: usage.Out,
		Dollars: usage.Dollars, Milliseconds: a.Trace.WallMS, Budget: left}
	for _, id := range a.Evidence {
		t, err := s.mem.Turn(ctx, a.Trace.Memory, id)
		if err == nil { // else it was forgotten meanwhile
			out.Evidence = append(out.Evidence, turnOf(t.Turn))
		}
	}
	if !steps {
		return out
	}
	why := map[string]string{}
	for _, m := range a.Trace.Steps() {
		why[m.Module] = m.Why
	}
	for _, span := range a.Trace.Spans() {
		out.Steps = append(out.Steps, Step{Step: span.Step, Tier: span.Tier, Why: why[span.Step], Start: span.Start, Milliseconds: span.MS, Dollars: span.Dollars})
	}
	return out
}

// servedTiers are the tiers that the modules of a question ran at.
func servedTiers(t bmem.Trace) map[string]string {
	tiers := map[string]string{}
	for _, m := range t.Steps() {
		if m.Served != "" { // else the question was refused before
			tiers[m.Module] = m.Served
		}
	}
	return tiers
}

// List describes the memories.
func (s *Service) List(ctx context.Context, scope Scope) (ListResult, error) {
	all, err := s.mem.Memories(ctx)
	if err != nil {
		return ListResult{}, err
	}
	out := ListResult{Memories: []Info{}}
	for _, m := range all {
		if name, ok := scope.shown(m.Name); ok {
			out.Memories = append(out.Memories, infoOf(name, m))
		}
	}
	return out, nil
}

// Describe describes one memory.
func (s *Service) Describe(ctx context.Context, scope Scope, memory string) (Info, error) {
	name, err := scope.name(memory)
	if err != nil {
		return Info{}, err
	}
	m, err := s.mem.Describe(ctx, name)
	if err != nil {
		return Info{}, err
	}
	shown, _ := scope.shown(name)
	return infoOf(shown, m), nil
}

func infoOf(name string, m bmem.MemoryInfo) Info {
	i := Info{Name: name, Turns: m.Turns, Sessions: m.Sessions, Bytes: m.Bytes}
	if !m.Changed.IsZero() {
		i.Changed = m.Changed.UTC().Format(time.RFC3339)
	}
	return i
}

// Get reads a page of turns.
func (s *Service) Get(ctx context.Context, scope Scope, r GetRequest) (Page, error) {
	name, err := scope.name(r.Memory)
	if err != nil {
		return Page{}, err
	}
	if r.Limit < 0 || r.Limit > MaxTurns {
		return Page{}, bad("limit: want 1 to %d", MaxTurns)
	}
	p, err := s.mem.Turns(ctx, name, bmem.TurnQuery{Cursor: r.Cursor, Limit: int(r.Limit), Session: r.Session, Speaker: r.Speaker})
	if err != nil {
		return Page{}, err
	}
	out := Page{Turns: []Turn{}, Next: p.Next}
	for _, t := range p.Turns {
		out.Turns = append(out.Turns, turnOf(t.Turn))
	}
	return out, nil
}

// Turn reads one turn.
func (s *Service) Turn(ctx context.Context, scope Scope, memory, id string) (Turn, error) {
	name, err := scope.name(memory)
	if err != nil {
		return Turn{}, err
	}
	t, err := s.mem.Turn(ctx, name, id)
	return turnOf(t.Turn), err
}

// Delete forgets what the request names.
func (s *Service) Delete(ctx context.Context, scope Scope, r DeleteRequest) (_ DeleteResult, err error) {
	name, err := scope.name(r.Memory)
	if err != nil {
		return DeleteResult{}, err
	}
	e := about(scope, forgetting, name)
	defer func() { s.options.Activity.ended(e, err) }()
	// What a caller asked to forget leaves the files, also if the caller goes before it is answered.
	ctx = context.WithoutCancel(ctx)
	var gone bmem.Forgotten
	switch want := [...]bool{r.Turn != "", r.Session != "", r.Speaker != "", r.All}; want {
	case [...]bool{true, false, false, false}:
		gone, err = s.mem.ForgetTurns(ctx, name, r.Turn)
	case [...]bool{false, true, false, false}:
		gone, err = s.mem.ForgetSession(ctx, name, r.Session)
	case [...]bool{false, false, true, false}:
		gone, err = s.mem.ForgetSpeaker(ctx, name, r.Speaker)
	case [...]bool{false, false, false, true}:
		gone, err = s.mem.ForgetMemory(ctx, name)
	default:
		return DeleteResult{}, bad("give one of turn, session and speaker, or all: true to forget the whole memory")
	}
	e.Turns = gone.Turns
	return DeleteResult{gone.Turns, gone.Memories}, err
}

func turnOf(t chunk.Turn) Turn { return Turn{t.ID, t.Session, t.Time, t.Speaker, t.Text} }
