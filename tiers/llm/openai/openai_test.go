package openai

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

func start(t testing.TB, c llmtest.Config) *llmtest.Server {
	t.Helper()
	s := llmtest.New(c)
	t.Cleanup(s.Close)
	return s
}

func client(t testing.TB, c Config) *Client {
	t.Helper()
	c.Model = "test-model"
	if c.Cooldown == 0 {
		c.Cooldown = 50 * time.Millisecond
	}
	out, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func at(s *llmtest.Server, keys ...string) Config {
	return Config{Endpoints: []Endpoint{{BaseURL: s.URL() + "/", KeyEnv: keys}}}
}

var quick = llm.Retry{Attempts: 6, Base: time.Millisecond, MaxInterval: 10 * time.Millisecond}

// retried puts a stack with a retry loop around a client.
func retried(t testing.TB, r llm.Retry, c *Client) llm.Client {
	t.Helper()
	out, err := llm.Stack(c, llm.StackOptions{Prices: llm.Prices{}.AllowUnpriced(c.Model()), Retry: r})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var hello = llm.Request{Messages: []llm.Message{{Role: llm.System, Content: "be kind"}, {Role: llm.User, Content: "hello there"}}}

func TestChatOnTheWire(t *testing.T) {
	s := start(t, llmtest.Config{Reply: func(llmtest.Call) string { return "a b c d e" }})
	for name, tt := range map[string]struct {
		change func(*llm.Request)
		config func(*Config)
		want   []string
		not    []string
	}{
		"defaults":       {nil, nil, []string{`"temperature":0,`, `"max_tokens":512`, `"model":"test-model"`, `{"role":"system","content":"be kind"}`}, []string{"seed", "stop"}},
		"sampling":       {func(r *llm.Request) { r.Temperature, r.Seed, r.Stop = 0.5, 7, []string{"\n"} }, nil, []string{`"temperature":0.5`, `"seed":7`, `"stop":["\n"]`}, nil},
		"newer name":     {nil, func(c *Config) { c.Settings.MaxCompletionTokens = true }, []string{`"max_completion_tokens":512`}, []string{`"max_tokens"`}},
		"exact":          {func(r *llm.Request) { r.Temperature = 0.5 }, func(c *Config) { c.Exact = true }, []string{`"seed":0`}, nil},
		"no temperature": {nil, func(c *Config) { c.Settings.NoTemperature = true }, nil, []string{`"temperature"`}},
	} {
		t.Run(name, func(t *testing.T) {
			req, c := hello, at(s)
			if tt.change != nil {
				tt.change(&req)
			}
			if tt.config != nil {
				tt.config(&c)
			}
			resp, err := client(t, c).Chat(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if u := resp.Usage; resp.Text != "a b c d e" || resp.Finish != "stop" || u.In != 4 || u.Out != 5 || u.Calls != 1 || u.MS <= 0 {
				t.Errorf("%+v", resp)
			}
			body := s.Calls()[s.Count()-1].Body
			for _, w := range tt.want {
				if !strings.Contains(body, w) {
					t.Errorf("%s is not in %s", w, body)
				}
			}
			for _, w := range tt.not {
				if strings.Contains(body, w) {
					t.Errorf("%s is in %s", w, body)
				}
			}
		})
	}
}

func TestReplyCutByItsLimit(t *testing.T) {
	s := start(t, llmtest.Config{Reply: func(llmtest.Call) string { return "a b c d e" }})
	req := hello
	req.MaxTokens = 3
	resp, err := client(t, at(s)).Chat(t.Context(), req)
	if err != nil || resp.Text != "a b c" || resp.Finish != "length" {
		t.Errorf("%+v %v", resp, err)
	}
}

// A model that uses up its limit on reasoning gets one second try with more room.
func TestNothingWrittenWithinTheLimit(t *testing.T) {
	s := start(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 200,
		Body: `{"choices":[{"message":{"content":""},"finish_reason":"length"}],"usage":{"prompt_tokens":4,"completion_tokens":512}}`})})
	resp, err := retried(t, quick, client(t, at(s))).Chat(t.Context(), hello)
	// The first try has 512 tokens, the second 4096 more.
	if !errors.Is(err, llm.ErrReasoning) || s.Count() != 2 || resp.Usage.Out != 1024 || resp.Usage.Calls != 1 || resp.Usage.Retries != 1 {
		t.Errorf("%d calls, %+v, %v", s.Count(), resp.Usage, err)
	}
}

