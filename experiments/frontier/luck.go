package frontier

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
)

// Luck says how much of the oracle's lead over a static assignment is the luck of single draws. It is measured on the combinations whose
// answers were sampled several times for every one of some questions: half of the draws choose for the oracle, the other half say what
// its choice is worth, so that what it won by chance is lost again; then the other way round. Returns are means over the λs.
type Luck struct {
	Questions    int `json:"questions"`    // number of questions measured
	Combinations int `json:"combinations"` // number of combinations of tiers
	// Lead is the mean return of the oracle, choosing and rated by the same draws, minus that of the best of the combinations for all
	// questions, rated by the same; Real is the same with the oracle rated by the other draws. Lead − Real is luck.
	Lead stats.Interval `json:"lead"`
	Real stats.Interval `json:"real"`
}

// luck measures Luck; nil if there are not at least two combinations with two draws of every one of at least two questions.
func (c *comparison) luck(f *episodes.File) *Luck {
	byQuestion, times := map[string]map[string]router.Episode{}, map[string]int{}
	for _, e := range f.Episodes {
		if len(e.Draws) < 2 {
			continue
		}
		if byQuestion[e.ID] == nil {
			byQuestion[e.ID] = map[string]router.Episode{}
		}
		k := fmt.Sprint(e.Choices)
		byQuestion[e.ID][k] = e
		times[k]++
	}
	var combinations, questions []string
	for k, n := range times {
		if n == len(byQuestion) {
			combinations = append(combinations, k)
		}
	}
	slices.Sort(combinations)
	for _, id := range f.IDs() {
		if byQuestion[id] != nil {
			questions = append(questions, id)
		}
	}
	if len(combinations) < 2 || len(questions) < 2 {
		return nil
	}
	// returns[half][combination][question], at one λ
	lead, honest := make([]float64, len(questions)), make([]float64, len(questions))
	for _, lambda := range c.Lambdas {
		var returns [2][][]float64
		for half := range returns {
			returns[half] = make([][]float64, len(combinations))
			for k, name := range combinations {
				for _, id := range questions {
					returns[half][k] = append(returns[half][k], c.drawn(byQuestion[id][name], half, lambda))
				}
			}
		}
		for half, own := range returns {
			other := returns[1-half]
			static := slices.MaxFunc(indicesOf(own), func(a, b int) int { return cmp.Compare(stats.Mean(own[a]), stats.Mean(own[b])) })
			for q := range questions {
				best := slices.MaxFunc(indicesOf(own), func(a, b int) int { return cmp.Compare(own[a][q], own[b][q]) })
				n := 2 * float64(len(c.Lambdas))
				lead[q] += (own[best][q] - own[static][q]) / n
				honest[q] += (other[best][q] - other[static][q]) / n
			}
		}
	}
	return &Luck{len(questions), len(combinations), stats.Bootstrap(lead, c.Seed), stats.Bootstrap(honest, c.Seed)}
}

// drawn is the return of every second draw of an episode, at its own price.
func (c *comparison) drawn(e router.Episode, half int, lambda float64) float64 {
	sum, n := 0.0, 0.0
	for i := half; i < len(e.Draws); i += 2 {
		sum, n = sum+e.Draws[i].Score, n+1
	}
	return c.Reward.Return(router.Outcome{Score: sum / n, Dollars: e.Outcome().Dollars}, lambda)
}

func indicesOf[T any](s []T) []int {
	out := make([]int, len(s))
	for i := range out {
		out[i] = i
	}
	return out
}

// String says it in one line.
func (l *Luck) String() string {
	return fmt.Sprintf("luck: on %d questions with several draws of each of %d combinations, the oracle leads the best of these for all by %.4f %s where the same draws choose and rate, and by %.4f %s where others rate: the rest is luck of the draws",
		l.Questions, l.Combinations, l.Lead.Mean, spread(l.Lead, "%.4f"), l.Real.Mean, spread(l.Real, "%.4f"))
}
