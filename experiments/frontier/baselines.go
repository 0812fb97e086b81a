package frontier

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
)

// uniform returns the policies that give every module a tier of one name, cheapest first.
func uniform(space router.Space) ([]router.Policy, error) {
	var out []router.Policy
	for _, tier := range space.Uniform() {
		p, err := router.Parse(tier, space, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	if len(out) < 2 {
		return nil, fmt.Errorf("compare policies: the modules %v share fewer than two names of tiers", space)
	}
	return out, nil
}

// bestStatic finds the best combination for all validation questions at each λ, and says how it searched. Where it had to estimate,
// climbed are those that a coordinate search finds by replay, with the outcomes that are not traced predicted question by
// question; nil otherwise.
func (c *comparison) bestStatic(ctx context.Context) (best, climbed []router.Policy, how string, err error) {
	env, space := c.Validation, c.Validation.Header().Space
	all, err := space.Combinations()
	if err != nil {
		return nil, nil, "", err
	}
	search := &search{comparison: c, evaluated: map[string]Evaluation{}}
	each := func(choose func(lambda float64) ([]int, error)) (policies []router.Policy, err error) {
		for _, lambda := range c.Lambdas {
			choices, err := choose(lambda)
			if err != nil {
				return nil, err
			}
			p, err := router.NewStatic(space, choices)
			if err != nil {
				return nil, err
			}
			policies = append(policies, p)
		}
		return policies, nil
	}
	climb := func(lambda float64) ([]int, error) { return search.climb(ctx, lambda) }
	switch covered := env.FullyObserved(); {
	case len(covered) == len(all):
		how = fmt.Sprintf("the best of all %d combinations, each traced for every validation question", len(all))
		best, err = each(func(lambda float64) ([]int, error) { return search.best(ctx, all, lambda) })
	case env.CanAsk():
		best, err = each(climb)
		how = fmt.Sprintf("coordinate search on validation, asked live: from the best uniform policy, one module at a time as long as the return grows; %d combinations were tried", len(search.evaluated))
	default:
		how = fmt.Sprintf("the best of all %d combinations by an estimate from the validation traces, which hold %d of them for every question: a Gaussian process predicts the rest, and combinations are compared by the prediction minus a standard deviation", len(all), len(covered))
		grown, _ := env.Snapshot()
		var estimates *offline.Estimates
		if estimates, err = offline.EstimateCombinations(grown.Shape(), grown.Episodes, c.Reward); err != nil {
			return nil, nil, "", err
		}
		c.explained = &estimates.Scores
		best, err = each(func(lambda float64) ([]int, error) {
			return slices.MaxFunc(estimates.Combinations, func(a, b offline.Estimate) int { return cmp.Compare(a.LowerBound(lambda), b.LowerBound(lambda)) }).Choices, nil
		})
		if err == nil {
			climbed, err = each(climb)
		}
	}
	return best, climbed, how, err
}

// search evaluates static combinations on validation, each once.
type search struct {
	*comparison
	evaluated map[string]Evaluation // by combination
}

func (s *search) value(ctx context.Context, choices []int, lambda float64) (float64, error) {
	k := fmt.Sprint(choices)
	p, ok := s.evaluated[k]
	if !ok {
		policy, err := router.NewStatic(s.Validation.Header().Space, choices)
		if err != nil {
			return 0, err
		}
		if p, err = Evaluate(ctx, s.Validation, policy, s.InFlight); err != nil {
			return 0, err
		}
		s.evaluated[k] = p
	}
	return p.Return(s.Reward, lambda), nil
}

// best returns the best of some combinations; of equal ones the first.
func (s *search) best(ctx context.Context, all [][]int, lambda float64) (best []int, err error) {
	top := 0.0
	for _, choices := range all {
		v, err := s.value(ctx, choices, lambda)
		if err != nil {
			return nil, err
		}
		if best == nil || v > top {
			best, top = choices, v
		}
	}
	return best, nil
}

// climb searches coordinate by coordinate, from the best uniform policy until no change of one module helps.
func (s *search) climb(ctx context.Context, lambda float64) ([]int, error) {
	space := s.Validation.Header().Space
	start, err := uniform(space)
	if err != nil {
		return nil, err
	}
	var all [][]int
	for _, p := range start {
		choices, _ := router.NonContextual(p, space, "") // uniform policies look at nothing
		all = append(all, choices)
	}
	best, err := s.best(ctx, all, lambda)
	if err != nil {
		return nil, err
	}
	for {
		before := best
		for m, module := range space {
			near := [][]int{best} // first, so that an equal one does not replace it
			for t := range module.Tiers {
				if t != best[m] {
					other := slices.Clone(best)
					other[m] = t
					near = append(near, other)
				}
			}
			if best, err = s.best(ctx, near, lambda); err != nil {
				return nil, err
			}
		}
		if slices.Equal(before, best) {
			return best, nil
		}
	}
}

// cues say which words of a question call for which module.
var cues = map[string]*regexp.Regexp{
	"temporal": regexp.MustCompile(`(?i)\b(when|date|year|month|week|day|days|time|long|ago|before|after|first|last|since|until|during|recent|recently)\b`),
	"entity":   regexp.MustCompile(`(?i)\b(who|whom|whose|where|which|name|named|called|many|much)\b`),
	"topic":    regexp.MustCompile(`(?i)\b(why|how|feel|feels|think|thinks|opinion|likely|would|plan|plans|prefer|interested|hobby|hobbies|kind|describe|compare|both)\b`),
}

// cueRule chooses by the words of the question alone. A relation module (entity, temporal, topic) whose words occur gets its
// dearest tier and the others of them their cheapest; filter and summary get the middle one. Where no word of any occurs,
// every module gets the middle one. "How long", "how many" and "how much" do not ask for topics.
func cueRule(space router.Space, questions map[string]string) router.Policy {
	p := lookup{name: "cue words", choices: map[string][]int{}}
	for id, text := range questions {
		choices := make([]int, len(space))
		any := false
		for m, module := range space {
			cue, relation := cues[module.Name]
			middle := (len(module.Tiers) - 1) / 2
			switch {
			case !relation:
				choices[m] = middle
			case cue.MatchString(howMuch.ReplaceAllString(text, "$1")):
				choices[m] = len(module.Tiers) - 1
				any = true
			}
		}
		if !any {
			for m, module := range space {
				choices[m] = (len(module.Tiers) - 1) / 2
			}
		}
		p.choices[id] = choices
	}
	return p
}

var howMuch = regexp.MustCompile(`(?i)\bhow (long|many|much)\b`)

// oracle chooses for each question the traced combination with the best return at λ. It knows the outcomes, so no policy can
// be expected to reach it; where few combinations are traced it is below the best of all combinations.
func oracle(f *episodes.File, ids []string, reward *router.Reward, lambda float64) router.Policy {
	p := lookup{name: fmt.Sprintf("oracle@%g", lambda), choices: map[string][]int{}}
	best := map[string]float64{}
	for _, t := range f.Episodes {
		v := reward.Return(t.Outcome(), lambda)
		if b, ok := best[t.ID]; !ok || v > b {
			best[t.ID], p.choices[t.ID] = v, t.Choices
		}
	}
	for _, id := range ids {
		if _, ok := p.choices[id]; !ok {
			p.choices[id] = make([]int, len(f.Space)) // not traced: asked live, or failed
		}
	}
	return p
}
