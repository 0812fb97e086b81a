package llm_test

import (
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// renamed is a client under the ID that an earlier version gave it.
type renamed struct {
	llm.Client
	id string
}

func (r renamed) ID() string { return r.id }

// Replies that an earlier version kept under the endpoint's address are found by any client that knows the address.
func TestRepliesOfEarlierVersionsAreFound(t *testing.T) {
	s := startServer(t, llmtest.Config{})
	client := func(urls ...string) *openai.Client {
		var endpoints []openai.Endpoint
		for _, u := range urls {
			endpoints = append(endpoints, openai.Endpoint{BaseURL: u})
		}
		c, err := openai.New(openai.Config{Model: "test-model", Endpoints: endpoints, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cache := openCache(t, cachePath(t))
	now := client(s.URL())
	former := now.FormerIDs()
	if len(former) != 1 || former[0] == now.ID() {
		t.Fatalf("former IDs %q of %q", former, now.ID())
	}
	mustChat(t, stack(t, renamed{now, former[0]}, llm.StackOptions{Cache: cache}), ask("q"))
	for name, c := range map[string]llm.Client{"the same endpoint": now, "another order": client("http://localhost:1/v1", s.URL())} {
		if u := mustChat(t, stack(t, c, llm.StackOptions{Cache: cache}), ask("q")).Usage; u.Cached != 1 {
			t.Errorf("%s: %+v, want a reply from the cache", name, u)
		}
	}
	if s.Count() != 1 {
		t.Errorf("%d calls, want 1", s.Count())
	}
}

// Counts that an endpoint cannot mean are replaced by bounds, so that a limit holds whatever it reports.
func TestImpossibleUsage(t *testing.T) {
	for name, usage := range map[string]string{
		"negative": `{"prompt_tokens": -1000000, "completion_tokens": -1000000}`, "huge": `{"prompt_tokens": 9000000000000000000, "completion_tokens": 9000000000000000000}`,
		"beyond an int": `{"prompt_tokens": 1e300, "completion_tokens": 1e300}`, "one of them negative": `{"prompt_tokens": 5, "completion_tokens": -7}`,
		"none": `{}`, "null": `null`, "NaN": `{"prompt_tokens": NaN, "completion_tokens": NaN}`,
	} {
		s := startServer(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 200,
			Body: `{"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}], "usage": ` + usage + `}`})})
		const limit = 0.001
		ledger := newLedger(t, limit)
		var warnings int
		c := stack(t, endpoint(t, s.URL(), time.Minute), llm.StackOptions{Ledger: ledger, Retry: once, Warn: func(string) { warnings++ }})
		bound := c.(llm.Bounder).Bound(ask("q"))
		answered := 0
		for range 20 {
			resp, err := c.Chat(t.Context(), ask("q"))
			if err != nil {
				wantErr(t, err, llm.ErrBudget)
				break
			}
			answered++
			if u := resp.Usage; u.In < 1 || u.Out < 1 || u.In > bound.In || u.Out > bound.Out || u.Dollars <= 0 || u.Dollars > bound.Dollars {
				t.Fatalf("%s: usage %+v, bound %+v", name, u, bound)
			}
		}
		b := ledger.Balance()
		if answered == 0 || answered == 20 || b.Spent <= 0 || b.Spent > limit || b.Reserved != 0 {
			t.Errorf("%s: %d answers, %+v", name, answered, b)
		}
		if lie := usage[0] == '{' && len(usage) > 2 && name != "NaN"; lie != (warnings == 1) || lie != (b.Overruns > 0) {
			t.Errorf("%s: %d warnings, %d overruns", name, warnings, b.Overruns)
		}
	}
}
