package frontier

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
)

// measure computes the result from the evaluations.
func (c *comparison) measure(how string) (*Result, error) {
	h := c.Test.Header()
	v := c.Validation.Header()
	v.Split = h.Split
	r := &Result{Dataset: h.Dataset, Validated: episodes.Difference(v, h), Split: h.Split, Metric: h.Metric, Of: c.Test.Len(), Seed: c.Seed, Lambdas: c.Lambdas, System: h.System,
		Scale: c.Reward.Scale(), StaticSearch: how, Explained: c.explained, Modules: h.Space}
	for q := range c.Test.Len() {
		if c.answered(q) {
			c.keep = append(c.keep, q)
		}
	}
	if r.Questions = len(c.keep); r.Questions == 0 {
		return nil, fmt.Errorf("compare policies: of %d questions, each failed under some policy", r.Of)
	}
	all := sample{questions: c.keep}
	c.weak, c.strong = c.ends(all)
	r.Weak, r.Strong = c.weak.names[0], c.strong.names[0]
	for _, e := range c.entries {
		e.MeanReturn = c.returns(e, all)
		e.Curve = c.curve(e, all)
		c.points(e)
	}
	c.intervals()
	for _, e := range c.entries {
		r.Entries = append(r.Entries, e.Entry)
	}
	r.Verdicts = r.verdicts()
	file, _ := c.Test.Snapshot()
	r.Luck = c.luck(file)
	return r, nil
}

// answered reports whether no policy failed on a question.
func (c *comparison) answered(q int) bool {
	for _, e := range c.entries {
		for _, seed := range e.evaluations {
			for _, p := range seed {
				if p.Choices[q] == nil {
					return false
				}
			}
		}
	}
	return true
}

// ends returns the cheapest and the dearest of the uniform policies.
func (c *comparison) ends(s sample) (weak, strong *entry) {
	for _, e := range c.uniform {
		d := e.evaluations[0][0].mean(s.questions).Dollars
		if weak == nil || d < weak.evaluations[0][0].mean(s.questions).Dollars {
			weak = e
		}
		if strong == nil || d >= strong.evaluations[0][0].mean(s.questions).Dollars {
			strong = e
		}
	}
	return weak, strong
}

// seedsOf lists or draws the seeds of an entry.
func (s sample) seedsOf(e *entry) []int {
	out := make([]int, len(e.evaluations))
	for i := range out {
		out[i] = i
		if s.seeds != nil {
			out[i] = s.seeds.IntN(len(out))
		}
	}
	return out
}

// returns is the mean return of an entry over λs, questions and seeds.
func (c *comparison) returns(e *entry, s sample) float64 {
	if e.returns == nil {
		c.sumReturns(e)
	}
	sum := 0.0
	seeds := s.seedsOf(e)
	for _, seed := range seeds {
		for _, q := range s.questions {
			sum += e.returns[seed][q]
		}
	}
	return sum / float64(len(seeds)*len(c.Lambdas)*len(s.questions))
}

// sumReturns adds up the returns of each seed and question over the λs, which every resample needs.
func (c *comparison) sumReturns(e *entry) {
	e.returns = make([][]float64, len(e.evaluations))
	for seed := range e.returns {
		e.returns[seed] = make([]float64, c.Test.Len())
		for l, lambda := range c.Lambdas {
			for q, o := range e.at(seed, l).Outcomes {
				e.returns[seed][q] += c.Reward.Return(o, lambda)
			}
		}
	}
}

// curve measures an entry; its measures are means over seeds.
func (c *comparison) curve(e *entry, s sample) Curve {
	scale := Scale{c.weak.evaluations[0][0].mean(s.questions), c.strong.evaluations[0][0].mean(s.questions)}
	var out Curve
	var apgr, cpt float64
	gaps := 0.0
	seeds := s.seedsOf(e)
	for _, seed := range seeds {
		var points []CostScore
		for _, p := range e.evaluations[seed] {
			points = append(points, p.mean(s.questions))
		}
		m := scale.Measure(points)
		n := float64(len(seeds))
		out.Hypervolume += m.Hypervolume / n
		out.Area += m.Area / n
		if m.APGR != nil {
			apgr, cpt, gaps = apgr+*m.APGR/n, cpt+*m.CPT50/n, gaps+1
		}
	}
	if gaps > 0 {
		out.APGR, out.CPT50 = &apgr, &cpt
	}
	return out
}

