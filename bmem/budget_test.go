package bmem

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/portable"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// biller is a model that bills what it likes within the bounds of a call, fails now and then, and bills for some failures.
type biller struct {
	price llm.Price
	mu    sync.Mutex
	rng   *rand.Rand
	fails float64
	// most bills every call at its bound.
	most   bool
	billed float64
	// hedged asks it twice at one time.
	hedged bool
}

func (b *biller) Model() string { return "biller" }
func (b *biller) ID() string    { return "biller" }
func (b *biller) Chat(_ context.Context, req llm.Request) (llm.Response, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	in, out := llm.UpperBound(req.Messages), req.ReplyLimit()
	if !b.most {
		in, out = b.rng.IntN(in+1), b.rng.IntN(out+1)
	}
	if b.rng.Float64() < b.fails {
		if b.rng.IntN(2) == 0 {
			return llm.Response{}, &llm.Error{Kind: llm.ErrUnavailable, Status: 503, Err: errors.New("busy")}
		}
		b.billed += b.price.Dollars(in, out)
		return llm.Response{}, &llm.Error{Kind: llm.ErrUnavailable, Status: 200, Err: errors.New("cut")}
	}
	b.billed += b.price.Dollars(in, out)
	return llm.Response{Text: strings.Repeat("fact, ", b.rng.IntN(400)), Usage: llm.Usage{Calls: 1, In: in, Out: out}}, nil
}

// twins are two endpoints of a biller, each of which may be asked while the other still writes. What was begun is billed.
type twins struct{ *biller }

func (w twins) CanHedge() bool { return true }
func (w twins) Hedge(ctx context.Context) (context.Context, context.Context, <-chan time.Duration) {
	after := make(chan time.Duration, 1)
	after <- 0
	return ctx, ctx, after
}

func (w twins) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	resp, err := w.biller.Chat(ctx, req)
	select {
	case <-time.After(50 * time.Microsecond):
		return resp, err
	case <-ctx.Done():
		return llm.Response{}, &llm.Error{Kind: llm.ErrUnavailable, Err: context.Cause(ctx)}
	}
}

// caller is a tier that makes some calls with prompts of some length, and gives up on errors as real tiers do on what they
// can do without.
type caller struct {
	name                 string
	client               llm.Client
	calls, length, reply int
}

func (c caller) Name() string { return c.name }

func (c caller) request(in tiers.Input) llm.Request {
	prompt := in.Query + strings.Repeat("x", c.length) + strings.Join(slices.Concat(in.Entity, in.Temporal, in.Topic), "") + in.Notes
	return llm.Request{Messages: []llm.Message{{Role: "user", Content: prompt}}, MaxTokens: c.reply}
}

func (c caller) Run(ctx context.Context, in tiers.Input) (tiers.Output, error) {
	out := tiers.Output{Kept: in.Items, Step: tiers.Step{Asked: c.name, Served: c.name}}
	for range c.calls {
		resp, err := c.client.Chat(ctx, c.request(in))
		out.Step.Usage = out.Step.Usage.Add(resp.Usage)
		if errors.Is(err, llm.ErrBudget) {
			return out, err // a refusal in spite of the worst case would be a fault of the budget
		}
		out.Text += resp.Text
		out.Facts = append(out.Facts, resp.Text)
	}
	return out, nil
}

func (c caller) WorstCase(_ context.Context, in tiers.Input) (float64, error) {
	return float64(c.calls) * c.client.(llm.Bounder).Bound(c.request(in)).Dollars, nil
}

