package chart

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A picture says what to draw, in the coordinates of the data: the one source of both drawings, echarts.go and png.go.
type picture struct {
	x, y   axis
	series []series
	// shared gives one tooltip to all series at a place of the x axis; else each mark has its own.
	shared bool
}

// series are marks that belong together: one entry of the legend.
type series struct {
	name  string // "" keeps it out of the legend
	hue   string
	marks []mark
	shape shape
	// dash joins the marks by a line: "solid", "dashed", "dotted", or "" for none.
	dash string
	// across is a line through the whole picture instead of marks, at a value of the axis of numbers. Its name stands on it
	// at its end, middle or start, where side says, or in the legend if nowhere.
	across *float64
	side   string
}

// shape is how the marks of a series look.
type shape string

const (
	noShape shape = "none" // the line alone
	circle  shape = "circle"
	diamond shape = "diamond" // not filled: numbers of others
	bar     shape = "bar"     // beside the bars of other series
	stacked shape = "stacked" // on top of the bars of other series
)

// mark is one datum. On an axis of names its coordinate is the index of the name.
type mark struct {
	x, y float64
	// base is where a stacked bar begins.
	base float64
	// low and high are the ends of an interval, along y or, on an axis of names for y, along x; none where low is not below high.
	low, high float64
	// detail is the tooltip, in lines.
	detail string
	// label stands beside the mark, on the side that place names; "" for none.
	label string
	place string
}

// axis is one of numbers, or of names.
type axis struct {
	name   string   // with its unit; "" where the names speak for themselves
	labels []string // the names; nil on an axis of numbers
	lo, hi float64
	step   float64 // between the numbers shown on an axis that is not logarithmic
	log    bool
	prefix string // of each number, such as "$"
}

const (
	// Width of every chart in CSS pixels; the PNG has twice as many.
	Width = 800

	height    = 420 // likewise
	rowHeight = 34  // of a bar that lies on its side
)

// size is the picture's height: one with names up its side grows with them.
func (p picture) size() int {
	if p.y.labels == nil {
		return height
	}
	return 130 + rowHeight*len(p.y.labels)
}

// lying says whether bars lie on their side.
func (p picture) lying() bool { return p.y.labels != nil }

// fit sets the range of an axis of numbers so that it holds the values and ends on round numbers.
func (a *axis) fit(values []float64) {
	values = finite(values)
	if len(values) == 0 {
		values = []float64{0, 1}
	}
	lo, hi := slices.Min(values), slices.Max(values)
	if lo == hi {
		pad := math.Abs(lo) / 10
		if pad == 0 {
			pad = 1
		}
		lo, hi = lo-pad, hi+pad
	}
	a.step = round125((hi-lo)/6, math.Ceil)
	a.lo, a.hi = roundTo(math.Floor(lo/a.step)*a.step, a.step), roundTo(math.Ceil(hi/a.step)*a.step, a.step)
}

// fitCosts is fit for dollars: logarithmic where they span more than a factor of thirty, else with room beside the outmost.
func (a *axis) fitCosts(values []float64) {
	values = finite(values)
	if len(values) > 0 {
		lo, hi := slices.Min(values), slices.Max(values)
		if lo > 0 && hi > 30*lo {
			a.log, a.lo, a.hi = true, round125(lo*0.9, math.Floor), round125(hi*1.1, math.Ceil)
			return
		}
		room := (hi - lo) / 25
		values = append(values, max(lo-room, lo/2), hi+room)
	}
	a.fit(values)
}

// finite leaves out what check refuses afterwards.
func finite(values []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
}

// round125 rounds to one of 1, 2 and 5 times a power of ten, by which is Floor or Ceil.
func round125(v float64, by func(float64) float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	steps := []float64{1, 2, 5, 10}
	if by(0.5) == 0 {
		slices.Reverse(steps)
		i := slices.IndexFunc(steps, func(m float64) bool { return m*unit <= v*1.0001 })
		return significant(steps[i]*unit, 1)
	}
	i := slices.IndexFunc(steps, func(m float64) bool { return m*unit >= v*0.9999 })
	return significant(steps[i]*unit, 1)
}

// roundTo takes off the digits behind those of step that floating point adds.
func roundTo(v, step float64) float64 {
	digits := math.Pow(10, math.Ceil(-math.Log10(step))+1)
	return math.Round(v*digits) / digits
}

// significant rounds to n significant digits.
func significant(v float64, n int) float64 {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'e', n-1, 64), 64) // its own output always parses
	return r
}

// number writes v with n significant digits and without an exponent, however small.
func number(v float64, n int) string {
	return strconv.FormatFloat(significant(v, n), 'f', -1, 64)
}

