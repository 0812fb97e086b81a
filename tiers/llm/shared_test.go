package llm_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// store is what several machines share, in this process.
type store struct {
	claims sync.Mutex // one for all keys
	mu     sync.Mutex
	values map[string][]byte
	// blind makes Load find nothing, as where another machine's claim has run out.
	blind bool
}

func (s *store) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blind {
		return nil, nil
	}
	return s.values[key], nil
}

func (s *store) Store(_ context.Context, key string, value []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, ok := s.values[key]; ok {
		return first, nil
	}
	s.values[key] = value
	return value, nil
}

func (s *store) Claim(context.Context, string) (func(), error) {
	s.claims.Lock()
	return s.claims.Unlock, nil
}

// machine is a client with a cache of its own that shares replies.
func machine(t *testing.T, s *store, model llm.Client) (c llm.Client, reopen func() llm.Client) {
	path := cachePath(t)
	cache := openCache(t, path)
	cache.Share(s)
	return stack(t, model, llm.StackOptions{Cache: cache, Retry: once}), func() llm.Client {
		cache.Close()
		return stack(t, model, llm.StackOptions{Cache: openCache(t, path), Retry: once})
	}
}

// Of machines that ask the same at the same time one pays, and each has the reply on its own disk then.
func TestMachinesShareReplies(t *testing.T) {
	s := &store{values: map[string][]byte{}}
	model := &llmtest.Client{}
	var all sync.WaitGroup
	var paid, cached int
	var mu sync.Mutex
	var reopened []func() llm.Client
	for range 5 {
		c, reopen := machine(t, s, model)
		reopened = append(reopened, reopen)
		all.Go(func() {
			resp, err := c.Chat(t.Context(), ask("q"))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			cached += resp.Usage.Cached
			if resp.Usage.Paid > 0 {
				paid++
			}
		})
	}
	all.Wait()
	if model.Calls() != 1 || paid != 1 || cached != 4 {
		t.Errorf("%d calls, %d paid, %d cached; want 1, 1 and 4", model.Calls(), paid, cached)
	}
	for _, reopen := range reopened {
		mustChat(t, reopen(), ask("q"))
	}
	if model.Calls() != 1 {
		t.Errorf("%d calls once the machines are on their own, want 1", model.Calls())
	}
}

// The first reply stored counts, also for a machine that has paid for another one, now and later.
func TestFirstSharedReplyCounts(t *testing.T) {
	s := &store{values: map[string][]byte{}, blind: true}
	said := "first"
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return said, nil }}
	a, _ := machine(t, s, model)
	mustChat(t, a, ask("q"))
	said = "second"
	b, reopen := machine(t, s, model)
	resp := mustChat(t, b, ask("q"))
	if resp.Text != "first" || resp.Usage.Paid == 0 || resp.Usage.Cached != 0 {
		t.Errorf("got %q with %+v, want the first reply, and the second one paid", resp.Text, resp.Usage)
	}
	if resp := mustChat(t, reopen(), ask("q")); resp.Text != "first" || model.Calls() != 2 {
		t.Errorf("later %q after %d calls, want the first reply from the disk", resp.Text, model.Calls())
	}
}

// purse is a shared limit in this process.
type purse struct {
	mu    sync.Mutex
	limit money.Picodollars
	held  map[string]money.Picodollars
	spent map[string]money.Picodollars
}

type part struct {
	*purse
	name string
}

func (p part) Hold(_ context.Context, spent, least, need money.Picodollars) (held, others money.Picodollars, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent[p.name] = spent
	free := p.limit
	for name, h := range p.held {
		if name != p.name {
			free -= h
			others += h - p.spent[name]
		}
	}
	p.held[p.name] = least
	if need <= free {
		p.held[p.name] = need
	}
	return p.held[p.name], others, nil
}

// What one ledger gives back another one can spend; the end of the shared limit is an ErrBudget, and nothing stays held at the end.
func TestLedgersShareALimit(t *testing.T) {
	p := &purse{limit: money.RoundDown(0.004), held: map[string]money.Picodollars{}, spent: map[string]money.Picodollars{}}
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return "some words", nil }}
	var clients []llm.Client
	var ledgers []*llm.Ledger
	for _, name := range []string{"a", "b"} {
		l := newLedger(t, 0)
		if err := l.Share(t.Context(), part{p, name}); err != nil {
			t.Fatal(err)
		}
		ledgers = append(ledgers, l)
		clients = append(clients, stack(t, model, llm.StackOptions{Ledger: l, Retry: once}))
	}
	var paid float64
	var err error
	for i := 0; err == nil; i++ {
		var resp llm.Response
		resp, err = clients[i%2].Chat(t.Context(), ask(strings.Repeat("word ", 1+i)))
		paid += resp.Usage.Paid
	}
	if !errors.Is(err, llm.ErrBudget) || model.Calls() < 4 {
		t.Errorf("ended after %d calls: %v", model.Calls(), err)
	}
	if err == nil || !strings.Contains(err.Error(), "of a limit that machines share") { // what one holds is not the limit that the user set
		t.Errorf("the refusal %v does not say that others spend from the limit too", err)
	}
	for _, l := range ledgers {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if held := (p.held["a"] + p.held["b"]).Dollars(); held > 0.004 || held < paid-1e-9 || held > paid+1e-9 {
		t.Errorf("$%v are held at the end, want the $%v paid", held, paid)
	}
}
