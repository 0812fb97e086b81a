package llm_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// A stack can score exactly when what it wraps can.
func TestStackScoresOnlyIfTheModelDoes(t *testing.T) {
	for _, tt := range []struct {
		model llm.Client
		want  bool
	}{{&llmtest.Client{}, false}, {&llmtest.Scorer{}, true}} {
		c := stack(t, tt.model, llm.StackOptions{Ledger: newLedger(t, 1), Cache: openCache(t, cachePath(t))})
		if _, got := llm.AsScorer(c); got != tt.want {
			t.Errorf("stack of %T: can score: %v", tt.model, got)
		}
		if _, ok := llm.AsTokenCounter(c); !ok {
			t.Errorf("stack of %T hides the token counter", tt.model)
		}
		if c.Model() != "test-model" || c.ID() != "test-model" || !llm.Capped(c) || llm.Capped(tt.model) {
			t.Errorf("stack changes the name to %s, %s, or does not keep to a cap", c.Model(), c.ID())
		}
	}
}

// Scores go through the same price, limit, cache and count as chats.
func TestScoresThroughTheStack(t *testing.T) {
	path := cachePath(t)
	model := &llmtest.Scorer{Rate: func(r llm.ScoreRequest) llm.Score {
		return llm.Score{LogProb: -float64(len(r.Continuation)) / 3, Tokens: len(r.Continuation)}
	}}
	var total llm.Usage
	count := func(next llm.Handler) llm.Handler {
		return func(ctx context.Context, call llm.Call) (llm.Reply, error) {
			reply, err := next(ctx, call)
			total = total.Add(reply.Usage)
			return reply, err
		}
	}
	ledger := newLedger(t, 1)
	cache := openCache(t, path)
	c := stack(t, model, llm.StackOptions{Cache: cache, Ledger: ledger, Around: []llm.Middleware{count}})
	s, _ := llm.AsScorer(c)
	reqs := []llm.ScoreRequest{{Messages: ask("a b").Messages, Continuation: "yes"}, {Messages: ask("a b").Messages, Continuation: "no way"}}
	first, u, err := s.Score(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	want := testPrice.Dollars(2+1+2+2, 0)
	if math.Abs(u.Paid-want) > 1e-15 || u.Calls != 2 || u.Cached != 0 || math.Abs(ledger.Balance().Spent-want) > 1e-12 {
		t.Errorf("usage %+v, ledger %+v, want $%v for 2 calls", u, ledger.Balance(), want)
	}
	cache.Close()

	c = stack(t, model, llm.StackOptions{Cache: openCache(t, path), Ledger: ledger, Around: []llm.Middleware{count}})
	s, _ = llm.AsScorer(c)
	again, v, err := s.Score(t.Context(), reqs)
	if err != nil || len(again) != 2 || again[0] != first[0] || again[1] != first[1] {
		t.Fatalf("%v %v, want %v to the last bit", again, err, first)
	}
	if v.Cached != 2 || v.Paid != 0 || v.Dollars != u.Dollars || model.Scored() != 2 {
		t.Errorf("usage %+v, %d scored", v, model.Scored())
	}
	reqs[1].Continuation = "maybe"
	again, w, err := s.Score(t.Context(), reqs)
	if err != nil || w.Calls != 2 || w.Cached != 1 || model.Scored() != 3 || again[0] != first[0] {
		t.Errorf("one of two known: %v, %+v %v, %d scored", again, w, err, model.Scored())
	}
	if want := testPrice.Dollars(2+1, 0); math.Abs(w.Paid-want) > 1e-15 {
		t.Errorf("one of two known: paid $%v, want $%v", w.Paid, want)
	}
	if total.Calls != 6 || total.Cached != 3 {
		t.Errorf("a layer around the stack sees %+v", total)
	}

	poor := stack(t, model, llm.StackOptions{Ledger: newLedger(t, 1e-6)})
	s, _ = llm.AsScorer(poor)
	_, _, err = s.Score(t.Context(), reqs)
	wantErr(t, err, llm.ErrBudget)
}

// A cap counts every score of a batch, whether it was asked for or found in the cache, also where another try is needed.
func TestCapCountsEveryScore(t *testing.T) {
	var mu sync.Mutex
	failed := map[string]bool{}
	model := &llmtest.Scorer{Rate: func(llm.ScoreRequest) llm.Score {
		time.Sleep(5 * time.Millisecond) // all are under way at one time
		return llm.Score{LogProb: -1, Tokens: 1}
	}}
	busy := func(next llm.Handler) llm.Handler { // the first attempt at each score is cut off and may be billed
		return func(ctx context.Context, call llm.Call) (llm.Reply, error) {
			mu.Lock()
			first := !failed[call.Score[0].Continuation]
			failed[call.Score[0].Continuation] = true
			mu.Unlock()
			if first {
				return llm.Reply{}, &llm.Error{Kind: llm.ErrUnavailable, Status: 200}
			}
			return next(ctx, call)
		}
	}
	var reqs []llm.ScoreRequest
	for i := range 12 {
		reqs = append(reqs, llm.ScoreRequest{Messages: ask("a b").Messages, Continuation: fmt.Sprint("yes ", i)})
	}
	for name, around := range map[string]llm.Middleware{"at once": nil, "after a cut": busy} {
		options := llm.StackOptions{Cache: openCache(t, cachePath(t)), Retry: llm.Retry{Attempts: 3, Base: time.Microsecond, MaxInterval: time.Microsecond}}
		client := llm.Client(model)
		if around != nil {
			client = faultyScorer{model, around}
		}
		c := stack(t, client, options)
		s, _ := llm.AsScorer(c)
		bound := c.(llm.Bounder).ScoreBound(reqs).Dollars
		for _, cached := range []bool{false, true} {
			limit, err := llm.NewCap(3 * bound)
			if err != nil {
				t.Fatal(err)
			}
			_, u, err := s.Score(limit.Within(t.Context()), reqs)
			want := u.Dollars
			if around != nil && !cached {
				want += bound // what the first attempts may have cost
			}
			if err != nil || u.Calls != 12 && around == nil || math.Abs(limit.Spent()-want) > 1e-10 || math.Abs(limit.Left()-(3*bound-want)) > 1e-10 {
				t.Errorf("%s: %v, usage %+v; the cap has spent $%v, want $%v, and left $%v", name, err, u, limit.Spent(), want, limit.Left())
			}
		}
	}
}

// faultyScorer is a Scorer with a layer around its scores.
type faultyScorer struct {
	*llmtest.Scorer
	around llm.Middleware
}

func (f faultyScorer) Score(ctx context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	reply, err := f.around(func(ctx context.Context, call llm.Call) (reply llm.Reply, err error) {
		reply.Scores, reply.Usage, err = f.Scorer.Score(ctx, call.Score)
		return reply, err
	})(ctx, llm.Call{Score: reqs})
	return reply.Scores, reply.Usage, err
}
