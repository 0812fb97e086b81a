package chart

import (
	"cmp"
	"slices"
	"strings"
)

// Family is one way of choosing tiers: a single policy, or a curve of policies by rising λ.
type Family struct {
	Name   string
	Points []Point
	// Reference marks a bound that no policy can be expected to reach; it is drawn grey. A single point becomes a line
	// across, as its cost does not matter.
	Reference bool
	// Source says where published numbers are from, such as "Table 2 of arXiv 2602.06025, Llama-3.3-70B"; "" for numbers of
	// this project. They are drawn hollow, and the legend names the source.
	Source string
}

// Point is the mean score of one policy and its mean cost.
type Point struct {
	// Name distinguishes the point from the others of its family, such as "λ 0.3".
	Name string
	// Dollars per question.
	Dollars float64
	Score   float64
	// Low and High bound the 95 % interval of the score; no interval where Low is not below High.
	Low, High float64
	// Front marks a point of the Pareto front, which is drawn as a line through its points.
	Front bool
}

// frontierHeight is taller than other charts, to have room for names beside the points.
const frontierHeight = 500

// Frontier draws scores by a metric against the cost of a question: a point with its interval for each policy, a curve for
// each family of several with the intervals of its ends, and the Pareto front. Costs are in one unit, dollars or millionths
// of a dollar (µ$), on a logarithmic axis where they span more than a factor of four. The table has dollars.
func Frontier(title, metric string, families []Family) Chart {
	var costs, scores []float64
	for _, f := range families {
		for _, pt := range f.Points {
			if scores = append(scores, pt.Score); pt.Low < pt.High {
				scores = append(scores, pt.Low, pt.High)
			}
			if !f.across() {
				costs = append(costs, pt.Dollars)
			}
		}
	}
	unit := unitFor(costs)
	p := figure{x: axis{name: unit.name + " per question"}, y: axis{name: metric}, tall: frontierHeight}
	if unit.inFront {
		p.x.prefix = unit.sign
	}
	color := 0
	for _, f := range families {
		s := f.look()
		if !f.Reference {
			s.hue = hue(color)
			color++
		}
		if f.across() {
			s.name += ": " + score(f.Points[0].Score)
			s.across, s.shape = &f.Points[0].Score, noShape
		} else {
			s.marks = f.marks(metric, unit)
		}
		p.series = append(p.series, s)
	}
	if line := frontLine(families, unit); line != nil {
		p.series = slices.Insert(p.series, 0, *line) // beneath the points
	}
	for i := range costs {
		costs[i] *= unit.perUnit
	}
	p.x.fitCosts(costs)
	p.y.fit(scores)
	p.placeLabels()
	return newChart(title, p, frontierTable(metric, families))
}

// across reports whether the family is a line through the figure instead of a point.
func (f Family) across() bool { return f.Reference && len(f.Points) == 1 }

// marks are the family's points. Neighbours at one place become one mark, whose tooltip names the first and the last.
func (f Family) marks(metric string, unit moneyUnit) []mark {
	var out []mark
	for i := 0; i < len(f.Points); {
		pt, end := f.Points[i], i+1
		for end < len(f.Points) && f.Points[end].Dollars == pt.Dollars && f.Points[end].Score == pt.Score {
			end++
		}
		if last := f.Points[end-1].Name; last != pt.Name {
			pt.Name += " to " + last
		}
		m := mark{x: pt.Dollars * unit.perUnit, y: pt.Score, label: f.look().name, detail: f.detail(pt, metric, unit)}
		if f.Source != "" {
			m.label = f.Name
		}
		if pt.Low < pt.High {
			m.low, m.high = pt.Low, pt.High
		}
		out = append(out, m)
		i = end
	}
	for i := range out {
		if len(out) > 1 && (f.Reference || i > 0 && i < len(out)-1) {
			out[i].low, out[i].high = 0, 0 // intervals of all would hide the curves
		}
	}
	return out
}

// frontLine joins the points of the Pareto front by rising cost; nil where none is marked.
func frontLine(families []Family, unit moneyUnit) *series {
	var front []Point
	for _, f := range families {
		for _, pt := range f.Points {
			if pt.Front {
				front = append(front, pt)
			}
		}
	}
	if len(front) == 0 {
		return nil
	}
	slices.SortFunc(front, func(a, b Point) int { return cmp.Compare(a.Dollars, b.Dollars) })
	line := &series{name: "Pareto front", hue: ink, shape: noShape, dash: "dotted"}
	for _, pt := range front {
		line.marks = append(line.marks, mark{x: pt.Dollars * unit.perUnit, y: pt.Score})
	}
	return line
}

func frontierTable(metric string, families []Family) Table {
	t := Table{Rows: [][]string{{"policy", "point", "dollars per question", metric, "95 %", "source"}}}
	for _, f := range families {
		for _, pt := range f.Points {
			t.Rows = append(t.Rows, []string{f.Name, pt.Name, dollars(pt.Dollars), score(pt.Score), pt.interval(), f.Source})
		}
	}
	return t.dense()
}

// interval writes the interval of the score; "" where there is none.
func (pt Point) interval() string {
	if pt.Low >= pt.High {
		return ""
	}
	return "[" + score(pt.Low) + ", " + score(pt.High) + "]"
}

// look is a series without marks: how the family is drawn.
func (f Family) look() series {
	s := series{name: f.Name, hue: referenceHue, shape: circle}
	switch {
	case f.Source != "":
		s.name += " (published: " + f.Source + ")"
		s.shape, s.dash = diamond, "dotted"
	case f.Reference:
		s.dash = "dashed"
	case len(f.Points) > 1:
		s.dash = "solid"
	}
	return s
}

// detail is the tooltip of one of the family's points.
func (f Family) detail(pt Point, metric string, unit moneyUnit) string {
	first := f.Name
	if pt.Name != "" && pt.Name != f.Name {
		first += ", " + pt.Name
	}
	lines := []string{first, strings.TrimSpace(metric + " " + score(pt.Score) + " " + pt.interval()), unit.in(pt.Dollars) + " per question"}
	if f.Source != "" {
		lines = append(lines, "published: "+f.Source)
	}
	return strings.Join(lines, "\n")
}
