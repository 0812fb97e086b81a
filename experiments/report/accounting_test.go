package report

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/datasets/judge"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// Dollars per million tokens, prompt and reply alike, as the paper calculates: typed from it, not read from prices.yaml.
const (
	price3B  = 0.06
	price8B  = 0.18
	price70B = 0.88
)

// The paper's accounting on its capacity axis, with the three models at three endpoints and the largest one answering. All
// messages count 20 tokens and all replies 30, so that every amount below can be worked out by hand:
//
//	a module's call has one message:                          50 tokens
//	an answer has six worked examples of two messages before: 290 tokens
//	all low:  5 · 50 · $0.06/M + 290 · $0.88/M = $0.000015 + $0.0002552 = $0.0002702
//	all mid:  5 · 50 · $0.18/M + 290 · $0.88/M = $0.000045 + $0.0002552 = $0.0003002
//	all high: 5 · 50 · $0.88/M + 290 · $0.88/M = $0.000220 + $0.0002552 = $0.0004752
//	mixed:    50 · ($0.06 + $0.18 + $0.88 + $0.06 + $0.88)/M + 290 · $0.88/M = $0.000103 + $0.0002552 = $0.0003582
func TestCapacityAccounting(t *testing.T) {
	const words = "word word word word word word word word word word word word word word word word word word word word word word word word word word word word word Bern"
	count := func(s string) int {
		if s == words {
			return 30
		}
		return 20
	}
	roles := []struct {
		role, model string
		price       float64
	}{{"small", "meta-llama/Llama-3.2-3B-Instruct", price3B}, {"medium", "meta-llama/Llama-3.1-8B-Instruct", price8B}, {"large", "meta-llama/Llama-3.3-70B-Instruct", price70B}}
	dir := t.TempDir()
	cache, err := llm.OpenCache(filepath.Join(dir, "replies.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	servers, clients := map[string]*llmtest.Server{}, map[string]llm.Client{}
	for _, r := range roles {
		server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return words }, Tokens: count})
		t.Cleanup(server.Close)
		client, err := openai.New(openai.Config{Model: r.model, Endpoints: []openai.Endpoint{{BaseURL: server.URL()}}})
		if err != nil {
			t.Fatal(err)
		}
		if clients[r.role], err = llm.Stack(client, llm.StackOptions{Prices: llm.DefaultPrices(), Cache: cache}); err != nil {
			t.Fatal(err)
		}
		servers[r.role] = server
	}
	set, err := tiers.LoadSpec(tiers.CapacityAxis)
	if err != nil {
		t.Fatal(err)
	}
	m, err := bmem.Open(context.Background(), bmem.Options{Path: filepath.Join(dir, "memory.db"), Embedder: &embedtest.Words{}, Tokenizer: &embedtest.Words{},
		Client: clients["large"], Models: clients, Tiers: set.Build, ChunkTokens: 40})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	grader := &llmtest.Client{Name: "gpt-oss-120b", Reply: func(context.Context, llm.Request) (string, error) { return `{"score": 1}`, nil }}

	c := runtest.Config(filepath.Join(dir, "run"), m)
	c.Dataset, c.Policies = runtest.Tiny{Histories: 1, Each: 4, NoEvidence: true}, []string{"low", "mid", "high", "low,mid,high,low,high"}
	c.System.Model, c.InFlight = clients["large"].Model(), 1
	c.Judges = []*judge.Judge{judgeOf(t, judge.Paper, grader, nil)}
	s, err := evaluate(context.Background(), c)
	if err != nil || s.Failed > 0 {
		t.Fatal(err, s.Failed)
	}

	// What four questions cost.
	want := map[string]struct{ modules, answer float64 }{
		"low":                   {4 * 0.000015, 4 * 0.0002552},
		"mid":                   {4 * 0.000045, 4 * 0.0002552},
		"high":                  {4 * 0.000220, 4 * 0.0002552},
		"low,mid,high,low,high": {4 * 0.000103, 4 * 0.0002552},
	}
	same := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-12 {
			t.Errorf("%s: $%.10f, want $%.10f", what, got, want)
		}
	}
	for _, r := range s.Policies {
		w := want[r.Policy]
		same(r.Policy+", modules", r.ModulesDollars, w.modules)
		same(r.Policy+", answers", r.AnswerDollars, w.answer)
		same(r.Policy+", all", r.Dollars, w.modules+w.answer)
		same(r.Policy+", a question", r.DollarsMean, (w.modules+w.answer)/4)
	}
	// The paid sum is what the three endpoints bill: a call that another policy has made comes from the cache.
	bill := 0.0
	for _, r := range roles {
		in, out := servers[r.role].Billed()
		bill += float64(in+out) * r.price / 1e6
	}
	same("paid", s.Paid, bill)
	// Each model's own sum: of the modules by hand, of the answers beside them those of all four policies.
	byModel := map[string]float64{}
	for _, count := range s.Calls.Models {
		byModel[count.Name] = count.Dollars
	}
	perCall := 50 / 1e6
	same("3B", byModel[roles[0].model], 4*(5+2)*perCall*price3B)
	same("8B", byModel[roles[1].model], 4*(5+1)*perCall*price8B)
	same("70B", byModel[roles[2].model], 4*(5+2)*perCall*price70B+4*4*0.0002552)
	for _, r := range s.Policies {
		if r.Judges[judge.Paper].Usage.Dollars == 0 || r.Judges[judge.Paper].Score.N != 4 {
			t.Errorf("the judge is missing: %+v", r.Judges)
		}
	}
	if d, ok := byModel["gpt-oss-120b (judge)"]; !ok || d == 0 || len(byModel) != 4 {
		t.Errorf("models %v", byModel)
	}
	var table strings.Builder
	if err := s.Calls.WriteTable(&table); err != nil || !strings.Contains(table.String(), roles[0].model) {
		t.Errorf("%v\n%s", err, &table)
	}
}
