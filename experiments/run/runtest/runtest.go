// Package runtest provides a small data set and a served model, for tests of runs and reports.
package runtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// Tiny is a data set of short conversations. Question i of a history asks for the city that its person moved to.
type Tiny struct {
	Histories, Each int  // conversations, and questions of each
	NoEvidence      bool // of any question, so that there are no ceilings
}

var cities = []string{"Bern", "Basel", "Oslo", "Lima", "Quito", "Turin", "Kyoto", "Accra"}

// What datasets.Dataset asks for. Questions fails, as there is the test split only, and History for an id that is none of Tiny's.
func (Tiny) Name() string     { return "tiny" }
func (Tiny) Hash() string     { return "0123456789abcdef" }
func (Tiny) ChunkTokens() int { return 40 }
func (Tiny) Metric() string   { return "locomo-f1" }
func (d Tiny) Questions(context.Context, datasets.Split) ([]datasets.Question, error) {
	return nil, fmt.Errorf("only the test split exists")
}

func (d Tiny) Test(context.Context) ([]datasets.Question, error) {
	var out []datasets.Question
	for h := range d.Histories {
		for i := range d.Each {
			q := datasets.Question{ID: fmt.Sprintf("h%d-q%d", h, i), History: fmt.Sprintf("h%d", h), Category: []string{"odd", "even"}[i%2],
				Text: fmt.Sprintf("Where did Person%d move in history %d?", i, h), Gold: []string{cities[(h+i)%len(cities)]}}
			if i != 1 && !d.NoEvidence { // one question of each history has no known evidence
				q.Evidence = []string{fmt.Sprintf("D%d:1", i)}
			}
			out = append(out, q)
		}
	}
	return out, nil
}

func (d Tiny) History(_ context.Context, id string) (datasets.History, error) {
	var h int
	if _, err := fmt.Sscanf(id, "h%d", &h); err != nil {
		return datasets.History{}, err
	}
	out := datasets.History{ID: id}
	for i := range d.Each {
		session := fmt.Sprintf("D%d", i)
		out.Turns = append(out.Turns,
			chunk.Turn{ID: session + ":1", Session: session, Time: "3 May 2024", Speaker: "Ann", Text: fmt.Sprintf("Person%d told me of the move to %s last week.", i, cities[(h+i)%len(cities)])},
			chunk.Turn{ID: session + ":2", Session: session, Time: "3 May 2024", Speaker: "Bob", Text: "How nice, I did not know that at all. <b>Really</b>?"})
	}
	return out, nil
}

// Reply is a model that names the last city of its prompt, and a list for the modules that want one.
func Reply(c llmtest.Call) string {
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

// Rig says how a test's memory is opened.
type Rig struct {
	URL     string // of the model
	Dir     string // of cache and memory
	Timeout time.Duration
	Limit   float64 // dollars; 0 means none
	Retry   llm.Retry
	// ChunkTokens is the size of chunks; 0 means 40.
	ChunkTokens int
	// Tiers is the tier set; "" means implementation. Its roles are all filled by the model.
	Tiers string
	// Replies are those of other machines, Allowance the limit shared with them, which LedgerFile keeps this one's part of.
	Replies    llm.SharedReplies
	Allowance  llm.Allowance
	LedgerFile string
}

// Open opens a memory over a served model, with the layers that a real run has. The errors are those of the layers, such as llm.ErrCache.
func Open(s Rig) (m *bmem.Memory, ledger *llm.Ledger, closeAll func(), err error) {
	client, err := openai.New(openai.Config{Model: "test-model", Endpoints: []openai.Endpoint{{BaseURL: s.URL}}, Settings: llm.Settings{Family: "test"}, Timeout: s.Timeout})
	if err != nil {
		return nil, nil, nil, err
	}
	cache, err := llm.OpenCache(filepath.Join(s.Dir, "replies.db"))
	if err != nil {
		return nil, nil, nil, err
	}
	if s.Replies != nil {
		cache.Share(s.Replies)
	}
	if s.Limit == 0 && s.Allowance == nil {
		s.Limit = math.Inf(1)
	}
	if s.LedgerFile != "" {
		ledger, err = llm.OpenLedger(s.LedgerFile, s.Limit)
	} else {
		ledger, err = llm.NewLedger(s.Limit)
	}
	if err == nil && s.Allowance != nil {
		err = ledger.Share(context.Background(), s.Allowance)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	prices := llm.DefaultPrices().Set(map[string]llm.Price{"test-model": {In: 1, Out: 2}})
	stack, err := llm.Stack(client, llm.StackOptions{Prices: prices, Ledger: ledger, Retry: s.Retry, Cache: cache})
	if err != nil {
		return nil, nil, nil, err
	}
	spec, err := tiers.LoadSpec(cmp.Or(s.Tiers, tiers.ImplementationAxis))
	if err != nil {
		return nil, nil, nil, err
	}
	roles := map[string]llm.Client{}
	for _, role := range spec.Models() {
		roles[role] = stack
	}
	m, err = bmem.Open(context.Background(), bmem.Options{Path: filepath.Join(s.Dir, "memory.db"), Embedder: &embedtest.Words{}, Tokenizer: &embedtest.Words{}, Client: stack, Models: roles, Tiers: spec.Build, ChunkTokens: cmp.Or(s.ChunkTokens, 40)})
	if err != nil {
		return nil, nil, nil, err
	}
	return m, ledger, func() { _, _, _ = m.Close(), ledger.Close(), cache.Close() }, nil
}

// MustOpen is Open for the time of a test.
func MustOpen(t *testing.T, s Rig) (*bmem.Memory, *llm.Ledger) {
	t.Helper()
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	m, ledger, closeAll, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeAll)
	return m, ledger
}

// Policies are those of Config.
var Policies = []string{"low", "mid", "high", "random", "low,high,mid,low,high"}

// Config is a run of 12 questions.
func Config(dir string, m *bmem.Memory) run.Config {
	return run.Config{Dir: dir, Dataset: Tiny{Histories: 3, Each: 4}, Split: run.TestSplit, Seed: 42, Policies: Policies, Memory: m, TopK: 3, KeepK: 2,
		System: run.System{Axis: "implementation", LanguageModel: run.LanguageModel{Model: "test-model", ModelID: "test"}, Embedder: "words-64", Backend: "endpoint"}}
}

// ReadPredictions reads predictions.jsonl from a run's folder.
func ReadPredictions(t *testing.T, dir string) []run.Prediction {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "predictions.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []run.Prediction
	for line := range bytes.Lines(data) {
		var p run.Prediction
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		out = append(out, p)
	}
	return out
}
