package router

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Environment is where a router earns and spends: questions that can be asked under any policy, live or replayed. It must
// be safe for concurrent use.
type Environment interface {
	// Len is the number of questions.
	Len() int
	// Play asks question i once. It asks p for the tier of every module exactly once, in an order in which each State is
	// known, and gives what the question earned and cost. An error that wraps ErrFailed drops the episode, as when a
	// judge's reply cannot be read; any other ends the training.
	Play(ctx context.Context, i int, p Policy) (Outcome, error)
}

// ErrFailed marks an episode that says nothing about its choices: it is dropped and counted, not taken for a score of 0.
var ErrFailed = errors.New("the episode failed")

// Results are the outcomes of an environment's questions.
type Results struct {
	// Outcomes has one entry a question; those of failed ones are zero and say nothing.
	Outcomes []Outcome
	// Failures has one entry a question, nil where it went well.
	Failures []error
}

// Failed is how many questions failed.
func (r Results) Failed() int {
	n := 0
	for _, err := range r.Failures {
		if err != nil {
			n++
		}
	}
	return n
}

// Play asks every question of an environment once, inFlight at a time.
func Play(ctx context.Context, env Environment, p Policy, inFlight int) (Results, error) {
	all := make([]int, env.Len())
	for i := range all {
		all[i] = i
	}
	return play(ctx, env, all, inFlight, func(int) Policy { return p })
}

// play asks the given questions, the one at place n under policy(n).
func play(ctx context.Context, env Environment, questions []int, inFlight int, policy func(n int) Policy) (Results, error) {
	r := Results{Outcomes: make([]Outcome, len(questions)), Failures: make([]error, len(questions))}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inFlight)
	for n, q := range questions {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("play question %d: %w", q, err)
			}
			o, err := env.Play(ctx, q, policy(n))
			switch {
			case err == nil && !o.valid():
				return fmt.Errorf("play question %d: score %v at %v dollars is no outcome", q, o.Score, o.Dollars)
			case err == nil:
				r.Outcomes[n] = o
			case errors.Is(err, ErrFailed):
				r.Failures[n] = err
			default:
				return fmt.Errorf("play question %d: %w", q, err)
			}
			return nil
		})
	}
	return r, group.Wait()
}
