package llm_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// moody is a model whose calls cost something random within their bound, or fail: before or after costing something.
type moody struct {
	llmtest.Client
	seed   uint64
	calls  atomic.Uint64
	billed atomic.Int64 // what it would send a bill for, 1e-12 dollars
}

func (m *moody) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	rng := rand.New(rand.NewPCG(m.seed, m.calls.Add(1)))
	in, _ := m.CountTokens(req.Messages)
	out := rng.IntN(req.ReplyLimit() + 1)
	time.Sleep(time.Duration(rng.IntN(200)) * time.Microsecond)
	bill := func() { m.billed.Add(int64(in)*int64(testPrice.In*1e6) + int64(out)*int64(testPrice.Out*1e6)) }
	switch rng.IntN(6) {
	case 0: // an error that costs nothing
		return llm.Response{Usage: llm.Usage{Calls: 1, Failed: 1}}, &llm.Error{Kind: llm.ErrUnavailable, Status: 500}
	case 1: // a reply that got lost: billed, but the caller does not know
		bill()
		return llm.Response{Usage: llm.Usage{Calls: 1, Failed: 1}}, &llm.Error{Kind: llm.ErrUnavailable}
	case 2: // an error of unknown making
		bill()
		return llm.Response{}, errors.New("broken pipe")
	case 3: // a failure with a known bill
		bill()
		return llm.Response{Usage: llm.Usage{Calls: 1, Failed: 1, In: in, Out: out}}, &llm.Error{Kind: llm.ErrEmpty}
	}
	bill()
	return llm.Response{Text: "ok", Usage: llm.Usage{Calls: 1, In: in, Out: out}}, nil
}

// Whatever the limit, the sizes, the failures and the order: no bill passes the limit, at any moment, and money is refused only
// when it is not there.
func TestLimitIsNeverPassed(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			limit := math.Round(rng.Float64()*20000) / 1e6
			ledger := newLedger(t, limit)
			model := &moody{seed: seed}
			c := stack(t, model, llm.StackOptions{Ledger: ledger, Retry: llm.Retry{Attempts: 1}})
			stop := make(chan struct{})
			var watch sync.WaitGroup
			watch.Go(func() {
				for {
					b := ledger.Balance()
					if sum := b.Spent + b.Uncertain + b.Reserved; sum > limit+1e-12 || b.Reserved < 0 {
						t.Errorf("limit %v, but %+v", limit, b)
					}
					if bill := float64(model.billed.Load()) / 1e12; bill > limit+1e-12 {
						t.Errorf("limit %v, but the bill is %v", limit, bill)
					}
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
				}
			})
			var work sync.WaitGroup
			var refused atomic.Int64
			for g := range uint64(64) {
				work.Go(func() {
					rng := rand.New(rand.NewPCG(seed, g+2))
					for range 40 {
						req := ask(strings.Repeat("word ", rng.IntN(50)))
						req.MaxTokens = 1 + rng.IntN(100)
						_, err := c.Chat(context.Background(), req)
						var be *llm.BudgetError
						if errors.As(err, &be) {
							refused.Add(1)
							if left := be.Balance.Limit - be.Balance.Spent - be.Balance.Uncertain; be.Need.Dollars <= left-1e-12 {
								t.Errorf("refused $%v with $%v left", be.Need.Dollars, left)
							}
						}
					}
				})
			}
			work.Wait()
			close(stop)
			watch.Wait()
			b := ledger.Balance()
			if b.Reserved != 0 || b.Overruns != 0 {
				t.Errorf("at rest: %+v", b)
			}
			if bill := float64(model.billed.Load()) / 1e12; bill > b.Spent+b.Uncertain+1e-12 {
				t.Errorf("the bill is %v, the books say %+v", bill, b)
			}
			if refused.Load() == 0 || b.Spent+b.Uncertain < 0.9*limit {
				t.Errorf("the limit was never put to the test: %d refusals, %+v", refused.Load(), b)
			}
		})
	}
}

