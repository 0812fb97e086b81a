package frontier

import (
	"context"
	"fmt"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// Played is what a policy brought for each question of a replay, in the replay's order.
type Played struct {
	Outcomes []router.Outcome
	// Choices holds the tiers asked for, one a module; nil for a failed question, whose outcome says nothing.
	Choices [][]int
	// Counts says how many were traced, asked live, or took the place of a combination that is not traced.
	Counts episodes.Counts
}

// Play asks every question of a replay once, inFlight at a time.
func Play(ctx context.Context, env *episodes.Replay, p router.Policy, inFlight int) (Played, error) {
	return play(ctx, env, p, inFlight, func() {})
}

// play calls tick after each question, of several at one time.
func play(ctx context.Context, env *episodes.Replay, p router.Policy, inFlight int, tick func()) (Played, error) {
	noted := noting{env, make([][]int, env.Len()), tick}
	before := env.Counts()
	r, err := router.Play(ctx, noted, p, max(inFlight, 1))
	if err != nil {
		err = fmt.Errorf("policy %s: %w", p.Name(), err)
	}
	return Played{Outcomes: r.Outcomes, Choices: noted.choices, Counts: env.Counts().Sub(before)}, err
}

// noting is a replay that notes what is asked for.
type noting struct {
	*episodes.Replay
	choices [][]int
	tick    func()
}

// Play implements router.Environment.
func (n noting) Play(ctx context.Context, i int, p router.Policy) (router.Outcome, error) {
	t, asked, err := n.Ask(ctx, i, p)
	if err == nil {
		n.choices[i] = asked
	}
	n.tick()
	return t.Outcome(), err
}

// Mean is what the questions that did not fail cost and earned on average.
func (p Played) Mean() XY {
	var sum XY
	n := 0.0
	for i, o := range p.Outcomes {
		if p.Choices[i] != nil {
			sum.Dollars += o.Dollars
			sum.Score += o.Score
			n++
		}
	}
	if n == 0 {
		return XY{}
	}
	return XY{sum.Dollars / n, sum.Score / n}
}

// Return is the mean return at λ of the questions that did not fail.
func (p Played) Return(r *router.Reward, lambda float64) float64 {
	sum, n := 0.0, 0.0
	for i, o := range p.Outcomes {
		if p.Choices[i] != nil {
			sum += r.Return(o, lambda)
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n
}

// Shares returns for each module the share of the questions that asked for each of its tiers.
func (p Played) Shares(space router.Space) [][]float64 {
	out := make([][]float64, len(space))
	n := 0.0
	for _, c := range p.Choices {
		if c != nil {
			n++
		}
	}
	for m, module := range space {
		out[m] = make([]float64, len(module.Tiers))
		for _, c := range p.Choices {
			if c != nil {
				out[m][c[m]] += 1 / n
			}
		}
	}
	return out
}

// chosen is a policy that has a combination for each question.
type chosen struct {
	name string
	of   map[string][]int
}

// Name implements router.Policy.
func (c chosen) Name() string { return c.name }

// Decide implements router.Policy.
func (c chosen) Decide(_ context.Context, s router.State) (int, error) {
	tiers, ok := c.of[s.Question]
	if !ok {
		return 0, fmt.Errorf("policy %s knows no question %q", c.name, s.Question)
	}
	return tiers[s.Module], nil
}
