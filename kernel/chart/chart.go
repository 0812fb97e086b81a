// Package chart draws the project's charts with go-echarts, for reports and for notebooks. It needs no network: the
// ECharts library travels inside the binary. It shows numbers and computes none.
package chart

import (
	"bytes"
	"cmp"
	"compress/gzip"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
	"github.com/go-echarts/go-echarts/v2/render"
)

//go:embed assets/echarts-5.6.0.min.js.gz
var libraryGz []byte

var unpack = sync.OnceValues(func() (string, error) {
	r, err := gzip.NewReader(bytes.NewReader(libraryGz))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), err
})

// Library returns the script element that puts ECharts on the page as window.echarts, once however often it occurs.
// A page must hold it before the first Fragment.
func Library() (template.HTML, error) {
	js, err := unpack()
	if err != nil {
		return "", fmt.Errorf("unpack the embedded chart library: %w", err)
	}
	// A page with require.js would swallow the library's export, so the names by which it looks for one are shadowed.
	return template.HTML("<script>if(!window.echarts){(function(){var define,module,exports;" + strings.ReplaceAll(js, "</script", `<\/script`) + "}).call(window)}</script>"), nil
}

// Fragment returns a chart as an element and the script that draws it.
func Fragment(r render.Renderer) template.HTML {
	s := r.RenderSnippet()
	script := strings.TrimSpace(s.Script)
	open := strings.IndexByte(script, '>') + 1
	end := strings.LastIndex(script, "</script>")
	return template.HTML(s.Element + "<script>" + inScript(script[open:end]) + "</script>")
}

// inScript keeps names that stand in a chart from ending the script element that holds them.
func inScript(js string) string {
	return strings.NewReplacer("</", `<\/`, "<!--", `<\!--`).Replace(js)
}

// Point is one configuration of a frontier: its mean score against what it cost.
type Point struct {
	Name string
	// Dollars per question.
	Dollars float64
	// Score and its 95 % interval.
	Score, Low, High float64
	// Ceiling marks a reference that no policy can be expected to pass; it is drawn as a line.
	Ceiling bool
	// Front marks a point of the Pareto front, which is drawn as a line through its points.
	Front bool
}

// Frontier draws score against dollars per question, an interval through each point, and the Pareto front.
func Frontier(id, score string, points []Point) render.Renderer {
	c := charts.NewScatter()
	c.SetGlobalOptions(append(frame(id),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Formatter: "{b}"}),
		charts.WithXAxisOpts(opts.XAxis{Type: "value", Name: "dollars per question", NameLocation: "middle", NameGap: 30, Scale: opts.Bool(true),
			AxisLabel: &opts.AxisLabel{Formatter: opts.FuncOpts("function(v){return '$'+Number(v.toPrecision(3))}")}}),
		charts.WithYAxisOpts(opts.YAxis{Type: "value", Name: score, NameLocation: "middle", NameGap: 45, Scale: opts.Bool(true)}),
	)...)
	bars := charts.NewLine()
	right := 0.0
	var front []Point
	for _, p := range points {
		right = max(right, p.Dollars)
		if p.Front {
			front = append(front, p)
		}
	}
	color := 0
	for _, p := range points {
		detail := fmt.Sprintf("%s: %.3f [%.3f, %.3f], $%.3g", p.Name, p.Score, p.Low, p.High, p.Dollars)
		if p.Ceiling {
			bars.AddSeries(p.Name, []opts.LineData{{Name: detail, Value: []float64{0, p.Score}, Symbol: "none"}, {Name: detail, Value: []float64{right, p.Score}, Symbol: "none"}},
				charts.WithLineStyleOpts(opts.LineStyle{Color: ceilingHue, Type: "dashed", Width: 1.5}), charts.WithItemStyleOpts(opts.ItemStyle{Color: ceilingHue}))
			continue
		}
		hue := palette[color%len(palette)]
		color++
		c.AddSeries(p.Name, []opts.ScatterData{{Name: detail, Value: []float64{p.Dollars, p.Score}, SymbolSize: 14}},
			charts.WithItemStyleOpts(opts.ItemStyle{Color: hue}),
			charts.WithLabelOpts(opts.Label{Show: opts.Bool(true), Formatter: "{a}", Position: "right", Color: "#333"}))
		bars.AddSeries(p.Name, []opts.LineData{{Name: detail, Value: []float64{p.Dollars, p.Low}, Symbol: "rect", SymbolSize: 5}, {Name: detail, Value: []float64{p.Dollars, p.High}, Symbol: "rect", SymbolSize: 5}},
			charts.WithLineStyleOpts(opts.LineStyle{Color: hue, Width: 1.5}), charts.WithItemStyleOpts(opts.ItemStyle{Color: hue}))
	}
	if len(front) > 0 {
		slices.SortFunc(front, func(a, b Point) int { return cmp.Compare(a.Dollars, b.Dollars) })
		var line []opts.LineData
		for _, p := range front {
			line = append(line, opts.LineData{Name: p.Name, Value: []float64{p.Dollars, p.Score}, Symbol: "none"})
		}
		bars.AddSeries("Pareto front", line, charts.WithLineStyleOpts(opts.LineStyle{Color: "#333", Type: "dotted", Width: 1.5}),
			charts.WithItemStyleOpts(opts.ItemStyle{Color: "#333"}))
	}
	c.Overlap(bars)
	return c
}

