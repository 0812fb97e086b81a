package chart

import (
	"cmp"
	"slices"
	"strings"
)

// Family is what one way of choosing tiers earns: a single policy, or a curve of policies by rising λ.
type Family struct {
	Name   string
	Points []Point
	// Reference marks what no policy can be expected to reach; it is drawn grey. A single point becomes a line across, as
	// its cost does not matter.
	Reference bool
	// Source says where numbers of others are from, such as "Table 2 of arXiv 2602.06025, Llama-3.3-70B"; "" for our own.
	// They are drawn hollow and named as theirs.
	Source string
}

// Point is the mean score of one policy against what it cost.
type Point struct {
	// Name tells a point from the others of its family, such as "λ 0.3".
	Name string
	// Dollars per question.
	Dollars float64
	Score   float64
	// Low and High bound the 95 % interval of the score; no interval where Low is not below High.
	Low, High float64
	// Front marks a point of the Pareto front, which is drawn as a line through its points.
	Front bool
}

// Frontier draws scores by a metric against dollars per question: a point with its interval for each policy, a
// curve for each family of several, and the Pareto front. The axis of dollars is logarithmic where they span much.
func Frontier(title, metric string, families []Family) Chart {
	p := picture{x: axis{name: "dollars per question", prefix: "$"}, y: axis{name: metric}}
	t := Table{Rows: [][]string{{"policy", "point", "dollars per question", metric, "95 %", "source"}}}
	var xs, ys []float64
	var front []Point
	color := 0
	for _, f := range families {
		s := f.look()
		if !f.Reference {
			s.hue = hue(color)
			color++
		}
		for _, pt := range f.Points {
			interval := ""
			if pt.Low < pt.High {
				interval = "[" + score(pt.Low) + ", " + score(pt.High) + "]"
				ys = append(ys, pt.Low, pt.High)
			}
			ys = append(ys, pt.Score)
			t.Rows = append(t.Rows, []string{f.Name, pt.Name, dollars(pt.Dollars), score(pt.Score), interval, f.Source})
			if f.Reference && len(f.Points) == 1 {
				s.name += ": " + score(pt.Score)
				s.across, s.shape = &pt.Score, noShape
				continue
			}
			xs = append(xs, pt.Dollars)
			m := mark{x: pt.Dollars, y: pt.Score, low: pt.Low, high: pt.High, detail: f.detail(pt, metric, interval)}
			if len(f.Points) == 1 {
				m.label = f.Name
			}
			s.marks = append(s.marks, m)
			if pt.Front {
				front = append(front, pt)
			}
		}
		p.series = append(p.series, s)
	}
	if len(front) > 0 {
		slices.SortFunc(front, func(a, b Point) int { return cmp.Compare(a.Dollars, b.Dollars) })
		line := series{name: "Pareto front", hue: ink, shape: noShape, dash: "dotted"}
		for _, pt := range front {
			line.marks = append(line.marks, mark{x: pt.Dollars, y: pt.Score})
		}
		p.series = slices.Insert(p.series, 0, line) // beneath the points
	}
	p.x.fitCosts(xs)
	p.y.fit(ys)
	p.placeLabels()
	return newChart(title, p, t.dense())
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
func (f Family) detail(pt Point, metric, interval string) string {
	first := f.Name
	if pt.Name != "" && pt.Name != f.Name {
		first += ", " + pt.Name
	}
	lines := []string{first, strings.TrimSpace(metric + " " + score(pt.Score) + " " + interval), dollars(pt.Dollars) + " per question"}
	if f.Source != "" {
		lines = append(lines, "published: "+f.Source)
	}
	return strings.Join(lines, "\n")
}
