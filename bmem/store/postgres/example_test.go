package postgres_test

import (
	"context"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/store/postgres"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// Several machines share the memories of a server.
func ExampleOpen() {
	ctx, e, model := context.Background(), &embedtest.Words{}, &llmtest.Client{}
	ask := func(question string) error {
		s, err := postgres.Open(ctx, "postgres://bmem@db.example.com/memories")
		if err != nil {
			return err
		}
		mem, err := bmem.Open(ctx, bmem.Options{Store: s, Embedder: e, Tokenizer: e, Client: model})
		if err != nil {
			return err
		}
		defer mem.Close()
		_, err = mem.Ask(ctx, question)
		return err
	}
	_ = ask // there is no such server here
}