// An endpoint that does not count must not look free.
func TestMissingTokenCounts(t *testing.T) {
	s := start(t, llmtest.Config{NoUsage: true})
	resp, err := client(t, at(s)).Chat(t.Context(), hello)
	if err != nil || resp.Usage.In < len("be kind")+len("hello there") || resp.Usage.Out < 1 {
		t.Errorf("%+v %v", resp.Usage, err)
	}
}

// Keys and endpoints take turns; one whose key is refused is passed over without failing a call.
func TestRoundRobin(t *testing.T) {
	t.Setenv("KEY_A", "key-a")
	t.Setenv("KEY_B", " key-b\n")
	t.Setenv("KEY_X", "key-x")
	one := start(t, llmtest.Config{Keys: []string{"key-a", "key-b"}})
	two := start(t, llmtest.Config{})
	c := client(t, Config{Endpoints: []Endpoint{{BaseURL: one.URL(), KeyEnv: []string{"KEY_A", "KEY_X", "KEY_B"}}, {BaseURL: two.URL()}}})
	for range 12 {
		if _, err := c.Chat(t.Context(), hello); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]int{}
	for _, call := range one.Calls() {
		got[call.Key]++
	}
	if got["key-a"] != 4 || got["key-b"] != 4 || got["key-x"] != 1 || two.Count() != 4 || two.Calls()[0].Key != "" {
		t.Errorf("calls by key %v, at the second endpoint %d; want 4, 4, the wrong key tried once, 4", got, two.Count())
	}
}

func TestAllKeysRefused(t *testing.T) {
	t.Setenv("KEY_X", "key-x")
	t.Setenv("KEY_Y", "key-y")
	s := start(t, llmtest.Config{Keys: []string{"another"}})
	c := client(t, at(s, "KEY_X", "KEY_Y"))
	for range 3 {
		if _, err := retried(t, quick, c).Chat(t.Context(), hello); !errors.Is(err, llm.ErrAuth) {
			t.Fatal(err)
		}
	}
	if s.Count() != 2 {
		t.Errorf("%d calls, want each key tried once", s.Count())
	}
}

// While one endpoint limits calls, the other gets them all, and nobody waits.
func TestLimitedEndpointIsLeftAlone(t *testing.T) {
	limited := start(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 429, RetryAfter: "60"})})
	free := start(t, llmtest.Config{})
	c := retried(t, quick, client(t, Config{Endpoints: []Endpoint{{BaseURL: limited.URL()}, {BaseURL: free.URL()}}}))
	begin := time.Now()
	for range 10 {
		if _, err := c.Chat(t.Context(), hello); err != nil {
			t.Fatal(err)
		}
	}
	if limited.Count() != 1 || free.Count() != 10 || time.Since(begin) > 10*time.Second {
		t.Errorf("%d calls to the limited endpoint, %d to the free one, in %s", limited.Count(), free.Count(), time.Since(begin))
	}
}

func TestFailingEndpointIsLeftAloneForAWhile(t *testing.T) {
	bad := true
	var mu sync.Mutex
	failing := start(t, llmtest.Config{Script: func(llmtest.Call) llmtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if bad {
			return llmtest.Fault{Kind: llmtest.Status}
		}
		return llmtest.Fault{}
	}})
	free := start(t, llmtest.Config{})
	cfg := Config{Cooldown: time.Hour, Endpoints: []Endpoint{{BaseURL: failing.URL()}, {BaseURL: free.URL()}}}
	base := client(t, cfg)
	clock := time.Now()
	base.turns.now = func() time.Time { return clock }
	c := retried(t, quick, base)
	calls := func(n int) {
		for range n {
			if _, err := c.Chat(t.Context(), hello); err != nil {
				t.Fatal(err)
			}
		}
	}
	calls(10)
	if failing.Count() != failuresInRow {
		t.Errorf("%d calls to the failing endpoint, want %d", failing.Count(), failuresInRow)
	}
	clock = clock.Add(time.Hour)
	mu.Lock()
	bad = false
	mu.Unlock()
	calls(10)
	if failing.Count() != failuresInRow+5 {
		t.Errorf("%d calls after it recovered, want 5", failing.Count()-failuresInRow)
	}
}