// points computes an entry's points.
func (c *comparison) points(e *entry) {
	for i, name := range e.names {
		pt := Point{Name: name}
		lambda := 0.0
		if e.lambdas != nil {
			lambda = e.lambdas[i]
			pt.Lambda = &lambda
		}
		n := float64(len(e.evaluations))
		scores, diffs := make([]float64, len(c.keep)), make([]float64, len(c.keep))
		for _, seed := range e.evaluations {
			p := seed[i]
			for k, q := range c.keep {
				o := p.Outcomes[q]
				ret := c.Reward.Return(o, lambda)
				scores[k] += o.Score / n
				pt.Dollars += o.Dollars / n / float64(len(c.keep))
				pt.Return += ret / n / float64(len(c.keep))
				if e.lambdas != nil {
					diffs[k] += (ret - c.Reward.Return(c.static.at(0, i).Outcomes[q], lambda)) / n
				}
			}
			for m, shares := range p.Shares(c.space) {
				if m == len(pt.Shares) {
					pt.Shares = append(pt.Shares, make([]float64, len(shares)))
				}
				for t, share := range shares {
					pt.Shares[m][t] += share / n
				}
			}
		}
		pt.Score = stats.Bootstrap(scores, c.Seed)
		if e.lambdas != nil && e != c.static {
			iv := stats.Bootstrap(diffs, c.Seed)
			pt.Versus = &iv
		}
		e.Points = append(e.Points, pt)
	}
}

// intervals computes the bootstrap intervals of curves and of differences to the static assignments. All entries share the
// drawn questions; assignments and trained routers stay fixed.
func (c *comparison) intervals() {
	series := map[*entry]map[string][]float64{}
	for _, e := range c.entries {
		series[e] = map[string][]float64{}
	}
	rng := rand.New(rand.NewPCG(uint64(c.Seed), 11))
	for range curveResamples {
		s := sample{questions: make([]int, len(c.keep))}
		for i := range s.questions {
			s.questions[i] = c.keep[rng.IntN(len(c.keep))]
		}
		staticArea, staticReturn := c.curve(c.static, s).Area, c.returns(c.static, s)
		for _, e := range c.entries {
			add := func(name string, v float64) { series[e][name] = append(series[e][name], v) }
			add("area/questions", c.curve(e, s).Area-staticArea)
			add("return/questions", c.returns(e, s)-staticReturn)
			both := s
			both.seeds = rng
			curve := c.curve(e, both)
			add("area/seeds", curve.Area-staticArea)
			add("return/seeds", c.returns(e, both)-staticReturn)
			add("hypervolume", curve.Hypervolume)
			add("area", curve.Area)
			if curve.APGR != nil {
				add("apgr", *curve.APGR)
				add("cpt50", *curve.CPT50)
			}
		}
	}
	for _, e := range c.entries {
		get := func(name string) [2]float64 {
			v := series[e][name]
			return [2]float64{stats.Quantile(v, 0.025), stats.Quantile(v, 0.975)}
		}
		e.CurveIntervals = map[string][2]float64{"hypervolume": get("hypervolume"), "area": get("area")}
		// Resamples without a gap have no such measure; where these are many, an interval of the rest would mislead.
		if e.Curve.APGR != nil && len(series[e]["apgr"]) >= curveResamples*95/100 {
			e.CurveIntervals["apgr"], e.CurveIntervals["cpt50"] = get("apgr"), get("cpt50")
		}
		if e != c.static {
			e.AreaVersus = &Difference{e.Curve.Area - c.static.Curve.Area, get("area/questions"), get("area/seeds")}
			e.ReturnVersus = &Difference{e.MeanReturn - c.static.MeanReturn, get("return/questions"), get("return/seeds")}
		}
	}
}

// number formats a measure, "-" if it is nil.
func number(v *float64, format string) string {
	if v == nil || math.IsNaN(*v) {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}
