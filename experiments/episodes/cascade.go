package episodes

import (
	"context"
	"fmt"

	"github.com/budgetmem/budgetmem/router"
)

// AskAll is Ask that also asks what a cascading policy asks after the first answer, from the same notes: the last module's other
// tiers. The outcome's price is that of the notes and of all answers, its score and choices are those of the last answer. A policy that does not cascade is asked once. The errors are those of Ask.
func (r *Replay) AskAll(ctx context.Context, i int, p router.Policy) (router.Outcome, []int, error) {
	e, choices, err := r.Ask(ctx, i, once{p})
	cascading, ok := p.(router.Cascading)
	if err != nil || !ok {
		return e.Outcome(), choices, err
	}
	last := len(choices) - 1
	asked := []router.Answered{answered(e, choices)}
	dollars := e.Outcome().Dollars
	for {
		tier, more := cascading.Next(asked, dollars)
		if !more {
			return router.Outcome{Score: e.Score, Dollars: dollars}, choices, nil
		}
		if len(asked) > len(r.file.Space[last].Tiers) {
			return router.Outcome{}, choices, fmt.Errorf("policy %s asks for more answers than there are tiers", p.Name())
		}
		choices = append(choices[:last:last], tier)
		static, err := router.NewStatic(r.file.Space, choices)
		if err != nil {
			return router.Outcome{}, choices, err
		}
		if e, _, err = r.Ask(ctx, i, static); err != nil {
			return router.Outcome{}, choices, err
		}
		asked = append(asked, answered(e, choices))
		dollars += e.AnswerDollars
	}
}

// answered is an episode's answer, by the tier that was asked for.
func answered(e router.Episode, choices []int) router.Answered {
	a := e.Answered()
	a.Tier = choices[len(choices)-1] // the nearest episode may have another one
	return a
}

// once hides that a policy cascades, so that a live system asks once.
type once struct{ router.Policy }
