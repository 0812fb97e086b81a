package run

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// Task is a question, by its ID, and the policies that it is still to be asked under, by name; Gold is the ceiling.
type Task struct {
	Question string   `json:"question"`
	Policies []string `json:"policies"`
}

// Executor decides where the questions of a run are answered.
type Executor interface {
	// Execute answers each task under each of its policies, and calls done once with every record; a record with an Error is a
	// question that failed. done may be called from several goroutines. Execute ends early with ctx, with the first error of
	// done, or with an error that no question caused, such as an llm.ErrBudget. It returns when no done is running any more.
	Execute(ctx context.Context, a *Asker, tasks []Task, done func(context.Context, Record) error) error
}

// local answers questions in this process.
type local struct{}

// Execute keeps Config.InFlight parts of tasks going.
func (local) Execute(ctx context.Context, a *Asker, tasks []Task, done func(context.Context, Record) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(a.InFlight)
	for _, t := range tasks {
		for _, part := range a.Parts(t) {
			if ctx.Err() != nil {
				return group.Wait()
			}
			group.Go(func() error {
				records, err := a.Ask(ctx, part)
				for _, rec := range records {
					if err := done(ctx, rec); err != nil {
						return err
					}
				}
				return err
			})
		}
	}
	return group.Wait()
}
