package chart

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
	"github.com/go-echarts/go-echarts/v2/types"
)

// item is a datum of ECharts; go-echarts has a type per kind of chart, each with some of the fields.
type item struct {
	Name  string      `json:"name,omitempty"`
	Value any         `json:"value"`
	Label *opts.Label `json:"label,omitempty"`
}

// none is ECharts' mark for a missing value.
const none = "-"

// option is the figure as ECharts draws it.
func (p figure) option(title string) (map[string]any, error) {
	if p.panels == nil {
		return plain(p.single(title).JSON(), p)
	}
	all, err := plain(p.single(title).JSON(), p) // title, legend and tooltip
	if err != nil {
		return nil, err
	}
	titles, grids, xs, ys, rows := []any{all["title"]}, []any{}, []any{}, []any{}, []any{}
	for i, r := range p.grid() {
		part := p
		part.series, part.panels = p.panels[i].series, nil
		if i > 0 {
			part.y.name = ""
		}
		option, err := plain(part.single("").JSON(), part)
		if err != nil {
			return nil, err
		}
		percent := func(px float64) string { return strconv.FormatFloat(100*px/Width, 'f', 2, 64) + "%" }
		left := r.x0 + 38
		if i == 0 {
			left += 22
		}
		grids = append(grids, map[string]any{"left": percent(left), "right": percent(Width - r.x1 + 10), "top": "62", "bottom": "78"})
		titles = append(titles, map[string]any{"text": p.panels[i].name, "left": percent((left + r.x1 - 10) / 2), "top": "38", "textAlign": "center", "textStyle": map[string]any{"fontSize": labelSize, "color": ink}})
		axis := func(name string) map[string]any {
			a := option[name].([]any)[0].(map[string]any)
			a["gridIndex"] = i
			return a
		}
		x := axis("xAxis")
		delete(x["axisLabel"].(map[string]any), "interval")
		xs, ys = append(xs, x), append(ys, axis("yAxis"))
		for _, s := range option["series"].([]any) {
			s := s.(map[string]any)
			s["xAxisIndex"], s["yAxisIndex"], s["stack"], s["barCategoryGap"] = i, i, fmt.Sprint("panel", i), "10%"
			rows = append(rows, s)
		}
	}
	all["title"], all["grid"], all["xAxis"], all["yAxis"], all["series"] = titles, grids, xs, ys, rows
	return all, nil
}

// plain turns go-echarts' types into maps, and adds what they have no field for.
func plain(option map[string]any, p figure) (map[string]any, error) {
	b, err := json.Marshal(option)
	var out map[string]any
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		return nil, err
	}
	if p.x.log {
		// By itself a logarithmic axis shows powers of ten only.
		var at []float64
		for _, t := range p.x.ticks() {
			at = append(at, t.value)
		}
		x := out["xAxis"].([]any)[0].(map[string]any)
		x["axisLabel"].(map[string]any)["customValues"] = at
		x["axisTick"] = map[string]any{"customValues": at}
	}
	moved := map[string]bool{}
	drawn, _ := out["series"].([]any)
	for _, s := range p.series {
		for _, d := range drawn {
			if d := d.(map[string]any); d["name"] == s.name && !moved[s.name] {
				s.moveLabel(d)
				moved[s.name] = true // what follows of this name are its intervals
			}
		}
	}
	return out, nil
}

