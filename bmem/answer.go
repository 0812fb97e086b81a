package bmem

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// answer writes the answer from the notes, by the tier that the policy decides if the set routes it.
func (p *pipeline) answer(ctx context.Context, answer *Answer) error {
	p.in.Notes = p.notes.Text
	if !slices.Contains(p.routed, tiers.Answering) {
		return p.write(ctx, 0, "", answer)
	}
	state := router.State{Query: p.in.QueryVector, Memory: p.notesState(), Signals: p.trace.Signals}
	tier, err := p.decide(ctx, tiers.Answering, state)
	if err != nil {
		return &StepError{Step: tiers.Answering.String(), Err: err}
	}
	if err := p.write(ctx, tier, p.set[tiers.Answering][tier].Name(), answer); err != nil {
		return err
	}
	if policy, ok := p.policy.(router.Cascading); ok {
		return p.cascade(ctx, policy, answer)
	}
	return nil
}

// write lets a tier write the answer; asked is its name, "" if answers are not routed.
func (p *pipeline) write(ctx context.Context, tier int, asked string, answer *Answer) error {
	t, in, why := p.trace, p.in, ""
	fail := func(err error) error { return &StepError{Step: tiers.Answering.String(), Tier: asked, Err: err} }
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
	out, err := p.runAnswer(ctx, tier, in)
	t.Answer.record(out, asked, why)
	if err != nil {
		return fail(err)
	}
	answer.Text = out.Text
	return nil
}

// runAnswer has a tier write an answer.
func (p *pipeline) runAnswer(ctx context.Context, tier int, in tiers.Input) (tiers.Output, error) {
	ctx, end := begin(ctx, p.observer, tiers.Answering.String())
	out, err := p.set[tiers.Answering][tier].Run(ctx, in)
	end(out.Step, err)
	return out, err
}

// cascade lets the policy look at the answer and have other tiers answer too, each once, and takes the last answer. One that
// fails, or that the cost limit may not allow, leaves the answers that there are.
func (p *pipeline) cascade(ctx context.Context, policy router.Cascading, answer *Answer) error {
	t, list := p.trace, p.set[tiers.Answering]
	in := p.in
	in.Notes = t.Summary
	t.Answer.Text = answer.Text
	answered := []router.Answered{p.answered(t.Answer)}
	for len(answered) < len(list) {
		next, again := policy.Next(answered, t.Usage().Dollars)
		if !again {
			break
		}
		fail := func(err error) error {
			return &StepError{Step: tiers.Answering.String(), Tier: t.Answer.Asked, Err: fmt.Errorf("cascade: %w", err)}
		}
		if next < 0 || next >= len(list) || slices.ContainsFunc(answered, func(a router.Answered) bool { return a.Tier == next }) {
			return fail(fmt.Errorf("policy %s wants tier %d of %d after %d answers", policy.Name(), next, len(list), len(answered)))
		}
		last := &t.Answer
		name := list[next].Name()
		if p.budget != nil {
			worst, err := list[next].WorstCase(ctx, in)
			if err != nil {
				return fail(err)
			}
			if worst > p.budget.cap.Left() {
				last.Notes = append(last.Notes, fmt.Sprintf("%s was not asked too: %s", name, p.budget.mayNotFit(0)))
				break
			}
		}
		out, err := p.runAnswer(ctx, next, in)
		if err != nil {
			last.Usage = last.Usage.Add(out.Step.Usage)
			if ctx.Err() != nil {
				return fail(err)
			}
			last.Notes = append(last.Notes, fmt.Sprintf("%s was asked too and failed: %v", name, err))
			break
		}
		t.Drafts = append(t.Drafts, *last)
		t.Answer = Call{Text: out.Text}
		t.Answer.record(out, name, "")
		answered = append(answered, p.answered(t.Answer))
	}
	answer.Text, t.Answer.Text = t.Answer.Text, ""
	return nil
}

// answered is an answer as policies see it.
func (p *pipeline) answered(c Call) router.Answered {
	a := router.Answered{Signals: allSignals(p.trace.Signals, c.Signals)}
	a.Tier = slices.IndexFunc(p.set[tiers.Answering], func(t tiers.Tier) bool { return t.Name() == c.Served })
	return a
}

// allSignals are those of the notes and of an answer to them.
func allSignals(notes, answer map[string]float64) map[string]float64 {
	all := map[string]float64{}
	maps.Copy(all, notes)
	maps.Copy(all, answer)
	return all
}

// record fills the call from what a tier did.
func (c *Call) record(out tiers.Output, asked, why string) {
	c.Raw, c.Draws, c.Signals, c.Usage = out.Answer.Raw, out.Answer.Draws, AnswerSignals(out.Answer), out.Step.Usage
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