// capped opens a memory whose tiers make random calls to a biller, through a stack.
func cappedMemory(t *testing.T, rng *rand.Rand, b *biller, cache *llm.Cache, lowest int) *Memory {
	t.Helper()
	var base llm.Client = b
	if b.hedged {
		base = twins{b}
	}
	stack, err := llm.Stack(base, llm.StackOptions{Hedge: b.hedged, Prices: llm.DefaultPrices().Set(map[string]llm.Price{"biller": b.price}), Cache: cache,
		Retry: llm.Retry{Attempts: 3, Base: time.Microsecond, MaxInterval: time.Microsecond}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(context.Background(), Options{Path: filepath.Join(t.TempDir(), "m.db"), Embedder: &embedtest.Words{}, Tokenizer: &embedtest.Words{}, Client: stack,
		Tiers: func(tiers.Deps) (tiers.Set, error) {
			var set tiers.Set
			for _, module := range tiers.Modules() {
				if left := rng.IntN(3); module == tiers.Answering && left > 0 || module == tiers.Topic && left > 1 {
					continue // answers are not routed; there is no such list
				}
				for i, name := range []string{tiers.Low, tiers.Mid, tiers.High} {
					calls := lowest
					if i > 0 {
						calls = rng.IntN(4)
					}
					set[module] = append(set[module], caller{name, stack, calls, rng.IntN(2000), 1 + rng.IntN(300)})
				}
			}
			return set, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if _, err := m.Add(context.Background(), DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Text: "Ann moved to Bern."}, {ID: "2", Session: "2", Text: "Bob moved to Rome."}}); err != nil {
		t.Fatal(err)
	}
	return m
}

// wavering is a policy that has other tiers answer too at random.
type wavering struct {
	router.Policy
	rng   *rand.Rand
	tiers int
}

func (w wavering) Next(answered []router.Answered, _ float64) (int, bool) {
	for _, tier := range w.rng.Perm(w.tiers) {
		if !slices.ContainsFunc(answered, func(a router.Answered) bool { return a.Tier == tier }) {
			return tier, w.rng.IntN(3) > 0
		}
	}
	return 0, false
}

// Ten thousand random questions and caps: the cap is never passed, neither by what the trace says nor by what was billed; and
// a question that is refused before anything was spent would have fitted into what the error says.
func TestMaxCostIsNeverPassed(t *testing.T) {
	n, memories := 10_000, 50
	if testing.Short() {
		n, memories = 1_000, 10
	}
	neverPassed(t, n, memories, false)
}

// The same where every call may be two.
func TestMaxCostIsNeverPassedByHedging(t *testing.T) { neverPassed(t, 600, 10, true) }

func neverPassed(t *testing.T, n, memories int, hedged bool) {
	rng := rand.New(rand.NewPCG(1, 1))
	twice := 0
	answered, refused, lowered, cut, retried, routed, answersLowered, cascaded := 0, 0, 0, 0, 0, 0, 0, 0
	for range memories {
		b := &biller{hedged: hedged, rng: rng, fails: []float64{0, 0.1}[rng.IntN(2)], price: llm.Price{In: rng.Float64() * 3, Out: rng.Float64() * 9}}
		m := cappedMemory(t, rng, b, nil, rng.IntN(2))
		for q := range n / memories {
			b.most = rng.IntN(4) == 0
			limit := math.Exp(rng.Float64()*5-6) * b.price.Dollars(1000, 100) * 100
			b.billed = 0
			opts := []Option{WithMaxCost(limit), WithTiers([]string{"low", "mid", "high", "random"}[rng.IntN(4)])}
			if space := m.Space(); rng.IntN(2) == 0 {
				p, err := router.Parse([]string{"low", "mid", "high", "random"}[rng.IntN(4)], space, 0)
				if err != nil {
					t.Fatal(err)
				}
				opts[1] = WithPolicy(wavering{p, rng, len(space[len(space)-1].Tiers)})
			}
			a, err := m.Ask(context.Background(), fmt.Sprint("question ", q), opts...)
			cascaded += len(a.Trace.Drafts)
			twice += a.Trace.Usage().Hedged
			if b.billed > limit || a.Trace.Usage().Dollars > limit*(1+1e-12) {
				t.Fatalf("billed %v, traced %v of at most %v: %+v, %v", b.billed, a.Trace.Usage().Dollars, limit, a.Trace, err)
			}
			var low *MaxCostError
			switch {
			case err == nil:
				answered++
				lowered += a.Trace.Fallbacks()
				if call := a.Trace.Answer; call.Asked != "" {
					routed++
					if call.Served != call.Asked {
						answersLowered++
					}
				}
				if a.Trace.Answer.Notes != nil {
					cut++
				}
			case errors.As(err, &low):
				refused++
				if low.Max != limit || low.Need <= limit || low.Spent > limit {
					t.Fatalf("%+v with a limit of %v", low, limit)
				}
			case errors.Is(err, llm.ErrBudget), errors.Is(err, llm.ErrUnavailable):
				retried++ // attempts that were billed for nothing have used up the rest
				if b.fails == 0 {
					t.Fatalf("refused in the middle of a module without failed calls: %v", err)
				}
			default:
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d answered (%d by a tier of their own, %d of them a lower one; %d answers beside them), %d modules at a lower tier, %d summaries cut; %d refused, %d out of money after failed calls",
		answered, routed, answersLowered, cascaded, lowered, cut, refused, retried)
	if hedged {
		if twice < n/5 || answered < n/10 || refused < n/20 {
			t.Errorf("%d calls were hedged", twice)
		}
		return
	}
	if cascaded < n/100 || routed < n/20 || answersLowered < n/200 || answered < n/10 || refused < n/20 || lowered < n/20 || cut == 0 && !testing.Short() { // cut in one of some 700
		t.Error("the questions do not cover all cases")
	}
}

// A cap of what the error says is enough, where the lowest tiers call no model.
func TestMaxCostErrorSaysWhatFits(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	b := &biller{rng: rng, most: true, price: llm.Price{In: 1, Out: 2}}
	m := cappedMemory(t, rng, b, nil, 0)
	_, err := m.Ask(context.Background(), "Who moved?", WithMaxCost(1e-6), WithTiers("high"))
	var low *MaxCostError
	if !errors.As(err, &low) || !errors.Is(err, ErrMaxCost) || b.billed != 0 {
		t.Fatalf("%v, billed %v", err, b.billed)
	}
	a, err := m.Ask(context.Background(), "Who moved?", WithMaxCost(low.Need), WithTiers("high"))
	if err != nil || b.billed > low.Need {
		t.Fatalf("%v, billed %v of %v", err, b.billed, low.Need)
	}
	for _, s := range a.Trace.Modules {
		if s.Asked != "high" || s.Usage.Calls > 0 && s.Served == "low" || s.Served != "high" && !strings.Contains(s.Why, "set aside") {
			t.Errorf("%+v", s.Step)
		}
	}
	if _, err := m.Ask(context.Background(), "Who moved?", WithMaxCost(-1)); err == nil {
		t.Error("a negative limit was taken")
	}
}

// A reply from the cache counts as if it was paid: the same cap leads to the same tiers, whoever asked before.
func TestMaxCostCountsCachedReplies(t *testing.T) {
	cache, err := llm.OpenCache(filepath.Join(t.TempDir(), "replies.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	rng := rand.New(rand.NewPCG(3, 3))
	b := &biller{rng: rng, price: llm.Price{In: 1, Out: 2}}
	m := cappedMemory(t, rng, b, cache, 0)
	for _, limit := range []float64{0.005, 0.01, 1} {
		first, err := m.Ask(context.Background(), "Who moved?", WithMaxCost(limit), WithTiers("high"))
		if err != nil {
			t.Fatal(err)
		}
		billed := b.billed
		second, err := m.Ask(context.Background(), "Who moved?", WithMaxCost(limit), WithTiers("high"))
		if err != nil {
			t.Fatal(err)
		}
		served := func(t Trace) (out []string) {
			for _, m := range t.Modules {
				out = append(out, m.Served)
			}
			return out
		}
		if fmt.Sprint(served(first.Trace)) != fmt.Sprint(served(second.Trace)) || b.billed != billed || first.Trace.Usage().Dollars != second.Trace.Usage().Dollars {
			t.Errorf("limit %v: %v at $%v, then %v at $%v", limit, served(first.Trace), first.Trace.Usage().Dollars, served(second.Trace), second.Trace.Usage().Dollars)
		}
	}
}

// scoringBiller is a biller that scores, as rerankers do.
type scoringBiller struct{ *biller }

func (b scoringBiller) Score(_ context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	usage := llm.Usage{Calls: 1}
	for _, r := range reqs {
		usage.In += llm.UpperBound(r.Messages)
	}
	b.billed += b.price.Dollars(usage.In, 0)
	return make([]llm.Score, len(reqs)), usage, nil
}

// The tiers of every shipped axis keep to the cap, and what a trained router is asked at follows from it.
func TestMaxCostOnEveryAxis(t *testing.T) {
	for _, axis := range tiers.Axes() {
		t.Run(axis, func(t *testing.T) {
			spec, err := tiers.LoadSpec(axis)
			if err != nil {
				t.Fatal(err)
			}
			b := &biller{rng: rand.New(rand.NewPCG(4, 4)), price: llm.Price{In: 1, Out: 2}}
			prices := llm.StackOptions{Prices: llm.DefaultPrices().Set(map[string]llm.Price{"biller": b.price})}
			stack, err := llm.Stack(b, prices)
			if err != nil {
				t.Fatal(err)
			}
			scoring, err := llm.Stack(scoringBiller{b}, prices)
			if err != nil {
				t.Fatal(err)
			}
			models := map[string]llm.Client{}
			for _, role := range spec.Models() {
				models[role] = stack
				if role == "reranker" {
					models[role] = scoring
				}
			}
			m, err := Open(context.Background(), Options{Path: filepath.Join(t.TempDir(), "m.db"), Embedder: &embedtest.Words{}, Tokenizer: &embedtest.Words{}, Client: stack,
				Models: models, Tiers: spec.Build})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if _, err := m.Add(context.Background(), DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Time: "3 May 2024", Speaker: "Ann", Text: "I moved to Bern last week."}}); err != nil {
				t.Fatal(err)
			}
			for _, limit := range []float64{0.001, 0.003, 0.006, 0.01, 0.03, 0.1} {
				b.billed = 0
				a, err := m.Ask(context.Background(), "When did Ann move?", WithMaxCost(limit), WithTiers("high"))
				if b.billed > limit || err != nil && !errors.Is(err, ErrMaxCost) {
					t.Errorf("limit %v: billed %v, %v", limit, b.billed, err)
				}
				t.Logf("limit %v: $%.5f, %d modules lowered, %v", limit, b.billed, a.Trace.Fallbacks(), err)
			}
		})
	}
}

// Where a filter that keeps every chunk leaves too little for what follows, a narrower one serves.
func TestMaxCostOfAFilterThatKeepsAll(t *testing.T) {
	spec, err := tiers.ParseSpec("all", []byte(`
modules:
  filter:
    - {tier: low, method: keywords}
    - {tier: high, method: all}
  summary:
    - {tier: low, method: prose}
    - {tier: high, method: prose, prompt: steps}
`))
	if err != nil {
		t.Fatal(err)
	}
	b := &biller{rng: rand.New(rand.NewPCG(4, 4)), price: llm.Price{In: 1, Out: 2}}
	stack, err := llm.Stack(b, llm.StackOptions{Prices: llm.DefaultPrices().Set(map[string]llm.Price{"biller": b.price})})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(context.Background(), Options{Path: filepath.Join(t.TempDir(), "m.db"), Embedder: &embedtest.Words{}, Tokenizer: &embedtest.Words{}, Client: stack, Tiers: spec.Build, ChunkTokens: 40})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var turns []chunk.Turn
	for i := range 10 {
		turns = append(turns, chunk.Turn{ID: fmt.Sprint(i), Session: "1", Speaker: "Ann", Text: strings.Repeat("I moved to Bern. ", 40)})
	}
	if _, err := m.Add(context.Background(), DefaultMemory, turns); err != nil {
		t.Fatal(err)
	}
	low, high := 0, 0
	for limit := 0.001; limit < 0.03; limit += 0.0005 {
		b.billed = 0
		a, err := m.Ask(context.Background(), "When did Ann move?", WithMaxCost(limit), WithTiers("high"), WithTopK(10), WithKeepK(1))
		_, least := m.Ask(context.Background(), "When did Ann move?", WithMaxCost(limit), WithTiers("low"), WithTopK(10), WithKeepK(1))
		if err != nil && least == nil {
			t.Errorf("limit %v: low answers, and high is refused: %v", limit, err)
		}
		if err == nil && a.Trace.Modules[0].Served == "low" {
			low++
		} else if err == nil {
			high++
		}
	}
	if low == 0 || high == 0 {
		t.Errorf("%d limits had a narrower filter, %d the one asked for", low, high)
	}
}

func TestLambdaFollowsTheCurve(t *testing.T) {
	m := open(t, Options{})
	info := portable.Info{Dim: 2, Embedder: m.options.Embedder.ID(), Modules: m.Space(), Lambda: portable.Range{Min: 0, Max: 1},
		Calibration: []portable.Point{{Lambda: 0, Dollars: 0.01}, {Lambda: 0.5, Dollars: 0.002}, {Lambda: 1, Dollars: 0.001}}}
	r, err := portable.New(info, portable.Weights{Query: make([]float32, 2), Memory: make([]float32, 2), Lambda: make([]float32, 1), Module: make([]float32, 5),
		Encoder: make([]float32, 1), EncoderBias: make([]float32, 1), Actor: make([]float32, 1), ActorBias: make([]float32, 1), Logits: make([]float32, 3), LogitsBias: make([]float32, 3)})
	if err != nil {
		t.Fatal(err)
	}
	learned, err := router.NewLearned(r, m.Space(), 0.25)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		opts []Option
		want float64
	}{
		{nil, 0.25},
		{[]Option{WithLambda(0.7)}, 0.7},
		{[]Option{WithMaxCost(0.002)}, 0.5},
		{[]Option{WithMaxCost(0.006)}, 0.25},
		{[]Option{WithMaxCost(5)}, 0},
		{[]Option{WithMaxCost(0.0001)}, 1},
		{[]Option{WithMaxCost(0.002), WithLambda(0.1)}, 0.1},
	} {
		a, err := m.ask("q", append(tt.opts, WithPolicy(learned)))
		if err != nil || math.Abs(a.policy.(*router.Learned).Lambda()-tt.want) > 1e-12 {
			t.Errorf("λ %v, %v; want %v", a.policy.Name(), err, tt.want)
		}
	}
	if _, err := m.ask("q", []Option{WithLambda(0.1)}); err == nil || !strings.Contains(err.Error(), "no trained router") {
		t.Errorf("λ of a static policy: %v", err)
	}
	if _, err := m.ask("q", []Option{WithLambda(2), WithPolicy(learned)}); err == nil {
		t.Error("a λ out of range was taken")
	}
	if err := (&ask{policy: learned}).atLambda("other@1"); err == nil || !strings.Contains(err.Error(), "other@1") {
		t.Errorf("a router of another embedder: %v", err)
	}
	if _, err := m.Ask(context.Background(), "q", WithMaxCost(1)); err == nil || !strings.Contains(err.Error(), "llm.Stack") {
		t.Errorf("a client without a stack: %v", err)
	}
}

// Who allows what the message says has allowed enough.
func TestMaxCostIsRoundedUp(t *testing.T) {
	for dollars, want := range map[float64]string{0.00012344: "0.0001235", 0.0012: "0.0012", 0.00000049: "0.00000049", 1.23456: "1.235", 0: "0", 0.000010350000000000001: "0.00001036"} {
		got := roundedUp(dollars)
		if up, err := strconv.ParseFloat(got, 64); got != want || err != nil || up < dollars {
			t.Errorf("%g: %s, want %s", dollars, got, want)
		}
	}
}
