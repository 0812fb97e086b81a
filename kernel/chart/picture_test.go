package chart

import (
	"fmt"
	"math/rand/v2"
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
		{values: []float64{1.25e-5, 4.4e-5}, costs: true, want: "$0.00001 $0.00002 $0.00003 $0.00004 $0.00005"},
		{values: []float64{0, 4e-5}, costs: true, want: "$0 $0.00001 $0.00002 $0.00003 $0.00004 $0.00005"},
		{values: []float64{1e-5, 4.4e-3}, costs: true, want: "$0.00001 $0.0001 $0.001"},
		{values: []float64{2e-5, 7e-4}, costs: true, want: "$0.00001 $0.00002 $0.00005 $0.0001 $0.0002 $0.0005 $0.001"},
	} {
		var a axis
		if c.costs {
			a.prefix = "$"
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

// Whatever the points, no label lies on another, on a mark or on an interval, and what has no label is in the legend.
func TestLabelsDoNotMeet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var families []Family
		for i := range 1 + rng.IntN(14) {
			x, y := rng.Float64(), rng.Float64()
			families = append(families, Family{Name: fmt.Sprintf("policy %d,%s", i, strings.Repeat("low,", i%5)), Points: []Point{{Dollars: x, Score: y, Low: y - 0.05, High: y + 0.05}}})
		}
		c := Frontier("t", "y", families)
		var boxes []box
		shown := 0
		for _, s := range c.picture.series {
			m := s.marks[0]
			x, y := 660*c.picture.x.at(m.x), 290*(1-c.picture.y.at(m.y))
			boxes = append(boxes, box{x - 5, y - 5, x + 5, y + 5})
			if m.label == "" {
				continue
			}
			shown++
			w := textWidth(m.label, labelSize)
			switch m.place {
			case "right":
				boxes = append(boxes, box{x + 9, y - 5, x + 9 + w, y + 5})
			case "left":
				boxes = append(boxes, box{x - 9 - w, y - 5, x - 9, y + 5})
			case "top":
				boxes = append(boxes, box{x - w/2, y - 19, x + w/2, y - 9})
			case "bottom":
				boxes = append(boxes, box{x - w/2, y + 9, x + w/2, y + 19})
			default:
				t.Fatalf("label %q has the place %q", m.label, m.place)
			}
		}
		if got := len(c.picture.legend()); got != len(families)-shown {
			t.Errorf("%d families, %d labels, %d entries in the legend", len(families), shown, got)
		}
		for i := range boxes {
			for j := range i {
				if boxes[i].meets(boxes[j]) && boxes[i].x1-boxes[i].x0 != 10 != (boxes[j].x1-boxes[j].x0 != 10) {
					t.Fatalf("%v meets %v", boxes[i], boxes[j])
				}
			}
		}
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