// With one endpoint only, a limit makes every caller wait, and waiting is no attempt.
func TestLimitStopsAllCallers(t *testing.T) {
	s := start(t, llmtest.Config{Script: llmtest.Sequence(llmtest.Fault{Kind: llmtest.Status, Status: 429, RetryAfter: "0.4"})})
	c := retried(t, llm.Retry{Attempts: 2, Base: time.Millisecond}, client(t, at(s)))
	if _, err := c.Chat(t.Context(), hello); err != nil { // meets the limit and waits for it
		t.Fatal(err)
	}
	s2 := start(t, llmtest.Config{Script: llmtest.Sequence(llmtest.Fault{Kind: llmtest.Status, Status: 429, RetryAfter: "0.4"})})
	base := client(t, at(s2))
	if _, err := base.Chat(t.Context(), hello); !errors.Is(err, llm.ErrRateLimited) {
		t.Fatal(err)
	}
	c = retried(t, llm.Retry{Attempts: 1, Base: time.Millisecond}, base)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Chat(t.Context(), hello); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s2.Count() != 21 {
		t.Errorf("%d calls, want 1 limited and 20 good", s2.Count())
	}
}

func TestBadConfigs(t *testing.T) {
	url := []Endpoint{{BaseURL: "http://localhost:8000/v1"}}
	for want, c := range map[string]Config{
		"field model":                                  {Endpoints: url},
		"field endpoints":                              {Model: "m"},
		"endpoint 1: field base_url":                   {Model: "m", Endpoints: []Endpoint{{BaseURL: "localhost:8000"}}},
		"no user or password":                          {Model: "m", Endpoints: []Endpoint{{BaseURL: "https://me:hunter2@host/v1"}}},
		"environment variable NO_SUCH_KEY_ is not set": {Model: "m", Endpoints: []Endpoint{{BaseURL: "http://h/v1", KeyEnv: []string{"NO_SUCH_KEY_"}}}},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	a, b := client(t, Config{Endpoints: url}), client(t, Config{Endpoints: url, Settings: llm.Settings{Family: "mine"}})
	if c := client(t, Config{Endpoints: url, Settings: llm.Settings{NoTemperature: true}}); c.ID() == a.ID() {
		t.Errorf("replies at the endpoint's own temperature are kept under the id of others, %s", c.ID())
	}
	if a.ID() != "model:test-model" || !slices.Equal(a.FormerIDs(), []string{"openai:localhost:8000/v1/test-model"}) || b.ID() != "openai:mine/test-model" {
		t.Errorf("ids %q, %q", a.ID(), b.ID())
	}
	// One setting given in two ways is one, also for the cache, which finds what earlier versions kept under the other.
	for name, two := range map[string][2]llm.Settings{
		"reasoning_effort": {{ReasoningEffort: "low"}, {Parameters: map[string]any{"reasoning_effort": "low"}}},
		"temperature":      {{NoTemperature: true}, {Parameters: map[string]any{"temperature": nil}}},
		"with another":     {{ReasoningEffort: "low", Parameters: map[string]any{"top_p": 0.9}}, {ReasoningEffort: "high", Parameters: map[string]any{"top_p": 0.9, "reasoning_effort": "low"}}},
	} {
		a, b := client(t, Config{Endpoints: url, Settings: two[0]}), client(t, Config{Endpoints: url, Settings: two[1]})
		if former := "model:test-model" + parameters(two[1]); a.ID() != b.ID() || !slices.Contains(b.FormerIDs(), former) {
			t.Errorf("%s: ids %q, %q; former ones %q", name, a.ID(), b.ID(), b.FormerIDs())
		}
	}
}

// A server of this machine that is not there is given up soon, and the user is told at the first try.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var told []string
	c := client(t, Config{Endpoints: []Endpoint{{BaseURL: "http://" + l.Addr().String() + "/v1"}}, Warn: func(s string) { told = append(told, s) }})
	stacked, err := llm.Stack(c, llm.StackOptions{Prices: llm.Prices{}.AllowUnpriced("test-model"), Retry: llm.Retry{Base: time.Millisecond, Attempts: 100}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stacked.Chat(t.Context(), llm.Request{Messages: []llm.Message{{Role: "user", Content: "Where?"}}})
	if !errors.Is(err, llm.ErrNoServer) || !errors.Is(err, llm.ErrUnavailable) || !strings.Contains(err.Error(), "after 4 attempts") {
		t.Errorf("error %v", err)
	}
	if len(told) != 1 || !strings.Contains(told[0], l.Addr().String()) {
		t.Errorf("told %q", told)
	}
}

func TestEmbeddings(t *testing.T) {
	s := start(t, llmtest.Config{Dim: 5, Script: llmtest.Mixed(3, 0.3)})
	cfg := at(s)
	cfg.Settings.EmbedBatch, cfg.Retry, cfg.Timeout = 7, llm.Retry{Attempts: 20, Base: time.Millisecond, MaxInterval: 5 * time.Millisecond}, 300*time.Millisecond
	texts := make([]string, 60)
	for i := range texts {
		texts[i] = fmt.Sprint("text number ", i)
	}
	vectors, u, err := client(t, cfg).Embeddings(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range vectors {
		if !slices.Equal(v, llmtest.Vector(texts[i], 5)) {
			t.Fatalf("text %d got another text's vector", i)
		}
	}
	if len(vectors) != 60 || u.In < 180 || u.Calls != 9 || u.Retries == 0 || u.Retries+9 != s.Count() || s.Calls()[0].Model != "test-model" {
		t.Errorf("%d vectors, usage %+v, %d calls", len(vectors), u, s.Count())
	}
	if none, _, err := client(t, cfg).Embeddings(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("no texts: %v %v", none, err)
	}
}

func TestBadEmbeddingReplies(t *testing.T) {
	for name, data := range map[string]string{
		"too few":      `[{"index":0,"embedding":[1,2]}]`,
		"index twice":  `[{"index":0,"embedding":[1,2]},{"index":0,"embedding":[1,2]}]`,
		"index beyond": `[{"index":0,"embedding":[1,2]},{"index":2,"embedding":[1,2]}]`,
		"two widths":   `[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1]}]`,
		"no width":     `[{"index":0,"embedding":[]},{"index":1,"embedding":[]}]`,
	} {
		s := start(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 200, Body: `{"data":` + data + `}`})})
		cfg := at(s)
		cfg.Retry = quick
		_, u, err := client(t, cfg).Embeddings(t.Context(), []string{"a", "b"})
		// The same texts would get the same answer, and be paid for again.
		if !errors.Is(err, llm.ErrUnavailable) || s.Count() != 1 || u.Failed != 1 {
			t.Errorf("%s: %d calls, %+v, %v", name, s.Count(), u, err)
		}
	}
}

