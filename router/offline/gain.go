package offline

import (
	"slices"

	"github.com/budgetmem/budgetmem/router"
)

// Gain says what there is to learn in episodes.
type Gain struct {
	// Scores and Costs report whether scores and dollars differ between episodes at all.
	Scores, Costs bool
	// Free reports whether no episode cost anything: the model has no price.
	Free bool
}

// GainOf looks at the outcomes of episodes.
func GainOf(episodes []router.Episode) Gain {
	g := Gain{Free: !slices.ContainsFunc(episodes, func(e router.Episode) bool { return e.Outcome().Dollars != 0 })}
	for _, e := range episodes {
		first, o := episodes[0].Outcome(), e.Outcome()
		g.Scores = g.Scores || o.Score != first.Score
		g.Costs = g.Costs || o.Dollars != first.Dollars
	}
	return g
}

// Missing says what a router cannot learn from the episodes and what it does instead; "" if it can learn both scores and costs.
func (g Gain) Missing() string {
	costs := "all costs are equal"
	if g.Free {
		costs = "all costs are 0 (the model has no price)"
	}
	switch {
	case !g.Scores && !g.Costs:
		return "nothing to learn: all scores are equal and " + costs + "; the router takes the cheapest tiers"
	case !g.Scores:
		return "nothing to learn about scores: all are equal; the router takes the cheapest tiers"
	case !g.Costs:
		return "nothing to learn about costs: " + costs + ", so λ changes nothing; where scores do not differ the router takes the cheaper tiers"
	}
	return ""
}

// tieWeight is what the highest tiers lose against the lowest, in units of the returns' standard deviation, where costs or
// scores say nothing: less than a difference that could be seen, enough to decide a tie.
const tieWeight = 0.05

// handicaps returns what each combination loses so that ties go to the cheaper tiers, in units of returns [A]: nothing where
// scores and costs differ, and all where neither does.
func handicaps(combinations [][]int, shape router.Shape, g Gain) []float32 {
	out := make([]float32, len(combinations))
	weight := tieWeight
	switch {
	case g.Scores && g.Costs:
		return out
	case !g.Scores && !g.Costs:
		weight = 1
	}
	for c, choices := range combinations {
		for m, tier := range choices {
			out[c] += float32(weight * float64(tier) / float64(max(1, len(shape.Modules[m].Tiers)-1)))
		}
	}
	return out
}
