package llm_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// chain is a Fallback of test models, each with a price of its own, over one cache and ledger.
type chain struct {
	llm.Client
	models []*llmtest.Client
	fails  map[string]error // by model
	prices llm.Prices
	ledger *llm.Ledger
	notes  []string
	now    time.Time
}

func newChain(t *testing.T, names ...string) *chain {
	t.Helper()
	c := &chain{fails: map[string]error{}, prices: llm.Prices{}, now: time.Now()}
	cache := openCache(t, filepath.Join(t.TempDir(), "replies.db"))
	var err error
	if c.ledger, err = llm.NewLedger(1); err != nil {
		t.Fatal(err)
	}
	var stacks []llm.Client
	for i, name := range names {
		m := &llmtest.Client{Name: name, Reply: func(ctx context.Context, _ llm.Request) (string, error) { return "by " + name, c.fails[name] }}
		c.models = append(c.models, m)
		c.prices = c.prices.Set(map[string]llm.Price{name: {In: float64(10 * (i + 1)), Out: float64(20 * (i + 1))}})
		s, err := llm.Stack(m, llm.StackOptions{Prices: c.prices, Cache: cache, Ledger: c.ledger, Retry: once})
		if err != nil {
			t.Fatal(err)
		}
		stacks = append(stacks, s)
	}
	c.Client = llm.Fallback(func(line string) { c.notes = append(c.notes, line) }, stacks...)
	llm.SetClock(c.Client, func() time.Time { return c.now })
	return c
}

func (c *chain) calls() []int {
	var n []int
	for _, m := range c.models {
		n = append(n, m.Calls())
	}
	return n
}

func TestFallback(t *testing.T) {
	c := newChain(t, "first", "second", "third")
	ask := func(text, by, model string, calls ...int) llm.Response {
		t.Helper()
		resp, err := c.Chat(t.Context(), request(text, 10))
		if err != nil || resp.Text != by || resp.Model != model || !slices.Equal(c.calls(), calls) {
			t.Errorf("%s: %q of %q after %v calls, %v; want %q of %q after %v", text, resp.Text, resp.Model, c.calls(), err, by, model, calls)
		}
		return resp
	}
	if c.Model() != "first" || c.ID() != "first" {
		t.Errorf("the chain is known as %q, %q", c.Model(), c.ID())
	}
	ask("a", "by first", "", 1, 0, 0)
	c.fails["first"] = &llm.Error{Kind: llm.ErrUnavailable, Status: 503, Message: "cannot say: b"}
	resp := ask("b", "by second", "second", 2, 1, 0)
	price, err := c.prices.Price("second")
	if err != nil {
		t.Fatal(err)
	}
	if u := resp.Usage; u.Dollars != price.Dollars(u.In, u.Out) || u.Paid != u.Dollars || u.Calls != 1 || u.Failed != 0 {
		t.Errorf("usage %+v, want the second one's price", u)
	}
	if u := ask("b", "by second", "second", 2, 1, 0).Usage; u.Cached != 1 || u.Paid != 0 {
		t.Errorf("asked again: usage %+v, want a reply from the cache", u)
	}
	ask("a2", "by second", "second", 2, 2, 0) // the first one is left alone
	if u := ask("a", "by first", "", 2, 2, 0).Usage; u.Cached != 1 || u.Paid != 0 {
		t.Errorf("a reply that the first one gave before: usage %+v", u)
	}
	c.fails["second"] = &llm.Error{Kind: llm.ErrRateLimited, Status: 429}
	ask("c", "by third", "third", 2, 3, 1)
	ask("d", "by third", "third", 2, 3, 2)
	c.now = c.now.Add(time.Minute)
	clear(c.fails)
	ask("e", "by first", "", 3, 3, 2)
	ask("f", "by first", "", 4, 3, 2)
	if b := c.ledger.Balance(); b.Reserved != 0 || b.Uncertain != 0 {
		t.Errorf("balance %+v", b)
	}
	if len(c.notes) != 2 || !strings.HasPrefix(c.notes[0], "first fails (endpoint unavailable): second answers") || !strings.HasPrefix(c.notes[1], "second fails (rate limited): third") {
		t.Errorf("the user was told %q", c.notes)
	}
}

// A request that is at fault, a wrong key, a spend limit and an interrupt are no reason to ask another model.
func TestFallbackOnlyForFailingEndpoints(t *testing.T) {
	for _, failure := range []error{&llm.Error{Kind: llm.ErrAuth, Status: 401}, &llm.Error{Kind: llm.ErrBadRequest, Status: 400}, llm.ErrBudget, &llm.Error{Kind: llm.ErrEmpty, Status: 200, Final: true}, llm.ErrCache} {
		c := newChain(t, "first", "second")
		c.fails["first"] = failure
		if _, err := c.Chat(t.Context(), request("a", 10)); !errors.Is(err, failure) || c.models[1].Calls() != 0 {
			t.Errorf("%v: %v, and the second model was asked %d times", failure, err, c.models[1].Calls())
		}
	}
	c := newChain(t, "first", "second")
	ctx, cancel := context.WithCancel(t.Context())
	c.models[0].Reply = func(context.Context, llm.Request) (string, error) {
		cancel()
		return "", &llm.Error{Kind: llm.ErrUnavailable, Err: context.Canceled}
	}
	if _, err := c.Chat(ctx, request("a", 10)); !errors.Is(err, context.Canceled) || c.models[1].Calls() != 0 {
		t.Errorf("interrupted: %v after %v calls", err, c.calls())
	}
	all := newChain(t, "first", "second")
	all.fails["first"], all.fails["second"] = &llm.Error{Kind: llm.ErrUnavailable, Status: 503, Message: "one"}, &llm.Error{Kind: llm.ErrUnavailable, Status: 502, Message: "two"}
	if resp, err := all.Chat(t.Context(), request("a", 10)); !errors.Is(err, llm.ErrUnavailable) || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") || resp.Usage.Failed != 1 {
		t.Errorf("all fail: %v, %+v", err, resp.Usage)
	}
}

// What a failed model may have cost is kept within the cap together with what the one in its place costs.
func TestFallbackWithinCap(t *testing.T) {
	c := newChain(t, "first", "second")
	c.fails["first"] = &llm.Error{Kind: llm.ErrUnavailable} // may be billed
	req := request("a", 10)
	first, second := bound(t, c.prices, "first", req), c.Client.(llm.Bounder).Bound(req).Dollars
	if second <= first {
		t.Fatalf("bounds $%v and $%v, want that of the dearest", first, second)
	}
	for _, room := range []float64{first, first + second} {
		c.now = c.now.Add(time.Minute)
		held, err := llm.NewCap(room)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Chat(held.Within(t.Context()), req)
		if fits := room > first; (err == nil) != fits || !fits && !errors.Is(err, llm.ErrBudget) || held.Spent() > room {
			t.Errorf("within $%v: %v, $%v spent", room, err, held.Spent())
		}
	}
	if !llm.Capped(c.Client) {
		t.Error("a chain of capped models is capped")
	}
}

func bound(t *testing.T, prices llm.Prices, model string, req llm.Request) float64 {
	t.Helper()
	c, err := llm.Stack(&llmtest.Client{Name: model}, llm.StackOptions{Prices: prices})
	if err != nil {
		t.Fatal(err)
	}
	return c.(llm.Bounder).Bound(req).Dollars
}