// Vectors are found in the forms of other servers too.
func TestEmbeddingForms(t *testing.T) {
	for name, body := range map[string]string{
		"no index":       `{"data":[{"embedding":[1,2]},{"embedding":[3,4]}]}`,
		"turned around":  `{"data":[{"index":1,"embedding":[3,4]},{"index":0,"embedding":[1,2]}]}`,
		"counted from 1": `{"data":[{"index":1,"embedding":[1,2]},{"index":2,"embedding":[3,4]}]}`,
		"Ollama":         `{"embeddings":[[1,2],[3,4]],"prompt_eval_count":2}`,
		"only vectors":   ` [[1,2],[3,4]]`,
	} {
		s := start(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 200, Body: body})})
		vectors, _, err := client(t, at(s)).Embeddings(t.Context(), []string{"a", "b"})
		if err != nil || !reflect.DeepEqual(vectors, [][]float32{{1, 2}, {3, 4}}) {
			t.Errorf("%s: %v, %v", name, vectors, err)
		}
	}
}

// An endpoint that takes fewer texts at once gets fewer, whatever its words for that.
func TestSmallerBatch(t *testing.T) {
	for words, want := range map[string]int{
		"batch size is invalid, it should not be larger than 10": 10,
		"Input array must be 7 items or less":                    7,
		"Too many inputs":                                        20,
		"only a single input is supported":                       20,
		"This model accepts one string per request":              20,
		"the model is not loaded":                                0,
	} {
		c := client(t, at(start(t, llmtest.Config{})))
		refusal := &answered{&llm.Error{Kind: llm.ErrBadRequest}, 400, []byte(`{"error": {"message": "` + words + `"}}`)}
		if c.smallerBatch(refusal, 40) != (want > 0) || want > 0 && c.learned.now().batch != want {
			t.Errorf("%s: %d texts at once, want %d", words, c.learned.now().batch, want)
		}
	}
}

func TestModels(t *testing.T) {
	s := start(t, llmtest.Config{Models: []string{"a", "b"}, Script: llmtest.Sequence(llmtest.Fault{Kind: llmtest.Reset})})
	cfg := at(s)
	cfg.Retry = quick
	if got, err := client(t, cfg).Models(t.Context()); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v %v", got, err)
	}
}

func Example() {
	server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "Paris" }})
	defer server.Close()
	os.Setenv("EXAMPLE_KEY", "not-a-real-key")
	c, err := New(Config{Model: "gpt-oss-120b", Endpoints: []Endpoint{{BaseURL: server.URL(), KeyEnv: []string{"EXAMPLE_KEY"}}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	stacked, err := llm.Stack(c, llm.StackOptions{Prices: llm.DefaultPrices()})
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := stacked.Chat(context.Background(), llm.Request{
		Messages: []llm.Message{{Role: llm.User, Content: "What is the capital of France?"}},
	})
	fmt.Println(resp.Text, resp.Usage.In, resp.Usage.Out, err)
	// Output: Paris 6 1 <nil>
}
