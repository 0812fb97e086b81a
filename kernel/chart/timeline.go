package chart

import (
	"fmt"
	"slices"
)

// Span is one step of a question on its way to the answer.
type Span struct {
	Name string
	// Tier that did it; "" where there is no choice, such as for retrieval.
	Tier string
	// Start and Length in milliseconds, Start since the question was asked.
	Start, Length float64
	Dollars       float64
}

// Timeline draws the steps of one question over time, the first at the top: what ran beside what, how long and for how
// many dollars. tiers lists tiers, cheapest first, that have the same colours in every timeline; others come after them.
func Timeline(title string, tiers []string, spans []Span) Chart {
	p := figure{x: axis{name: "milliseconds since the question"}, y: axis{labels: []string{}}}
	t := Table{Rows: [][]string{{"step", "tier", "start ms", "ms", "dollars"}}}
	parts := []series{{hue: referenceHue, shape: stacked}}
	for i, tier := range tiers {
		parts = append(parts, series{name: tier, hue: hue(i), shape: stacked})
	}
	xs := []float64{0}
	for i, s := range spans {
		part := 0
		if s.Tier != "" {
			part = slices.IndexFunc(parts, func(p series) bool { return p.name == s.Tier })
			if part < 0 {
				part = len(parts)
				parts = append(parts, series{name: s.Tier, hue: hue(part - 1), shape: stacked})
			}
		}
		end := s.Start + s.Length
		m := mark{x: end, y: float64(i), base: s.Start, label: number(s.Length, 3) + " ms", place: "right"}
		m.detail = fmt.Sprintf("%s\n%s to %s ms", s.Name, number(s.Start, 4), number(end, 4))
		if s.Tier != "" {
			m.label = s.Tier + ", " + m.label
			m.detail = fmt.Sprintf("%s: %s\n%s to %s ms", s.Name, s.Tier, number(s.Start, 4), number(end, 4))
		}
		if s.Dollars > 0 {
			m.label += ", " + dollars(s.Dollars)
			m.detail += "\n" + dollars(s.Dollars)
		}
		xs = append(xs, s.Start, end)
		parts[part].marks = append(parts[part].marks, m)
		p.y.labels = append(p.y.labels, shorten(s.Name, tickSize, 230))
		t.Rows = append(t.Rows, []string{s.Name, s.Tier, number(s.Start, 4), number(s.Length, 4), dollars(s.Dollars)})
	}
	p.series = parts
	p.x.fit(append(xs, slices.Max(xs)*1.25)) // room for the labels
	return newChart(title, p, t)
}
