package bmem_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

var turns = []chunk.Turn{
	{ID: "1:1", Session: "1", Time: "3 May 2024", Speaker: "Ann", Text: "I moved to Bern last week with my cat."},
	{ID: "1:2", Session: "1", Time: "3 May 2024", Speaker: "Bob", Text: "Nice, I am still looking for a flat."},
	{ID: "2:1", Session: "2", Time: "9 June 2024", Speaker: "Bob", Text: "I found a flat near the river in Basel."},
}

// The models on this machine answer a question within a limit in dollars.
func Example() {
	ask := func(ctx context.Context, question string) (bmem.Answer, error) {
		sys, err := setup.Open(ctx, setup.Spec{Engine: inprocess.New("", nil)})
		if err != nil {
			return bmem.Answer{}, err
		}
		defer sys.Close()
		if _, err := sys.Memory.Add(ctx, "chat", turns); err != nil {
			return bmem.Answer{}, err
		}
		return sys.Memory.Ask(ctx, question, bmem.WithMemory("chat"), bmem.WithMaxCost(0.00002))
	}
	_ = ask // it loads half a billion weights
}

// Any model, embedder and tokenizer can be used; those of this example are for tests.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "bmem")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	words := &embedtest.Words{}
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return "near the river in Basel", nil }}

	mem, err := bmem.Open(ctx, bmem.Options{Path: filepath.Join(dir, "memory.db"), Embedder: words, Tokenizer: words, Client: model, ChunkTokens: 16})
	if err != nil {
		log.Fatal(err)
	}
	defer mem.Close()
	if _, err := mem.Add(ctx, "chat", turns); err != nil {
		log.Fatal(err)
	}
	answer, err := mem.Ask(ctx, "Where did Bob find a flat?", bmem.WithMemory("chat"), bmem.WithTiers("low"), bmem.WithKeepK(1))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Text, answer.Evidence)
	for _, m := range answer.Trace.Modules {
		fmt.Println(m.Module, m.Served, m.Method)
	}
	// Output:
	// near the river in Basel [2:1]
	// filter low keyword share
	// entity low names by capitalisation@2
	// temporal low date expressions@1
	// topic low frequent words@1
	// summary low concatenation
}