// Series is one row of bars.
type Series struct {
	Name string
	// Values holds one value a group, in the groups' order; nil where there is none.
	Values []*float64
	// Ceiling marks a reference row; it is drawn grey.
	Ceiling bool
}

// Bars draws grouped bars, for example a score by category (the groups) and policy (the series).
func Bars(id, value string, groups []string, series []Series) render.Renderer {
	c := charts.NewBar()
	c.SetGlobalOptions(append(frame(id),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "axis"}),
		charts.WithXAxisOpts(opts.XAxis{Type: "category", AxisLabel: &opts.AxisLabel{Interval: "0"}}),
		charts.WithYAxisOpts(opts.YAxis{Type: "value", Name: value, NameLocation: "middle", NameGap: 45}),
	)...)
	c.SetXAxis(groups)
	color := 0
	for _, s := range series {
		hue := ceilingHue
		if !s.Ceiling {
			hue = palette[color%len(palette)]
			color++
		}
		data := make([]opts.BarData, len(s.Values))
		for i, v := range s.Values {
			data[i] = opts.BarData{Value: "-"} // the library's mark for a missing value
			if v != nil {
				data[i].Value = *v
			}
		}
		c.AddSeries(s.Name, data, charts.WithItemStyleOpts(opts.ItemStyle{Color: hue}))
	}
	return c
}

// Stacked draws bars of several parts each, for example how often each tier (the series) served, by λ (the groups).
func Stacked(id, value string, groups []string, series []Series) render.Renderer {
	c := Bars(id, value, groups, series).(*charts.Bar)
	c.SetSeriesOptions(charts.WithBarChartOpts(opts.BarChart{Stack: "all"}))
	return c
}

// Line is a curve through points, in the order given.
type Line struct {
	Name string
	X, Y []float64
	// Ceiling marks a reference that nothing can be expected to reach; it is drawn grey and dashed.
	Ceiling bool
}

// Lines draws curves over an axis of numbers, for example what was earned over the epochs of a training.
func Lines(id, x, y string, lines []Line) render.Renderer {
	c := charts.NewLine()
	c.SetGlobalOptions(append(frame(id),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Formatter: "{a}: {c}"}),
		charts.WithXAxisOpts(opts.XAxis{Type: "value", Name: x, NameLocation: "middle", NameGap: 30, Scale: opts.Bool(true)}),
		charts.WithYAxisOpts(opts.YAxis{Type: "value", Name: y, NameLocation: "middle", NameGap: 45, Scale: opts.Bool(true)}),
	)...)
	color := 0
	for _, l := range lines {
		hue, style := ceilingHue, "dashed"
		if !l.Ceiling {
			hue, style = palette[color%len(palette)], "solid"
			color++
		}
		data := make([]opts.LineData, len(l.X))
		for i := range l.X {
			data[i] = opts.LineData{Value: []float64{l.X[i], l.Y[i]}, SymbolSize: 5}
		}
		c.AddSeries(l.Name, data, charts.WithLineStyleOpts(opts.LineStyle{Color: hue, Type: style, Width: 1.5}), charts.WithItemStyleOpts(opts.ItemStyle{Color: hue}))
	}
	return c
}

const ceilingHue = "#999"

// palette is Okabe and Ito's, whose colours the colour-blind can tell apart.
var palette = [...]string{"#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#B8A500"}

// frame holds what all charts share.
func frame(id string) []charts.GlobalOpts {
	return []charts.GlobalOpts{
		charts.WithInitializationOpts(opts.Initialization{ChartID: id, Width: "100%", Height: "420px", Renderer: "svg", Theme: "white"}),
		charts.WithLegendOpts(opts.Legend{Show: opts.Bool(true), Type: "scroll", Bottom: "0"}),
		charts.WithGridOpts(opts.Grid{Left: "70", Right: "60", Top: "30", Bottom: "85"}),
		charts.WithAnimation(false),
	}
}
