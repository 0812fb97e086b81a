package bmem

import (
	"context"
	"fmt"
	"slices"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// answer writes the answer from the notes, by the tier that the policy decides if the set routes it.
func (p *pipeline) answer(ctx context.Context, answer *Answer) error {
	t, in, tier := p.trace, p.in, 0
	in.Notes = p.notes.Text
	asked := "" // "" if the answer is not routed
	fail := func(err error) error { return &StepError{Step: tiers.Answering.String(), Tier: asked, Err: err} }
	why := ""
	if slices.Contains(p.routed, tiers.Answering) {
		var err error
		if tier, err = p.decide(ctx, tiers.Answering, router.State{Query: in.QueryVector, Memory: p.notesState()}); err != nil {
			return fail(err)
		}
		asked = p.set[tiers.Answering][tier].Name()
	}
	if p.budget != nil {
		fitting, err := p.budget.fit(ctx, tier, in)
		if err != nil {
			return fail(err)
		}
		tier, in.Notes, why = fitting.tier, fitting.notes, fitting.why
		if fitting.cut != "" {
			t.Answer.Notes = append(t.Answer.Notes, fitting.cut)
		}
	}
	t.Summary = in.Notes
	out, err := p.set[tiers.Answering][tier].Run(ctx, in)
	t.Answer.record(out, asked, why)
	if err != nil {
		return fail(err)
	}
	answer.Text = out.Text
	return nil
}

// record fills the call from what a tier did.
func (c *Call) record(out tiers.Output, asked, why string) {
	c.Raw, c.Draws, c.Usage = out.Answer.Raw, out.Answer.Draws, out.Step.Usage
	if out.Step.Model != "" {
		c.Model = out.Step.Model
	}
	if asked != "" {
		c.Asked, c.Served, c.Why, c.Method = asked, out.Step.Served, why, out.Step.Method
	}
}

// notesState embeds the notes, [d]; nil for empty ones.
func (p *pipeline) notesState() func(context.Context) ([]float32, error) {
	return once(func(ctx context.Context) ([]float32, error) {
		if p.notes.Text == "" {
			return nil, nil
		}
		vecs, err := p.embedder.Embed(ctx, []string{p.notes.Text})
		if err != nil {
			return nil, fmt.Errorf("embed the notes for the answer's decision: %w", err)
		}
		return vecs[0], nil
	})
}
