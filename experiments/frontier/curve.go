package frontier

import (
	"cmp"
	"slices"
)

// CostScore is the mean cost, in dollars per question, and the mean score of a policy.
type CostScore struct {
	Dollars float64 `json:"dollars"`
	Score   float64 `json:"score"`
}

// Scale holds the two policies between which curves are measured: the cheapest and the dearest uniform policy. All policies of
// a comparison share it.
type Scale struct {
	Weak, Strong CostScore
}

// Curve holds measures of the cost–score curve of a family of policies.
type Curve struct {
	// Hypervolume is the area that the family's points dominate (Zitzler and Thiele 1998): of the rectangle from no dollars to
	// the strong policy's and from score 0 to 1, the share of the pairs (dollars, score) that some point reaches for no more
	// dollars. Points dearer than the strong policy add nothing.
	Hypervolume float64 `json:"hypervolume"`
	// Area is the area under the cost–score curve: the mean over budgets, even from the weak policy's dollars to the strong
	// one's, of the best mean score that a budget buys. A budget may be split, some questions asked by one policy and some by
	// another, the weak and the strong one among them: the curve is the upper concave hull of all these points, as that of
	// RouteLLM (Ong et al. 2024, section 2.2) runs from the weak to the strong model.
	Area float64 `json:"area"`
	// APGR is RouteLLM's average performance gap recovered: the mean over the same budgets of
	// (score − weak score)/(strong score − weak score). A budget's place between the two dollars stands for RouteLLM's share of
	// calls to the strong model. Nil where the strong policy does not score more than the weak one: there is no gap.
	APGR *float64 `json:"apgr"`
	// CPT50 is RouteLLM's call–performance threshold CPT(50 %) in the same sense: the smallest budget, as a share of the way
	// from weak to strong dollars, that recovers half of the gap. Nil where there is no gap.
	CPT50 *float64 `json:"cpt50"`
}

// Measure computes the measures of a family's points.
func (s Scale) Measure(points []CostScore) Curve {
	c := Curve{Hypervolume: s.hypervolume(points)}
	hull := s.hull(points)
	c.Area = area(hull)
	if gap := s.Strong.Score - s.Weak.Score; gap > 0 {
		apgr := (c.Area - s.Weak.Score) / gap
		cpt := reach(hull, s.Weak.Score+gap/2)
		c.APGR, c.CPT50 = &apgr, &cpt
	}
	return c
}

func (s Scale) hypervolume(points []CostScore) float64 {
	sorted := slices.SortedFunc(slices.Values(points), func(a, b CostScore) int { return cmp.Compare(a.Dollars, b.Dollars) })
	sum, best, at := 0.0, 0.0, 0.0
	for _, p := range sorted {
		if p.Dollars >= s.Strong.Dollars {
			break
		}
		sum += (p.Dollars - at) * best
		at, best = p.Dollars, max(best, p.Score)
	}
	if s.Strong.Dollars <= 0 {
		return 0
	}
	return (sum + (s.Strong.Dollars-at)*best) / s.Strong.Dollars
}

// hull returns the corners of the upper concave hull of the points with weak and strong, from budget 0 (the weak policy's
// dollars) to budget 1 (the strong one's), with scores that never fall, because a budget need not be spent. Dollars holds the budget.
func (s Scale) hull(points []CostScore) []CostScore {
	width := s.Strong.Dollars - s.Weak.Dollars
	start, end := CostScore{0, s.Weak.Score}, CostScore{1, max(s.Strong.Score, s.Weak.Score)}
	if width <= 0 {
		return []CostScore{start, {1, start.Score}}
	}
	all := []CostScore{start, end}
	for _, p := range points {
		x := (p.Dollars - s.Weak.Dollars) / width
		switch {
		case x <= 0: // cheaper than the weak policy: it is there for budget 0
			all = append(all, CostScore{0, p.Score})
		case x < 1:
			all = append(all, CostScore{x, p.Score})
		}
	}
	top := slices.MaxFunc(all, func(a, b CostScore) int { return cmp.Compare(a.Score, b.Score) })
	all = append(all, CostScore{1, top.Score})
	slices.SortFunc(all, func(a, b CostScore) int {
		return cmp.Or(cmp.Compare(a.Dollars, b.Dollars), cmp.Compare(b.Score, a.Score))
	})
	var hull []CostScore
	for _, p := range all {
		if len(hull) > 0 && p.Dollars == hull[len(hull)-1].Dollars {
			continue // the best point of each budget comes first
		}
		for len(hull) >= 2 && !turnsDown(hull[len(hull)-2], hull[len(hull)-1], p) {
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, p)
	}
	return hull
}

// turnsDown reports whether b lies above the line from a to c.
func turnsDown(a, b, c CostScore) bool {
	return (b.Dollars-a.Dollars)*(c.Score-a.Score)-(c.Dollars-a.Dollars)*(b.Score-a.Score) < 0
}

// area is the area under a line from 0 to 1.
func area(line []CostScore) float64 {
	sum := 0.0
	for i := range line[1:] {
		sum += (line[i+1].Dollars - line[i].Dollars) * (line[i].Score + line[i+1].Score) / 2
	}
	return sum
}

// reach is the first budget at which a rising line has a score; 1 if it has not.
func reach(line []CostScore, score float64) float64 {
	if line[0].Score >= score {
		return line[0].Dollars
	}
	for i := range line[1:] {
		a, b := line[i], line[i+1]
		if b.Score >= score {
			return a.Dollars + (score-a.Score)/(b.Score-a.Score)*(b.Dollars-a.Dollars)
		}
	}
	return 1
}