// score writes a score, or another value that is compared, with three decimals.
func score(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

func dollars(v float64) string { return "$" + number(v, 3) }

// at returns where v lies on the axis, 0 at its beginning and 1 at its end.
func (a axis) at(v float64) float64 {
	switch {
	case a.labels != nil: // each name in the middle of its slot
		return (v + 0.5) / float64(len(a.labels))
	case a.log:
		return math.Log(v/a.lo) / math.Log(a.hi/a.lo)
	}
	return (v - a.lo) / (a.hi - a.lo)
}

// tick is a number or name on an axis.
type tick struct {
	value float64
	label string
}

func (a axis) ticks() []tick {
	var out []tick
	add := func(v float64) { out = append(out, tick{v, a.prefix + number(v, 6)}) }
	switch {
	case a.labels != nil:
		for i, l := range a.labels {
			out = append(out, tick{float64(i), l})
		}
	case a.log:
		steps := []float64{1, 2, 5}
		if a.hi/a.lo > 300 {
			steps = steps[:1]
		}
		for unit := math.Pow(10, math.Floor(math.Log10(a.lo))); unit <= a.hi; unit *= 10 {
			for _, m := range steps {
				if v := significant(m*unit, 1); v >= a.lo && v <= a.hi {
					add(v)
				}
			}
		}
	default:
		for i := range int(math.Round((a.hi-a.lo)/a.step)) + 1 {
			add(roundTo(a.lo+float64(i)*a.step, a.step))
		}
	}
	return out
}

// wrap breaks a name into lines of at most so many pixels where it has spaces, hyphens or commas to break at.
func wrap(name string, pixels float64) string {
	var lines []string
	line := ""
	for _, part := range strings.SplitAfter(strings.NewReplacer("-", "-\x00", " ", " \x00", ",", ",\x00").Replace(name), "\x00") {
		part = strings.TrimSuffix(part, "\x00")
		if line != "" && textWidth(line+strings.TrimSpace(part), tickSize) > pixels {
			lines = append(lines, strings.TrimSpace(line))
			line = ""
		}
		line += part
	}
	return strings.Join(append(lines, strings.TrimSpace(line)), "\n")
}

// shorten cuts a text to so many pixels.
func shorten(text string, size, pixels float64) string {
	if textWidth(text, size) <= pixels {
		return text
	}
	r := []rune(text)
	for len(r) > 1 && textWidth(string(r)+"…", size) > pixels {
		r = r[:len(r)-1]
	}
	return strings.TrimSpace(string(r)) + "…"
}

// box is a rectangle in pixels.
type box struct{ x0, y0, x1, y1 float64 }

func (b box) meets(o box) bool { return b.x0 < o.x1 && o.x0 < b.x1 && b.y0 < o.y1 && o.y0 < b.y1 }

// place chooses the first of the boxes at the end, in the middle and at the start of a line across that meets nothing.
func (s *series) place(boxes, taken []box) box {
	for i, b := range boxes {
		if !slices.ContainsFunc(taken, b.meets) {
			s.side = []string{"end", "middle", "start"}[i]
			return b
		}
	}
	return box{}
}

// placeLabels chooses for each label a side of its mark where it meets no other mark, interval or label, and drops the
// label where there is none: the legend has the name then. It reckons with a plot of the usual size.
func (p picture) placeLabels() {
	const w, h, near = 660, 290, 9
	inside := box{0, 0, w + 60, h}
	var taken []box
	type labelled struct {
		m      *mark
		cx, cy float64
	}
	var todo []labelled
	for _, s := range p.series {
		for i := range s.marks {
			m := &s.marks[i]
			cx, cy := w*p.x.at(m.x), h*(1-p.y.at(m.y))
			if s.shape != noShape {
				taken = append(taken, box{cx - 6, cy - 6, cx + 6, cy + 6})
			}
			if m.low < m.high {
				taken = append(taken, box{cx - 3, h * (1 - p.y.at(m.high)), cx + 3, h * (1 - p.y.at(m.low))})
			}
			if m.label != "" {
				todo = append(todo, labelled{m, cx, cy})
			}
			if i > 0 && s.dash != "" { // the line from the mark before
				px, py := w*p.x.at(s.marks[i-1].x), h*(1-p.y.at(s.marks[i-1].y))
				for n, k := math.Ceil(math.Hypot(cx-px, cy-py)/6), 0.0; k < n; k++ {
					x, y := px+(cx-px)*k/n, py+(cy-py)*k/n
					taken = append(taken, box{x - 1, y - 1, x + 1, y + 1})
				}
			}
		}
	}
	for i := range p.series {
		if s := &p.series[i]; s.across != nil {
			y, tw := h*(1-p.y.at(*s.across)), textWidth(s.name, labelSize)
			taken = append(taken, s.place([]box{{w - tw, y - 16, w, y + 1}, {(w - tw) / 2, y - 16, (w + tw) / 2, y + 1}, {0, y - 16, tw, y + 1}}, taken))
		}
	}
	slices.SortStableFunc(todo, func(a, b labelled) int { return cmp.Compare(b.cy, a.cy) })
	for _, l := range todo {
		tw, th := textWidth(l.m.label, labelSize), float64(labelSize)
		sides := map[string]box{
			"right":  {l.cx + near, l.cy - th/2, l.cx + near + tw, l.cy + th/2},
			"left":   {l.cx - near - tw, l.cy - th/2, l.cx - near, l.cy + th/2},
			"top":    {l.cx - tw/2, l.cy - near - th, l.cx + tw/2, l.cy - near},
			"bottom": {l.cx - tw/2, l.cy + near, l.cx + tw/2, l.cy + near + th},
		}
		l.m.place = ""
		for _, side := range []string{"right", "left", "top", "bottom"} {
			b := sides[side]
			if b.x0 >= inside.x0 && b.x1 <= inside.x1 && b.y0 >= inside.y0 && b.y1 <= inside.y1 && !slices.ContainsFunc(taken, b.meets) {
				l.m.place = side
				taken = append(taken, b)
				break
			}
		}
		if l.m.place == "" {
			l.m.label = ""
		}
	}
}

// palette is Okabe and Ito's, whose colours the colour-blind can tell apart.
var palette = [...]string{"#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A500"}

const (
	referenceHue = "#808080" // of what cannot be reached
	ink          = "#333333"
)

func hue(i int) string { return palette[i%len(palette)] }
