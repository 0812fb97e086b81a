package chart

import "fmt"

// Panel is one of several small charts with the same axes.
type Panel struct {
	Name string
	Rows []Series // the same names in every panel
}

// panelHeight is the height of small charts with title and legend, in pixels.
const panelHeight = 260

// Multiples draws small charts beside each other, each with a bar for every group, made of one part for each series: for
// example how often each tier of each module served (the panels), by λ (the groups). x and value name the axes.
func Multiples(title, x, value string, groups []string, panels []Panel) Chart {
	p := figure{x: axis{name: x, labels: groups}, y: axis{name: value}, shared: true, tall: panelHeight}
	t := Table{Rows: [][]string{append([]string{"", value}, groups...)}}
	ys := []float64{0}
	for _, part := range panels {
		rows, tops, err := stack(title, groups, part.Rows)
		if err != nil {
			return Chart{Title: title, err: err}
		}
		for _, r := range part.Rows {
			t.Rows = append(t.Rows, append([]string{part.Name}, r.cells()...))
		}
		ys = append(ys, tops...)
		p.panels = append(p.panels, panel{part.Name, rows})
	}
	p.y.fitShares(ys)
	return newChart(title, p, t)
}

// fitShares is fit, but an axis of shares ends at 1.
func (a *axis) fitShares(values []float64) {
	for _, v := range values {
		if v < 0 || v > 1+1e-9 {
			a.fit(values)
			return
		}
	}
	a.lo, a.hi, a.step = 0, 1, 0.25
}

// grid is where the panels lie between the figure's edges, in pixels of the PNG's width. The first has the name and numbers
// of the axis beside it.
func (p figure) grid() []box {
	n := float64(len(p.panels))
	const first = 22 // the axis' name
	each := (Width - 8 - first) / n
	out := make([]box, len(p.panels))
	for i := range out {
		out[i] = box{x0: first + float64(i)*each, x1: first + float64(i+1)*each}
		if i == 0 {
			out[i].x0 = 0
		}
	}
	return out
}

// stack makes stacked bars of the rows, and returns where each ends.
func stack(title string, groups []string, rows []Series) (out []series, tops []float64, err error) {
	base := make([]float64, len(groups))
	color := 0
	for _, r := range rows {
		if len(r.Values) != len(groups) {
			return nil, nil, fmt.Errorf("draw %q: %q has %d values for %d groups", title, r.Name, len(r.Values), len(groups))
		}
		s := series{name: r.Name, hue: referenceHue, shape: stacked}
		if !r.Reference {
			s.hue = hue(color)
			color++
		}
		for i, v := range r.Values {
			if v == nil {
				continue
			}
			s.marks = append(s.marks, mark{x: float64(i), y: base[i] + *v, base: base[i]})
			base[i] += *v
			tops = append(tops, base[i])
		}
		out = append(out, s)
	}
	return out, tops, nil
}

// cells are the series' name and values, for a table.
func (r Series) cells() []string {
	out := []string{r.Name}
	for _, v := range r.Values {
		if v == nil {
			out = append(out, "")
		} else {
			out = append(out, score(*v))
		}
	}
	return out
}
