// Command budget asks one question under falling limits in dollars, and shows which tiers it could afford.
//
//	go run ./examples/budget
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
)

var limits = []float64{0.0005, 0.00003, 0.000001} // dollars

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	talk, err := conversation.ReadFile("examples/conversation.jsonl")
	if err == nil {
		spec := setup.Spec{Engine: inprocess.New("", nil)}
		err = run(ctx, spec, talk.Turns, "Why did Omar move his trip?", os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "budget:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, spec setup.Spec, turns []chunk.Turn, question string, out io.Writer) error {
	sys, err := setup.Open(ctx, spec)
	if err != nil {
		return err
	}
	defer sys.Close()
	if _, err := sys.Memory.Add(ctx, "chat", turns); err != nil {
		return err
	}
	for _, limit := range limits {
		answer, err := sys.Memory.Ask(ctx, question, bmem.WithMemory("chat"), bmem.WithTiers("high"), bmem.WithMaxCost(limit))
		if refused := (*bmem.MaxCostError)(nil); errors.As(err, &refused) {
			fmt.Fprintf(out, "$%.7f: %v\n", limit, err)
			continue
		} else if err != nil {
			return err
		}
		fmt.Fprintf(out, "$%.7f: %s (spent $%.7f)\n", limit, answer.Text, answer.Trace.Usage().Dollars)
		for _, m := range answer.Trace.Modules {
			fmt.Fprintf(out, "  %-8s %s\n", m.Module, m.Served)
		}
	}
	return nil
}