// single is a figure without panels.
func (p figure) single(title string) *charts.Line {
	c := charts.NewLine()
	nameGap := 0
	for _, t := range p.y.ticks() {
		nameGap = max(nameGap, int(1.1*textWidth(t.label, tickSize))+18) // ECharts' font is a little wider
	}
	legend := p.echartsLegend()
	bottom := "44"
	if len(legend) > 0 {
		bottom = "78"
	}
	tooltip := opts.Tooltip{Show: opts.Bool(true), Trigger: "item", Formatter: "{b}"}
	if p.shared {
		tooltip = opts.Tooltip{Show: opts.Bool(true), Trigger: "axis"}
	}
	x, y := p.xAxis(), p.yAxis()
	x.NameGap, y.NameGap = 28, nameGap
	c.SetGlobalOptions(
		charts.WithInitializationOpts(opts.Initialization{BackgroundColor: "#fff"}),
		charts.WithTitleOpts(opts.Title{Title: title, Left: "0", TitleStyle: &opts.TextStyle{Color: ink, FontSize: titleSize, Width: Width - 20, Overflow: "truncate"}}),
		charts.WithLegendOpts(opts.Legend{Show: opts.Bool(len(legend) > 0), Type: "scroll", Bottom: "0", Data: legend}),
		charts.WithGridOpts(opts.Grid{Left: strconv.Itoa(nameGap + 20), Right: "70", Top: "44", Bottom: bottom}),
		charts.WithAnimation(false),
		charts.WithTooltipOpts(tooltip),
		charts.WithYAxisOpts(y),
		charts.WithXAxisOpts(x),
	)
	if p.x.labels != nil {
		c.SetXAxis(p.x.labels)
	}
	if base := p.bases(); base != nil {
		c.MultiSeries = append(c.MultiSeries, *base)
	}
	for _, s := range p.series {
		if s.across != nil || len(s.marks) > 0 {
			c.MultiSeries = append(c.MultiSeries, p.echartsSeries(s)...)
		}
	}
	c.Validate()
	return c
}

// entry is one of the legend.
type entry struct {
	Name string `json:"name"`
	Icon string `json:"icon,omitempty"`
}

