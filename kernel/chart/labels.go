package chart

import (
	"cmp"
	"math"
	"slices"
)

// box is a rectangle in pixels.
type box struct{ x0, y0, x1, y1 float64 }

func (b box) meets(o box) bool { return b.x0 < o.x1 && o.x0 < b.x1 && b.y0 < o.y1 && o.y0 < b.y1 }

func (b box) inside(o box) bool { return b.x0 >= o.x0 && b.x1 <= o.x1 && b.y0 >= o.y0 && b.y1 <= o.y1 }

// labelDistance is from the middle of a mark to its label, in pixels.
const labelDistance = 9

// layout is the plot that labels are placed in, in pixels. A label avoids solid things, which are marks and other labels,
// and thin ones, which are lines and intervals; the line that leads to a label crosses thin ones.
type layout struct {
	w, h        float64
	room        box // where labels may be
	solid, thin []box
}

// spot is where a label may stand relative to its mark.
type spot struct {
	side   string
	dx, dy float64
}

// spots lists the places for a label in order of preference: beside the mark, then further away.
func spots() []spot {
	out := []spot{{side: "right"}, {side: "left"}, {side: "top"}, {side: "bottom"}}
	for _, r := range []float64{22, 40, 60, 84, 112, 144} {
		for _, d := range []spot{{"right", 0.7, -0.7}, {"right", 0.7, 0.7}, {"left", -0.7, -0.7}, {"left", -0.7, 0.7}, {"top", 0, -1}, {"bottom", 0, 1}, {"right", 0.3, -0.95}, {"right", 0.3, 0.95}, {"left", -0.3, -0.95}, {"left", -0.3, 0.95}} {
			out = append(out, spot{d.side, math.Round(r * d.dx), math.Round(r * d.dy)})
		}
	}
	return out
}

// box is where the text of a mark at (cx, cy) stands.
func (s spot) box(text string, cx, cy float64) box {
	tw, th := textWidth(text, labelSize), float64(labelSize)
	near := float64(labelDistance)
	if s.dx != 0 || s.dy != 0 {
		cx, cy, near = cx+s.dx, cy+s.dy, 3
	}
	switch s.side {
	case "right":
		return box{cx + near, cy - th/2, cx + near + tw, cy + th/2}
	case "left":
		return box{cx - near - tw, cy - th/2, cx - near, cy + th/2}
	case "top":
		return box{cx - tw/2, cy - near - th, cx + tw/2, cy - near}
	}
	return box{cx - tw/2, cy + near, cx + tw/2, cy + near + th}
}

// leader is the line from a mark to its label; it is empty for a label beside the mark.
func (s spot) leader(cx, cy float64) []box {
	if s.dx == 0 && s.dy == 0 {
		return nil
	}
	// The first pixels lie on the mark itself.
	far := math.Hypot(s.dx, s.dy)
	return segment(cx+s.dx*8/far, cy+s.dy*8/far, cx+s.dx, cy+s.dy)
}

// segment covers a line with small boxes.
func segment(x0, y0, x1, y1 float64) []box {
	var out []box
	for n, k := math.Ceil(math.Hypot(x1-x0, y1-y0)/6), 0.0; k < n; k++ {
		x, y := x0+(x1-x0)*k/n, y0+(y1-y0)*k/n
		out = append(out, box{x - 1, y - 1, x + 1, y + 1})
	}
	return out
}

func (l *layout) free(b box) bool {
	return !slices.ContainsFunc(l.solid, b.meets) && !slices.ContainsFunc(l.thin, b.meets)
}

func (l *layout) crossable(b box) bool { return !slices.ContainsFunc(l.solid, b.meets) }

// across places the name of a line through the figure on the line: at its end, middle or start.
func (l *layout) across(s *series, y float64) {
	tw := textWidth(s.name, labelSize)
	for _, c := range []struct {
		side string
		at   box
	}{{"end", box{l.w - tw, y - 16, l.w, y + 1}}, {"middle", box{(l.w - tw) / 2, y - 16, (l.w + tw) / 2, y + 1}}, {"start", box{0, y - 16, tw, y + 1}}} {
		if l.free(c.at) {
			s.side = c.side
			l.solid = append(l.solid, c.at)
			return
		}
	}
}

// placeLabels gives the name of each series to one of its marks that ask for it, at a spot where it meets no mark, line,
// interval or other label. A label further away gets a line that leads to its mark. Where there is no room the label is
// dropped, and the legend has the name. Places are for a plot of the PNG's size; a wider one only moves marks apart.
func (p *figure) placeLabels() {
	l := &layout{w: 660, h: float64(p.size() - 130)}
	l.room = box{0, 0, l.w + 60, l.h}
	at := func(m *mark) (x, y float64) { return l.w * p.x.at(m.x), l.h * (1 - p.y.at(m.y)) }
	for _, s := range p.series {
		for i := range s.marks {
			m := &s.marks[i]
			cx, cy := at(m)
			if s.shape != noShape {
				l.solid = append(l.solid, box{cx - 6, cy - 6, cx + 6, cy + 6})
			}
			if m.low < m.high {
				l.thin = append(l.thin, box{cx - 3, l.h * (1 - p.y.at(m.high)), cx + 3, l.h * (1 - p.y.at(m.low))})
			}
			if i > 0 && s.dash != "" { // the line from the mark before
				px, py := at(&s.marks[i-1])
				l.thin = append(l.thin, segment(px, py, cx, cy)...)
			}
		}
	}
	for i := range p.series {
		if s := &p.series[i]; s.across != nil {
			l.across(s, l.h*(1-p.y.at(*s.across)))
		}
	}
	var todo []*series
	for i := range p.series {
		if slices.ContainsFunc(p.series[i].marks, func(m mark) bool { return m.label != "" }) {
			todo = append(todo, &p.series[i])
		}
	}
	// Curves first, as their names may stand at any of their marks' ends; of the others the lowest first.
	slices.SortStableFunc(todo, func(a, b *series) int {
		return cmp.Or(cmp.Compare(len(b.marks), len(a.marks)), cmp.Compare(a.marks[0].y, b.marks[0].y))
	})
	for _, s := range todo {
		l.place(s, at)
	}
}

// place keeps the label of one mark of the series, at the first free spot.
func (l *layout) place(s *series, at func(*mark) (x, y float64)) {
	var chosen *mark
search:
	for _, sp := range spots() {
		for i := range s.marks {
			m := &s.marks[i]
			if m.label == "" {
				continue
			}
			cx, cy := at(m)
			b, leader := sp.box(m.label, cx, cy), sp.leader(cx, cy)
			if b.inside(l.room) && l.free(b) && !slices.ContainsFunc(leader, func(b box) bool { return !l.crossable(b) }) {
				chosen = m
				m.place, m.dx, m.dy = sp.side, sp.dx, sp.dy
				l.solid, l.thin = append(l.solid, b), append(l.thin, leader...)
				break search
			}
		}
	}
	for i := range s.marks {
		if m := &s.marks[i]; m != chosen {
			m.label = ""
		}
	}
}
