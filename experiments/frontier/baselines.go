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

// bestStatic finds, for each λ, the combination that is best for all questions of validation at once, and says how it looked.
func (c *comparison) bestStatic(ctx context.Context) (best [][]int, how string, err error) {
	env, space := c.Validation, c.Validation.Header().Space
	all, err := space.Combinations()
	if err != nil {
		return nil, "", err
	}
	best = make([][]int, len(c.Lambdas))
	search := &search{comparison: c, played: map[string]Played{}}
	switch covered := env.Covered(); {
	case len(covered) == len(all):
		how = fmt.Sprintf("the best of all %d combinations, each traced for every validation question", len(all))
		for l, lambda := range c.Lambdas {
			if best[l], err = search.best(ctx, all, lambda); err != nil {
				return nil, "", err
			}
		}
	case env.CanAsk():
		how = "coordinate search on validation, asked live: from the best uniform policy, one module's tier after the other as long as the return grows"
		for l, lambda := range c.Lambdas {
			if best[l], err = search.climb(ctx, lambda); err != nil {
				return nil, "", err
			}
		}
		how += fmt.Sprintf("; %d combinations were tried", len(search.played))
	default:
		how = fmt.Sprintf("the best of all %d combinations by an estimate from the validation traces, which have %d of them for every question: an outcome model predicts the rest, and what it is not sure of is held to be worse by a standard deviation", len(all), len(covered))
		grown, _ := env.Grown()
		estimates, err := offline.EstimateCombinations(grown.Shape(), grown.Traces, c.Reward)
		if err != nil {
			return nil, "", err
		}
		c.explained = &estimates.Scores
		for l, lambda := range c.Lambdas {
			top := slices.MaxFunc(estimates.Combinations, func(a, b offline.Estimate) int { return cmp.Compare(a.LowerBound(lambda), b.LowerBound(lambda)) })
			best[l] = top.Choices
		}
	}
	return best, how, nil
}

// search plays static combinations on validation, each once.
type search struct {
	*comparison
	played map[string]Played
}

func (s *search) value(ctx context.Context, choices []int, lambda float64) (float64, error) {
	k := fmt.Sprint(choices)
	p, ok := s.played[k]
	if !ok {
		policy, err := router.NewStatic(s.Validation.Header().Space, choices)
		if err != nil {
			return 0, err
		}
		if p, err = Play(ctx, s.Validation, policy, s.InFlight); err != nil {
			return 0, err
		}
		s.played[k] = p
	}
	return p.Return(s.Reward, lambda), nil
}

// best returns the best of some combinations, the first of equals.
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

// climb is the coordinate search.
func (s *search) climb(ctx context.Context, lambda float64) ([]int, error) {
	space := s.Validation.Header().Space
	start, err := uniform(space)
	if err != nil {
		return nil, err
	}
	var all [][]int
	for _, p := range start {
		choices, _ := router.Blind(p, space, "") // uniform policies look at nothing
		all = append(all, choices)
	}
	best, err := s.best(ctx, all, lambda)
	if err != nil {
		return nil, err
	}
	for {
		before := best
		for m, module := range space {
			near := [][]int{best} // first, so that an equal one does not take its place
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
	p := chosen{name: "cue words", of: map[string][]int{}}
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
		p.of[id] = choices
	}
	return p
}

var howMuch = regexp.MustCompile(`(?i)\bhow (long|many|much)\b`)

// oracle chooses for each question, with its outcomes known, the traced combination that is best at λ. No policy can know
// them, so it cannot be reached; where few combinations are traced, it is less than the best of all.
func oracle(f *episodes.File, ids []string, reward *router.Reward, lambda float64) router.Policy {
	p := chosen{name: fmt.Sprintf("oracle@%g", lambda), of: map[string][]int{}}
	best := map[string]float64{}
	for _, t := range f.Traces {
		v := reward.Return(t.Outcome(), lambda)
		if b, ok := best[t.ID]; !ok || v > b {
			best[t.ID], p.of[t.ID] = v, t.Choices
		}
	}
	for _, id := range ids {
		if _, ok := p.of[id]; !ok {
			p.of[id] = make([]int, len(f.Space)) // not traced: asked live, or failed
		}
	}
	return p
}