func (p figure) echartsLegend() []entry {
	var out []entry
	for _, s := range p.legend() {
		e := entry{Name: s.name}
		if s.shape == noShape || s.across != nil { // by itself it would show a circle
			e.Icon = "path://M0 6h22v2h-22z"
			if s.dash != "solid" {
				e.Icon = "path://M0 6h5v2h-5zM8 6h5v2h-5zM16 6h5v2h-5z"
			}
		}
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func (p figure) xAxis() opts.XAxis {
	a := opts.XAxis{Type: p.x.echartsType(), Name: p.x.name, NameLocation: "middle", AxisLabel: p.x.echartsLabel()}
	if p.x.labels == nil {
		a.Min, a.Max = p.x.lo, p.x.hi
	} else if len(p.x.labels) <= 12 {
		a.AxisLabel.Interval = "0" // they are wrapped to fit
	}
	return a
}

func (p figure) yAxis() opts.YAxis {
	a := opts.YAxis{Type: p.y.echartsType(), Name: p.y.name, NameLocation: "middle", AxisLabel: p.y.echartsLabel()}
	if p.y.labels == nil {
		a.Min, a.Max = p.y.lo, p.y.hi
	} else {
		a.Data, a.Inverse = p.y.labels, opts.Bool(true)
		a.AxisLabel.Interval = "0"
	}
	return a
}

func (a axis) echartsType() string {
	switch {
	case a.labels != nil:
		return "category"
	case a.log:
		return "log"
	}
	return "value"
}

func (a axis) echartsLabel() *opts.AxisLabel {
	l := &opts.AxisLabel{Show: opts.Bool(true), Color: ink, FontSize: tickSize, HideOverlap: opts.Bool(true)}
	if a.prefix != "" {
		l.Formatter = types.FuncStr(a.prefix + "{value}")
	}
	return l
}

// echartsSeries is a series, and one of the same name for its intervals.
func (p figure) echartsSeries(s series) []charts.SingleSeries {
	e := charts.SingleSeries{Name: s.name, Type: types.ChartLine, Data: []item{}, Color: s.hue,
		ItemStyle: &opts.ItemStyle{Color: s.hue}, LineStyle: &opts.LineStyle{Color: s.hue, Type: s.dash, Width: 1.5},
		LabelLayout: &opts.LabelLayout{HideOverlap: opts.Bool(true)}}
	if s.across != nil {
		e.Symbol = string(noShape)
		style := opts.MarkLineStyle{Symbol: []string{string(noShape), string(noShape)}, LineStyle: e.LineStyle,
			Label: &opts.Label{Show: opts.Bool(s.side != ""), Formatter: "{b}", Position: map[string]string{"end": "insideEndTop", "middle": "insideMiddleTop", "start": "insideStartTop"}[s.side], Color: ink, FontSize: labelSize}}
		var at any = opts.MarkLineNameYAxisItem{Name: s.name, YAxis: *s.across}
		if p.lying() {
			at = opts.MarkLineNameXAxisItem{Name: s.name, XAxis: *s.across}
		}
		e.MarkLines = &opts.MarkLines{Data: []any{at}, MarkLineStyle: style}
		return []charts.SingleSeries{e}
	}
	switch s.shape {
	case bar, stacked:
		e.Type, e.LineStyle, e.BarMaxWidth, e.Data = types.ChartBar, nil, "40", p.barItems(s)
		if s.shape == stacked {
			e.Stack = "all"
		}
	default:
		e.Symbol, e.SymbolSize, e.ShowSymbol = string(s.shape), 9, opts.Bool(s.shape != noShape)
		if s.shape == diamond {
			e.Symbol, e.SymbolSize = "emptyDiamond", 12
		}
		if s.dash == "" {
			e.LineStyle.Opacity = opts.Float(0)
		}
		items := make([]item, len(s.marks))
		for i, m := range s.marks {
			items[i] = item{m.detail, []float64{m.x, m.y}, m.echartsLabel()}
		}
		e.Data = items
	}
	if w := p.intervals(s); w != nil {
		return []charts.SingleSeries{e, *w}
	}
	return []charts.SingleSeries{e}
}

// moveLabel moves the label of a series away from its mark, with a line that leads to it, if it has one there.
func (s series) moveLabel(option map[string]any) {
	for _, m := range s.marks {
		if m.label != "" && (m.dx != 0 || m.dy != 0) {
			option["labelLayout"] = map[string]any{"dx": m.dx, "dy": m.dy}
			option["labelLine"] = map[string]any{"show": true, "lineStyle": map[string]any{"color": s.hue, "width": 0.8, "opacity": 0.8}}
		}
	}
}

func (m mark) echartsLabel() *opts.Label {
	if m.label == "" {
		return nil
	}
	text := strings.NewReplacer("{", "(", "}", ")").Replace(m.label) // braces hold variables here
	return &opts.Label{Show: opts.Bool(true), Formatter: text, Position: m.place, Color: ink, FontSize: labelSize}
}

// barItems has a value for every name of the axis.
func (p figure) barItems(s series) []item {
	n := max(len(p.x.labels), len(p.y.labels))
	items := make([]item, n)
	for i := range items {
		items[i].Value = none
	}
	for _, m := range s.marks {
		if p.lying() {
			items[int(m.y)] = item{m.detail, m.x - m.base, m.echartsLabel()}
		} else {
			items[int(m.x)] = item{m.detail, m.y - m.base, m.echartsLabel()}
		}
	}
	return items
}

// bases are invisible bars below the stacked ones of a timeline; nil if all stand on 0.
func (p figure) bases() *charts.SingleSeries {
	if !p.lying() {
		return nil // parts of a whole begin where the ones before them end
	}
	items, found := make([]item, len(p.y.labels)), false
	for _, s := range p.series {
		for _, m := range s.marks {
			if s.shape == stacked {
				items[int(m.y)] = item{Name: m.detail, Value: m.base}
				found = found || m.base != 0
			}
		}
	}
	if !found {
		return nil
	}
	return &charts.SingleSeries{Type: types.ChartBar, Stack: "all", Data: items, ItemStyle: &opts.ItemStyle{Color: "transparent"}}
}

// intervals draws the intervals of a series as one line with gaps; nil where there are none.
func (p figure) intervals(s series) *charts.SingleSeries {
	var items []item
	for _, m := range s.marks {
		if m.low >= m.high {
			continue
		}
		low, high := []float64{m.x, m.low}, []float64{m.x, m.high}
		if p.lying() {
			low, high = []float64{m.low, m.y}, []float64{m.high, m.y}
		}
		items = append(items, item{Name: m.detail, Value: low}, item{Name: m.detail, Value: high}, item{Value: []string{none, none}})
	}
	if items == nil {
		return nil
	}
	cap, hue := []int{9, 2}, s.hue
	if p.lying() {
		cap, hue = []int{2, 9}, ink // on the bar itself
	}
	return &charts.SingleSeries{Name: s.name, Type: types.ChartLine, Data: items, Symbol: "rect", SymbolSize: cap, ShowSymbol: opts.Bool(true),
		ItemStyle: &opts.ItemStyle{Color: hue}, LineStyle: &opts.LineStyle{Color: hue, Width: 1.2, Opacity: opts.Float(0.7)}}
}
