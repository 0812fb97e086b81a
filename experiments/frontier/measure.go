package frontier

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
)

// measure computes the result from what was played.
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
	return r, nil
}

// answered says whether no policy failed on a question.
func (c *comparison) answered(q int) bool {
	for _, e := range c.entries {
		for _, seed := range e.played {
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
		d := mean(e.played[0][0], s).Dollars
		if weak == nil || d < mean(weak.played[0][0], s).Dollars {
			weak = e
		}
		if strong == nil || d >= mean(strong.played[0][0], s).Dollars {
			strong = e
		}
	}
	return weak, strong
}

// mean is what the sampled questions cost and earned.
func mean(p Played, s sample) XY {
	var out XY
	n := float64(len(s.questions))
	for _, q := range s.questions {
		out.Dollars += p.Outcomes[q].Dollars / n
		out.Score += p.Outcomes[q].Score / n
	}
	return out
}

// seedsOf lists the seeds of an entry as the sample has them.
func (s sample) seedsOf(e *entry) []int {
	out := make([]int, len(e.played))
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
	sum := 0.0
	seeds := s.seedsOf(e)
	for _, seed := range seeds {
		for l, lambda := range c.Lambdas {
			p := e.at(seed, l)
			for _, q := range s.questions {
				sum += c.Reward.Return(p.Outcomes[q], lambda)
			}
		}
	}
	return sum / float64(len(seeds)*len(c.Lambdas)*len(s.questions))
}

// curve measures an entry, the mean over seeds.
func (c *comparison) curve(e *entry, s sample) Curve {
	scale := Scale{mean(c.weak.played[0][0], s), mean(c.strong.played[0][0], s)}
	var out Curve
	var apgr, cpt float64
	gaps := 0.0
	seeds := s.seedsOf(e)
	for _, seed := range seeds {
		var points []XY
		for _, p := range e.played[seed] {
			points = append(points, mean(p, s))
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

// points fills in an entry's points.
func (c *comparison) points(e *entry) {
	for i, name := range e.names {
		pt := Point{Name: name}
		lambda := 0.0
		if e.lambdas != nil {
			lambda = e.lambdas[i]
			pt.Lambda = &lambda
		}
		n := float64(len(e.played))
		scores, diffs := make([]float64, len(c.keep)), make([]float64, len(c.keep))
		for _, seed := range e.played {
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

// measured are an entry's measures in one resample.
type measured struct {
	curve  Curve
	result float64
}

// intervals fills in the bootstrap intervals of curves and of differences to the static assignments. Questions are drawn for
// all entries alike; the assignments and the trained routers stay what they are.
func (c *comparison) intervals() {
	series := map[*entry]map[string][]float64{}
	for _, e := range c.entries {
		series[e] = map[string][]float64{}
	}
	rng := rand.New(rand.NewPCG(uint64(c.Seed), 11))
	for range Resamples {
		s := sample{questions: make([]int, len(c.keep))}
		for i := range s.questions {
			s.questions[i] = c.keep[rng.IntN(len(c.keep))]
		}
		base := measured{c.curve(c.static, s), c.returns(c.static, s)}
		for _, e := range c.entries {
			add := func(name string, v float64) { series[e][name] = append(series[e][name], v) }
			add("area/questions", c.curve(e, s).Area-base.curve.Area)
			add("return/questions", c.returns(e, s)-base.result)
			both := s
			both.seeds = rng
			curve := c.curve(e, both)
			add("area/seeds", curve.Area-base.curve.Area)
			add("return/seeds", c.returns(e, both)-base.result)
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
		if e.Curve.APGR != nil && len(series[e]["apgr"]) >= Resamples*95/100 {
			e.CurveIntervals["apgr"], e.CurveIntervals["cpt50"] = get("apgr"), get("cpt50")
		}
		if e != c.static {
			e.AreaVersus = &Difference{e.Curve.Area - c.static.Curve.Area, get("area/questions"), get("area/seeds")}
			e.ReturnVersus = &Difference{e.MeanReturn - c.static.MeanReturn, get("return/questions"), get("return/seeds")}
		}
	}
}

// number shows a measure that there may not be.
func number(v *float64, format string) string {
	if v == nil || math.IsNaN(*v) {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}
