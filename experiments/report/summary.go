// Package report turns runs into tables, charts, JSON, CSV and HTML pages.
package report

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

// Summary is the outcome of a run so far.
type Summary struct {
	Run      run.Settings `json:"run"`
	Backend  string       `json:"backend"`
	Warnings []string     `json:"warnings,omitempty"`
	// InFlight is the number of questions answered at one time, which the latencies depend on.
	InFlight int `json:"in_flight"`
	// Judges describes the judges, by name.
	Judges map[string]run.JudgeInfo `json:"judges,omitempty"`
	// Questions is the number of questions chosen, Categories their categories in the table's order.
	Questions  int      `json:"questions"`
	Categories []string `json:"categories"`
	// Total is the number of questions times policies, the ceiling included. Done of them have been tried, of which Failed
	// gave no answer.
	Total  int `json:"total"`
	Done   int `json:"done"`
	Failed int `json:"failed"`
	// Paid is what was paid for answers since this start, in dollars, and JudgePaid for judging; replies from the cache cost
	// nothing.
	Paid      float64 `json:"paid"`
	JudgePaid float64 `json:"judge_paid"`
	// Baseline is the policy that the others are compared with: "low" if it was asked for, else the cheapest.
	Baseline string `json:"baseline"`
	// Ceiling answers from the gold evidence; Policies are the run's, in its order.
	Ceiling  Result   `json:"ceiling"`
	Policies []Result `json:"policies"`
	// Calls counts the calls of the models.
	Calls Calls `json:"calls"`
	// Report is the path of the HTML report.
	Report string `json:"report"`
}

// Write summarises a run and writes summary.json and report.html into its folder. An error names the file that could not be written.
func Write(o *run.Outcome) (Summary, error) {
	s, err := summarise(o)
	if err != nil {
		return s, err
	}
	if err := atomicfile.WriteJSON(filepath.Join(o.Dir, "summary.json"), s); err != nil {
		return s, err
	}
	return s, s.writeHTML(o)
}

// summarise computes the tables of a run.
func summarise(o *run.Outcome) (Summary, error) {
	s := Summary{Run: o.Settings, Backend: o.System.Backend, Warnings: o.System.Warnings, InFlight: o.InFlight, Judges: o.Judges,
		Questions: len(o.Questions), Total: o.Total, Done: o.Done, Failed: o.Failed, Paid: o.Paid, JudgePaid: o.JudgePaid,
		Calls: NewCalls(o.Results), Report: filepath.Join(o.Dir, "report.html")}
	var columns []column
	for _, c := range o.Columns {
		columns = append(columns, column{Column: c})
	}
	b, err := newLeaderboard(columns, s.Run.Metric, "", s.Run.Seed)
	if err != nil {
		return s, fmt.Errorf("summarise run %s: %w", o.Name, err)
	}
	s.Categories, s.Baseline, s.Ceiling, s.Policies = b.Categories, b.Baseline, b.Results[0], b.Results[1:]
	return s, nil
}

// leaderboard has the ceiling first.
func (s Summary) leaderboard() leaderboard {
	return leaderboard{Metric: s.Run.Metric, Categories: s.Categories, Baseline: s.Baseline, Results: append([]Result{s.Ceiling}, s.Policies...)}
}

func (s Summary) writeHTML(o *run.Outcome) error {
	b := s.leaderboard()
	p := page{Title: fmt.Sprintf("%s %s: %s", s.Run.Dataset, s.Run.Split, s.Run.Model), Heading: s.Heading(), Note: b.ceilingNote(),
		Tables: slices.Concat(s.tables(), []chart.Table{{Title: "tiers", Rows: b.tierTable()}}, s.Calls.tables())}
	answers := map[string][]pageAnswer{}
	for _, c := range o.Columns {
		for _, rec := range c.Records {
			answers[rec.ID] = append(answers[rec.ID], newAnswer(label("", c.Policy), s.Run.Metric, rec))
		}
	}
	for _, q := range o.Questions {
		p.Questions = append(p.Questions, pageQuestion{Question: q, Answers: answers[q.ID]})
	}
	return p.write(s.Report, b)
}
