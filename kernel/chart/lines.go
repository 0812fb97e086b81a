package chart

import "fmt"

// Line is a curve through points, in the order given.
type Line struct {
	Name string
	X, Y []float64
	// Reference marks a bound that nothing can be expected to reach; it is drawn grey and dashed.
	Reference bool
}

// Lines draws curves over an axis of numbers, for example what was earned over the epochs of a training. x and y name the
// axes, with units.
func Lines(title, x, y string, lines []Line) Chart {
	p := figure{x: axis{name: x}, y: axis{name: y}, shared: true}
	t := Table{Rows: [][]string{{"", "points", "first " + x, "last " + x, "first " + y, "last " + y}}}
	var xs, ys []float64
	color := 0
	for _, l := range lines {
		if len(l.X) != len(l.Y) {
			return Chart{Title: title, err: fmt.Errorf("draw %q: line %q has %d values of x and %d of y", title, l.Name, len(l.X), len(l.Y))}
		}
		s := series{name: l.Name, hue: referenceHue, shape: noShape, dash: "dashed"}
		if !l.Reference {
			s.hue, s.dash = hue(color), "solid"
			color++
		}
		if len(l.X) <= 40 && !l.Reference {
			s.shape = circle
		}
		for i := range l.X {
			s.marks = append(s.marks, mark{x: l.X[i], y: l.Y[i]})
		}
		xs, ys = append(xs, l.X...), append(ys, l.Y...)
		row := []string{l.Name, fmt.Sprint(len(l.X)), "", "", "", ""}
		if last := len(l.X) - 1; last >= 0 {
			row = []string{l.Name, fmt.Sprint(len(l.X)), number(l.X[0], 4), number(l.X[last], 4), number(l.Y[0], 4), number(l.Y[last], 4)}
		}
		t.Rows = append(t.Rows, row)
		p.series = append(p.series, s)
	}
	p.x.fit(xs)
	p.y.fit(ys)
	return newChart(title, p, t)
}
