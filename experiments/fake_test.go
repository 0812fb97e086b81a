package experiments

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// tiny is a data set of short conversations. Question i of a history asks for the city that its person moved to.
type tiny struct {
	histories, each int
	noEvidence      bool // of any question, so that there are no ceilings
}

var cities = []string{"Bern", "Basel", "Oslo", "Lima", "Quito", "Turin", "Kyoto", "Accra"}

func (tiny) Name() string     { return "tiny" }
func (tiny) Hash() string     { return "0123456789abcdef" }
func (tiny) ChunkTokens() int { return 40 }
func (tiny) Metric() string   { return "locomo-f1" }
func (d tiny) Questions(context.Context, datasets.Split) ([]datasets.Question, error) {
	return nil, fmt.Errorf("only the test split exists")
}

func (d tiny) Test(context.Context) ([]datasets.Question, error) {
	var out []datasets.Question
	for h := range d.histories {
		for i := range d.each {
			q := datasets.Question{ID: fmt.Sprintf("h%d-q%d", h, i), History: fmt.Sprintf("h%d", h), Category: []string{"odd", "even"}[i%2],
				Text: fmt.Sprintf("Where did Person%d move in history %d?", i, h), Gold: []string{cities[(h+i)%len(cities)]}}
			if i != 1 && !d.noEvidence { // one question of each history has no known evidence
				q.Evidence = []string{fmt.Sprintf("D%d:1", i)}
			}
			out = append(out, q)
		}
	}
	return out, nil
}

func (d tiny) History(_ context.Context, id string) (datasets.History, error) {
	var h int
	if _, err := fmt.Sscanf(id, "h%d", &h); err != nil {
		return datasets.History{}, err
	}
	out := datasets.History{ID: id}
	for i := range d.each {
		session := fmt.Sprintf("D%d", i)
		out.Turns = append(out.Turns,
			chunk.Turn{ID: session + ":1", Session: session, Time: "3 May 2024", Speaker: "Ann", Text: fmt.Sprintf("Person%d told me of the move to %s last week.", i, cities[(h+i)%len(cities)])},
			chunk.Turn{ID: session + ":2", Session: session, Time: "3 May 2024", Speaker: "Bob", Text: "How nice, I did not know that at all. <b>Really</b>?"})
	}
	return out, nil
}

// reply is a model that names the last city of its prompt, and a list for the modules that want one.
func reply(c llmtest.Call) string {
	prompt := c.Messages[len(c.Messages)-1].Content
	city, at := "none", -1
	for _, name := range cities {
		if i := strings.LastIndex(prompt, name); i > at {
			city, at = name, i
		}
	}
	if strings.Contains(prompt, "Answer from the notes above") {
		return city
	}
	return `<answer>["` + city + `"]</answer>`
}

// rig is what a test run needs besides its config.
type rig struct {
	url     string // of the model
	dir     string // of cache and memory
	timeout time.Duration
	limit   float64 // dollars; 0 means none
	retry   llm.Retry
	// chunkTokens is the size of chunks; 0 means 40.
	chunkTokens int
}

// system opens a memory over a served model, with the layers that a real run has.
func system(s rig) (m *bmem.Memory, ledger *llm.Ledger, closeAll func(), err error) {
	client, err := openai.New(openai.Config{Model: "test-model", Endpoints: []openai.Endpoint{{BaseURL: s.url}}, Family: "test", Timeout: s.timeout})
	if err != nil {
		return nil, nil, nil, err
	}
	cache, err := llm.OpenCache(filepath.Join(s.dir, "replies.db"))
	if err != nil {
		return nil, nil, nil, err
	}
	if s.limit == 0 {
		s.limit = math.Inf(1)
	}
	if ledger, err = llm.NewLedger(s.limit); err != nil {
		return nil, nil, nil, err
	}
	prices := llm.DefaultPrices().Set(map[string]llm.Price{"test-model": {In: 1, Out: 2}})
	stack, err := llm.Stack(client, llm.StackOptions{Prices: prices, Ledger: ledger, Retry: s.retry, Cache: cache})
	if err != nil {
		return nil, nil, nil, err
	}
	m, err = bmem.Open(context.Background(), bmem.Options{Path: filepath.Join(s.dir, "memory.db"), Embedder: &embedtest.Words{}, Tokenizer: &embedtest.Words{}, Client: stack, ChunkTokens: cmp.Or(s.chunkTokens, 40)})
	if err != nil {
		return nil, nil, nil, err
	}
	return m, ledger, func() { m.Close(); cache.Close() }, nil
}

func mustSystem(t *testing.T, s rig) (*bmem.Memory, *llm.Ledger) {
	t.Helper()
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	m, ledger, closeAll, err := system(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeAll)
	return m, ledger
}
