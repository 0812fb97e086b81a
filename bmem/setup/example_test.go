package setup_test

import (
	"context"
	"fmt"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
)

func ask(ctx context.Context, turns []chunk.Turn, question string) error {
	sys, err := setup.Open(ctx, setup.Spec{Engine: inprocess.New("", nil)})
	if err != nil {
		return err
	}
	defer sys.Close()
	if _, err := sys.Memory.Add(ctx, "chat", turns); err != nil {
		return err
	}
	answer, err := sys.Memory.Ask(ctx, question, bmem.WithMemory("chat"), bmem.WithMaxCost(0.00002))
	if err != nil {
		return err
	}
	fmt.Println(answer.Text, answer.Evidence, answer.Trace.Usage().Dollars)
	return nil
}

// The question costs at most 20 millionths of a dollar.
func ExampleOpen() {
	turns := []chunk.Turn{{Session: "1", Time: "10:04 am on 3 March, 2025", Speaker: "Rita", Text: "I finally signed up for the pottery class yesterday!"}}
	if err := ask(context.Background(), turns, "When did Rita sign up?"); err != nil {
		fmt.Println(err)
	}
}
