package experiments

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

//go:embed report.html.tmpl
var reportTemplate string

// right is the score from which the report's filter calls an answer right.
const right = 0.5

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"dollars": dollars,
	"join":    strings.Join,
	"lower":   strings.ToLower,
}).Parse(reportTemplate))

// reportData is what the template shows.
type reportData struct {
	Summary
	Title     string
	Tables    []reportTable
	Library   template.HTML
	Charts    []reportChart
	Policies  []string
	Questions []reportQuestion
}

type reportTable struct {
	Title string
	Head  []string
	Rows  [][]string
}

type reportChart struct {
	Title string
	Chart template.HTML
}

type reportQuestion struct {
	datasets.Question
	Answers []reportAnswer
}

type reportAnswer struct {
	Record
	Label string
	Score float64
	Right bool
}

func (r *run) writeReport(s Summary) error {
	library, err := chart.Library()
	if err != nil {
		return err
	}
	d := reportData{Summary: s, Title: fmt.Sprintf("%s %s: %s", s.Run.Dataset, s.Run.Split, s.Run.Model), Library: library, Charts: s.charts()}
	for _, t := range []struct {
		title string
		cells [][]string
	}{{"Scores", s.ScoreTable()}, {fmt.Sprintf("Cost, latency with %d questions in flight, evidence", s.InFlight), s.CostTable()}, {"Tiers", s.TierTable()}} {
		d.Tables = append(d.Tables, reportTable{t.title, t.cells[0], t.cells[1:]})
	}
	for _, res := range s.rows() {
		d.Policies = append(d.Policies, res.Label())
	}
	for _, q := range r.questions {
		item := reportQuestion{Question: q}
		for _, p := range r.policies {
			if rec, ok := r.done[key{p.name, q.ID}]; ok {
				score := rec.Scores[r.metric.Name]
				item.Answers = append(item.Answers, reportAnswer{rec, label(p.name), score, !rec.Failed() && score >= right})
			}
		}
		d.Questions = append(d.Questions, item)
	}
	var b bytes.Buffer
	if err := reportPage.Execute(&b, d); err != nil {
		return fmt.Errorf("render the report: %w", err)
	}
	return atomicfile.WriteFile(s.Report, b.Bytes(), 0o644)
}

func (s Summary) charts() []reportChart {
	var points []chart.Point
	var series []chart.Series
	for _, res := range s.rows() {
		if res.Score.N == 0 {
			continue
		}
		ceiling := res.Policy == Gold
		points = append(points, chart.Point{Name: res.Label(), Dollars: res.DollarsMean, Score: res.Score.Mean, Low: res.Score.Low, High: res.Score.High, Ceiling: ceiling})
		row := chart.Series{Name: res.Label(), Ceiling: ceiling}
		for _, c := range s.Categories {
			var v *float64
			if iv := res.ByCategory[c]; iv.N > 0 {
				v = &iv.Mean
			}
			row.Values = append(row.Values, v)
		}
		series = append(series, row)
	}
	return []reportChart{
		{"Score against dollars, with 95 % intervals", chart.Fragment(chart.Frontier("frontier", s.Run.Metric, points))},
		{"Score by category", chart.Fragment(chart.Bars("categories", s.Run.Metric, s.Categories, series))},
	}
}

// counts writes how often each tier served.
func counts(served map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(served)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, served[name]))
	}
	return strings.Join(parts, ", ")
}
