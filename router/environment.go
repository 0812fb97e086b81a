package router

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Environment is a set of questions that can be played under any policy, live or replayed. It must be safe for concurrent
// use.
type Environment interface {
	// Len is the number of questions.
	Len() int
	// Play plays question i, in [0, Len), once. It asks p for the tier of every module exactly once, in an order in which
	// each State is known, and returns what the question earned and cost. An error that wraps ErrFailed drops the episode,
	// as when a judge's reply cannot be read; any other error ends the training.
	Play(ctx context.Context, i int, p Policy) (Outcome, error)
}

// ErrFailed marks an episode that says nothing about its choices. It is dropped and counted, and is not a score of 0.
var ErrFailed = errors.New("the episode failed")

// Results holds the outcomes of an environment's questions.
type Results struct {
	// Outcomes has one entry for each question; those of failed questions are zero and say nothing.
	Outcomes []Outcome
	// Failures has one entry for each question: nil, or an error that wraps ErrFailed.
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

// Play plays every question of an environment once, at most inFlight at a time. Questions that fail with ErrFailed are part of
// the results; the first other error, or the context's, ends the play.
func Play(ctx context.Context, env Environment, p Policy, inFlight int) (Results, error) {
	return play(ctx, env, indices(env.Len()), inFlight, func(int) Policy { return p })
}

// play plays the given questions, the one at index n under policy(n).
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
				return fmt.Errorf("play question %d: score %v at %v dollars is not an outcome", q, o.Score, o.Dollars)
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
