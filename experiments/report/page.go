package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

//go:embed report.html.tmpl
var reportTemplate string

// right is the smallest score of an answer that the page's filter counts as right.
const right = 0.5

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"dollars":   Dollars,
	"join":      strings.Join,
	"isCeiling": func(label string) bool { return strings.HasSuffix(label, ceilingLabel) },
}).Parse(reportTemplate))

// page is what the template shows.
type page struct {
	Title      string
	Verdict    string
	Heading    []string
	Note       string
	Library    template.HTML
	Charts     []chart.Chart
	Tables     []chart.Table
	Categories []string
	Labels     []string // of the configurations
	Questions  []pageQuestion
}

// WritePage writes charts and tables as an HTML page that needs no other file. With a verdict, a sentence or two, the page
// opens with it and the charts; otherwise with the lines of heading. It replaces the file in whole or fails; a chart whose data
// cannot be drawn is an error.
func WritePage(path, title, verdict string, heading []string, charts []chart.Chart, tables []chart.Table, note string) error {
	return page{Title: title, Verdict: verdict, Heading: heading, Charts: charts, Tables: tables, Note: note}.render(path)
}

type pageQuestion struct {
	datasets.Question
	Answers []pageAnswer
}

type pageAnswer struct {
	run.Record
	Label string
	Score float64
	Right bool
}

func newAnswer(label, metric string, rec run.Record) pageAnswer {
	score := rec.Scores[metric]
	return pageAnswer{rec, label, score, !rec.Failed() && score >= right}
}

// write renders the page of a leaderboard into a file that needs no other file.
func (p page) write(path string, b leaderboard) error {
	p.Charts, p.Categories = b.charts(), b.Categories
	p.Note += " Failed questions are in no mean. A star marks the Pareto front: no other policy has a better score for as few dollars, or as good a score for fewer. Dollars are at list price, also for replies from the cache."
	for _, r := range b.Results {
		p.Labels = append(p.Labels, r.Label())
	}
	return p.render(path)
}

func (p page) render(path string) error {
	p.Library = chart.Library()
	var out bytes.Buffer
	if err := reportPage.Execute(&out, p); err != nil {
		return fmt.Errorf("render the report: %w", err)
	}
	return atomicfile.WriteFile(path, out.Bytes(), 0o644)
}

// Charts draws the frontier and the scores by category.
func (s Summary) Charts() []chart.Chart { return s.leaderboard().charts() }

func (b leaderboard) charts() []chart.Chart {
	var families []chart.Family
	var series []chart.Series
	for _, res := range b.Results {
		if res.Score.N == 0 {
			continue
		}
		ceiling := res.Policy == run.Gold
		families = append(families, chart.Family{Name: res.Label(), Reference: ceiling, Points: []chart.Point{
			{Dollars: res.DollarsMean, Score: res.Score.Mean, Low: res.Score.Low, High: res.Score.High, Front: res.Pareto}}})
		row := chart.Series{Name: res.Label(), Reference: ceiling}
		for _, c := range b.Categories {
			var v *float64
			if iv := res.ByCategory[c]; iv.N > 0 {
				v = &iv.Mean
			}
			row.Values = append(row.Values, v)
		}
		series = append(series, row)
	}
	return []chart.Chart{
		chart.Frontier("score against dollars, with 95 % intervals and the Pareto front", b.Metric, families),
		chart.Bars("score by category", b.Metric, b.Categories, series),
	}
}
