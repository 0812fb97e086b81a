package llm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// question i, of a length that differs from one to the next, and the reply that a sound endpoint gives to it.
func question(i int) llm.Request {
	return ask(fmt.Sprintf("question %d %s", i, strings.Repeat("pad ", i%17)))
}

func reply(c llmtest.Call) string { return "re " + c.Messages[0].Content }

// inFlight runs f for 0 to n-1, width at a time.
func inFlight(n, width int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, width)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// bill is what the server's calls cost, in 1e-12 dollars.
func bill(s *llmtest.Server) int64 {
	in, out := s.Billed()
	return int64(in)*int64(testPrice.In*1e6) + int64(out)*int64(testPrice.Out*1e6)
}

// watched counts the attempts that timed out.
type watched struct {
	llm.Client
	timeouts atomic.Int64
}

func (w *watched) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	resp, err := w.Client.Chat(ctx, req)
	if err != nil && strings.Contains(err.Error(), "no reply within") {
		w.timeouts.Add(1)
	}
	return resp, err
}

// An endpoint that fails 30 % of calls in every way known to the test server, 64 requests in flight: every request gets its reply,
// and what the server bills is in the books.
func TestFaultyEndpointLosesNothing(t *testing.T) {
	const n = 400
	s := startServer(t, llmtest.Config{Reply: reply, Script: llmtest.Mixed(4, 0.3), Latency: 20 * time.Millisecond})
	ledger := newLedger(t, 1)
	var mu sync.Mutex
	var total llm.Usage
	count := func(next llm.Handler) llm.Handler {
		return func(ctx context.Context, call llm.Call) (llm.Reply, error) {
			reply, err := next(ctx, call)
			mu.Lock()
			defer mu.Unlock()
			total = total.Add(reply.Usage)
			return reply, err
		}
	}
	base := &watched{Client: endpoint(t, s.URL(), time.Second)}
	c := stack(t, base, llm.StackOptions{
		Ledger: ledger, Around: []llm.Middleware{count}, Retry: quick, Cache: openCache(t, cachePath(t))})
	inFlight(n, 64, func(i int) {
		req := question(i)
		resp, err := c.Chat(context.Background(), req)
		if err != nil {
			t.Errorf("question %d is lost: %v", i, err)
			return
		}
		if want := "re " + strings.Join(strings.Fields(req.Messages[0].Content), " "); !strings.HasPrefix(resp.Text, "Sure!") &&
			!strings.HasPrefix(want, strings.Join(strings.Fields(resp.Text), " ")) {
			t.Errorf("question %d got the reply %q, want %q", i, resp.Text, want)
		}
	})

	faults := map[llmtest.Kind]int{}
	good := map[string]int{} // replies that reached the caller, by request
	for _, call := range s.Calls() {
		faults[call.Fault.Kind]++
		if call.Fault.Kind == llmtest.None || call.Fault.Kind == llmtest.Prose {
			good[call.Body]++
		}
	}
	share := 1 - float64(faults[llmtest.None])/float64(s.Count())
	t.Logf("%d calls, faults %v (%.0f %%), at most %d in flight", s.Count(), faults, 100*share, s.Peak())
	if share < 0.25 || share > 0.35 || len(faults) != 8 || s.Peak() < 16 {
		t.Errorf("the test is too easy: %.0f %% faults of %d kinds, %d in flight", 100*share, len(faults)-1, s.Peak())
	}
	if len(good) != n {
		t.Errorf("%d requests were answered, want %d", len(good), n)
	}
	again := -len(good)
	for _, times := range good {
		again += times
	}
	// On a busy machine a good reply too may come after the time-out, and must then be asked for again.
	if late := int(base.timeouts.Load()) - faults[llmtest.Hang]; again > late {
		t.Errorf("%d replies were asked for again, but only %d came too late", again, late)
	}
	b := ledger.Balance()
	if got := bill(s); float64(got)/1e12 > b.Spent+b.Uncertain+1e-12 || b.Reserved != 0 || b.Overruns != 0 {
		t.Errorf("the server bills $%v, the ledger knows of %+v", float64(got)/1e12, b)
	}
	if u := total; u.Calls != n || u.Failed != 0 || u.Retries != s.Count()-n {
		t.Errorf("usage %+v, want %d calls with %d retries", u, n, s.Count()-n)
	}
}

// The same with less money than it takes: what the server bills stays within the limit, and who is refused is told.
func TestFaultyEndpointNeverPassesTheLimit(t *testing.T) {
	const n, limit = 400, 0.02
	s := startServer(t, llmtest.Config{Reply: reply, Script: llmtest.Mixed(2, 0.3), Latency: 20 * time.Millisecond})
	ledger := newLedger(t, limit)
	c := stack(t, endpoint(t, s.URL(), time.Second), llm.StackOptions{Ledger: ledger, Retry: quick, Cache: openCache(t, cachePath(t))})
	var mu sync.Mutex
	refused, answered := 0, 0
	inFlight(n, 64, func(i int) {
		_, err := c.Chat(context.Background(), question(i))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			answered++
		case errors.Is(err, llm.ErrBudget):
			refused++
		default:
			t.Errorf("question %d: %v", i, err)
		}
		if float64(bill(s)) > limit*1e12 {
			t.Errorf("the limit is $%v, the bill $%v", limit, float64(bill(s))/1e12)
		}
	})
	b := ledger.Balance()
	t.Logf("%d answered, %d refused, bill $%.6f, %+v", answered, refused, float64(bill(s))/1e12, b)
	if refused == 0 || answered == 0 || b.Spent+b.Uncertain < 0.9*limit {
		t.Errorf("the limit was not put to the test: %d refused, %d answered, %+v", refused, answered, b)
	}
}
