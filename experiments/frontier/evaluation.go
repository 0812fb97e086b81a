package frontier

import (
	"context"
	"fmt"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// Evaluation holds the outcomes of a policy for each question of a replay, in the replay's order.
type Evaluation struct {
	Outcomes []router.Outcome
	// Choices holds the requested tiers, one per module, of a cascade with that of its last answer; nil for a failed question, whose
	// outcome has no meaning.
	Choices [][]int
	// Counts says how many outcomes were traced, asked live or predicted.
	Counts episodes.Counts
}

// Evaluate asks every question of a replay once under a policy, inFlight at a time. Questions that fail with router.ErrFailed
// have nil Choices; any other error ends the evaluation.
func Evaluate(ctx context.Context, env *episodes.Replay, p router.Policy, inFlight int) (Evaluation, error) {
	return evaluate(ctx, env, p, inFlight, func() {})
}

// evaluate is Evaluate that calls tick after each question, concurrently.
func evaluate(ctx context.Context, env *episodes.Replay, p router.Policy, inFlight int, tick func()) (Evaluation, error) {
	recording := recordingEnvironment{env, make([][]int, env.Len()), tick}
	before := env.Counts()
	r, err := router.Play(ctx, recording, p, max(inFlight, 1))
	if err != nil {
		err = fmt.Errorf("policy %s: %w", p.Name(), err)
	}
	return Evaluation{Outcomes: r.Outcomes, Choices: recording.choices, Counts: env.Counts().Sub(before)}, err
}

// recordingEnvironment records the requested tiers of a replay's questions.
type recordingEnvironment struct {
	*episodes.Replay
	choices [][]int
	tick    func()
}

// Play implements router.Environment.
func (e recordingEnvironment) Play(ctx context.Context, i int, p router.Policy) (router.Outcome, error) {
	o, choices, err := e.AskAll(ctx, i, p)
	if err == nil {
		e.choices[i] = choices
	}
	e.tick()
	return o, err
}

// answered lists the questions that did not fail.
func (e Evaluation) answered() []int {
	var out []int
	for i, c := range e.Choices {
		if c != nil {
			out = append(out, i)
		}
	}
	return out
}

// Mean is the mean cost and score of the questions that did not fail.
func (e Evaluation) Mean() CostScore { return e.mean(e.answered()) }

// mean is the mean cost and score of some questions, zero for none.
func (e Evaluation) mean(questions []int) CostScore {
	var out CostScore
	n := float64(len(questions))
	for _, q := range questions {
		out.Dollars += e.Outcomes[q].Dollars / n
		out.Score += e.Outcomes[q].Score / n
	}
	return out
}

// Return is the mean return at λ of the questions that did not fail, 0 for none.
func (e Evaluation) Return(r *router.Reward, lambda float64) float64 {
	answered := e.answered()
	sum := 0.0
	for _, q := range answered {
		sum += r.Return(e.Outcomes[q], lambda)
	}
	return sum / max(float64(len(answered)), 1)
}

// Shares returns for each module the share of the questions that requested each of its tiers.
func (e Evaluation) Shares(space router.Space) [][]float64 {
	answered := e.answered()
	out := make([][]float64, len(space))
	for m, module := range space {
		out[m] = make([]float64, len(module.Tiers))
		for _, q := range answered {
			out[m][e.Choices[q][m]] += 1 / float64(len(answered))
		}
	}
	return out
}

// lookup is a policy with a combination of tiers for each question.
type lookup struct {
	name    string
	choices map[string][]int // by question
}

// Name implements router.Policy.
func (l lookup) Name() string { return l.name }

// Decide implements router.Policy.
func (l lookup) Decide(_ context.Context, s router.State) (int, error) {
	tiers, ok := l.choices[s.Question]
	if !ok {
		return 0, fmt.Errorf("policy %s knows no question %q", l.name, s.Question)
	}
	return tiers[s.Module], nil
}
