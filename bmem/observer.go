package bmem

import (
	"context"

	"github.com/budgetmem/budgetmem/tiers"
)

// Observer watches questions, to trace or to count them. It is safe for concurrent use.
type Observer interface {
	// Begin is called when a step begins: StepAsk is the question, and within it come StepRetrieve, the modules that run, by name, and
	// "answer" for each answer that is written. The step runs under the context that Begin returns, and ends with a call of end: tier
	// served, model and usage as far as it has them (those of the question: its policy as the Method, and the usage of all steps), and
	// its error.
	Begin(ctx context.Context, step string) (_ context.Context, end func(tiers.Step, error))
}

// Steps that an Observer sees beside the modules.
const (
	StepAsk      = "ask"
	StepRetrieve = "retrieve"
)

// begin tells an observer, which may be nil, that a step begins.
func begin(ctx context.Context, o Observer, step string) (context.Context, func(tiers.Step, error)) {
	if o == nil {
		return ctx, unobserved
	}
	return o.Begin(ctx, step)
}

func unobserved(tiers.Step, error) {}
