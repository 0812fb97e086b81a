package experiments

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
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
	"dollars":   dollars,
	"join":      strings.Join,
	"isCeiling": func(label string) bool { return strings.HasSuffix(label, ceilingLabel) },
}).Parse(reportTemplate))

// page is what the template shows.
type page struct {
	Title      string
	Heading    []string
	Note       string
	Library    template.HTML
	Charts     []chart.Chart
	Tables     []chart.Table
	Categories []string
	Labels     []string // of the configurations
	Questions  []pageQuestion
}

// WritePage writes a report of charts and tables into a file that needs nothing else, for a browser.
func WritePage(path, title string, heading []string, charts []chart.Chart, tables []chart.Table, note string) error {
	return page{Title: title, Heading: heading, Charts: charts, Tables: tables, Note: note}.render(path)
}

type pageQuestion struct {
	datasets.Question
	Answers []pageAnswer
}

type pageAnswer struct {
	Record
	Label string
	Score float64
	Right bool
}

func newAnswer(label, metric string, rec Record) pageAnswer {
	score := rec.Scores[metric]
	return pageAnswer{rec, label, score, !rec.Failed() && score >= right}
}

func (r *run) writeReport(s Summary) error {
	b := s.board()
	p := page{Title: fmt.Sprintf("%s %s: %s", s.Run.Dataset, s.Run.Split, s.Run.Model), Heading: s.Heading(), Note: ceilingNote,
		Tables: slices.Concat(s.tables(), []chart.Table{{Title: "tiers", Rows: b.tierTable()}}, s.Calls.tables())}
	for _, q := range r.questions {
		item := pageQuestion{Question: q}
		for _, policy := range r.policies {
			if rec, ok := r.done[key{policy.name, q.ID}]; ok {
				item.Answers = append(item.Answers, newAnswer(label(policy.name), r.metric, rec))
			}
		}
		p.Questions = append(p.Questions, item)
	}
	return p.write(s.Report, b)
}

// write renders the page of a board into a file that needs nothing else.
func (p page) write(path string, b board) error {
	p.Charts, p.Categories = b.charts(), b.Categories
	p.Note += " Failed questions are in no mean. A star marks the Pareto front: no other policy has a better score for as few dollars, or as good a one for fewer. Dollars are at list price, whether a reply came from the cache or not."
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
func (s Summary) Charts() []chart.Chart { return s.board().charts() }

func (b board) charts() []chart.Chart {
	var families []chart.Family
	var series []chart.Series
	for _, res := range b.Results {
		if res.Score.N == 0 {
			continue
		}
		ceiling := res.Policy == Gold
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
