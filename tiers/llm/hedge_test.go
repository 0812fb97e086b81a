package llm_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// twins is a model at two endpoints, which take as long as they like, fail, and bill what they began also where nobody waits for it.
type twins struct {
	price llm.Price
	after time.Duration // 0: never hedged
	// chat is one attempt: how long it takes, and its error, if it fails.
	chat func(n int64) (time.Duration, error)

	sent   atomic.Int64
	mu     sync.Mutex
	billed money.Picodollars
}

func (w *twins) Model() string  { return "twins" }
func (w *twins) ID() string     { return "twins" }
func (w *twins) CanHedge() bool { return true }
func (w *twins) Hedge(ctx context.Context) (context.Context, context.Context, <-chan time.Duration) {
	after := make(chan time.Duration, 1)
	if w.after > 0 {
		after <- w.after
	}
	return ctx, ctx, after
}

func (w *twins) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	wait, err := w.chat(w.sent.Add(1))
	u := llm.Usage{Calls: 1, In: len(req.Messages[0].Content) / 2, Out: req.ReplyLimit()}
	if e := (*llm.Error)(nil); err == nil || errors.As(err, &e) && e.Status == 0 {
		w.mu.Lock()
		w.billed += money.RoundUp(w.price.Dollars(u.In, u.Out))
		w.mu.Unlock()
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return llm.Response{Usage: llm.Usage{Calls: 1, Failed: 1}}, &llm.Error{Kind: llm.ErrUnavailable, Err: context.Cause(ctx)}
	}
	if err != nil {
		return llm.Response{Usage: llm.Usage{Calls: 1, Failed: 1}}, err
	}
	return llm.Response{Text: "ok", Finish: "stop", Usage: u}, nil
}

