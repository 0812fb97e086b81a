package run

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/router"
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
	// Open starts a session, in which questions are asked as a caller thinks of them. The caller closes it.
	Open(ctx context.Context, a *Asker) (Session, error)
}

// Session has questions answered one at a time.
type Session interface {
	// Ask answers a question, by its ID, under a policy that decides in this process. A question that fails is a Record with an
	// Error. The error is one that the question did not cause; see Asker.Ask. It is safe for concurrent use.
	Ask(ctx context.Context, question string, p router.Policy) (Record, error)
	// Close ends the session. Questions that are still being answered fail.
	Close() error
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

// Open implements Executor.
func (local) Open(_ context.Context, a *Asker) (Session, error) { return localSession{a}, nil }

type localSession struct{ asker *Asker }

// Ask implements Session.
func (s localSession) Ask(ctx context.Context, question string, p router.Policy) (Record, error) {
	return s.asker.AskUnder(ctx, question, p)
}

// Close implements Session.
func (localSession) Close() error { return nil }
