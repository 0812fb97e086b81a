package chart

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// A figure says what to draw, in the coordinates of the data. Both drawings, echarts.go and png.go, are made from it.
type figure struct {
	x, y   axis
	series []series
	// panels are small figures beside each other that share the axes; series is empty then.
	panels []panel
	// shared gives one tooltip to all series at a place of the x axis; else each mark has its own.
	shared bool
	// tall is the height in pixels, 0 for the usual one.
	tall int
}

// panel is one of several small figures.
type panel struct {
	name   string
	series []series
}

// series are marks that belong together: one entry of the legend.
type series struct {
	name  string // "" keeps it out of the legend
	hue   string
	marks []mark
	shape shape
	// dash joins the marks by a line: "solid", "dashed", "dotted", or "" for none.
	dash string
	// across is a line through the whole figure instead of marks, at a value of the axis of numbers. Its name stands on it
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
	// dx and dy move the label away, in pixels to the right and down; a line then connects it with the mark.
	dx, dy float64
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

// size is the figure's height: one with names up its side grows with them.
func (p figure) size() int {
	switch {
	case p.tall > 0:
		return p.tall
	case p.y.labels == nil:
		return height
	}
	return 130 + rowHeight*len(p.y.labels)
}

// lying says whether bars lie on their side.
func (p figure) lying() bool { return p.y.labels != nil }

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

// logFrom is the span of costs, highest over lowest, from which their axis is logarithmic.
const logFrom = 4

// fitCosts is fit for costs: on a logarithmic axis where they span more than logFrom, else with room beside the outermost.
func (a *axis) fitCosts(values []float64) {
	values = finite(values)
	if len(values) > 0 {
		lo, hi := slices.Min(values), slices.Max(values)
		if lo > 0 && hi > logFrom*lo {
			a.log, a.lo, a.hi = true, roundUnit(lo*0.9, math.Floor), roundUnit(hi*1.1, math.Ceil)
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

// round125 rounds to one of 1, 2 and 5 times a power of ten, and roundUnit to any digit times one. by is Floor or Ceil.
func round125(v float64, by func(float64) float64) float64 {
	return roundSteps(v, by, []float64{1, 2, 5, 10})
}

func roundUnit(v float64, by func(float64) float64) float64 {
	return roundSteps(v, by, []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
}

func roundSteps(v float64, by func(float64) float64, steps []float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
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

// number writes v with n significant digits and no exponent.
func number(v float64, n int) string {
	return strconv.FormatFloat(significant(v, n), 'f', -1, 64)
}

// score writes a score, or another value that is compared, with three decimals.
func score(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

func dollars(v float64) string { return "$" + number(v, 3) }

// moneyUnit is the unit of a chart's costs.
type moneyUnit struct {
	name    string
	perUnit float64 // units in a dollar
	sign    string
	inFront bool
}

// unitFor is the one unit of all costs of a chart: dollars, or millionths of a dollar where no cost reaches a cent.
func unitFor(costs []float64) moneyUnit {
	if costs = finite(costs); len(costs) > 0 && slices.Max(costs) > 0 && slices.Max(costs) < 0.01 {
		return moneyUnit{name: "µ$", perUnit: 1e6, sign: " µ$"}
	}
	return moneyUnit{name: "dollars", perUnit: 1, sign: "$", inFront: true}
}

// in writes an amount of dollars in the unit.
func (u moneyUnit) in(dollars float64) string {
	if u.inFront {
		return u.sign + number(dollars*u.perUnit, 3)
	}
	return number(dollars*u.perUnit, 3) + u.sign
}

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
		switch span := a.hi / a.lo; {
		case span > 300:
			steps = steps[:1]
		case span < 20:
			steps = []float64{1, 2, 3, 4, 5, 7}
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

// wrap breaks a name into lines of at most width pixels, at spaces, hyphens or commas.
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

// shorten cuts a text to a width in pixels.
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

// palette is Okabe and Ito's, whose colours the colour-blind can tell apart.
var palette = [...]string{"#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A500"}

const (
	referenceHue = "#808080" // for what cannot be reached
	ink          = "#333333"
)

func hue(i int) string { return palette[i%len(palette)] }