func (w *twins) stack(t *testing.T, o llm.StackOptions) llm.Client {
	t.Helper()
	w.price = llm.Price{In: 1, Out: 3}
	o.Prices = llm.Prices{}.Set(map[string]llm.Price{"twins": w.price})
	o.Retry = llm.Retry{Attempts: 3, Base: time.Microsecond}
	c, err := llm.Stack(w, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func request(text string, limit int) llm.Request {
	return llm.Request{Messages: []llm.Message{{Role: llm.User, Content: text}}, MaxTokens: limit}
}

// A call that takes long is made a second time; the first reply counts, and the ledger has both.
func TestHedgeTakesTheFirstReply(t *testing.T) {
	for name, c := range map[string]struct {
		on           bool
		first, after time.Duration
		firstErr     error
		hedged       int
		sent         int64
		atMost       time.Duration
		uncertain    bool
		secondFailed bool
	}{
		"off":                   {first: 50 * time.Millisecond, sent: 1, atMost: 5 * time.Second},
		"fast":                  {on: true, after: time.Hour, sent: 1, atMost: 5 * time.Second},
		"slow":                  {on: true, first: time.Minute, sent: 2, hedged: 1, atMost: 5 * time.Second, uncertain: true},
		"slow, the second dies": {on: true, first: 500 * time.Millisecond, sent: 2, hedged: 1, atMost: 5 * time.Second, secondFailed: true},
		"fails at once":         {on: true, after: time.Hour, firstErr: &llm.Error{Kind: llm.ErrUnavailable, Status: 503}, sent: 2, atMost: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := &twins{after: max(c.after, 10*time.Millisecond), chat: func(n int64) (time.Duration, error) {
				switch {
				case n == 1:
					return c.first, c.firstErr
				case c.secondFailed:
					return 0, &llm.Error{Kind: llm.ErrUnavailable, Status: 503}
				}
				return 0, nil
			}}
			ledger, err := llm.NewLedger(1)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			resp, err := w.stack(t, llm.StackOptions{Ledger: ledger, Hedge: c.on}).Chat(t.Context(), request("a question", 10))
			if err != nil || resp.Text != "ok" {
				t.Fatalf("%q, %v", resp.Text, err)
			}
			if took := time.Since(start); took > c.atMost {
				t.Errorf("took %v", took)
			}
			if u := resp.Usage; u.Hedged != c.hedged || u.Calls != 1 || u.Failed != 0 || w.sent.Load() != c.sent {
				t.Errorf("usage %+v after %d attempts, want %d and %d hedged", u, w.sent.Load(), c.sent, c.hedged)
			}
			b := ledger.Balance()
			if one := resp.Usage.Paid; b.Reserved != 0 || (b.Uncertain > 0) != c.uncertain || b.Spent != one || b.Spent+b.Uncertain < w.billed.Dollars() {
				t.Errorf("balance %+v, billed $%v, the reply says $%v", b, w.billed.Dollars(), one)
			}
		})
	}
}

// The bound of a call that may be hedged is that of both attempts; where there is room for one only, one is made.
func TestHedgeNeedsRoom(t *testing.T) {
	w := &twins{after: time.Millisecond, chat: func(int64) (time.Duration, error) { return 30 * time.Millisecond, nil }}
	c := w.stack(t, llm.StackOptions{Hedge: true})
	one := w.stack(t, llm.StackOptions{}).(llm.Bounder).Bound(request("a question", 10)).Dollars
	if both := c.(llm.Bounder).Bound(request("a question", 10)).Dollars; both != 2*one {
		t.Errorf("bound $%v, want twice $%v", both, one)
	}
	for limit, sent := range map[float64]int64{one: 1, 2 * one: 2} {
		w.sent.Store(0)
		held, err := llm.NewCap(limit)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Chat(held.Within(t.Context()), request("a question", 10)); err != nil || w.sent.Load() != sent {
			t.Errorf("within $%v: %d attempts, %v; want %d", limit, w.sent.Load(), err, sent)
		}
		if held.Spent() > limit {
			t.Errorf("$%v spent of $%v", held.Spent(), limit)
		}
	}
}

// Whatever endpoints do, no limit is passed by what they bill, and nothing stays reserved.
func TestHedgeKeepsToLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	hedged := 0
	for trial := range 150 {
		seed := r.Uint64()
		w := &twins{after: time.Duration(1+r.IntN(2000)) * time.Microsecond, chat: func(n int64) (time.Duration, error) {
			own := rand.New(rand.NewPCG(seed, uint64(n)))
			wait := time.Duration(own.IntN(3000)) * time.Microsecond
			switch own.IntN(10) {
			case 0:
				return wait, &llm.Error{Kind: llm.ErrUnavailable, Status: 503}
			case 1:
				return wait, &llm.Error{Kind: llm.ErrUnavailable} // billed all the same
			}
			return wait, nil
		}}
		ledger, err := llm.NewLedger(1e-3 * r.Float64())
		if err != nil {
			t.Fatal(err)
		}
		c := w.stack(t, llm.StackOptions{Hedge: true, Ledger: ledger})
		limit := 1e-3 * r.Float64()
		held, err := llm.NewCap(limit)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(held.Within(t.Context()))
		if r.IntN(4) == 0 {
			time.AfterFunc(time.Duration(r.IntN(4000))*time.Microsecond, cancel)
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range 1 + r.IntN(5) {
			all.Go(func() {
				resp, err := c.Chat(ctx, request("a question of some length", 1+i*7))
				mu.Lock()
				defer mu.Unlock()
				hedged += resp.Usage.Hedged
				if err == nil && resp.Text != "ok" {
					t.Errorf("trial %d: reply %q", trial, resp.Text)
				}
			})
		}
		all.Wait()
		cancel()
		b := ledger.Balance()
		billed := w.billed.Dollars()
		if billed > limit || billed > b.Limit || held.Spent() > limit || b.Spent+b.Uncertain > b.Limit || b.Reserved != 0 || b.Overruns != 0 {
			t.Fatalf("trial %d: billed $%v, cap $%v of $%v, ledger %+v", trial, billed, held.Spent(), limit, b)
		}
		if billed > b.Spent+b.Uncertain+1e-15 || billed > held.Spent()+1e-15 {
			t.Fatalf("trial %d: billed $%v, more than the ledger's %+v or the cap's $%v", trial, billed, b, held.Spent())
		}
		if want := limit - held.Spent(); held.Left() < want-1e-11 {
			t.Fatalf("trial %d: $%v are left, want $%v: something stays reserved", trial, held.Left(), want)
		}
	}
	if hedged < 20 {
		t.Errorf("only %d calls were hedged", hedged)
	}
}
