package bmem_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// A memory is corrected, searched as it was before a day, and forgets.
func ExampleMemory_ForgetTurns() {
	dir, err := os.MkdirTemp("", "bmem")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	words := &embedtest.Words{}
	mem, err := bmem.Open(context.Background(), bmem.Options{Path: filepath.Join(dir, "memory.db"), Embedder: words, Tokenizer: words, Client: &llmtest.Client{}})
	if err != nil {
		log.Fatal(err)
	}
	defer mem.Close()
	if err := lifecycle(context.Background(), mem); err != nil {
		log.Fatal(err)
	}
	// Output:
	// {3 0}
	// 2:1 I found a flat near the lake in Basel.
	// 1:2 Nice, I am still looking for a flat.
	// forgot 2 turns
}

func lifecycle(ctx context.Context, mem *bmem.Memory) error {
	added, err := mem.Add(ctx, "chat", turns, bmem.WithExpiry(time.Now().AddDate(1, 0, 0)))
	if err != nil {
		return err
	}
	fmt.Println(added)
	if err := mem.Edit(ctx, "chat", chunk.Turn{ID: "2:1", Time: "9 June 2024", Speaker: "Bob", Text: "I found a flat near the lake in Basel."}); err != nil {
		return err
	}
	may := time.Date(2024, time.June, 1, 0, 0, 0, 0, time.UTC)
	for _, asOf := range [][]bmem.Option{nil, {bmem.WithBefore(may)}} {
		options := append(asOf, bmem.WithMemory("chat"), bmem.WithTopK(1))
		found, err := mem.Search(ctx, "Who found a flat near the lake in Basel?", options...)
		if err != nil {
			return err
		}
		fmt.Println(found[0].ID, found[0].Text)
	}
	gone, err := mem.ForgetTurns(ctx, "chat", "1:1", "1:2")
	if err != nil {
		return err
	}
	fmt.Println("forgot", gone.Turns, "turns")
	return nil
}
