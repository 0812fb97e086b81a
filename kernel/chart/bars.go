package chart

import (
	"fmt"
	"slices"
)

// Series is one row of bars.
type Series struct {
	Name string
	// Values holds one value per group, in the groups' order; nil for a missing one.
	Values []*float64
	// Reference marks a bound that nothing can be expected to reach; it is drawn grey.
	Reference bool
}

// Bars draws bars in groups, for example a score by category (the groups) and policy (the series).
func Bars(title, value string, groups []string, rows []Series) Chart {
	p, t := grouped(value, groups, rows)
	ys := []float64{0}
	color := 0
	for _, r := range rows {
		if len(r.Values) != len(groups) {
			return Chart{Title: title, err: fmt.Errorf("draw %q: %q has %d values for %d groups", title, r.Name, len(r.Values), len(groups))}
		}
		s := series{name: r.Name, hue: referenceHue, shape: bar}
		if !r.Reference {
			s.hue = hue(color)
			color++
		}
		for i, v := range r.Values {
			if v != nil {
				s.marks = append(s.marks, mark{x: float64(i), y: *v})
				ys = append(ys, *v)
			}
		}
		p.series = append(p.series, s)
	}
	p.y.fit(ys)
	return newChart(title, p, t)
}

// Stacked draws one bar for each group, made of one part for each series, for example how often each tier served, by λ.
func Stacked(title, value string, groups []string, rows []Series) Chart {
	p, t := grouped(value, groups, rows)
	parts, tops, err := stack(title, groups, rows)
	if err != nil {
		return Chart{Title: title, err: err}
	}
	p.series = parts
	p.y.fitShares(append(tops, 0))
	return newChart(title, p, t)
}

// grouped is a figure over named groups without its series, and the table of the series.
func grouped(value string, groups []string, rows []Series) (figure, Table) {
	slot := float64(660) / float64(max(1, len(groups)))
	p := figure{x: axis{labels: []string{}}, y: axis{name: value}, shared: true}
	for _, g := range groups {
		p.x.labels = append(p.x.labels, wrap(g, slot-6))
	}
	t := Table{Rows: [][]string{append([]string{value}, groups...)}}
	for _, r := range rows {
		t.Rows = append(t.Rows, r.cells())
	}
	return p, t
}

// Bar is one value with its interval.
type Bar struct {
	Name  string
	Value float64
	// Low and High bound the 95 % interval; no interval where Low is not below High.
	Low, High float64
	// Reference marks what the others are compared with: it is drawn grey, and a line across shows its value.
	Reference bool
}

// Ablation draws horizontal bars with intervals, the first at the top, for example the score of the whole system and of the
// system without one of its parts.
func Ablation(title, value string, rows []Bar) Chart {
	p := figure{x: axis{name: value}, y: axis{labels: []string{}}}
	t := Table{Rows: [][]string{{"", value, "95 %"}}}
	plain, reference := series{hue: hue(0), shape: stacked}, series{hue: referenceHue, shape: stacked} // on nothing, but not beside each other
	xs := []float64{0}
	for i, r := range rows {
		p.y.labels = append(p.y.labels, shorten(r.Name, tickSize, 230))
		interval := ""
		m := mark{x: r.Value, y: float64(i), detail: r.Name + "\n" + value + " " + score(r.Value), low: r.Low, high: r.High}
		if r.Low < r.High {
			interval = "[" + score(r.Low) + ", " + score(r.High) + "]"
			m.detail += " " + interval
			xs = append(xs, r.Low, r.High)
		}
		xs = append(xs, r.Value)
		t.Rows = append(t.Rows, []string{r.Name, score(r.Value), interval})
		if r.Reference {
			reference.marks = append(reference.marks, m)
			p.series = append(p.series, series{name: r.Name + ": " + score(r.Value), hue: referenceHue, shape: noShape, dash: "dashed", across: &r.Value})
		} else {
			plain.marks = append(plain.marks, m)
		}
	}
	p.series = slices.Concat([]series{plain, reference}, p.series)
	p.x.fit(xs)
	return newChart(title, p, t.dense())
}
