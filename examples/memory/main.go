// Command memory keeps a conversation and asks it a question, with the local models.
//
//	go run ./examples/memory                                   the conversation that comes with it
//	go run ./examples/memory talk.jsonl "Where does Ann live?" one of your own
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	file, question := "examples/conversation.jsonl", "When did Rita sign up for the pottery class?"
	if len(os.Args) == 3 {
		file, question = os.Args[1], os.Args[2]
	}
	answer, err := ask(ctx, setup.Spec{Engine: inprocess.New("", nil)}, file, question)
	if err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		os.Exit(1)
	}
	fmt.Println(answer.Text)
	fmt.Println("evidence:", answer.Evidence)
	usage := answer.Trace.Usage()
	fmt.Printf("cost: %d tokens in, %d out, $%.7f\n", usage.In, usage.Out, usage.Dollars)
}

func ask(ctx context.Context, spec setup.Spec, file, question string) (bmem.Answer, error) {
	talk, err := conversation.ReadFile(file)
	if err != nil {
		return bmem.Answer{}, err
	}
	sys, err := setup.Open(ctx, spec)
	if err != nil {
		return bmem.Answer{}, err
	}
	defer sys.Close()
	// The memory follows the file: what is new is embedded, what is gone is forgotten.
	name, err := sys.Memory.Sync(ctx, talk.Turns, bmem.WithSource(file))
	if err != nil {
		return bmem.Answer{}, err
	}
	return sys.Memory.Ask(ctx, question, bmem.WithMemory(name), bmem.WithTiers("mid"))
}
