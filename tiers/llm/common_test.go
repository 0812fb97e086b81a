package llm_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// testPrice has whole numbers of 1e-12 dollars a token, so that bills can be checked exactly.
var testPrice = llm.Price{In: 1, Out: 4}

func testPrices() llm.Prices {
	return llm.Prices{}.Set(map[string]llm.Price{"test-model": testPrice})
}

// quick is a retry loop that does not make tests wait.
var quick = llm.Retry{Attempts: 12, Base: 2 * time.Millisecond, MaxInterval: 20 * time.Millisecond}

// once is a retry loop that does not retry.
var once = llm.Retry{Attempts: 1}

func startServer(t testing.TB, c llmtest.Config) *llmtest.Server {
	t.Helper()
	s := llmtest.New(c)
	t.Cleanup(s.Close)
	return s
}

func endpoint(t testing.TB, url string, timeout time.Duration) *openai.Client {
	t.Helper()
	client, err := openai.New(openai.Config{Model: "test-model", Settings: llm.Settings{Family: "test"}, Timeout: timeout, Cooldown: 50 * time.Millisecond,
		Endpoints: []openai.Endpoint{{BaseURL: url}}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func stack(t testing.TB, base llm.Client, o llm.StackOptions) llm.Client {
	t.Helper()
	o.Prices = testPrices().AllowUnpriced(base.Model())
	c, err := llm.Stack(base, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func openCache(t testing.TB, path string) *llm.Cache {
	t.Helper()
	c, err := llm.OpenCache(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newLedger(t testing.TB, limit float64) *llm.Ledger {
	t.Helper()
	l, err := llm.NewLedger(limit)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func cachePath(t testing.TB) string { return filepath.Join(t.TempDir(), "cache", "replies.db") }

func ask(text string) llm.Request {
	return llm.Request{Messages: []llm.Message{{Role: llm.User, Content: text}}, MaxTokens: 16}
}

func mustChat(t testing.TB, c llm.Client, req llm.Request) llm.Response {
	t.Helper()
	resp, err := c.Chat(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func wantErr(t testing.TB, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want one that is %v", err, kind)
	}
}
