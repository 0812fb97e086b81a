package chart

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestAxisEndsOnRoundNumbers(t *testing.T) {
	for _, c := range []struct {
		values []float64
		costs  bool
		want   string
	}{
		{values: []float64{0.226, 0.537}, want: "0.2 0.3 0.4 0.5 0.6"},
		{values: []float64{0, 200}, want: "0 50 100 150 200"},
		{values: []float64{-0.031, 0.02}, want: "-0.04 -0.03 -0.02 -0.01 0 0.01 0.02"},
		{values: []float64{5}, want: "4.4 4.6 4.8 5 5.2 5.4 5.6"},
		{values: []float64{0}, want: "-1 -0.5 0 0.5 1"},
		{values: nil, want: "0 0.2 0.4 0.6 0.8 1"},
		{values: []float64{12.5, 44}, costs: true, want: "10 20 30 40 50"},
		{values: []float64{13, 67}, costs: true, want: "10 20 30 40 50 70"},
		{values: []float64{0, 40}, costs: true, want: "0 10 20 30 40 50"},
		{values: []float64{10, 4400}, costs: true, want: "10 100 1000"},
		{values: []float64{0.02, 0.7}, costs: true, want: "$0.01 $0.02 $0.05 $0.1 $0.2 $0.5"},
	} {
		var a axis
		if c.costs {
			if slices.Max(c.values) < 1 {
				a.prefix = "$"
			}
			a.fitCosts(c.values)
		} else {
			a.fit(c.values)
		}
		var got []string
		for _, k := range a.ticks() {
			got = append(got, k.label)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%v: %s, want %s", c.values, s, c.want)
		}
		for _, v := range c.values {
			if at := a.at(v); at < 0 || at > 1 {
				t.Errorf("%v lies outside, at %v", v, at)
			}
		}
	}
}

// Whatever the points, no label lies on another, on a mark or on an interval, no line to a label crosses a label, and what
// has no label is in the legend.
func TestLabelsDoNotMeet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	shown, dropped := 0, 0
	for round := range 60 {
		var families []Family
		for i := range 1 + rng.IntN(14) {
			x, y := rng.Float64(), rng.Float64()
			if round%3 == 0 { // many at one place, as where a router does what a static assignment does
				x, y = 0.5+0.01*float64(i%2), 0.5
			}
			families = append(families, Family{Name: fmt.Sprintf("policy %d,%s", i, strings.Repeat("low,", i%5)), Points: []Point{{Dollars: x, Score: y, Low: y - 0.05, High: y + 0.05}}})
		}
		p := Frontier("t", "y", families).figure
		h := float64(p.size() - 130)
		var labels, marks, thin []box
		leaders := map[int][]box{}
		for _, s := range p.series {
			m := s.marks[0]
			x, y := 660*p.x.at(m.x), h*(1-p.y.at(m.y))
			marks = append(marks, box{x - 5, y - 5, x + 5, y + 5})
			thin = append(thin, box{x - 1, h * (1 - p.y.at(m.high)), x + 1, h * (1 - p.y.at(m.low))})
			if m.label != "" {
				at := spot{m.place, m.dx, m.dy}
				leaders[len(labels)] = at.leader(x, y)
				labels = append(labels, at.box(m.label, x, y))
			}
		}
		shown, dropped = shown+len(labels), dropped+len(families)-len(labels)
		if got := len(p.legend()); got != len(families)-len(labels) {
			t.Errorf("%d families, %d labels, %d entries in the legend", len(families), len(labels), got)
		}
		for i, l := range labels {
			for _, o := range slices.Concat(labels[:i], marks, thin) {
				if l.meets(o) {
					t.Fatalf("label %v meets %v", l, o)
				}
			}
			for j, leader := range leaders {
				if i != j && slices.ContainsFunc(leader, l.meets) {
					t.Fatalf("the line to label %d crosses label %d", j, i)
				}
			}
		}
	}
	if dropped > shown/50 {
		t.Errorf("%d labels are shown and %d dropped", shown, dropped)
	}
}

func TestUnit(t *testing.T) {
	for _, c := range []struct {
		dollars    []float64
		axis, want string
	}{
		{[]float64{1.25e-5, 6.7e-5}, "µ$ per question", "12.5 µ$ per question"},
		{[]float64{0.012, 0.5}, "dollars per question", "$0.012 per question"},
		{[]float64{0}, "dollars per question", "$0 per question"},
	} {
		var points []Point
		for _, d := range c.dollars {
			points = append(points, Point{Dollars: d, Score: d})
		}
		p := Frontier("t", "y", []Family{{Name: "a", Points: points}}).figure
		if got := p.series[0].marks[0].detail; p.x.name != c.axis || !strings.HasSuffix(got, c.want) {
			t.Errorf("%v: axis %q, tooltip %q", c.dollars, p.x.name, got)
		}
	}
}

// Points at one place are one mark, and only the ends of a curve have intervals.
func TestCurve(t *testing.T) {
	pt := func(name string, dollars float64) Point {
		return Point{Name: name, Dollars: dollars, Score: 0.5, Low: 0.4, High: 0.6}
	}
	got := Frontier("t", "y", []Family{{Name: "a", Points: []Point{pt("λ 0", 3), pt("λ 0.1", 2), pt("λ 0.2", 2), pt("λ 1", 1)}}}).figure.series[0].marks
	if len(got) != 3 || !strings.Contains(got[1].detail, "λ 0.1 to λ 0.2") || got[1].high != 0 || got[0].high != 0.6 || got[2].high != 0.6 {
		t.Errorf("%+v", got)
	}
}

func TestWrapAndShorten(t *testing.T) {
	if got := wrap("single-session-preference", 80); got != "single-session-\npreference" && got != "single-\nsession-\npreference" {
		t.Errorf("%q", got)
	}
	if got := wrap("short", 80); got != "short" {
		t.Errorf("%q", got)
	}
	long := strings.Repeat("a long name ", 20)
	if got := shorten(long, tickSize, 100); textWidth(got, tickSize) > 101 || !strings.HasSuffix(got, "…") {
		t.Errorf("%q", got)
	}
}

func TestTableAlignsNumbers(t *testing.T) {
	got := Table{Rows: [][]string{{"policy", "score", "95 %", "tiers"}, {"low", "0.3", "[-0.100, 0.2]", "low 1.00"}, {"ceiling", "0.1234*", "", "4 of 5"}}}
	if want := "policy     score           95 %  tiers\nlow          0.3  [-0.100, 0.2]  low 1.00\nceiling  0.1234*                 4 of 5\n"; got.Text() != want {
		t.Errorf("\n%s\nwant\n%s", got.Text(), want)
	}
	html, err := got.HTML()
	if err != nil || !strings.Contains(string(html), `<td align="right">0.3</td>`) || !strings.Contains(string(html), `<td align="left">low 1.00</td>`) {
		t.Errorf("%s, %v", html, err)
	}
}