func TestBudgetErrorSaysWhatFits(t *testing.T) {
	model := &llmtest.Client{}
	ledger := newLedger(t, 30e-6)
	c := stack(t, model, llm.StackOptions{Ledger: ledger})
	req := ask("one two three four five six")
	req.MaxTokens = 100
	_, err := c.Chat(t.Context(), req)
	wantErr(t, err, llm.ErrBudget)
	var be *llm.BudgetError
	if !errors.As(err, &be) || be.FitsReply != 6 || be.Need.In != 6 || be.Need.Out != 100 {
		t.Fatalf("%#v: want a reply of (30-6)/4 = 6 tokens to fit", be)
	}
	if model.Calls() != 0 {
		t.Error("the call was made all the same")
	}
	req.MaxTokens = be.FitsReply
	mustChat(t, c, req) // and it does fit

	_, err = stack(t, model, llm.StackOptions{Ledger: newLedger(t, 1e-6)}).Chat(t.Context(), req)
	if !errors.As(err, &be) || be.FitsReply >= 0 || !strings.Contains(err.Error(), "prompt alone") {
		t.Errorf("the prompt does not fit, but: %v", err)
	}
	for _, bad := range []float64{-1, math.NaN()} {
		if _, err := llm.NewLedger(bad); err == nil {
			t.Errorf("limit %v accepted", bad)
		}
	}
	mustChat(t, stack(t, model, llm.StackOptions{Ledger: newLedger(t, math.Inf(1))}), req)
}

// Money that is only reserved may come back, so a call waits for it instead of failing.
func TestCallsWaitForReservations(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) {
		enter <- struct{}{}
		<-leave
		return "ok", nil
	}}
	// A call can cost 1 + 16*4 and does cost 1 + 4: the limit lets two follow one another, but not overlap.
	c := stack(t, model, llm.StackOptions{Ledger: newLedger(t, 75e-6)})
	done := make(chan error, 2)
	for range 2 {
		go func() { _, err := c.Chat(context.Background(), ask("q")); done <- err }()
	}
	<-enter
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Chat(ctx, ask("impatient"))
	wantErr(t, err, context.DeadlineExceeded)
	select {
	case <-enter:
		t.Fatal("two calls at one time could have passed the limit")
	default:
	}
	leave <- struct{}{}
	<-enter
	leave <- struct{}{}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A panic below must not leave money reserved for ever.
func TestPanicSettles(t *testing.T) {
	ledger := newLedger(t, 1)
	c := stack(t, &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { panic("bug") }}, llm.StackOptions{Ledger: ledger})
	func() {
		defer func() { recover() }()
		c.Chat(context.Background(), ask("q"))
	}()
	if b := ledger.Balance(); b.Reserved != 0 || b.Uncertain == 0 {
		t.Errorf("after a panic: %+v, want the call's worst case as uncertain", b)
	}
}

func TestLedgerFileOutlivesACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spend.db")
	open := func(limit float64) *llm.Ledger {
		l, err := llm.OpenLedger(path, limit)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := open(1)
	if _, err := llm.OpenLedger(path, 1); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	mustChat(t, stack(t, &llmtest.Client{}, llm.StackOptions{Ledger: first}), ask("a b")) // 2 + 4
	stuck := make(chan struct{})
	sent := make(chan struct{})
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { close(sent); <-stuck; return "", nil }}
	c := stack(t, model, llm.StackOptions{Ledger: first})
	go c.Chat(context.Background(), ask("a b c"))
	<-sent
	first.Close() // with the second call, worth up to 3 + 16*4, in flight
	close(stuck)

	second := open(1)
	if b := second.Balance(); math.Abs(b.Spent-6e-6) > 1e-15 || math.Abs(b.Uncertain-67e-6) > 1e-15 || b.Reserved != 0 {
		t.Errorf("after the restart: %+v, want 6 spent and 67 uncertain (1e-6 dollars)", b)
	}
	second.Close()
	third := open(100e-6)
	defer third.Close()
	_, err := stack(t, &llmtest.Client{}, llm.StackOptions{Ledger: third}).Chat(t.Context(), ask("q")) // needs 65, 27 left
	wantErr(t, err, llm.ErrBudget)
}

func ExampleLedger() {
	ledger, _ := llm.NewLedger(0.0001) // dollars
	c, _ := llm.Stack(&llmtest.Client{Name: "llama-3.3-70b"}, llm.StackOptions{Prices: llm.DefaultPrices(), Ledger: ledger})
	_, err := c.Chat(context.Background(), llm.Request{
		Messages: []llm.Message{{Role: llm.User, Content: "Tell me everything."}}, MaxTokens: 4000,
	})
	fmt.Println(errors.Is(err, llm.ErrBudget))
	var short *llm.BudgetError
	if errors.As(err, &short) {
		fmt.Println("would fit:", short.FitsReply, "tokens")
	}
	// Output:
	// true
	// would fit: 110 tokens
}
